/*
 * One pass: a walk over the upper directory, then the files with several names, then those
 * that only the image names.
 *
 * A directory is opened once, its own metadata goes first, then what is in it, then the
 * removals, then the directories below it; each name costs one stat. Its names are not kept
 * but as nodes of the map, so a directory of millions needs no second copy of them. Only so
 * many directories of a path are open at a time; those further up are opened again by their
 * path when the walk comes back to them.
 *
 * Goes wrong: a path that is too long for any path-taking call; before the last pass nothing
 * that the guest may do in the middle of it.
 */
#include "migration/tree_send.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"

#define OPEN_MAX_DIRS 64u
#define READ_MAX      (64u * 1024)
#define NAMES_MIN     64u

/* ------------------------------------------------------------------ frames */

static int send_frame(struct lx_tree_sender *s, const Lxmgr__V1__MoveFrame *f, struct lx_err *err)
{
	return s->out.send(s->out.arg, f, err);
}

int lx_tree_send_frame_entry(struct lx_tree_sender *s, Lxmgr__V1__TreeEntry *e, struct lx_err *err)
{
	Lxmgr__V1__MoveFrame f = LXMGR__V1__MOVE_FRAME__INIT;

	f.what_case = LXMGR__V1__MOVE_FRAME__WHAT_ENTRY;
	f.entry = e;
	s->stats.files_sent++;
	return send_frame(s, &f, err);
}

int lx_tree_send_frame_data(struct lx_tree_sender *s, uint64_t offset, uint8_t *data, size_t len,
			    struct lx_err *err)
{
	Lxmgr__V1__MoveFrame f = LXMGR__V1__MOVE_FRAME__INIT;
	Lxmgr__V1__TreeData d = LXMGR__V1__TREE_DATA__INIT;

	d.offset = offset;
	d.data.data = data;
	d.data.len = len;
	f.what_case = LXMGR__V1__MOVE_FRAME__WHAT_TREE_DATA;
	f.tree_data = &d;
	s->stats.bytes_sent += len;
	return send_frame(s, &f, err);
}

int lx_tree_send_gone(struct lx_tree_sender *s, const char *path, struct lx_err *err)
{
	if (!s->last)
		return LX_TREE_GONE;
	return lx_err_set(err, LX_FAILED_PRECONDITION,
			  "\"%.200s\" changed although nothing of the instance runs", path);
}

int lx_tree_send_path(struct lx_tree_sender *s, uint32_t id, struct lx_err *err)
{
	if (lx_tree_map_path(&s->map, id, s->path) >= 0)
		return 0;
	int r = lx_err_set(
		err, LX_FAILED_PRECONDITION,
		"a directory of the instance is too deep: a path that ends in \"%.100s\" is longer "
		"than %d bytes",
		lx_tree_map_name(&s->map, id), LX_TREE_PATH_MAX - 1);

	lx_err_hint(err, "Remove or flatten it inside the instance, then try again.");
	return r;
}

int lx_tree_send_remove(struct lx_tree_sender *s, uint32_t id, struct lx_err *err)
{
	Lxmgr__V1__MoveFrame f = LXMGR__V1__MOVE_FRAME__INIT;
	int r = 0;

	if (lx_tree_map_node(&s->map, id)->flags & LX_TREE_KNOWN) {
		r = lx_tree_send_path(s, id, err);
		f.what_case = LXMGR__V1__MOVE_FRAME__WHAT_TREE_REMOVE;
		f.tree_remove = s->path;
		if (r == 0)
			r = send_frame(s, &f, err);
	}
	lx_tree_map_forget(&s->map, id);
	return r;
}

/* ------------------------------------------------------------------ the walk */

struct level {
	uint32_t id;   /* the directory */
	uint32_t next; /* of its children, the one to look at next */
	int fd;        /* -1: closed for a while */
	size_t path_len;
};

struct walk {
	struct level *v;
	size_t n, cap;
	char *names; /* READ_MAX */
};

static void walk_release(struct walk *w)
{
	while (w->n > 0)
		if (w->v[--w->n].fd >= 0)
			close(w->v[w->n].fd);
	free(w->v);
	free(w->names);
}

/* s->path is the directory's; takes the descriptor. */
static int walk_push(struct lx_tree_sender *s, struct walk *w, uint32_t id, int fd, struct lx_err *err)
{
	if (w->n == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 32;
		struct level *grown = realloc(w->v, cap * sizeof(*grown));

		if (!grown) {
			close(fd);
			return lx_err_oom(err);
		}
		w->v = grown;
		w->cap = cap;
	}
	if (w->n >= OPEN_MAX_DIRS) {
		struct level *above = &w->v[w->n - OPEN_MAX_DIRS];

		if (above->fd >= 0)
			close(above->fd);
		above->fd = -1;
	}
	w->v[w->n++] =
		(struct level){ .id = id, .next = LX_TREE_NONE, .fd = fd, .path_len = strlen(s->path) };
	return 0;
}

static bool is_vanished(int errnum)
{
	return errnum == ENOENT || errnum == ENOTDIR || errnum == ELOOP || errnum == ESTALE;
}

static int open_dir(int dirfd, const char *name)
{
	return openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC);
}

/* The path of the level is s->path. */
static int reopen(struct lx_tree_sender *s, struct level *l)
{
	struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV };

	l->fd = (int)syscall(SYS_openat2, s->upper, *s->path ? s->path : ".", &how, sizeof(how));
	return l->fd < 0 ? -errno : 0;
}

/* s->path becomes the child's. */
static int enter_path(struct lx_tree_sender *s, const struct level *l, uint32_t id, struct lx_err *err)
{
	const char *name = lx_tree_map_name(&s->map, id);
	size_t len = strlen(name), slash = l->path_len > 0;

	if (l->path_len + slash + len >= sizeof(s->path))
		return lx_tree_send_path(s, id, err);
	if (slash)
		s->path[l->path_len] = '/';
	memcpy(s->path + l->path_len + slash, name, len + 1);
	return 0;
}

/* One name of a directory. */
static int visit(struct lx_tree_sender *s, struct level *l, const char *name, unsigned char type,
		 struct lx_err *err)
{
	size_t len = strlen(name);
	uint32_t id = lx_tree_map_find(&s->map, l->id, name, len);
	struct stat st = { .st_mode = S_IFDIR };
	int r = 0;

	/* A directory is looked at when it is open. */
	if (type != DT_DIR && fstatat(l->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		s->path[l->path_len] = '\0';
		if (!is_vanished(errno))
			return lx_err_errno(err, errno, "cannot look at \"%.200s\" in \"%.200s\"", name,
					    s->path);
		return lx_tree_send_gone(s, name, err);
	}
	if (id == LX_TREE_NONE)
		r = lx_tree_map_add(&s->map, l->id, name, len, &id, err);
	if (r < 0)
		return r;
	struct lx_tree_node *node = lx_tree_map_node(&s->map, id);

	/* While files come and go a name may be met twice. */
	if (node->pass == s->pass)
		return 0;
	node->pass = s->pass;
	node->flags &= (uint16_t) ~(LX_TREE_MADE | LX_TREE_ENTER);
	s->stats.entries++;
	if (S_ISDIR(st.st_mode)) {
		node->flags |= LX_TREE_ENTER;
		return 0;
	}
	if (st.st_nlink > 1 && !(S_ISCHR(st.st_mode) && st.st_rdev == 0))
		return lx_tree_send_later(s, id, st.st_ino, err);
	r = enter_path(s, l, id, err);
	return r < 0 ? r : lx_tree_send_node(s, id, l->fd, name, &st, 0, err);
}

static int read_names(struct lx_tree_sender *s, struct walk *w, struct level *l, struct lx_err *err)
{
	for (;;) {
		ssize_t n = getdents64(l->fd, w->names, READ_MAX);

		if (n == 0 || (n < 0 && errno == ENOENT))
			return 0;
		if (n < 0)
			return lx_err_errno(err, errno, "cannot read directory \"%.200s\"", s->path);
		for (ssize_t at = 0; at < n;) {
			const struct dirent64 *d = (const void *)(w->names + at);

			at += d->d_reclen;
			if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
				continue;
			int r = visit(s, l, d->d_name, d->d_type, err);

			if (r < 0)
				return r;
		}
	}
}

/* Those that were there before and were not met. */
static int remove_unseen(struct lx_tree_sender *s, const struct level *l, struct lx_err *err)
{
	uint32_t next;

	for (uint32_t id = lx_tree_map_node(&s->map, l->id)->child; id != LX_TREE_NONE; id = next) {
		const struct lx_tree_node *node = lx_tree_map_node(&s->map, id);

		next = node->next;
		if (node->pass == s->pass || node->flags & LX_TREE_MADE)
			continue;
		int r = lx_tree_send_remove(s, id, err);

		if (r < 0)
			return r;
	}
	return 0;
}

/* The topmost level, just entered; s->path is its. */
static int read_level(struct lx_tree_sender *s, struct walk *w, struct lx_err *err)
{
	struct level *l = &w->v[w->n - 1];
	struct stat st;

	if (fstat(l->fd, &st) < 0)
		return lx_err_errno(err, errno, "cannot look at \"%.200s\"", s->path);
	int r = lx_tree_send_dir(s, l->id, l->fd, &st, 0, err);

	if (r >= 0)
		r = read_names(s, w, l, err);
	if (r >= 0)
		r = remove_unseen(s, l, err);
	l->next = lx_tree_map_node(&s->map, l->id)->child;
	return r;
}

/* The next directory of the topmost level; LX_TREE_NONE when it is done. */
static uint32_t next_dir(struct lx_tree_sender *s, struct level *l)
{
	while (l->next != LX_TREE_NONE) {
		uint32_t id = l->next;
		struct lx_tree_node *node = lx_tree_map_node(&s->map, id);

		l->next = node->next;
		if (node->flags & LX_TREE_ENTER) {
			node->flags &= (uint16_t)~LX_TREE_ENTER;
			return id;
		}
	}
	return LX_TREE_NONE;
}

static int descend(struct lx_tree_sender *s, struct walk *w, uint32_t id, struct lx_err *err)
{
	struct level *l = &w->v[w->n - 1];
	int r = 0;

	s->path[l->path_len] = '\0';
	if (l->fd < 0)
		r = reopen(s, l);
	int fd = r < 0 ? r : open_dir(l->fd, lx_tree_map_name(&s->map, id));

	if (r == 0 && fd < 0)
		r = -errno;
	if (r < 0 && !is_vanished(-r))
		return lx_err_errno(err, r, "cannot open directory \"%.100s\" in \"%.200s\"",
				    lx_tree_map_name(&s->map, id), s->path);
	if (r < 0)
		return lx_tree_send_gone(s, lx_tree_map_name(&s->map, id), err);
	r = enter_path(s, l, id, err);
	if (r < 0) {
		close(fd);
		return r;
	}
	r = walk_push(s, w, id, fd, err);
	return r < 0 ? r : read_level(s, w, err);
}

static int walk_tree(struct lx_tree_sender *s, struct walk *w, struct lx_err *err)
{
	int fd = open_dir(s->upper, ".");

	if (fd < 0)
		return lx_err_errno(err, errno, "cannot open the instance's files");
	*s->path = '\0';
	lx_tree_map_node(&s->map, LX_TREE_ROOT)->pass = s->pass;
	s->stats.entries++;
	int r = walk_push(s, w, LX_TREE_ROOT, fd, err);

	if (r == 0)
		r = read_level(s, w, err);
	while (r >= 0 && w->n > 0) {
		struct level *l = &w->v[w->n - 1];
		uint32_t id = next_dir(s, l);

		if (id != LX_TREE_NONE) {
			r = descend(s, w, id, err);
			continue;
		}
		if (l->fd >= 0)
			close(l->fd);
		w->n--;
	}
	return r < 0 ? r : 0;
}

/* ------------------------------------------------------------------ passes */

int lx_tree_send_walk(struct lx_tree_sender *s, bool last, struct lx_err *err)
{
	struct walk w = { .names = malloc(READ_MAX) };

	if (!w.names)
		return lx_err_oom(err);
	s->pass++;
	s->last = last;
	s->n_names = 0;
	s->stats.entries = 0;
	/* Before the tree is written back: a page may be dirtied again right behind it. */
	s->racy_ns = (int64_t)lx_now_realtime_ns() - (int64_t)LX_TREE_RACY_NS;
	int r = 0;

	if (!last && syncfs(s->upper) < 0)
		r = lx_err_errno(err, errno, "cannot write the instance's files back to disk");
	if (r == 0)
		r = walk_tree(s, &w, err);
	if (r == 0)
		r = lx_tree_send_links(s, err);
	if (r == 0)
		r = lx_tree_send_hidden(s, err);
	walk_release(&w);
	return r;
}

int lx_tree_send_end(struct lx_tree_sender *s, struct lx_err *err)
{
	Lxmgr__V1__MoveFrame f = LXMGR__V1__MOVE_FRAME__INIT;
	Lxmgr__V1__TreeEnd e = LXMGR__V1__TREE_END__INIT;
	uint8_t digest[LX_TREE_DIGEST_LEN];

	lx_tree_map_digest(&s->map, digest);
	e.last = s->last;
	e.digest.data = digest;
	e.digest.len = sizeof(digest);
	f.what_case = LXMGR__V1__MOVE_FRAME__WHAT_TREE_END;
	f.tree_end = &e;
	return send_frame(s, &f, err);
}

int lx_tree_send(struct lx_tree_sender *s, bool last, struct lx_err *err)
{
	int r = lx_tree_send_walk(s, last, err);

	return r < 0 ? r : lx_tree_send_end(s, err);
}

int lx_tree_sender_open(const struct lx_tree_source *source, const struct lx_move_out *out,
			struct lx_tree_sender **ret, struct lx_err *err)
{
	struct lx_tree_sender *s = calloc(1, sizeof(*s));

	if (!s)
		return lx_err_oom(err);
	s->upper = -1;
	s->source = *source;
	s->out = *out;
	s->chunk = malloc(LX_MOVE_CHUNK);
	int r = s->chunk ? lx_tree_map_init(&s->map, err) : lx_err_oom(err);

	if (r == 0) {
		s->upper = open_dir(source->upper, ".");
		if (s->upper < 0)
			r = lx_err_errno(err, errno, "cannot open the instance's files");
	}
	if (r < 0) {
		lx_tree_sender_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

const struct lx_tree_stats *lx_tree_sender_stats(const struct lx_tree_sender *s)
{
	return &s->stats;
}

void lx_tree_sender_free(struct lx_tree_sender *s)
{
	if (!s)
		return;
	if (s->upper >= 0)
		close(s->upper);
	lx_tree_send_hidden_release(s);
	lx_tree_map_release(&s->map);
	lx_tree_xattrs_release(&s->xattrs);
	lx_tree_set_release(&s->mapped_inodes);
	lx_tree_set_release(&s->mapped_sizes);
	lx_buf_release(&s->scratch);
	free(s->names);
	free(s->chunk);
	free(s);
}
