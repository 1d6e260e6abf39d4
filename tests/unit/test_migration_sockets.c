/* Sockets with something unread, from outside, on a real process. */
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "migration/sockets.h"

/*
 * Listens for news of links, and has a log's socket and a plain one; told to, it makes news ('e'), a line of
 * the log ('l'), a plain message ('p'), or reads what there is ('r').
 */
static void listener(int sock)
{
	struct sockaddr_nl where = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK };
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	char order, buf[8192];
	int log[2], plain[2], on = 1;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, log) < 0 || socketpair(AF_UNIX, SOCK_DGRAM, 0, plain) < 0 ||
	    setsockopt(log[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
		_exit(1);
	if (unshare(CLONE_NEWNET) < 0)
		_exit(1);
	int nl = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), other = socket(AF_INET, SOCK_DGRAM, 0);

	if (nl < 0 || other < 0 || bind(nl, (struct sockaddr *)&where, sizeof(where)) < 0)
		_exit(1);
	while (read(sock, &order, 1) == 1) {
		if (order == 'e' && ioctl(other, SIOCSIFFLAGS, &lo) < 0)
			break;
		if (order == 'l' && send(log[1], "line", 4, 0) != 4)
			break;
		if (order == 'p' && send(plain[1], "word", 4, 0) != 4)
			break;
		for (int i = 0; order == 'r' && i < 3; i++)
			while (recv((const int[]){ nl, log[0], plain[0] }[i], buf, sizeof(buf),
				    MSG_DONTWAIT) > 0)
				;
		if (write(sock, &order, 1) != 1)
			break;
	}
	_exit(1);
}

static bool unread_after(int sock, pid_t pid, char order)
{
	pid_t pids[] = { 0x3ffffff0, pid };
	bool unread = false;

	assert_int_equal(write(sock, &order, 1), 1);
	assert_int_equal(read(sock, &order, 1), 1);
	assert_int_equal(lx_sockets_unread(pids, 2, &unread, NULL), 0);
	return unread;
}

static void finds_what_is_unread(void **state)
{
	int s[2];

	if (geteuid() != 0) {
		print_message("needs root, for a network namespace\n");
		skip();
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(s[0]);
		listener(s[1]);
	}
	close(s[1]);
	assert_false(unread_after(s[0], pid, '-'));
	assert_true(unread_after(s[0], pid, 'e'));
	assert_true(unread_after(s[0], pid, '-')); /* looking takes nothing */
	assert_false(unread_after(s[0], pid, 'r'));
	/* What CRIU writes down is left to it; what it does not is found, until it is read. */
	assert_false(unread_after(s[0], pid, 'p'));
	assert_true(unread_after(s[0], pid, 'l'));
	assert_true(unread_after(s[0], pid, '-'));
	assert_false(unread_after(s[0], pid, 'r'));
	close(s[0]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(finds_what_is_unread) };

	return cmocka_run_group_tests_name("migration: sockets", tests, NULL, NULL);
}
