/* What confines an instance without a user namespace, whatever else is asked for. */
#include "test_profiles.h"

#include <linux/capability.h>

#include "profiles/builtin.h"
#include "profiles/device_rules.h"
#include "profiles/privileged.h"

static const char *policy(struct lx_buf *out, const char *key, const char *value)
{
	lx_automap struct lx_map config = map_of(LX_KEY_PRIVILEGED, "true", key, value, NULL);

	out->len = 0;
	assert_int_equal(lx_seccomp_policy(&config, out, NULL), 0);
	return lx_buf_str(out);
}

static unsigned count(const char *text, const char *part)
{
	unsigned n = 0;

	for (const char *at = text; (at = strstr(at, part)); at++)
		n++;
	return n;
}

/* ------------------------------------------------------------------ the key */

static void reads_the_key(void **state)
{
	lx_automap struct lx_map none = EMPTY_MAP;
	lx_automap struct lx_map yes = map_of(LX_KEY_PRIVILEGED, "yes", NULL);

	assert_false(lx_is_privileged(&none));
	assert_true(lx_is_privileged(&yes));
	assert_false(lx_privileged_is_on(NULL));
	assert_false(lx_privileged_is_on(""));
	assert_false(lx_privileged_is_on("off"));
	assert_true(lx_privileged_is_on("true"));
}

static void refuses_containers_inside(void **state)
{
	lx_automap struct lx_map both = map_of(LX_KEY_PRIVILEGED, "true", "security.nesting", "true", NULL);
	lx_automap struct lx_map nesting = map_of("security.nesting", "true", NULL);
	lx_automap struct lx_map privileged =
		map_of(LX_KEY_PRIVILEGED, "true", "security.nesting", "false", NULL);
	struct lx_err err = LX_ERR_INIT;

	assert_int_equal(lx_privileged_check(&both, &err), -EINVAL);
	assert_int_equal(err.code, LX_INVALID_ARGUMENT);
	assert_true(*err.hint);
	assert_int_equal(lx_privileged_check(&nesting, NULL), 0);
	assert_int_equal(lx_privileged_check(&privileged, NULL), 0);
}

static void comes_as_a_profile(void **state)
{
	bool found = false;

	for (size_t i = 0; i < lx_n_builtin_profiles; i++)
		for (const struct lx_builtin_key *k = lx_builtin_profiles[i].config; k->name; k++) {
			assert_int_equal(lx_config_check(k->name, k->value, NULL), 0);
			found = found || (lx_streq(lx_builtin_profiles[i].name, "privileged") &&
					  lx_streq(k->name, LX_KEY_PRIVILEGED) && lx_streq(k->value, "true"));
		}
	assert_true(found);
}

/* ------------------------------------------------------------------ system calls */

/* Each once: a rule twice would not load. */
static void denies_calls_always(void **state)
{
	static const char *const ways[][2] = {
		{ "user.x", "y" },
		{ "security.syscalls.deny_default", "false" },
		{ "security.syscalls.deny", "ptrace" },
		{ "security.syscalls.deny", "keyctl unshare kexec_load" },
	};
	lx_autobuf struct lx_buf out = { 0 };

	for (size_t i = 0; i < LX_ARRAY_SIZE(ways); i++) {
		const char *text = policy(&out, ways[i][0], ways[i][1]);

		for (const struct lx_syscall_answer *c = lx_privileged_syscalls; c->name; c++) {
			lx_autofree char *line = lx_asprintf("\n%s errno ", c->name);

			assert_true(lx_syscall_exists(c->name));
			if (count(text, line) != 1)
				fail_msg("%s is there %u times in:\n%s", c->name, count(text, line), text);
		}
		assert_int_equal(count(text, "\nclone errno 1 [0,268435456,SCMP_CMP_MASKED_EQ,268435456]\n"),
				 1);
		assert_int_equal(count(text, "\nunshare errno 1"), 1);
	}
	/* All of a call where the user says so. */
	assert_non_null(strstr(lx_buf_str(&out), "\nunshare errno 1\n"));
}

static void allows_none_of_them(void **state)
{
	lx_autobuf struct lx_buf out = { 0 };
	const char *text = policy(&out, "security.syscalls.allow", "@guest finit_module,keyctl clone3 clone");

	for (const struct lx_syscall_answer *c = lx_privileged_syscalls; c->name; c++) {
		lx_autofree char *line = lx_asprintf("\n%s allow", c->name);

		assert_null(strstr(text, line));
	}
	assert_non_null(strstr(text, "\nclone allow [0,0,SCMP_CMP_MASKED_EQ,268435456]\n"));
	assert_non_null(strstr(text, "\nunshare allow [0,0,SCMP_CMP_MASKED_EQ,268435456]\n"));
	assert_null(strstr(text, "\nclone allow\n"));
	assert_non_null(strstr(text, "\nexecve allow\n"));
}

/* ------------------------------------------------------------------ capabilities, devices */

static void keeps_no_capability_of_the_machine(void **state)
{
	lx_automap struct lx_map all = map_of(LX_KEY_PRIVILEGED, "true", NULL);
	lx_automap struct lx_map some = map_of(LX_KEY_PRIVILEGED, "true", "security.capabilities.keep",
					       "sys_admin sys_module,sys_time chown net_raw", NULL);
	lx_autobuf struct lx_buf out = { 0 };
	const char *key;

	assert_int_equal(lx_capabilities_line(&all, &key, &out), 0);
	assert_string_equal(key, "lxc.cap.drop");
	lx_capabilities dropped = lx_capabilities_read(lx_buf_str(&out));

	assert_int_equal(dropped, lx_privileged_dropped() | lx_capabilities_dropped_default());
	assert_true(dropped >> CAP_SYS_ADMIN & 1 && dropped >> CAP_SYS_PTRACE & 1 &&
		    dropped >> CAP_SYS_MODULE & 1);
	assert_false(dropped >> CAP_CHOWN & 1 || dropped >> CAP_NET_RAW & 1 || dropped >> CAP_SYS_BOOT & 1);
	out.len = 0;
	assert_int_equal(lx_capabilities_line(&some, &key, &out), 0);
	assert_string_equal(key, "lxc.cap.keep");
	assert_string_equal(lx_buf_str(&out), "chown net_raw");
}

static void has_no_console_of_the_machine(void **state)
{
	struct lx_device_rule rules[LX_DEVICE_RULES_MAX];
	size_t others = lx_device_rules_default(false, rules), n = lx_device_rules_default(true, rules);

	assert_int_equal(n + 1, others);
	for (size_t i = 0; i < n; i++)
		assert_false(rules[i].block || (rules[i].major == 5 && rules[i].minor == 1));
}

/* ------------------------------------------------------------------ liblxc's configuration */

static void configures_liblxc(void **state)
{
	lx_automap struct lx_map config = map_of(LX_KEY_PRIVILEGED, "true", NULL);
	struct lx_lxc_input in = {
		.name = "web1",
		.rootfs = "/r",
		.cgroup_root = "lxmgr",
		.hostname = "web1",
		.init = "/sbin/init",
		.log_path = "/l",
		.idmap_base = 1000000,
		.idmap_size = 65536,
		.config = &config,
		.has_run = true,
	};
	lx_autobuf struct lx_buf out = { 0 }, without = { 0 };

	assert_int_equal(lx_lxc_config(&in, &out, NULL), 0);
	const char *text = lx_buf_str(&out);

	assert_null(strstr(text, "lxc.idmap"));
	assert_non_null(strstr(text, "lxc.mount.auto = proc:mixed sys:ro\n"));
	assert_non_null(strstr(text, "lxc.cgroup.dir.container = lxmgr/web1/payload\n"
				     "lxc.cgroup.dir.container.inner = guest\n"));
	assert_non_null(strstr(text, "lxc.mount.entry = tmpfs run tmpfs "));
	for (const char *const *dir = lx_privileged_covered_dirs; *dir; dir++) {
		lx_autofree char *line = lx_asprintf("lxc.mount.entry = tmpfs %s tmpfs ro,", *dir);

		assert_non_null(strstr(text, line));
	}
	for (const char *const *file = lx_privileged_covered_files; *file; file++) {
		lx_autofree char *line = lx_asprintf("lxc.mount.entry = /dev/null %s none bind,ro,", *file);

		assert_non_null(strstr(text, line));
	}
	/* A link there would lead liblxc's mkdir elsewhere. */
	in.has_run = false;
	assert_int_equal(lx_lxc_config(&in, &without, NULL), 0);
	assert_null(strstr(lx_buf_str(&without), " run"));
	assert_int_equal(lx_map_set(&config, "security.nesting", (void *)(uintptr_t) "true"), 0);
	assert_int_equal(lx_lxc_config(&in, &without, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_the_key),
		cmocka_unit_test(refuses_containers_inside),
		cmocka_unit_test(comes_as_a_profile),
		cmocka_unit_test(denies_calls_always),
		cmocka_unit_test(allows_none_of_them),
		cmocka_unit_test(keeps_no_capability_of_the_machine),
		cmocka_unit_test(has_no_console_of_the_machine),
		cmocka_unit_test(configures_liblxc),
	};

	return cmocka_run_group_tests_name("profiles: privileged", tests, NULL, NULL);
}
