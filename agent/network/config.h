/* What one network shall be: the manager's keys and leases, decoded and checked. Pure. */
#ifndef LX_AGENT_NETWORK_CONFIG_H
#define LX_AGENT_NETWORK_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include <net/if.h>

#include "agent/network/subnet.h"
#include "lib/err.h"
#include "lib/str.h"
#include "lxmgr/v1/agent.pb-c.h"

/* Limits on one request, and on what is in it. */
#define LX_NETWORKS_MAX     64
#define LX_LEASES_MAX       65536
#define LX_NETWORK_NAME_MAX (IFNAMSIZ - 1)
#define LX_NETWORK_KEYS_MAX 32
#define LX_DOMAIN_MAX       253
#define LX_HWADDR_TEXT      18
#define LX_HWADDR_BYTES     6

/* The upper half of the 24 bits is for the links between machines (overlay.h). */
#define LX_VXLAN_ID_MAX ((1u << 23) - 1)

/* What Linux takes for a bridge; an IPv6 network needs the larger minimum (RFC 8200). */
#define LX_MTU_MIN    576
#define LX_MTU_MIN_V6 1280
#define LX_MTU_MAX    65535

struct lx_network_config {
	char name[LX_NETWORK_NAME_MAX + 1];
	struct lx_subnet v4; /* the bridge's address; family 0: none */
	struct lx_subnet v6;
	bool v4_nat;
	bool v4_dhcp;
	bool v6_nat;
	bool isolation;    /* of projects (isolation.h) */
	uint32_t mtu;      /* 0: the uplink's, less what the overlay takes */
	uint32_t vxlan_id; /* 0: the network is this machine's alone */
	/* This machine's own addresses, a subnet of one each; family 0: it has but the gateway's. */
	struct lx_subnet host4;
	struct lx_subnet host6;
	char domain[LX_DOMAIN_MAX + 1];
};

/* Two names and the domain. */
#define LX_LEASE_NAME_MAX (LX_DOMAIN_MAX + 2 * (LX_NAME_MAX + 1))

struct lx_lease {
	char hwaddr[LX_HWADDR_TEXT]; /* lower case */
	char instance[LX_NAME_MAX + 1];
	/* In the network's DNS; one with a dot is complete, the domain is to follow other ones. */
	char name[LX_LEASE_NAME_MAX + 1];
	struct lx_subnet v4; /* family 0: none */
	struct lx_subnet v6;
};

/*
 * The hardware address of a network's bridge. It is the gateway's, and the same on every
 * machine: an instance that moves finds it where it was. Locally administered.
 */
void lx_network_hwaddr(const char *network, uint8_t out[LX_HWADDR_BYTES]);
/* "02:00:00:00:00:05", lower or upper case; false when it is none. */
bool lx_hwaddr_parse(const char *text, uint8_t out[LX_HWADDR_BYTES]);
char *lx_hwaddr_format(const uint8_t hwaddr[LX_HWADDR_BYTES], char out[LX_HWADDR_TEXT]);

/* A name that a network, and the bridge of that name, can have. */
int lx_network_name_check(const char *name, struct lx_err *err);

/*
 * An absent key has its default: no addresses; NAT and DHCP on; domain "lxmgr". Fails with
 * INVALID_ARGUMENT that names key and value.
 */
int lx_network_config_parse(const Lxmgr__V1__NetworkSpec *spec, struct lx_network_config *out,
			    struct lx_err *err);

bool lx_network_config_equal(const struct lx_network_config *a, const struct lx_network_config *b);

/* Decodes one lease of that network. */
int lx_lease_parse(const struct lx_network_config *network, const Lxmgr__V1__LeaseSpec *spec,
		   struct lx_lease *out, struct lx_err *err);

#endif
