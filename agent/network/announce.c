/*
 * Builds and sends the frames. Ways to fail: no permission for packet sockets; the interface
 * is gone or down.
 */
#include "agent/network/announce.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>

#include "lib/cleanup.h"

/* Each form goes out twice: a tunnel may lose one. */
#define REPEAT 2

/* ------------------------------------------------------------------ ARP */

enum { HW_ETHERNET = 1, OP_REQUEST = 1, OP_REPLY = 2 };

/* RFC 826, as carried on Ethernet for IPv4. */
struct __attribute__((packed)) arp_frame {
	uint8_t to[6], from[6];
	uint16_t type;
	uint16_t hw, proto;
	uint8_t hw_len, proto_len;
	uint16_t op;
	uint8_t sender_hw[6], sender[4];
	uint8_t target_hw[6], target[4];
};

_Static_assert(sizeof(struct arp_frame) == LX_ARP_FRAME_BYTES, "an ARP frame without padding");

void lx_announce_arp(const uint8_t hwaddr[LX_HWADDR_BYTES], const struct lx_subnet *v4, bool reply,
		     uint8_t out[LX_ARP_FRAME_BYTES])
{
	struct arp_frame f = {
		.to = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
		.type = htons(ETH_P_ARP),
		.hw = htons(HW_ETHERNET),
		.proto = htons(ETH_P_IP),
		.hw_len = LX_HWADDR_BYTES,
		.proto_len = 4,
		.op = htons(reply ? OP_REPLY : OP_REQUEST),
	};

	memcpy(f.from, hwaddr, LX_HWADDR_BYTES);
	memcpy(f.sender_hw, hwaddr, LX_HWADDR_BYTES);
	memcpy(f.sender, v4->addr, sizeof(f.sender));
	/* RFC 5227, section 3: both addresses are the sender's; who asks leaves the target's hardware
	 * address zero (section 2.1.1), who replies fills it in. */
	if (reply)
		memcpy(f.target_hw, hwaddr, LX_HWADDR_BYTES);
	memcpy(f.target, v4->addr, sizeof(f.target));
	memcpy(out, &f, sizeof(f));
}

/* ------------------------------------------------------------------ neighbour advertisement */

enum { ND_ADVERTISEMENT = 136, ND_OVERRIDE = 0x20, ND_OPT_TARGET_HW = 2, ND_HOP_LIMIT = 255 };

struct __attribute__((packed)) na_frame {
	uint8_t to[6], from[6];
	uint16_t type;
	struct __attribute__((packed)) {
		uint32_t version_class_flow;
		uint16_t payload_len;
		uint8_t next_header, hop_limit;
		uint8_t source[16], destination[16];
	} ip;
	struct __attribute__((packed)) { /* RFC 4861, section 4.4 */
		uint8_t type, code;
		uint16_t checksum;
		uint8_t flags, reserved[3];
		uint8_t target[16];
		uint8_t option, option_len; /* section 4.6.1; the length in units of 8 bytes */
		uint8_t target_hw[6];
	} na;
};

_Static_assert(sizeof(struct na_frame) == LX_NA_FRAME_BYTES, "an advertisement without padding");

static uint32_t sum16(uint32_t sum, const void *data, size_t n)
{
	const uint8_t *p = data;

	for (size_t i = 0; i + 1 < n; i += 2)
		sum += (uint32_t)p[i] << 8 | p[i + 1];
	return sum;
}

/* RFC 8200, section 8.1: over a pseudo-header and the message, whose length is even here. */
static uint16_t checksum(const struct na_frame *f)
{
	uint32_t sum = sizeof(f->na) + IPPROTO_ICMPV6;

	sum = sum16(sum, f->ip.source, sizeof(f->ip.source));
	sum = sum16(sum, f->ip.destination, sizeof(f->ip.destination));
	sum = sum16(sum, &f->na, sizeof(f->na));
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

void lx_announce_na(const uint8_t hwaddr[LX_HWADDR_BYTES], const struct lx_subnet *v6,
		    uint8_t out[LX_NA_FRAME_BYTES])
{
	struct na_frame f = {
		/* All nodes, ff02::1, and its Ethernet group (RFC 2464, section 7). */
		.to = { 0x33, 0x33, 0, 0, 0, 1 },
		.type = htons(ETH_P_IPV6),
		.ip = { .version_class_flow = htonl(UINT32_C(6) << 28),
			.payload_len = htons(sizeof(f.na)),
			.next_header = IPPROTO_ICMPV6,
			.hop_limit = ND_HOP_LIMIT,
			.destination = { 0xff, 2, [15] = 1 } },
		.na = { .type = ND_ADVERTISEMENT,
			.flags = ND_OVERRIDE,
			.option = ND_OPT_TARGET_HW,
			.option_len = 1 },
	};

	memcpy(f.from, hwaddr, LX_HWADDR_BYTES);
	memcpy(f.ip.source, v6->addr, sizeof(f.ip.source));
	memcpy(f.na.target, v6->addr, sizeof(f.na.target));
	memcpy(f.na.target_hw, hwaddr, LX_HWADDR_BYTES);
	f.na.checksum = checksum(&f);
	memcpy(out, &f, sizeof(f));
}

/* ------------------------------------------------------------------ sending */

int lx_announce_open(int *ret, struct lx_err *err)
{
	/* Protocol 0: it receives nothing. */
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return lx_err_errno(err, errno, "cannot open a packet socket");
	*ret = fd;
	return 0;
}

static int send_frame(int fd, int ifindex, const uint8_t *frame, size_t n, struct lx_err *err)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET,
				  .sll_ifindex = ifindex,
				  .sll_halen = LX_HWADDR_BYTES };

	memcpy(&to.sll_protocol, frame + 2 * (size_t)LX_HWADDR_BYTES, sizeof(to.sll_protocol));
	memcpy(to.sll_addr, frame, LX_HWADDR_BYTES);
	if (sendto(fd, frame, n, 0, (struct sockaddr *)&to, sizeof(to)) < 0)
		return lx_err_errno(err, errno, "cannot send an announcement");
	return 0;
}

int lx_announce(int fd, int ifindex, const uint8_t hwaddr[LX_HWADDR_BYTES], const struct lx_subnet *v4,
		const struct lx_subnet *v6, struct lx_err *err)
{
	uint8_t arp[LX_ARP_FRAME_BYTES], na[LX_NA_FRAME_BYTES];
	int r = 0;

	for (int i = 0; i < REPEAT && r == 0; i++) {
		for (int reply = 0; reply < 2 && v4->family != 0 && r == 0; reply++) {
			lx_announce_arp(hwaddr, v4, reply != 0, arp);
			r = send_frame(fd, ifindex, arp, sizeof(arp), err);
		}
		if (r == 0 && v6->family != 0) {
			lx_announce_na(hwaddr, v6, na);
			r = send_frame(fd, ifindex, na, sizeof(na), err);
		}
	}
	return r;
}
