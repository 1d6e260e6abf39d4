/*
 * Judging one thing after the other. The tables hold what was found to be so with CRIU 4.2:
 * it has a list of what it can dump and refuses what is not on it, so lists here name what
 * can be moved, and texts for what is known to be met; anything else is an obstacle too,
 * with a more general text.
 */
#include "migration/preflight_judge.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "migration/lxcfs_mounts.h"
#include "migration/preflight.h"
#include "migration/proc_text.h"
#include "profiles/host_device.h"

/* A path from the guest, fit for a message. */
#define SHOWN_MAX 200

static void say(struct lx_verdict *v, const char *code, const char *cure, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
static void say(struct lx_verdict *v, const char *code, const char *cure, const char *fmt, ...)
{
	va_list ap;

	v->code = code;
	snprintf(v->cure, sizeof(v->cure), "%s", cure);
	va_start(ap, fmt);
	vsnprintf(v->what, sizeof(v->what), fmt, ap);
	va_end(ap);
}

/* ---- namespaces ---- */

static const struct {
	const char *kind, *name, *settings, *values;
} namespaces[] = {
	{ "uts", "UTS", "ProtectHostname", "no" },
	{ "user", "user", "PrivateUsers", "no" },
	{ "ipc", "IPC", "PrivateIPC", "no" },
	{ "pid", "PID", "PrivatePIDs", "no" },
	{ "pid_for_children", "PID", "PrivatePIDs", "no" },
	{ "cgroup", "cgroup", "ProtectControlGroups", "yes" },
	{ "net", "network", "PrivateNetwork", "no" },
	{ "time", "time", NULL, NULL },
	{ "time_for_children", "time", NULL, NULL },
};

void lx_judge_namespace(const char *kind, const char *unit, struct lx_verdict *v)
{
	const char *name = kind, *settings = NULL, *values = NULL;
	char cure[LX_VERDICT_TEXT_MAX];

	memset(v, 0, sizeof(*v));
	for (size_t i = 0; i < LX_ARRAY_SIZE(namespaces); i++) {
		if (lx_streq(kind, namespaces[i].kind)) {
			name = namespaces[i].name;
			settings = namespaces[i].settings;
			values = namespaces[i].values;
		}
	}
	if (settings && lx_ends_with(unit, ".service"))
		snprintf(cure, sizeof(cure),
			 "If the unit asks for it, switch it off with a drop-in, inside: systemctl edit %s, "
			 "[Service] "
			 "%s=%s; then restart it. Else stop what made the namespace.",
			 unit, settings, values);
	else if (*unit)
		snprintf(cure, sizeof(cure), "Stop it, inside, for the time of the move: systemctl stop %s",
			 unit);
	else
		snprintf(cure, sizeof(cure), "End the process for the time of the move.");
	say(v, "nested-namespace", cure, "lives in a %s namespace of its own", name);
}

/* ---- descriptors ---- */

#define STOP_IT "Stop it for the time of the move, or move the instance with a short stop."
#define NO_IO_URING                                                                                          \
	"Configure it to do without (MariaDB: innodb_use_native_aio=OFF; Node.js: UV_USE_IO_URING=0), then " \
	"restart it."

/* What /proc says after "anon_inode:". */
static const struct {
	const char *name, *code, *what, *cure; /* code NULL: it can be moved */
} anon[] = {
	{ "[eventfd]", NULL, NULL, NULL },
	{ "[eventpoll]", NULL, NULL, NULL },
	{ "inotify", NULL, NULL, NULL },
	{ "[fanotify]", NULL, NULL, NULL },
	{ "[signalfd]", NULL, NULL, NULL },
	{ "[timerfd]", NULL, NULL, NULL },
	{ "[pidfd]", NULL, NULL, NULL },
	{ "[io_uring]", "io-uring", "uses io_uring", NO_IO_URING },
	{ "bpf-map", "bpf", "holds a BPF map", STOP_IT },
	{ "bpf-prog", "bpf", "holds a BPF program", STOP_IT },
	{ "bpf_link", "bpf", "holds a BPF link", STOP_IT },
	{ "bpf-link", "bpf", "holds a BPF link", STOP_IT },
	{ "bpf-token", "bpf", "holds a BPF token", STOP_IT },
	{ "btf", "bpf", "holds BPF type data", STOP_IT },
	{ "[perf_event]", "perf-event", "measures with performance counters", "End the measurement." },
	{ "kvm-vm", "kvm", "runs a virtual machine", "Shut the virtual machine down first." },
	{ "[userfaultfd]", "userfaultfd", "handles page faults of its own (userfaultfd)", STOP_IT },
	{ "[landlock-ruleset]", "landlock", "prepares a Landlock sandbox", "Try again in a moment." },
	{ "[dmabuf]", "dri", "holds a graphics buffer", STOP_IT },
	{ "seccomp notify", "anon-file", "supervises system calls of another (seccomp notify)", STOP_IT },
};

static void judge_anon(const char *name, const struct lx_judge_fd *fd, struct lx_verdict *v)
{
	char shown[SHOWN_MAX];

	for (size_t i = 0; i < LX_ARRAY_SIZE(anon); i++) {
		if (!lx_streq(name, anon[i].name))
			continue;
		if (anon[i].code)
			say(v, anon[i].code, anon[i].cure, "%s (descriptor %d)", anon[i].what, fd->fd);
		return;
	}
	if (lx_starts_with(name, "kvm-")) {
		say(v, "kvm", "Shut the virtual machine down first.",
		    "runs a virtual machine (descriptor %d)", fd->fd);
		return;
	}
	lx_proc_printable(name, strlen(name), shown, sizeof(shown));
	say(v, "anon-file", STOP_IT, "holds descriptor %d of a kind that cannot be moved: %s", fd->fd, shown);
}

/* Devices by number. A code of NULL: CRIU opens them again, or knows them. */
#define ANY UINT32_MAX
static const struct {
	char type;
	uint32_t major, minor;
	const char *code, *what, *cure;
} devices[] = {
	{ 'c', 1, ANY, NULL, NULL, NULL },  /* null, zero, full, random, urandom, kmsg */
	{ 'c', 5, 0, NULL, NULL, NULL },    /* tty */
	{ 'c', 5, 2, NULL, NULL, NULL },    /* ptmx */
	{ 'c', 10, 235, NULL, NULL, NULL }, /* autofs */
	{ 'c', 10, 229, "fuse", "serves a FUSE file system", "Unmount it inside first." },
	{ 'c', 10, 232, "kvm", "uses /dev/kvm", "Shut its virtual machines down first." },
	{ 'c', 10, 200, "device", "has a TUN or TAP interface",
	  "Stop it (a VPN, say) for the time of the move." },
	{ 'c', 226, ANY, "dri", "uses a graphics device",
	  "A graphics device stays with its node: remove it from the instance, or move it with a short "
	  "stop." },
	{ 'c', 195, ANY, "dri", "uses a graphics device",
	  "A graphics device stays with its node: remove it from the instance, or move it with a short "
	  "stop." },
};

static bool is_pty(uint32_t major)
{
	return major >= 128 && major <= 143;
}

static void judge_device(const struct lx_judge_fd *fd, struct lx_verdict *v)
{
	char type = S_ISCHR(fd->mode) ? 'c' : 'b', shown[SHOWN_MAX];

	lx_proc_printable(fd->link, strlen(fd->link), shown, sizeof(shown));
	if (type == 'c' && (is_pty(fd->major) || fd->major == 5) && !fd->mount_known) {
		say(v, "tty-host", "End the session it was started from, or restart it as a unit.",
		    "has a terminal of the node open (descriptor %d)", fd->fd);
		return;
	}
	if (type == 'c' && is_pty(fd->major))
		return;
	for (size_t i = 0; i < LX_ARRAY_SIZE(devices); i++) {
		if (devices[i].type != type || devices[i].major != fd->major ||
		    (devices[i].minor != ANY && devices[i].minor != fd->minor))
			continue;
		if (devices[i].code)
			say(v, devices[i].code, devices[i].cure, "%s (descriptor %d, %s)", devices[i].what,
			    fd->fd, shown);
		return;
	}
	say(v, "device", "Stop it for the time of the move, or remove the device from the instance.",
	    "has the device %s open (%c %u:%u, descriptor %d)", shown, type, fd->major, fd->minor, fd->fd);
}

/* Protocols that can be moved, as in /proc/net/protocols. */
static const char *const protocols[] = { "TCP",         "TCPv6", "UDP",     "UDPv6", "UDP-Lite",
					 "UDPLITEv6",   "RAW",   "RAWv6",   "PING",  "PINGv6",
					 "UNIX-STREAM", "UNIX",  "NETLINK", "PACKET" };
static const struct {
	const char *prefix, *code, *name, *cure;
} refused[] = {
	{ "MPTCP", "socket-mptcp", "Multipath TCP",
	  "Go programs use it for what listens: start them with GODEBUG=multipathtcp=0. For all: sysctl -w "
	  "net.mptcp.enabled=0 inside, then restart it." },
	{ "SCTP", "socket-sctp", "SCTP", STOP_IT },
	{ "AF_VSOCK", "socket-vsock", "vsock",
	  "It speaks with the hypervisor, which the node does not take along: stop it (a guest agent, "
	  "say)." },
};

static void judge_socket(const struct lx_judge_fd *fd, struct lx_verdict *v)
{
	char shown[SHOWN_MAX];

	if (!fd->socket)
		return;
	for (size_t i = 0; i < LX_ARRAY_SIZE(protocols); i++)
		if (lx_streq(fd->socket, protocols[i]))
			return;
	for (size_t i = 0; i < LX_ARRAY_SIZE(refused); i++) {
		if (lx_starts_with(fd->socket, refused[i].prefix)) {
			say(v, refused[i].code, refused[i].cure, "has a socket of %s (descriptor %d)",
			    refused[i].name, fd->fd);
			return;
		}
	}
	lx_proc_printable(fd->socket, strlen(fd->socket), shown, sizeof(shown));
	say(v, "socket", STOP_IT, "has a socket of protocol %s (descriptor %d)", shown, fd->fd);
}

/* "mnt:[4026531841]" and the like: a descriptor of a namespace. */
static bool is_namespace(const char *link)
{
	const char *colon = strchr(link, ':');

	return colon && colon[1] == '[' && lx_ends_with(link, "]") && !lx_starts_with(link, "pipe:") &&
	       !lx_starts_with(link, "socket:") && !lx_starts_with(link, "anon_inode:");
}

static void judge_file(const struct lx_judge_fd *fd, struct lx_verdict *v)
{
	char shown[SHOWN_MAX], size[LX_SIZE_TEXT_MAX];

	/* Memory with a name, not a file. */
	if (lx_starts_with(fd->link, "/memfd:") || lx_starts_with(fd->link, "/dev/zero (deleted)") ||
	    lx_starts_with(fd->link, "/anon_hugepage"))
		return;
	lx_proc_printable(fd->link, strlen(fd->link), shown, sizeof(shown));
	if (fd->lxcfs_ended) {
		say(v, "lxcfs", "Restart it: what it has open can be read no more.",
		    "has a file of an lxcfs open that has ended (descriptor %d, %s)", fd->fd, shown);
	} else if (lx_starts_with(fd->link, "/secretmem")) {
		say(v, "secretmem", STOP_IT, "has secret memory (memfd_secret), which nobody else can read");
	} else if (!fd->mount_known) {
		say(v, "file-outside", "End the session it was started from, or restart it as a unit.",
		    "has a file open that lies in no mount of the instance (descriptor %d, %s)", fd->fd,
		    shown);
	} else if (S_ISREG(fd->mode) && fd->nlink == 0 && fd->bytes > LX_MOVE_GHOST_MAX) {
		lx_format_size(fd->bytes, size, sizeof(size));
		say(v, "ghost-file", "Have it close the file: restart it, or reopen its logs.",
		    "holds a deleted file of %s open (descriptor %d, %s)", size, fd->fd, shown);
	}
}

void lx_judge_fd(const struct lx_judge_fd *fd, struct lx_verdict *v)
{
	memset(v, 0, sizeof(*v));
	if (lx_starts_with(fd->link, "anon_inode:")) {
		const char *name = fd->link + strlen("anon_inode:");

		if (lx_streq(name, "[pidfd]") && !fd->process_known)
			say(v, "pidfd", "It is gone as soon as the exec or shell session it belongs to ends.",
			    "holds a descriptor of a process that is not moved along (descriptor %d)",
			    fd->fd);
		else
			judge_anon(name, fd, v);
	} else if (S_ISSOCK(fd->mode)) {
		judge_socket(fd, v);
	} else if (S_ISCHR(fd->mode) || S_ISBLK(fd->mode)) {
		judge_device(fd, v);
	} else if (*fd->link == '/') {
		judge_file(fd, v);
	} else if (is_namespace(fd->link)) {
		if (!fd->mount_known)
			say(v, "file-outside", STOP_IT,
			    "holds a namespace that no process of the instance lives in (descriptor %d)",
			    fd->fd);
	} else if (!lx_starts_with(fd->link, "pipe:[")) {
		judge_anon(fd->link, fd, v);
	}
}

/* ---- memory ---- */

void lx_judge_mapping(const char *path, struct lx_verdict *v)
{
	char shown[SHOWN_MAX];

	memset(v, 0, sizeof(*v));
	lx_proc_printable(path, strlen(path), shown, sizeof(shown));
	if (lx_starts_with(path, "/secretmem"))
		say(v, "secretmem", STOP_IT, "has secret memory (memfd_secret), which nobody else can read");
	else if (lx_starts_with(path, "anon_inode:[io_uring]"))
		say(v, "io-uring", NO_IO_URING, "uses io_uring (mapped)");
	else if (lx_starts_with(path, "anon_inode:[perf_event]"))
		say(v, "perf-event", "End the measurement.", "measures with performance counters (mapped)");
	else if (lx_starts_with(path, "anon_inode:"))
		say(v, "anon-file", STOP_IT, "has memory of a kind that cannot be moved: %s", shown);
	else if (lx_streq(path, "[uprobes]"))
		say(v, "traced", "End the tracer.", "is traced with uprobes");
	else if (lx_starts_with(path, "/dev/dri/") || lx_starts_with(path, "/dev/nvidia"))
		say(v, "dri", STOP_IT, "has memory of a graphics device: %s", shown);
	else if (lx_starts_with(path, "/dev/") && !lx_starts_with(path, "/dev/zero") &&
		 !lx_starts_with(path, "/dev/shm/") && !lx_starts_with(path, "/dev/null") &&
		 !lx_starts_with(path, "/dev/hugepages/"))
		say(v, "device", STOP_IT, "has memory of a device: %s", shown);
}

/* ---- mounts ---- */

void lx_judge_lxcfs_silent(struct lx_verdict *v)
{
	memset(v, 0, sizeof(*v));
	say(v, "lxcfs", "Start lxcfs anew on its node.",
	    "it has files of lxcfs, which does not answer on its node");
}

/* What CRIU mounts anew, by fstype; ramfs is emptied before (quiesce.c). */
static const char *const movable[] = { "proc",   "sysfs",   "devtmpfs", "tmpfs",     "devpts",
				       "mqueue", "cgroup",  "cgroup2",  "tracefs",   "hugetlbfs",
				       "pstore", "fusectl", "debugfs",  "securityfs" };

static const struct {
	const char *prefix, *what, *cure;
} immovable[] = {
	{ "fuse", "a FUSE file system", "Unmount it inside first: umount -l." },
	{ "nfs", "a network file system", "Unmount it inside first, and mount it again after the move." },
	{ "cifs", "a network file system", "Unmount it inside first, and mount it again after the move." },
	{ "9p", "a network file system", "Unmount it inside first, and mount it again after the move." },
	{ "overlay", "an overlay mounted inside, as containers in the instance have it",
	  "Stop the containers inside (docker, podman) for the time of the move." },
	{ "autofs", "an automount point",
	  "Stop it inside: systemctl stop of the automount unit, or autofs." },
	{ "binfmt_misc", "handlers of foreign binaries",
	  "Unmount it inside: systemctl stop "
	  "proc-sys-fs-binfmt_misc.mount systemd-binfmt" },
	{ "ramfs", "a ramfs, whose content no dump holds", "Use a tmpfs instead." },
	{ "nsfs", "a pinned namespace (ip netns)", "Remove it inside first: ip netns delete." },
	{ "bpf", "the file system of BPF objects", "Unmount it inside first." },
};

/* The same file system as another mount that shows all of it. */
static bool has_whole(const struct lx_mounts *t, const struct lx_mount *m)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->m[i].major == m->major && t->m[i].minor == m->minor &&
		    lx_path_is_below(m->root, t->m[i].root))
			return true;
	return false;
}

static bool is_of_root(const struct lx_mounts *guest, const struct lx_mount *m)
{
	for (size_t i = 0; i < guest->n; i++)
		if (lx_mount_is_root(&guest->m[i]) && guest->m[i].major == m->major &&
		    guest->m[i].minor == m->minor)
			return true;
	return false;
}

void lx_judge_mount(const struct lx_mount *m, const struct lx_mounts *guest, const struct lx_mounts *outside,
		    struct lx_verdict *v)
{
	char point[SHOWN_MAX], fstype[SHOWN_MAX], root[SHOWN_MAX];
	bool known = false;

	memset(v, 0, sizeof(*v));
	/* The root is given to CRIU, and what is bound from it comes with it. So are files of lxcfs. */
	if (is_of_root(guest, m) || lx_mount_is_credentials(m) || lx_mount_is_lxcfs(m, guest))
		return;
	lx_proc_printable(m->point, strlen(m->point), point, sizeof(point));
	lx_proc_printable(m->fstype, strlen(m->fstype), fstype, sizeof(fstype));
	lx_proc_printable(m->root, strlen(m->root), root, sizeof(root));
	/* Its file system is mounted nowhere outside the instance's own monitor. */
	if (lx_streq(m->fstype, "tmpfs") && lx_streq(m->source, LX_DEVICE_NODES_SOURCE)) {
		say(v, "mount", "Remove the device from the instance, and restart it.",
		    "%s is a device of the node", point);
		return;
	}
	for (size_t i = 0; i < LX_ARRAY_SIZE(movable); i++)
		known |= lx_streq(m->fstype, movable[i]);
	if (known) {
		/* These are there on every node, or the guest's own. */
		if (lx_streq(m->fstype, "tmpfs") && has_whole(outside, m))
			say(v, "mount", "Remove the directory of the node from the instance.",
			    "%s is a directory of the node (%s)", point, root);
		return;
	}
	for (size_t i = 0; i < LX_ARRAY_SIZE(immovable); i++) {
		if (lx_starts_with(m->fstype, immovable[i].prefix)) {
			say(v, "mount", immovable[i].cure, "%s is %s (%s)", point, immovable[i].what, fstype);
			return;
		}
	}
	if (has_whole(outside, m))
		say(v, "mount", "Remove the directory of the node from the instance.",
		    "%s is a directory of the node (%s, %s)", point, root, fstype);
	else
		say(v, "mount", "Unmount it inside first.", "%s is a file system that cannot be moved (%s)",
		    point, fstype);
}
