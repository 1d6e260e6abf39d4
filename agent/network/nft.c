/*
 * Two tables a network. `inet lxmgr_<bridge>` has three chains:
 *
 *   postrouting   what leaves the subnet gets the address of the interface it leaves through
 *   forward       what the bridge's guests send must come from the subnet (no spoofing)
 *   input         the bridge's DHCP and DNS are for its guests alone: nobody else on the
 *                 wires of this machine may use them, which would make it an open resolver
 *
 * All policies are accept, so what is not named passes this table; another table may still
 * drop it (firewall.h tells the user).
 *
 * `bridge lxmgr_<bridge>` is there when the network spans machines, and says what stays on each
 * (tunnel.h). Every machine has the gateway, with the same addresses on both layers: nothing
 * from it may cross, or two of them answer one question, and bridges would learn that it is
 * elsewhere. Each has a DHCP server that knows all leases, so requests stay as well, and so
 * does what only routers may say.
 *
 * A table is declared, flushed and filled again in one transaction rather than deleted and
 * made anew: packets never see it half-done, and a deletion in the kernel's notifications is
 * always somebody else's (watch.h).
 *
 * Every word comes from a decoded configuration (config.h): nothing needs quoting.
 */
#include "agent/network/nft.h"

#include <stdio.h>
#include <sys/socket.h>

#include "agent/network/tunnel.h"
#include "lib/cleanup.h"

static int chains(struct lx_buf *out, const char *name)
{
	return lx_buf_printf(
		out,
		"table inet " LX_NFT_TABLE_PREFIX "%s {\n"
		"\tchain input { type filter hook input priority filter; policy accept; }\n"
		"\tchain forward { type filter hook forward priority filter; policy accept; }\n"
		"\tchain postrouting { type nat hook postrouting priority srcnat; policy accept; }\n"
		"}\n"
		"flush table inet " LX_NFT_TABLE_PREFIX "%s\n",
		name, name);
}

/* The rules of one family; `ip` is the family's keyword. */
static int rules(struct lx_buf *out, const char *name, const char *ip, const struct lx_subnet *s,
		 const struct lx_subnet *host, bool nat)
{
	char addr[LX_SUBNET_TEXT], own[LX_SUBNET_TEXT], net[LX_SUBNET_TEXT], from[2 * LX_SUBNET_TEXT];
	int r;

	if (s->family == 0)
		return 0;
	lx_subnet_format_host(s, addr);
	lx_subnet_format_network(s, net);
	/* With br_netfilter, what the bridge itself passes on comes by here too: neighbours that talk
	 * link-locally, or look for their address. It is never routed. */
	snprintf(from, sizeof(from), s->family == AF_INET6 ? "{ ::, fe80::/10, %s }" : "%s", net);
	r = lx_buf_printf(out,
			  "add rule inet " LX_NFT_TABLE_PREFIX
			  "%s input iifname != { \"lo\", \"%s\" } %s daddr { %s%s%s } "
			  "meta l4proto { tcp, udp } th dport { 53, 67 } drop\n"
			  "add rule inet " LX_NFT_TABLE_PREFIX
			  "%s forward iifname \"%s\" %s saddr != %s drop\n",
			  name, name, ip, addr, host->family ? ", " : "",
			  host->family ? lx_subnet_format_host(host, own) : "", name, name, ip, from);
	if (r == 0 && nat)
		r = lx_buf_printf(out,
				  "add rule inet " LX_NFT_TABLE_PREFIX
				  "%s postrouting %s saddr %s %s daddr != %s "
				  "oifname != \"%s\" masquerade\n",
				  name, ip, net, ip, net, name);
	return r;
}

/* ------------------------------------------------------------------ between machines */

static int border_chains(struct lx_buf *out, const char *name)
{
	return lx_buf_printf(
		out,
		"table bridge " LX_NFT_TABLE_PREFIX "%s {\n"
		"\tchain prerouting { type filter hook prerouting priority filter; policy accept; }\n"
		"\tchain postrouting { type filter hook postrouting priority filter; policy accept; }\n"
		"}\n"
		"flush table bridge " LX_NFT_TABLE_PREFIX "%s\n",
		name, name);
}

/* One direction: frames that come (`dev` is iifname) or go (oifname) through the tunnel. */
static int border_rules(struct lx_buf *out, const struct lx_network_config *c, const char *chain,
			const char *dev)
{
	char tunnel[IFNAMSIZ], mac[LX_HWADDR_TEXT], addr[LX_SUBNET_TEXT];
	uint8_t gateway[LX_HWADDR_BYTES];
	lx_autobuf struct lx_buf rule = { 0 };
	int r;

	lx_tunnel_guests_name(c->vxlan_id, tunnel);
	lx_network_hwaddr(c->name, gateway);
	r = lx_buf_printf(&rule, "add rule bridge " LX_NFT_TABLE_PREFIX "%s %s %s \"%s\"", c->name, chain,
			  dev, tunnel);
	const char *start = lx_buf_str(&rule);

	if (r == 0)
		r = lx_buf_printf(
			out,
			"%s ether saddr %s drop\n"
			"%s ether type ip udp dport { 67, 68 } drop\n"
			"%s icmpv6 type { nd-router-solicit, nd-router-advert, nd-redirect } drop\n",
			start, lx_hwaddr_format(gateway, mac), start, start);
	if (r == 0 && c->v4.family != 0) {
		lx_subnet_format_host(&c->v4, addr);
		r = lx_buf_printf(out, "%s arp daddr ip %s drop\n%s arp saddr ip %s drop\n", start, addr,
				  start, addr);
	}
	/* The address asked for, behind the message's first 8 bytes (RFC 4861, sections 4.3, 4.4). */
	if (r == 0 && c->v6.family != 0) {
		r = lx_buf_printf(out,
				  "%s icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } @th,64,128 0x",
				  start);
		for (size_t i = 0; i < lx_subnet_bytes(AF_INET6) && r == 0; i++)
			r = lx_buf_printf(out, "%02x", c->v6.addr[i]);
		if (r == 0)
			r = lx_buf_printf(out, " drop\n");
	}
	return r;
}

int lx_nft_set(struct lx_buf *out, const struct lx_network_config *config)
{
	int r = chains(out, config->name);

	if (r == 0)
		r = rules(out, config->name, "ip", &config->v4, &config->host4, config->v4_nat);
	if (r == 0)
		r = rules(out, config->name, "ip6", &config->v6, &config->host6, config->v6_nat);
	if (r == 0 && config->vxlan_id != 0)
		r = border_chains(out, config->name);
	if (r == 0 && config->vxlan_id != 0)
		r = border_rules(out, config, "prerouting", "iifname");
	if (r == 0 && config->vxlan_id != 0)
		r = border_rules(out, config, "postrouting", "oifname");
	return r;
}

int lx_nft_remove(struct lx_buf *out, const char *network)
{
	static const char *const families[] = { "inet", "bridge" };
	int r = 0;

	/* Declared first, so that deleting what is not there is no failure. */
	for (size_t i = 0; i < LX_ARRAY_SIZE(families) && r == 0; i++)
		r = lx_buf_printf(out,
				  "table %s " LX_NFT_TABLE_PREFIX "%s\ndelete table %s " LX_NFT_TABLE_PREFIX
				  "%s\n",
				  families[i], network, families[i], network);
	return r;
}
