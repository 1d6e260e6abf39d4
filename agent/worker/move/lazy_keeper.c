/*
 * The keeper of CRIU's daemon: starts it, waits for it, takes back what a killed worker has left
 * allowed, and writes down that the daemon has done its work.
 *
 * A program of its own, so that it and the daemon outlive the worker: a guest that runs needs
 * them to the end, and who takes over the move needs to know how that was.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/worker/move/lazy.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "migration/criu_kill.h"

static void become_daemon(const char *move, const char *criu)
{
	lx_autofree char *mark = lx_asprintf(LX_MOVE_MARK "=%s/hook", move);
	lx_autofree char *dir = lx_path_join(move, LX_LAZY_DIR), *images = lx_path_join(move, "images");
	char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	char *env[] = { path, mark, NULL };
	const char *argv[] = { criu,   "lazy-pages", "--images-dir", dir,   "--work-dir",
			       images, "--log-file", LX_LAZY_LOG,    "-v1", NULL };

	if (mark && dir && images)
		execve(criu, (char *const *)(uintptr_t)argv, env);
	_exit(127);
}

static void cut_off(void)
{
	int null = open("/dev/null", O_RDWR);

	(void)setpgid(0, 0);
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	syscall(SYS_close_range, STDERR_FILENO + 1, ~0u, 0);
}

static bool note(const char *move, const char *name, const char *text)
{
	lx_autofree char *path = lx_path_join(move, name);

	return path && lx_write_file_atomic(path, text, strlen(text), 0600, NULL) == 0;
}

int lx_lazy_keeper(int argc, char **argv)
{
	char number[32];
	int status = -1;

	if (argc != 3) {
		fprintf(stderr, LX_LAZY_KEEPER ": this program is started by lx-move-worker\n");
		return EXIT_FAILURE;
	}
	cut_off();
	pid_t daemon = fork();

	if (daemon == 0)
		become_daemon(argv[1], argv[2]);
	snprintf(number, sizeof(number), "%d", (int)daemon);
	if (daemon < 0 || !note(argv[1], LX_LAZY_PID, number))
		return EXIT_FAILURE;
	while (waitpid(daemon, &status, 0) < 0 && errno == EINTR)
		;
	lx_lazy_forbid(argv[1], -1);
	return status == 0 && note(argv[1], LX_LAZY_DONE, "") ? EXIT_SUCCESS : EXIT_FAILURE;
}
