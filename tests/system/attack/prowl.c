/*
 * Lies in wait, as root of a guest, for those that enter it from outside: what runs a command in it is for
 * a moment in its process namespace and still the node's program. Of each it tries to get at the root
 * directory, the program's file, the memory, the open files, and to trace it.
 *
 *     prowl SECONDS NAME      NAME: what the guest's own program is called that they become
 *
 * Prints what it got, a line each, and at the end "saw N" with how many it found before they had become
 * the guest's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATH_SPACE 512
#define FDS        32
#define AHEAD      256

static struct stat own_root;

static int text_of(int pid, const char *file, char *to, size_t n)
{
	char path[PATH_SPACE];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	int fd = open(path, O_RDONLY);
	ssize_t got = fd < 0 ? -1 : read(fd, to, n - 1);

	if (fd >= 0)
		close(fd);
	to[got > 0 ? got : 0] = '\0';
	return got > 0 ? 0 : -1;
}

/* Not a child of anybody here, and not yet what it will be. */
static int is_entering(int pid, const char *becomes)
{
	char status[2048], comm[64];

	if (text_of(pid, "status", status, sizeof(status)) < 0 ||
	    text_of(pid, "comm", comm, sizeof(comm)) < 0)
		return 0;
	comm[strcspn(comm, "\n")] = '\0';
	return strstr(status, "\nPPid:\t0\n") && strcmp(comm, becomes) != 0;
}

static int got_fd(const char *path, int flags)
{
	int fd = open(path, flags | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static int got_directory(int pid, const char *what)
{
	char path[PATH_SPACE];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/%s/.", pid, what);
	return stat(path, &st) == 0 && (st.st_dev != own_root.st_dev || st.st_ino != own_root.st_ino);
}

static const char *try_files(int pid)
{
	char path[PATH_SPACE];

	if (got_directory(pid, "root"))
		return "root";
	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	if (got_fd(path, O_WRONLY))
		return "exe";
	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	if (got_fd(path, O_RDWR))
		return "mem";
	/* Three are the command's own. */
	for (int fd = STDERR_FILENO + 1; fd < FDS; fd++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
		if (got_fd(path, O_PATH))
			return "fd";
	}
	return NULL;
}

/* Held still, as somebody would who goes on from there. */
static long hold(int pid)
{
	long r = ptrace(PTRACE_SEIZE, pid, NULL, NULL);

	if (r == 0) {
		(void)ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
		(void)waitpid(pid, NULL, __WALL);
	}
	return r;
}

static void let_go(int pid)
{
	(void)ptrace(PTRACE_DETACH, pid, NULL, NULL);
}

int main(int argc, char **argv)
{
	time_t end = time(NULL) + (argc > 2 ? strtol(argv[1], NULL, 10) : 0);
	int next = getpid() + 1, seen = 0;
	unsigned saw = 0;

	if (argc < 3 || stat("/", &own_root) < 0)
		return 1;
	printf("on\n");
	fflush(stdout);
	while (time(NULL) < end) {
		/* Numbers are given in their order: who comes gets one of the next. */
		for (int pid = next; pid < next + AHEAD; pid++) {
			long traced = hold(pid);

			if (traced < 0 && errno == ESRCH)
				continue;
			int entering = is_entering(pid, argv[2]);
			const char *got = traced == 0 ? "trace" : entering ? try_files(pid) : NULL;

			/* Had it become the guest's meanwhile, it was the guest's that was got at. */
			if (got && is_entering(pid, argv[2]))
				printf("got %s\n", got);
			if (traced == 0)
				let_go(pid);
			saw += entering && pid != seen;
			seen = pid;
			next = pid;
			fflush(stdout);
		}
	}
	printf("saw %u\n", saw);
	return 0;
}
