#include "agent/worker/move/refill.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "migration/ahead_files.h"
#include "migration/page_image.h"

/* As long as CRIU may take for a step. */
#define PATIENCE_MS 120000

__attribute__((noreturn)) static void fill(const struct lx_move *m, int dir, pid_t init, int words)
{
	struct lx_err err = LX_ERR_INIT;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Else it counts as this node's own, which is better than no move. */
	if (lx_move_join_memory(m, init, &err) < 0)
		lx_warn("memory of a guest's files does not count as its own", "instance=%s error=\"%s\"",
			m->job->name, err.msg);
	int r = lx_ahead_files_fill(dir, init, &err);

	if (r < 0)
		(void)lx_write_full(words, err.msg, strlen(err.msg));
	_exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* What it says is why it has failed. */
static int wait_for(pid_t child, int words_fd, struct lx_err *err)
{
	struct pollfd p = { .fd = words_fd, .events = POLLIN };
	char words[LX_ERR_MSG_MAX] = "";
	int status = 0;

	if (poll(&p, 1, PATIENCE_MS) > 0)
		(void)lx_read_full(words_fd, words, sizeof(words) - 1);
	else
		kill(child, SIGKILL);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS)
		return 0;
	return lx_err_set(err, LX_ABORTED, "%s", *words ? words : "who fills the guest's files was killed");
}

int lx_refill(const struct lx_move *m, int images, pid_t init, struct lx_err *err)
{
	lx_autoclose int dir =
		openat(images, LX_PAGES_PARENT_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	int ends[2];

	if (dir < 0 || !lx_ahead_files_any(dir))
		return 0;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return lx_err_errno(err, errno, "cannot make a pipe");
	pid_t child = fork();

	if (child == 0)
		fill(m, dir, init, ends[1]);
	close(ends[1]);
	int r = child < 0 ? lx_err_errno(err, errno, "cannot start who fills the guest's files")
			  : wait_for(child, ends[0], err);

	close(ends[0]);
	return r;
}
