/* The file system of security modules in tables of mounts, and in CRIU's words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "migration/criu.h"
#include "migration/preflight_judge.h"
#include "migration/securityfs.h"

#define GUEST                                                                                                \
	"20 1 0:39 / / rw - overlay lxmgr rw\n"                                                              \
	"22 20 0:44 / /sys rw shared:131 - sysfs sysfs rw\n"
#define WHOLE "23 22 0:6 / /sys/kernel/security rw shared:133 master:7 - securityfs securityfs rw\n"

static void finds_it_in_its_place(void **state)
{
	static const struct {
		const char *text;
		bool found;
	} t[] = {
		{ GUEST, false },
		{ GUEST WHOLE, true },
		{ GUEST "23 22 0:6 / /mnt rw - securityfs securityfs rw\n", false },
		{ GUEST "23 22 0:6 /apparmor /sys/kernel/security rw - securityfs securityfs rw\n", false },
		{ GUEST "23 22 0:6 / /sys/kernel/security rw - tmpfs tmpfs rw\n", false },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		lx_automounts struct lx_mounts m = { 0 };

		assert_int_equal(lx_mounts_parse(t[i].text, &m, NULL), 0);
		assert_int_equal(lx_securityfs_mounted(&m), t[i].found);
	}
}

static int found_one(void *arg, size_t table, const struct lx_mount *m)
{
	++*(unsigned *)arg;
	return 0;
}

/* Its master is the node's, and CRIU is told of it. */
static void passes_the_preflight(void **state)
{
	lx_automounts struct lx_mounts guest = { 0 }, outside = { 0 };
	struct lx_verdict v;
	unsigned unshareable = 0;

	assert_int_equal(lx_mounts_parse(GUEST WHOLE, &guest, NULL), 0);
	lx_judge_mount(&guest.m[2], &guest, &outside, &v);
	assert_null(v.code);
	assert_int_equal(lx_mounts_unshareable(&guest, 1, found_one, &unshareable), 0);
	assert_int_equal(unshareable, 0);
}

static void both_sides_use_the_same_name(void **state)
{
	lx_autobuf struct lx_buf options = { 0 };
	struct lx_criu_dump dump = {
		.criu = "criu", .images = "/i", .freezer = "/f", .cgroup = "/c", .hook = "/h"
	};

	assert_int_equal(lx_securityfs_restore_options(&options, NULL), 0);
	assert_string_equal(lx_buf_str(&options), "--external\nmnt[securityfs]:/sys/kernel/security\n");
	for (int has = 0; has < 2; has++) {
		struct lx_criu_args args;
		unsigned named = 0;

		dump.mounts.securityfs = has;
		assert_int_equal(lx_criu_dump_args(&dump, &args, NULL), 0);
		for (unsigned i = 0; i < args.n; i++)
			named += strcmp(args.v[i], "mnt[/sys/kernel/security]:securityfs") == 0;
		assert_int_equal(named, has);
		lx_criu_args_release(&args);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_it_in_its_place),
		cmocka_unit_test(passes_the_preflight),
		cmocka_unit_test(both_sides_use_the_same_name),
	};

	return cmocka_run_group_tests_name("migration: securityfs", tests, NULL, NULL);
}
