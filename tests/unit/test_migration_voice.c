/* When a guest is heard: which frames are a process's words, and when the first of them came to a host end.
 */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "migration/voice.h"

#define LEN   60
#define FIN   0x01
#define SYN   0x02
#define RESET 0x04
#define ACK   0x10

struct frame {
	const char *what;
	uint16_t type;
	uint8_t protocol;
	uint8_t first; /* of what the packet carries: a type of ICMP, or the header after it */
	uint8_t flags;
	uint16_t data; /* of TCP */
	bool said;
};

static const struct frame frames[] = {
	{ .what = "datagram", .type = ETHERTYPE_IP, .protocol = IPPROTO_UDP, .said = true },
	{ .what = "ping", .type = ETHERTYPE_IP, .protocol = IPPROTO_ICMP, .first = 8, .said = true },
	{ .what = "answer to a ping", .type = ETHERTYPE_IP, .protocol = IPPROTO_ICMP, .first = 0 },
	{ .what = "port unreachable", .type = ETHERTYPE_IP, .protocol = IPPROTO_ICMP, .first = 3 },
	{ .what = "membership", .type = ETHERTYPE_IP, .protocol = IPPROTO_IGMP },
	{ .what = "data",
	  .type = ETHERTYPE_IP,
	  .protocol = IPPROTO_TCP,
	  .flags = ACK,
	  .data = 1,
	  .said = true },
	{ .what = "acknowledgement", .type = ETHERTYPE_IP, .protocol = IPPROTO_TCP, .flags = ACK },
	{ .what = "connect", .type = ETHERTYPE_IP, .protocol = IPPROTO_TCP, .flags = SYN, .said = true },
	{ .what = "accepted", .type = ETHERTYPE_IP, .protocol = IPPROTO_TCP, .flags = SYN | ACK },
	{ .what = "refused", .type = ETHERTYPE_IP, .protocol = IPPROTO_TCP, .flags = RESET | ACK },
	{ .what = "end", .type = ETHERTYPE_IP, .protocol = IPPROTO_TCP, .flags = FIN | ACK, .said = true },
	{ .what = "datagram, IPv6", .type = ETHERTYPE_IPV6, .protocol = IPPROTO_UDP, .said = true },
	{ .what = "ping, IPv6",
	  .type = ETHERTYPE_IPV6,
	  .protocol = IPPROTO_ICMPV6,
	  .first = 128,
	  .said = true },
	{ .what = "neighbour, IPv6", .type = ETHERTYPE_IPV6, .protocol = IPPROTO_ICMPV6, .first = 135 },
	{ .what = "membership, IPv6",
	  .type = ETHERTYPE_IPV6,
	  .protocol = IPPROTO_HOPOPTS,
	  .first = IPPROTO_ICMPV6 },
	{ .what = "data, IPv6",
	  .type = ETHERTYPE_IPV6,
	  .protocol = IPPROTO_TCP,
	  .flags = ACK,
	  .data = 1,
	  .said = true },
	{ .what = "acknowledgement, IPv6", .type = ETHERTYPE_IPV6, .protocol = IPPROTO_TCP, .flags = ACK },
	{ .what = "who has", .type = ETHERTYPE_ARP },
	{ .what = "unknown", .type = 0x88b5 },
};

static void put16(uint8_t *at, unsigned n)
{
	at[0] = (uint8_t)(n >> 8);
	at[1] = (uint8_t)n;
}

/* As long as it takes, with zeros where nobody looks. */
static void make(const struct frame *f, uint8_t out[LX_VOICE_FRAME])
{
	bool six = f->type == ETHERTYPE_IPV6, tcp = f->protocol == IPPROTO_TCP;
	uint8_t *ip = out + ETHER_HDR_LEN, *in = ip + (six ? 40 : 20);
	unsigned data = tcp ? 20u + f->data : 16;

	memset(out, 0, LX_VOICE_FRAME);
	memset(out, 0x02, 12);
	put16(out + 12, f->type);
	if (f->type != ETHERTYPE_IP && !six)
		return;
	ip[0] = six ? 0x60 : 0x45;
	put16(ip + (six ? 4 : 2), six ? data : 20 + data);
	ip[six ? 6 : 9] = f->protocol;
	in[0] = f->first;
	if (tcp) {
		in[12] = 5 << 4;
		in[13] = f->flags;
	}
}

static void tells_who_speaks(void **state)
{
	uint8_t frame[LX_VOICE_FRAME];

	for (size_t i = 0; i < LX_ARRAY_SIZE(frames); i++) {
		make(&frames[i], frame);
		if (lx_voice_is_said(frame, sizeof(frame)) != frames[i].said)
			fail_msg("%s: %s", frames[i].what, frames[i].said ? "not heard" : "heard");
	}
}

/* What is behind the length must not be looked at (sanitizers), and is nothing. */
static void hears_nothing_in_a_part(void **state)
{
	uint8_t frame[LX_VOICE_FRAME];

	for (size_t i = 0; i < LX_ARRAY_SIZE(frames); i++) {
		make(&frames[i], frame);
		for (size_t len = 0; len < sizeof(frame); len++) {
			lx_autofree uint8_t *part = malloc(len ? len : 1);

			assert_non_null(part);
			memcpy(part, frame, len);
			bool said = lx_voice_is_said(part, len);

			assert_false(said && (!frames[i].said || len <= ETHER_HDR_LEN + 20));
		}
	}
	make(&frames[0], frame);
	frame[ETHER_HDR_LEN] = 0x4f; /* options that are not all here */
	assert_false(lx_voice_is_said(frame, LEN));
	frame[ETHER_HDR_LEN] = 0x41; /* a header shorter than one */
	assert_false(lx_voice_is_said(frame, LEN));
}

/* ------------------------------------------------------------------ at a card */

static void sh(const char *command)
{
	/* NOLINTNEXTLINE(cert-env33-c): ip(8) with arguments of this file */
	assert_int_equal(system(command), 0);
}

static int packet_socket(const char *name)
{
	int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
	struct sockaddr_ll where = { .sll_family = AF_PACKET,
				     .sll_protocol = htons(ETH_P_ALL),
				     .sll_ifindex = (int)if_nametoindex(name) };

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&where, sizeof(where)), 0);
	return fd;
}

/* And wait until it is on the other side. */
static void send_frame(int from, int to, const char *what)
{
	struct pollfd p = { .fd = to, .events = POLLIN };
	uint8_t frame[LX_VOICE_FRAME], came[LX_VOICE_FRAME];
	size_t i = 0;

	while (strcmp(frames[i].what, what) != 0)
		i++;
	make(&frames[i], frame);
	assert_int_equal(send(from, frame, sizeof(frame), 0), sizeof(frame));
	/* The interfaces' own frames come as well. */
	do {
		assert_int_equal(poll(&p, 1, 5000), 1);
		assert_true(recv(to, came, sizeof(came), 0) >= 0);
	} while (memcmp(came, frame, sizeof(frame)) != 0);
}

static int64_t now(void)
{
	return (int64_t)lx_now_realtime_ns();
}

/* Until the kernel notes when frames come, and not when they are read. */
static void wait_for_times(int from, int to)
{
	struct pollfd p = { .fd = to, .events = POLLIN };
	int on = 1;

	assert_int_equal(setsockopt(to, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)), 0);
	for (int tries = 0; tries < 5000; tries++) {
		char control[256];
		uint8_t frame[LEN] = { 0 };
		struct iovec part = { .iov_base = frame, .iov_len = sizeof(frame) };
		struct msghdr msg = { .msg_iov = &part,
				      .msg_iovlen = 1,
				      .msg_control = control,
				      .msg_controllen = sizeof(control) };
		struct timespec at;

		assert_int_equal(send(from, frame, sizeof(frame), 0), sizeof(frame));
		assert_int_equal(poll(&p, 1, 5000), 1);
		usleep(1000);
		int64_t before = now();

		assert_true(recvmsg(to, &msg, 0) >= 0);
		const struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

		if (!c) {
			fail_msg("no time came with a frame");
			return;
		}
		memcpy(&at, CMSG_DATA(c), sizeof(at));
		if ((int64_t)at.tv_sec * (int64_t)LX_NSEC_PER_SEC + at.tv_nsec < before)
			return;
	}
	fail_msg("the kernel notes no times");
}

static void notes_the_first_word(void **state)
{
	Lxmgr__V1__Nic nic = LXMGR__V1__NIC__INIT, other = LXMGR__V1__NIC__INIT, *nics[] = { &nic, &other };
	struct lx_voice v = LX_VOICE_NONE;

	if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0) {
		print_message("needs root, for a network namespace\n");
		skip();
	}
	sh("ip link add guest type veth peer name host && ip link set guest up && ip link set host up");
	nic.host_name = (char *)"host";
	other.host_name = (char *)"nohost";
	int guest = packet_socket("guest"), host = packet_socket("host");

	lx_voice_open(2, &v);
	lx_voice_bind(&v, 2, nics);
	wait_for_times(guest, host);
	send_frame(guest, host, "datagram"); /* nobody listens yet */
	lx_voice_listen(&v);
	send_frame(guest, host, "acknowledgement");
	send_frame(guest, host, "who has");
	send_frame(host, guest, "data"); /* to the guest */
	assert_int_equal(lx_voice_heard_at_ns(&v), 0);

	send_frame(guest, host, "acknowledgement");
	int64_t before = now();

	send_frame(guest, host, "data");
	int64_t after = now();

	send_frame(guest, host, "datagram");
	int64_t at = lx_voice_heard_at_ns(&v);

	assert_true(before <= at && at <= after);
	lx_voice_release(&v);
	lx_voice_release(&v);
	close(guest);
	close(host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_who_speaks),
		cmocka_unit_test(hears_nothing_in_a_part),
		cmocka_unit_test(notes_the_first_word),
	};

	return cmocka_run_group_tests_name("migration: voice", tests, NULL, NULL);
}
