/*
 * Compiling AppArmor profiles: apparmor_parser reads the text from a file beside the instance's
 * others and writes the binary beside it; the kernel is not touched. What it complains about
 * comes back as an error that names the line of raw.apparmor, when it is one of those.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/worker/instance/lsm.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"

#define PARSER    "/usr/sbin/apparmor_parser"
#define SAID_MAX  4096
#define RAW_BEGIN "\n  # raw.apparmor\n"
/* For a check where the kernel says nothing of its features. */
#define FEATURES      "/etc/apparmor.d/abi/3.0"
#define KERNEL_KNOWN  "/sys/kernel/security/apparmor/features"
#define COMPLAIN_LINE "at line "
/* Few rules can make a compiler busy for hours, and fill the memory of a node: ours take seconds, and 50 MiB.
 */
#define CPU_SECONDS 120
#define MEMORY_MAX  (1024UL << 20)

bool lx_apparmor_can_compile(void)
{
	return access(PARSER, X_OK) == 0;
}

/* Lines before the first of raw.apparmor; 0: there is none. */
static unsigned long lines_before_raw(const struct lx_buf *text)
{
	const char *whole = lx_buf_str(text), *raw = strstr(whole, RAW_BEGIN);
	unsigned long n = 0;

	if (!raw)
		return 0;
	for (const char *p = whole; p < raw + strlen(RAW_BEGIN); p++)
		n += *p == '\n';
	return n;
}

/* What follows "at line N: ", without the newline. */
static int refuse(const struct lx_buf *text, char *said, struct lx_err *err)
{
	if (lx_str_empty(said)) {
		int r = lx_err_set(err, LX_INVALID_ARGUMENT,
				   "raw.apparmor takes more than %d seconds or %lu MiB to compile",
				   CPU_SECONDS, MEMORY_MAX >> 20);

		lx_err_hint(err, "Write fewer rules, and fewer with ** or {,} in the middle of a path.");
		return r;
	}
	char *at = strstr(said, COMPLAIN_LINE), *what = at;
	unsigned long line = at ? strtoul(at + strlen(COMPLAIN_LINE), &what, 10) : 0,
		      before = lines_before_raw(text);

	if (!at || !what)
		what = said;
	else
		what += strspn(what, ": ");
	what[strcspn(what, "\n")] = '\0';
	if (before && line > before) {
		int r = lx_err_set(err, LX_INVALID_ARGUMENT,
				   "raw.apparmor does not compile: line %lu: %.200s", line - before, what);

		lx_err_hint(err, "Rules are as in apparmor.d(5), each ended by a comma: deny /etc/shadow w,");
		return r;
	}
	return lx_err_set(err, LX_INVALID_ARGUMENT, "the AppArmor profile does not compile: line %lu: %.200s",
			  line, what);
}

/* What it said into `said`; its exit code, or a negative errno. */
static int run(char *const *argv, char said[SAID_MAX])
{
	int p[2], status = 0;

	if (pipe2(p, O_CLOEXEC) < 0)
		return -errno;
	pid_t child = fork();

	if (child == 0) {
		const struct rlimit cpu = { CPU_SECONDS, CPU_SECONDS }, memory = { MEMORY_MAX, MEMORY_MAX };
		int null = open("/dev/null", O_RDWR);

		(void)setrlimit(RLIMIT_CPU, &cpu);
		(void)setrlimit(RLIMIT_AS, &memory);
		dup2(null, STDIN_FILENO);
		dup2(p[1], STDOUT_FILENO);
		dup2(p[1], STDERR_FILENO);
		execv(argv[0], argv);
		_exit(127);
	}
	int e = errno;

	close(p[1]);
	ssize_t n = child < 0 ? 0 : lx_read_full(p[0], said, SAID_MAX - 1);

	said[n > 0 ? n : 0] = '\0';
	close(p[0]);
	if (child < 0)
		return -e;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/*
 * What is loaded is whatever stands in the text: with a profile more in it, rules could put themselves in
 * the place of another instance's, or of one of the node's own.
 */
static int check_alone(const char *from, const char *name, struct lx_err *err)
{
	char program[] = PARSER, quiet[] = "--quiet", names[] = "--names", kernel[] = "--kernel-features",
	     features[] = FEATURES, said[SAID_MAX];
	lx_autofree char *file = strdup(from);
	char *const argv[] = { program, quiet, names, kernel, features, file, NULL };

	if (!file)
		return lx_err_oom(err);
	int r = run(argv, said);

	if (r < 0)
		return lx_err_errno(err, r, "cannot run " PARSER);
	size_t n = strlen(name);

	if (r == 0 && strncmp(said, name, n) == 0 && strcmp(said + n, "\n") == 0)
		return 0;
	r = lx_err_set(err, LX_INVALID_ARGUMENT, "raw.apparmor: it opens or closes a profile of its own");
	lx_err_hint(err, "Give rules alone, one a line: they are put into the instance's profile.");
	return r;
}

int lx_apparmor_compile(const struct lx_buf *text, const char *name, const char *dir, const char *binary,
			struct lx_err *err)
{
	/* Simplifying expressions takes minutes for rules like ours, and makes little smaller. */
	char program[] = PARSER, quiet[] = "--quiet", skip_load[] = "--skip-kernel-load",
	     skip_cache[] = "--skip-cache", optimize[] = "-O", simple[] = "no-expr-simplify",
	     out[] = "--ofile", kernel[] = "--kernel-features", features[] = FEATURES;
	lx_autofree char *from = lx_asprintf("%s/.apparmor-%d", dir, (int)getpid()),
			 *to = lx_asprintf("%s", binary ? binary : "");
	char said[SAID_MAX], *argv[16] = { program, quiet, skip_load, skip_cache, optimize, simple };
	size_t n = 6;

	if (!from || !to)
		return lx_err_oom(err);
	if (binary) {
		argv[n++] = out;
		argv[n++] = to;
	}
	if (!lx_path_exists(KERNEL_KNOWN)) {
		argv[n++] = kernel;
		argv[n++] = features;
	}
	argv[n++] = from;
	int r = lx_write_file_atomic(from, text->data, text->len, 0600, err);

	if (r < 0)
		return r;
	r = run(argv, said);
	if (r < 0)
		lx_err_errno(err, r, "cannot run " PARSER);
	else if (r > 0)
		r = refuse(text, said, err);
	else if (lines_before_raw(text))
		r = check_alone(from, name, err);
	(void)unlink(from);
	if (r < 0 && binary)
		(void)unlink(binary);
	return r;
}

/* ------------------------------------------------------------------ as a job */

int lx_job_check_policy(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	struct lx_map config;
	const struct lx_apparmor_input in = { .name = "lxmgr-check", .config = &config };
	lx_autobuf struct lx_buf text = { 0 };
	int r;

	if (!lx_apparmor_can_compile())
		return lx_err_set(err, LX_FAILED_PRECONDITION, "there is no apparmor_parser on this node");
	lx_map_init(&config, NULL);
	r = lx_map_set(&config, "raw.apparmor", job->msg->check_policy->apparmor);
	r = r < 0 ? lx_err_oom(err) : lx_apparmor_policy(&in, &text, err);
	lx_map_release(&config);
	return r < 0 ? r : lx_apparmor_compile(&text, in.name, job->run_dir, NULL, err);
}
