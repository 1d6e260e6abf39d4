/* Ways to fail: no right to the process, its descriptors or their copies; what the caller does with one. */
#include "migration/descriptors.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/str.h"

static int visit(const struct lx_descriptors *d, int pidfd, int dir, const char *name, pid_t pid,
		 struct lx_err *err)
{
	char target[PATH_MAX];
	uint64_t number;

	if (lx_parse_u64(name, &number) < 0 || number > INT32_MAX)
		return 0;
	ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);

	if (n <= 0)
		return 0;
	target[n] = '\0';
	if (!d->wanted(target, d->arg))
		return 0;
	lx_autoclose int fd = (int)syscall(SYS_pidfd_getfd, pidfd, (int)number, 0);

	if (fd < 0)
		return errno == EBADF || errno == ESRCH
			       ? 0
			       : lx_err_errno(err, errno, "cannot get descriptor %s of process %d", name,
					      (int)pid);
	return d->each(fd, (int)number, target, d->arg, err);
}

int lx_descriptors_each(pid_t pid, const struct lx_descriptors *d, struct lx_err *err)
{
	lx_autoclose int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	lx_autoclosedir DIR *dir = NULL;
	char path[64];
	struct dirent *e;
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	if (pidfd >= 0)
		dir = opendir(path);
	if (!dir)
		return errno == ESRCH || errno == ENOENT
			       ? 0
			       : lx_err_errno(err, errno, "cannot see the descriptors of process %d",
					      (int)pid);
	while ((e = readdir(dir))) {
		int s = visit(d, pidfd, dirfd(dir), e->d_name, pid, r == 0 ? err : NULL);

		r = r == 0 ? s : r;
	}
	return r;
}
