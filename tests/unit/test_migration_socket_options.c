/* Options of another process's sockets: what is told of them, and that it can be had again. */
#include <arpa/inet.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "migration/socket_options.h"
#include "proto/pb.h"

/* What it has at these numbers: one without options, one that is open twice, one of IPv6. */
enum { PLAIN = 60, LOG, LOG_TOO, PACKETS };

static int get(int fd, int level, int name)
{
	int value = -1;
	socklen_t n = sizeof(value);

	return getsockopt(fd, level, name, &value, &n) == 0 ? value : -1;
}

static void set(int fd, int level, int name, int value)
{
	if (setsockopt(fd, level, name, &value, sizeof(value)) < 0)
		_exit(2);
}

static void put(int fd, int number)
{
	if (fd < 0 || dup2(fd, number) < 0)
		_exit(2);
	close(fd);
}

static void make(bool on)
{
	put(socket(AF_UNIX, SOCK_STREAM, 0), PLAIN);
	put(socket(AF_UNIX, SOCK_DGRAM, 0), LOG);
	put(dup(LOG), LOG_TOO);
	put(socket(AF_INET6, SOCK_DGRAM, 0), PACKETS);
	if (!on)
		return;
	set(LOG, SOL_SOCKET, SO_TIMESTAMP, 1);
	set(PACKETS, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1);
	set(PACKETS, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 255);
}

static bool has_options(void)
{
	return get(LOG, SOL_SOCKET, SO_TIMESTAMP) == 1 &&
	       get(PACKETS, IPPROTO_IPV6, IPV6_RECVHOPLIMIT) == 1 &&
	       get(PACKETS, IPPROTO_IPV6, IPV6_UNICAST_HOPS) == 255;
}

/* With what `make` gives it; told to, it ends with 0 when `well`. */
static pid_t start_with(void (*make_them)(bool), bool on, bool (*well)(void), int *ret_sock)
{
	int s[2];
	char byte = 'x';

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(s[0]);
		make_them(on);
		if (write(s[1], &byte, 1) != 1 || read(s[1], &byte, 1) != 1)
			_exit(2);
		_exit(well && !well());
	}
	close(s[1]);
	assert_int_equal(read(s[0], &byte, 1), 1);
	*ret_sock = s[0];
	return pid;
}

static pid_t start(bool on, int *ret_sock)
{
	return start_with(make, on, has_options, ret_sock);
}

static int end(pid_t pid, int sock)
{
	int status = 0;

	assert_int_equal(write(sock, "e", 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(sock);
	return WEXITSTATUS(status);
}

static const Lxmgr__V1__GuestSocket *socket_at(const Lxmgr__V1__GuestState *state, uint32_t number)
{
	for (size_t i = 0; i < state->n_sockets; i++)
		if (state->sockets[i]->descriptor == number)
			return state->sockets[i];
	return NULL;
}

static void are_had_again(void **state)
{
	Lxmgr__V1__GuestState *guest = malloc(sizeof(*guest));
	int one = -1, other = -1;

	assert_non_null(guest);
	lxmgr__v1__guest_state__init(guest);
	pid_t had = start(true, &one), has = start(false, &other);
	pid_t pids[] = { 0x3ffffff0, had };

	assert_int_equal(lx_socket_options_save(had, pids, 2, guest, NULL), 0);
	assert_null(socket_at(guest, PLAIN));
	assert_true(!socket_at(guest, LOG) != !socket_at(guest, LOG_TOO)); /* one socket */
	const Lxmgr__V1__GuestSocket *packets = socket_at(guest, PACKETS);

	assert_non_null(packets);
	assert_int_equal(packets->process, had);
	assert_int_equal(packets->n_options, 2);
	/* Restored, they have the same numbers; here it is another process that gets them. */
	for (size_t i = 0; i < guest->n_sockets; i++)
		guest->sockets[i]->process = (uint32_t)has;
	assert_int_equal(lx_socket_options_load((pid_t[]){ has }, 1, guest), 3);
	assert_int_equal(lx_socket_options_load((pid_t[]){ has }, 1, guest), 0); /* it has them */
	lx_pb_free(guest);
	assert_int_equal(end(had, one), 0);
	assert_int_equal(end(has, other), 0);
}

/* Another node may ask for anything. */
static void others_are_not_set(void **state)
{
	Lxmgr__V1__GuestSocketOption broadcast = LXMGR__V1__GUEST_SOCKET_OPTION__INIT,
				     *options[] = { &broadcast };
	Lxmgr__V1__GuestSocket of = LXMGR__V1__GUEST_SOCKET__INIT, nobody = LXMGR__V1__GUEST_SOCKET__INIT,
			       *sockets[] = { &nobody, &of };
	Lxmgr__V1__GuestState guest = LXMGR__V1__GUEST_STATE__INIT;
	int sock = -1;
	pid_t pid = start(true, &sock);

	broadcast.level = SOL_SOCKET;
	broadcast.name = SO_BROADCAST;
	broadcast.value = 1;
	of.process = (uint32_t)pid;
	of.descriptor = PACKETS;
	nobody.process = 0x3ffffff0;
	of.n_options = nobody.n_options = 1;
	of.options = nobody.options = options;
	guest.n_sockets = 2;
	guest.sockets = sockets;
	assert_int_equal(lx_socket_options_load(&pid, 1, &guest), 0);
	broadcast.name = SO_TIMESTAMPNS;
	assert_int_equal(lx_socket_options_load(&pid, 1, &guest), 1);
	of.descriptor = 4000;
	assert_int_equal(lx_socket_options_load(&pid, 1, &guest), 0);
	assert_int_equal(end(pid, sock), 0);
}

/* ------------------------------------------------------------------ groups */

/* Of lo, which every network has. */
enum { LO = 1, LISTENER = 64, DEAF };

static void join_in(int fd, uint32_t group, uint32_t source)
{
	struct sockaddr_in of = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(group) },
			   from = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(source) };
	struct group_source_req from_one = { .gsr_interface = LO };
	struct group_req all = { .gr_interface = LO };

	memcpy(&all.gr_group, &of, sizeof(of));
	memcpy(&from_one.gsr_group, &of, sizeof(of));
	memcpy(&from_one.gsr_source, &from, sizeof(from));
	if (setsockopt(fd, IPPROTO_IP, source ? MCAST_JOIN_SOURCE_GROUP : MCAST_JOIN_GROUP,
		       source ? (const void *)&from_one : &all, source ? sizeof(from_one) : sizeof(all)) < 0)
		_exit(2);
}

static void join_in6(int fd)
{
	struct sockaddr_in6 of = { .sin6_family = AF_INET6 };
	struct group_req all = { .gr_interface = LO };

	if (inet_pton(AF_INET6, "ff05::1:3", &of.sin6_addr) != 1)
		_exit(2);
	memcpy(&all.gr_group, &of, sizeof(of));
	if (setsockopt(fd, IPPROTO_IPV6, MCAST_JOIN_GROUP, &all, sizeof(all)) < 0)
		_exit(2);
}

/* One socket that listens to all in a group, from one sender in another, and by IPv6; or to nothing. */
static void make_listener(bool joined)
{
	put(socket(AF_INET6, SOCK_DGRAM, 0), LISTENER);
	put(socket(AF_INET, SOCK_DGRAM, 0), DEAF);
	if (!joined)
		return;
	join_in(LISTENER, 0xefff2a01, 0);
	join_in(LISTENER, 0xe8ff2a02, 0x7f000001);
	join_in6(LISTENER);
}

static pid_t start_listener(bool joined, int *ret_sock)
{
	return start_with(make_listener, joined, NULL, ret_sock);
}

static void groups_are_joined_again(void **state)
{
	Lxmgr__V1__GuestState *guest = malloc(sizeof(*guest)), *again = malloc(sizeof(*again));
	int one = -1, other = -1;

	assert_true(guest && again);
	lxmgr__v1__guest_state__init(guest);
	lxmgr__v1__guest_state__init(again);
	pid_t had = start_listener(true, &one), has = start_listener(false, &other);

	assert_int_equal(lx_socket_options_save(had, &had, 1, guest, NULL), 0);
	assert_int_equal(guest->n_sockets, 1);
	const Lxmgr__V1__GuestSocket *listener = guest->sockets[0];

	assert_int_equal(listener->descriptor, LISTENER);
	assert_int_equal(listener->n_memberships, 3);
	for (size_t i = 0; i < 3; i++) {
		const Lxmgr__V1__GuestMembership *m = listener->memberships[i];
		bool from_one = m->group.len == 4 && m->group.data[3] == 2;

		assert_int_equal(m->interface, LO);
		assert_int_equal(m->include, from_one);
		assert_int_equal(m->n_sources, from_one);
	}
	guest->sockets[0]->process = (uint32_t)has;
	assert_int_equal(lx_socket_options_load(&has, 1, guest), 3);
	assert_int_equal(lx_socket_options_load(&has, 1, guest), 0); /* it is in them */
	assert_int_equal(lx_socket_options_save(has, &has, 1, again, NULL), 0);
	guest->sockets[0]->process = again->sockets[0]->process;
	size_t n = 0, m = 0;
	lx_autofree uint8_t *first = lx_pb_pack(&guest->base, &n), *second = lx_pb_pack(&again->base, &m);

	assert_true(first && second && n == m);
	assert_memory_equal(first, second, n);
	/* Another node may ask for anything. */
	guest->sockets[0]->memberships[0]->group.data[0] = 10;
	guest->sockets[0]->memberships[1]->group.len = 3;
	guest->sockets[0]->memberships[2]->interface = 0x7ffffff0;
	assert_int_equal(lx_socket_options_load(&has, 1, guest), 0);
	lx_pb_free(guest);
	lx_pb_free(again);
	assert_int_equal(end(had, one), 0);
	assert_int_equal(end(has, other), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(are_had_again),
		cmocka_unit_test(others_are_not_set),
		cmocka_unit_test(groups_are_joined_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
