/* What confines guests: system calls and capabilities. */
#include "test_profiles.h"

#include "profiles/capabilities.h"
#include "profiles/syscalls.h"

/* ------------------------------------------------------------------ system calls */

static void expect_policy(struct lx_map config, const char *want)
{
	lx_autobuf struct lx_buf out = { 0 };

	assert_int_equal(lx_seccomp_policy(&config, &out, NULL), 0);
	assert_string_equal(lx_buf_str(&out), want);
	lx_map_release(&config);
}

#define UNMOVABLE                                                                                            \
	"io_uring_setup errno 38\n"                                                                          \
	"io_uring_enter errno 38\n"                                                                          \
	"io_uring_register errno 38\n"                                                                       \
	"memfd_secret errno 38\n"                                                                            \
	"bpf errno 1\n"

#define DEFAULT_POLICY                                                                                       \
	"kexec_load errno 38\n"                                                                              \
	"kexec_file_load errno 38\n"                                                                         \
	"init_module errno 38\n"                                                                             \
	"finit_module errno 38\n"                                                                            \
	"delete_module errno 38\n"                                                                           \
	"open_by_handle_at errno 38\n" UNMOVABLE "umount2 errno 13 [1,1,SCMP_CMP_MASKED_EQ,1]\n"
/* Unless it asks for no profile of its own. */
#define UNSEEN "fsopen errno 38\nmove_mount errno 38\nopen_tree errno 38 [2,1,SCMP_CMP_MASKED_EQ,1]\n"

static void refuses_system_calls(void **state)
{
	lx_automap struct lx_map bad =
		map_of("security.syscalls.deny", "keyctl\n[all]\nptrace errno 0", NULL);
	lx_automap struct lx_map worse = map_of("security.syscalls.deny_default", "perhaps", NULL);
	lx_automap struct lx_map worst = map_of("security.syscalls.allow", "@guest,io_uring_setup", NULL);
	lx_autobuf struct lx_buf out = { 0 };

	expect_policy(EMPTY_MAP, "2\ndenylist\n[all]\n" DEFAULT_POLICY UNSEEN);
	expect_policy(map_of("security.syscalls.deny", " keyctl,add_key\n swapon ", NULL),
		      "2\ndenylist\n[all]\n" DEFAULT_POLICY UNSEEN
		      "keyctl errno 1\nadd_key errno 1\nswapon errno 1\n");
	expect_policy(
		map_of("security.syscalls.deny", "keyctl", "security.syscalls.deny_default", "no", NULL),
		"2\ndenylist\n[all]\n" UNMOVABLE UNSEEN "keyctl errno 1\n");
	/* A rule twice, or a whole call beside a part of it, would not load. */
	expect_policy(map_of("security.syscalls.deny", "bpf,umount2", "security.syscalls.deny_default",
			     "false", NULL),
		      "2\ndenylist\n[all]\n"
		      "io_uring_setup errno 38\nio_uring_enter errno 38\nio_uring_register errno 38\n"
		      "memfd_secret errno 38\n" UNSEEN "bpf errno 1\numount2 errno 1\n");
	assert_int_equal(lx_seccomp_policy(&bad, &out, NULL), -EINVAL);
	assert_int_equal(lx_seccomp_policy(&worse, &out, NULL), -EINVAL);
	assert_int_equal(lx_seccomp_policy(&worst, &out, NULL), -EINVAL);
	assert_int_equal(out.len, 0);
}

static void allows_system_calls(void **state)
{
	lx_automap struct lx_map guest = map_of("security.syscalls.allow", "swapon @guest",
						"security.syscalls.deny", "mount,keyctl", NULL);
	lx_autobuf struct lx_buf out = { 0 };

	expect_policy(map_of("security.syscalls.allow", "read,write umount2", NULL),
		      "2\nallowlist errno 38\n[all]\nread allow\nwrite allow\n"
		      "umount2 allow [1,0,SCMP_CMP_MASKED_EQ,1]\n");
	assert_int_equal(lx_seccomp_policy(&guest, &out, NULL), 0);
	const char *text = lx_buf_str(&out);

	assert_true(lx_starts_with(text, "2\nallowlist errno 38\n[all]\n"));
	assert_non_null(strstr(text, "\nswapon allow\n"));
	assert_non_null(strstr(text, "\nexecve allow\n"));
	/* Denied by name wins, also over the group. */
	assert_null(strstr(text, "\nmount allow\n"));
	assert_non_null(strstr(text, "\nmount errno 1\nkeyctl errno 1\n"));
	assert_null(strstr(text, "io_uring"));
	assert_null(strstr(text, "bpf"));
}

/* Where AppArmor bounds mounts there is one way to make them. */
static void mounts_are_seen_by_apparmor(void **state)
{
	expect_policy(map_of("security.apparmor", "enforce", NULL),
		      "2\ndenylist\n[all]\n" DEFAULT_POLICY UNSEEN);
	expect_policy(
		map_of("security.apparmor", "auto", "security.syscalls.allow",
		       "fsopen,open_tree,move_mount,mount", NULL),
		"2\nallowlist errno 38\n[all]\nopen_tree allow [2,0,SCMP_CMP_MASKED_EQ,1]\nmount allow\n");
	expect_policy(map_of("security.apparmor", "complain", "security.syscalls.deny",
			     "fsopen,move_mount,open_tree", NULL),
		      "2\ndenylist\n[all]\n" DEFAULT_POLICY
		      "fsopen errno 1\nmove_mount errno 1\nopen_tree errno 1\n");
	/* Stopping it would be a second rule. */
	expect_policy(map_of("security.apparmor", "auto", "security.syscalls.intercept.mount", "true", NULL),
		      "2\ndenylist\n[all]\n" DEFAULT_POLICY UNSEEN
		      "mount notify [3,0,SCMP_CMP_MASKED_EQ,1978400]\n");
	expect_policy(map_of("security.apparmor", "unconfined", NULL), "2\ndenylist\n[all]\n" DEFAULT_POLICY);
	expect_policy(map_of("security.apparmor", "my-own", NULL), "2\ndenylist\n[all]\n" DEFAULT_POLICY);
}

/* Each exists somewhere, stands there once, and none bars a move. */
static void knows_what_guests_need(void **state)
{
	for (size_t i = 0; lx_syscalls_guest[i]; i++) {
		if (!lx_syscall_exists(lx_syscalls_guest[i]))
			fail_msg("there is no system call %s", lx_syscalls_guest[i]);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(lx_syscalls_guest[i], lx_syscalls_guest[j]);
		for (size_t j = 0; lx_syscalls_unmovable[j].name; j++)
			assert_string_not_equal(lx_syscalls_guest[i], lx_syscalls_unmovable[j].name);
	}
	assert_false(lx_syscall_exists("nosuchcall"));
	lx_autofree char *near = lx_syscall_nearest("key_ctl");

	assert_string_equal(near, "keyctl");
	assert_null(lx_syscall_nearest("completely_different"));
}

/* ------------------------------------------------------------------ capabilities */

static void expect_capabilities(struct lx_map config, const char *want_key, const char *want)
{
	lx_autobuf struct lx_buf out = { 0 };
	const char *key = NULL;

	assert_int_equal(lx_capabilities_line(&config, &key, &out), 0);
	assert_string_equal(key, want_key);
	assert_string_equal(lx_buf_str(&out), want);
	lx_map_release(&config);
}

static void bounds_capabilities(void **state)
{
	expect_capabilities(EMPTY_MAP, "lxc.cap.drop",
			    "sys_module sys_rawio sys_time mac_override mac_admin");
	expect_capabilities(map_of("security.capabilities.drop", "CAP_NET_RAW,sys_time", NULL),
			    "lxc.cap.drop", "net_raw sys_module sys_rawio sys_time mac_override mac_admin");
	expect_capabilities(map_of("security.capabilities.keep", "setuid chown\nnet_raw",
				   "security.capabilities.drop", "net_raw", NULL),
			    "lxc.cap.keep", "chown setuid");
	expect_capabilities(map_of("security.capabilities.keep", "none", NULL), "lxc.cap.keep", "none");
	expect_capabilities(
		map_of("security.capabilities.keep", "kill", "security.capabilities.drop", "kill", NULL),
		"lxc.cap.keep", "none");
	assert_int_equal(lx_capability_find("checkpoint_restore", strlen("checkpoint_restore")), 40);
	assert_int_equal(lx_capability_find("cap_", 4), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_system_calls),        cmocka_unit_test(allows_system_calls),
		cmocka_unit_test(mounts_are_seen_by_apparmor), cmocka_unit_test(knows_what_guests_need),
		cmocka_unit_test(bounds_capabilities),
	};

	return cmocka_run_group_tests_name("profiles: confinement", tests, NULL, NULL);
}
