/*
 * Runs nft, and starts dnsmasq (which goes into the background by itself and exits when it is
 * ready, or says why not).
 *
 * Standard input and outputs are memory files, so there are no pipes to pump and a child that
 * leaves a descendant behind keeps nothing open that we wait for. One exit event, one timer,
 * one callback. Ways to fail: the program is missing; it exits with non-zero, is killed, or
 * does not end in time and is killed by us.
 */
#include "agent/network/child.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"

#define CHILD_TIMEOUT_MS 10000
/* A rule set listing of a large host is some megabytes. */
#define CHILD_OUTPUT_MAX (16u << 20)
#define CHILD_STDERR_MAX 512

struct child {
	uv_process_t process;
	uv_timer_t timer;
	unsigned open; /* handles still to be closed */
	char *program;
	int out;
	int errors;
	bool timed_out;
	lx_child_cb cb;
	void *arg;
	int64_t exit_status;
	int signal;
};

static void child_free(struct child *c)
{
	if (c->out >= 0)
		close(c->out);
	if (c->errors >= 0)
		close(c->errors);
	free(c->program);
	free(c);
}

/* The content of a memory file, at most `max` bytes of it. */
static int slurp(int fd, size_t max, struct lx_buf *out)
{
	off_t size = lseek(fd, 0, SEEK_END);
	size_t n = size < 0 ? 0 : (size_t)size;

	if (n > max)
		n = max;
	if (n == 0)
		return 0;
	int r = lx_buf_reserve(out, n + 1);

	if (r < 0)
		return r;
	ssize_t got = pread(fd, out->data, n, 0);

	if (got < 0)
		return -errno;
	out->data[got] = '\0';
	out->len = (size_t)got;
	return 0;
}

/* What the program said, as one line. */
static void read_words(int fd, char buf[CHILD_STDERR_MAX])
{
	ssize_t n = pread(fd, buf, CHILD_STDERR_MAX - 1, 0);

	if (n < 0)
		n = 0;
	while (n > 0 && (buf[n - 1] == '\n' || buf[n - 1] == ' '))
		n--;
	buf[n] = '\0';
	for (char *p = buf; *p; p++)
		if ((unsigned char)*p < ' ')
			*p = ' ';
}

static int judge(const struct child *c, struct lx_err *err)
{
	char words[CHILD_STDERR_MAX];

	if (c->timed_out)
		return lx_err_set(err, LX_DEADLINE_EXCEEDED, "%s did not end within %d s and was killed",
				  c->program, CHILD_TIMEOUT_MS / 1000);
	if (c->signal)
		return lx_err_set(err, LX_INTERNAL, "%s was killed by signal %d (%s)", c->program, c->signal,
				  strsignal(c->signal));
	if (c->exit_status == 0)
		return 0;
	read_words(c->errors, words);
	return lx_err_set(err, LX_INTERNAL, "%s failed with status %d: %s", c->program, (int)c->exit_status,
			  *words ? words : "it gave no reason");
}

static void on_closed(uv_handle_t *handle)
{
	struct child *c = handle->data;
	struct lx_err err = LX_ERR_INIT;
	lx_autobuf struct lx_buf out = { 0 };

	if (--c->open > 0)
		return;
	int r = judge(c, &err);

	if (r == 0 && slurp(c->out, CHILD_OUTPUT_MAX, &out) < 0)
		r = lx_err_oom(&err);
	c->cb(lx_buf_str(&out), r < 0 ? &err : NULL, c->arg);
	child_free(c);
}

static void on_exit_status(uv_process_t *process, int64_t status, int signal_number)
{
	struct child *c = process->data;

	c->exit_status = status;
	c->signal = signal_number;
	uv_close((uv_handle_t *)&c->process, on_closed);
	uv_close((uv_handle_t *)&c->timer, on_closed);
}

static void on_timeout(uv_timer_t *timer)
{
	struct child *c = timer->data;

	c->timed_out = true;
	uv_process_kill(&c->process, SIGKILL); /* its exit comes as any other */
}

static int memory_file(const char *content, int *ret)
{
	lx_autoclose int fd = memfd_create("lxmgr-child", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (content && *content) {
		ssize_t n = lx_write_full(fd, content, strlen(content));

		if (n < 0)
			return (int)n;
		if (lseek(fd, 0, SEEK_SET) < 0)
			return -errno;
	}
	*ret = lx_move_fd(fd);
	return 0;
}

/* libuv's child: on failure of the spawn, too, the handle must be closed. */
static void on_abandoned(uv_handle_t *handle)
{
	struct child *c = handle->data;

	if (--c->open == 0)
		child_free(c);
}

int lx_child_run(uv_loop_t *loop, const char *const argv[], const char *input, lx_child_cb cb, void *arg,
		 struct lx_err *err)
{
	struct child *c = calloc(1, sizeof(*c));
	lx_autoclose int in = -1;
	int r;

	if (!c)
		return lx_err_oom(err);
	c->out = c->errors = -1;
	c->cb = cb;
	c->arg = arg;
	c->program = strdup(argv[0]);
	if (!c->program || memory_file(input, &in) < 0 || memory_file(NULL, &c->out) < 0 ||
	    memory_file(NULL, &c->errors) < 0) {
		child_free(c);
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED,
				  "cannot run %s: no memory for its input and output", argv[0]);
	}

	char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	     locale[] = "LC_ALL=C";
	char *env[] = { path, locale, NULL };
	uv_stdio_container_t stdio[] = {
		{ .flags = UV_INHERIT_FD, .data.fd = in },
		{ .flags = UV_INHERIT_FD, .data.fd = c->out },
		{ .flags = UV_INHERIT_FD, .data.fd = c->errors },
	};
	uv_process_options_t options = {
		.exit_cb = on_exit_status,
		.file = argv[0],
		.args = (char **)(uintptr_t)argv, /* libuv does not write to them */
		.env = env,
		.stdio = stdio,
		.stdio_count = LX_ARRAY_SIZE(stdio),
		.flags = UV_PROCESS_DETACHED,
	};

	uv_timer_init(loop, &c->timer);
	c->timer.data = c;
	r = uv_spawn(loop, &c->process, &options);
	c->process.data = c;
	c->open = 2;
	if (r < 0) {
		uv_close((uv_handle_t *)&c->process, on_abandoned);
		uv_close((uv_handle_t *)&c->timer, on_abandoned);
		r = lx_err_errno(err, r, "cannot run %s", argv[0]);
		if (r == -ENOENT)
			lx_err_hint(err, "Install it, or run scripts/install-deps.");
		return r;
	}
	uv_timer_start(&c->timer, on_timeout, CHILD_TIMEOUT_MS, 0);
	return 0;
}
