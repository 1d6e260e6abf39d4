/*
 * The table of configuration keys: the one place that says which there are. Checks, help,
 * completion, the man page and "did you mean" come from it. A key is in it when it acts,
 * and only then.
 */
#include "profiles/profiles.h"

#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "profiles/apparmor_namespace.h"
#include "profiles/check.h"
#include "profiles/intercept_mount.h"
#include "profiles/lxcfs.h"

#define MIB (UINT64_C(1) << 20)

/* A guest that boots needs more; below this not even a shell starts. */
#define MEMORY_MIN           (4 * MIB)
#define MEMORY_MAX           (UINT64_C(1) << 60)
#define PROCESSES_MAX        4194304 /* the kernel's PID_MAX_LIMIT */
#define SHUTDOWN_TIMEOUT_MAX 86400
#define NOFILE_MAX           1073741816 /* fs.nr_open cannot be set higher */
#define DISK_RATE_MIN        65536      /* bytes a second */
#define RATE_MIN             8000       /* bytes a second: 64 kbit */
#define RATE_MAX             2000000000 /* what tc's token bucket takes */
#define RLIMIT_MAX           INT64_MAX
#define MTU_MIN              1280 /* IPv6 */
#define MTU_MAX              65535
#define TMPFS_MIN            (UINT64_C(64) << 10)
#define GUEST_ID_MAX         65535 /* of the ids each container has */
#define DEVICE_MAJOR_MAX     4095
#define PROJECT_NUMBER_MAX   1000000000
#define SNAPSHOTS_MAX        1000
#define DEVICE_MINOR_MAX     1048575

static const char *const bools[] = { "true", "false", NULL };
static const char *const apparmor[] = { "auto", "enforce", "complain", "unconfined", NULL };
static const char *const none[] = { "none", NULL };
static const char *const autostart[] = { "true", "false", "last-state", NULL };
static const char *const move_memory[] = { "auto", "content", "soft-dirty", "stop-and-copy", NULL };
static const char *const lxcfs[] = { "auto", "on", "off", NULL };
static const char *const disk[] = { "disk", NULL };
static const char *const nic[] = { "nic", NULL };
static const char *const unix_char[] = { "unix-char", NULL };
static const char *const unix_block[] = { "unix-block", NULL };
static const char *const proxy[] = { "proxy", NULL };
static const char *const sides[] = { "host", "instance", NULL };

/* A row; what not every row has (.values, .min, .max, .required) comes last. */
#define KEY(whose, when, its_name, its_type, its_default, its_check, its_help, ...)                          \
	{                                                                                                    \
		.subject = LX_KEY_##whose, .scope = LX_KEY_##when, .name = its_name, .type = its_type,       \
		.def = its_default, .check = lx_check_##its_check, .help = its_help, __VA_ARGS__             \
	}

/* limits.kernel.*: rlimits of init, which every process of the guest inherits. */
#define RLIMIT(resource, greatest, what)                                                                     \
	KEY(INSTANCE, RESTART, "limits.kernel." resource, "rlimit", "", rlimit, what " (soft:hard, or one)", \
	    .max = (greatest))

/* The two types of device nodes have the same options. */
#define NODE(whose, its_type, its_values)                                                                    \
	KEY(whose, RESTART, "type", "enum", "", enum, its_type, .values = (its_values), .required = true),   \
		KEY(whose, RESTART, "source", "path", "", host_path,                                         \
		    "Device node on the machine; not needed with path, major and minor"),                    \
		KEY(whose, RESTART, "path", "path", "", guest_path,                                          \
		    "Where it is in the guest; default: as on the machine"),                                 \
		KEY(whose, RESTART, "major", "integer", "", integer,                                         \
		    "Major number; default: that of the source", .max = DEVICE_MAJOR_MAX),                   \
		KEY(whose, RESTART, "minor", "integer", "", integer,                                         \
		    "Minor number; default: that of the source", .max = DEVICE_MINOR_MAX),                   \
		KEY(whose, RESTART, "mode", "mode", "660", mode, "Its permissions in the guest"),            \
		KEY(whose, RESTART, "uid", "integer", "0", integer, "Its owner in the guest",                \
		    .max = GUEST_ID_MAX),                                                                    \
		KEY(whose, RESTART, "gid", "integer", "0", integer, "Its group in the guest",                \
		    .max = GUEST_ID_MAX),                                                                    \
		KEY(whose, RESTART, "required", "bool", "true", bool,                                        \
		    "Without the source no start; false: then it is left out", .values = bools)

/* clang-format off */
static const struct lx_config_key keys[] = {
	KEY(INSTANCE, LIVE, "boot.autostart", "bool", "last-state", autostart,
	    "Start it when its machine starts; last-state: if it ran before", .values = autostart),
	KEY(INSTANCE, LIVE, "boot.autostart.priority", "integer", "0", integer,
	    "Higher ones start first when the machine starts", .max = 1000000),
	KEY(INSTANCE, LIVE, "boot.host_shutdown_timeout", "duration", "30", duration,
	    "How long a clean stop may take, in seconds", .min = 1, .max = SHUTDOWN_TIMEOUT_MAX),
	KEY(INSTANCE, LIVE, "environment.*", "string", "", environment,
	    "Environment variable, for exec at once and for init from its next start"),
	KEY(INSTANCE, LIVE, "limits.cpu", "cpus", "", cpus,
	    "The time of that many CPUs (2: the guest still sees all), or only these CPUs (0,2-3)"),
	KEY(INSTANCE, LIVE, "limits.cpu.allowance", "allowance", "100%", allowance,
	    "Weight when CPUs are scarce (50%), or a hard bound in time (25ms/100ms)"),
	RLIMIT("as", RLIMIT_MAX, "Bytes of address space of a process"),
	RLIMIT("core", RLIMIT_MAX, "Bytes of a core dump"),
	RLIMIT("cpu", RLIMIT_MAX, "Seconds of CPU time of a process"),
	RLIMIT("data", RLIMIT_MAX, "Bytes of data segment of a process"),
	RLIMIT("fsize", RLIMIT_MAX, "Bytes of a file a process writes"),
	RLIMIT("memlock", RLIMIT_MAX, "Bytes of memory a process may lock"),
	RLIMIT("msgqueue", RLIMIT_MAX, "Bytes in POSIX message queues of a user"),
	RLIMIT("nice", 40, "Ceiling of the nice value, as 20 minus it"),
	RLIMIT("nofile", NOFILE_MAX, "Open files of a process"),
	RLIMIT("nproc", RLIMIT_MAX, "Processes of a user"),
	RLIMIT("rtprio", 99, "Ceiling of the real-time priority"),
	RLIMIT("rttime", RLIMIT_MAX, "Microseconds of real-time CPU use without a blocking call"),
	RLIMIT("sigpending", RLIMIT_MAX, "Queued signals of a user"),
	RLIMIT("stack", RLIMIT_MAX, "Bytes of stack of a process"),
	KEY(INSTANCE, LIVE, "limits.memory", "size", "", memory,
	    "Memory: a size (512MiB) or a part of the machine's (50%)", .min = MEMORY_MIN, .max = MEMORY_MAX),
	KEY(INSTANCE, LIVE, "limits.memory.soft", "size", "", memory,
	    "Above it its memory is taken back first (cgroup v2: it is slowed as well); up to limits.memory",
	    .min = MEMORY_MIN, .max = MEMORY_MAX),
	KEY(INSTANCE, LIVE, "limits.memory.swap", "size", "true", swap,
	    "Swap besides: true (any), false (none) or a size", .max = MEMORY_MAX),
	KEY(INSTANCE, LIVE, "limits.processes", "integer", "", integer,
	    "Processes and threads", .min = 1, .max = PROCESSES_MAX),
	KEY(INSTANCE, LIVE, "migration.memory", "enum", "auto", enum,
	    "How a live move copies memory ahead: auto, content, soft-dirty or stop-and-copy (not at all)",
	    .values = move_memory),
	KEY(INSTANCE, LIVE, "placement.labels", "labels", "", labels,
	    "Labels of nodes it may be put on, all of them (disk=ssd,gpu); acts when it is placed"),
	KEY(INSTANCE, RESTART, "raw.apparmor", "rules", "", apparmor_rules,
	    "Rules put at the end of the instance's AppArmor profile, one a line"),
	KEY(INSTANCE, RESTART, "security.apparmor", "lsm", "auto", apparmor,
	    "auto (enforce where there is AppArmor), enforce, complain, unconfined, or a profile of the node's",
	    .values = apparmor),
	KEY(INSTANCE, RESTART, LX_KEY_APPARMOR_NAMESPACE, "bool", "false", bool,
	    "Let its root load AppArmor profiles, which bind inside it, where its node's kernel can",
	    .values = bools),
	KEY(INSTANCE, RESTART, "security.capabilities.drop", "capabilities", "", capabilities,
	    "Capabilities no process of it may ever have, besides the default ones (net_raw,sys_ptrace)"),
	KEY(INSTANCE, RESTART, "security.capabilities.keep", "capabilities", "", capabilities,
	    "Only these capabilities, or none; default: all but the default ones", .values = none),
	KEY(INSTANCE, RESTART, LX_KEY_LXCFS, "enum", "auto", enum,
	    "Show it its own memory and CPUs in /proc, by lxcfs: on, off, auto (where its node has lxcfs)",
	    .values = lxcfs),
	KEY(INSTANCE, RESTART, "security.nesting", "bool", "false", bool,
	    "Make it fit for containers inside: Docker, podman, LXC", .values = bools),
	KEY(INSTANCE, RESTART, "security.no_new_privileges", "bool", "false", bool,
	    "Programs inside gain nothing from being setuid or having file capabilities", .values = bools),
	KEY(INSTANCE, RESTART, "security.privileged", "bool", "false", bool,
	    "No user namespace: its root is the machine's, with few of its rights; set at launch only",
	    .values = bools),
	KEY(INSTANCE, RESTART, "security.selinux.context", "label", "", selinux,
	    "SELinux context its processes run in (USER:ROLE:TYPE:LEVEL); only where there is SELinux"),
	KEY(INSTANCE, RESTART, "security.syscalls.allow", "syscalls", "", syscalls_allowed,
	    "Only these system calls: names, and @guest for what a full guest needs; others do not exist"),
	KEY(INSTANCE, RESTART, "security.syscalls.deny", "syscalls", "", syscalls,
	    "System calls to refuse (EPERM) besides the default ones"),
	KEY(INSTANCE, RESTART, "security.syscalls.deny_compat", "bool", "false", bool,
	    "Refuse system calls of 32-bit programs (ENOSYS): none runs then", .values = bools),
	KEY(INSTANCE, RESTART, "security.syscalls.deny_default", "bool", "true", bool,
	    "Refuse system calls no guest needs; those that bar a live move are refused always", .values = bools),
	KEY(INSTANCE, RESTART, "security.syscalls.intercept.mknod", "bool", "false", bool,
	    "Let it make harmless device nodes: null, zero, full, random, urandom, tty", .values = bools),
	KEY(INSTANCE, RESTART, LX_KEY_MOUNT, "bool", "false", bool,
	    "Let it mount file systems on block devices that it was given (admins only)", .values = bools,
	    .admin = true),
	KEY(INSTANCE, RESTART, LX_KEY_MOUNT_ALLOWED, "file-systems", "", file_systems,
	    "Which ones: ext4, xfs, vfat, squashfs (admins only)", .admin = true),
	KEY(INSTANCE, RESTART, "security.syscalls.intercept.setxattr", "bool", "false", bool,
	    "Let it mark directories as opaque for overlayfs (trusted.overlay.opaque=y)", .values = bools),
	KEY(INSTANCE, RESTART, "security.syscalls.intercept.sysinfo", "bool", "false", bool,
	    "Answer sysinfo(2) with its own memory, swap, processes and uptime", .values = bools),
	KEY(INSTANCE, RESTART, "security.syscalls.log", "bool", "false", bool,
	    "Tell of refused system calls (lxmgr events), for writing a policy; costs its node time",
	    .values = bools),
	KEY(INSTANCE, RESTART, "security.sysfs.readonly", "bool", "false", bool,
	    "Mount /sys read-only, but for its cgroups", .values = bools),
	KEY(INSTANCE, LIVE, LX_KEY_SNAPSHOTS_MAX, "integer", "32", integer,
	    "How many snapshots it may have; each takes up to what its root disk does, beside it",
	    .max = SNAPSHOTS_MAX),
	KEY(INSTANCE, LIVE, "user.*", "string", "", text,
	    "Anything you want to keep with it"),

	/* Quotas: what all instances together are bounded to, and how many there may be (lxmgr/quota.h). */
	KEY(PROJECT, LIVE, "limits.cpu", "integer", "", integer,
	    "The sum of its instances' limits.cpu, which each must then have as a number",
	    .max = PROJECT_NUMBER_MAX),
	KEY(PROJECT, LIVE, "limits.disk", "size", "", size,
	    "The sum of the sizes of its instances' root disks, which each must have, and of their snapshots",
	    .max = MEMORY_MAX),
	KEY(PROJECT, LIVE, "limits.images", "integer", "", integer,
	    "Images of its own, with those that are being made", .max = PROJECT_NUMBER_MAX),
	KEY(PROJECT, LIVE, "limits.instances", "integer", "", integer,
	    "Instances, running or not", .max = PROJECT_NUMBER_MAX),
	KEY(PROJECT, LIVE, "limits.memory", "size", "", size,
	    "The sum of its instances' limits.memory, which each must then have as a size",
	    .max = MEMORY_MAX),
	KEY(PROJECT, LIVE, "limits.networks", "integer", "", integer,
	    "Networks of its own", .max = PROJECT_NUMBER_MAX),
	KEY(PROJECT, LIVE, "limits.processes", "integer", "", integer,
	    "The sum of its instances' limits.processes, which each must then have", .max = PROJECT_NUMBER_MAX),
	KEY(PROJECT, LIVE, "restricted.interception", "bool", "false", bool,
	    "No instance may have security.syscalls.intercept.*", .values = bools),
	KEY(PROJECT, LIVE, "restricted.lowlevel", "bool", "false", bool,
	    "No instance may have raw.apparmor or a security.apparmor profile of the node's own",
	    .values = bools),
	KEY(PROJECT, LIVE, "restricted.nesting", "bool", "false", bool,
	    "No instance may have security.nesting or " LX_KEY_APPARMOR_NAMESPACE, .values = bools),
	KEY(PROJECT, LIVE, "restricted.networks", "names", "", names,
	    "The shared networks its instances may use (lxbr0,lxbr1), or none; default: all", .values = none),
	KEY(PROJECT, LIVE, "restricted.privileged", "bool", "false", bool,
	    "No instance may have security.privileged; projects are made with true", .values = bools),
	KEY(PROJECT, LIVE, "user.*", "string", "", text,
	    "Anything you want to keep with it"),

	KEY(DISK, RESTART, "type", "enum", "", enum,
	    "disk: a file system", .values = disk, .required = true),
	KEY(DISK, RESTART, "path", "path", "", guest_path,
	    "Where it is in the guest: / is the root file system", .required = true),
	KEY(DISK, RESTART, "source", "path", "", disk_source,
	    "Directory or file of the machine (admins only), or tmpfs: for memory; none for the root"),
	KEY(DISK, LIVE, "size", "size", "", size,
	    "Root: how much its own files may take, at once; tmpfs: what it holds, default half the memory",
	    .min = TMPFS_MIN, .max = MEMORY_MAX),
	KEY(DISK, RESTART, "readonly", "bool", "false", bool,
	    "The guest may not write to it", .values = bools),
	KEY(DISK, RESTART, "optional", "bool", "false", bool,
	    "Start without it where the machine has no such source", .values = bools),
	KEY(DISK, RESTART, "recursive", "bool", "false", bool,
	    "With what is mounted below the source when the instance starts", .values = bools),
	KEY(DISK, LIVE, "limits.max", "disk-rate", "", disk_rate,
	    "Reading and writing alike, where they have no bound of their own", .min = DISK_RATE_MIN),
	KEY(DISK, LIVE, "limits.read", "disk-rate", "", disk_rate,
	    "Bytes (20MB) or operations (500iops) a second that are read from the disk", .min = DISK_RATE_MIN),
	KEY(DISK, LIVE, "limits.write", "disk-rate", "", disk_rate,
	    "The same written to it (with cgroup v1: direct and synchronous writes)", .min = DISK_RATE_MIN),

	KEY(NIC, RESTART, "type", "enum", "", enum,
	    "nic: a network card", .values = nic, .required = true),
	KEY(NIC, RESTART, "network", "name", "", name,
	    "Managed network to plug into", .required = true),
	KEY(NIC, RESTART, "name", "string", "", ifname,
	    "Interface name in the guest; default: the device's name"),
	KEY(NIC, RESTART, "hwaddr", "mac", "", hwaddr,
	    "MAC address; default: one made up for the instance"),
	KEY(NIC, RESTART, "ipv4.address", "ipv4", "", ipv4,
	    "Fixed IPv4 address, or none; default: a lease"),
	KEY(NIC, RESTART, "ipv6.address", "ipv6", "", ipv6,
	    "Fixed IPv6 address, or none; default: a lease"),
	KEY(NIC, RESTART, "mtu", "integer", "", integer,
	    "MTU; default: the network's", .min = MTU_MIN, .max = MTU_MAX),
	KEY(NIC, LIVE, "limits.egress", "rate", "", rate,
	    "Bits a second that the guest may send (100Mbit)", .min = RATE_MIN, .max = RATE_MAX),
	KEY(NIC, LIVE, "limits.ingress", "rate", "", rate,
	    "Bits a second that the guest receives", .min = RATE_MIN, .max = RATE_MAX),
	KEY(NIC, LIVE, "limits.max", "rate", "", rate,
	    "Both directions, where they have no smaller bound of their own", .min = RATE_MIN, .max = RATE_MAX),
	KEY(NIC, LIVE, "limits.priority", "integer", "0", integer,
	    "Priority of what it sends, in its machine's queues (skb priority); 0: the kernel's choice",
	    .max = LX_NIC_PRIORITY_MAX),
	KEY(NIC, LIVE, "security.ipv4_filtering", "bool", "true", bool,
	    "Drop IPv4 and ARP of addresses that are not its own, and DHCP server answers", .values = bools),
	KEY(NIC, LIVE, "security.ipv6_filtering", "bool", "true", bool,
	    "The same for IPv6, neighbour and router advertisements (lease, link-local by MAC)", .values = bools),
	KEY(NIC, LIVE, "security.mac_filtering", "bool", "true", bool,
	    "Drop frames from other MAC addresses than its own", .values = bools),
	KEY(NIC, LIVE, "security.port_isolation", "bool", "false", bool,
	    "Do not let it reach other cards on its machine that have this too", .values = bools),

	NODE(UNIX_CHAR, "unix-char: a character device of the machine (admins only)", unix_char),
	NODE(UNIX_BLOCK, "unix-block: a block device of the machine (admins only)", unix_block),

	KEY(PROXY, LIVE, "type", "enum", "", enum,
	    "proxy: connections passed on between machine and guest (admins only)", .values = proxy,
	    .required = true),
	KEY(PROXY, LIVE, "listen", "address", "", proxy_address,
	    "Where they are taken: tcp:ADDRESS:PORT[-PORT], udp:..., unix:/PATH, unix:@NAME",
	    .required = true),
	KEY(PROXY, LIVE, "connect", "address", "", proxy_address,
	    "Where they are passed on to, on the other side; one port, or as many as listen has",
	    .required = true),
	KEY(PROXY, LIVE, "bind", "enum", "host", enum,
	    "Which side listens: host (the machine) or instance", .values = sides),
	KEY(PROXY, LIVE, "mode", "mode", "660", mode, "Permissions of a listening unix:/PATH"),
	KEY(PROXY, LIVE, "uid", "integer", "0", integer, "Its owner, as seen where it is", .max = GUEST_ID_MAX),
	KEY(PROXY, LIVE, "gid", "integer", "0", integer, "Its group, as seen where it is", .max = GUEST_ID_MAX),
};
/* clang-format on */

const char *const lx_key_subject_names[] = {
	[LX_KEY_INSTANCE] = "instance",          [LX_KEY_PROJECT] = "project",
	[LX_KEY_DISK] = "device disk",           [LX_KEY_NIC] = "device nic",
	[LX_KEY_UNIX_CHAR] = "device unix-char", [LX_KEY_UNIX_BLOCK] = "device unix-block",
	[LX_KEY_PROXY] = "device proxy",
};
const size_t lx_n_key_subjects = LX_ARRAY_SIZE(lx_key_subject_names);

const struct lx_config_key *lx_config_keys(size_t *n)
{
	*n = LX_ARRAY_SIZE(keys);
	return keys;
}

/* Whether a row stands for this name: itself, or a member of its family. */
static bool stands_for(const struct lx_config_key *key, const char *name)
{
	size_t n = strlen(key->name);

	if (key->name[n - 1] != '*')
		return strcmp(key->name, name) == 0;
	return strncmp(key->name, name, n - 1) == 0 && name[n - 1];
}

const struct lx_config_key *lx_config_key_find(enum lx_key_subject subject, const char *name)
{
	for (size_t i = 0; i < LX_ARRAY_SIZE(keys); i++)
		if (keys[i].subject == subject && stands_for(&keys[i], name))
			return &keys[i];
	return NULL;
}

static void range_of_values(const char *const *values, struct lx_key_range *r)
{
	size_t at = 0;

	for (; *values && at < sizeof(r->text); values++)
		at += (size_t)snprintf(r->text + at, sizeof(r->text) - at, "%s%s", at ? ", " : "", *values);
}

/* Sizes from a least one up: a greatest that nobody reaches says nothing. */
static void range_of_sizes(const struct lx_config_key *key, struct lx_key_range *r)
{
	char least[LX_SIZE_TEXT_MAX];

	snprintf(r->text, sizeof(r->text), "%s or more", lx_format_size(key->min, least, sizeof(least)));
}

const char *lx_config_key_range(const struct lx_config_key *key, struct lx_key_range *r)
{
	r->text[0] = '\0';
	if (key->values && (strcmp(key->type, "bool") == 0 || strcmp(key->type, "enum") == 0))
		range_of_values(key->values, r);
	else if (strcmp(key->type, "size") == 0 && key->min > 0)
		range_of_sizes(key, r);
	else if (strcmp(key->type, "rate") == 0)
		snprintf(r->text, sizeof(r->text), "64kbit to 16Gbit");
	else if (strcmp(key->type, "disk-rate") == 0)
		snprintf(r->text, sizeof(r->text), "64KiB or more, or operations: 500iops");
	else if (strcmp(key->type, "size") != 0 && key->max == RLIMIT_MAX)
		snprintf(r->text, sizeof(r->text), "%llu or more, unlimited", (unsigned long long)key->min);
	else if (strcmp(key->type, "size") != 0 && key->max > 0)
		snprintf(r->text, sizeof(r->text), "%llu to %llu", (unsigned long long)key->min,
			 (unsigned long long)key->max);
	return r->text;
}

const char *lx_config_get(const struct lx_map *config, const char *key)
{
	const char *value = lx_map_get(config, key);

	if (!lx_str_empty(value))
		return value;
	const struct lx_config_key *row = lx_config_key_find(LX_KEY_INSTANCE, key);

	return row ? row->def : NULL;
}
