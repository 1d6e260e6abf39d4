/* Judging what /proc says: texts as real kernels give them, and some that a guest makes up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <linux/netlink.h>
#include <linux/unix_diag.h>

#include <cmocka.h>

#include "migration/mounts.h"
#include "migration/preflight_judge.h"
#include "migration/preflight_report.h"
#include "migration/preflight_socket.h"
#include "migration/proc_text.h"

/* ---- texts ---- */

static void status_is_taken_apart(void **state)
{
	static const char text[] =
		"Name:\tredis\\n-server\nUmask:\t0077\nState:\tS (sleeping)\nTgid:\t8113\n"
		"Ngid:\t0\nPid:\t8113\nPPid:\t23364\nTracerPid:\t0\nUid:\t300000101\t300000101\n"
		"NStgid:\t8113\t412\nNSpid:\t8113\t412\nNSpgid:\t8113\t412\nNSsid:\t8113\t412\n";
	struct lx_proc_status st;

	assert_int_equal(lx_proc_status_parse(text, &st), 0);
	assert_string_equal(st.name, "redis\\n-server");
	assert_int_equal(st.state, 'S');
	assert_int_equal(st.parent, 23364);
	assert_int_equal(st.tracer, 0);
	assert_int_equal(st.inside, 412);
	assert_int_equal(st.session, 412);

	/* A session from outside is 0 inside. */
	assert_int_equal(lx_proc_status_parse("Name:\tx\nState:\tR (running)\nPPid:\t1\nTracerPid:\t77\n"
					      "NSpid:\t10\t2\nNSsid:\t9\t0\n",
					      &st),
			 0);
	assert_int_equal(st.session, 0);
	assert_int_equal(st.tracer, 77);
	assert_true(lx_proc_status_parse("", &st) < 0);
	assert_true(lx_proc_status_parse("Name:\tx\n", &st) < 0);
	/* A name that looks like a line stays a name: the kernel escapes its newline. */
	assert_int_equal(lx_proc_status_parse("Name:\ta\\nTracerPid:\t5\nState:\tS\nPPid:\t1\n", &st), 0);
	assert_int_equal(st.tracer, 0);
}

static void names_are_made_printable(void **state)
{
	static const struct {
		const char *in, *out;
	} t[] = {
		{ "redis", "redis" },
		{ "a\nb\x1b[2J", "a?b?[2J" },
		{ "gr\xc3\xb6\xc3\x9f"
		  "e",
		  "gr\xc3\xb6\xc3\x9f"
		  "e" },
		{ "\xff\xfe", "??" },
		{ "\xc3", "?" },
		{ "\xed\xa0\x80", "???" },
		{ "\xc2\x9b"
		  "x",
		  "??x" },
		{ "\xf0\x9f\x90\xa7", "\xf0\x9f\x90\xa7" },
	};
	char out[16];

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		lx_proc_printable(t[i].in, strlen(t[i].in), out, sizeof(out));
		assert_string_equal(out, t[i].out);
	}
	/* Cut between characters. */
	lx_proc_printable("abc\xc3\xb6", 5, out, 5);
	assert_string_equal(out, "abc");
}

static void units_come_from_cgroups(void **state)
{
	static const struct {
		const char *cgroup, *unit;
	} t[] = {
		{ "", "" },
		{ "/.lxc", "" },
		{ "/init.scope", "init.scope" },
		{ "/user.slice/user-1000.slice/user@1000.service/init.scope", "user@1000.service" },
		{ "/system.slice/redis-server.service", "redis-server.service" },
		{ "/system.slice/docker.service/payload/x", "docker.service" },
		{ "/user.slice/user-0.slice/user@0.service/app.slice/a.service", "a.service" },
		{ "/system.slice/_cpu.service", "cpu.service" },
		{ "/.service", "" },
	};
	char unit[LX_PROC_UNIT_MAX];

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		lx_proc_unit(t[i].cgroup, unit);
		assert_string_equal(unit, t[i].unit);
	}
}

static void maps_are_taken_apart(void **state)
{
	static const char text[] =
		"557c7840f000-557c78413000 r--p 00000000 fe:00 2097 /usr/bin/ls\n"
		"00400000-00401000 r--p 00000000 fe:00 2098 /usr/bin/old\n"
		"7f68a8dec000-7f68a8e43000 rw-s 00000000 00:0f 1025                       "
		"anon_inode:[io_uring]\n"
		"7ffd1d5f4000-7ffd1d615000 rw-p 00000000 00:00 0\n"
		"nonsense\n"
		"7ffd1d6a0000-7ffd1d6a2000 r-xp 00000000 00:00 0                          [vdso]";
	static const char *const paths[] = { "/usr/bin/ls", "/usr/bin/old", "anon_inode:[io_uring]", "", "",
					     "[vdso]" };
	struct lx_proc_map m;
	const char *at = text;

	for (size_t i = 0; i < 6; i++) {
		at = lx_proc_map_next(at, &m);
		assert_non_null(at);
		assert_int_equal(m.path_len, strlen(paths[i]));
		assert_memory_equal(m.path, paths[i], m.path_len);
		if (i == 0)
			assert_string_equal(m.range, "557c7840f000-557c78413000");
		if (i == 1) /* as map_files has it */
			assert_string_equal(m.range, "400000-401000");
	}
	assert_null(lx_proc_map_next(at, &m));
}

static void a_pidfd_tells_its_process(void **state)
{
	struct lx_proc_fdinfo f;

	lx_proc_fdinfo_parse(
		"pos:\t0\nflags:\t02000002\nmnt_id:\t16\nino:\t8\nPid:\t8113\nNSpid:\t8113\t412\n", &f);
	assert_int_equal(f.pid, 8113);
	assert_int_equal(f.flags, 02000002);
	lx_proc_fdinfo_parse("pos:\t0\nflags:\t02000002\nPid:\t-1\n", &f);
	assert_int_equal(f.pid, -1);
	lx_proc_fdinfo_parse("", &f);
	assert_int_equal(f.pid, 0);
}

/* ---- mounts ---- */

#define ROOT "241 212 0:48 / / rw,nodev,relatime shared:20 - overlay lxmgr rw,lowerdir=/a:/b,upperdir=/c\n"
#define RUN  "218 241 0:59 / /run rw,nosuid,nodev shared:92 - tmpfs tmpfs rw,mode=755\n"

static void mounts_are_taken_apart(void **state)
{
	struct lx_mounts t;

	assert_int_equal(lx_mounts_parse(ROOT
					 "615 644 0:59 /systemd/propagate/a\\040b.service /run/in\\134x ro "
					 "shared:3 master:92 propagate_from:7 - tmpfs  rw\n",
					 &t, NULL),
			 0);
	assert_int_equal(t.n, 2);
	assert_int_equal(t.m[0].id, 241);
	assert_int_equal(t.m[0].parent, 212);
	assert_int_equal(t.m[0].minor, 48);
	assert_string_equal(t.m[0].fstype, "overlay");
	assert_int_equal(t.m[1].shared, 3);
	assert_int_equal(t.m[1].master, 92);
	assert_string_equal(t.m[1].root, "/systemd/propagate/a b.service");
	assert_string_equal(t.m[1].point, "/run/in\\x");
	lx_mounts_release(&t);

	static const char *const bad[] = { "x\n", "1 2 3 4\n", "1 2 0:1 / / rw shared:1\n",
					   "1 2 0:1 / / rw -\n" };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_true(lx_mounts_parse(bad[i], &t, NULL) < 0);
		lx_mounts_release(&t);
	}
	assert_int_equal(lx_mounts_parse("", &t, NULL), 0);
	lx_mounts_release(&t);
}

static void paths_are_compared_by_component(void **state)
{
	assert_true(lx_path_is_below("/a/b", "/a"));
	assert_true(lx_path_is_below("/a", "/a"));
	assert_true(lx_path_is_below("/a", "/"));
	assert_false(lx_path_is_below("/ab", "/a"));
	assert_false(lx_path_is_below("/", "/a"));
}

static int count_points(void *arg, size_t table, const struct lx_mount *m)
{
	char *out = arg;

	snprintf(out + strlen(out), 512 - strlen(out), "%zu:%s ", table, m->point);
	return 0;
}

static void mounts_that_cannot_be_shared_again(void **state)
{
	static const struct {
		const char *table[3], *found;
	} t[] = {
		{ { ROOT RUN }, "" },
		/* One sandboxed service: its slave has /run as its master. */
		{ { ROOT RUN,
		    "1 2 0:59 /systemd/propagate/a /run/systemd/incoming ro master:92 - tmpfs tmpfs rw\n" },
		  "" },
		/* Two: in one group, and neither's root is below the other's. */
		{ { ROOT RUN,
		    "1 2 0:59 /systemd/propagate/a /run/systemd/incoming ro master:92 - tmpfs tmpfs rw\n",
		    "3 4 0:59 /systemd/propagate/b /run/systemd/incoming ro master:92 - tmpfs tmpfs rw\n" },
		  "2:/run/systemd/incoming " },
		/* A bind of a part of it is below it. */
		{ { ROOT RUN "1 2 0:59 /x /mnt rw shared:92 - tmpfs tmpfs rw\n" }, "" },
		/* Two peers, the mount they are bound from is gone. */
		{ { ROOT "1 2 0:59 /x /m1 rw shared:92 - tmpfs tmpfs rw\n2 2 0:59 /y /m2 rw shared:92 - "
			 "tmpfs t rw\n" },
		  "0:/m2 " },
		/* A master that nobody sees; but devices and the root have theirs outside. */
		{ { ROOT RUN "1 2 0:70 / /mnt rw master:500 - tmpfs tmpfs rw\n" }, "0:/mnt " },
		{ { ROOT RUN "1 2 0:6 /null /dev/null rw master:500 - devtmpfs devtmpfs rw\n" }, "" },
		{ { "1 0 0:48 / / rw master:7 - overlay o rw\n2 1 0:48 /var /var rw master:7 - overlay o "
		    "rw\n" },
		  "" },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct lx_mounts tables[3] = { 0 };
		char found[512] = "";

		for (size_t k = 0; k < 3; k++)
			assert_int_equal(
				lx_mounts_parse(t[i].table[k] ? t[i].table[k] : "", &tables[k], NULL), 0);
		assert_int_equal(lx_mounts_unshareable(tables, 3, count_points, found), 0);
		assert_string_equal(found, t[i].found);
		for (size_t k = 0; k < 3; k++)
			lx_mounts_release(&tables[k]);
	}
}

static void parts_of_what_has_no_root(void **state)
{
	static const struct {
		const char *table[3], *found;
	} t[] = {
		{ { ROOT RUN, "1 2 0:70 /tmp /tmp rw - tmpfs tmpfs rw,size=1m\n2 2 0:70 /var-tmp /var/tmp rw "
			      "- tmpfs t rw\n" },
		  "1:/tmp 1:/var/tmp " },
		/* Mounted whole as well, there or in another service. */
		{ { ROOT RUN,
		    "1 2 0:70 /tmp /tmp rw - tmpfs tmpfs rw\n2 2 0:70 / /mnt rw - tmpfs tmpfs rw\n" },
		  "" },
		{ { ROOT RUN, "1 2 0:70 /tmp /tmp rw - tmpfs tmpfs rw\n",
		    "2 2 0:70 / /mnt rw - tmpfs tmpfs rw\n" },
		  "" },
		/* Of init's, or handed in by the node, which init has in part. */
		{ { ROOT RUN, "1 2 0:59 /x /tmp rw - tmpfs tmpfs rw\n" }, "" },
		{ { ROOT RUN "1 2 0:80 /dev/a /dev/a rw - tmpfs t rw\n",
		    "1 2 0:80 /dev/b /x rw - tmpfs tmpfs rw\n" },
		  "" },
		/* Not of memory. */
		{ { ROOT RUN, "1 2 8:1 /x /tmp rw - ext4 /dev/sda1 rw\n" }, "" },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct lx_mounts tables[3] = { 0 };
		char found[512] = "";

		for (size_t k = 0; k < 3; k++)
			assert_int_equal(
				lx_mounts_parse(t[i].table[k] ? t[i].table[k] : "", &tables[k], NULL), 0);
		assert_int_equal(lx_mounts_rootless(tables, 3, count_points, found), 0);
		assert_string_equal(found, t[i].found);
		if (i == 0)
			assert_string_equal(tables[1].m[0].options, "rw,size=1m");
		for (size_t k = 0; k < 3; k++)
			lx_mounts_release(&tables[k]);
	}
}

static void file_systems_are_judged(void **state)
{
	static const struct {
		const char *line, *word; /* NULL: no obstacle */
	} t[] = {
		{ "1 2 0:55 / /proc rw - proc proc rw\n", NULL },
		{ "1 2 0:37 /lx/d1/payload /sys/fs/cgroup rw - cgroup2 none rw\n", NULL },
		{ "1 2 0:6 /null /dev/null rw - devtmpfs devtmpfs rw\n", NULL },
		{ "1 2 0:48 /var/log /mnt rw - overlay lxmgr rw\n", NULL }, /* bound from the root */
		{ "1 2 0:68 / /run/credentials/a.service ro - ramfs ramfs rw\n", NULL },
		{ "1 2 0:80 / /tmp rw - tmpfs tmpfs rw\n", NULL },
		{ "1 2 0:99 / /mnt/x rw - fuse.sshfs h:/ rw\n", "FUSE" },
		{ "1 2 0:99 / /mnt/x rw - nfs4 h:/ rw\n", "network" },
		{ "1 2 0:99 / /var/lib/docker/overlay2/x rw - overlay overlay rw\n", "containers" },
		{ "1 2 0:99 / /x rw - ramfs ramfs rw\n", "ramfs" },
		{ "1 2 0:4 net:[4026532417] /run/netns/x rw - nsfs nsfs rw\n", "ip netns" },
		{ "1 2 254:0 /srv/data /data rw - ext4 /dev/vda rw\n", "directory of the node (/srv/data" },
		{ "1 2 0:24 /x /data rw - tmpfs tmpfs rw\n", "directory of the node (/x" },
		{ "1 2 0:99 /tty /dev/ttyS0 rw - tmpfs lxmgr-devices rw\n", "device of the node" },
		{ "1 2 7:0 / /data rw - squashfs /dev/loop0 rw\n", "squashfs" },
	};
	struct lx_mounts guest, outside, one;
	struct lx_verdict v;

	assert_int_equal(lx_mounts_parse(ROOT, &guest, NULL), 0);
	assert_int_equal(
		lx_mounts_parse("26 1 254:0 / / rw - ext4 /dev/vda rw\n24 1 0:24 / /dev/shm rw - tmpfs t rw\n"
				"23 26 0:6 / /dev rw - devtmpfs devtmpfs rw\n",
				&outside, NULL),
		0);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		assert_int_equal(lx_mounts_parse(t[i].line, &one, NULL), 0);
		lx_judge_mount(&one.m[0], &guest, &outside, &v);
		if (t[i].word) {
			assert_string_equal(v.code, "mount");
			assert_non_null(strstr(v.what, t[i].word));
			assert_true(*v.cure);
			assert_false(v.passes);
		} else {
			assert_null(v.code);
		}
		lx_mounts_release(&one);
	}
	lx_mounts_release(&guest);
	lx_mounts_release(&outside);
}

/* ---- descriptors and memory ---- */

static void descriptors_are_judged(void **state)
{
	static const struct {
		struct lx_judge_fd fd;
		const char *code;
	} t[] = {
		{ { .link = "anon_inode:[eventpoll]" }, NULL },
		{ { .link = "anon_inode:inotify" }, NULL },
		{ { .link = "anon_inode:[io_uring]" }, "io-uring" },
		{ { .link = "anon_inode:bpf-prog" }, "bpf" },
		{ { .link = "anon_inode:[perf_event]" }, "perf-event" },
		{ { .link = "anon_inode:kvm-vcpu:0" }, "kvm" },
		{ { .link = "anon_inode:[userfaultfd]" }, "userfaultfd" },
		{ { .link = "anon_inode:[new\nthing]" }, "anon-file" },
		{ { .link = "anon_inode:[pidfd]", .process_known = true }, NULL },
		{ { .link = "anon_inode:[pidfd]" }, "pidfd" },
		{ { .link = "pipe:[1]", .mode = S_IFIFO }, NULL },
		{ { .link = "net:[4026531840]", .mode = S_IFREG, .mount_known = true }, NULL },
		{ { .link = "net:[4026531840]", .mode = S_IFREG }, "file-outside" },
		{ { .link = "dmabuf:x", .mode = S_IFREG }, "anon-file" },
		{ { .link = "/dev/null", .mode = S_IFCHR, .major = 1, .minor = 3, .mount_known = true },
		  NULL },
		{ { .link = "/dev/pts/0", .mode = S_IFCHR, .major = 136, .mount_known = true }, NULL },
		{ { .link = "/dev/pts/0", .mode = S_IFCHR, .major = 136 }, "tty-host" },
		{ { .link = "/dev/ptmx", .mode = S_IFCHR, .major = 5, .minor = 2, .mount_known = true },
		  NULL },
		{ { .link = "/dev/console", .mode = S_IFCHR, .major = 5, .minor = 1, .mount_known = true },
		  "device" },
		{ { .link = "/dev/fuse", .mode = S_IFCHR, .major = 10, .minor = 229, .mount_known = true },
		  "fuse" },
		{ { .link = "/dev/kvm", .mode = S_IFCHR, .major = 10, .minor = 232, .mount_known = true },
		  "kvm" },
		{ { .link = "/dev/net/tun", .mode = S_IFCHR, .major = 10, .minor = 200, .mount_known = true },
		  "device" },
		{ { .link = "/dev/dri/card0", .mode = S_IFCHR, .major = 226, .mount_known = true }, "dri" },
		{ { .link = "/dev/sda", .mode = S_IFBLK, .major = 8, .mount_known = true }, "device" },
		{ { .link = "socket:[7]", .mode = S_IFSOCK, .socket = "TCPv6" }, NULL },
		{ { .link = "socket:[7]", .mode = S_IFSOCK, .socket = "UNIX-STREAM" }, NULL },
		{ { .link = "socket:[7]", .mode = S_IFSOCK }, NULL },
		{ { .link = "socket:[7]", .mode = S_IFSOCK, .socket = "MPTCPv6" }, "socket-mptcp" },
		{ { .link = "socket:[7]", .mode = S_IFSOCK, .socket = "SCTP" }, "socket-sctp" },
		{ { .link = "socket:[7]", .mode = S_IFSOCK, .socket = "AF_VSOCK" }, "socket-vsock" },
		{ { .link = "socket:[7]", .mode = S_IFSOCK, .socket = "TIPC" }, "socket" },
		{ { .link = "/memfd:x (deleted)", .mode = S_IFREG, .bytes = 2 * LX_MOVE_GHOST_MAX }, NULL },
		{ { .link = "/secretmem (deleted)", .mode = S_IFREG }, "secretmem" },
		{ { .link = "/var/log/a", .mode = S_IFREG, .nlink = 1, .mount_known = true }, NULL },
		{ { .link = "/var/log/a", .mode = S_IFREG, .nlink = 1 }, "file-outside" },
		{ { .link = "/proc/meminfo", .mode = S_IFREG, .nlink = 1, .mount_known = true }, NULL },
		{ { .link = "/proc/meminfo",
		    .mode = S_IFREG,
		    .nlink = 1,
		    .mount_known = true,
		    .lxcfs_ended = true },
		  "lxcfs" },
		{ { .link = "/a (deleted)",
		    .mode = S_IFREG,
		    .mount_known = true,
		    .bytes = LX_MOVE_GHOST_MAX },
		  NULL },
		{ { .link = "/a (deleted)",
		    .mode = S_IFREG,
		    .mount_known = true,
		    .bytes = LX_MOVE_GHOST_MAX + 512 },
		  "ghost-file" },
	};
	struct lx_verdict v;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		lx_judge_fd(&t[i].fd, &v);
		if (!t[i].code) {
			if (v.code)
				fail_msg("%s is an obstacle: %s", t[i].fd.link, v.code);
			continue;
		}
		if (!v.code || strcmp(v.code, t[i].code) != 0)
			fail_msg("%s is %s", t[i].fd.link, v.code ? v.code : "no obstacle");
		assert_null(strchr(v.what, '\n'));
		assert_true(*v.cure);
	}
}

static void memory_is_judged(void **state)
{
	static const struct {
		const char *path, *code;
	} t[] = {
		{ "/usr/lib/x86_64-linux-gnu/libc.so.6", NULL },
		{ "[heap]", NULL },
		{ "/[aio] (deleted)", NULL },
		{ "/SYSV00000000 (deleted)", NULL },
		{ "/dev/zero (deleted)", NULL },
		{ "/dev/shm/PostgreSQL.1", NULL },
		{ "/anon_hugepage (deleted)", NULL },
		{ "anon_inode:[io_uring]", "io-uring" },
		{ "anon_inode:[perf_event]", "perf-event" },
		{ "anon_inode:kvm-vcpu:0", "anon-file" },
		{ "/secretmem (deleted)", "secretmem" },
		{ "/dev/dri/renderD128", "dri" },
		{ "/dev/mem", "device" },
		{ "[uprobes]", "traced" },
	};
	struct lx_verdict v;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		lx_judge_mapping(t[i].path, &v);
		if (t[i].code)
			assert_string_equal(v.code, t[i].code);
		else
			assert_null(v.code);
	}
}

static void namespaces_name_their_setting(void **state)
{
	static const char *const t[][2] = {
		{ "uts", "ProtectHostname=no" }, { "user", "PrivateUsers=no" },
		{ "ipc", "PrivateIPC=no" },      { "pid", "PrivatePIDs=no" },
		{ "net", "PrivateNetwork=no" },  { "cgroup", "ProtectControlGroups=yes" }
	};
	struct lx_verdict v;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		lx_judge_namespace(t[i][0], "redis.service", &v);
		assert_string_equal(v.code, "nested-namespace");
		assert_non_null(strstr(v.cure, t[i][1]));
		assert_non_null(strstr(v.cure, "systemctl edit redis.service"));
	}
	lx_judge_namespace("time", "session-3.scope", &v);
	assert_non_null(strstr(v.cure, "systemctl stop session-3.scope"));
	lx_judge_namespace("uts", "", &v);
	assert_null(strstr(v.cure, "systemctl"));
}

/* ---- sockets ---- */

static void the_other_end_of_a_unix_socket(void **state)
{
	struct {
		struct nlmsghdr h;
		struct unix_diag_msg m;
		struct nlattr a;
		uint32_t peer;
		struct nlattr n;
		char name[8];
	} msg = { .h = { .nlmsg_len = sizeof(msg) },
		  .m = { .udiag_family = AF_UNIX, .udiag_ino = 100 },
		  .a = { .nla_len = sizeof(struct nlattr) + 4, .nla_type = UNIX_DIAG_PEER },
		  .peer = 101,
		  .n = { .nla_len = sizeof(struct nlattr) + 5, .nla_type = UNIX_DIAG_NAME },
		  .name = "\0a\nbc" };
	struct lx_guest_sockets ours = { 0 };
	struct lx_verdict v;
	uint64_t ino;

	assert_int_equal(lx_guest_sockets_add(&ours, &(struct lx_guest_socket){ .ino = 100 }, NULL), 0);
	lx_judge_diag(&msg, sizeof(msg), AF_UNIX, &ours, &ino, &v);
	assert_int_equal(ino, 100);
	assert_string_equal(v.code, "unix-peer");
	assert_non_null(strstr(v.what, "@a?bc"));

	/* Both ends are the guest's; or neither. */
	assert_int_equal(lx_guest_sockets_add(&ours, &(struct lx_guest_socket){ .ino = 101 }, NULL), 0);
	lx_guest_sockets_sort(&ours);
	lx_judge_diag(&msg, sizeof(msg), AF_UNIX, &ours, &ino, &v);
	assert_null(v.code);
	msg.m.udiag_ino = 7;
	lx_judge_diag(&msg, sizeof(msg), AF_UNIX, &ours, &ino, &v);
	assert_null(v.code);

	/* Cut anywhere. */
	msg.m.udiag_ino = 100;
	msg.peer = 9;
	for (uint32_t len = 0; len < sizeof(msg); len++) {
		msg.h.nlmsg_len = len;
		lx_judge_diag(&msg, sizeof(msg), AF_UNIX, &ours, &ino, &v);
	}
	lx_guest_sockets_release(&ours);
}

/* ---- reports ---- */

struct given {
	unsigned int n, blocking;
	char first[600], last_code[32];
};

static int take(void *arg, const Lxmgr__V1__MoveObstacle *o, struct lx_err *err)
{
	struct given *g = arg;

	if (g->n++ == 0)
		snprintf(g->first, sizeof(g->first), "%s", o->cause);
	g->blocking += o->blocks;
	snprintf(g->last_code, sizeof(g->last_code), "%s", o->code);
	return 0;
}

static void equal_ones_are_one(void **state)
{
	struct lx_preflight_report r;
	struct lx_verdict v = { .code = "io-uring", .what = "uses io_uring", .cure = "stop" };
	struct given g = { 0 };

	lx_preflight_report_init(&r);
	for (int i = 0; i < 3; i++)
		assert_int_equal(
			lx_preflight_report_add(
				&r, &v, &(struct lx_preflight_process){ 412 + i, "db", "db.service" }, NULL),
			0);
	assert_int_equal(lx_preflight_report_give(&r, take, &g, NULL), 0);
	assert_int_equal(g.n, 1);
	assert_string_equal(g.first, "process 412 (db, unit db.service) uses io_uring, and 2 more like it");

	/* There is an end to them. */
	memset(&g, 0, sizeof(g));
	for (unsigned int i = 0; i < 2 * LX_MOVE_OBSTACLES_MAX; i++) {
		char unit[32];

		snprintf(unit, sizeof(unit), "u%u.service", i);
		assert_int_equal(
			lx_preflight_report_add(&r, &v, &(struct lx_preflight_process){ 2, "x", unit }, NULL),
			0);
	}
	assert_int_equal(lx_preflight_report_give(&r, take, &g, NULL), 0);
	assert_int_equal(g.n, LX_MOVE_OBSTACLES_MAX + 1);
	assert_int_equal(g.blocking, g.n);
	assert_string_equal(g.last_code, "more");
	lx_preflight_report_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(status_is_taken_apart),
		cmocka_unit_test(names_are_made_printable),
		cmocka_unit_test(units_come_from_cgroups),
		cmocka_unit_test(maps_are_taken_apart),
		cmocka_unit_test(a_pidfd_tells_its_process),
		cmocka_unit_test(mounts_are_taken_apart),
		cmocka_unit_test(paths_are_compared_by_component),
		cmocka_unit_test(mounts_that_cannot_be_shared_again),
		cmocka_unit_test(parts_of_what_has_no_root),
		cmocka_unit_test(file_systems_are_judged),
		cmocka_unit_test(descriptors_are_judged),
		cmocka_unit_test(memory_is_judged),
		cmocka_unit_test(namespaces_name_their_setting),
		cmocka_unit_test(the_other_end_of_a_unix_socket),
		cmocka_unit_test(equal_ones_are_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
