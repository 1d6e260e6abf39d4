/* Users and groups out of a guest's databases, well-formed and not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/worker/instance/guest_user.h"

static const char passwd[] = "root:x:0:0:root:/root:/bin/bash\n"
			     "# comment\n"
			     "\n"
			     "+::::::\n"
			     "short:x:5\n"
			     "bad:x:minus:0:::\n"
			     "huge:x:4294967295:0:::\n"
			     "www:x:33:33:www,,,:/var/www:/usr/sbin/nologin\n"
			     "bare:x:34:34:::\n"
			     "1000:x:77:77::/n:/bin/n\n"
			     "last:x:99:98:no newline:/last:/bin/sh";
static const char group[] = "root:x:0:\n"
			    "www:x:33:\n"
			    "tape:x:26:www\n"
			    "many:x:27:a,www,b\n"
			    "prefix:x:28:www2,ww\n"
			    "own:x:33:www\n"
			    "broken\n"
			    "audio:x:29:bare,last";

static struct lx_guest_user u;

static int find(const char *who)
{
	struct lx_err err = LX_ERR_INIT;
	int r = lx_guest_user_find(passwd, group, who, &u, &err);

	assert_true(r == 0 ? err.code == LX_OK : err.code == LX_INVALID_ARGUMENT);
	return r;
}

static void names_and_numbers(void **state)
{
	assert_int_equal(find(""), 0);
	assert_int_equal(u.uid, 0);
	assert_string_equal(u.name, "root");
	assert_string_equal(u.home, "/root");
	assert_string_equal(u.shell, "/bin/bash");
	assert_int_equal(find("33"), 0);
	assert_string_equal(u.name, "www");
	assert_int_equal(find("last"), 0);
	assert_int_equal(u.uid, 99);
	assert_int_equal(u.gid, 98);
	assert_string_equal(u.shell, "/bin/sh");
	/* A name of digits comes before the number. */
	assert_int_equal(find("1000"), 0);
	assert_int_equal(u.uid, 77);
}

static void missing_parts_get_defaults(void **state)
{
	assert_int_equal(find("bare"), 0);
	assert_string_equal(u.home, "/");
	assert_string_equal(u.shell, "/bin/sh");
	assert_int_equal(find("4242"), 0);
	assert_int_equal(u.uid, 4242);
	assert_int_equal(u.gid, 4242);
	assert_string_equal(u.name, "4242");
	assert_string_equal(u.home, "/");
	assert_int_equal(lx_guest_user_find("", "", "", &u, NULL), 0);
	assert_int_equal(u.uid, 0);
}

static void groups(void **state)
{
	assert_int_equal(find("www"), 0);
	assert_int_equal(u.gid, 33);
	assert_int_equal(u.n_groups, 2);
	assert_int_equal(u.groups[0], 26);
	assert_int_equal(u.groups[1], 27);
	assert_int_equal(find("www:tape"), 0);
	assert_int_equal(u.gid, 26);
	assert_int_equal(u.n_groups, 0);
	assert_int_equal(find("0:12345"), 0);
	assert_int_equal(u.gid, 12345);
	assert_int_equal(find(":audio"), 0);
	assert_int_equal(u.uid, 0);
	assert_int_equal(u.gid, 29);
	assert_int_equal(find("last"), 0);
	assert_int_equal(u.groups[0], 29);
}

static void unknown_and_malformed(void **state)
{
	static const char *const bad[] = { "nobody",     "short",      "bad",         "huge",
					   "+",          "4294967295", "99999999999", "-1",
					   "root:nogrp", "www:",       "root:broken" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(find(bad[i]) < 0);
}

static void too_many_groups_are_cut(void **state)
{
	char *text = malloc(64 * 1024), *p = text;

	assert_non_null(text);
	for (int i = 0; i < 1000; i++)
		p += sprintf(p, "g%d:x:%d:www\n", i, 1000 + i);
	assert_int_equal(lx_guest_user_find(passwd, text, "www", &u, NULL), 0);
	assert_int_equal(u.n_groups, LX_GUEST_GROUPS_MAX);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_and_numbers),
		cmocka_unit_test(missing_parts_get_defaults),
		cmocka_unit_test(groups),
		cmocka_unit_test(unknown_and_malformed),
		cmocka_unit_test(too_many_groups_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
