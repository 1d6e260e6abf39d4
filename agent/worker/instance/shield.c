/*
 * The mount is a copy of the one file's, detached and read-only. Nothing else sees it, and it goes when
 * the last process that runs from it has gone.
 *
 * Where it cannot be made the worker goes on as it is; lx_shield_check() then refuses what needs it.
 */
#include "agent/worker/instance/shield.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/log.h"

#define SELF "/proc/self/exe"

static bool is_shielded(void)
{
	lx_autoclose int fd = open(SELF, O_PATH | O_CLOEXEC);
	struct statvfs fs;

	return fd >= 0 && fstatvfs(fd, &fs) == 0 && (fs.f_flag & ST_RDONLY);
}

void lx_shield(char **argv)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY, .propagation = MS_PRIVATE };

	if (is_shielded())
		return;
	/* Closed when it has been executed: the program itself holds the mount from then on. */
	lx_autoclose int fd = open_tree(AT_FDCWD, SELF, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (fd >= 0 && mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) == 0)
		execveat(fd, "", argv, environ, AT_EMPTY_PATH);
	lx_debug("the worker runs from where it can be written", "errno=%d", errno);
}

int lx_shield_check(const char *name, struct lx_err *err)
{
	if (is_shielded())
		return 0;
	int r = lx_err_set(err, LX_FAILED_PRECONDITION,
			   "%s is privileged, and the programs of this node's agent could be written from "
			   "within",
			   name);

	lx_err_hint(err, "The agent needs CAP_SYS_ADMIN and Linux 5.12 or newer to keep them read-only.");
	return r;
}
