/* What a process says of itself in its environment is its own affair: it harms its own timers only. */
#include "migration/keepalives.h"

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/timerfd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "migration/descriptors.h"

#define WATCHDOG "WATCHDOG_USEC="
/* /proc/PID/environ; systemd's own variables come early. */
#define ENVIRON_MAX (64u * 1024)

/* 0: it has none. */
static uint64_t watchdog_usec(pid_t pid)
{
	lx_autobuf struct lx_buf text = { 0 };
	uint64_t usec = 0;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
	if (lx_read_file(path, ENVIRON_MAX, &text, NULL) < 0)
		return 0;
	for (size_t at = 0; at < text.len;) {
		const char *one = (const char *)text.data + at;
		size_t n = strnlen(one, text.len - at);

		if (at + n < text.len && lx_starts_with(one, WATCHDOG))
			return lx_parse_u64(one + strlen(WATCHDOG), &usec) == 0 ? usec : 0;
		at += n + 1;
	}
	return 0;
}

struct putting {
	uint64_t by_ns;
	unsigned done;
};

static bool is_timer(const char *target, void *arg)
{
	return lx_streq(target, "anon_inode:[timerfd]");
}

static bool has_expired(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

static int put_off(int fd, int number, const char *target, void *arg, struct lx_err *err)
{
	struct putting *p = arg;
	struct itimerspec t;

	if (timerfd_gettime(fd, &t) < 0)
		return 0;
	uint64_t left = (uint64_t)t.it_value.tv_sec * LX_NSEC_PER_SEC + (uint64_t)t.it_value.tv_nsec;

	if (!has_expired(fd) && (left == 0 || left >= p->by_ns))
		return 0;
	t.it_value.tv_sec = (time_t)(p->by_ns / LX_NSEC_PER_SEC);
	t.it_value.tv_nsec = (long)(p->by_ns % LX_NSEC_PER_SEC);
	p->done += timerfd_settime(fd, 0, &t, NULL) == 0;
	return 0;
}

unsigned lx_keepalives_put_off(const pid_t *pids, size_t n)
{
	struct putting p = { .done = 0 };
	const struct lx_descriptors d = { .wanted = is_timer, .each = put_off, .arg = &p };

	for (size_t i = 0; i < n; i++) {
		uint64_t quarter = watchdog_usec(pids[i]) / 4;

		if (quarter == 0)
			continue;
		p.by_ns = quarter < LX_KEEPALIVE_MS * 1000 ? quarter * 1000
							   : LX_KEEPALIVE_MS * (uint64_t)LX_NSEC_PER_MSEC;
		(void)lx_descriptors_each(pids[i], &d, NULL);
	}
	return p.done;
}
