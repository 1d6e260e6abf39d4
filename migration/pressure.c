/* Ways to fail: no right to a descriptor; a kernel that takes no triggers (psi=0). */
#include "migration/pressure.h"

#include <errno.h>
#include <unistd.h>

#include "lib/str.h"
#include "migration/descriptors.h"

/* Microseconds. Without privileges a window must be a multiple of two seconds. */
#define TRIGGER "some 200000 2000000"

static bool is_pressure(const char *target, void *arg)
{
	return lx_ends_with(target, ".pressure") || lx_starts_with(target, "/proc/pressure/");
}

static int rearm(int fd, int number, const char *target, void *arg, struct lx_err *err)
{
	unsigned *count = arg;

	/* With its zero, as the kernel's document has it. */
	if (write(fd, TRIGGER, sizeof(TRIGGER)) >= 0)
		(*count)++;
	else if (errno != EBUSY && errno != EBADF) /* it has one; it is only read */
		return lx_err_errno(err, errno, "cannot set a trigger on %s", target);
	return 0;
}

int lx_pressure_rearm(const pid_t *pids, size_t n, unsigned *ret, struct lx_err *err)
{
	unsigned count = 0;
	const struct lx_descriptors d = { .wanted = is_pressure, .each = rearm, .arg = &count };
	int r = 0;

	for (size_t i = 0; i < n; i++) {
		int s = lx_descriptors_each(pids[i], &d, r == 0 ? err : NULL);

		r = r == 0 ? s : r;
	}
	if (ret)
		*ret = count;
	return r;
}
