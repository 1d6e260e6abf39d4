/*
 * What CRIU 4.2 can dump of a systemd guest and what not: tables, and functions on what was
 * read. No I/O.
 */
#ifndef LX_MIGRATION_PREFLIGHT_JUDGE_H
#define LX_MIGRATION_PREFLIGHT_JUDGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "migration/mounts.h"

#define LX_VERDICT_TEXT_MAX 512

/* An obstacle without its subject. */
struct lx_verdict {
	const char *code; /* NULL: nothing to say */
	bool passes;      /* it does not block */
	/* Of a process: what follows "process 412 (redis-server, unit redis.service) ". Of a mount: all. */
	char what[LX_VERDICT_TEXT_MAX];
	char cure[LX_VERDICT_TEXT_MAX];
};

/* A namespace, other than init's, of kind "uts" (its name in /proc/<pid>/ns); unit: "" if none. */
void lx_judge_namespace(const char *kind, const char *unit, struct lx_verdict *v);

/* A descriptor, as /proc/<pid>/fd and statx(2) show it. */
struct lx_judge_fd {
	int fd;
	const char *link;
	uint32_t mode;
	uint32_t major, minor; /* of a device */
	uint32_t nlink;
	uint64_t bytes;     /* on disk or in memory */
	bool mount_known;   /* a file: it lies in a mount of the guest; a namespace: a process is in it */
	bool process_known; /* the process of a pidfd is moved along, or has ended */
	bool lxcfs_ended;   /* it is of lxcfs, and of none that serves */
	const char *socket; /* name of a socket's protocol, as in /proc/net/protocols; NULL: not known */
};
void lx_judge_fd(const struct lx_judge_fd *fd, struct lx_verdict *v);

/* Something in a process' memory, by its path in /proc/<pid>/maps. */
void lx_judge_mapping(const char *path, struct lx_verdict *v);

/* Files of lxcfs are mounted, and it does not answer. */
void lx_judge_lxcfs_silent(struct lx_verdict *v);

/*
 * A mount. `outside`: the node's own tables, to know what comes from there; may be empty.
 */
void lx_judge_mount(const struct lx_mount *m, const struct lx_mounts *guest, const struct lx_mounts *outside,
		    struct lx_verdict *v);

#endif
