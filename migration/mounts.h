/*
 * Tables of mounts (/proc/<pid>/mountinfo, see proc_pid_mountinfo(5)) and what CRIU makes of
 * them. Nothing here does I/O but for lx_mounts_read().
 */
#ifndef LX_MIGRATION_MOUNTS_H
#define LX_MIGRATION_MOUNTS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lib/err.h"

/* Mounts in one table: the kernel's own limit (fs.mount-max) is 100000. */
#define LX_MOUNTS_MAX      100000u
#define LX_MOUNTS_TEXT_MAX (64u * 1024 * 1024)

struct lx_mount {
	int id, parent;
	unsigned int major, minor;
	int shared, master; /* peer groups; 0: none */
	const char *root, *point, *fstype, *source;
	const char *options; /* of the file system, separated by commas */
};

struct lx_mounts {
	struct lx_mount *m;
	size_t n;
	char *text; /* private */
};

/* A line that is not understood is -EBADMSG. `ret` is released by the caller in any case. */
int lx_mounts_parse(const char *text, struct lx_mounts *ret, struct lx_err *err);
/* Those of a process. -ENOENT, -ESRCH, -EINVAL: it is gone. */
int lx_mounts_read(pid_t pid, struct lx_mounts *ret, struct lx_err *err);
void lx_mounts_release(struct lx_mounts *t);

#define lx_automounts __attribute__((cleanup(lx_mounts_release)))

bool lx_mount_is_root(const struct lx_mount *m);
/* `path` is `dir` or below it. */
bool lx_path_is_below(const char *path, const char *dir);
/* A finished or running unit's credentials, which systemd keeps in a ramfs. */
bool lx_mount_is_credentials(const struct lx_mount *m);

/*
 * Mounts whose propagation CRIU cannot make again on restore: it copies it from the one with
 * the shortest root in the group to the others, which the kernel allows only for roots below
 * that one; and a master must be within reach. tables[0] is init's. Calls `fn` for each such
 * mount. They are the two sides of one thing: put in order before a dump where that harms
 * nobody (quiesce.c), reported where not.
 */
int lx_mounts_unshareable(const struct lx_mounts *tables, size_t n_tables,
			  int (*fn)(void *arg, size_t table, const struct lx_mount *m), void *arg);

/*
 * Parts of a tmpfs whose own root is mounted nowhere in these tables, and not in init's (tables[0]) in any
 * part: CRIU has nothing to read the file system by. systemd makes such for a service with
 * PrivateTmp=disconnected (systemd.exec(5), since version 257): one tmpfs, of which one directory becomes its
 * /tmp and another its /var/tmp. Put in order where they are empty (quiesce.c), reported where not.
 */
int lx_mounts_rootless(const struct lx_mounts *tables, size_t n_tables,
		       int (*fn)(void *arg, size_t table, const struct lx_mount *m), void *arg);

#endif
