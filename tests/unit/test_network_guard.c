/* The guard's text for nft, and what a card becomes in it. The kernel's view: test_attack_*.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/network/guard.h"
#include "lib/cleanup.h"

static const struct lx_network_port card = {
	.network = "lxbr0",
	.instance = "web1",
	.host_name = "lx0123abcdn0",
	.hwaddr = "00:16:3e:12:34:56",
	.ipv4 = "10.88.0.7",
	.ipv6 = "fd42::7",
};

static void table(void **state)
{
	static const char shorter[] = "flush set bridge lxguard_lxbr0 own4\n"
				      "flush set bridge lxguard_lxbr0 own6\n";
	lx_autobuf struct lx_buf out = { 0 };

	assert_int_equal(lx_guard_table(&out, "lxbr0"), 0);
	const char *text = lx_buf_str(&out), *flush = strstr(text, "flush table bridge lxguard_lxbr0\n");

	/* Declared, then emptied of rules, then filled. Of the sets only those are flushed that refuse
	 * nobody. */
	assert_non_null(flush);
	assert_true(strstr(text, "set macs") < flush);
	assert_true(strstr(text, "add rule") > flush);
	assert_true(strstr(text, "flush set") > flush);
	assert_ptr_equal(strstr(text, "flush set"), strstr(text, shorter));
	assert_null(strstr(strstr(text, shorter) + strlen(shorter), "flush set"));
	/* What is dropped is counted before, by a rule of its own; a frame that passes meets neither. */
	const char *count = strstr(text, "refuse update @refused { iifname counter }\n");

	assert_non_null(count);
	assert_true(strstr(text, "refuse counter drop\n") > count);
	assert_non_null(
		strstr(text, "from iifname . ether saddr != @macs iifname != @free_mac goto refuse\n"));
	assert_non_null(strstr(text, "from limit name iifname map @egress counter drop\n"));
}

static void elements(void **state)
{
	lx_autobuf struct lx_buf out = { 0 };
	struct lx_guard g;

	assert_int_equal(lx_guard_parse(&card, &g, NULL), 0);
	assert_int_equal(lx_guard_elements(&out, &g), 0);
	const char *text = lx_buf_str(&out);

	assert_non_null(strstr(text, "macs { \"lx0123abcdn0\" . 00:16:3e:12:34:56 }"));
	assert_non_null(strstr(text, "v4 { \"lx0123abcdn0\" . 10.88.0.7 }"));
	assert_non_null(strstr(text, "v6 { \"lx0123abcdn0\" . fd42::7 }"));
	assert_non_null(strstr(text, "v6 { \"lx0123abcdn0\" . fe80::216:3eff:fe12:3456 }"));
	assert_non_null(strstr(text, "nd { \"lx0123abcdn0\" . 0xfd420000000000000000000000000007 }"));
	assert_non_null(strstr(text, "own4 { \"lx0123abcdn0\" . 00:16:3e:12:34:56 . 10.88.0.7 }"));
	assert_non_null(strstr(text, "own6 { \"lx0123abcdn0\" . 00:16:3e:12:34:56 . fd42::7 }"));
	assert_non_null(
		strstr(text, "own6 { \"lx0123abcdn0\" . 00:16:3e:12:34:56 . fe80::216:3eff:fe12:3456 }"));
	assert_non_null(strstr(text, "ports { \"lx0123abcdn0\" }"));
	assert_null(strstr(text, "free_"));
	assert_null(strstr(text, "egress"));
}

static void freed_and_bounded(void **state)
{
	lx_autobuf struct lx_buf out = { 0 };
	struct lx_network_port p = card;
	struct lx_guard g;

	p.ipv4 = "";
	p.options = (struct lx_network_port_options){ .free_v4 = true, .egress = 1250000 };
	assert_int_equal(lx_guard_parse(&p, &g, NULL), 0);
	assert_int_equal(lx_guard_elements(&out, &g), 0);
	const char *text = lx_buf_str(&out);

	assert_non_null(strstr(text, "free_v4 { \"lx0123abcdn0\" }"));
	assert_null(strstr(text, " v4 {"));
	assert_null(strstr(text, "free_mac"));
	/* What it sends is counted: no shorter way past that. */
	assert_null(strstr(text, "own"));
	assert_non_null(
		strstr(text, "lx0123abcdn0-1250000 { rate over 1250000 bytes/second burst 131072 bytes"));
	assert_non_null(strstr(text, "egress { \"lx0123abcdn0\" : \"lx0123abcdn0-1250000\" }"));
}

/* Its frames are set one; IPv4 that is routed again, by its address, which it does not lose by being freed.
 */
static void prioritized(void **state)
{
	lx_autobuf struct lx_buf out = { 0 }, whole = { 0 };
	struct lx_network_port p = card;
	struct lx_guard g;

	p.options = (struct lx_network_port_options){ .priority = 10 };
	assert_int_equal(lx_guard_parse(&p, &g, NULL), 0);
	assert_int_equal(lx_guard_elements(&out, &g), 0);
	const char *text = lx_buf_str(&out);

	assert_non_null(
		strstr(text, "add element bridge lxguard_lxbr0 priorities { \"lx0123abcdn0\" : 0:a }\n"));
	assert_non_null(strstr(text, "add element ip lxguard_lxbr0 priorities { 10.88.0.7 : 0:a }\n"));
	/* No way past the rule that sets it. */
	assert_null(strstr(text, "own"));

	assert_int_equal(lx_guard_table(&whole, "lxbr0"), 0);
	text = lx_buf_str(&whole);
	assert_non_null(strstr(text, "from meta priority set iifname map @priorities\n"));
	assert_non_null(
		strstr(text, "routed iifname \"lxbr0\" meta priority set ip saddr map @priorities\n"));
	assert_non_null(strstr(text, "flush map bridge lxguard_lxbr0 priorities\n"));
	assert_non_null(strstr(text, "flush map ip lxguard_lxbr0 priorities\n"));
}

/* Names go into the text as they are. */
static void bad_cards(void **state)
{
	static const char *const names[] = { "", "a\"; drop", "lx*", "lx0 ", "longer-than-an-interface" };
	struct lx_network_port p = card;
	struct lx_err err = LX_ERR_INIT;
	struct lx_guard g;

	for (size_t i = 0; i < LX_ARRAY_SIZE(names); i++) {
		p.host_name = names[i];
		assert_true(lx_guard_parse(&p, &g, &err) < 0);
		assert_int_equal(err.code, LX_INVALID_ARGUMENT);
	}
	p = card;
	p.hwaddr = "00:16:3e";
	assert_true(lx_guard_parse(&p, &g, NULL) < 0);
	p = card;
	p.ipv4 = "fd42::7";
	assert_true(lx_guard_parse(&p, &g, NULL) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table),
		cmocka_unit_test(elements),
		cmocka_unit_test(freed_and_bounded),
		cmocka_unit_test(prioritized),
		cmocka_unit_test(bad_cards),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
