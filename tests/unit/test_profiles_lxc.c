/*
 * liblxc's configuration: one golden text, then many inputs read back with a strict parser
 * of our own, and hostile texts that must not get in.
 */
#include "test_profiles.h"

static struct lx_lxc_nic nic0 = {
	.name = "eth0",
	.bridge = "lxbr0",
	.host_name = "lx12ab",
	.hwaddr = "00:16:3e:01:02:03",
	.ipv4 = "10.88.1.7/16",
	.ipv4_gateway = "10.88.0.1",
	.ipv6 = "fd42::7/64",
	.ipv6_gateway = "fd42::1",
	.mtu = 1450,
};

static struct lx_lxc_input input(const struct lx_map *config)
{
	return (struct lx_lxc_input){
		.name = "web1",
		.rootfs = "/var/lib/lxmgr/agent/instances/web1/rootfs",
		.cgroup_root = "lxmgr",
		.hostname = "web1",
		.init = "/sbin/init",
		.seccomp_path = "/var/lib/lxmgr/agent/instances/web1/seccomp",
		.log_path = "/var/lib/lxmgr/agent/instances/web1/lxc.log",
		.idmap_base = 1000000,
		.idmap_size = 65536,
		.config = config,
		.nics = &nic0,
		.n_nics = 1,
		.systemd = true,
	};
}

static void writes_the_golden_text(void **state)
{
	lx_automap struct lx_map config =
		map_of("environment.LANG", "C.UTF-8", "environment.GREETING", " a \"b\" ",
		       "limits.kernel.nofile", "1024:4096", "limits.kernel.core", "0", "limits.memory",
		       "1GiB", "user.x", "a\nb", "environment.GONE", "", NULL);
	const struct lx_knob knobs[] = {
		{ .controller = "memory",
		  .layout = LX_CGROUP_V1,
		  .file = "memory.limit_in_bytes",
		  .value = "1" },
		{ .controller = "pids", .layout = LX_CGROUP_V2, .file = "pids.max", .value = "7" },
		{ .controller = "cpuset",
		  .layout = LX_CGROUP_V2,
		  .file = "cpuset.cpus",
		  .value = "\n",
		  .lifts = true },
	};
	struct lx_lxc_input in = input(&config);
	lx_autobuf struct lx_buf out = { 0 };
	struct lx_err err = LX_ERR_INIT;

	in.knobs = knobs;
	in.n_knobs = LX_ARRAY_SIZE(knobs);
	assert_int_equal(lx_buf_puts(&out, "# before\n"), 0);
	if (lx_lxc_config(&in, &out, &err) < 0)
		fail_msg("%s", err.msg);
	assert_string_equal(
		lx_buf_str(&out),
		"# before\n"
		"lxc.uts.name = web1\n"
		"lxc.rootfs.path = dir:/var/lib/lxmgr/agent/instances/web1/rootfs\n"
		"lxc.init.cmd = /sbin/init\n"
		"lxc.log.file = /var/lib/lxmgr/agent/instances/web1/lxc.log\n"
		"lxc.log.level = warn\n"
		"lxc.signal.halt = SIGRTMIN+3\n"
		"lxc.signal.reboot = SIGRTMIN+5\n"
		"lxc.proc.oom_score_adj = 0\n"
		"lxc.console.path = none\n"
		"lxc.tty.max = 0\n"
		"lxc.pty.max = 1024\n"
		"lxc.idmap = u 0 1000000 65536\n"
		"lxc.idmap = g 0 1000000 65536\n"
		"lxc.mount.auto = proc:mixed sys:rw\n"
		"lxc.mount.entry = none sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime 0 0\n"
		"lxc.cgroup.dir.container = lxmgr/web1/payload\n"
		"lxc.cgroup.dir.monitor = lxmgr/web1/monitor\n"
		"lxc.cgroup.dir.monitor.pivot = lxmgr/_pivot\n"
		"lxc.cgroup.memory.limit_in_bytes = 1\n"
		"lxc.cgroup2.pids.max = 7\n"
		"lxc.cap.drop = sys_module sys_rawio sys_time mac_override mac_admin\n"
		"lxc.keyring.session = 1\n"
		"lxc.seccomp.profile = /var/lib/lxmgr/agent/instances/web1/seccomp\n"
		"lxc.seccomp.allow_nesting = 1\n"
		"lxc.environment = MEMORY_PRESSURE_WATCH=/dev/null\n"
		"lxc.environment = \"LANG=C.UTF-8\"\n"
		"lxc.environment = \"GREETING= a \"b\" \"\n"
		"lxc.prlimit.nofile = 1024:4096\n"
		"lxc.prlimit.core = 0\n"
		"lxc.net.0.type = veth\n"
		"lxc.net.0.name = eth0\n"
		"lxc.net.0.link = lxbr0\n"
		"lxc.net.0.veth.pair = lx12ab\n"
		"lxc.net.0.flags = up\n"
		"lxc.net.0.mtu = 1450\n"
		"lxc.net.0.ipv4.address = 10.88.1.7/16 10.88.255.255\n"
		"lxc.net.0.hwaddr = 00:16:3e:01:02:03\n"
		"lxc.net.0.ipv4.gateway = 10.88.0.1\n"
		"lxc.net.0.ipv6.address = fd42::7/64\n"
		"lxc.net.0.ipv6.gateway = fd42::1\n");
}

/* ------------------------------------------------------------------ a strict parser */

#define LINES_MAX 256

struct parsed {
	char key[LINES_MAX][96], value[LINES_MAX][512];
	size_t n;
};

/* Every line is "lxc.key = value" with a key liblxc could know, and nothing else. */
static void parse(const char *text, struct parsed *ret)
{
	ret->n = 0;
	while (*text) {
		const char *end = strchr(text, '\n'), *eq = strstr(text, " = ");

		assert_non_null(end);
		assert_true(eq && eq < end);
		assert_true(ret->n < LINES_MAX);
		size_t key = (size_t)(eq - text), value = (size_t)(end - eq - 3);

		assert_true(key > 4 && key < sizeof(ret->key[0]) && value > 0 &&
			    value < sizeof(ret->value[0]));
		memcpy(ret->key[ret->n], text, key);
		ret->key[ret->n][key] = '\0';
		memcpy(ret->value[ret->n], eq + 3, value);
		ret->value[ret->n][value] = '\0';
		assert_true(lx_starts_with(ret->key[ret->n], "lxc."));
		assert_int_equal(strspn(ret->key[ret->n], "abcdefghijklmnopqrstuvwxyz0123456789._"), key);
		for (const char *p = ret->value[ret->n]; *p; p++)
			assert_true((unsigned char)*p >= 0x20 && *p != 0x7f);
		ret->n++;
		text = end + 1;
	}
}

static const char *value_of(const struct parsed *p, const char *key)
{
	for (size_t i = 0; i < p->n; i++)
		if (lx_streq(p->key[i], key))
			return p->value[i];
	return NULL;
}

static int generate(const struct lx_lxc_input *in, struct parsed *ret, struct lx_err *err)
{
	lx_autobuf struct lx_buf out = { 0 };
	int r = lx_lxc_config(in, &out, err);

	if (r < 0)
		assert_int_equal(out.len, 0); /* nothing half-written */
	else
		parse(lx_buf_str(&out), ret);
	return r;
}

static struct parsed parsed;

static void confines_as_asked(void **state)
{
	lx_automap struct lx_map config =
		map_of("security.sysfs.readonly", "true", "security.no_new_privileges", "yes",
		       "security.capabilities.keep", "chown,kill", NULL);
	lx_automap struct lx_map bad = map_of("security.sysfs.readonly", "perhaps", NULL);
	lx_automap struct lx_map worse = map_of("security.capabilities.drop", "net_rav", NULL);
	struct lx_lxc_input in = input(&config);

	assert_int_equal(generate(&in, &parsed, NULL), 0);
	assert_string_equal(value_of(&parsed, "lxc.mount.auto"), "proc:mixed sys:ro");
	assert_string_equal(value_of(&parsed, "lxc.no_new_privs"), "1");
	assert_string_equal(value_of(&parsed, "lxc.cap.keep"), "chown kill");
	assert_null(value_of(&parsed, "lxc.cap.drop"));
	/* What cannot be read is never taken for "no". */
	in = input(&bad);
	assert_int_equal(generate(&in, &parsed, NULL), -EINVAL);
	in = input(&worse);
	assert_int_equal(generate(&in, &parsed, NULL), -EINVAL);
}

static void follows_the_guest_and_host(void **state)
{
	lx_automap struct lx_map config = EMPTY_MAP;
	struct lx_lxc_input in = input(&config);

	in.systemd = false;
	in.seccomp_path = NULL;
	in.n_nics = 0;
	assert_int_equal(generate(&in, &parsed, NULL), 0);
	assert_string_equal(value_of(&parsed, "lxc.signal.halt"), "SIGUSR2");
	assert_string_equal(value_of(&parsed, "lxc.signal.reboot"), "SIGTERM");
	assert_null(value_of(&parsed, "lxc.environment"));
	assert_null(value_of(&parsed, "lxc.seccomp.profile"));
	assert_null(value_of(&parsed, "lxc.apparmor.profile")); /* the key breaks restore without AppArmor */
	assert_string_equal(value_of(&parsed, "lxc.net.0.type"), "empty");
	assert_string_equal(value_of(&parsed, "lxc.mount.auto"), "proc:mixed sys:rw");
	assert_null(value_of(&parsed, "lxc.no_new_privs"));
	in.apparmor = true;
	assert_int_equal(generate(&in, &parsed, NULL), 0);
	assert_string_equal(value_of(&parsed, "lxc.apparmor.profile"), "unconfined");
	in.apparmor_label = "lxmgr-web1";
	assert_int_equal(generate(&in, &parsed, NULL), 0);
	assert_string_equal(value_of(&parsed, "lxc.apparmor.profile"), "lxmgr-web1");

	/* A part of it for profiles from inside: then there is where they are loaded. */
	lx_automap struct lx_map own =
		map_of("security.apparmor.namespace", "true", "security.apparmor", "auto", NULL);

	in.config = &own;
	in.apparmor_label = "lxmgr-web1//&:lxc-lxmgr-web1:unconfined";
	in.apparmor_namespace = true;
	lx_autobuf struct lx_buf text = { 0 };

	assert_int_equal(lx_lxc_config(&in, &text, NULL), 0);
	assert_non_null(strstr(lx_buf_str(&text),
			       "lxc.apparmor.profile = lxmgr-web1//&:lxc-lxmgr-web1:unconfined\n"));
	assert_non_null(strstr(lx_buf_str(&text),
			       "lxc.mount.entry = /sys/kernel/security sys/kernel/security none bind,"));
}

/* Fields of fstab(5); in /dev liblxc makes the place. */
static void mounts_devices(void **state)
{
	lx_automap struct lx_map config = EMPTY_MAP;
	const struct lx_lxc_mount mounts[] = {
		{ "/i/web1/devices/data", "/srv/my data\\", "rbind", false },
		{ NULL, "/scratch", "nosuid,nodev,size=1024", false },
		{ "/i/web1/devices/z", "/dev/a/z", "bind", true },
		{ NULL, "/dev/shm", "nosuid,nodev", false },
	};
	struct lx_lxc_input in = input(&config);
	lx_autobuf struct lx_buf out = { 0 };

	in.mounts = mounts;
	in.n_mounts = LX_ARRAY_SIZE(mounts);
	assert_int_equal(lx_lxc_config(&in, &out, NULL), 0);
	assert_non_null(strstr(lx_buf_str(&out),
			       "cgroup2 rw,nosuid,nodev,noexec,relatime 0 0\n"
			       "lxc.mount.entry = /i/web1/devices/data srv/my\\040data\\134 none rbind 0 0\n"
			       "lxc.mount.entry = tmpfs scratch tmpfs nosuid,nodev,size=1024 0 0\n"
			       "lxc.mount.entry = /i/web1/devices/z dev/a/z none bind,create=file 0 0\n"
			       "lxc.mount.entry = tmpfs dev/shm tmpfs nosuid,nodev,create=dir 0 0\n"));
}

static void writes_several_nics(void **state)
{
	lx_automap struct lx_map config = EMPTY_MAP;
	struct lx_lxc_nic nics[3] = { nic0, nic0, nic0 };
	struct lx_lxc_input in = input(&config);

	nics[1] = (struct lx_lxc_nic){
		.name = "eth1", .bridge = "lxbr1", .host_name = "lx2", .ipv4 = "10.9.0.1/31"
	};
	nics[2] = (struct lx_lxc_nic){ .name = "eth2", .bridge = "lxbr1", .host_name = "lx3", .hwaddr = "" };
	in.nics = nics;
	in.n_nics = 3;
	assert_int_equal(generate(&in, &parsed, NULL), 0);
	assert_string_equal(value_of(&parsed, "lxc.net.1.ipv4.address"),
			    "10.9.0.1/31"); /* has no broadcast */
	assert_null(value_of(&parsed, "lxc.net.1.ipv4.gateway"));
	assert_null(value_of(&parsed, "lxc.net.1.mtu"));
	assert_string_equal(value_of(&parsed, "lxc.net.2.name"), "eth2");
	assert_null(value_of(&parsed, "lxc.net.2.hwaddr"));
}

static void computes_broadcasts(void **state)
{
	static const struct {
		const char *address, *line;
	} cases[] = {
		{ "10.88.1.7/16", "10.88.1.7/16 10.88.255.255" },
		{ "192.168.7.130/25", "192.168.7.130/25 192.168.7.255" },
		{ "10.0.0.1/8", "10.0.0.1/8 10.255.255.255" },
		{ "172.16.0.1/30", "172.16.0.1/30 172.16.0.3" },
		{ "10.0.0.1/32", "10.0.0.1/32" },
		{ "10.0.0.1/1", "10.0.0.1/1 127.255.255.255" },
	};
	lx_automap struct lx_map config = EMPTY_MAP;
	struct lx_lxc_nic nic = nic0;
	struct lx_lxc_input in = input(&config);

	in.nics = &nic;
	for (size_t i = 0; i < LX_ARRAY_SIZE(cases); i++) {
		nic.ipv4 = cases[i].address;
		assert_int_equal(generate(&in, &parsed, NULL), 0);
		assert_string_equal(value_of(&parsed, "lxc.net.0.ipv4.address"), cases[i].line);
	}
}

/* Plans of every kind of host end up as lines that can be read back. */
static void takes_every_plan(void **state)
{
	static const char *const memory[] = { "", "64MiB", "50%" }, *const cpu[] = { "", "1", "0-1" },
				 *const share[] = { "", "50%", "25ms/100ms" };

	for (unsigned i = 0; i < 27 * 16; i++) {
		lx_automap struct lx_map config =
			map_of("limits.memory", memory[i % 3], "limits.cpu", cpu[i / 3 % 3],
			       "limits.cpu.allowance", share[i / 9 % 3], NULL);
		unsigned bits = i / 27;
		struct lx_host_facts host = { .memory_bytes = UINT64_C(1) << 32,
					      .cpus = 2,
					      .memory = bits & 1 ? LX_CGROUP_V2 : LX_CGROUP_V1,
					      .cpu = bits & 2 ? LX_CGROUP_V2 : LX_CGROUP_V1,
					      .cpuset = bits & 4 ? LX_CGROUP_V2 : LX_CGROUP_V1,
					      .pids = bits & 8 ? LX_CGROUP_V2 : LX_CGROUP_V1,
					      .swap_accounting = true };
		struct lx_knob knobs[LX_KNOBS_MAX];
		struct lx_lxc_input in = input(&config);
		int n = lx_limits_plan(&config, &host, knobs, NULL);

		assert_true(n > 0);
		in.knobs = knobs;
		in.n_knobs = (size_t)n;
		assert_int_equal(generate(&in, &parsed, NULL), 0);
		assert_true((value_of(&parsed, bits & 1 ? "lxc.cgroup2.memory.max"
							: "lxc.cgroup.memory.limit_in_bytes") != NULL) ==
			    (i % 3 != 0));
		assert_true(
			(value_of(&parsed, bits & 4 ? "lxc.cgroup2.cpuset.cpus" : "lxc.cgroup.cpuset.cpus") !=
			 NULL) == (i / 3 % 3 == 2));
	}
}

/* ------------------------------------------------------------------ hostile input */

static const char *const hostile[] = {
	"x\nlxc.hook.pre-start = /bin/sh", "x\r", "\x1b[0m", "x\ty\x01", "\n", "x\x7f"
};

static void refuses_lines_in_texts(void **state)
{
	lx_automap struct lx_map config = EMPTY_MAP;
	struct lx_lxc_input in = input(&config);
	struct lx_lxc_nic nic = nic0;
	struct lx_knob knob = { .layout = LX_CGROUP_V2, .file = "pids.max" };
	const char **const texts[] = {
		&in.name,    &in.rootfs,        &in.cgroup_root,   &in.hostname,
		&in.init,    &in.seccomp_path,  &in.log_path,      &nic.name,
		&nic.bridge, &nic.host_name,    &nic.hwaddr,       &nic.ipv4,
		&nic.ipv6,   &nic.ipv4_gateway, &nic.ipv6_gateway, &in.apparmor_label,
	};

	in.apparmor = true;
	in.apparmor_label = "x";
	in.nics = &nic;
	assert_int_equal(generate(&in, &parsed, NULL), 0);
	for (size_t t = 0; t < LX_ARRAY_SIZE(texts); t++) {
		const char *good = *texts[t];

		for (size_t i = 0; i < LX_ARRAY_SIZE(hostile); i++) {
			struct lx_err err = LX_ERR_INIT;

			*texts[t] = hostile[i];
			assert_int_equal(generate(&in, &parsed, &err), -EINVAL);
			assert_int_equal(err.code, LX_INVALID_ARGUMENT);
		}
		*texts[t] = good;
	}
	in.knobs = &knob;
	in.n_knobs = 1;
	for (size_t i = 0; i < LX_ARRAY_SIZE(hostile); i++) {
		snprintf(knob.value, sizeof(knob.value), "%s", hostile[i]);
		assert_int_equal(generate(&in, &parsed, NULL), -EINVAL);
	}
}

static void refuses_lines_in_the_environment(void **state)
{
	for (size_t i = 0; i < LX_ARRAY_SIZE(hostile); i++) {
		lx_automap struct lx_map value = map_of("environment.A", hostile[i], NULL);
		lx_automap struct lx_map rlimit = map_of("limits.kernel.core", hostile[i], NULL);
		lx_autofree char *key = lx_asprintf("environment.%s", hostile[i]);
		lx_automap struct lx_map name = map_of(key, "1", NULL);
		struct lx_lxc_input in = input(&value);

		assert_int_equal(generate(&in, &parsed, NULL), -EINVAL);
		in.config = &name;
		assert_int_equal(generate(&in, &parsed, NULL), -EINVAL);
		in.config = &rlimit;
		assert_int_equal(generate(&in, &parsed, NULL), -EINVAL);
	}
}

static void refuses_what_liblxc_would_misread(void **state)
{
	lx_automap struct lx_map config = EMPTY_MAP;
	static const char *const inits[] = {
		"", " /sbin/init", "/sbin/init ", "\"/sbin/init\"", "'/x'", NULL
	};
	static const char *const addresses[] = { "10.0.0.1", "10.0.0.1/0", "10.0.0.1/33",
						 "/16",      "10.0.0/8",   "x/8" };
	static const char *const names[] = { "", "..", "a/b", "Web", "-a" };
	struct lx_lxc_nic nic = nic0;
	struct lx_lxc_input in = input(&config);

	in.nics = &nic;
	for (size_t i = 0; i < LX_ARRAY_SIZE(inits); i++) {
		in.init = inits[i];
		assert_int_equal(generate(&in, &parsed, NULL), -EINVAL);
	}
	in.init = "/bin/sh -c \"exec /sbin/init\"";
	for (size_t i = 0; i < LX_ARRAY_SIZE(addresses); i++) {
		nic.ipv4 = addresses[i];
		assert_int_equal(generate(&in, &parsed, NULL), -EINVAL);
	}
	nic.ipv4 = "";
	for (size_t i = 0; i < LX_ARRAY_SIZE(names); i++) {
		in.name = names[i];
		assert_int_equal(generate(&in, &parsed, NULL), -EINVAL);
	}
	in.name = "web1";
	assert_int_equal(generate(&in, &parsed, NULL), 0);
}

static void refuses_ids_that_are_not_a_range(void **state)
{
	static const uint32_t bad[][2] = { { 0, 65536 }, { 1000000, 0 }, { UINT32_MAX - 65535, 65536 } };
	lx_automap struct lx_map config = EMPTY_MAP;
	struct lx_lxc_input in = input(&config);

	for (size_t i = 0; i < LX_ARRAY_SIZE(bad); i++) {
		in.idmap_base = bad[i][0];
		in.idmap_size = bad[i][1];
		assert_int_equal(generate(&in, &parsed, NULL), -EINVAL);
	}
}

/* Where the node has it, and only what it has; what must be there is not left out. */
static void shows_the_guest_itself(void **state)
{
	static const char meminfo[] = "lxc.mount.entry = /var/lib/l\\040x/proc/meminfo proc/meminfo none "
				      "bind,ro,nosuid,nodev,noexec";
	static const struct {
		const char *value;
		bool optional;
	} t[] = { { NULL, true }, { "auto", true }, { "on", false } };

	for (size_t i = 0; i < LX_ARRAY_SIZE(t); i++) {
		lx_automap struct lx_map config = map_of(t[i].value ? LX_KEY_LXCFS : NULL, t[i].value, NULL);
		struct lx_lxc_input in = input(&config);
		lx_autobuf struct lx_buf out = { 0 };

		in.lxcfs_dir = "/var/lib/l x";
		in.lxcfs = 1u << lx_lxcfs_file_at("/proc/meminfo");
		assert_int_equal(lx_lxc_config(&in, &out, NULL), 0);
		const char *line = strstr(lx_buf_str(&out), meminfo);

		assert_non_null(line);
		line += strlen(meminfo);
		assert_int_equal(
			strncmp(line, t[i].optional ? ",optional 0 0\n" : " 0 0\n", t[i].optional ? 14 : 5),
			0);
		assert_null(strstr(lx_buf_str(&out), "proc/stat"));
		/* Over the guest's own, which is mounted before. */
		assert_true(strstr(lx_buf_str(&out), "lxc.mount.auto") < line);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_the_golden_text),
		cmocka_unit_test(follows_the_guest_and_host),
		cmocka_unit_test(confines_as_asked),
		cmocka_unit_test(mounts_devices),
		cmocka_unit_test(shows_the_guest_itself),
		cmocka_unit_test(writes_several_nics),
		cmocka_unit_test(computes_broadcasts),
		cmocka_unit_test(takes_every_plan),
		cmocka_unit_test(refuses_lines_in_texts),
		cmocka_unit_test(refuses_lines_in_the_environment),
		cmocka_unit_test(refuses_what_liblxc_would_misread),
		cmocka_unit_test(refuses_ids_that_are_not_a_range),
	};

	return cmocka_run_group_tests_name("profiles: liblxc configuration", tests, NULL, NULL);
}
