/*
 * Asking CRIU what it is and whether it works on this kernel. It takes a tenth of a second
 * or more, so it is done once, in a thread, after the agent serves already.
 */
#include "agent/facts.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "migration/criu.h"

/* Seconds an answer may take. */
#define CRIU_PATIENCE   "20"
#define CRIU_OUTPUT_MAX 4096

/* Runs a command and keeps the beginning of what it says. Its exit status, or negative errno. */
static int run(char *const argv[], char out[CRIU_OUTPUT_MAX])
{
	posix_spawn_file_actions_t actions;
	int p[2], status = 0;
	pid_t pid;

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	int r = posix_spawn_file_actions_init(&actions);

	if (r == 0) {
		posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
		posix_spawn_file_actions_adddup2(&actions, p[1], STDOUT_FILENO);
		posix_spawn_file_actions_adddup2(&actions, p[1], STDERR_FILENO);
		r = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
		posix_spawn_file_actions_destroy(&actions);
	}
	close(p[1]);
	ssize_t n = r == 0 ? lx_read_full(p[0], out, CRIU_OUTPUT_MAX - 1) : 0;

	close(p[0]);
	out[n > 0 ? n : 0] = '\0';
	if (r != 0)
		return -r;
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

/* The last line that says something is the one with the reason. */
static void last_line(char *text, char *out, size_t n)
{
	char *save = NULL, *last = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		if (*line)
			last = line;
	snprintf(out, n, "%s", last ? last : "failed without a word");
}

static void ask(const char *criu, const char *feature, char *answer, size_t n)
{
	char out[CRIU_OUTPUT_MAX];
	const char *argv[] = { "timeout", CRIU_PATIENCE, criu, "check", feature ? "--feature" : NULL,
			       feature,   NULL };
	int r = run((char *const *)(uintptr_t)argv, out);

	if (r == 0)
		snprintf(answer, n, "yes");
	else if (r < 0)
		snprintf(answer, n, "cannot run %s: %s", criu, strerror(-r));
	else
		last_line(out, answer, n);
}

void lx_facts_ask_criu(const char *libexec_dir, struct lx_facts_criu *ret)
{
	char out[CRIU_OUTPUT_MAX];
	lx_autofree char *criu = lx_criu_find(libexec_dir);
	const char *argv[] = { "timeout", CRIU_PATIENCE, criu, "--version", NULL };

	*ret = (struct lx_facts_criu){ 0 };
	if (!criu || run((char *const *)(uintptr_t)argv, out) != 0)
		return;
	const char *v = strstr(out, "Version:");

	if (!v)
		return;
	for (v += strlen("Version:"); isspace((unsigned char)*v); v++)
		;
	snprintf(ret->version, sizeof(ret->version), "%.*s", (int)strcspn(v, " \t\r\n"), v);
	ask(criu, NULL, ret->check, sizeof(ret->check));
	ask(criu, "mem_dirty_track", ret->soft_dirty, sizeof(ret->soft_dirty));
}
