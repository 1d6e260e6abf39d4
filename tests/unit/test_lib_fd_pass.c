#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/fd_pass.h"

static void test_along_with_bytes(void **state)
{
	int pair[2], pipes[2], fd;
	char text[8] = "";

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(lx_fd_send(pair[0], "one", 3, pipes[1]), 0);
	assert_int_equal(lx_fd_recv(pair[1], text, sizeof(text), &fd), 3);
	assert_memory_equal(text, "one", 3);
	assert_true(fd >= 0 && fd != pipes[1]);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	/* It leads to the same place. */
	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(read(pipes[0], text, 1), 1);
	close(fd);

	assert_int_equal(lx_fd_send(pair[0], "two", 3, -1), 0);
	assert_int_equal(lx_fd_recv(pair[1], text, sizeof(text), &fd), 3);
	assert_int_equal(fd, -1);
	close(pipes[0]);
	close(pipes[1]);
	close(pair[0]);
	assert_int_equal(lx_fd_recv(pair[1], text, sizeof(text), &fd), 0);
	assert_int_equal(fd, -1);
	/* Nobody is there: an error, no signal. */
	assert_int_equal(lx_fd_send(pair[1], "three", 5, -1), -EPIPE);
	close(pair[1]);
	assert_int_equal(lx_fd_recv(pair[1], text, sizeof(text), &fd), -EBADF);
	assert_int_equal(fd, -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_along_with_bytes) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
