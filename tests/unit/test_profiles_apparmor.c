/*
 * The text of AppArmor profiles. Where apparmor_parser is installed it also has to compile: the
 * kernel need not have AppArmor for that.
 */
#include "test_profiles.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "profiles/apparmor.h"

#define PARSER "/usr/sbin/apparmor_parser"
/* Where proc and sysfs may be: the root and the trees that systemd puts together. */
#define BUILT    "/run/systemd/{unit-root,mount-rootfs}/"
#define ROOTS    "/{,run/systemd/{unit-root,mount-rootfs}/}"
#define FEATURES "/etc/apparmor.d/abi/3.0"

static void policy(struct lx_map config, bool complain, struct lx_buf *out)
{
	const struct lx_apparmor_input in = { .name = "lxmgr-web1", .complain = complain, .config = &config };
	struct lx_err err = LX_ERR_INIT;

	if (lx_apparmor_policy(&in, out, &err) < 0)
		fail_msg("%s", err.msg);
	lx_map_release(&config);
}

static void policy_with_namespace(struct lx_buf *out)
{
	lx_automap struct lx_map config = EMPTY_MAP;
	const struct lx_apparmor_input in = { .name = "lxmgr-web1",
					      .own_namespace = "lxc-lxmgr-web1",
					      .config = &config };

	assert_int_equal(lx_apparmor_policy(&in, out, NULL), 0);
}

static bool has(const struct lx_buf *text, const char *line)
{
	return strstr(lx_buf_str(text), line) != NULL;
}

static void reads_modes(void **state)
{
	static const struct {
		const char *value;
		enum lx_apparmor_mode mode;
		bool demanded;
	} modes[] = {
		{ "", LX_APPARMOR_AUTO, false },
		{ "auto", LX_APPARMOR_AUTO, false },
		{ "enforce", LX_APPARMOR_ENFORCE, true },
		{ "complain", LX_APPARMOR_COMPLAIN, true },
		{ "unconfined", LX_APPARMOR_UNCONFINED, false },
		{ "my-own", LX_APPARMOR_NAMED, true },
	};
	lx_automap struct lx_map none = EMPTY_MAP;

	assert_int_equal(lx_apparmor_mode(&none), LX_APPARMOR_AUTO);
	assert_int_equal(lx_apparmor_mode_of(NULL), LX_APPARMOR_AUTO);
	for (size_t i = 0; i < LX_ARRAY_SIZE(modes); i++) {
		lx_automap struct lx_map config = map_of("security.apparmor", modes[i].value, NULL);

		assert_int_equal(lx_apparmor_mode(&config), modes[i].mode);
		assert_int_equal(lx_apparmor_demanded(modes[i].mode), modes[i].demanded);
	}
}

static void names_profiles(void **state)
{
	char name[LX_APPARMOR_NAME_MAX];

	lx_apparmor_name("lxmgr", "web1", name);
	assert_string_equal(name, "lxmgr-web1");
	lx_apparmor_name("/test/node1", "web1", name);
	assert_string_equal(name, ".test.node1-web1");
}

static void denies_all_but(void **state)
{
	static const char *const two[] = { "net", "user", NULL };
	static const char *const near[] = { "shm*", "sem", "a", NULL };
	lx_autobuf struct lx_buf out = { 0 };

	assert_int_equal(lx_apparmor_deny_others(&out, "deny", "/d", two, "w"), 0);
	assert_string_equal(lx_buf_str(&out), "  deny /d/[^nu]{,**} w,\n"
					      "  deny /d/n[^e]{,**} w,\n"
					      "  deny /d/ne[^t]{,**} w,\n"
					      "  deny /d/net[^/]{,**} w,\n"
					      "  deny /d/u[^s]{,**} w,\n"
					      "  deny /d/us[^e]{,**} w,\n"
					      "  deny /d/use[^r]{,**} w,\n"
					      "  deny /d/user[^/]{,**} w,\n");
	lx_buf_release(&out);
	out = (struct lx_buf){ 0 };
	assert_int_equal(lx_apparmor_deny_others(&out, "deny", "/d", near, "w"), 0);
	assert_string_equal(lx_buf_str(&out), "  deny /d/[^sa]{,**} w,\n"
					      "  deny /d/s[^he]{,**} w,\n"
					      "  deny /d/sh[^m]{,**} w,\n"
					      "  deny /d/se[^m]{,**} w,\n"
					      "  deny /d/sem[^/]{,**} w,\n"
					      "  deny /d/a[^/]{,**} w,\n");
}

static void writes_what_is_asked(void **state)
{
	lx_autobuf struct lx_buf plain = { 0 }, more = { 0 };

	policy(EMPTY_MAP, false, &plain);
	assert_true(has(&plain, "profile \"lxmgr-web1\" flags=(attach_disconnected,mediate_deleted) {\n"));
	assert_true(has(&plain, "  signal peer=\"lxmgr-web1\",\n"));
	assert_true(has(&plain, "  mount fstype=proc -> " ROOTS "proc/,\n"));
	assert_true(has(&plain, "  audit deny " ROOTS "proc/{kcore,sysrq-trigger} rwklx,\n"));
	assert_true(has(&plain, "  audit deny capability sys_module,\n"));
	assert_false(has(&plain, "\n  deny /proc"));
	assert_false(has(&plain, "  mount,\n"));
	/* That would allow mounts with none of these options as well: any. */
	assert_false(has(&plain, "  mount options in"));
	assert_true(has(&plain, "  mount options=(remount) options in (bind,"));
	assert_true(has(&plain, "  mount options=(rw,silent,make-rslave) -> /{,**},\n"));
	assert_false(has(&plain, "(proc, sysfs, cgroup2) -> /**"));
	assert_false(has(&plain, "raw.apparmor"));
	policy(map_of("security.nesting", "true", "raw.apparmor", "deny /etc/shadow w,", NULL), true, &more);
	assert_true(has(&more, "mediate_deleted,complain) {\n"));
	/* In complain mode the kernel would let pass what it tells of. */
	assert_true(has(&more, "\n  deny " ROOTS "proc/{kcore,sysrq-trigger} rwklx,\n"));
	assert_false(has(&more, "audit deny"));
	assert_true(has(&more, "(proc, sysfs, cgroup2) -> /**"));
	assert_true(has(&more, "\n  # raw.apparmor\ndeny /etc/shadow w,\n}\n"));
}

/* proc and sysfs stay where the rules look for them; a service's tree may have them, whole. */
static void bounds_what_is_bound(void **state)
{
	lx_autobuf struct lx_buf text = { 0 }, nested = { 0 };

	policy(EMPTY_MAP, false, &text);
	assert_true(has(&text, "  mount options=(rw,rbind) " ROOTS "sys{,/} -> " ROOTS "sys{,/},\n"));
	assert_true(has(&text, "  mount options=(rw,rbind) " ROOTS "proc{,/} -> " ROOTS "proc{,/},\n"));
	assert_true(has(&text, "  mount options=(rw,rbind) / -> " BUILT ",\n"));
	assert_true(has(&text, "  mount options=(rw,bind) /{,run/,run/systemd/} -> /**,\n"));
	/* The whole tree, and /run with the services' trees, take proc along. */
	assert_false(has(&text, "rbind) / -> /**"));
	assert_false(has(&text, "/proc/** -> "));
	assert_false(has(&text, "/{proc,sys}/** -> "));
	assert_true(has(&text, "  deny mount fstype=(proc, sysfs) -> /run/systemd/namespace-*/,\n"));
	policy(map_of("security.nesting", "true", NULL), false, &nested);
	assert_false(has(&nested, "deny mount"));
	assert_false(has(&text, "rbind) /{,**} -> "));
	assert_true(has(&nested, "rbind) /{,**} -> /**,\n"));
}

/* Of securityfs what is AppArmor's, and the capability that loading asks for; all else as it was. */
static void makes_room_for_a_namespace(void **state)
{
	lx_autobuf struct lx_buf plain = { 0 }, with = { 0 };

	policy(EMPTY_MAP, false, &plain);
	policy_with_namespace(&with);
	assert_true(has(&plain, "  audit deny capability mac_admin,\n"));
	assert_true(
		has(&plain, "  audit deny " ROOTS "sys/kernel/{debug,tracing,config,security}/** rwklx,\n"));
	assert_true(has(&plain, "  audit deny " ROOTS "sys/[^cdf]{,**} wklx,\n"));
	assert_false(has(&with, "capability mac_admin"));
	assert_true(has(&with, "  audit deny capability mac_override,\n"));
	assert_true(has(&with, "  audit deny " ROOTS "sys/kernel/{debug,tracing,config}/** rwklx,\n"));
	assert_true(has(&with, "  audit deny " ROOTS "sys/[^cdfk]{,**} wklx,\n"));
	assert_true(has(&with, "  audit deny " ROOTS "sys/kernel/[^s]{,**} wklx,\n"));
	assert_true(has(&with, "  audit deny " ROOTS "sys/kernel/security/[^a]{,**} rwklx,\n"));
	assert_true(has(&with, "  audit deny " ROOTS "sys/class/[^n]{,**} wklx,\n"));
	/* Of the policy of others nothing. */
	assert_false(has(&plain, "/namespaces/"));
	assert_true(has(&with, "  audit deny /{profiles,raw_data}/{,**} rwklx,\n"));
	assert_true(has(&with, "  audit deny /namespaces/ rwklx,\n"));
	assert_true(has(&with, "  audit deny /namespaces/[^l]{,**} rwklx,\n"));
	assert_true(has(&with, "  audit deny /namespaces/lxc[^-]{,**} rwklx,\n"));
	assert_true(has(&with, "  audit deny /namespaces/lxc-lxmgr-web1[^/]{,**} rwklx,\n"));
}

static void refuses_rules_that_break_out(void **state)
{
	static const char *const bad[] = { "}\nprofile other {\n  file,",
					   "deny /x w,\n}",
					   "  {",
					   "a \x1b[0m",
					   "deny /x w,}\nprofile other flags=(complain) {\n file,",
					   "deny /x w,}profile other flags=(complain){",
					   "profile other flags=(complain){file,}",
					   "/a{b,c} r,}",
					   "#include <abstractions/consoles> } profile other {" };
	static const char *const good[] = { "deny /etc/{shadow,gshadow} w,", "# } all\nnetwork,",
					    "deny \"/a } b\" w,", "/{,usr/}lib{,32,64}/** mr,",
					    "@{PROC}/@{pid}/{fd,ns}/ r,  # { fds }" };

	for (size_t i = 0; i < LX_ARRAY_SIZE(bad); i++)
		if (lx_config_check("raw.apparmor", bad[i], NULL) != -EINVAL)
			fail_msg("\"%s\" was accepted", bad[i]);
	for (size_t i = 0; i < LX_ARRAY_SIZE(good); i++)
		if (lx_config_check("raw.apparmor", good[i], NULL) != 0)
			fail_msg("\"%s\" was refused", good[i]);
}

/* The compiler is root of a node: what it opens is not an operator's to choose. */
static void refuses_files_of_the_node(void **state)
{
	static const char *const bad[] = {
		"#include \"/etc/shadow\"",
		"include \"/dev/watchdog\"",
		"include /tmp/pipe",
		"deny /x w, include \"/tmp/pipe\"",
		"deny \"/x#\" w, include \"/tmp/pipe\"",
		"deny \"/a\\\"#\" w, include \"/tmp/pipe\"",
		"deny /x w, #include \"/tmp/pipe\"",
		"include if exists \"/root\"",
		"include <../shadow>",
		"include <abstractions/../../shadow>",
		"include </dev/zero>",
		"include <abstractions/consoles> #include \"/tmp/pipe\"",
		"include <abstractions/consoles> include \"/tmp/pipe\"",
		"include\n\"/tmp/pipe\"",
		"abi \"/etc/shadow\",",
		"abi <abi/3.0>,",
	};
	static const char *const good[] = { "include <abstractions/consoles>",
					    "  #include <abstractions/consoles>  # terminals\ndeny /x w,",
					    "include if exists <local/mine>",
					    "/usr/include/** r,\n# to include more\n/lib/abi r," };

	for (size_t i = 0; i < LX_ARRAY_SIZE(bad); i++)
		if (lx_config_check("raw.apparmor", bad[i], NULL) != -EINVAL)
			fail_msg("\"%s\" was accepted", bad[i]);
	for (size_t i = 0; i < LX_ARRAY_SIZE(good); i++)
		if (lx_config_check("raw.apparmor", good[i], NULL) != 0)
			fail_msg("\"%s\" was refused", good[i]);
}

/* ------------------------------------------------------------------ the compiler */

/* The program's exit status; what it says goes to where this program's errors go. */
static int compile(const struct lx_buf *text)
{
	int ends[2], status = -1;

	assert_int_equal(pipe(ends), 0);
	pid_t pid = fork();

	if (pid == 0) {
		dup2(ends[0], STDIN_FILENO);
		close(ends[0]);
		close(ends[1]);
		execl(PARSER, PARSER, "--quiet", "-Q", "-K", "-O", "no-expr-simplify", "--kernel-features",
		      FEATURES, (char *)NULL);
		_exit(127);
	}
	assert_true(pid > 0);
	close(ends[0]);
	signal(SIGPIPE, SIG_IGN); /* one that refuses early does not read all */
	ssize_t n = write(ends[1], text->data, text->len);

	close(ends[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (status == 0)
		assert_int_equal(n, text->len);
	return status;
}

static void compiles(void **state)
{
	static const char *const nesting[] = { "false", "true" };

	if (access(PARSER, X_OK) < 0 || access(FEATURES, R_OK) < 0) {
		print_message("needs apparmor_parser\n");
		skip();
	}
	for (int i = 0; i < 4; i++) {
		lx_autobuf struct lx_buf text = { 0 };

		policy(map_of("security.nesting", nesting[i & 1], "raw.apparmor", "deny /etc/shadow w,",
			      NULL),
		       i & 2, &text);
		if (compile(&text) != 0)
			fail_msg("it does not compile:\n%s", lx_buf_str(&text));
	}
	lx_autobuf struct lx_buf wrong = { 0 }, with = { 0 };

	policy_with_namespace(&with);
	assert_int_equal(compile(&with), 0);

	policy(map_of("raw.apparmor", "deny /etc/shadow w", NULL), false, &wrong);
	assert_int_not_equal(compile(&wrong), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_modes),
		cmocka_unit_test(names_profiles),
		cmocka_unit_test(denies_all_but),
		cmocka_unit_test(writes_what_is_asked),
		cmocka_unit_test(bounds_what_is_bound),
		cmocka_unit_test(makes_room_for_a_namespace),
		cmocka_unit_test(refuses_rules_that_break_out),
		cmocka_unit_test(refuses_files_of_the_node),
		cmocka_unit_test(compiles),
	};

	return cmocka_run_group_tests_name("profiles: AppArmor", tests, NULL, NULL);
}
