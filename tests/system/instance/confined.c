/*
 * Tried inside a guest by tests: makes each system call named on the command line, with
 * arguments that do no harm, in a process of its own, and prints "NAME RESULT", the result
 * being "ok", an errno's name, or the signal that ended the process.
 *
 * With "when FILE" before them it waits until there is such a file: to be moved meanwhile. With
 * "often N" it makes each N times, all but the last in its own process.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/keyctl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#define POLL_US      20000
#define RING_ENTRIES 4
#define KEY_TYPE     "user"

static long do_io_uring_setup(void)
{
	char params[256] = { 0 };

	return syscall(SYS_io_uring_setup, RING_ENTRIES, params);
}

static long do_bpf(void)
{
	char attr[64] = { 0 };

	return syscall(SYS_bpf, 0, attr, sizeof(attr));
}

static long do_kexec_load(void)
{
	return syscall(SYS_kexec_load, 0, 0, NULL, 0);
}

static long do_init_module(void)
{
	return syscall(SYS_init_module, NULL, 0, "");
}

/* A file of the file system that the root directory is on, by its number and without a path. */
static long do_open_by_handle_at(void)
{
	union {
		struct file_handle handle;
		char space[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	} at = { .handle.handle_bytes = MAX_HANDLE_SZ };
	int id, fd = open("/", O_RDONLY);

	if (fd < 0 || (name_to_handle_at(AT_FDCWD, "/", &at.handle, &id, 0) < 0 && errno != EOPNOTSUPP))
		return -1;
	return syscall(SYS_open_by_handle_at, fd, &at.handle, O_RDONLY);
}

static long do_umount_forced(void)
{
	return umount2("/no/such", MNT_FORCE);
}

static long do_umount(void)
{
	return umount2("/no/such", 0);
}

static long do_ptrace(void)
{
	return ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static long do_swapon(void)
{
	return syscall(SYS_swapon, "/no/such", 0);
}

static long do_perf_event_open(void)
{
	return syscall(SYS_perf_event_open, NULL, 0, 0, -1, 0);
}

static long do_add_key(void)
{
	return syscall(SYS_add_key, KEY_TYPE, "lxmgr-test", "x", 1, KEY_SPEC_PROCESS_KEYRING);
}

/* A key of the user's, and whether it is found again: another user's is not. */
static long do_leave_key(void)
{
	return syscall(SYS_add_key, KEY_TYPE, "lxmgr-left", "x", 1, KEY_SPEC_USER_KEYRING);
}

static long do_find_key(void)
{
	return syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_USER_KEYRING, KEY_TYPE, "lxmgr-left", 0);
}

static long abstract_socket(int (*use)(int fd, const struct sockaddr *addr, socklen_t len))
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = "\0lxmgr-test" };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	return fd < 0 ||
			       use(fd, (const struct sockaddr *)&addr,
				   offsetof(struct sockaddr_un, sun_path) + sizeof("\0lxmgr-test") - 1) < 0 ||
			       (use == bind && listen(fd, 1) < 0)
		       ? -1
		       : fd;
}

/* In the background, for as long as the guest lives. */
static long do_abstract_listen(void)
{
	if (abstract_socket(bind) < 0)
		return -1;
	if (fork() == 0) {
		for (int fd = 0; fd < 3; fd++)
			close(fd);
		for (;;)
			pause();
	}
	return 0;
}

static long do_abstract_connect(void)
{
	return abstract_socket(connect);
}

/* The number of the session keyring and who owns it, on a line of their own. */
static long do_keyring(void)
{
	char text[256] = "";
	long id = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0);

	if (id < 0)
		return id;
	long n = syscall(SYS_keyctl, KEYCTL_DESCRIBE, id, text, sizeof(text));

	printf("session %ld %s\n", id, n < 0 ? strerror(errno) : text);
	fflush(stdout);
	return 0;
}

static long do_clock_settime(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return syscall(SYS_clock_settime, CLOCK_REALTIME, &now);
}

static long do_mknod_disk(void)
{
	return mknod("/tmp/.disk", S_IFBLK | 0600, makedev(254, 0));
}

static long do_raw_socket(void)
{
	return socket(AF_INET, SOCK_RAW, 1);
}

static long do_userns(void)
{
	return unshare(CLONE_NEWUSER);
}

/* Namespaces beside a mount namespace, in which nothing mounted is seen elsewhere. */
static int separate(int namespaces)
{
	return unshare(CLONE_NEWNS | namespaces) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0
		       ? -1
		       : 0;
}

/* What a container inside this one needs: its own view of processes and network. */
static long do_mount_proc(void)
{
	if (separate(CLONE_NEWPID) < 0)
		return -1;
	pid_t child = fork();

	if (child == 0) {
		mkdir("/tmp/.proc", 0755);
		_exit(mount("proc", "/tmp/.proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 ? errno
												      : 0);
	}
	int status = 0;

	waitpid(child, &status, 0);
	errno = WEXITSTATUS(status);
	return errno ? -1 : 0;
}

static long do_mount_sysfs(void)
{
	if (separate(CLONE_NEWNET) < 0)
		return -1;
	mkdir("/tmp/.sys", 0755);
	return mount("sysfs", "/tmp/.sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
}

/* The same for one with users of its own. */
static long do_mount_proc_nested(void)
{
	return unshare(CLONE_NEWUSER) < 0 ? -1 : do_mount_proc();
}

static long do_mount_sysfs_nested(void)
{
	return unshare(CLONE_NEWUSER) < 0 ? -1 : do_mount_sysfs();
}

static long do_mount_overlay(void)
{
	mkdir("/tmp/.o", 0755);
	if (separate(0) < 0 || mount("tmpfs", "/tmp/.o", "tmpfs", 0, NULL) < 0)
		return -1;
	mkdir("/tmp/.o/upper", 0755);
	mkdir("/tmp/.o/work", 0755);
	mkdir("/tmp/.o/merged", 0755);
	return mount("overlay", "/tmp/.o/merged", "overlay", 0,
		     "lowerdir=/etc,upperdir=/tmp/.o/upper,workdir=/tmp/.o/work,userxattr");
}

/* getpid of the machine's 32-bit programs, and of x32. */
static long do_compat(void)
{
	long r = -ENOSYS;
#ifdef __x86_64__
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
#endif
	errno = r < 0 ? (int)-r : 0;
	return r < 0 ? -1 : 0;
}

static long do_x32(void)
{
	return syscall(0x40000000 | SYS_getpid);
}

/* ------------------------------------------------------------------ with no user namespace around it */

static long do_kexec_file_load(void)
{
	return syscall(SYS_kexec_file_load, -1, -1, 0, NULL, 0);
}

static long do_finit_module(void)
{
	return syscall(SYS_finit_module, -1, "", 0);
}

static long do_delete_module(void)
{
	return syscall(SYS_delete_module, "no_such_module", O_NONBLOCK);
}

static long do_settimeofday(void)
{
	struct timeval now;

	gettimeofday(&now, NULL);
	return settimeofday(&now, NULL);
}

static long do_adjtimex(void)
{
	struct timex t = { .modes = ADJ_OFFSET };

	return adjtimex(&t) < 0 ? -1 : 0;
}

static long do_ioperm(void)
{
	return syscall(SYS_ioperm, 0x80, 1, 1);
}

static long do_mknod_console(void)
{
	return mknod("/tmp/.console", S_IFCHR | 0600, makedev(5, 1));
}

static long do_mknod_mem(void)
{
	return mknod("/tmp/.mem", S_IFCHR | 0600, makedev(1, 1));
}

/* Of one type, where it stands: with namespaces of its own it could not begin. */
static long mount_type(const char *type, const char *options)
{
	mkdir("/tmp/.m", 0755);
	return mount("none", "/tmp/.m", type, 0, options);
}

static long do_mount_proc_here(void)
{
	return mount_type("proc", NULL);
}

static long do_mount_sysfs_here(void)
{
	return mount_type("sysfs", NULL);
}

static long do_mount_devtmpfs(void)
{
	return mount_type("devtmpfs", NULL);
}

static long do_mount_cgroup(void)
{
	return mount_type("cgroup", "devices");
}

static long do_mount_cgroup_agent(void)
{
	return mount_type("cgroup", "none,name=lxmgr-test,release_agent=/tmp/agent");
}

static long do_mount_tmpfs(void)
{
	return mount_type("tmpfs", NULL);
}

static long do_bind_proc(void)
{
	mkdir("/tmp/.m", 0755);
	return mount("/proc", "/tmp/.m", NULL, MS_BIND, NULL);
}

static long do_remount_proc_sys(void)
{
	return mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL);
}

static long do_umount_proc_sys(void)
{
	return umount2("/proc/sys", MNT_DETACH);
}

static long do_fsopen(void)
{
	return syscall(SYS_fsopen, "proc", 0);
}

static long do_mount_setattr(void)
{
	struct mount_attr attr = { .attr_clr = MOUNT_ATTR_RDONLY };

	return syscall(SYS_mount_setattr, AT_FDCWD, "/proc/sys", 0, &attr, sizeof(attr));
}

static long do_unshare_mounts(void)
{
	return unshare(CLONE_NEWNS);
}

static long do_clone_userns(void)
{
	long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);

	if (pid == 0)
		_exit(0);
	return pid < 0 ? -1 : 0;
}

static long do_clone3(void)
{
	return syscall(SYS_clone3, NULL, 0);
}

/* Of a process that is there but in other hands: the machine's, were its numbers to be seen. */
static long do_setns_host(void)
{
	int fd = open("/proc/1/root/proc/2/ns/mnt", O_RDONLY);

	return fd < 0 ? -1 : setns(fd, 0);
}

static long do_syslog(void)
{
	return syscall(SYS_syslog, 5, NULL, 0); /* clear */
}

/*
 * A card's other end gives the machine's network a number in the guest's; by it the machine's cards could be
 * asked for, and more. This looks at the first one.
 */
static long do_links_of_host(void)
{
	struct {
		struct nlmsghdr head;
		struct ifinfomsg info;
		struct rtattr attr;
		int32_t number;
	} ask = {
		.head = { .nlmsg_len = sizeof(ask), .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST },
		.info = { .ifi_index = 1 },
		.attr = { .rta_len = RTA_LENGTH(sizeof(int32_t)), .rta_type = IFLA_TARGET_NETNSID },
	};
	union {
		struct nlmsghdr head;
		char space[16384];
	} answer;
	int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);

	if (fd < 0 || send(fd, &ask, sizeof(ask), 0) < 0 || recv(fd, &answer, sizeof(answer), 0) < 0)
		return -1;
	if (answer.head.nlmsg_type != NLMSG_ERROR)
		return 0;
	errno = -((const struct nlmsgerr *)NLMSG_DATA(&answer.head))->error;
	return errno ? -1 : 0;
}

#define CALL(name)                                                                                           \
	{                                                                                                    \
#name, do_##name                                                                             \
	}

static const struct {
	const char *name;
	long (*call)(void);
} calls[] = {
	CALL(io_uring_setup),
	CALL(bpf),
	CALL(kexec_load),
	CALL(init_module),
	CALL(open_by_handle_at),
	CALL(umount_forced),
	CALL(umount),
	CALL(ptrace),
	CALL(swapon),
	CALL(perf_event_open),
	CALL(add_key),
	CALL(keyring),
	CALL(leave_key),
	CALL(find_key),
	CALL(abstract_listen),
	CALL(abstract_connect),
	CALL(clock_settime),
	CALL(mknod_disk),
	CALL(raw_socket),
	CALL(userns),
	CALL(mount_proc),
	CALL(mount_sysfs),
	CALL(mount_overlay),
	CALL(compat),
	CALL(x32),
	CALL(mount_proc_nested),
	CALL(mount_sysfs_nested),
	CALL(kexec_file_load),
	CALL(finit_module),
	CALL(delete_module),
	CALL(settimeofday),
	CALL(adjtimex),
	CALL(ioperm),
	CALL(mknod_console),
	CALL(mknod_mem),
	CALL(mount_proc_here),
	CALL(mount_sysfs_here),
	CALL(mount_devtmpfs),
	CALL(mount_cgroup),
	CALL(mount_cgroup_agent),
	CALL(mount_tmpfs),
	CALL(bind_proc),
	CALL(remount_proc_sys),
	CALL(umount_proc_sys),
	CALL(fsopen),
	CALL(mount_setattr),
	CALL(unshare_mounts),
	CALL(clone_userns),
	CALL(clone3),
	CALL(setns_host),
	CALL(syslog),
	CALL(links_of_host),
};

static void attempt(const char *name, long (*call)(void))
{
	int status = 0;
	pid_t child = fork();

	if (child == 0)
		_exit(call() < 0 ? errno : 0);
	waitpid(child, &status, 0);
	if (WIFSIGNALED(status))
		printf("%s SIG%s\n", name, sigabbrev_np(WTERMSIG(status)));
	else
		printf("%s %s\n", name, WEXITSTATUS(status) ? strerrorname_np(WEXITSTATUS(status)) : "ok");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int first = 1;
	long times = 1;

	if (argc > 2 && strcmp(argv[1], "when") == 0)
		for (first = 3; access(argv[2], F_OK) < 0;)
			usleep(POLL_US);
	if (argc > 3 && strcmp(argv[1], "often") == 0) {
		times = strtol(argv[2], NULL, 10);
		first = 3;
	}
	for (int i = first; i < argc; i++) {
		size_t n = sizeof(calls) / sizeof(calls[0]), c = 0;

		while (c < n && strcmp(calls[c].name, argv[i]) != 0)
			c++;
		if (c == n) {
			fprintf(stderr, "confined: nothing is called %s\n", argv[i]);
			return 2;
		}
		for (long t = 1; t < times; t++)
			(void)calls[c].call();
		attempt(calls[c].name, calls[c].call);
	}
	return 0;
}
