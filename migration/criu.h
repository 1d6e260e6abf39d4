/*
 * Driving CRIU: where it is, which command lines it gets, what its log says of a failure.
 *
 * Dumps are CRIU's alone. A restore goes through liblxc, whose process becomes the
 * container's monitor; it is told the rest through the environment (hook/main.c).
 */
#ifndef LX_MIGRATION_CRIU_H
#define LX_MIGRATION_CRIU_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "profiles/lxcfs.h"

/* The oldest CRIU that dumps TCP sockets on the kernels this runs on. */
#define LX_CRIU_VERSION_MIN "4.2"
/* Names in the directory of the dump. */
#define LX_CRIU_DUMP_LOG    "dump.log"
#define LX_CRIU_RESTORE_LOG "restore.log"
/*
 * The first image that a restore reads. A destination keeps what came under the second name,
 * beside the dump, and makes the first a pipe (agent/worker/instance/stand_in.c).
 */
#define LX_CRIU_INVENTORY      "inventory.img"
#define LX_CRIU_INVENTORY_KEPT "../inventory"
/* Of files whose names have gone; there only if there are such. */
#define LX_CRIU_REMAPS "remap-fpath.img"
/*
 * Directory below libexec with what CRIU is to find in its PATH before all else: a tar (tar/main.c). Where
 * the guest's root cannot enter it, which CRIU is by then, the machine's own is found.
 */
#define LX_CRIU_TOOLS "criu-tools"
/* Deleted files that are still open travel within the dump up to this size. */
#define LX_CRIU_GHOST_LIMIT (1024ull * 1024 * 1024)

/* Below libexec_dir, where scripts/install-criu puts one, or in PATH. malloc'ed; NULL: none. */
char *lx_criu_find(const char *libexec_dir);

/* Is "4.2.1" new enough? */
bool lx_criu_version_ok(const char *version);

/* What of the node's a guest has mounted, and CRIU is to leave alone. */
struct lx_criu_mounts {
	lx_lxcfs_set lxcfs; /* files of lxcfs (lxcfs_mounts.h) */
	bool securityfs;    /* (securityfs.h) */
};

struct lx_criu_dump {
	const char *criu; /* program */
	pid_t init;
	const char *images;  /* directory, empty */
	const char *freezer; /* the payload's v2 cgroup directory, frozen by the caller */
	const char *cgroup;  /* the payload's, below the mount points: "/lxmgr/web1/payload" */
	const char *hook;    /* program */
	/*
	 * Private memory stays out of the images, and the lists of pages say so. CRIU then keeps
	 * the pages until the socket that it has as LX_CRIU_PAGES_FD is closed at the other end.
	 */
	bool lazy;
	/*
	 * Of cgroups the v2 hierarchy alone is dumped: the guest has groups of its own only there, and
	 * looking at each v1 hierarchy for each task is a third of the time of a dump. Whoever restores
	 * this puts init into the payload's v1 groups before it forks. The directory in which
	 * "unified" leads to that hierarchy: CRIU then mounts none of its own. NULL: all of them.
	 */
	const char *v2_only;
	struct lx_criu_mounts mounts;
};

#define LX_CRIU_PAGES_FD 3

#define LX_CRIU_ARGS_MAX 96
/* NULL-terminated; the strings are the list's: lx_criu_args_release(). */
struct lx_criu_args {
	char *v[LX_CRIU_ARGS_MAX];
	unsigned n;
};

int lx_criu_dump_args(const struct lx_criu_dump *d, struct lx_criu_args *ret, struct lx_err *err);
/*
 * What a restore is told beyond liblxc's own options, separated by newlines. `cgroup`: the
 * payload's on this node; it may have had another one. `lazy`: what the dump says may be, is left
 * to CRIU's daemon, which listens in the directory of the images. `yard`: as lx_criu_dump.v2_only, or
 * NULL; for what was dumped so.
 */
int lx_criu_restore_options(const char *cgroup, const char *yard, bool lazy, struct lx_buf *out,
			    struct lx_err *err);
void lx_criu_args_release(struct lx_criu_args *args);

/*
 * From CRIU's log to an error that names the cause: "CRIU cannot dump web1: ..." with the
 * last line it calls an error, and a hint where the cause is known. Returns a negative errno, -EAGAIN
 * when the cause passes as soon as the processes have run for a moment.
 */
int lx_criu_explain(const char *log, const char *doing, struct lx_err *err);

#endif
