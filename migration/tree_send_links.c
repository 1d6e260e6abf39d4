/*
 * Files with several names, once the walk has met them all: one name carries the content, the
 * others say that they are further names of it.
 *
 * The name that carried it last time does so again while it is there, so that a file is not
 * sent anew because a directory is read in another order.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "migration/tree_send.h"

#define NAMES_MIN 64u

int lx_tree_send_later(struct lx_tree_sender *s, uint32_t id, uint64_t ino, struct lx_err *err)
{
	if (s->n_names == s->cap_names) {
		size_t cap = s->cap_names ? s->cap_names * 2 : NAMES_MIN;
		struct lx_tree_name *grown = realloc(s->names, cap * sizeof(*grown));

		if (!grown)
			return lx_err_oom(err);
		s->names = grown;
		s->cap_names = cap;
	}
	s->names[s->n_names++] = (struct lx_tree_name){ .ino = ino, .id = id };
	return 0;
}

static int by_inode(const void *a, const void *b)
{
	const struct lx_tree_name *x = a, *y = b;

	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

/* What the receiver has under this name is that inode, with content of its own: 2 if others link to it. */
static int claim(const struct lx_tree_sender *s, const struct lx_tree_name *name)
{
	const struct lx_tree_node *node = lx_tree_map_node(&s->map, name->id);

	if (!(node->flags & LX_TREE_KNOWN) || node->flags & (LX_TREE_LINK | LX_TREE_DIR) ||
	    node->ino != name->ino)
		return 0;
	return node->flags & LX_TREE_LINKED ? 2 : 1;
}

static void choose_first(const struct lx_tree_sender *s, struct lx_tree_name *group, size_t n)
{
	size_t best = 0;

	for (size_t i = 1; i < n; i++)
		if (claim(s, &group[i]) > claim(s, &group[best]))
			best = i;
	struct lx_tree_name first = group[best];

	group[best] = group[0];
	group[0] = first;
}

/* One name with the content. */
static int send_first(struct lx_tree_sender *s, const struct lx_tree_name *name, struct lx_err *err)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV };
	struct stat st;
	int r = lx_tree_send_path(s, name->id, err);

	if (r < 0)
		return r;
	/* The directory, for the last component must not be resolved twice. */
	char *slash = strrchr(s->path, '/');

	if (slash)
		*slash = '\0';
	lx_autoclose int dir = (int)syscall(SYS_openat2, s->upper, slash ? s->path : ".", &how, sizeof(how));
	int e = errno;

	if (slash)
		*slash = '/';
	if (dir < 0 && (e == ENOENT || e == ENOTDIR || e == ELOOP))
		return lx_tree_send_gone(s, s->path, err);
	if (dir < 0)
		return lx_err_errno(err, e, "cannot open the directory of \"%.200s\"", s->path);
	const char *base = slash ? slash + 1 : s->path;

	if (fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? lx_tree_send_gone(s, s->path, err)
				       : lx_err_errno(err, errno, "cannot look at \"%.200s\"", s->path);
	if (st.st_ino != name->ino)
		return lx_tree_send_gone(s, s->path, err);
	return lx_tree_send_node(s, name->id, dir, base, &st, 0, err);
}

static int send_group(struct lx_tree_sender *s, struct lx_tree_name *group, size_t n, struct lx_err *err)
{
	size_t first = 0;
	int sent = LX_TREE_GONE;

	choose_first(s, group, n);
	for (; first < n && sent == LX_TREE_GONE; first++) {
		sent = send_first(s, &group[first], err);
		if (sent < 0)
			return sent;
	}
	if (sent == LX_TREE_GONE)
		return 0;
	uint32_t primary = group[first - 1].id;

	group[first - 1].primary = true;
	for (size_t i = first; i < n; i++) {
		int r = lx_tree_send_path(s, group[i].id, err);

		if (r == 0)
			r = lx_tree_send_link(s, group[i].id, primary, sent == LX_TREE_ANEW, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int lx_tree_send_links(struct lx_tree_sender *s, struct lx_err *err)
{
	size_t n;

	if (s->n_names)
		qsort(s->names, s->n_names, sizeof(*s->names), by_inode);
	for (size_t at = 0; at < s->n_names; at += n) {
		for (n = 1; at + n < s->n_names && s->names[at + n].ino == s->names[at].ino; n++)
			;
		int r = send_group(s, &s->names[at], n, err);

		if (r < 0)
			return r;
	}
	return 0;
}

uint32_t lx_tree_send_primary(const struct lx_tree_sender *s, uint64_t ino)
{
	size_t low = 0, high = s->n_names;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (s->names[mid].ino < ino)
			low = mid + 1;
		else
			high = mid;
	}
	for (; low < s->n_names && s->names[low].ino == ino; low++)
		if (s->names[low].primary)
			return s->names[low].id;
	return LX_TREE_NONE;
}
