/* Timers of a process that is watched, and of one that is not: which are put off, from outside. */
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "migration/keepalives.h"

/* What it has at these numbers, in milliseconds until it is due. */
enum { OVER = 60, SOON, LATER, OFF };
static const struct {
	int number;
	long ms;
} timers[] = { { OVER, 1 }, { SOON, 200 }, { LATER, 60000 }, { OFF, 0 } };

#define MS 1000000L

/* The program itself, told to have timers and to wait (main). */
static int have_timers(void)
{
	for (size_t i = 0; i < sizeof(timers) / sizeof(*timers); i++) {
		const struct itimerspec t = { .it_value = { timers[i].ms / 1000, timers[i].ms % 1000 * MS } };
		int fd = timerfd_create(CLOCK_MONOTONIC, 0);

		if (fd < 0 || timerfd_settime(fd, 0, &t, NULL) < 0 || dup2(fd, timers[i].number) < 0)
			return 1;
		close(fd);
	}
	if (poll(&(struct pollfd){ .fd = OVER, .events = POLLIN }, 1, 5000) != 1 || write(1, "r", 1) != 1)
		return 1;
	pause();
	return 0;
}

static pid_t start(const char *watchdog)
{
	char *const argv[] = { (char *)(uintptr_t) "watched", NULL };
	char *const env[] = { (char *)(uintptr_t) "HOME=/", (char *)(uintptr_t)watchdog, NULL };
	char byte;
	int p[2];

	assert_int_equal(pipe(p), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(p[1], 1);
		execve("/proc/self/exe", argv, env);
		_exit(1);
	}
	close(p[1]);
	assert_int_equal(read(p[0], &byte, 1), 1);
	close(p[0]);
	return pid;
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* Milliseconds until it is due; -1: it has expired. */
static long left(pid_t pid, int number)
{
	struct itimerspec t;
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);

	assert_true(fd >= 0);
	bool over = poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 0) == 1;
	assert_int_equal(timerfd_gettime(fd, &t), 0);
	close(fd);
	close(pidfd);
	return over ? -1 : t.it_value.tv_sec * 1000 + t.it_value.tv_nsec / MS;
}

static void those_that_are_due_are_put_off(void **state)
{
	pid_t pid = start("WATCHDOG_USEC=180000000");

	/* The one that is over, and the one that soon is unless this machine stood still for long. */
	assert_in_range(lx_keepalives_put_off(&pid, 1), 1, 2);
	assert_in_range(left(pid, OVER), 0, LX_KEEPALIVE_MS);
	assert_true(left(pid, LATER) > 10 * (long)LX_KEEPALIVE_MS);
	assert_int_equal(left(pid, OFF), 0);
	end(pid);
}

/* A quarter of it, and no more. */
static void short_watchdogs_wait_shorter(void **state)
{
	pid_t pid = start("WATCHDOG_USEC=40000");

	assert_in_range(lx_keepalives_put_off(&pid, 1), 1, 2);
	assert_true(left(pid, OVER) <= 10);
	end(pid);
}

static void others_are_left_alone(void **state)
{
	static const char *const said[] = { "WATCHDOG_USECS=5000000", "WATCHDOG_USEC=", "WATCHDOG_USEC=-1",
					    NULL };

	for (size_t i = 0; i < sizeof(said) / sizeof(*said); i++) {
		pid_t pids[] = { 0x3ffffff0, start(said[i]) };

		assert_int_equal(lx_keepalives_put_off(pids, 2), 0);
		assert_int_equal(left(pids[1], OVER), -1);
		end(pids[1]);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(those_that_are_due_are_put_off),
		cmocka_unit_test(short_watchdogs_wait_shorter),
		cmocka_unit_test(others_are_left_alone),
	};

	if (strcmp(argv[0], "watched") == 0)
		return have_timers();
	return cmocka_run_group_tests_name("migration_keepalives", tests, NULL, NULL);
}
