/*
 * Pressure triggers set from outside, on a real process: what a restored file looks like to the one
 * that polls it, and that it is quiet afterwards.
 */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "migration/pressure.h"

#define PRESSURE "/proc/pressure/io"

/* The other process: asked with a byte, it answers with what polling the file says. */
static void watcher(int sock)
{
	int fd = open(PRESSURE, O_RDWR | O_NONBLOCK);
	int other = open(PRESSURE, O_RDONLY);
	char c;

	while (fd >= 0 && other >= 0 && read(sock, &c, 1) == 1) {
		struct pollfd p = { .fd = fd, .events = POLLPRI };

		if (poll(&p, 1, 0) < 0 || write(sock, &p.revents, sizeof(p.revents)) < 0)
			break;
	}
	_exit(1);
}

static short ask(int sock)
{
	short revents = 0;

	assert_int_equal(write(sock, "?", 1), 1);
	assert_int_equal(read(sock, &revents, sizeof(revents)), sizeof(revents));
	return revents;
}

static void sets_what_was_lost(void **state)
{
	unsigned n = 0;
	int s[2];

	if (geteuid() != 0 || access(PRESSURE, W_OK) < 0) {
		print_message("needs root, and a kernel with " PRESSURE "\n");
		skip();
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(s[0]);
		watcher(s[1]);
	}
	close(s[1]);
	assert_true(ask(s[0]) & POLLERR); /* no trigger: it would turn in its loop */

	pid_t pids[] = { pid, 0x3ffffff0 };

	assert_int_equal(lx_pressure_rearm(pids, 2, &n, NULL), 0);
	assert_int_equal(n, 1); /* not the one that is only read */
	assert_false(ask(s[0]) & POLLERR);
	assert_int_equal(lx_pressure_rearm(pids, 1, &n, NULL), 0);
	assert_int_equal(n, 0);
	close(s[0]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(sets_what_was_lost) };

	return cmocka_run_group_tests_name("migration: pressure", tests, NULL, NULL);
}
