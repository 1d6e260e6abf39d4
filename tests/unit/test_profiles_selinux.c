/* Which labels of files a context may use. */
#include "test_profiles.h"

#include "profiles/selinux.h"

#define CONTEXT "system_u:system_r:container_t:s0:c1,c2"
#define FILES   "system_u:object_r:container_file_t:"

static void compares(void **state)
{
	static const struct {
		const char *context, *label;
		bool may;
	} t[] = {
		{ CONTEXT, FILES "s0:c1,c2", true },
		{ CONTEXT, FILES "s0:c2,c1", true },
		{ CONTEXT, FILES "s0:c1.c2", true },
		{ CONTEXT, FILES "s0", true },
		{ CONTEXT, "unconfined_u:object_r:container_ro_file_t:s0", true },
		{ "u:r:container_t:s0-s0:c1,c2", FILES "s0:c1,c2", true },
		{ "u:r:container_t:s0", FILES "s0", true },
		{ "u:r:container_t", "u:object_r:container_file_t", true },
		{ "u:r:spc_t:s0", "system_u:object_r:var_lib_t:s0", true },
		/* Another instance's, more or less than its own, another sensitivity. */
		{ CONTEXT, FILES "s0:c3,c4", false },
		{ CONTEXT, FILES "s0:c1", false },
		{ CONTEXT, FILES "s0:c0.c1023", false },
		{ CONTEXT, FILES "s1:c1,c2", false },
		{ "u:r:container_t:s0", FILES "s0:c1", false },
		/* Files of the node's. */
		{ CONTEXT, "system_u:object_r:var_lib_t:s0", false },
		{ CONTEXT, "system_u:object_r:container_file_type:s0", false },
		{ CONTEXT, "system_u:object_r:unlabeled_t:s0", false },
		/* None, and what is no label. */
		{ CONTEXT, "", false },
		{ CONTEXT, "container_file_t", false },
		{ CONTEXT, FILES, false },
		{ CONTEXT, "system_u:object_r:container_file_t", false },
		{ CONTEXT, FILES "s0:", false },
		{ CONTEXT, FILES "s0:c1,", false },
		{ CONTEXT, FILES "s0:c1,c2,x", false },
		{ CONTEXT, FILES "s0:c1024", false },
		{ CONTEXT, FILES "s0:c2.c1", false },
		{ CONTEXT, FILES "s0:c99999999999999999999", false },
		{ CONTEXT, FILES "s0000000000000000", false },
		{ "u:r:container_t:s0:c9999", FILES "s0", false },
	};

	for (size_t i = 0; i < LX_ARRAY_SIZE(t); i++)
		if (lx_selinux_may_use(t[i].context, t[i].label) != t[i].may)
			fail_msg("%s on %s", t[i].context, t[i].label);
}

static void says_the_level(void **state)
{
	char level[LX_SELINUX_LEVEL_MAX];

	lx_selinux_level(CONTEXT, false, level);
	assert_string_equal(level, "s0:c1,c2");
	lx_selinux_level(CONTEXT, true, level);
	assert_string_equal(level, "s0");
	lx_selinux_level("u:r:t:s0-s0:c1,c2", false, level);
	assert_string_equal(level, "s0:c1,c2");
	lx_selinux_level("u:r:t", false, level);
	assert_string_equal(level, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compares),
		cmocka_unit_test(says_the_level),
	};

	return cmocka_run_group_tests_name("profiles: SELinux", tests, NULL, NULL);
}
