/*
 * The guard table of a network, `bridge lxguard_<bridge>`:
 *
 *   from      every frame that comes in at a port of any bridge. Nearly all are from the own hardware
 *             address and the own address: one lookup for both, in own4 or own6. Of the others, what
 *             is not a guest's passes; a guest's must keep to its rate, and be from its own hardware
 *             address; then by protocol
 *   arp_from  speaks of its own address, or asks whether somebody else has it (RFC 5227)
 *   v4_from   from its own address, or asks for one by DHCP
 *   v4_own    from its own address: all but what a DHCP server says
 *   v6_from, v6_own   the same
 *   v6_icmp   and neighbour discovery: advertises itself alone (RFC 4861), routes nobody
 *   refuse    what is dropped for what it says (not for its rate), counted for each card: frames that
 *             pass never come here
 *
 * What is none of these protocols is dropped: it could carry any of them (802.1Q, PPPoE, 802.3).
 * A card that is freed of a check is in a set that says so.
 *
 * own4 and own6 are a shorter way to what the other sets let pass as well: who is not in them is not
 * refused. A card is not that has a rate, which has to be counted, a priority, which has to be set, or is
 * freed of the check.
 *
 * A priority is the frame's from here on, to another card, through the tunnel or out of the machine. But
 * the kernel gives IPv4 packets that it routes another one, by their type of service: `ip
 * lxguard_<bridge>` sets it again behind that, by the source, which has been checked here and is not
 * yet masqueraded.
 *
 * Each frame costs the same however many cards there are: it costs lookups, and each of them more
 * than all that nft compares beside it.
 *
 * Like nft.c, a table is declared, emptied of rules and given them again in one transaction.
 * Flushing a table leaves its sets as they are; the two shorter ways and the priorities are emptied, so
 * that they hold nothing that an agent which did not know them has left when a card was changed or had
 * gone.
 */
#include <inttypes.h>
#include <stdio.h>

#include "agent/network/guard.h"

#define TABLE        "bridge " LX_GUARD_TABLE_PREFIX "%s"
#define ROUTED_TABLE "ip " LX_GUARD_TABLE_PREFIX "%s"

/* In the order of a definition before its use. */
static const char declarations[] =
	"\tset ports { type ifname; }\n"
	"\tset macs { type ifname . ether_addr; }\n"
	"\tset v4 { type ifname . ipv4_addr; }\n"
	"\tset v6 { type ifname . ipv6_addr; }\n"
	/* The target of neighbour discovery, behind the message's first 8 bytes. */
	"\tset nd { typeof iifname . @th,64,128; }\n"
	"\tset own4 { type ifname . ether_addr . ipv4_addr; }\n"
	"\tset own6 { type ifname . ether_addr . ipv6_addr; }\n"
	"\tset free_mac { type ifname; }\n"
	"\tset free_v4 { type ifname; }\n"
	"\tset free_v6 { type ifname; }\n"
	"\tmap egress { type ifname : limit; }\n"
	"\tmap " LX_GUARD_PRIORITY " { type ifname : classid; }\n"
	"\tset " LX_GUARD_REFUSED " { type ifname; size 65536; flags dynamic; }\n"
	"\tchain refuse { }\n"
	"\tchain arp_from { }\n"
	"\tchain v4_own { }\n"
	"\tchain v4_from { }\n"
	"\tchain v6_icmp { }\n"
	"\tchain v6_own { }\n"
	"\tchain v6_from { }\n"
	/* Before the rules between machines: those let a guest's frames pass. */
	"\tchain from { type filter hook prerouting priority filter - 10; "
	"policy accept; }\n";

/* Behind all that may look at a packet before it is let through. */
static const char routed_declarations[] =
	"\tmap " LX_GUARD_PRIORITY " { type ipv4_addr : classid; }\n"
	"\tchain routed { type filter hook forward priority filter + 10; policy accept; }\n";

static const struct {
	const char *chain, *rule;
} rules[] = {
	/* A rule of its own: a set that is full lets no frame pass. */
	{ "refuse", "update @" LX_GUARD_REFUSED " { iifname counter }" },
	{ "refuse", "counter drop" },

	{ "arp_from", "iifname . arp saddr ether != @macs iifname != @free_mac goto refuse" },
	{ "arp_from", "iifname @free_v4 accept" },
	{ "arp_from", "arp htype 1 arp ptype ip arp hlen 6 arp plen 4 iifname . arp saddr ip @v4 accept" },
	{ "arp_from", "arp htype 1 arp ptype ip arp hlen 6 arp plen 4 arp operation request "
		      "arp saddr ip 0.0.0.0 iifname . arp daddr ip @v4 accept" },
	{ "arp_from", "goto refuse" },

	{ "v4_own", "udp sport 67 goto refuse" },
	{ "v4_own", "udp dport 68 goto refuse" },
	{ "v4_own", "accept" },

	{ "v4_from", "iifname @free_v4 accept" },
	{ "v4_from", "iifname . ip saddr @v4 goto v4_own" },
	{ "v4_from", "ip saddr 0.0.0.0 ip daddr 255.255.255.255 udp sport 68 udp dport 67 accept" },
	{ "v4_from", "goto refuse" },

	{ "v6_icmp", "icmpv6 type { nd-router-advert, nd-redirect } goto refuse" },
	{ "v6_icmp", "icmpv6 type nd-neighbor-advert iifname . @th,64,128 != @nd goto refuse" },
	{ "v6_icmp", "iifname . ip6 saddr @v6 accept" },
	/* Before it has an address: is it free (RFC 4862)? And who listens to it (RFC 3810). */
	{ "v6_icmp", "ip6 saddr :: icmpv6 type nd-neighbor-solicit iifname . @th,64,128 @nd accept" },
	{ "v6_icmp", "ip6 saddr :: ip6 daddr ff02::16 icmpv6 type mld2-listener-report accept" },
	{ "v6_icmp", "goto refuse" },

	{ "v6_own", "meta l4proto icmpv6 goto v6_icmp" },
	{ "v6_own", "udp sport 547 goto refuse" },
	{ "v6_own", "udp dport 546 goto refuse" },
	{ "v6_own", "accept" },

	{ "v6_from", "iifname @free_v6 accept" },
	{ "v6_from", "meta l4proto icmpv6 goto v6_icmp" },
	{ "v6_from", "iifname . ip6 saddr @v6 goto v6_own" },
	{ "v6_from", "goto refuse" },

	/* The type as it stands in the frame as well: nft by itself compares that behind a tag (802.1Q). */
	{ "from", "iifname . ether saddr . ip saddr @own4 ether type ip goto v4_own" },
	{ "from", "iifname . ether saddr . ip6 saddr @own6 ether type ip6 goto v6_own" },
	{ "from", "iifname != @ports accept" },
	{ "from", "meta priority set iifname map @" LX_GUARD_PRIORITY },
	{ "from", "limit name iifname map @egress counter drop" },
	{ "from", "iifname . ether saddr != @macs iifname != @free_mac goto refuse" },
	{ "from", "ether type vmap { arp : goto arp_from, ip : goto v4_from, ip6 : goto v6_from }" },
	{ "from", "iifname @free_v4 iifname @free_v6 accept" },
	{ "from", "goto refuse" },
};

static int routed_table(struct lx_buf *out, const char *network)
{
	return lx_buf_printf(out,
			     "table " ROUTED_TABLE " {\n%s}\nflush table " ROUTED_TABLE "\n"
			     "flush map " ROUTED_TABLE " " LX_GUARD_PRIORITY "\n"
			     "add rule " ROUTED_TABLE
			     " routed iifname \"%s\" meta priority set ip saddr map @" LX_GUARD_PRIORITY "\n",
			     network, routed_declarations, network, network, network, network);
}

int lx_guard_table(struct lx_buf *out, const char *network)
{
	int r = lx_buf_printf(out,
			      "table " TABLE " {\n%s}\nflush table " TABLE "\n"
			      "flush set " TABLE " own4\nflush set " TABLE " own6\n"
			      "flush map " TABLE " " LX_GUARD_PRIORITY "\n",
			      network, declarations, network, network, network, network);

	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]) && r == 0; i++)
		r = lx_buf_printf(out, "add rule " TABLE " %s %s\n", network, rules[i].chain, rules[i].rule);
	return r < 0 ? r : routed_table(out, network);
}

static int element(struct lx_buf *out, const struct lx_guard *g, const char *set, const char *value)
{
	return lx_buf_printf(out, "add element " TABLE " %s { \"%s\"%s%s }\n", g->network, set, g->host_name,
			     *value ? " . " : "", value);
}

static int own(struct lx_buf *out, const struct lx_guard *g, const char *set, const struct lx_subnet *a)
{
	char both[LX_HWADDR_TEXT + LX_SUBNET_TEXT + 3], mac[LX_HWADDR_TEXT], text[LX_SUBNET_TEXT];

	if (!lx_guard_is_plain(g, a->family))
		return 0;
	snprintf(both, sizeof(both), "%s . %s", lx_hwaddr_format(g->hwaddr, mac),
		 lx_subnet_format_host(a, text));
	return element(out, g, set, both);
}

/* An address as the number that nft shows where it knows no type. */
static const char *hex(const struct lx_subnet *a, char out[2 * 16 + 3])
{
	char *at = out + snprintf(out, 3, "0x");

	for (size_t i = 0; i < lx_subnet_bytes(a->family); i++)
		at += snprintf(at, 3, "%02x", a->addr[i]);
	return out;
}

static int priority(struct lx_buf *out, const struct lx_guard *g)
{
	char text[LX_SUBNET_TEXT];
	int r = lx_buf_printf(out, "add element " TABLE " " LX_GUARD_PRIORITY " { \"%s\" : 0:%" PRIx32 " }\n",
			      g->network, g->host_name, g->options.priority);

	if (r == 0 && g->v4.family != 0)
		r = lx_buf_printf(
			out, "add element " ROUTED_TABLE " " LX_GUARD_PRIORITY " { %s : 0:%" PRIx32 " }\n",
			g->network, lx_subnet_format_host(&g->v4, text), g->options.priority);
	return r;
}

int lx_guard_elements(struct lx_buf *out, const struct lx_guard *g)
{
	char text[LX_SUBNET_TEXT], mac[LX_HWADDR_TEXT], number[2 * 16 + 3], limit[LX_GUARD_OBJECT_MAX];
	int r = element(out, g, "macs", lx_hwaddr_format(g->hwaddr, mac));

	if (r == 0 && g->v4.family != 0)
		r = element(out, g, "v4", lx_subnet_format_host(&g->v4, text));
	if (r == 0 && g->v4.family != 0)
		r = own(out, g, "own4", &g->v4);
	for (size_t i = 0; i < 2 && r == 0; i++) {
		if (g->v6[i].family == 0)
			continue;
		r = element(out, g, "v6", lx_subnet_format_host(&g->v6[i], text));
		if (r == 0)
			r = element(out, g, "nd", hex(&g->v6[i], number));
		if (r == 0)
			r = own(out, g, "own6", &g->v6[i]);
	}
	if (r == 0 && g->options.free_mac)
		r = element(out, g, "free_mac", "");
	if (r == 0 && g->options.free_v4)
		r = element(out, g, "free_v4", "");
	if (r == 0 && g->options.free_v6)
		r = element(out, g, "free_v6", "");
	if (r == 0 && g->options.egress != 0) {
		lx_guard_limit_name(g, limit);
		r = lx_buf_printf(out,
				  "add limit " TABLE " %s { rate over %" PRIu64
				  " bytes/second burst %u bytes; }\n"
				  "add element " TABLE " egress { \"%s\" : \"%s\" }\n",
				  g->network, limit, g->options.egress, LX_GUARD_BURST, g->network,
				  g->host_name, limit);
	}
	if (r == 0 && g->options.priority != 0)
		r = priority(out, g);
	return r < 0 ? r : element(out, g, "ports", "");
}

int lx_guard_remove_table(struct lx_buf *out, const char *network)
{
	/* Declared first, so that deleting what is not there is no failure. */
	return lx_buf_printf(out,
			     "table " TABLE "\ndelete table " TABLE "\n"
			     "table " ROUTED_TABLE "\ndelete table " ROUTED_TABLE "\n",
			     network, network, network, network);
}
