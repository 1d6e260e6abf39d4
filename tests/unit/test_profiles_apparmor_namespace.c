/* Policy namespaces of instances' own: who asks for one, names, labels, and what makes room for it. */
#include "test_profiles.h"

#include "profiles/apparmor_namespace.h"
#include "profiles/capabilities.h"
#include "profiles/privileged.h"

#define KEY LX_KEY_APPARMOR_NAMESPACE

static void reads_the_key(void **state)
{
	lx_automap struct lx_map none = EMPTY_MAP, on = map_of(KEY, "true", NULL),
				 off = map_of(KEY, "false", NULL);

	assert_false(lx_apparmor_namespace_wanted(&none));
	assert_true(lx_apparmor_namespace_wanted(&on));
	assert_false(lx_apparmor_namespace_wanted(&off));
	assert_false(lx_apparmor_namespace_is_on(NULL));
	assert_int_equal(lx_config_check(KEY, "perhaps", NULL), -EINVAL);
}

static void wants_a_profile_around_it(void **state)
{
	static const struct {
		const char *apparmor, *privileged, *said; /* NULL: it is accepted */
	} t[] = {
		{ "auto", "false", NULL },
		{ "enforce", "false", NULL },
		{ "complain", "false", NULL },
		{ "my-own", "false", NULL },
		{ "", "false", NULL },
		{ "unconfined", "false", "needs a profile" },
		{ "enforce", "true", LX_KEY_PRIVILEGED },
	};

	for (size_t i = 0; i < LX_ARRAY_SIZE(t); i++) {
		lx_automap struct lx_map config = map_of(KEY, "true", "security.apparmor", t[i].apparmor,
							 LX_KEY_PRIVILEGED, t[i].privileged, NULL);
		struct lx_err err = LX_ERR_INIT;
		int r = lx_apparmor_namespace_check(&config, &err);

		assert_int_equal(r, t[i].said ? -EINVAL : 0);
		if (t[i].said && (!strstr(err.msg, t[i].said) || !*err.hint))
			fail_msg("\"%s\" (%s)", err.msg, err.hint);
	}
	lx_automap struct lx_map off = map_of(LX_KEY_PRIVILEGED, "true", NULL);

	assert_int_equal(lx_apparmor_namespace_check(&off, NULL), 0);
}

static void names_it(void **state)
{
	char namespace[LX_APPARMOR_NAMESPACE_MAX], label[LX_APPARMOR_LABEL_MAX];

	lx_apparmor_namespace_name("lxmgr", "web1", namespace);
	assert_string_equal(namespace, "lxc-lxmgr-web1");
	lx_apparmor_stack("lxmgr-web1", namespace, label);
	assert_string_equal(label, "lxmgr-web1//&:lxc-lxmgr-web1:unconfined");
	lx_apparmor_namespace_name("/test/node1", "web1", namespace);
	assert_string_equal(namespace, "lxc-.test.node1-web1");
}

static void has_one_capability_more(void **state)
{
	static const struct {
		const char *key, *value, *want_key, *want;
	} t[] = {
		{ "user.x", "", "lxc.cap.drop", "sys_module sys_rawio sys_time mac_override" },
		{ "security.capabilities.keep", "chown", "lxc.cap.keep", "chown mac_admin" },
		/* Whoever says so does without. */
		{ "security.capabilities.drop", "mac_admin", "lxc.cap.drop",
		  "sys_module sys_rawio sys_time mac_override mac_admin" },
	};

	for (size_t i = 0; i < LX_ARRAY_SIZE(t); i++) {
		lx_automap struct lx_map config =
			map_of(KEY, "true", "security.apparmor", "auto", t[i].key, t[i].value, NULL);
		lx_autobuf struct lx_buf out = { 0 };
		const char *key = NULL;

		assert_int_equal(lx_capabilities_line(&config, &key, &out), 0);
		assert_string_equal(key, t[i].want_key);
		assert_string_equal(lx_buf_str(&out), t[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_the_key),
		cmocka_unit_test(wants_a_profile_around_it),
		cmocka_unit_test(names_it),
		cmocka_unit_test(has_one_capability_more),
	};

	return cmocka_run_group_tests_name("profiles: AppArmor namespaces", tests, NULL, NULL);
}
