/*
 * Running ip and nft. Input and complaints are kept in memory files, so that neither side
 * ever waits for the other. Ways to fail: the tool is not installed; it fails, and the first
 * line of what it said becomes the error.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "cli/dev.h"
#include "lib/fs.h"

#define SAID_MAX  512 /* bytes of a complaint that are looked at */
#define NOT_THERE 127

static int memory_file(const char *text)
{
	size_t len = text ? strlen(text) : 0;
	lx_autoclose int fd = memfd_create("lxmgr", MFD_CLOEXEC);

	if (fd < 0 || lx_write_full(fd, text, len) < 0 || lseek(fd, 0, SEEK_SET) < 0)
		return -1;
	return lx_move_fd(fd);
}

static void first_line(int fd, char *buf, size_t n)
{
	ssize_t len = pread(fd, buf, n - 1, 0);

	buf[len < 0 ? 0 : len] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
}

static int explain(const char *tool, int status, int said_fd, struct lx_err *err)
{
	char said[SAID_MAX];
	int r;

	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_THERE) {
		r = lx_err_set(err, LX_FAILED_PRECONDITION, "%s is not installed", tool);
		lx_err_hint(err, "Install it: apt-get install %s",
			    lx_streq(tool, "ip") ? "iproute2" : "nftables");
		return r;
	}
	first_line(said_fd, said, sizeof(said));
	return lx_err_set(err, LX_INTERNAL, "%s failed: %s", tool, *said ? said : "it does not say why");
}

int cli_tool_run(const char *const *argv, const char *input, struct lx_err *err)
{
	lx_autoclose int in = memory_file(input), said = memory_file(NULL);
	int status;

	if (in < 0 || said < 0)
		return lx_err_errno(err, errno, "cannot run %s", argv[0]);
	fflush(NULL);
	pid_t pid = fork();
	if (pid < 0)
		return lx_err_errno(err, errno, "cannot run %s", argv[0]);
	if (pid == 0) {
		signal(SIGPIPE, SIG_DFL);
		if (dup2(in, STDIN_FILENO) >= 0 && dup2(said, STDOUT_FILENO) >= 0 &&
		    dup2(said, STDERR_FILENO) >= 0)
			execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(NOT_THERE);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return lx_err_errno(err, errno, "lost sight of %s", argv[0]);
	return explain(argv[0], status, said, err);
}
