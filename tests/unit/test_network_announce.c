/* Frames byte by byte, as the RFCs draw them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>

#include "agent/network/announce.h"

static const uint8_t hwaddr[LX_HWADDR_BYTES] = { 0x00, 0x16, 0x3e, 0x12, 0x34, 0x56 };

/* RFC 826 for the fields, RFC 5227, section 3, for what is in them. */
static void arp(void **state)
{
	static const uint8_t request[] = {
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff,                   /* to everybody */
		0x00, 0x16, 0x3e, 0x12, 0x34, 0x56, 0x08, 0x06,       /* from it, ARP */
		0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x01,       /* Ethernet, IPv4, lengths, request */
		0x00, 0x16, 0x3e, 0x12, 0x34, 0x56, 10,   88,   0, 7, /* sender */
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 10,   88,   0, 7, /* target */
	};
	uint8_t out[LX_ARP_FRAME_BYTES], reply[LX_ARP_FRAME_BYTES];
	struct lx_subnet v4;

	assert_int_equal(lx_subnet_parse_host("x", AF_INET, "10.88.0.7", &v4, NULL), 0);
	lx_announce_arp(hwaddr, &v4, false, out);
	assert_int_equal(sizeof(request), sizeof(out));
	assert_memory_equal(out, request, sizeof(out));
	lx_announce_arp(hwaddr, &v4, true, reply);
	out[21] = 2; /* operation */
	memcpy(out + 32, hwaddr, sizeof(hwaddr));
	assert_memory_equal(out, reply, sizeof(out));
}

/* The one's complement sum over pseudo-header and message, checksum included, is all ones. */
static void checksum_is_right(const uint8_t *frame, size_t n)
{
	uint32_t sum = (uint32_t)(n - 54) + 58;

	for (size_t i = 14 + 8; i < n; i += 2)
		sum += (uint32_t)frame[i] << 8 | frame[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	assert_int_equal(sum, 0xffff);
}

/* RFC 4861, section 4.4: unsolicited, override, with the target's link-layer address. */
static void advertisement(void **state)
{
	static const uint8_t
		head
			[] = {
				0x33, 0x33, 0x00, 0x00, 0x00, 0x01, 0x00, 0x16, 0x3e,
				0x12, 0x34, 0x56, 0x86, 0xdd,                  /* Ethernet
										*/
				0x60, 0x00, 0x00, 0x00, 0x00, 0x20, 58,   255, /* 32 bytes of ICMPv6, hop
										  limit */
				0xfd, 0x42, 0x00, 0x88, 0,    0,    0,    0,    0,
				0,    0,    0,    0,    0,    0,    7, /* from it */
				0xff, 0x02, 0,    0,    0,    0,    0,    0,    0,
				0,    0,    0,    0,    0,    0,    1, /* to all nodes */
				136,  0,
			};
	static const uint8_t tail[] = {
		0x20, 0,    0,    0,                                                    /* override */
		0xfd, 0x42, 0x00, 0x88, 0,    0,    0,    0,    0, 0, 0, 0, 0, 0, 0, 7, /* target */
		2,    1,    0x00, 0x16, 0x3e, 0x12, 0x34, 0x56,
	};
	uint8_t out[LX_NA_FRAME_BYTES];
	struct lx_subnet v6;

	assert_int_equal(lx_subnet_parse_host("x", AF_INET6, "fd42:88::7", &v6, NULL), 0);
	lx_announce_na(hwaddr, &v6, out);
	assert_int_equal(sizeof(head) + 2 + sizeof(tail), sizeof(out));
	assert_memory_equal(out, head, sizeof(head));
	assert_memory_equal(out + sizeof(head) + 2, tail, sizeof(tail));
	checksum_is_right(out, sizeof(out));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(arp), cmocka_unit_test(advertisement) };

	return cmocka_run_group_tests_name("network_announce", tests, NULL, NULL);
}
