/*
 * What the other node says its tree looks like, made here.
 *
 * The map knows every entry that is there, so a frame can be judged before anything is touched:
 * its directory must have come before it, a link must lead to something that came before it, only
 * a file that is there can be changed in place. Whatever a frame says, the kernel is asked to
 * resolve paths beneath the directory and through no symbolic link.
 *
 * Goes wrong: INVALID_ARGUMENT for frames that no sender sends; the errors of the file system,
 * a full one above all; DATA_LOSS when the digests differ at the end.
 */
#include "migration/tree_receive.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"

/* ------------------------------------------------------------------ directories */

static int open_beneath(const struct lx_tree_receiver *r, const char *path, uint64_t flags)
{
	struct open_how how = { .flags = flags | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV };
	int fd = (int)syscall(SYS_openat2, r->dir, *path ? path : ".", &how, sizeof(how));

	return fd < 0 ? -errno : fd;
}

static int open_node_dir(struct lx_tree_receiver *r, uint32_t id, struct lx_err *err)
{
	int n = lx_tree_map_path(&r->map, id, r->path);

	if (n < 0)
		return lx_err_errno(err, n, "cannot open a directory of the instance");
	int fd = open_beneath(r, r->path, O_PATH);

	return fd < 0 ? lx_err_errno(err, fd, "cannot open \"%.200s\"", r->path) : fd;
}

static void close_parent(struct lx_tree_receiver *r)
{
	if (r->parent_fd >= 0)
		close(r->parent_fd);
	r->parent_fd = -1;
	r->parent = LX_TREE_NONE;
}

int lx_tree_receive_parent(struct lx_tree_receiver *r, uint32_t id, struct lx_err *err)
{
	uint32_t parent = lx_tree_map_node(&r->map, id)->parent;

	if (parent == r->parent)
		return r->parent_fd;
	close_parent(r);
	int fd = open_node_dir(r, parent, err);

	if (fd < 0)
		return fd;
	r->parent = parent;
	return r->parent_fd = fd;
}

int lx_tree_receive_touch(struct lx_tree_receiver *r, uint32_t dir, struct lx_err *err)
{
	struct lx_tree_node *node = lx_tree_map_node(&r->map, dir);

	if (node->flags & LX_TREE_TOUCHED)
		return 0;
	if (r->n_touched == r->cap_touched) {
		size_t cap = r->cap_touched ? r->cap_touched * 2 : 64;
		uint32_t *grown = realloc(r->touched, cap * sizeof(*grown));

		if (!grown)
			return lx_err_oom(err);
		r->touched = grown;
		r->cap_touched = cap;
	}
	r->touched[r->n_touched++] = dir;
	node->flags |= LX_TREE_TOUCHED;
	return 0;
}

static int set_dir_times(struct lx_tree_receiver *r, struct lx_err *err)
{
	for (size_t i = 0; i < r->n_touched; i++) {
		struct lx_tree_node *node = lx_tree_map_node(&r->map, r->touched[i]);

		if (!(node->flags & LX_TREE_TOUCHED))
			continue;
		node->flags &= (uint16_t)~LX_TREE_TOUCHED;
		lx_autoclose int fd = open_node_dir(r, r->touched[i], err);

		if (fd < 0)
			return fd;
		int e = lx_tree_receive_times(fd, (int64_t)node->ino, (int64_t)node->stamp);

		if (e < 0)
			return lx_err_errno(err, e, "cannot set the times of \"%.200s\"", r->path);
	}
	r->n_touched = 0;
	return 0;
}

/* ------------------------------------------------------------------ removing */

static int unlink_node(struct lx_tree_receiver *r, uint32_t id, struct lx_err *err)
{
	const struct lx_tree_node *node = lx_tree_map_node(&r->map, id);
	int dir = lx_tree_receive_parent(r, id, err);

	if (dir < 0)
		return dir;
	if (unlinkat(dir, lx_tree_map_name(&r->map, id), node->flags & LX_TREE_DIR ? AT_REMOVEDIR : 0) < 0)
		return lx_err_errno(err, errno, "cannot remove \"%.200s\"", lx_tree_map_name(&r->map, id));
	return lx_tree_receive_touch(r, node->parent, err);
}

int lx_tree_receive_clear(struct lx_tree_receiver *r, uint32_t top, struct lx_err *err)
{
	uint32_t id = top;

	for (;;) {
		uint32_t child = lx_tree_map_node(&r->map, id)->child;

		if (child != LX_TREE_NONE) {
			id = child;
			continue;
		}
		uint32_t up = lx_tree_map_node(&r->map, id)->parent;
		int e = unlink_node(r, id, err);

		if (e < 0)
			return e;
		/* The directory that is gone may be the one that is open. */
		if (r->parent == id)
			close_parent(r);
		if (id == top)
			return 0;
		lx_tree_map_forget(&r->map, id);
		id = up;
	}
}

static int receive_remove(struct lx_tree_receiver *r, const char *path, struct lx_err *err)
{
	uint32_t id = lx_tree_path_ok(path) ? lx_tree_map_lookup(&r->map, path) : LX_TREE_NONE;

	if (id == LX_TREE_NONE || id == LX_TREE_ROOT)
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "the other node removes \"%.200s\", which it never sent", path);
	int e = lx_tree_receive_clear(r, id, err);

	if (e == 0)
		lx_tree_map_forget(&r->map, id);
	return e;
}

/* ------------------------------------------------------------------ entries */

static int refuse(const Lxmgr__V1__TreeEntry *e, const char *why, struct lx_err *err)
{
	return lx_err_set(err, LX_INVALID_ARGUMENT, "entry \"%.200s\" of the other node: %s", e->path, why);
}

/* Its node, made when there is none. */
static int node_of(struct lx_tree_receiver *r, const Lxmgr__V1__TreeEntry *e, uint32_t *ret,
		   struct lx_err *err)
{
	const char *slash = strrchr(e->path, '/'), *name = slash ? slash + 1 : e->path;
	uint32_t parent = LX_TREE_ROOT;

	*ret = LX_TREE_ROOT;
	if (!*e->path)
		return 0;
	if (slash) {
		memcpy(r->path, e->path, (size_t)(slash - e->path));
		r->path[slash - e->path] = '\0';
		parent = lx_tree_map_lookup(&r->map, r->path);
	}
	if (parent == LX_TREE_NONE || !(lx_tree_map_node(&r->map, parent)->flags & LX_TREE_DIR))
		return refuse(e, "its directory was never sent", err);
	*ret = lx_tree_map_find(&r->map, parent, name, strlen(name));
	if (e->in_place && (*ret == LX_TREE_NONE || !(lx_tree_map_node(&r->map, *ret)->flags & LX_TREE_REG) ||
			    lx_tree_map_node(&r->map, *ret)->flags & LX_TREE_LINK))
		return refuse(e, "it is to be changed, and there is no such file", err);
	return *ret == LX_TREE_NONE ? lx_tree_map_add(&r->map, parent, name, strlen(name), ret, err) : 0;
}

static int receive_link(struct lx_tree_receiver *r, const Lxmgr__V1__TreeEntry *e, struct lx_err *err)
{
	uint32_t to = lx_tree_map_lookup(&r->map, e->link_to), id;

	if (to == LX_TREE_NONE || !(lx_tree_map_node(&r->map, to)->flags & LX_TREE_KNOWN) ||
	    lx_tree_map_node(&r->map, to)->flags & (LX_TREE_DIR | LX_TREE_LINK))
		return refuse(e, "what it is a further name of was never sent", err);
	int x = node_of(r, e, &id, err);

	return x < 0 ? x : lx_tree_receive_link(r, id, to, e, err);
}

static int receive_entry(struct lx_tree_receiver *r, const Lxmgr__V1__TreeEntry *e, struct lx_err *err)
{
	uint32_t id;
	int x = lx_tree_entry_check(e, err);

	if (x < 0)
		return x;
	if (*e->link_to)
		return receive_link(r, e, err);
	x = node_of(r, e, &id, err);
	return x < 0 ? x : lx_tree_receive_make(r, id, e, err);
}

int lx_tree_receive(struct lx_tree_receiver *r, const Lxmgr__V1__MoveFrame *frame, struct lx_err *err)
{
	int e;

	if (frame->what_case == LXMGR__V1__MOVE_FRAME__WHAT_TREE_DATA)
		return lx_tree_receive_data(r, frame->tree_data, err);
	e = lx_tree_receive_finish(r, err);
	if (e < 0)
		return e;
	switch (frame->what_case) {
	case LXMGR__V1__MOVE_FRAME__WHAT_ENTRY:
		return receive_entry(r, frame->entry, err);
	case LXMGR__V1__MOVE_FRAME__WHAT_TREE_REMOVE:
		return receive_remove(r, frame->tree_remove, err);
	default:
		return lx_err_set(err, LX_INVALID_ARGUMENT, "frame %d of the other node is none of files",
				  (int)frame->what_case);
	}
}

/* ------------------------------------------------------------------ end of a pass */

static int check_digest(struct lx_tree_receiver *r, const Lxmgr__V1__TreeEnd *end, struct lx_err *err)
{
	uint8_t digest[LX_TREE_DIGEST_LEN];

	lx_tree_map_digest(&r->map, digest);
	if (end->digest.len == sizeof(digest) && memcmp(end->digest.data, digest, sizeof(digest)) == 0)
		return 0;
	int e = lx_err_set(err, LX_DATA_LOSS, "the files that arrived are not those that the other node has");

	lx_err_hint(err, "Try again; the instance has not left its node. If it happens again, look for "
			 "memory or disk errors on both nodes.");
	return e;
}

int lx_tree_receive_end(struct lx_tree_receiver *r, const Lxmgr__V1__TreeEnd *end, struct lx_err *err)
{
	int e = lx_tree_receive_finish(r, err);

	if (e == 0)
		e = check_digest(r, end, err);
	if (e == 0)
		e = set_dir_times(r, err);
	if (e == 0 && syncfs(r->dir) < 0)
		e = lx_err_errno(err, errno, "cannot write the instance's files to disk");
	return e;
}

uint64_t lx_tree_received_bytes(const struct lx_tree_receiver *r)
{
	return r->bytes;
}

int lx_tree_receiver_open(int dir, struct lx_tree_receiver **ret, struct lx_err *err)
{
	struct lx_tree_receiver *r = calloc(1, sizeof(*r));

	if (!r)
		return lx_err_oom(err);
	r->dir = r->parent_fd = r->file.fd = -1;
	r->parent = LX_TREE_NONE;
	r->block = malloc(LX_TREE_BLOCK);
	int e = r->block ? lx_tree_map_init(&r->map, err) : lx_err_oom(err);

	if (e == 0) {
		r->dir = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (r->dir < 0)
			e = lx_err_errno(err, errno, "cannot open the directory for the instance's files");
	}
	if (e < 0) {
		lx_tree_receiver_free(r);
		return e;
	}
	/* It is there; its metadata come with the first entry. */
	lx_tree_map_node(&r->map, LX_TREE_ROOT)->flags |= LX_TREE_DIR;
	*ret = r;
	return 0;
}

void lx_tree_receiver_free(struct lx_tree_receiver *r)
{
	if (!r)
		return;
	lx_tree_receive_drop(&r->file);
	close_parent(r);
	if (r->dir >= 0)
		close(r->dir);
	lx_tree_map_release(&r->map);
	lx_buf_release(&r->scratch);
	free(r->touched);
	free(r->block);
	free(r);
}
