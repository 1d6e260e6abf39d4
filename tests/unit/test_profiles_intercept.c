/* Calls that stop: which, in what words for liblxc, and what is harmless. */
#include "test_profiles.h"

#include "profiles/intercept.h"
#include "profiles/privileged.h"

#define KEY(what) "security.syscalls.intercept." what
#define CHR       0020666u
#define BLK       0060666u

/* As the kernel takes it: major in bits 8 to 19, minor in the rest. */
static uint32_t dev(uint32_t major, uint32_t minor)
{
	return (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12;
}

static void expect_in(struct lx_map config, bool inside, const char *text, bool there)
{
	lx_autobuf struct lx_buf out = { 0 };

	assert_int_equal(inside ? lx_seccomp_policy_inside(&config, &out, NULL)
				: lx_seccomp_policy(&config, &out, NULL),
			 0);
	assert_int_equal(strstr(lx_buf_str(&out), text) != NULL, there);
	lx_map_release(&config);
}

static void keys_say_what(void **state)
{
	struct lx_map none = EMPTY_MAP, some = map_of(KEY("mknod"), "true", KEY("sysinfo"), "yes",
						      KEY("setxattr"), "false", NULL);

	assert_int_equal(lx_intercepts(&none), 0);
	assert_int_equal(lx_intercepts(&some), 1U << LX_INTERCEPT_MKNOD | 1U << LX_INTERCEPT_SYSINFO);
	assert_int_equal(lx_intercept_of_key(KEY("setxattr"), "true"), 1U << LX_INTERCEPT_SETXATTR);
	assert_int_equal(lx_intercept_of_key(KEY("mount"), "true"), 1U << LX_INTERCEPT_MOUNT);
	assert_int_equal(lx_intercept_of_key(KEY("mount.allowed"), "true"), 0);
	assert_int_equal(lx_intercept_of_key(KEY("bpf"), "true"), 0);
	assert_int_equal(lx_intercept_of_key("security.nesting", "true"), 0);
	assert_int_equal(lx_intercept_of_key(KEY("mknod"), NULL), 0);
	lx_map_release(&none);
	lx_map_release(&some);
}

static void policies_stop_calls(void **state)
{
	/* Character devices but 0:0 alone. */
	expect_in(map_of(KEY("mknod"), "true", NULL), false,
		  "\nmknod notify [1,8192,SCMP_CMP_MASKED_EQ,61440][2,0,SCMP_CMP_NE]\n"
		  "mknodat notify [2,8192,SCMP_CMP_MASKED_EQ,61440][3,0,SCMP_CMP_NE]\n",
		  true);
	expect_in(map_of(KEY("mknod"), "true", NULL), false, "sysinfo", false);
	expect_in(map_of(KEY("sysinfo"), "true", KEY("setxattr"), "true", NULL), false,
		  "\nsetxattr notify\nlsetxattr notify\nfsetxattr notify\nsysinfo notify\n", true);
	/* New mounts alone: no bind, remount, move, change of propagation. */
	expect_in(map_of(KEY("mount"), "true", "security.apparmor", "unconfined", NULL), false,
		  "\nmount notify [3,0,SCMP_CMP_MASKED_EQ,1978400]\nfsopen notify\n", true);
	expect_in(EMPTY_MAP, false, "notify", false);
	/* What is denied stays denied. */
	expect_in(map_of(KEY("mknod"), "true", "security.syscalls.deny", "mknod", NULL), false,
		  "mknod notify", false);
	expect_in(map_of(KEY("mknod"), "true", "security.syscalls.deny", "mknod", NULL), false,
		  "mknod errno 1", true);
	/* In a list of what there is they take the place of the rule that allows them. */
	expect_in(map_of(KEY("mknod"), "true", "security.syscalls.allow", "@guest", NULL), false,
		  "\nmknod notify\n", true);
	expect_in(map_of(KEY("mknod"), "true", "security.syscalls.allow", "@guest", NULL), false,
		  "\nmknod allow\n", false);
	expect_in(map_of(KEY("mknod"), "true", "security.syscalls.allow", "read", NULL), false, "mknod",
		  false);
}

static void policies_inside_stop_none(void **state)
{
	expect_in(map_of(KEY("mknod"), "true", KEY("sysinfo"), "true", NULL), true, "notify", false);
	expect_in(map_of(KEY("mknod"), "true", "security.syscalls.allow", "@guest", NULL), true,
		  "\nmknod allow\n", true);
}

static void devices(void **state)
{
	static const uint32_t harmless[][2] = { { 0, 0 }, { 1, 3 }, { 1, 5 }, { 1, 7 },
						{ 1, 8 }, { 1, 9 }, { 5, 0 } };
	static const uint32_t others[][2] = { { 1, 1 },   { 1, 2 },   { 1, 4 },         { 1, 11 },   { 5, 1 },
					      { 5, 2 },   { 8, 0 },   { 10, 200 },      { 10, 237 }, { 0, 3 },
					      { 257, 3 }, { 1, 259 }, { 4095, 0xfffff } };

	for (size_t i = 0; i < LX_ARRAY_SIZE(harmless); i++) {
		assert_true(lx_intercept_device(CHR, dev(harmless[i][0], harmless[i][1])));
		assert_false(lx_intercept_device(BLK, dev(harmless[i][0], harmless[i][1])));
	}
	for (size_t i = 0; i < LX_ARRAY_SIZE(others); i++)
		assert_false(lx_intercept_device(CHR, dev(others[i][0], others[i][1])));
	assert_int_equal(lx_intercept_major(dev(257, 0x12345)), 257);
	assert_int_equal(lx_intercept_minor(dev(257, 0x12345)), 0x12345);
	/* Not even a file: the kernel makes those itself. */
	assert_false(lx_intercept_device(0100666, dev(1, 3)));
	assert_false(lx_intercept_device(0010666, dev(1, 3)));
}

static void attributes(void **state)
{
	assert_true(lx_intercept_xattr("trusted.overlay.opaque", "y", 1));
	assert_false(lx_intercept_xattr("trusted.overlay.opaque", "x", 1));
	assert_false(lx_intercept_xattr("trusted.overlay.opaque", "yy", 2));
	assert_false(lx_intercept_xattr("trusted.overlay.opaque", "", 0));
	assert_false(lx_intercept_xattr("trusted.overlay.redirect", "y", 1));
	assert_false(lx_intercept_xattr("trusted.overlay.metacopy", "y", 1));
	assert_false(lx_intercept_xattr("trusted.overlay.opaque2", "y", 1));
	assert_false(lx_intercept_xattr("security.capability", "y", 1));
}

static void not_for_the_privileged(void **state)
{
	lx_automap struct lx_map both = map_of("security.privileged", "true", KEY("mknod"), "true", NULL);
	struct lx_err err = LX_ERR_INIT;

	assert_int_equal(lx_privileged_check(&both, &err), -EINVAL);
	assert_non_null(strstr(err.msg, KEY("")));
	assert_true(*err.hint);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_say_what),
		cmocka_unit_test(policies_stop_calls),
		cmocka_unit_test(policies_inside_stop_none),
		cmocka_unit_test(devices),
		cmocka_unit_test(attributes),
		cmocka_unit_test(not_for_the_privileged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
