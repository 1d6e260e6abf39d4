#include "migration/tree_entry.h"

#include <limits.h>
#include <string.h>

#include "migration/tree.h"
#include "migration/tree_xattr.h"

bool lx_tree_path_ok(const char *path)
{
	if (strlen(path) >= LX_TREE_PATH_MAX)
		return false;
	for (const char *at = path; *at;) {
		size_t len = strcspn(at, "/");

		if (len == 0 || len > NAME_MAX || (len <= 2 && strncmp(at, "..", len) == 0))
			return false;
		at += len;
		/* A slash must be followed by something. */
		if (*at == '/' && !*++at)
			return false;
	}
	return true;
}

/* ------------------------------------------------------------------ checks */

static int refuse(const Lxmgr__V1__TreeEntry *e, const char *why, struct lx_err *err)
{
	return lx_err_set(err, LX_INVALID_ARGUMENT, "entry \"%.200s\" of the other node: %s", e->path, why);
}

static bool type_ok(mode_t mode)
{
	return S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode) || S_ISCHR(mode) || S_ISBLK(mode) ||
	       S_ISFIFO(mode) || S_ISSOCK(mode);
}

static int xattrs_check(const Lxmgr__V1__TreeEntry *e, struct lx_err *err)
{
	size_t total = 0;

	for (size_t i = 0; i < e->n_xattrs; i++) {
		const Lxmgr__V1__TreeXattr *x = e->xattrs[i];
		size_t len = strlen(x->name);

		total += len + x->value.len;
		if (!lx_tree_xattr_travels(x->name))
			return refuse(e, "it has an extended attribute that is not carried", err);
		if (x->value.len > LX_TREE_XATTR_MAX || total > LX_TREE_XATTRS_MAX)
			return refuse(e, "its extended attributes are too large", err);
		if (i > 0 && strcmp(e->xattrs[i - 1]->name, x->name) >= 0)
			return refuse(e, "its extended attributes are not in order", err);
	}
	return 0;
}

int lx_tree_entry_check(const Lxmgr__V1__TreeEntry *e, struct lx_err *err)
{
	mode_t mode = (mode_t)e->mode;

	if (!lx_tree_path_ok(e->path))
		return refuse(e, "this is no path", err);
	if (*e->link_to) {
		if (!*e->path || !lx_tree_path_ok(e->link_to) || strcmp(e->link_to, e->path) == 0)
			return refuse(e, "what it is a further name of is no path", err);
		return 0;
	}
	if (!type_ok(mode) || e->mode & ~(uint32_t)(S_IFMT | 07777))
		return refuse(e, "its mode is unknown", err);
	if (!*e->path && !S_ISDIR(mode))
		return refuse(e, "the top must be a directory", err);
	if (e->uid == UINT32_MAX || e->gid == UINT32_MAX)
		return refuse(e, "its owner is no id", err);
	if (S_ISREG(mode) ? e->size > INT64_MAX : e->in_place)
		return refuse(e, "its size or place is impossible", err);
	if (S_ISLNK(mode) && (e->target.len == 0 || e->target.len > LX_TREE_TARGET_MAX ||
			      memchr(e->target.data, '\0', e->target.len)))
		return refuse(e, "its target is impossible", err);
	return xattrs_check(e, err);
}

/* ------------------------------------------------------------------ digest */

static int add_text(struct lx_buf *b, const char *s)
{
	return lx_buf_append(b, s, strlen(s) + 1);
}

static int add_number(struct lx_buf *b, uint64_t n)
{
	uint8_t bytes[8];

	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(n >> (8 * i));
	return lx_buf_append(b, bytes, sizeof(bytes));
}

static int add_bytes(struct lx_buf *b, const ProtobufCBinaryData *d)
{
	int r = add_number(b, d->len);

	return r < 0 ? r : lx_buf_append(b, d->data, d->len);
}

static int add_entry(struct lx_buf *b, const Lxmgr__V1__TreeEntry *e)
{
	mode_t mode = (mode_t)e->mode;
	uint64_t numbers[] = {
		e->mode,
		e->uid,
		e->gid,
		S_ISREG(mode) ? e->size : 0,
		(uint64_t)e->mtime_ns,
		S_ISCHR(mode) || S_ISBLK(mode) ? e->rdev : 0,
		e->n_xattrs,
	};
	int r = 0;

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers) && r == 0; i++)
		r = add_number(b, numbers[i]);
	if (r == 0 && S_ISLNK(mode))
		r = add_bytes(b, &e->target);
	for (size_t i = 0; i < e->n_xattrs && r == 0; i++) {
		r = add_text(b, e->xattrs[i]->name);
		if (r == 0)
			r = add_bytes(b, &e->xattrs[i]->value);
	}
	return r;
}

int lx_tree_entry_hash(const Lxmgr__V1__TreeEntry *e, struct lx_buf *scratch, struct lx_tree_hash *ret)
{
	scratch->len = 0;
	int r = add_text(scratch, e->path);

	if (r == 0)
		r = add_text(scratch, e->link_to);
	if (r == 0 && !*e->link_to)
		r = add_entry(scratch, e);
	if (r == 0)
		*ret = lx_tree_hash128(scratch->data, scratch->len);
	return r;
}

struct lx_tree_hash lx_tree_whole_hash(struct lx_tree_hash entry, struct lx_tree_hash content)
{
	uint64_t both[] = { entry.lo, entry.hi, content.lo, content.hi };

	return lx_tree_hash128(both, sizeof(both));
}
