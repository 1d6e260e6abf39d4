/*
 * Through /proc/self/fd, which reaches symbolic links and device nodes that cannot be opened.
 */
#include "migration/tree_xattr.h"

#include <errno.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "migration/tree_entry.h"

#define FD_PATH_MAX 32
#define OVERLAY     "trusted.overlay."
#define TRIES       16

static const char *const exact[] = {
	"security.capability",
	"system.posix_acl_access",
	"system.posix_acl_default",
};

/* Behind "trusted.overlay.". "overlay." begins those of an overlay inside the guest. */
static const char *const overlay[] = { "opaque", "redirect", "metacopy", "whiteout", "xwhiteouts" };

bool lx_tree_xattr_travels(const char *name)
{
	if (strlen(name) > XATTR_NAME_MAX)
		return false;
	if (lx_starts_with(name, OVERLAY)) {
		const char *rest = name + strlen(OVERLAY);

		for (size_t i = 0; i < LX_ARRAY_SIZE(overlay); i++)
			if (strcmp(rest, overlay[i]) == 0)
				return true;
		return lx_starts_with(rest, "overlay.");
	}
	for (size_t i = 0; i < LX_ARRAY_SIZE(exact); i++)
		if (strcmp(name, exact[i]) == 0)
			return true;
	return (lx_starts_with(name, "user.") && name[5]) || (lx_starts_with(name, "trusted.") && name[8]);
}

void lx_tree_xattrs_release(struct lx_tree_xattrs *x)
{
	free(x->v);
	free(x->items);
	lx_buf_release(&x->names);
	lx_buf_release(&x->values);
	*x = (struct lx_tree_xattrs){ 0 };
}

/* ------------------------------------------------------------------ reading */

static int list_names(const char *path, struct lx_buf *names)
{
	names->len = 0;
	for (int i = 0; i < TRIES; i++) {
		ssize_t n = listxattr(path, NULL, 0);

		if (n == 0 || (n < 0 && errno == ENOTSUP))
			return 0;
		if (n < 0)
			return -errno;
		int r = lx_buf_reserve(names, (size_t)n);

		if (r < 0)
			return r;
		n = listxattr(path, (char *)names->data, (size_t)n);
		if (n >= 0) {
			names->len = (size_t)n;
			return 0;
		}
		if (errno != ERANGE)
			return -errno;
	}
	return -E2BIG;
}

/* -ENODATA: it is gone meanwhile. */
static int read_value(const char *path, const char *name, struct lx_buf *values, size_t *ret)
{
	for (int i = 0; i < TRIES; i++) {
		ssize_t n = getxattr(path, name, NULL, 0);

		if (n < 0)
			return -errno;
		if ((size_t)n > LX_TREE_XATTR_MAX || values->len + (size_t)n > LX_TREE_XATTRS_MAX)
			return -E2BIG;
		int r = lx_buf_reserve(values, (size_t)n + 1);

		if (r < 0)
			return r;
		/* Never with size 0, which asks for the length. */
		n = getxattr(path, name, values->data + values->len, (size_t)n + 1);
		if (n >= 0) {
			*ret = (size_t)n;
			values->len += (size_t)n;
			return 0;
		}
		if (errno != ERANGE)
			return -errno;
	}
	return -E2BIG;
}

static int add(struct lx_tree_xattrs *x, const char *name, size_t len)
{
	if (x->n == x->cap) {
		size_t cap = x->cap ? x->cap * 2 : 8;
		Lxmgr__V1__TreeXattr *grown = realloc(x->items, cap * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		x->items = grown;
		x->cap = cap;
	}
	Lxmgr__V1__TreeXattr *item = &x->items[x->n++];

	lxmgr__v1__tree_xattr__init(item);
	item->name = (char *)name;
	item->value.len = len;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(Lxmgr__V1__TreeXattr *const *)a)->name, (*(Lxmgr__V1__TreeXattr *const *)b)->name);
}

/* Once nothing moves any more. */
static int set_pointers(struct lx_tree_xattrs *x)
{
	uint8_t *at = x->values.data;
	void *grown = realloc(x->v, x->n * sizeof(*x->v));

	if (!grown)
		return -ENOMEM;
	x->v = grown;
	for (size_t i = 0; i < x->n; i++) {
		x->items[i].value.data = at;
		at += x->items[i].value.len;
		x->v[i] = &x->items[i];
	}
	qsort(x->v, x->n, sizeof(*x->v), by_name);
	return 0;
}

int lx_tree_xattrs_read(int fd, struct lx_tree_xattrs *x)
{
	char path[FD_PATH_MAX];

	x->n = 0;
	x->values.len = 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int r = list_names(path, &x->names);

	for (size_t at = 0; at < x->names.len && r == 0;) {
		const char *name = (const char *)x->names.data + at;
		size_t len = 0;

		at += strlen(name) + 1;
		if (!lx_tree_xattr_travels(name))
			continue;
		r = read_value(path, name, &x->values, &len);
		if (r == -ENODATA)
			r = 0;
		else if (r == 0)
			r = add(x, name, len);
	}
	return r < 0 || x->n == 0 ? r : set_pointers(x);
}

const Lxmgr__V1__TreeXattr *lx_tree_xattrs_get(const struct lx_tree_xattrs *x, const char *name)
{
	for (size_t i = 0; i < x->n; i++)
		if (strcmp(x->v[i]->name, name) == 0)
			return x->v[i];
	return NULL;
}

/* ------------------------------------------------------------------ ids in ACLs */

/* struct posix_acl_xattr_header and _entry of the kernel, little-endian. */
#define ACL_VERSION 2u
#define ACL_HEAD    4u
#define ACL_ENTRY   8u
#define ACL_USER    0x02u
#define ACL_GROUP   0x08u

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void put32(uint8_t *at, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

void lx_tree_xattrs_shift(struct lx_tree_xattrs *x, uint32_t shift)
{
	for (size_t i = 0; i < x->n; i++) {
		const ProtobufCBinaryData *v = &x->v[i]->value;

		if (!lx_starts_with(x->v[i]->name, "system.posix_acl_") || v->len < ACL_HEAD ||
		    get32(v->data) != ACL_VERSION)
			continue;
		for (size_t at = ACL_HEAD; at + ACL_ENTRY <= v->len; at += ACL_ENTRY) {
			unsigned tag = v->data[at] | (unsigned)v->data[at + 1] << 8;

			if (tag == ACL_USER || tag == ACL_GROUP)
				put32(v->data + at + 4, get32(v->data + at + 4) + shift);
		}
	}
}

/* ------------------------------------------------------------------ applying */

static bool wanted(const Lxmgr__V1__TreeEntry *e, const char *name)
{
	for (size_t i = 0; i < e->n_xattrs; i++)
		if (strcmp(e->xattrs[i]->name, name) == 0)
			return true;
	return false;
}

int lx_tree_xattrs_apply(int fd, const Lxmgr__V1__TreeEntry *e)
{
	char path[FD_PATH_MAX];
	lx_autobuf struct lx_buf names = { 0 };

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int r = list_names(path, &names);

	/* What it had before, or got from its directory's default ACL. */
	for (size_t at = 0; at < names.len && r == 0;) {
		const char *name = (const char *)names.data + at;

		at += strlen(name) + 1;
		if (lx_tree_xattr_travels(name) && !wanted(e, name) && removexattr(path, name) < 0 &&
		    errno != ENODATA)
			r = -errno;
	}
	for (size_t i = 0; i < e->n_xattrs && r == 0; i++) {
		const Lxmgr__V1__TreeXattr *x = e->xattrs[i];

		if (setxattr(path, x->name, x->value.data, x->value.len, 0) < 0)
			r = -errno;
	}
	return r;
}
