/*
 * A DHCPRELEASE (RFC 2131), sent through the bridge to its own address. It carries no client
 * identifier: dnsmasq then goes by the hardware address alone.
 */
#include "agent/network/release.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <netinet/ether.h>
#include <sys/socket.h>

#include "lib/cleanup.h"
#include "lib/log.h"

enum { OP_REQUEST = 1, HW_ETHERNET = 1, PORT_SERVER = 67, TYPE_RELEASE = 7 };
enum { OPTION_TYPE = 53, OPTION_SERVER = 54, OPTION_END = 255 };

struct __attribute__((packed)) release {
	uint8_t op, htype, hlen, hops;
	uint32_t xid;
	uint16_t secs, flags;
	uint8_t ciaddr[4], yiaddr[4], siaddr[4], giaddr[4];
	uint8_t chaddr[16];
	uint8_t sname[64], file[128];
	uint8_t cookie[4];
	uint8_t type[3], server[6], end;
};

size_t lx_release_packet(const char *entry, const struct lx_subnet *server, unsigned char out[LX_RELEASE_MAX])
{
	struct release r = {
		.op = OP_REQUEST,
		.htype = HW_ETHERNET,
		.hlen = 6,
		.cookie = { 99, 130, 83, 99 },
		.type = { OPTION_TYPE, 1, TYPE_RELEASE },
		.server = { OPTION_SERVER, 4 },
		.end = OPTION_END,
	};
	char text[LX_HWADDR_TEXT + LX_SUBNET_TEXT + LX_NAME_MAX], *rest = text, *hwaddr, *address;
	struct lx_subnet a;

	snprintf(text, sizeof(text), "%s", entry);
	hwaddr = strsep(&rest, ",");
	address = strsep(&rest, ",");
	if (!address || !ether_aton_r(hwaddr, (struct ether_addr *)(void *)r.chaddr) ||
	    lx_subnet_parse_host("address", AF_INET, address, &a, NULL) < 0)
		return 0;
	memcpy(r.ciaddr, a.addr, sizeof(r.ciaddr));
	memcpy(r.server + 2, server->addr, 4);
	memcpy(out, &r, sizeof(r));
	return sizeof(r);
}

void lx_release(const struct lx_network_config *config, const char *entry)
{
	const char *bridge = config->name;
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(PORT_SERVER) };
	unsigned char packet[LX_RELEASE_MAX];
	size_t n = config->v4.family != 0 ? lx_release_packet(entry, &config->v4, packet) : 0;

	if (n == 0)
		return;
	lx_autoclose int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(&to.sin_addr, config->v4.addr, sizeof(to.sin_addr));
	if (fd < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, bridge, (socklen_t)strlen(bridge) + 1) < 0 ||
	    sendto(fd, packet, n, 0, (struct sockaddr *)&to, sizeof(to)) < 0)
		lx_debug("cannot release a lease", "network=%s error=\"%s\"", bridge, strerror(errno));
}
