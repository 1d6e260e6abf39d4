/*
 * A process of a guest that cannot be moved:
 *
 *   preflight-culprit INIT CGROUP UNIT KIND
 *
 * It is made from outside, because the guest's own system call filter refuses some of it:
 * enters the guest's namespaces and the cgroup CGROUP/UNIT, becomes an orphan there (so a
 * child of the guest's init) in a session of its own, prints its pid inside and waits to be
 * killed. It is named "culprit\n<kind>": names are the guest's to choose.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what)
{
	fprintf(stderr, "culprit: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void check(long r, const char *what)
{
	if (r < 0)
		die(what);
}

/* Who started it waits for the end of its output. */
static void be_quiet(void)
{
	close(STDIN_FILENO);
	close(STDOUT_FILENO);
	close(STDERR_FILENO);
}

/* What must be done before the guest is entered. */
static void before(const char *kind)
{
	if (strcmp(kind, "io-uring") == 0) {
		struct io_uring_params p = { 0 };

		check(syscall(SYS_io_uring_setup, 4, &p), kind);
	} else if (strcmp(kind, "bpf") == 0) {
		union bpf_attr a = {
			.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1
		};

		check(syscall(SYS_bpf, BPF_MAP_CREATE, &a, sizeof(a)), kind);
	} else if (strcmp(kind, "unix-peer") == 0) {
		int s[2];

		check(socketpair(AF_UNIX, SOCK_STREAM, 0, s), kind);
		/* A node's process keeps the other end. */
		pid_t keeper = fork();

		check(keeper, "fork");
		if (keeper == 0) {
			close(s[0]);
			be_quiet();
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			char c;

			_exit(read(s[1], &c, 1) != 0);
		}
		close(s[1]);
	} else if (strcmp(kind, "file-outside") == 0) {
		check(open("/proc/version", O_RDONLY), kind);
	}
}

static void inside(const char *kind)
{
	if (strcmp(kind, "socket-mptcp") == 0) {
		check(socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP), kind);
	} else if (strcmp(kind, "socket-vsock") == 0) {
		check(socket(AF_VSOCK, SOCK_STREAM, 0), kind);
	} else if (strcmp(kind, "nested-namespace") == 0) {
		check(unshare(CLONE_NEWUTS), kind);
	} else if (strcmp(kind, "network") == 0) {
		check(unshare(CLONE_NEWNET), kind);
	} else if (strcmp(kind, "ghost-file") == 0) {
		int fd = open("/ghost", O_CREAT | O_RDWR, 0600);

		check(fd, "/ghost");
		/* Room is taken, nothing is written. */
		check(fallocate(fd, 0, 0, 1100ll * 1024 * 1024), "fallocate");
		check(unlink("/ghost"), "unlink");
	} else if (strcmp(kind, "secretmem") == 0) {
		check(syscall(SYS_memfd_secret, 0), kind);
	} else if (strcmp(kind, "traced") == 0) {
		pid_t p = fork();

		check(p, "fork");
		if (p == 0) {
			be_quiet();
			check(ptrace(PTRACE_TRACEME, 0, NULL, NULL), kind);
			raise(SIGSTOP);
			_exit(0);
		}
		check(waitpid(p, NULL, WUNTRACED), "wait");
	} else if (strcmp(kind, "harmless") == 0) {
		/* All that is carried. */
		int fd = open("/small-ghost", O_CREAT | O_RDWR, 0600), s[2];

		check(fd, "/small-ghost");
		check(unlink("/small-ghost"), "unlink");
		check(socketpair(AF_UNIX, SOCK_STREAM, 0, s), "socketpair");
		check(memfd_create("culprit", 0), "memfd");
		check(open("/dev/null", O_RDWR), "/dev/null");
		check(socket(AF_INET, SOCK_STREAM, 0), "tcp");
		check(socket(AF_INET6, SOCK_DGRAM, 0), "udp");
		check(socket(AF_NETLINK, SOCK_RAW, 0), "netlink");
		check(unshare(CLONE_NEWNS), "mount namespace");
		check((long)syscall(SYS_pidfd_open, getpid(), 0), "pidfd");
	}
}

int main(int argc, char **argv)
{
	char path[4096], name[16];

	if (argc != 5) {
		fprintf(stderr, "usage: preflight-culprit INIT CGROUP UNIT KIND\n");
		return 2;
	}
	const char *kind = argv[4];
	int init = (int)syscall(SYS_pidfd_open, (pid_t)strtol(argv[1], NULL, 10), 0);

	check(init, "init");
	snprintf(path, sizeof(path), "%s/%s", argv[2], argv[3]);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		die(path);
	strncat(path, "/cgroup.procs", sizeof(path) - strlen(path) - 1);
	before(kind);
	FILE *f = fopen(path, "w");

	if (!f || fprintf(f, "0") < 0 || fclose(f) != 0)
		die(path);
	check(setns(init, CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC |
				  CLONE_NEWCGROUP | CLONE_NEWUSER),
	      "setns");
	close(init);
	check(setresgid(0, 0, 0), "setgid");
	check(setresuid(0, 0, 0), "setuid");

	pid_t p = fork();

	check(p, "fork");
	if (p > 0)
		return waitpid(p, NULL, 0) == p ? 0 : 1;
	check(setsid(), "setsid");
	p = fork();
	check(p, "fork");
	if (p > 0)
		_exit(0);
	while (getppid() != 1)
		usleep(1000);
	snprintf(name, sizeof(name), "culprit\n%s", kind);
	prctl(PR_SET_NAME, name);
	inside(kind);
	printf("%d\n", (int)getpid());
	fflush(stdout);
	be_quiet();
	for (;;)
		pause();
}
