/*
 * Names that only the image has, and that lead to a changed file.
 *
 * overlayfs keeps in work/index, for every file of the image that was changed, a further hard
 * link of its copy, named after the file handle of the original. When the original has several
 * names, a name without an entry in the upper directory leads through the index to the copy. So
 * each of the index is asked for its original, whose names are found by reading the image once;
 * those that nothing in the upper directory covers become hard links of what was sent. A copy
 * whose names in the upper directory were all removed is sent from the index itself.
 *
 * Directories above such a name come from the image when the upper directory has none. What is
 * made this way (LX_TREE_MADE) is not met by the walk; what is no longer needed is removed at
 * the end of the pass.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "migration/tree_entry.h"
#include "migration/tree_send.h"

static int open_beneath(int dir, const char *path, uint64_t flags)
{
	struct open_how how = { .flags = flags | O_NOFOLLOW | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV };
	int fd = (int)syscall(SYS_openat2, dir, *path ? path : ".", &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

/* ------------------------------------------------------------------ the index */

/* struct ovl_fb of the kernel: 5 bytes, a uuid, the handle. */
#define FB_MAGIC      0xfb
#define FB_FLAG_UPPER 4u /* of the upper tree itself, not of the image */
#define FB_HEAD       21u

/* 0 and the handle; -ENOENT: not one of the image's. */
static int parse_index_name(const char *name, struct file_handle *fh)
{
	uint8_t fb[FB_HEAD + MAX_HANDLE_SZ];
	size_t len = strlen(name) / 2;

	if (strlen(name) % 2 || len <= FB_HEAD || len > sizeof(fb))
		return -ENOENT;
	for (size_t i = 0; i < len; i++) {
		unsigned byte = 0;

		for (size_t j = 0; j < 2; j++) {
			int c = (unsigned char)name[2 * i + j];

			if (!isxdigit(c))
				return -ENOENT;
			byte = byte * 16 + (unsigned)(isdigit(c) ? c - '0' : tolower(c) - 'a' + 10);
		}
		fb[i] = (uint8_t)byte;
	}
	if (fb[1] != FB_MAGIC || fb[2] != len || fb[3] & FB_FLAG_UPPER)
		return -ENOENT;
	fh->handle_bytes = (unsigned)(len - FB_HEAD);
	fh->handle_type = fb[4];
	memcpy(fh->f_handle, fb + FB_HEAD, len - FB_HEAD);
	return 0;
}

/* Inode number of the original when it has several names, else 0. */
static int find_original(struct lx_tree_sender *s, const char *name, uint64_t *ret, struct lx_err *err)
{
	union {
		struct file_handle fh;
		char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} h;
	struct stat st;

	*ret = 0;
	if (parse_index_name(name, &h.fh) < 0)
		return 0;
	lx_autoclose int fd = open_by_handle_at(s->source.lower, &h.fh, O_PATH | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0) {
		int r = lx_err_errno(err, errno,
				     "cannot find the file of the image that index entry %.80s is of", name);

		lx_err_hint(err,
			    "Was the image of the instance replaced? It must be the one it was created of.");
		return r;
	}
	if (!S_ISDIR(st.st_mode) && st.st_nlink > 1)
		*ret = st.st_ino;
	return 0;
}

/* ------------------------------------------------------------------ which names show it */

/* Nothing of the upper directory stands before this path of the image. */
static bool is_visible(const struct lx_tree_sender *s, const char *path)
{
	uint32_t id = LX_TREE_ROOT;

	for (;;) {
		const struct lx_tree_node *node = lx_tree_map_node(&s->map, id);

		if (id != LX_TREE_ROOT && (node->pass != s->pass || node->flags & LX_TREE_MADE))
			return true;
		if (!*path || !(node->flags & LX_TREE_DIR) || node->flags & LX_TREE_OPAQUE)
			return false;
		size_t len = strcspn(path, "/");

		id = lx_tree_map_find(&s->map, id, path, len);
		if (id == LX_TREE_NONE)
			return true;
		path += len + (path[len] == '/');
	}
}

static int make_node(struct lx_tree_sender *s, uint32_t parent, const char *name, size_t len, uint32_t *ret,
		     struct lx_err *err)
{
	int r = 0;

	*ret = lx_tree_map_find(&s->map, parent, name, len);
	if (*ret == LX_TREE_NONE)
		r = lx_tree_map_add(&s->map, parent, name, len, ret, err);
	if (r == 0 && lx_tree_set_add(&s->made, *ret) < 0)
		r = lx_err_oom(err);
	if (r == 0) {
		lx_tree_map_node(&s->map, *ret)->flags |= LX_TREE_MADE;
		lx_tree_map_node(&s->map, *ret)->pass = s->pass;
	}
	return r;
}

static int make_dir(struct lx_tree_sender *s, uint32_t id, struct lx_err *err)
{
	struct stat st;
	int r = lx_tree_send_path(s, id, err);

	if (r < 0)
		return r;
	lx_autoclose int fd = open_beneath(s->source.lower, s->path, O_RDONLY | O_DIRECTORY);

	if (fd < 0 || fstat(fd, &st) < 0)
		return lx_err_errno(err, fd < 0 ? -fd : errno, "cannot open \"%.200s\" of the image",
				    s->path);
	return lx_tree_send_dir(s, id, fd, &st, s->source.id_base, err);
}

/* The node of a visible path of the image, with the directories above it. */
static int make_path(struct lx_tree_sender *s, const char *path, uint32_t *ret, struct lx_err *err)
{
	uint32_t id = LX_TREE_ROOT;

	for (;;) {
		size_t len = strcspn(path, "/");
		bool is_dir = path[len] == '/';
		uint32_t below = lx_tree_map_find(&s->map, id, path, len);
		const struct lx_tree_node *node =
			below == LX_TREE_NONE ? NULL : lx_tree_map_node(&s->map, below);
		int r = 0;

		/* There in the upper directory, or made already in this pass. */
		if (!is_dir || !node || node->pass != s->pass) {
			r = make_node(s, id, path, len, &below, err);
			if (r == 0 && is_dir)
				r = make_dir(s, below, err);
		}
		if (r < 0)
			return r;
		id = below;
		if (!is_dir)
			break;
		path += len + 1;
	}
	*ret = id;
	return 0;
}

/* ------------------------------------------------------------------ one changed file */

static int refuse_redirects(const char *path, struct lx_err *err)
{
	int r = lx_err_set(err, LX_FAILED_PRECONDITION,
			   "\"%.200s\" was changed under another of its names, and directories of the image "
			   "were renamed",
			   path);

	lx_err_hint(err, "Mount the instance without redirect_dir (the kernel's overlay.redirect_dir=N).");
	return r;
}

/* A name with the content, out of the index. */
static int send_from_index(struct lx_tree_sender *s, const char *entry, const struct stat *st,
			   const struct lx_tree_image_name *name, uint32_t *primary, bool *anew,
			   struct lx_err *err)
{
	int r = make_path(s, name->path, primary, err);

	if (r == 0)
		r = lx_tree_send_path(s, *primary, err);
	if (r == 0)
		r = lx_tree_send_node(s, *primary, s->source.index, entry, st, 0, err);
	*anew = r == LX_TREE_ANEW;
	return r;
}

static int send_names(struct lx_tree_sender *s, const char *entry, const struct stat *st,
		      const struct lx_tree_image_name *names, size_t n, struct lx_err *err)
{
	uint32_t primary = lx_tree_send_primary(s, st->st_ino), id;
	bool anew = false;
	int r = 0;

	for (size_t i = 0; i < n && r >= 0; i++) {
		if (!is_visible(s, names[i].path))
			continue;
		if (s->redirects)
			return refuse_redirects(names[i].path, err);
		if (primary == LX_TREE_NONE) {
			r = send_from_index(s, entry, st, &names[i], &primary, &anew, err);
			/* The next pass will see. */
			if (r == LX_TREE_GONE)
				return 0;
			continue;
		}
		r = make_path(s, names[i].path, &id, err);
		if (r == 0)
			r = lx_tree_send_path(s, id, err);
		if (r == 0)
			r = lx_tree_send_link(s, id, primary, anew, err);
	}
	return r < 0 ? r : 0;
}

static int send_changed(struct lx_tree_sender *s, const char *entry, uint64_t original, struct lx_err *err)
{
	struct stat st;
	size_t n;
	int r = s->image_read ? 0 : lx_tree_image_read(s->source.lower, &s->image, err);

	if (r < 0)
		return r;
	s->image_read = true;
	if (fstatat(s->source.index, entry, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? lx_tree_send_gone(s, entry, err)
				       : lx_err_errno(err, errno, "cannot look at index entry %.80s", entry);
	/* A whiteout: all its names are gone. A directory: of no interest here. */
	if (S_ISDIR(st.st_mode) || lx_tree_is_whiteout(st.st_mode, st.st_rdev))
		return 0;
	const struct lx_tree_image_name *names = lx_tree_image_names(&s->image, original, &n);

	return send_names(s, entry, &st, names, n, err);
}

/* ------------------------------------------------------------------ the pass */

static int look_at(struct lx_tree_sender *s, const char *entry, struct lx_err *err)
{
	uint64_t original;

	if (!lx_map_has(&s->index, entry)) {
		int r = find_original(s, entry, &original, err);

		if (r == 0 && lx_map_set(&s->index, entry, (void *)(uintptr_t)original) < 0)
			r = lx_err_oom(err);
		if (r < 0)
			return r;
	}
	original = (uint64_t)(uintptr_t)lx_map_get(&s->index, entry);
	return original ? send_changed(s, entry, original, err) : 0;
}

static int read_index(struct lx_tree_sender *s, struct lx_err *err)
{
	int fd = openat(s->source.index, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	lx_autoclosedir DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		r = lx_err_errno(err, errno, "cannot read the index of the overlay");
		if (fd >= 0)
			close(fd);
		return r;
	}
	while (r >= 0 && (errno = 0, e = readdir(d)))
		if (e->d_type != DT_DIR && e->d_type != DT_CHR)
			r = look_at(s, e->d_name, err);
	if (r >= 0 && errno)
		r = lx_err_errno(err, errno, "cannot read the index of the overlay");
	return r < 0 ? r : 0;
}

static int remove_unneeded(struct lx_tree_sender *s, struct lx_err *err)
{
	size_t kept = 0;
	int r = 0;

	/* In the order they were made: directories before what is in them. */
	for (size_t i = 0; i < s->made.n && r == 0; i++) {
		uint32_t id = (uint32_t)s->made.v[i];
		const struct lx_tree_node *node = lx_tree_map_node(&s->map, id);

		if (!(node->flags & LX_TREE_MADE))
			continue;
		if (node->pass == s->pass)
			s->made.v[kept++] = id;
		else
			r = lx_tree_send_remove(s, id, err);
	}
	s->made.n = kept;
	return r;
}

int lx_tree_send_hidden(struct lx_tree_sender *s, struct lx_err *err)
{
	if (s->source.lower < 0 || s->source.index < 0)
		return 0;
	int r = read_index(s, err);

	return r < 0 ? r : remove_unneeded(s, err);
}

void lx_tree_send_hidden_release(struct lx_tree_sender *s)
{
	lx_tree_image_release(&s->image);
	lx_map_release(&s->index);
	lx_tree_set_release(&s->made);
}
