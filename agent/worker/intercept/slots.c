/* The calls that the kernel has handed out and that are not answered: in a file, to outlive us. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/worker/intercept/daemon.h"
#include "lib/cleanup.h"

_Static_assert(sizeof(struct lx_slots) <= 4096, "one page");

int lx_slots_open(struct lx_interceptd *d, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];
	struct seccomp_notif_sizes sizes;

	/* A later kernel with more in it would still be asked for what we know. */
	if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0)
		return lx_err_errno(err, errno, "the kernel hands out no system calls");
	snprintf(path, sizeof(path), "%s/%s.calls", d->job.run_dir, d->job.name);
	lx_autoclose int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return lx_err_errno(err, errno, "cannot open %s", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return lx_err_errno(err, EBUSY, "another one serves %s", d->job.name);
	if (ftruncate(fd, sizeof(struct lx_slots)) < 0)
		return lx_err_errno(err, errno, "cannot write %s", path);
	void *map =
		mmap(NULL, sizeof(struct lx_slots), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);

	if (map == MAP_FAILED)
		return lx_err_errno(err, errno, "cannot map %s", path);
	d->slots = map;
	d->slots_fd = lx_move_fd(fd);
	return 0;
}
