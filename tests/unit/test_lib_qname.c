/* Names of two parts: made, taken apart, and refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/qname.h"

static void makes_and_takes_apart(void **state)
{
	char q[LX_QNAME_MAX + 1], scope[LX_QNAME_SCOPE_MAX + 1];

	assert_true(lx_qname_make("shop", "web1", q));
	assert_string_equal(q, "shop_web1");
	assert_string_equal(lx_qname_leaf(q), "web1");
	assert_string_equal(lx_qname_scope(q, scope), "shop");
	for (const char *const *s = (const char *const[]){ "default", "", NULL }; *s; s++) {
		assert_true(lx_qname_make(*s, "web1", q));
		assert_string_equal(q, "web1");
	}
	assert_true(lx_qname_make(NULL, "web1", q));
	assert_string_equal(lx_qname_leaf("web1"), "web1");
	assert_string_equal(lx_qname_scope("web1", scope), "default");
}

static void knows_how_long(void **state)
{
	char q[LX_QNAME_MAX + 1], name[LX_NAME_MAX + 1];

	memset(name, 'a', LX_NAME_MAX);
	name[LX_NAME_MAX] = '\0';
	assert_true(lx_qname_make("default", name, q));
	assert_false(lx_qname_make("s", name, q));
	name[LX_NAME_MAX - 2] = '\0';
	assert_true(lx_qname_make("s", name, q));
	assert_int_equal(lx_qname_check("instance", q, NULL), 0);
}

static void refuses(void **state)
{
	static const char *const bad[] = { "",      "_",         "_web1",  "shop_",  "shop__web1", "a_b_c",
					   "S_web", "shop_Web",  "-a_web", "a_-web", "1_web",      "shop_1",
					   "a/b",   "default_w", "a_../x", NULL };

	assert_int_equal(lx_qname_check("instance", "web1", NULL), 0);
	assert_int_equal(lx_qname_check("instance", "shop_web1", NULL), 0);
	assert_true(lx_qname_check("instance", NULL, NULL) < 0);
	for (size_t i = 0; bad[i]; i++)
		if (lx_qname_check("instance", bad[i], NULL) == 0)
			fail_msg("\"%s\" is taken for a name", bad[i]);
	/* A scope that is too long for one, though both fit together. */
	assert_true(lx_qname_check("x", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_b", NULL) < 0);
}

static bool is_known(const char *qname, void *arg)
{
	(void)arg;
	return strcmp(qname, "shop_web1") == 0 || strcmp(qname, "b_x-1") == 0 || strcmp(qname, "web1") == 0;
}

static void says_names_alone(void **state)
{
	static const struct {
		const char *text, *said;
	} t[] = {
		{ "", "" },
		{ "cannot start shop_web1: it is gone", "cannot start web1: it is gone" },
		{ "shop_web1", "web1" },
		{ "shop_web1.", "web1." },
		{ "(b_x-1, shop_web1) \"shop_web1\"", "(x-1, web1) \"web1\"" },
		{ "lxmgr start shop_web1", "lxmgr start web1" },
		/* Names that nobody has, and longer ones. */
		{ "shop_web2 shop_web11 xshop_web1 a_shop_web1 shop_web1_b Xshop_web1 shop_web1X",
		  "shop_web2 shop_web11 xshop_web1 a_shop_web1 shop_web1_b Xshop_web1 shop_web1X" },
		/* Paths lead somewhere. */
		{ "cannot open /var/lib/instances/shop_web1/rootfs shop_web1/x /shop_web1",
		  "cannot open /var/lib/instances/shop_web1/rootfs shop_web1/x /shop_web1" },
		{ "web1 and gr\xc3\xb6\xc3\x9f"
		  "e shop_web1",
		  "web1 and gr\xc3\xb6\xc3\x9f"
		  "e web1" },
	};
	char out[256], longest[LX_QNAME_MAX + 80];

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		lx_qname_reword(t[i].text, is_known, NULL, out, sizeof(out));
		assert_string_equal(out, t[i].said);
		/* In place. */
		snprintf(out, sizeof(out), "%s", t[i].text);
		lx_qname_reword(out, is_known, NULL, out, strlen(out) + 1);
		assert_string_equal(out, t[i].said);
	}
	lx_qname_reword("stop shop_web1", is_known, NULL, out, 8);
	assert_string_equal(out, "stop we");
	/* Longer than any name. */
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	longest[4] = '_';
	lx_qname_reword(longest, is_known, NULL, out, sizeof(out));
	assert_string_equal(out, longest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(makes_and_takes_apart),
		cmocka_unit_test(knows_how_long),
		cmocka_unit_test(refuses),
		cmocka_unit_test(says_names_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
