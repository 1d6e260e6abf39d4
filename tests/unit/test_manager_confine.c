/*
 * What the manager gives up: each forbidden call is made for real by a child that has, and by its
 * twin that has not; and what a manager lives on goes on working.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lxmgr/confine.h"
#include "lxmgr/manager.h"

/* errno of a raw call, 0 when it worked. */
#define RAW(...) (syscall(__VA_ARGS__) < 0 ? errno : 0)

static char *const no_words[] = { NULL };

static int try_execve(void)
{
	return RAW(SYS_execve, "/nonexistent", no_words, no_words);
}

static int try_execveat(void)
{
	return RAW(SYS_execveat, -1, "nonexistent", no_words, no_words, 0);
}

static int try_fork(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	if (pid < 0)
		return errno;
	return waitpid(pid, NULL, 0) == pid ? 0 : errno;
}

static int try_ptrace(void)
{
	return RAW(SYS_ptrace, PTRACE_TRACEME, 0, NULL, NULL);
}

static int try_read_memory(void)
{
	char from = 'x', to;
	struct iovec theirs = { &from, 1 }, ours = { &to, 1 };

	return RAW(SYS_process_vm_readv, getpid(), &ours, 1, &theirs, 1, 0);
}

static int try_unshare(void)
{
	return RAW(SYS_unshare, CLONE_FS);
}

static int try_setns(void)
{
	return RAW(SYS_setns, -1, 0);
}

static int try_personality(void)
{
	return RAW(SYS_personality, 0xffffffffu);
}

static int try_memfd(void)
{
	return RAW(SYS_memfd_create, "x", 0);
}

static int try_chroot(void)
{
	return RAW(SYS_chroot, "/nonexistent");
}

static int try_mknod(void)
{
	return RAW(SYS_mknodat, -1, "x", S_IFREG, 0);
}

static int try_setuid(void)
{
	return RAW(SYS_setresuid, -1, -1, -1);
}

static int try_other_family(void)
{
	return RAW(SYS_socket, AF_APPLETALK, SOCK_DGRAM, 0);
}

static int try_uevents(void)
{
	return RAW(SYS_socket, AF_NETLINK, SOCK_RAW, 15 /* NETLINK_KOBJECT_UEVENT */);
}

static int try_late_family(void)
{
	return RAW(SYS_socket, 1000, SOCK_STREAM, 0);
}

static int try_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? errno : 0;
}

static int try_become_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return EPROTO;
	return mprotect(p, 4096, PROT_READ | PROT_EXEC) < 0 ? errno : 0;
}

static int try_typing(void)
{
	return RAW(SYS_ioctl, -1, TIOCSTI, "x");
}

static int try_typing_wide(void)
{
	/* The kernel reads 32 bits of the request. */
	return RAW(SYS_ioctl, -1, 0xffffffff00000000ul | TIOCSTI, "x");
}

/* Calls that any process may make, so that the twin's answer is its own and no EPERM. */
static const struct attempt {
	const char *name;
	int (*make)(void);
	int without; /* what the twin gets: an errno, 0, or ANY but EPERM */
} attempts[] = {
#define ANY (-1)
	{ "execve", try_execve, ENOENT },
	{ "execveat", try_execveat, EBADF },
	{ "fork", try_fork, 0 },
	{ "ptrace", try_ptrace, 0 },
	{ "process_vm_readv", try_read_memory, 0 },
	{ "unshare", try_unshare, 0 },
	{ "setns", try_setns, EBADF },
	{ "personality", try_personality, 0 },
	{ "memfd_create", try_memfd, 0 },
	{ "chroot", try_chroot, ENOENT },
	{ "mknodat", try_mknod, EBADF },
	{ "setresuid", try_setuid, 0 },
	{ "a socket of another family", try_other_family, ANY },
	{ "a socket of a family to come", try_late_family, ANY },
	{ "netlink for other than addresses", try_uevents, 0 },
	{ "memory to write and run", try_code, 0 },
	{ "memory that becomes runnable", try_become_code, 0 },
	{ "TIOCSTI", try_typing, EBADF },
	{ "TIOCSTI in 64 bits", try_typing_wide, EBADF },
};

/* Runs it in a child, under the filter or not. Its result, or 255 where the filter did not load. */
static int in_child(int (*work)(void), bool confined)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (confined && lx_confine_calls(NULL) < 0)
			_exit(255);
		_exit(work());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void calls_are_refused_and_their_twins_are_not(void **state)
{
	for (size_t i = 0; i < LX_ARRAY_SIZE(attempts); i++) {
		const struct attempt *a = &attempts[i];
		int twin = in_child(a->make, false), got = in_child(a->make, true);

		if (got != EPERM || (a->without == ANY ? twin == EPERM : twin != a->without))
			fail_msg("%s: %s, without the filter %s", a->name, strerror(got), strerror(twin));
	}
}

/* ---------------------------------------------------------------- calls that need more than most have */

static int try_privileged(void)
{
	static const int eperm[] = { SYS_bpf,           SYS_perf_event_open,
				     SYS_kexec_load,    SYS_finit_module,
				     SYS_delete_module, SYS_keyctl,
				     SYS_add_key,       SYS_request_key,
				     SYS_userfaultfd,   SYS_mount,
				     SYS_umount2,       SYS_pivot_root,
				     SYS_fsopen,        SYS_move_mount,
				     SYS_open_tree,     SYS_open_by_handle_at,
				     SYS_reboot,        SYS_process_vm_writev };

	/* Arguments that no kernel takes: not even a filter that lets one through does harm. */
	for (size_t i = 0; i < LX_ARRAY_SIZE(eperm); i++)
		if (RAW(eperm[i], -1, -1, -1, -1, -1, -1) != EPERM)
			return 1 + (int)i;
	if (RAW(SYS_io_uring_setup, 1, NULL) != ENOSYS)
		return 100;
	if (RAW(SYS_clone3, NULL, 0) != ENOSYS)
		return 101;
	return 0;
}

static void the_rest_is_refused_whatever_one_may(void **state)
{
	assert_int_equal(in_child(try_privileged, true), 0);
}

static int try_namespace_by_clone(void)
{
	/* The second is EINVAL to a kernel that is asked. */
	static const unsigned long flags[] = { CLONE_NEWUSER | SIGCHLD,
					       CLONE_NEWUSER | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM };

	for (size_t i = 0; i < LX_ARRAY_SIZE(flags); i++)
		if (RAW(SYS_clone, flags[i], NULL, NULL, NULL, NULL) != EPERM)
			return 1 + (int)i;
	return 0;
}

static void no_namespace_by_clone(void **state)
{
	assert_int_equal(in_child(try_namespace_by_clone, true), 0);
}

/* ---------------------------------------------------------------- what it lives on */

static void *in_thread(void *arg)
{
	*(int *)arg = try_execve();
	return NULL;
}

static int live(void)
{
	static const int families[] = { AF_UNIX, AF_INET, AF_INET6 };
	struct addrinfo *found = NULL;
	pthread_t thread;
	int got = 0;

	for (size_t i = 0; i < LX_ARRAY_SIZE(families); i++) {
		int fd = socket(families[i], SOCK_STREAM | SOCK_CLOEXEC, 0);

		/* A machine may have no IPv6. */
		if (fd < 0 && errno != EAFNOSUPPORT)
			return 1;
		close(fd);
	}
	if (socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0) < 0)
		return 2;
	if (getaddrinfo("localhost", "1", NULL, &found) == 0)
		freeaddrinfo(found);
	if (pthread_create(&thread, NULL, in_thread, &got) != 0 || pthread_join(thread, NULL) != 0)
		return 3;
	return got == EPERM ? 0 : 4;
}

static void sockets_and_threads_work_and_threads_are_under_it(void **state)
{
	assert_int_equal(in_child(live, true), 0);
}

/* ---------------------------------------------------------------- all of it */

/* Its effective capabilities; all bits where they cannot be read. */
static uint64_t effective(void)
{
	char line[128];
	uint64_t set = UINT64_MAX;
	FILE *f = fopen("/proc/self/status", "re");

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "CapEff:", 7) == 0)
			set = strtoull(line + 7, NULL, 16);
	if (f)
		fclose(f);
	return set;
}

static char outside[] = "/tmp/lx-confine-out-XXXXXX", inside[] = "/tmp/lx-confine-in-XXXXXX";

/* errno of making a file in that directory. */
static int make_file(const char *dir)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/file", dir);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return errno;
	close(fd);
	return unlink(path) < 0 ? errno : 0;
}

static int try_outside(void)
{
	return make_file(outside);
}

static int whole(void)
{
	/* A kernel without Landlock bounds no files. */
	bool bounded = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0;
	char path[64];

	snprintf(path, sizeof(path), "%s/socket", inside);
	const struct lx_manager_options opt = { .state_dir = inside,
						.socket_path = path,
						.socket_group = "no such group",
						.listen = "127.0.0.1:8443" };
	struct rlimit core;

	if (lx_confine(&opt, NULL) < 0)
		return 1;
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
		return 2;
	if (getrlimit(RLIMIT_CORE, &core) < 0 || core.rlim_cur || core.rlim_max)
		return 3;
	if (effective() != 0)
		return 4;
	if (make_file(inside) != 0)
		return 5;
	return make_file(outside) == (bounded ? EACCES : 0) ? 0 : 6;
}

static char owned[] = "/tmp/lx-confine-XXXXXX", made[64];

static int whole_of_an_owner(void)
{
	char sock[80];
	struct stat st;

	snprintf(sock, sizeof(sock), "%s/socket", made);
	const struct lx_manager_options opt = { .state_dir = owned,
						.socket_path = sock,
						.socket_group = "no such group",
						.listen = "127.0.0.1:443" };
	int r = lx_confine(&opt, NULL) < 0                                      ? 2
		: geteuid() != 65534 || getuid() != 65534 || getegid() != 65534 ? 3
		: getgroups(0, NULL) != 0                                       ? 4
		: stat(made, &st) < 0 || st.st_uid != 65534                     ? 5
										: 0;

	/* It listens below 1024, for which it keeps what that takes. */
	return r ? r : effective() == UINT64_C(1) << CAP_NET_BIND_SERVICE ? 0 : 6;
}

static void the_process_is_closed(void **state)
{
	assert_non_null(mkdtemp(inside));
	assert_non_null(mkdtemp(outside));
	int twin = in_child(try_outside, false), r = in_child(whole, false);

	rmdir(inside);
	rmdir(outside);
	assert_int_equal(twin, 0);
	assert_int_equal(r, 0);
}

static void root_becomes_the_owner_of_the_state(void **state)
{
	if (geteuid() != 0)
		skip();
	assert_non_null(mkdtemp(owned));
	assert_int_equal(chown(owned, 65534, 65534), 0);
	snprintf(made, sizeof(made), "%s-run", owned);
	int r = in_child(whole_of_an_owner, false);

	rmdir(made);
	rmdir(owned);
	assert_int_equal(r, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls_are_refused_and_their_twins_are_not),
		cmocka_unit_test(the_rest_is_refused_whatever_one_may),
		cmocka_unit_test(no_namespace_by_clone),
		cmocka_unit_test(sockets_and_threads_work_and_threads_are_under_it),
		cmocka_unit_test(the_process_is_closed),
		cmocka_unit_test(root_becomes_the_owner_of_the_state),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
