/* Reading the kernel's audit messages, and the rules that come out of them. */
#include "test_profiles.h"

#include <errno.h>

#include "profiles/audit_record.h"
#include "profiles/suggest.h"
#include "proto/pb.h"

static int parse(unsigned type, const char *text, struct lx_audit_record *r)
{
	/* What is behind it is none of it, as in a socket's buffer. */
	lx_autobuf struct lx_buf copy = { 0 };

	assert_int_equal(lx_buf_puts(&copy, text), 0);
	assert_int_equal(lx_buf_puts(&copy, " profile=\"behind\" pid=0 x=\""), 0);
	int ret = lx_audit_parse(type, lx_buf_str(&copy), strlen(text), r);

	return ret;
}

#define HEAD "audit(1796000931.487:21): "

/* ------------------------------------------------------------------ records */

static void reads_apparmor(void **state)
{
	struct lx_audit_record r;

	assert_int_equal(parse(1400,
			       HEAD
			       "apparmor=\"DENIED\" operation=\"mount\" class=\"mount\" info=\"failed mntpnt "
			       "match\" error=-13 profile=\"lxmgr-web1\" name=\"/mnt/\" pid=4711 "
			       "comm=\"mount\" fstype=\"ext4\" srcname=\"/dev/sda\" flags=\"rw, nosuid\"",
			       &r),
			 0);
	assert_false(r.seccomp || r.allowed || r.cut);
	assert_int_equal(r.time_ms, 1796000931487u);
	assert_int_equal(r.serial, 21);
	assert_int_equal(r.pid, 4711);
	assert_string_equal(r.operation, "mount");
	assert_string_equal(r.profile, "lxmgr-web1");
	assert_string_equal(r.name, "/mnt/");
	assert_string_equal(r.program, "mount");
	assert_string_equal(r.fstype, "ext4");
	assert_string_equal(r.source, "/dev/sda");
	assert_string_equal(r.flags, "rw, nosuid");
	assert_int_equal(parse(1400,
			       HEAD
			       "apparmor=\"ALLOWED\" operation=\"open\" profile=\"lxmgr-web1\" "
			       "name=\"/etc/x\" pid=1 comm=\"a\" requested_mask=\"rw\" denied_mask=\"w\" "
			       "fsuid=1000000001 ouid=0",
			       &r),
			 0);
	assert_true(r.allowed);
	assert_string_equal(r.mask, "w");
	assert_int_equal(r.uid, 1000000001);
}

static void reads_system_calls(void **state)
{
	struct lx_audit_record r;
	char name[64];

	assert_int_equal(parse(1326,
			       HEAD
			       "auid=4294967295 uid=1000065536 gid=0 ses=4294967295 pid=28682 "
			       "comm=\"python3\" exe=\"/usr/bin/python3.11\" sig=0 arch=c000003e syscall=321 "
			       "compat=0 ip=0x7f8fa6d1f829 code=0x50000",
			       &r),
			 0);
	assert_true(r.seccomp && !r.allowed);
	assert_int_equal(r.uid, 1000065536);
	assert_int_equal(r.pid, 28682);
	assert_string_equal(lx_audit_syscall(&r, name, sizeof(name)), "bpf");
	assert_string_equal(lx_audit_arch(r.arch), "x86_64");
	/* The same number on 32 bits. */
	r.arch = 0x40000003;
	assert_string_equal(lx_audit_syscall(&r, name, sizeof(name)), "signalfd");
	r.syscall = 99999;
	assert_string_equal(lx_audit_syscall(&r, name, sizeof(name)), "call 99999");
}

/* What a guest calls its files and programs must not become another field. */
static void is_not_led_astray(void **state)
{
	struct lx_audit_record r;

	/* As the kernel writes `/a" profile="lxmgr-other`, in hex. */
	assert_int_equal(parse(1400,
			       HEAD "apparmor=\"DENIED\" operation=\"open\" profile=\"lxmgr-web1\" "
				    "name=2F61222070726F66696C653D226C786D67722D6F74686572 pid=2 "
				    "comm=61207069643D31 requested_mask=\"r\" denied_mask=\"r\"",
			       &r),
			 0);
	assert_string_equal(r.profile, "lxmgr-web1");
	assert_string_equal(r.name, "/a\" profile=\"lxmgr-other");
	assert_string_equal(r.program, "a pid=1");
	assert_int_equal(r.pid, 2);
	/* The first of two counts. */
	assert_int_equal(parse(1400,
			       HEAD "apparmor=\"DENIED\" operation=\"a\" operation=\"b\" profile=\"x\" "
				    "profile=\"y\" pid=1 pid=2",
			       &r),
			 0);
	assert_string_equal(r.operation, "a");
	assert_string_equal(r.profile, "x");
	assert_int_equal(r.pid, 1);
	/* Control characters and what is not UTF-8 do not come through; it is said. */
	assert_int_equal(parse(1400, HEAD "apparmor=\"DENIED\" operation=\"open\" name=2F610AFF00", &r), 0);
	assert_string_equal(r.name, "/a???");
	assert_true(r.cut);
	/* A namespace of somebody else's. */
	assert_int_equal(
		parse(1400, HEAD "apparmor=\"DENIED\" namespace=\"root//n\" profile=\"lxmgr-web1\"", &r), 0);
	assert_string_equal(r.profile, "");
}

static void cuts_long_names(void **state)
{
	char text[LX_AUDIT_TEXT_MAX];
	struct lx_audit_record r;
	size_t n =
		(size_t)snprintf(text, sizeof(text), HEAD "apparmor=\"DENIED\" operation=\"open\" name=\"/");

	memset(text + n, 'x', 4096);
	memcpy(text + n + 4096, "\"", 2);
	assert_int_equal(parse(1400, text, &r), 0);
	assert_true(r.cut);
	assert_int_equal(strlen(r.name), LX_AUDIT_PATH_MAX - 1);
	assert_string_equal(r.name + LX_AUDIT_PATH_MAX - 4, "...");
}

static void refuses_what_is_none(void **state)
{
	static const struct {
		unsigned type;
		const char *text;
		int r;
	} bad[] = {
		{ 1400, "", -EBADMSG },
		{ 1400, "apparmor=\"DENIED\"", -EBADMSG },
		{ 1400, "audit(1.2", -EBADMSG },
		{ 1400, "audit(x.1:2): apparmor=\"DENIED\"", -EBADMSG },
		{ 1400, "audit(1.1234:2): apparmor=\"DENIED\"", -EBADMSG },
		{ 1400, "audit(-1.1:2): apparmor=\"DENIED\"", -EBADMSG },
		{ 1400, "audit(99999999999999999999.1:2): apparmor=\"DENIED\"", -EBADMSG },
		{ 1400, HEAD "apparmor=\"DENIED", -EBADMSG },
		{ 1400, HEAD "apparmor=\"STATUS\" operation=\"profile_load\"", -ENOMSG },
		{ 1400, HEAD "avc:  denied  { read } for pid=1", -ENOMSG },
		{ 1326, HEAD "pid=1", -EBADMSG },
		{ 1326, HEAD "arch=c000003e syscall=x", -EBADMSG },
		{ 1300, HEAD "arch=c000003e syscall=1", -ENOMSG },
		{ 1107, HEAD "apparmor=\"DENIED\" operation=\"dbus_method_call\"", -ENOMSG },
	};
	struct lx_audit_record r;

	for (size_t i = 0; i < LX_ARRAY_SIZE(bad); i++)
		if (parse(bad[i].type, bad[i].text, &r) != bad[i].r)
			fail_msg("%u %s", bad[i].type, bad[i].text);
}

static int kmsg(const char *text, struct lx_audit_record *r)
{
	return lx_audit_parse_kmsg(text, strlen(text), r);
}

static void reads_kmsg(void **state)
{
	static const char body[] =
		"audit: type=1400 " HEAD "apparmor=\"DENIED\" operation=\"open\" name=\"/x\"";
	struct lx_audit_record r;
	char text[512];

	snprintf(text, sizeof(text), "5,1201,24272136505,-;%s\n SUBSYSTEM=x\n", body);
	assert_int_equal(kmsg(text, &r), 0);
	assert_string_equal(r.name, "/x");
	/* What a program has written there has its own facility. */
	snprintf(text, sizeof(text), "13,1201,24272136505,-;%s\n", body);
	assert_int_equal(kmsg(text, &r), -ENOMSG);
	assert_int_equal(kmsg("6,1,1,-;eth0: link up\n", &r), -ENOMSG);
	assert_int_equal(kmsg("6,1,1,-;x\n audit: type=1400 " HEAD "apparmor=\"DENIED\"\n", &r), -ENOMSG);
	assert_int_equal(kmsg("", &r), -ENOMSG);
	assert_int_equal(kmsg(";", &r), -ENOMSG);
}

static void knows_its_profiles(void **state)
{
	char name[16];

	assert_true(lx_audit_instance("lxmgr", "lxmgr-web1", name, sizeof(name)));
	assert_string_equal(name, "web1");
	assert_true(lx_audit_instance("/test/n1", ".test.n1-web1//child", name, sizeof(name)));
	assert_string_equal(name, "web1");
	assert_false(lx_audit_instance("lxmgr", "lxmgr-", name, sizeof(name)));
	assert_false(lx_audit_instance("lxmgr", "lxmgr2-web1", name, sizeof(name)));
	assert_false(lx_audit_instance("lxmgr", ":ns:lxmgr-web1", name, sizeof(name)));
	assert_false(lx_audit_instance("lxmgr", "lxmgr-a-name-without-end", name, sizeof(name)));
	assert_false(lx_audit_instance("lxmgr", "unconfined", name, sizeof(name)));
}

/* ------------------------------------------------------------------ suggestions */

#define DENIALS_MAX 8

struct given {
	Lxmgr__V1__Denial pb[DENIALS_MAX];
	Lxmgr__V1__Denial *list[DENIALS_MAX];
	size_t n;
};

/* `details`: key, value, ... NULL */
static void give(struct given *g, const char *kind, const char *op, const char *path, const char *mask,
		 const char *const *details)
{
	Lxmgr__V1__Denial *d = &g->pb[g->n];

	lxmgr__v1__denial__init(d);
	d->kind = (char *)(uintptr_t)kind;
	d->operation = (char *)(uintptr_t)op;
	d->path = (char *)(uintptr_t)path;
	d->mask = (char *)(uintptr_t)mask;
	d->program = (char *)(uintptr_t) "prog";
	d->count = 2;
	for (; details && *details; details += 2)
		assert_int_equal(lx_pb_map_set(&lxmgr__v1__denial__details_entry__descriptor, &d->n_details,
					       &d->details, details[0], details[1]),
				 0);
	g->list[g->n++] = d;
}

#define DETAILS(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* "value|refused?" of each suggestion, in order; forgets what was given. */
static void expect(struct given *g, struct lx_map config, const char *const *values)
{
	const struct lx_suggest_input in = { .config = &config, .n = g->n, .denials = g->list };
	Lxmgr__V1__SuggestResponse *resp = malloc(sizeof(*resp));
	size_t n = 0;

	assert_non_null(resp);
	lxmgr__v1__suggest_response__init(resp);
	assert_int_equal(lx_suggest(&in, resp), 0);
	for (; values[n]; n++) {
		bool refused = values[n][0] == '!';

		assert_true(n < resp->n_suggestions);
		assert_string_equal(resp->suggestions[n]->value, values[n] + refused);
		assert_int_equal(*resp->suggestions[n]->refused != '\0', refused);
	}
	assert_int_equal(resp->n_suggestions, n);
	lx_pb_free(resp);
	lx_map_release(&config);
	for (size_t i = 0; i < g->n; i++)
		lx_pb_map_clear(&g->pb[i].n_details, &g->pb[i].details);
	g->n = 0;
}

#define VALUES(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void suggests_files(void **state)
{
	struct given g = { 0 };

	give(&g, "apparmor", "open", "/srv/a b", "r", NULL);
	give(&g, "apparmor", "open", "/srv/a b", "wc", NULL);
	give(&g, "apparmor", "exec", "/srv/a b", "x", NULL);
	give(&g, "apparmor", "open", "/proc/123/task/45/attr/x", "r", NULL);
	give(&g, "apparmor", "open", "/proc/1x/y", "r", NULL);
	give(&g, "apparmor", "mknod", "/srv/*[x]{a}\"", "c", NULL);
	expect(&g, EMPTY_MAP,
	       VALUES("\"/srv/a b\" rwix,", "\"/proc/@{pid}/task/@{tid}/attr/x\" r,", "\"/proc/1x/y\" r,",
		      "\"/srv/\\*\\[x\\]\\{a\\}\\\"\" w,"));
	/* What speaks for the machine, and what a rule cannot say. */
	give(&g, "apparmor", "open", "/proc/sys/kernel/core_pattern", "w", NULL);
	give(&g, "apparmor", "open", "/proc/sysrq-trigger", "w", NULL);
	give(&g, "apparmor", "open", "/sys/kernel/uevent_helper", "w", NULL);
	give(&g, "apparmor", "open", "/proc/sys/net/ipv4/ip_forward", "w", NULL);
	give(&g, "apparmor", "open", "/proc/sys/kernel/core_pattern", "r", NULL);
	give(&g, "apparmor", "open", "/srv/?", "r", DETAILS("cut", "true"));
	expect(&g, EMPTY_MAP,
	       VALUES("\"/proc/sys/net/ipv4/ip_forward\" w,", "\"/proc/sys/kernel/core_pattern\" r,",
		      "!\"/proc/sys/kernel/core_pattern\" w,", "!\"/proc/sysrq-trigger\" w,",
		      "!\"/sys/kernel/uevent_helper\" w,", "!open /srv/?"));
}

static void suggests_other_rules(void **state)
{
	struct given g = { 0 };

	give(&g, "apparmor", "capable", "", "", DETAILS("capability", "net_admin"));
	give(&g, "apparmor", "create", "", "create", DETAILS("family", "inet", "sock_type", "dgram"));
	give(&g, "apparmor", "connect", "", "send receive", DETAILS("family", "unix", "sock_type", "stream"));
	give(&g, "apparmor", "mount", "/mnt/", "",
	     DETAILS("fstype", "ext4", "source", "/dev/sda", "flags", "rw, nosuid"));
	give(&g, "apparmor", "umount", "/mnt/", "", NULL);
	give(&g, "apparmor", "capable", "", "", DETAILS("capability", "sys_module"));
	give(&g, "apparmor", "mount", "/x/", "", DETAILS("fstype", "proc"));
	give(&g, "apparmor", "mount", "/x/", "", DETAILS("source", "/proc/sys/", "flags", "rw, bind"));
	expect(&g, EMPTY_MAP,
	       VALUES("capability net_admin,", "network inet dgram,", "unix (send, receive) type=stream,",
		      "mount fstype=ext4 options=(rw, nosuid) \"/dev/sda\" -> \"/mnt/\",",
		      "umount \"/mnt/\",", "!capability sys_module,", "!mount fstype=proc -> \"/x/\",",
		      "!mount options=(rw, bind) \"/proc/sys/\" -> \"/x/\","));
	/* With others' processes, and with its own below a profile of its own. */
	give(&g, "apparmor", "signal", "", "send",
	     DETAILS("peer", "unconfined", "profile", "lxmgr-a", "signal", "term"));
	give(&g, "apparmor", "ptrace", "", "read", DETAILS("peer", "lxmgr-a//x", "profile", "lxmgr-a"));
	give(&g, "apparmor", "ptrace", "", "read", DETAILS("peer", "lxmgr-ab", "profile", "lxmgr-a"));
	give(&g, "apparmor", "userns_create", "", "userns_create", NULL);
	/* A word that is none of the kernel's must not become a rule. */
	give(&g, "apparmor", "create", "", "create", DETAILS("family", "inet,\n  file"));
	expect(&g, EMPTY_MAP,
	       VALUES("ptrace (read) peer=\"lxmgr-a//x\",", "!signal (send) set=(term) peer=\"unconfined\",",
		      "!ptrace (read) peer=\"lxmgr-ab\",", "!userns_create ", "!create "));
	/* What is there is not suggested again. */
	give(&g, "apparmor", "umount", "/mnt/", "", NULL);
	give(&g, "apparmor", "umount", "/mnt2/", "", NULL);
	expect(&g, map_of("raw.apparmor", "deny /x w,\n  umount \"/mnt/\",\n", NULL),
	       VALUES("umount \"/mnt2/\","));
}

static void suggests_system_calls(void **state)
{
	struct given g = { 0 };

	give(&g, "syscall", "add_key", "", "", NULL);
	give(&g, "syscall", "add_key", "", "", NULL);
	give(&g, "syscall", "io_uring_setup", "", "", NULL);
	give(&g, "syscall", "call 9999", "", "", NULL);
	give(&g, "syscall", "bpf", "", "", NULL);
	give(&g, "syscall", "ptrace", "", "", NULL);
	expect(&g, map_of("security.syscalls.allow", "@guest ptrace", "security.syscalls.deny", "bpf", NULL),
	       VALUES("add_key", "!io_uring_setup", "!call 9999", "!bpf"));
	/* A list of what is denied: there is nothing to add to. */
	give(&g, "syscall", "kexec_load", "", "", NULL);
	expect(&g, EMPTY_MAP, VALUES("!kexec_load"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_apparmor),       cmocka_unit_test(reads_system_calls),
		cmocka_unit_test(is_not_led_astray),    cmocka_unit_test(cuts_long_names),
		cmocka_unit_test(refuses_what_is_none), cmocka_unit_test(reads_kmsg),
		cmocka_unit_test(knows_its_profiles),   cmocka_unit_test(suggests_files),
		cmocka_unit_test(suggests_other_rules), cmocka_unit_test(suggests_system_calls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
