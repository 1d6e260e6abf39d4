/* Processes that can be seized, and one that cannot, from outside. */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "migration/dumpable.h"

/* The child of a vfork(2), on a stack of its own; its end lets the caller go on. */
static int child(void *arg)
{
	char byte;

	return read(*(int *)arg, &byte, 1) == 1 ? 0 : 1;
}

/* A name that looks like the end of one. */
static void vforker(int sock)
{
	static char stack[65536] __attribute__((aligned(16)));
	char byte;

	prctl(PR_SET_NAME, "a) R 1 (b");
	while (read(sock, &byte, 1) == 1) {
		if (clone(child, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, &sock) < 0)
			_exit(1);
		if (write(sock, "r", 1) != 1) /* it goes on */
			break;
	}
	_exit(1);
}

static bool becomes(pid_t pid, enum lx_dumpable wanted)
{
	pid_t pids[] = { getpid(), 0x3ffffff0, pid };

	for (int i = 0; i < 1000; i++) {
		enum lx_dumpable is;

		assert_int_equal(lx_dumpable(pids, 3, &is, NULL), 0);
		if (is == wanted)
			return true;
		usleep(5000);
	}
	return false;
}

static void finds_who_cannot_be_seized(void **state)
{
	char byte;
	int s[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(s[0]);
		vforker(s[1]);
	}
	close(s[1]);
	assert_true(becomes(pid, LX_DUMPABLE));
	assert_int_equal(write(s[0], "v", 1), 1);
	assert_true(becomes(pid, LX_DUMPABLE_NOT_SEIZED));
	assert_int_equal(write(s[0], "e", 1), 1);
	assert_int_equal(read(s[0], &byte, 1), 1);
	assert_true(becomes(pid, LX_DUMPABLE));
	close(s[0]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_who_cannot_be_seized),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
