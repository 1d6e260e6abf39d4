/*
 * Users and groups of a guest, read from its own /etc/passwd and /etc/group. Pure: the
 * texts are the caller's. No name service of the node or the guest is asked, and what the
 * guest wrote in there is taken as bytes from outside.
 */
#ifndef LX_WORKER_GUEST_USER_H
#define LX_WORKER_GUEST_USER_H

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

#include "lib/err.h"

/* Larger databases are cut off there. */
#define LX_GUEST_DB_MAX     (1024 * 1024)
#define LX_GUEST_GROUPS_MAX 256

struct lx_guest_user {
	uid_t uid;
	gid_t gid;
	char name[64];        /* the number when it has none */
	char home[PATH_MAX];  /* "/" when unknown */
	char shell[PATH_MAX]; /* "/bin/sh" when unknown */
	gid_t groups[LX_GUEST_GROUPS_MAX];
	size_t n_groups;
};

/*
 * `who`: "", "name", "uid", each with ":group" (name or number) if wanted; "" is root. With a
 * group named, that is the only one; else the groups the user belongs to come along. A
 * number without an entry is taken as it is, with the same number as group.
 */
int lx_guest_user_find(const char *passwd, const char *group, const char *who, struct lx_guest_user *ret,
		       struct lx_err *err);

#endif
