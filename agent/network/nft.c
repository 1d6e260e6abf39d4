/*
 * One table a network, `inet lxmgr_<bridge>`, with three chains:
 *
 *   postrouting   what leaves the subnet gets the address of the interface it leaves through
 *   forward       what the bridge's guests send must come from the subnet (no spoofing)
 *   input         the bridge's DHCP and DNS are for its guests alone: nobody else on the
 *                 wires of this machine may use them, which would make it an open resolver
 *
 * All policies are accept, so what is not named passes this table; another table may still
 * drop it (firewall.h tells the user).
 *
 * The table is declared, flushed and filled again in one transaction rather than deleted and
 * made anew: packets never see it half-done, and a deletion in the kernel's notifications is
 * always somebody else's (watch.h).
 *
 * Every word comes from a decoded configuration (config.h): nothing needs quoting.
 */
#include "agent/network/nft.h"

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
static int rules(struct lx_buf *out, const char *name, const char *ip, const struct lx_subnet *s, bool nat)
{
	char addr[LX_SUBNET_TEXT], net[LX_SUBNET_TEXT];
	int r;

	if (s->family == 0)
		return 0;
	lx_subnet_format_host(s, addr);
	lx_subnet_format_network(s, net);
	r = lx_buf_printf(
		out,
		"add rule inet " LX_NFT_TABLE_PREFIX "%s input iifname != { \"lo\", \"%s\" } %s daddr %s "
		"meta l4proto { tcp, udp } th dport { 53, 67 } drop\n"
		"add rule inet " LX_NFT_TABLE_PREFIX "%s forward iifname \"%s\" %s saddr != %s drop\n",
		name, name, ip, addr, name, name, ip, net);
	if (r == 0 && nat)
		r = lx_buf_printf(out,
				  "add rule inet " LX_NFT_TABLE_PREFIX
				  "%s postrouting %s saddr %s %s daddr != %s "
				  "oifname != \"%s\" masquerade\n",
				  name, ip, net, ip, net, name);
	return r;
}

int lx_nft_set(struct lx_buf *out, const struct lx_network_config *config)
{
	int r = chains(out, config->name);

	if (r == 0)
		r = rules(out, config->name, "ip", &config->v4, config->v4_nat);
	if (r == 0)
		r = rules(out, config->name, "ip6", &config->v6, config->v6_nat);
	return r;
}

int lx_nft_remove(struct lx_buf *out, const char *network)
{
	/* Declared first, so that deleting what is not there is no failure. */
	return lx_buf_printf(
		out, "table inet " LX_NFT_TABLE_PREFIX "%s\ndelete table inet " LX_NFT_TABLE_PREFIX "%s\n",
		network, network);
}
