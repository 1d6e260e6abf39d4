/*
 * Frames for a guest that stands still, with a real bridge in a network namespace of the test's own:
 *
 *     sender --- port \
 *                      bridge
 *      guest --- host /          (out of the bridge while the guest stands)
 */
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "migration/net.h"
#include "migration/traffic.h"
#include "proto/pb.h"

#define MAC              "02:00:00:00:00:11"
#define ETH_P_EXPERIMENT 0x88b5 /* "local experimental" of IEEE 802 */

static void sh(const char *command)
{
	/* NOLINTNEXTLINE(cert-env33-c): ip(8) with arguments of this file */
	assert_int_equal(system(command), 0);
}

static void make_network(void)
{
	sh("ip link add bridge type bridge && ip link set bridge up");
	sh("ip link add sender type veth peer name port && ip link set port master bridge up");
	sh("ip link add guest address " MAC " type veth peer name host && ip link set host master bridge up");
	sh("ip link set sender up && ip link set guest up");
}

static int packet_socket(const char *name)
{
	int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_EXPERIMENT));
	struct sockaddr_ll where = { .sll_family = AF_PACKET,
				     .sll_protocol = htons(ETH_P_EXPERIMENT), /* "local experimental" */
				     .sll_ifindex = (int)if_nametoindex(name) };

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&where, sizeof(where)), 0);
	return fd;
}

static void send_frame(int fd, uint8_t last_of_mac, uint8_t number)
{
	uint8_t frame[60] = { 2, 0, 0, 0, 0, last_of_mac, 2, 0, 0, 0, 0, 0x33, 0x88, 0xb5, number };

	assert_int_equal(send(fd, frame, sizeof(frame), 0), sizeof(frame));
}

/* The number of the next frame there; 0: none came. */
static unsigned next_frame(int fd, int wait_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint8_t frame[128];

	if (poll(&p, 1, wait_ms) <= 0)
		return 0;
	assert_int_equal(recv(fd, frame, sizeof(frame), 0), 60);
	return frame[14];
}

static Lxmgr__V1__MoveCommit *take(const struct lx_traffic *t)
{
	Lxmgr__V1__MoveCommit *m = malloc(sizeof(*m));

	assert_non_null(m);
	lxmgr__v1__move_commit__init(m);
	assert_int_equal(lx_traffic_take(t, m, NULL), 0);
	return m;
}

static void holds_and_delivers(void **state)
{
	Lxmgr__V1__Nic nic = LXMGR__V1__NIC__INIT, *nics[] = { &nic };
	struct lx_traffic t = LX_TRAFFIC_NONE;

	if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0) {
		print_message("needs root, for a network namespace\n");
		skip();
	}
	make_network();
	nic.name = (char *)"eth0";
	nic.bridge = (char *)"bridge";
	nic.host_name = (char *)"host";
	nic.hwaddr = (char *)MAC;
	int sender = packet_socket("sender"), guest = packet_socket("guest");

	send_frame(sender, 0x11, 1);
	assert_int_equal(next_frame(guest, 5000), 1); /* the network works */

	assert_int_equal(lx_traffic_open(1, nics, &t, NULL), 0);
	send_frame(sender, 0x11, 2);
	assert_int_equal(next_frame(guest, 5000), 2);
	assert_int_equal(lx_traffic_hold(&t, 1, nics, NULL), 0);
	assert_int_equal(lx_net_unplug(1, nics, NULL), 0);
	send_frame(sender, 0x11, 3);
	send_frame(sender, 0x22, 4);
	send_frame(sender, 0x11, 5);
	assert_int_equal(next_frame(guest, 0), 0);

	Lxmgr__V1__MoveCommit *held = take(&t);

	assert_int_equal(held->n_held, 2); /* not what came before, nor what is for others */
	assert_int_equal(lx_traffic_deliver(1, nics, held, NULL), 0);
	assert_int_equal(next_frame(guest, 5000), 3);
	assert_int_equal(next_frame(guest, 5000), 5);
	assert_int_equal(next_frame(guest, 0), 0);
	lx_pb_free(held);

	/* What is not a frame is left out, and so is what belongs to a card that is not there. */
	uint8_t junk[] = { 0xff, 0xff, 0xff };
	Lxmgr__V1__HeldFrame bad = LXMGR__V1__HELD_FRAME__INIT, far = LXMGR__V1__HELD_FRAME__INIT,
			     *frames[] = { &bad, &far };
	Lxmgr__V1__MoveCommit hostile = LXMGR__V1__MOVE_COMMIT__INIT;

	bad.data = (ProtobufCBinaryData){ .data = junk, .len = sizeof(junk) };
	far = bad;
	far.card = UINT32_MAX;
	hostile.n_held = 2;
	hostile.held = frames;
	assert_int_equal(lx_traffic_deliver(1, nics, &hostile, NULL), 0);
	assert_int_equal(next_frame(guest, 0), 0);
	lx_traffic_release(&t);
	close(sender);
	close(guest);
}

static void says_what_is_missing(void **state)
{
	Lxmgr__V1__Nic nic = LXMGR__V1__NIC__INIT, *nics[] = { &nic };
	struct lx_traffic t = LX_TRAFFIC_NONE;
	struct lx_err err = LX_ERR_INIT;

	if (geteuid() != 0)
		skip();
	nic.bridge = (char *)"nobridge0";
	assert_true(lx_traffic_open(1, nics, &t, &err) < 0);
	assert_non_null(strstr(err.msg, "nobridge0"));
	lx_traffic_release(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(holds_and_delivers),
		cmocka_unit_test(says_what_is_missing),
	};

	return cmocka_run_group_tests_name("migration: traffic", tests, NULL, NULL);
}
