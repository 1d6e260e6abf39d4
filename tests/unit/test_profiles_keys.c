/* The key table, and every kind of good and bad value. */
#include "test_profiles.h"

#include "profiles/builtin.h"

/* ------------------------------------------------------------------ the table */

static void rows_are_whole(void **state)
{
	size_t n;
	const struct lx_config_key *keys = lx_config_keys(&n);

	assert_true(n > 20);
	for (size_t i = 0; i < n; i++) {
		const struct lx_config_key *k = &keys[i];

		assert_non_null(k->check);
		assert_true(strlen(k->name) > 0 && strlen(k->type) > 0 && strlen(k->help) > 0);
		assert_true(strlen(k->help) < 100);
		assert_null(strchr(k->help, '\n'));
		assert_non_null(k->def);
		for (size_t j = 0; j < i; j++)
			assert_false(keys[j].subject == k->subject && lx_streq(keys[j].name, k->name));
	}
}

static void defaults_and_listed_values_are_good(void **state)
{
	size_t n;
	const struct lx_config_key *keys = lx_config_keys(&n);

	for (size_t i = 0; i < n; i++) {
		struct lx_err err = LX_ERR_INIT;

		if (keys[i].def[0] && keys[i].check(&keys[i], keys[i].name, keys[i].def, &err) < 0)
			fail_msg("%s: %s", keys[i].name, err.msg);
		for (const char *const *v = keys[i].values; v && *v; v++)
			assert_int_equal(keys[i].check(&keys[i], keys[i].name, *v, NULL), 0);
	}
}

static void finds_rows(void **state)
{
	assert_string_equal(lx_config_key_find(LX_KEY_INSTANCE, "limits.memory")->name, "limits.memory");
	assert_string_equal(lx_config_key_find(LX_KEY_INSTANCE, "user.x.y")->name, "user.*");
	assert_string_equal(lx_config_key_find(LX_KEY_INSTANCE, "environment.PATH")->name, "environment.*");
	assert_string_equal(lx_config_key_find(LX_KEY_NIC, "network")->name, "network");
	assert_null(lx_config_key_find(LX_KEY_INSTANCE, "user."));
	assert_null(lx_config_key_find(LX_KEY_INSTANCE, "user"));
	assert_null(lx_config_key_find(LX_KEY_INSTANCE, ""));
	assert_null(lx_config_key_find(LX_KEY_INSTANCE, "network"));
	assert_null(lx_config_key_find(LX_KEY_DISK, "network"));
}

static void gets_effective_values(void **state)
{
	lx_automap struct lx_map m = map_of("limits.memory", "1GiB", "boot.autostart", "", NULL);

	assert_string_equal(lx_config_get(&m, "limits.memory"), "1GiB");
	assert_string_equal(lx_config_get(&m, "boot.autostart"), "last-state");
	assert_string_equal(lx_config_get(&m, "boot.host_shutdown_timeout"), "30");
	assert_string_equal(lx_config_get(&m, "limits.processes"), "");
	assert_string_equal(lx_config_get(&m, "user.foo"), "");
	assert_null(lx_config_get(&m, "no.such"));
}

/* ------------------------------------------------------------------ values */

static void expect_range(const char *key, const char *want)
{
	const struct lx_config_key *row = lx_config_key_find(LX_KEY_INSTANCE, key);
	struct lx_key_range r;

	assert_non_null(row);
	assert_string_equal(lx_config_key_range(row, &r), want);
}

static void says_ranges(void **state)
{
	expect_range("boot.autostart", "true, false, last-state");
	expect_range("boot.host_shutdown_timeout", "1 to 86400");
	expect_range("limits.memory", "4MiB or more");
	expect_range("limits.kernel.nofile", "0 to 1073741816");
	expect_range("limits.kernel.memlock", "0 or more, unlimited");
	expect_range("user.x", "");
	expect_range("security.capabilities.keep", "");
}

/* What is built in is made of good values. */
static void has_good_builtin_profiles(void **state)
{
	for (size_t i = 0; i < lx_n_builtin_profiles; i++) {
		assert_int_equal(lx_name_check("profile", lx_builtin_profiles[i].name, NULL), 0);
		for (const struct lx_builtin_key *k = lx_builtin_profiles[i].config; k->name; k++) {
			struct lx_err err = LX_ERR_INIT;

			if (lx_config_check(k->name, k->value, &err) < 0)
				fail_msg("%s: %s", lx_builtin_profiles[i].name, err.msg);
		}
	}
}

static void accepts_good_values(void **state)
{
	static const struct {
		const char *key, *values[8];
	} good[] = {
		{ "boot.autostart", { "true", "false", "yes", "off", "1", "last-state" } },
		{ "boot.autostart.priority", { "0", "10", "1000000" } },
		{ "boot.host_shutdown_timeout", { "1", "30", "30s", "5m", "86400" } },
		{ "limits.memory", { "4MiB", "512MB", "1.5GiB", "2147483648", "1%", "100%" } },
		{ "limits.memory.soft", { "4MiB", "512MB", "1%", "100%" } },
		{ "limits.memory.swap", { "true", "false", "0", "512MiB", "1" } },
		{ "limits.cpu", { "1", "8192", "0-1", "0,2-3", "2-2", "0,0", "8191-8191" } },
		{ "limits.cpu.allowance", { "1%", "100%", "25ms/100ms", "200ms/100ms", "1000us/1000us" } },
		{ "limits.processes", { "1", "500", "4194304" } },
		{ "limits.kernel.nofile", { "0", "1024", "1024:4096", "1073741816" } },
		{ "limits.kernel.memlock", { "unlimited", "0:unlimited", "65536:65536" } },
		{ "limits.kernel.nice", { "0:40" } },
		{ "environment.PATH", { "/bin:/sbin", "a=b", "\"q\"", " blank ", "\xc3\xa4" } },
		{ "environment._x9", { "1" } },
		{ "user.meta-data", { "a\nb\tc", "#cloud-config\n" } },
		{ "user.a", { "\xf0\x9f\x98\x80" } },
		{ "security.syscalls.deny", { "keyctl", "keyctl,add_key", " swapon\nswapoff ", "," } },
		{ "security.syscalls.deny_default", { "true", "false" } },
		{ "security.syscalls.allow", { "@guest", "@guest,keyctl", "read write", "waitpid" } },
		{ "security.capabilities.keep", { "none", "chown,CAP_SETUID", "net_raw\nkill" } },
		{ "security.capabilities.drop", { "sys_ptrace", "sys_ptrace, net_raw" } },
	};

	for (size_t i = 0; i < LX_ARRAY_SIZE(good); i++) {
		assert_int_equal(lx_config_check(good[i].key, "", NULL), 0); /* unsets */
		for (size_t j = 0; j < LX_ARRAY_SIZE(good[i].values) && good[i].values[j]; j++) {
			struct lx_err err = LX_ERR_INIT;

			if (lx_config_check(good[i].key, good[i].values[j], &err) != 0)
				fail_msg("%s=%s: %s", good[i].key, good[i].values[j], err.msg);
			assert_int_equal(err.code, LX_OK); /* untouched on success */
		}
	}
}

static void refuses_bad_values(void **state)
{
	static const struct {
		const char *key, *hint, *values[12];
	} bad[] = {
		{ "boot.autostart",
		  "true, false or last-state",
		  { "maybe", "TRUE", "last_state", "2", " true", "true\n" } },
		{ "boot.autostart.priority", "0 to 1000000", { "-1", "1000001", "x", "1.5", "0x10", " 1" } },
		{ "boot.host_shutdown_timeout",
		  "1 to 86400 seconds",
		  { "0", "86401", "-5", "soon", "5x", "99999999999999999999" } },
		{ "limits.memory",
		  "4MiB",
		  { "0", "1MiB", "4194303", "0%", "101%", "50 %", "%", "-1GiB", "1XB", "lots",
		    "99999999999TiB", "18446744073709551616" } },
		{ "limits.memory.soft", "4MiB", { "0", "1MiB", "0%", "101%", "true" } },
		{ "limits.memory.swap", "true, false or a size", { "maybe", "-1", "50%", "2000000000TiB" } },
		{ "limits.cpu",
		  "0,2-3",
		  { "0", "8193", "-1", "1-", "3-1", "0,", ",0", "0,,1", "a-b", "8192-8192", "1.5",
		    "99999999999999999999" } },
		{ "limits.cpu.allowance",
		  "25ms/100ms",
		  { "0%", "101%", "50", "25/100", "25ms", "0ms/100ms", "25ms/0ms", "25ms/1001ms",
		    "999us/100ms", "25s/100ms", "25ms/100ms/1", "99999999999999999999ms/100ms" } },
		{ "limits.processes", "1 to 4194304", { "0", "4194305", "-1", "many" } },
		{ "limits.kernel.nofile",
		  "0 to 1073741816",
		  { "unlimited", "1073741817", "4096:1024", "1024:", ":1", "1:2:3", "-1", "abc",
		    "18446744073709551615", "18446744073709551616" } },
		{ "limits.kernel.memlock",
		  "unlimited",
		  { "Unlimited", "unlimited:1", "9223372036854775808", "18446744073709551615", "1MiB" } },
		{ "limits.kernel.nice", "0 to 40", { "41", "-20", "unlimited" } },
		{ "security.syscalls.deny",
		  "syscalls(2)",
		  { "nosuchcall", "keyctl nosuchcall", "keyctl;swapon", "[all]", "keyctl errno 1 0" } },
		{ "security.syscalls.deny_default", "true or false", { "x", "last-state" } },
		{ "security.syscalls.deny", "Did you mean keyctl?", { "keyclt", "mount,keyct" } },
		{ "security.syscalls.allow", "do without", { "io_uring_setup", "@guest,bpf" } },
		{ "security.syscalls.allow", "syscalls(2)", { "@nosuch", "@guestx", "all" } },
		{ "security.syscalls.deny", "syscalls(2)", { "@guest" } },
		{ "security.capabilities.keep", "Did you mean net_raw?", { "net_rav" } },
		{ "security.capabilities.keep", "or none", { "all", "none,kill", "kill none" } },
		{ "security.capabilities.drop", "capabilities(7)", { "none", "42", "cap_" } },
	};

	for (size_t i = 0; i < LX_ARRAY_SIZE(bad); i++) {
		for (size_t j = 0; j < LX_ARRAY_SIZE(bad[i].values) && bad[i].values[j]; j++) {
			struct lx_err err = LX_ERR_INIT;

			if (lx_config_check(bad[i].key, bad[i].values[j], &err) != -EINVAL)
				fail_msg("%s=%s was accepted", bad[i].key, bad[i].values[j]);
			assert_int_equal(err.code, LX_INVALID_ARGUMENT);
			assert_true(lx_starts_with(err.msg, bad[i].key));
			if (!strstr(err.hint, bad[i].hint))
				fail_msg("%s=%s: hint \"%s\"", bad[i].key, bad[i].values[j], err.hint);
			assert_int_equal(lx_config_check(bad[i].key, bad[i].values[j], NULL), -EINVAL);
		}
	}
}

static void refuses_bad_environment(void **state)
{
	static const char *const names[] = { "environment.1A", "environment.A-B", "environment.A B",
					     "environment.A=B", "environment.\xc3\xa4" };
	struct lx_err err = LX_ERR_INIT;

	for (size_t i = 0; i < LX_ARRAY_SIZE(names); i++)
		assert_int_equal(lx_config_check(names[i], "x", NULL), -EINVAL);
	assert_int_equal(lx_config_check("environment.A", "x\nlxc.hook.pre-start = /bin/sh", &err), -EINVAL);
	assert_string_equal(err.msg, "environment.A: the value has a newline or another control character");
	assert_int_equal(lx_config_check("environment.A", "\x1b[0m", NULL), -EINVAL);
	assert_int_equal(lx_config_check("environment.A", "\x7f", NULL), -EINVAL);
}

static void refuses_what_is_not_text(void **state)
{
	static const char *const bad[] = { "\xff",
					   "\xc3",
					   "\xc0\x80",
					   "\xe0\x80\x80",
					   "\xed\xa0\x80",
					   "\xf4\x90\x80\x80",
					   "\xf8\x88\x80\x80\x80",
					   "a\x80" };

	for (size_t i = 0; i < LX_ARRAY_SIZE(bad); i++) {
		assert_int_equal(lx_config_check("user.a", bad[i], NULL), -EINVAL);
		assert_int_equal(lx_config_check(bad[i], "x", NULL), -EINVAL);
	}
	assert_int_equal(lx_config_check("user.a\nb", "x", NULL), -EINVAL);
}

static void refuses_what_is_too_long(void **state)
{
	lx_autofree char *text = malloc(LX_CONFIG_MAX_VALUE + 2);
	struct lx_err err = LX_ERR_INIT;

	assert_non_null(text);
	memset(text, 'a', LX_CONFIG_MAX_VALUE + 1);
	text[LX_CONFIG_MAX_VALUE + 1] = '\0';
	assert_int_equal(lx_config_check("user.a", text, &err), -EINVAL);
	assert_string_equal(err.msg, "user.a: the value is longer than 65536 bytes");
	text[LX_CONFIG_MAX_VALUE] = '\0';
	assert_int_equal(lx_config_check("user.a", text, NULL), 0);
	memcpy(text, "user.", 5);
	assert_int_equal(lx_config_check(text, "x", NULL), -EINVAL);
	text[255] = '\0';
	assert_int_equal(lx_config_check(text, "x", NULL), 0);
}

/* A message repeats only a piece of a long value, cut between characters, on one line. */
static void messages_stay_readable(void **state)
{
	struct lx_err err = LX_ERR_INIT;

	assert_int_equal(lx_config_check("limits.processes", "\xc3\xa4\xc3\xa4 12\n34", &err), -EINVAL);
	assert_string_equal(err.msg, "limits.processes: \"\xc3\xa4\xc3\xa4 12?34\" is not a whole number");
	assert_int_equal(
		lx_config_check("limits.processes",
				"x234567890123456789012345678901234567890123456789012345678x\xc3\xa4y", &err),
		-EINVAL);
	assert_string_equal(err.msg, "limits.processes: "
				     "\"x234567890123456789012345678901234567890123456789012345678x...\" "
				     "is not a whole number");
}

/* ------------------------------------------------------------------ unknown keys */

static void suggests_keys(void **state)
{
#define NO_IDEA "lxmgr config keys lists those there are; your own start with \"user.\"."
	static const struct {
		const char *key, *hint;
	} unknown[] = {
		{ "limits.memry", "Did you mean limits.memory?" },
		{ "limit.memory", "Did you mean limits.memory?" },
		{ "boot.autostrat", "Did you mean boot.autostart?" },
		{ "limits.kernel.nofiles", "Did you mean limits.kernel.nofile?" },
		{ "security.priviledged", "Did you mean security.privileged?" },
		{ "raw.lxc", NO_IDEA },
		{ "limits.network.egress", "It is an option of a device: lxmgr config device set INSTANCE "
					   "eth0 limits.egress=VALUE, or "
					   "override instead of set when a profile brings the device." },
		{ "user.", "Did you mean user.*?" },
		{ "", NO_IDEA },
	};

	for (size_t i = 0; i < LX_ARRAY_SIZE(unknown); i++) {
		struct lx_err err = LX_ERR_INIT;

		assert_int_equal(lx_config_check(unknown[i].key, "x", &err), -EINVAL);
		assert_true(lx_starts_with(err.msg, "there is no configuration key \""));
		assert_non_null(strstr(err.msg, unknown[i].key));
		assert_string_equal(err.hint, unknown[i].hint);
		/* Nor can what does not exist be unset by accident. */
		assert_int_equal(lx_config_check(unknown[i].key, "", NULL), -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_are_whole),
		cmocka_unit_test(defaults_and_listed_values_are_good),
		cmocka_unit_test(finds_rows),
		cmocka_unit_test(gets_effective_values),
		cmocka_unit_test(says_ranges),
		cmocka_unit_test(has_good_builtin_profiles),
		cmocka_unit_test(accepts_good_values),
		cmocka_unit_test(refuses_bad_values),
		cmocka_unit_test(refuses_bad_environment),
		cmocka_unit_test(refuses_what_is_not_text),
		cmocka_unit_test(refuses_what_is_too_long),
		cmocka_unit_test(messages_stay_readable),
		cmocka_unit_test(suggests_keys),
	};

	return cmocka_run_group_tests_name("profiles: keys", tests, NULL, NULL);
}
