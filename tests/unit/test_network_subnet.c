/* Subnet arithmetic: parsing, bounds, overlap, proposals; both families. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>

#include "agent/network/subnet.h"
#include "lib/cleanup.h"
#include "lib/str.h"

static struct lx_subnet parse(const char *text)
{
	int family = strchr(text, ':') ? AF_INET6 : AF_INET;
	struct lx_subnet s;

	assert_int_equal(lx_subnet_parse("address", family, text, &s, NULL), 0);
	return s;
}

static void round_trips(void **state)
{
	static const char *const texts[] = { "10.88.0.1/16",     "0.0.0.0/0",  "255.255.255.255/32",
					     "192.168.1.7/29",   "::/0",       "fd42:88::1/64",
					     "2001:db8::ff/127", "fe80::1/128" };
	char buf[LX_SUBNET_TEXT];

	for (size_t i = 0; i < LX_ARRAY_SIZE(texts); i++) {
		struct lx_subnet s = parse(texts[i]);

		assert_string_equal(lx_subnet_format(&s, buf), texts[i]);
	}
}

static void refuses_garbage(void **state)
{
	static const char *const bad[] = { "",
					   "/",
					   "10.88.0.1",
					   "10.88.0.1/",
					   "10.88.0.1/33",
					   "10.88.0.1/-1",
					   "10.88.0.1/a",
					   "10.88.0.1/1 ",
					   "10.88.0/16",
					   "010.88.0.1/16",
					   "10.88.0.1.2/8",
					   "1.2.3.4/4/4",
					   " 10.88.0.1/16",
					   "fd42::1/64",
					   "10.88.0.256/8",
					   "10.88.0.1/99999999999999999999",
					   "1111111111111111111111111111111111111111111111111111111/8" };
	struct lx_subnet s = { .prefix = 77 };

	for (size_t i = 0; i < LX_ARRAY_SIZE(bad); i++) {
		struct lx_err err = LX_ERR_INIT;

		assert_int_equal(lx_subnet_parse("ipv4.address", AF_INET, bad[i], &s, &err), -EINVAL);
		assert_true(lx_starts_with(err.msg, "ipv4.address: \""));
		assert_true(*err.hint);
	}
	assert_int_equal(lx_subnet_parse("x", AF_INET, NULL, &s, NULL), -EINVAL);
	assert_int_equal(lx_subnet_parse("x", AF_INET6, "fd42::1/129", &s, NULL), -EINVAL);
	assert_int_equal(lx_subnet_parse("x", AF_INET6, "10.88.0.1/16", &s, NULL), -EINVAL);
	assert_int_equal(lx_subnet_parse_host("x", AF_INET, "10.88.0.1/16", &s, NULL), -EINVAL);
	assert_int_equal(s.prefix, 77); /* untouched on failure */
}

static void masks(void **state)
{
	static const struct {
		const char *text, *network, *broadcast, *mask;
	} cases[] = {
		{ "10.88.3.1/16", "10.88.0.0/16", "10.88.255.255/16", "255.255.0.0" },
		{ "10.88.3.77/29", "10.88.3.72/29", "10.88.3.79/29", "255.255.255.248" },
		{ "10.88.3.77/0", "0.0.0.0/0", "255.255.255.255/0", "0.0.0.0" },
		{ "10.88.3.77/32", "10.88.3.77/32", "10.88.3.77/32", "255.255.255.255" },
		{ "10.88.3.77/13", "10.88.0.0/13", "10.95.255.255/13", "255.248.0.0" },
		{ "fd42:88::1/64", "fd42:88::/64", "fd42:88::ffff:ffff:ffff:ffff/64",
		  "ffff:ffff:ffff:ffff::" },
		{ "fd42:88::1/60", "fd42:88::/60", "fd42:88:0:f:ffff:ffff:ffff:ffff/60",
		  "ffff:ffff:ffff:fff0::" },
	};
	char buf[LX_SUBNET_TEXT];

	for (size_t i = 0; i < LX_ARRAY_SIZE(cases); i++) {
		struct lx_subnet s = parse(cases[i].text), b = lx_subnet_broadcast(&s);

		assert_string_equal(lx_subnet_format_network(&s, buf), cases[i].network);
		assert_string_equal(lx_subnet_format(&b, buf), cases[i].broadcast);
		assert_string_equal(lx_subnet_format_mask(&s, buf), cases[i].mask);
	}
}

static void overlaps(void **state)
{
	static const struct {
		const char *a, *b;
		bool overlap, a_contains_b;
	} cases[] = {
		{ "10.88.0.1/16", "10.88.7.1/24", true, true },
		{ "10.88.7.1/24", "10.88.0.1/16", true, false },
		{ "10.88.0.1/16", "10.88.9.9/16", true, true },
		{ "10.88.0.1/16", "10.89.0.1/16", false, false },
		{ "10.88.0.1/17", "10.88.128.0/17", false, false },
		{ "0.0.0.0/0", "10.88.0.1/16", true, true },
		{ "10.88.0.0/15", "10.89.255.255/32", true, true },
		{ "fd42:88::1/64", "fd42:88:0:1::/64", false, false },
		{ "fd42:88::/48", "fd42:88:0:1::/64", true, true },
		{ "10.88.0.1/8", "a58::/8", false, false }, /* the same leading bytes, another family */
	};
	struct lx_subnet none = { 0 };

	for (size_t i = 0; i < LX_ARRAY_SIZE(cases); i++) {
		struct lx_subnet a = parse(cases[i].a), b = parse(cases[i].b);

		assert_int_equal(lx_subnet_overlaps(&a, &b), cases[i].overlap);
		assert_int_equal(lx_subnet_overlaps(&b, &a), cases[i].overlap);
		assert_int_equal(lx_subnet_contains(&a, &b), cases[i].a_contains_b);
		assert_false(lx_subnet_overlaps(&none, &a));
		assert_false(lx_subnet_equal(&none, &a));
	}
	assert_false(lx_subnet_overlaps(&none, &none));
	assert_true(lx_subnet_equal(&none, &none));
}

static void checks_hosts(void **state)
{
	static const char *const good[] = { "10.88.0.1/16",   "192.168.0.255/23", "10.0.0.254/24",
					    "203.0.113.2/30", "10.88.255.255/8",  "fd42::1/64",
					    "fd42::ffff/112" };
	static const char *const bad[] = { "10.88.0.0/16",   "10.88.255.255/16", "127.0.0.1/8",
					   "169.254.1.1/16", "224.0.0.1/24",     "255.1.1.1/24",
					   "0.1.1.1/24",     "fe80::1/64",       "ff02::1/64",
					   "::1/64",         "fd42::/64" };

	for (size_t i = 0; i < LX_ARRAY_SIZE(good); i++) {
		struct lx_subnet s = parse(good[i]);

		assert_int_equal(lx_subnet_check_host("x", &s, NULL), 0);
	}
	for (size_t i = 0; i < LX_ARRAY_SIZE(bad); i++) {
		struct lx_subnet s = parse(bad[i]);

		assert_int_equal(lx_subnet_check_host("x", &s, NULL), -EINVAL);
	}
}

static void proposes(void **state)
{
	struct lx_subnet taken[] = { parse("10.88.0.0/16"), parse("10.89.1.0/24"), parse("fd42:88::/64") }, s;
	struct lx_subnet all[] = { parse("0.0.0.0/0"), parse("::/0") };
	char buf[LX_SUBNET_TEXT];

	assert_true(lx_subnet_suggest(AF_INET, 16, taken, 3, &s));
	assert_string_equal(lx_subnet_format(&s, buf), "10.90.0.1/16");
	assert_true(lx_subnet_suggest(AF_INET, 24, taken, 3, &s));
	assert_string_equal(lx_subnet_format(&s, buf), "10.89.0.1/24");
	assert_true(lx_subnet_suggest(AF_INET6, 64, taken, 3, &s));
	assert_string_equal(lx_subnet_format(&s, buf), "fd42:88:0:1::1/64");
	for (unsigned prefix = 8; prefix <= 30; prefix++)
		assert_true(lx_subnet_suggest(AF_INET, prefix, taken, 3, &s) == (prefix > 8));
	assert_false(lx_subnet_suggest(AF_INET, 16, all, 2, &s));
	assert_false(lx_subnet_suggest(AF_INET6, 64, all, 2, &s));
	assert_false(lx_subnet_suggest(AF_INET, 4, NULL, 0, &s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trips), cmocka_unit_test(refuses_garbage), cmocka_unit_test(masks),
		cmocka_unit_test(overlaps),    cmocka_unit_test(checks_hosts),    cmocka_unit_test(proposes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
