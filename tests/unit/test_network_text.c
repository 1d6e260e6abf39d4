/* What is written for other programs, and read from them: nft, dnsmasq, DHCP. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>

#include "agent/network/config.h"
#include "agent/network/dnsmasq_args.h"
#include "agent/network/firewall.h"
#include "agent/network/nft.h"
#include "agent/network/release.h"
#include "lib/cleanup.h"
#include "lib/str.h"

static struct lx_network_config config(void)
{
	struct lx_network_config c = { .name = "lxbr0", .domain = "lxmgr", .v4_nat = true, .v4_dhcp = true };

	assert_int_equal(lx_subnet_parse("x", AF_INET, "10.88.0.1/16", &c.v4, NULL), 0);
	return c;
}

static void rules_of_both_families(void **state)
{
	struct lx_network_config c = config();
	lx_autobuf struct lx_buf v4 = { 0 }, both = { 0 };

	assert_int_equal(lx_nft_set(&v4, &c), 0);
	assert_non_null(strstr(lx_buf_str(&v4), "flush table inet lxmgr_lxbr0\n"));
	assert_non_null(
		strstr(lx_buf_str(&v4),
		       "ip saddr 10.88.0.0/16 ip daddr != 10.88.0.0/16 oifname != \"lxbr0\" masquerade"));
	assert_null(strstr(lx_buf_str(&v4), "ip6"));
	assert_int_equal(lx_subnet_parse("x", AF_INET6, "fd42::1/64", &c.v6, NULL), 0);
	c.v4_nat = false;
	c.v6_nat = true;
	assert_int_equal(lx_nft_set(&both, &c), 0);
	assert_null(strstr(lx_buf_str(&both), "ip saddr 10.88.0.0/16 ip daddr"));
	assert_non_null(strstr(lx_buf_str(&both),
			       "ip6 saddr fd42::/64 ip6 daddr != fd42::/64 oifname != \"lxbr0\" masquerade"));
}

/* What stays on each machine of a cluster; a network of one machine has no such table. */
static void border_rules(void **state)
{
	struct lx_network_config c = config();
	lx_autobuf struct lx_buf alone = { 0 }, joined = { 0 };
	char mac[LX_HWADDR_TEXT];
	uint8_t gateway[LX_HWADDR_BYTES];

	assert_int_equal(lx_nft_set(&alone, &c), 0);
	assert_null(strstr(lx_buf_str(&alone), "bridge"));
	assert_int_equal(lx_subnet_parse("x", AF_INET6, "fd42:88::1/64", &c.v6, NULL), 0);
	assert_int_equal(lx_subnet_parse_host("x", AF_INET, "10.88.0.200", &c.host4, NULL), 0);
	c.vxlan_id = 1024;
	assert_int_equal(lx_nft_set(&joined, &c), 0);
	lx_network_hwaddr("lxbr0", gateway);
	lx_autofree char *from_gateway = lx_asprintf("postrouting oifname \"lxv1024\" ether saddr %s drop\n",
						     lx_hwaddr_format(gateway, mac));
	assert_non_null(strstr(lx_buf_str(&joined), from_gateway));
	assert_non_null(
		strstr(lx_buf_str(&joined), "prerouting iifname \"lxv1024\" arp saddr ip 10.88.0.1 drop"));
	assert_non_null(strstr(lx_buf_str(&joined), "@th,64,128 0xfd420088000000000000000000000001 drop"));
	assert_non_null(strstr(lx_buf_str(&joined), "ip daddr { 10.88.0.1, 10.88.0.200 } "));
}

static void hardware_addresses(void **state)
{
	uint8_t a[LX_HWADDR_BYTES], b[LX_HWADDR_BYTES];
	char text[LX_HWADDR_TEXT];

	lx_network_hwaddr("lxbr0", a);
	lx_network_hwaddr("lxbr1", b);
	assert_memory_not_equal(a, b, sizeof(a));
	assert_int_equal(a[0], 2);
	assert_true(lx_hwaddr_parse("00:16:3E:00:00:0a", a));
	assert_string_equal(lx_hwaddr_format(a, text), "00:16:3e:00:00:0a");
	assert_false(lx_hwaddr_parse("00:16:3e:00:00:0", a));
	assert_false(lx_hwaddr_parse("00:16:3e:00:00:0a:", a));
	assert_false(lx_hwaddr_parse("00-16-3e-00-00-0a", a));
	assert_false(lx_hwaddr_parse(NULL, a));
}

static bool has_arg(char **args, const char *arg)
{
	for (; *args; args++)
		if (lx_starts_with(*args, arg))
			return true;
	return false;
}

static void arguments(void **state)
{
	struct lx_network_config c = config();
	char **args = lx_dnsmasq_args(&c, 7, "/run/x", "nobody");

	assert_non_null(args);
	assert_true(has_arg(args, "--dhcp-range=set:if7,10.88.0.0,static,255.255.0.0,"));
	assert_true(has_arg(args, "--pid-file=/run/x/dnsmasq.pid"));
	assert_true(has_arg(args, "--rev-server=10.88.0.0/16"));
	lx_dnsmasq_args_free(args);
	c.v4_dhcp = false;
	args = lx_dnsmasq_args(&c, 7, "/run/x", "nobody");
	assert_non_null(args);
	assert_false(has_arg(args, "--dhcp"));
	lx_dnsmasq_args_free(args);
}

#define CHAIN(family, table, name, hook, policy)                                                             \
	"{\"chain\": {\"family\": \"" family "\", \"table\": \"" table "\", \"name\": \"" name               \
	"\", \"handle\": 1, \"type\": \"filter\", \"hook\": \"" hook                                         \
	"\", \"prio\": 0, \"policy\": \"" policy "\"}}"

static void finds_who_drops(void **state)
{
	struct lx_firewall_chain c;

	assert_true(lx_firewall_find(
		"{\"nftables\": [{\"metainfo\": {}}, {\"chain\": {\"name\": \"x\"}}, " CHAIN(
			"ip", "filter", "INPUT", "input", "drop") ", " CHAIN("ip", "filter", "FORWARD",
									     "forward", "drop") "]}",
		&c));
	assert_string_equal(c.family, "ip");
	assert_string_equal(c.table, "filter");
	assert_string_equal(c.chain, "FORWARD");
	assert_false(lx_firewall_find(
		"{\"nftables\": [" CHAIN("ip", "filter", "FORWARD", "forward", "accept") "]}", &c));
	assert_false(lx_firewall_find(
		"{\"nftables\": [" CHAIN("ip", "-f /etc/passwd", "x", "forward", "drop") "]}", &c));
	assert_false(lx_firewall_find(
		"{\"nftables\": [" CHAIN("bridge", "filter", "x", "forward", "drop") "]}", &c));
	for (const char *const *s = (const char *const[]){ "", "{", "[]", "{\"nftables\": 1}",
							   "{\"nftables\": [1, null]}", NULL };
	     *s; s++)
		assert_false(lx_firewall_find(*s, &c));
	assert_true(lx_firewall_mentions("iifname \"lxbr0\" accept", "lxbr0"));
	assert_false(lx_firewall_mentions("iifname \"lxbr01\" accept", "lxbr0"));
}

static void releases(void **state)
{
	struct lx_network_config c = config();
	unsigned char p[LX_RELEASE_MAX];

	assert_int_equal(lx_release_packet("02:00:00:00:00:0f,10.88.0.5,web1\n", &c.v4, p), 240 + 3 + 6 + 1);
	assert_memory_equal(p, "\x01\x01\x06", 3);
	assert_memory_equal(p + 12, "\x0a\x58\x00\x05", 4);         /* ciaddr */
	assert_memory_equal(p + 28, "\x02\x00\x00\x00\x00\x0f", 6); /* chaddr */
	assert_memory_equal(p + 236, "\x63\x82\x53\x63\x35\x01\x07\x36\x04\x0a\x58\x00\x01\xff", 14);
	for (const char *const *s =
		     (const char *const[]){ "", "\n", "02:00:00:00:00:0f", "02:00:00:00:00:0f,fd42::5,web1",
					    "02:00:00:00:00,10.88.0.5,web1",
					    "xx:00:00:00:00:0f,10.88.0.5,web1", NULL };
	     *s; s++)
		assert_int_equal(lx_release_packet(*s, &c.v4, p), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules_of_both_families), cmocka_unit_test(border_rules),
		cmocka_unit_test(hardware_addresses),     cmocka_unit_test(arguments),
		cmocka_unit_test(finds_who_drops),        cmocka_unit_test(releases),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
