/* See the header. */
#include "migration/hidden_pages.h"
#include "tests/unit/tar_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"

#define USUAL_PATH "/usr/sbin:/usr/bin:/sbin:/bin"

char tar_top[] = "/dev/shm/lx-tar-XXXXXX";
static char ours[4096];

int tar_setup(void **state)
{
	ssize_t n = readlink("/proc/self/exe", ours, sizeof(ours) - 1);

	/* <build>/tests/<this> */
	assert_true(n > 0);
	ours[n] = '\0';
	for (int up = 0; up < 2; up++)
		*strrchr(ours, '/') = '\0';
	strncat(ours, "/libexec/criu-tools/tar", sizeof(ours) - strlen(ours) - 1);
	assert_non_null(mkdtemp(tar_top));
	/* Also for those whom a test makes of root. */
	return chmod(tar_top, 0755);
}

int tar_teardown(void **state)
{
	return lx_rm_rf(tar_top, NULL);
}

const char *tar_ours(void)
{
	return ours;
}

static char *below_top(const char *name)
{
	char *path = name ? lx_path_join(tar_top, name) : strdup("/dev/null");

	assert_non_null(path);
	return path;
}

int tar_open(const char *name, int flags)
{
	lx_autofree char *path = below_top(name);
	int fd = open(path, flags | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

int tar_dir(const char *name)
{
	lx_autofree char *path = below_top(name);

	assert_int_equal(lx_rm_rf(path, NULL), 0);
	assert_int_equal(mkdir(path, 0755), 0);
	return tar_open(name, O_RDONLY | O_DIRECTORY);
}

static void become(const char *program, const char *const *argv, const char *in, const char *out,
		   const char *path)
{
	lx_autofree char *env_path = lx_asprintf("PATH=%s", path ? path : USUAL_PATH);
	/* What is hidden lies below the working directory: this one only says that there is something. */
	char *env[] = { env_path, (char *)(uintptr_t) "LC_ALL=C.UTF-8",
			getenv(LX_HIDDEN_PAGES_DIR) ? (char *)(uintptr_t)(LX_HIDDEN_PAGES_DIR "=/nowhere")
						    : NULL,
			NULL };

	dup2(tar_open(in, O_RDONLY), STDIN_FILENO);
	dup2(tar_open(out, O_WRONLY | O_CREAT | O_TRUNC), STDOUT_FILENO);
	dup2(tar_open("errors", O_WRONLY | O_CREAT | O_TRUNC), STDERR_FILENO);
	if (chdir(tar_top) == 0)
		execve(program, (char *const *)(uintptr_t)argv, env);
	_exit(126);
}

int tar_run(const char *program, const char *const *argv, const char *in, const char *out, const char *path)
{
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		become(program, argv, in, out, path);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
}

const char *tar_errors(void)
{
	static struct lx_buf text;
	lx_autofree char *path = below_top("errors");

	lx_buf_release(&text);
	(void)lx_read_file(path, 1 << 20, &text, NULL);
	return lx_buf_str(&text);
}
