/* What lx-intercept reads of a caller, and of a guest's memory. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/worker/intercept/caller.h"
#include "agent/worker/intercept/memory_figures.h"
#include "lib/cleanup.h"

#define STATUS                                                                                               \
	"Name:\tmknod\nUmask:\t0027\nState:\tS (sleeping)\nTgid:\t7\nUid:\t1000\t1001\t1002\t1003\n"         \
	"Gid:\t2000\t2001\t2002\t2003\nFDSize:\t64\nGroups:\t%s \nNStgid:\t7\nCapEff:\t000001ffffffffff\n"

static int parse(const char *groups, struct lx_caller *c)
{
	char text[8192];

	snprintf(text, sizeof(text), STATUS, groups);
	return lx_caller_parse(text, c);
}

static void a_status_is_read(void **state)
{
	struct lx_caller c = { 0 };

	assert_int_equal(parse("5 6 77", &c), 0);
	assert_int_equal(c.uid, 1003);
	assert_int_equal(c.gid, 2003);
	assert_int_equal(c.n_groups, 3);
	assert_int_equal(c.groups[2], 77);
	assert_int_equal(c.umask, 027);
	assert_true(c.capabilities == UINT64_C(0x1ffffffffff));
	assert_int_equal(parse("", &c), 0);
	assert_int_equal(c.n_groups, 0);
}

/* Its name is the program's to choose; the kernel writes a newline in it as "\n". */
static void a_name_is_no_field(void **state)
{
	struct lx_caller c = { 0 };

	assert_int_equal(lx_caller_parse("Name:\tx\\nUid:\t0\t0\t0\t0\nUmask:\t0022\nUid:\t9\t9\t9\t9\n"
					 "Gid:\t9\t9\t9\t9\nGroups:\t\nCapEff:\t0\n",
					 &c),
			 0);
	assert_int_equal(c.uid, 9);
}

static void a_bad_status_is_refused(void **state)
{
	char many[8 * LX_CALLER_GROUPS_MAX] = "";
	struct lx_caller c = { 0 };

	assert_int_equal(lx_caller_parse("", &c), -EINVAL);
	assert_int_equal(lx_caller_parse("Name:\tx\nUid:\t0\t0\t0\n", &c), -EINVAL);
	assert_int_equal(parse("5 x", &c), -EINVAL);
	for (int i = 0; i <= LX_CALLER_GROUPS_MAX; i++)
		memcpy(many + 5 * (size_t)i, "1234 ", 6);
	assert_int_equal(parse(many, &c), -E2BIG);
}

static void a_path_is_split(void **state)
{
	static const struct {
		const char *path, *dir, *name;
		int r;
	} cases[] = {
		{ "null", ".", "null", 0 },         { "/null", "/", "null", 0 },
		{ "/dev/null", "/dev", "null", 0 }, { "a//b", "a/", "b", 0 },
		{ "", NULL, NULL, -ENOENT },        { "/", NULL, NULL, -EEXIST },
		{ "///", NULL, NULL, -EEXIST },     { "a/", NULL, NULL, -ENOENT },
		{ ".", NULL, NULL, -EEXIST },       { "a/..", NULL, NULL, -EEXIST },
	};
	char name[256], path[512];

	for (size_t i = 0; i < LX_ARRAY_SIZE(cases); i++) {
		snprintf(path, sizeof(path), "%s", cases[i].path);
		assert_int_equal(lx_walk_split(path, name), cases[i].r);
		if (cases[i].r < 0)
			continue;
		assert_string_equal(path, cases[i].dir);
		assert_string_equal(name, cases[i].name);
	}
	memset(path, 'x', 256);
	path[256] = '\0';
	assert_int_equal(lx_walk_split(path, name), -ENAMETOOLONG);
	path[255] = '\0';
	assert_int_equal(lx_walk_split(path, name), 0);
}

#define MIB UINT64_C(1048576)

static const struct lx_memory_figures host = { 1000 * MIB, 400 * MIB, 7 * MIB, 200 * MIB, 150 * MIB };

static void memory_with_limits(void **state)
{
	struct lx_memory_figures g;
	struct lx_memory_texts v2 = {
		"134217728\n", "67108864\n", "anon 5\ninactive_file 33554432\nshmem 4096\n", "0\n", "0\n", 0
	};
	struct lx_memory_texts v1 = { "134217728\n", "67108864\n", "total_inactive_file 33554432\n",
				      "201326592\n", "83886080\n", 1 };

	lx_memory_figures(&v2, &host, &g);
	assert_true(g.total == 128 * MIB && g.free == 96 * MIB && g.shared == 4096);
	assert_true(g.swap_total == 0 && g.swap_free == 0);
	/* Memory and swap together: 192 MiB, of which 80 are used. */
	lx_memory_figures(&v1, &host, &g);
	assert_true(g.total == 128 * MIB && g.free == 96 * MIB);
	assert_true(g.swap_total == 64 * MIB && g.swap_free == 48 * MIB);
}

static void memory_without_limits(void **state)
{
	struct lx_memory_figures g;
	struct lx_memory_texts v2 = { "max\n", "67108864\n", NULL, "max\n", "0\n", 0 };
	struct lx_memory_texts v1 = { "9223372036854771712\n", "67108864\n", NULL,
				      "9223372036854771712\n", "67108864\n", 1 };
	struct lx_memory_texts none = { NULL, NULL, NULL, NULL, NULL, 1 };

	for (int i = 0; i < 3; i++) {
		lx_memory_figures(i == 0 ? &v2 : i == 1 ? &v1 : &none, &host, &g);
		assert_true(g.total == host.total && g.free == host.free);
		assert_true(g.swap_total == host.swap_total && g.swap_free == host.swap_free);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_status_is_read),        cmocka_unit_test(a_name_is_no_field),
		cmocka_unit_test(a_bad_status_is_refused), cmocka_unit_test(a_path_is_split),
		cmocka_unit_test(memory_with_limits),      cmocka_unit_test(memory_without_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
