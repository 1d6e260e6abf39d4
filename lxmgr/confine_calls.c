/*
 * The system calls the manager never makes.
 *
 * A list of what is refused rather than of what there is: which calls libc, SQLite, OpenSSL and
 * the modules of nsswitch.conf make differs from one release to the next, and a manager that stops
 * at an update of libc helps nobody. What is refused is what an intruder wants: other programs,
 * other processes' memory, namespaces and mounts, memory that is written and then run, and the
 * parts of the kernel in which faults are found most. Calls of another architecture (32-bit ones)
 * end the process.
 */
#include "lxmgr/confine.h"

#include <errno.h>
#include <linux/netlink.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "lib/cleanup.h"

/* Where clone(2) has its flags. */
#ifdef __s390__
#define CLONE_FLAGS_ARG 1
#else
#define CLONE_FLAGS_ARG 0
#endif

/* A name that the library or the architecture does not know is passed over: it cannot be called
 * by a number that this kernel and this program agree on either way. */
static const char *const refused[] = {
	/* Other programs and processes. */
	"execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev",
	"process_madvise", "process_mrelease", "pidfd_getfd", "kcmp", "migrate_pages", "move_pages",
	/* Namespaces and mounts. */
	"setns", "unshare", "mount", "umount", "umount2", "move_mount", "open_tree", "open_tree_attr",
	"fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "pivot_root", "chroot",
	"open_by_handle_at", "name_to_handle_at", "mknod", "mknodat", "quotactl", "quotactl_fd",
	"fanotify_init", "fanotify_mark", "swapon", "swapoff",
	/* The kernel and its machine. */
	"init_module", "finit_module", "delete_module", "create_module", "kexec_load", "kexec_file_load",
	"bpf", "perf_event_open", "reboot", "syslog", "acct", "iopl", "ioperm", "modify_ldt", "vm86",
	"vm86old", "settimeofday", "stime", "clock_settime", "clock_settime64", "adjtimex", "clock_adjtime",
	"clock_adjtime64", "sethostname", "setdomainname", "vhangup", "nfsservctl", "lookup_dcookie",
	"_sysctl", "sysfs", "ustat", "uselib", "personality",
	/* Where faults were found, or what exploits are built of. */
	"add_key", "request_key", "keyctl", "userfaultfd", "memfd_create", "memfd_secret", "shmat",
	"remap_file_pages", "mbind", "set_mempolicy", "vmsplice", "setuid", "setgid", "setreuid", "setregid",
	"setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups"
};

/* As by a kernel without them, for which their callers have another way: glibc makes threads by
 * clone(2) then, whose flags a filter can see, and newer releases of libuv do without io_uring. */
static const char *const absent[] = { "clone3", "io_uring_setup", "io_uring_enter", "io_uring_register" };

static int refuse(scmp_filter_ctx filter, const char *const *names, size_t n, int answer)
{
	for (size_t i = 0; i < n; i++) {
		int number = seccomp_syscall_resolve_name(names[i]);
		int r = number == __NR_SCMP_ERROR
				? 0
				: seccomp_rule_add(filter, SCMP_ACT_ERRNO((uint32_t)answer), number, 0);

		if (r < 0)
			return r;
	}
	return 0;
}

static int refuse_if(scmp_filter_ctx filter, int number, struct scmp_arg_cmp condition)
{
	return seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(EPERM), number, 1, &condition);
}

/* Of clone(2) it makes threads, which share their memory and all their namespaces, and nothing else. */
static int refuse_processes(scmp_filter_ctx filter)
{
	static const unsigned namespaces[] = { CLONE_NEWCGROUP, CLONE_NEWIPC,  CLONE_NEWNET, CLONE_NEWNS,
					       CLONE_NEWPID,    CLONE_NEWUSER, CLONE_NEWUTS };
	int r = refuse_if(filter, SCMP_SYS(clone),
			  SCMP_CMP(CLONE_FLAGS_ARG, SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));

	for (size_t i = 0; i < LX_ARRAY_SIZE(namespaces) && r == 0; i++)
		r = refuse_if(filter, SCMP_SYS(clone),
			      SCMP_CMP(CLONE_FLAGS_ARG, SCMP_CMP_MASKED_EQ, namespaces[i], namespaces[i]));
	return r;
}

/* It talks by unix sockets and IP, and asks the kernel for the machine's addresses. */
static int refuse_sockets(scmp_filter_ctx filter)
{
	static const int calls[] = { SCMP_SYS(socket), SCMP_SYS(socketpair) };
	const struct scmp_arg_cmp other_netlink[] = {
		SCMP_A0(SCMP_CMP_EQ, AF_NETLINK, 0),
		SCMP_A2(SCMP_CMP_NE, NETLINK_ROUTE, 0),
	};
	int r = seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(socket), 2, other_netlink);

	for (size_t i = 0; i < LX_ARRAY_SIZE(calls) && r == 0; i++) {
		for (unsigned family = 0; family < AF_NETLINK && r == 0; family++)
			if (family != AF_UNIX && family != AF_INET && family != AF_INET6)
				r = refuse_if(filter, calls[i], SCMP_A0(SCMP_CMP_EQ, family, 0));
		if (r == 0)
			r = refuse_if(filter, calls[i], SCMP_A0(SCMP_CMP_GT, AF_NETLINK, 0));
	}
	return r;
}

/* Memory is written or run, never both; and none becomes runnable that was not. */
static int refuse_code(scmp_filter_ctx filter)
{
	static const int maps[] = { SCMP_SYS(mmap), SCMP_SYS(mmap2) };
	static const int changes[] = { SCMP_SYS(mprotect), SCMP_SYS(pkey_mprotect) };
	int r = 0;

	for (size_t i = 0; i < LX_ARRAY_SIZE(maps) && r == 0; i++)
		r = refuse_if(filter, maps[i],
			      SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_WRITE | PROT_EXEC, PROT_WRITE | PROT_EXEC));
	for (size_t i = 0; i < LX_ARRAY_SIZE(changes) && r == 0; i++)
		r = refuse_if(filter, changes[i], SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC));
	return r;
}

static int fill(scmp_filter_ctx filter)
{
	int r = refuse(filter, refused, LX_ARRAY_SIZE(refused), EPERM);

	if (r == 0)
		r = refuse(filter, absent, LX_ARRAY_SIZE(absent), ENOSYS);
	if (r == 0)
		r = refuse_processes(filter);
	/* Typing on the terminal it was started from. */
	if (r == 0)
		r = refuse_if(filter, SCMP_SYS(ioctl), SCMP_A1(SCMP_CMP_MASKED_EQ, UINT32_MAX, TIOCSTI));
	if (r == 0)
		r = refuse_sockets(filter);
	return r ? r : refuse_code(filter);
}

int lx_confine_calls(struct lx_err *err)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int r = filter ? 0 : -ENOMEM;

	/* A tree instead of a chain: calls are looked up in it all the time. */
	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (r == 0)
		r = fill(filter);
	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	if (r == 0)
		return 0;
	r = lx_err_errno(err, r, "cannot give up the system calls a manager has no use for");
	lx_err_hint(
		err,
		"The kernel needs CONFIG_SECCOMP_FILTER, and whatever this runs in must allow seccomp(2).");
	return r;
}
