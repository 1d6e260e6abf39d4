/*
 * Keeps one dnsmasq as it is wanted: see the drawing in the header.
 *
 * drive() looks at the state and at what is wanted and makes the next move; every event (the
 * starter exited, the daemon died, a timer fired) updates the state and calls it again. Ways
 * to fail: dnsmasq is not installed or refuses to start (its words are in the error); it dies
 * again and again (logged; tried again with growing pauses).
 */
#include "agent/network/dnsmasq.h"

#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/network/child.h"
#include "agent/network/dnsmasq_args.h"
#include "agent/network/paths.h"
#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/sm.h"
#include "lib/str.h"

#define RETRY_FIRST_MS 100
#define RETRY_LAST_MS  30000
#define STABLE_MS      60000 /* up for that long: the next failure is a new one */
#define KILL_AFTER_MS  2000
#define CMDLINE_MAX    16384

enum state { DOWN, STARTING, UP, STOPPING, WAITING, N_STATES };

static const char *const state_names[N_STATES] = { "down", "starting", "up", "stopping", "waiting" };
static const uint32_t allowed[N_STATES] = {
	[DOWN] = LX_SM_TO(STARTING) | LX_SM_TO(UP) | LX_SM_TO(WAITING),
	[STARTING] = LX_SM_TO(UP) | LX_SM_TO(WAITING) | LX_SM_TO(DOWN),
	[UP] = LX_SM_TO(STOPPING) | LX_SM_TO(WAITING) | LX_SM_TO(DOWN),
	[STOPPING] = LX_SM_TO(DOWN),
	[WAITING] = LX_SM_TO(DOWN),
};
static const struct lx_sm_def machine = { "dnsmasq", state_names, N_STATES, allowed };

struct lx_dnsmasq {
	uv_loop_t *loop;
	char *network;
	char *dir;
	char *pid_file;
	const char *user;
	unsigned state;

	char **args; /* what is wanted; NULL: that it does not run */

	pid_t pid; /* while UP or STOPPING */
	int pidfd;
	uv_poll_t poll;
	bool poll_open;
	uint64_t up_since_ns;
	bool reload_due; /* asked for while STARTING */

	uv_timer_t timer; /* STOPPING: to the SIGKILL; WAITING: to the next try */
	uint64_t retry_ms;

	lx_dnsmasq_cb cb;
	void *arg;

	bool freeing;
	void (*freed_cb)(void *arg);
	void *freed_arg;
};

static int drive(struct lx_dnsmasq *d, struct lx_err *err);
static void finish_free(struct lx_dnsmasq *d);

static void move(struct lx_dnsmasq *d, enum state to)
{
	lx_sm_move(&machine, &d->state, to, d->network);
}

/* ------------------------------------------------------------------ telling who waits */

static void settle(struct lx_dnsmasq *d, const struct lx_err *err)
{
	lx_dnsmasq_cb cb = d->cb;

	d->cb = NULL;
	if (cb)
		cb(err, d->arg);
}

static void on_retry(uv_timer_t *timer);

/* Tries again later, if it is still wanted then. */
static void wait_and_retry(struct lx_dnsmasq *d)
{
	move(d, WAITING);
	uv_timer_start(&d->timer, on_retry, d->retry_ms, 0);
	d->retry_ms = d->retry_ms * 2 < RETRY_LAST_MS ? d->retry_ms * 2 : RETRY_LAST_MS;
}

/* After an event: the next move, and the answer when there is nothing more to do. */
static void go_on(struct lx_dnsmasq *d)
{
	struct lx_err err = LX_ERR_INIT;
	bool asked = d->cb != NULL;
	int r = drive(d, &err);

	if (r < 0) {
		if (!asked)
			lx_warn("cannot start dnsmasq, will try again", "network=%s in_ms=%llu error=\"%s\"",
				d->network, (unsigned long long)d->retry_ms, err.msg);
		wait_and_retry(d);
	}
	if (r != 0)
		settle(d, r < 0 ? &err : NULL);
}

static void on_retry(uv_timer_t *timer)
{
	struct lx_dnsmasq *d = timer->data;

	move(d, DOWN);
	go_on(d);
}

/* ------------------------------------------------------------------ the process */

static int send_signal(const struct lx_dnsmasq *d, int number)
{
	return (int)syscall(SYS_pidfd_send_signal, d->pidfd, number, NULL, 0);
}

/* Appends the arguments as the kernel shows them: each followed by a NUL. */
static int join_args(char *const *args, struct lx_buf *out)
{
	int r = 0;

	for (; *args && r == 0; args++)
		r = lx_buf_append(out, *args, strlen(*args) + 1);
	return r;
}

static int read_cmdline(pid_t pid, struct lx_buf *out)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	return lx_read_file(path, CMDLINE_MAX, out, NULL);
}

/* Whether a command line is that of a dnsmasq with our pid file. */
static bool is_ours(const struct lx_dnsmasq *d, const struct lx_buf *cmdline)
{
	const char *p = lx_buf_str(cmdline), *end = p + cmdline->len;
	size_t option = strlen("--pid-file=");

	for (; p < end; p += strlen(p) + 1)
		if (lx_starts_with(p, "--pid-file=") && lx_streq(p + option, d->pid_file))
			return true;
	return false;
}

static bool was_upgraded(pid_t pid)
{
	char path[64], exe[512];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	n = readlink(path, exe, sizeof(exe) - 1);
	exe[n < 0 ? 0 : n] = '\0';
	return lx_ends_with(exe, " (deleted)");
}

/* Whether what runs is what is wanted. */
static bool is_as_wanted(const struct lx_dnsmasq *d)
{
	lx_autobuf struct lx_buf runs = { 0 }, wanted = { 0 };

	if (!d->args || read_cmdline(d->pid, &runs) < 0 || join_args(d->args, &wanted) < 0)
		return false;
	return runs.len == wanted.len && memcmp(lx_buf_str(&runs), lx_buf_str(&wanted), wanted.len) == 0 &&
	       !was_upgraded(d->pid);
}

static void on_gone(uv_handle_t *handle)
{
	struct lx_dnsmasq *d = handle->data;

	close(d->pidfd);
	d->pidfd = -1;
	d->poll_open = false;
	if (d->freeing) {
		finish_free(d);
		return;
	}
	uv_timer_stop(&d->timer);
	if (d->state == STOPPING || !d->args) {
		move(d, DOWN);
		go_on(d);
		return;
	}
	if (lx_now_monotonic_ns() - d->up_since_ns >= STABLE_MS * LX_NSEC_PER_MSEC)
		d->retry_ms = RETRY_FIRST_MS;
	lx_warn("dnsmasq died, starting it again", "network=%s pid=%d in_ms=%llu", d->network, (int)d->pid,
		(unsigned long long)d->retry_ms);
	wait_and_retry(d);
}

static void on_pidfd(uv_poll_t *poll, int status, int events)
{
	uv_close((uv_handle_t *)poll, on_gone);
}

/* Watches the process of the pid file, if there is one and it is ours: 1. */
static int find(struct lx_dnsmasq *d)
{
	lx_autobuf struct lx_buf cmdline = { 0 };
	char line[32];
	int64_t pid;
	int r = lx_read_line(d->pid_file, line, sizeof(line));

	if (r < 0 || lx_parse_i64(line, &pid) < 0 || pid <= 1 || pid > INT32_MAX)
		return 0;
	/* Held before it is looked at: the number cannot change its owner in between. */
	lx_autoclose int pidfd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);

	if (pidfd < 0 || read_cmdline((pid_t)pid, &cmdline) < 0 || !is_ours(d, &cmdline))
		return 0;
	r = uv_poll_init(d->loop, &d->poll, pidfd);
	if (r < 0)
		return r;
	d->poll.data = d;
	d->poll_open = true;
	d->pidfd = lx_move_fd(pidfd);
	d->pid = (pid_t)pid;
	d->up_since_ns = lx_now_monotonic_ns();
	uv_poll_start(&d->poll, UV_READABLE, on_pidfd);
	return 1;
}

static void on_kill(uv_timer_t *timer)
{
	struct lx_dnsmasq *d = timer->data;

	send_signal(d, SIGKILL);
}

static void on_started(const char *out, const struct lx_err *start_err, void *arg)
{
	struct lx_dnsmasq *d = arg;
	struct lx_err err = LX_ERR_INIT;

	if (d->freeing) {
		finish_free(d);
		return;
	}
	if (start_err) {
		err = *start_err;
		lx_err_wrap(&err, "cannot start DNS and DHCP");
		if (strstr(err.msg, "Address already in use"))
			lx_err_hint(&err,
				    "Another server listens on port 53 or 67 of every address; find it with: "
				    "ss -lnup 'sport = :53 or sport = :67'");
	} else if (find(d) == 1) {
		move(d, UP);
		if (d->reload_due)
			lx_dnsmasq_reload(d);
		go_on(d);
		return;
	} else {
		lx_err_set(&err, LX_UNAVAILABLE, "dnsmasq ended as soon as it had started");
	}
	if (!d->args) {
		move(d, DOWN);
		settle(d, NULL);
		return;
	}
	if (!d->cb)
		lx_warn("cannot start dnsmasq, will try again", "network=%s in_ms=%llu error=\"%s\"",
			d->network, (unsigned long long)d->retry_ms, err.msg);
	wait_and_retry(d);
	settle(d, &err);
}

/* Makes the next move. 1: all is as wanted, 0: an event will come, negative: could not start. */
static int drive(struct lx_dnsmasq *d, struct lx_err *err)
{
	int r;

	if (d->state == DOWN) {
		r = find(d);
		if (r < 0)
			return lx_err_errno(err, r, "cannot watch dnsmasq");
		if (r == 1)
			move(d, UP);
	}
	switch (d->state) {
	case DOWN:
		if (!d->args)
			return 1;
		r = lx_child_run(d->loop, (const char *const *)d->args, NULL, on_started, d, err);
		if (r < 0)
			return r;
		move(d, STARTING);
		return 0;
	case UP:
		if (is_as_wanted(d))
			return 1;
		move(d, STOPPING);
		send_signal(d, SIGTERM);
		uv_timer_start(&d->timer, on_kill, KILL_AFTER_MS, 0);
		return 0;
	default:
		return 0;
	}
}

/* ------------------------------------------------------------------ what the header promises */

int lx_dnsmasq_create(uv_loop_t *loop, const char *network, const char *dir, struct lx_dnsmasq **ret,
		      struct lx_err *err)
{
	struct lx_dnsmasq *d = calloc(1, sizeof(*d));

	if (!d)
		return lx_err_oom(err);
	d->loop = loop;
	d->pidfd = -1;
	d->retry_ms = RETRY_FIRST_MS;
	d->user = getpwnam("dnsmasq") ? "dnsmasq" : "nobody";
	d->network = strdup(network);
	d->dir = strdup(dir);
	d->pid_file = lx_path_join(dir, LX_NETWORK_PID_FILE);
	if (!d->network || !d->dir || !d->pid_file) {
		free(d->network);
		free(d->dir);
		free(d->pid_file);
		free(d);
		return lx_err_oom(err);
	}
	uv_timer_init(loop, &d->timer);
	d->timer.data = d;
	*ret = d;
	return 0;
}

int lx_dnsmasq_ensure(struct lx_dnsmasq *d, const struct lx_network_config *config, lx_dnsmasq_cb cb,
		      void *arg, struct lx_err *err)
{
	char **args = NULL;
	int r;

	if (config) {
		args = lx_dnsmasq_args(config, if_nametoindex(config->name), d->dir, d->user);
		if (!args)
			return lx_err_oom(err);
	}
	lx_dnsmasq_args_free(d->args);
	d->args = args;
	if (d->state == WAITING) {
		uv_timer_stop(&d->timer);
		move(d, DOWN);
	}
	d->retry_ms = RETRY_FIRST_MS;
	r = drive(d, err);
	if (r < 0)
		wait_and_retry(d);
	if (r == 0) {
		d->cb = cb;
		d->arg = arg;
	}
	return r;
}

void lx_dnsmasq_reload(struct lx_dnsmasq *d)
{
	if (d->state == UP)
		send_signal(d, SIGHUP);
	d->reload_due = d->state == STARTING;
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct lx_dnsmasq *d = handle->data;
	void (*cb)(void *) = d->freed_cb;
	void *arg = d->freed_arg;

	lx_dnsmasq_args_free(d->args);
	free(d->network);
	free(d->dir);
	free(d->pid_file);
	free(d);
	if (cb)
		cb(arg);
}

static void finish_free(struct lx_dnsmasq *d)
{
	uv_close((uv_handle_t *)&d->timer, on_timer_closed);
}

void lx_dnsmasq_free(struct lx_dnsmasq *d, void (*cb)(void *arg), void *arg)
{
	if (!d)
		return;
	d->freeing = true;
	d->freed_cb = cb;
	d->freed_arg = arg;
	d->cb = NULL;
	if (d->state == STARTING)
		return; /* on_started finishes */
	if (!d->poll_open) {
		finish_free(d);
		return;
	}
	if (!uv_is_closing((uv_handle_t *)&d->poll))
		uv_close((uv_handle_t *)&d->poll, on_gone);
}
