/*
 * CRIU's dump, step by step.
 *
 * It is started while the guest still runs, so that what it does first (looking at the kernel,
 * linking) costs no downtime, and held at "pre-dump". It is a process group of its own: when
 * this worker is killed, CRIU is not, meets a closed socket at its next step, and takes back
 * what it has done.
 */
#include "agent/worker/move/dump.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/worker/instance/proc.h"
#include "agent/worker/move/policy.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/oom.h"
#include "lib/str.h"
#include "migration/criu.h"
#include "migration/criu_kill.h"
#include "migration/hidden_pages.h"
#include "migration/policy_namespace.h"

/* How long CRIU may say nothing: dumping memory is one step. */
#define STEP_TIMEOUT_MS 120000
/* For taking back, or for killing the guest. */
#define END_TIMEOUT_MS 20000
#define LOG_MAX        (4u << 20)
#define PROGRAM_PATH   "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static const char pre_dump[] = "pre-dump", network_lock[] = "network-lock", post_dump[] = "post-dump";

/* ------------------------------------------------------------------ starting */

/* A lazy dump holds on to the pages through pipes, of which it needs many. */
static void allow_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* `pages`: CRIU's end of the connection for its pages, or -1. */
static void become_criu(const struct lx_move *m, const struct lx_criu_args *args, int pages)
{
	lx_autofree char *hook = lx_asprintf(LX_MOVE_MARK "=%s/hook", m->dir);
	lx_autofree char *words = lx_asprintf("%s/criu.err", m->dir);
	lx_autofree char *path = lx_asprintf("PATH=%s/" LX_CRIU_TOOLS ":" PROGRAM_PATH, m->libexec);
	lx_autofree char *hidden = lx_asprintf(LX_HIDDEN_PAGES_DIR "=%s/" LX_HIDDEN_PAGES, m->images);
	lx_autofree char *preload = lx_asprintf("LD_PRELOAD=%s/" LX_HIDDEN_PAGES_LIBRARY, m->libexec);
	char policy[LX_POLICY_KEPT_MAX];

	lx_policy_kept_path(m->dir, policy);
	lx_autofree char *kept = lx_asprintf(LX_POLICY_KEPT "=%s", policy);
	char *env[] = { path, hook, hidden, preload, kept, NULL };
	int null = open("/dev/null", O_RDWR),
	    out = words ? open(words, O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;

	if (!hook || !path || !hidden || !preload || !kept || null < 0 || out < 0 || !args->v[0])
		_exit(127);
	setpgid(0, 0);
	dup2(null, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	if (pages >= 0 && dup2(pages, LX_CRIU_PAGES_FD) < 0)
		_exit(127);
	syscall(SYS_close_range, pages >= 0 ? LX_CRIU_PAGES_FD + 1 : STDERR_FILENO + 1, ~0u, 0);
	allow_files();
	lx_oom_spare();
	execve(args->v[0], args->v, env);
	_exit(127);
}

static int spawn(struct lx_move *m, const struct lx_criu_args *args, bool lazy, struct lx_dump *d,
		 struct lx_err *err)
{
	int ends[2] = { -1, -1 };

	if (lazy && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return lx_err_errno(err, errno, "cannot make a socket for CRIU");
	d->pages = ends[0];
	d->pid = fork();
	if (d->pid == 0)
		become_criu(m, args, ends[1]);
	if (ends[1] >= 0)
		close(ends[1]);
	if (d->pid < 0) {
		d->pid = 0;
		return lx_err_errno(err, errno, "cannot start CRIU");
	}
	d->pidfd = (int)syscall(SYS_pidfd_open, d->pid, 0);
	return d->pidfd < 0 ? lx_err_errno(err, errno, "cannot watch CRIU") : 0;
}

/* ------------------------------------------------------------------ steps */

static int explain(const struct lx_move *m, struct lx_dump *d, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX + 32], doing[LX_NAME_MAX + 16];
	lx_autobuf struct lx_buf log = { 0 };
	siginfo_t how = { 0 };

	/* Its log would tell of something else. */
	if (waitid(P_PID, (id_t)d->pid, &how, WEXITED | WNOWAIT) == 0 && how.si_code != CLD_EXITED) {
		d->killed = true;
		return lx_err_set(err, LX_ABORTED, "CRIU was killed by signal %d while it dumped %s",
				  how.si_status, m->job->name);
	}

	snprintf(doing, sizeof(doing), "dump %s", m->job->name);
	snprintf(path, sizeof(path), "%s/" LX_CRIU_DUMP_LOG, m->images);
	if (lx_read_file(path, LOG_MAX, &log, NULL) < 0 || log.len == 0) {
		snprintf(path, sizeof(path), "%s/criu.err", m->dir);
		(void)lx_read_file(path, LOG_MAX, &log, NULL);
	}
	int r = lx_criu_explain(lx_buf_str(&log), doing, err);

	d->passes = r == -EAGAIN;
	return r;
}

/* Those that CRIU has closed since. */
static int take_files(struct lx_dump *d, struct lx_err *err)
{
	char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t n = read(d->files, buf, sizeof(buf));
	int r = 0;

	for (ssize_t at = 0; r == 0 && at + (ssize_t)sizeof(struct inotify_event) <= n;) {
		const struct inotify_event *e = (const void *)(buf + at);

		/* A queue that ran over is no harm: what is not sent now is sent at the end. */
		if (e->len > 0 && d->on_file)
			r = d->on_file(d->arg, e->name, err);
		at += (ssize_t)(sizeof(*e) + e->len);
	}
	return r;
}

/* Until CRIU comes to `action`, which is held; steps before it go by. A peer that ends the talk ends this. */
static int wait_for(struct lx_move *m, struct lx_dump *d, const char *action, struct lx_err *err)
{
	struct pollfd p[] = {
		{ .fd = d->hooks, .events = POLLIN },
		{ .fd = d->pidfd, .events = POLLIN },
		{ .fd = m->talk.fd, .events = POLLIN },
		{ .fd = d->on_file ? d->files : -1, .events = POLLIN },
	};

	for (;;) {
		int n = poll(p, LX_ARRAY_SIZE(p), STEP_TIMEOUT_MS);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return lx_err_set(err, LX_DEADLINE_EXCEEDED, "CRIU has made no step for %d s",
					  STEP_TIMEOUT_MS / 1000);
		if (p[0].revents) {
			int r = lx_hooks_take(d->hooks, &d->held, err);

			if (r < 0)
				return r;
			if (r == 0)
				continue;
			if (lx_streq(d->held.action, action))
				return 0;
			lx_hook_answer(&d->held, 0);
		} else if (p[1].revents) {
			return explain(m, d, err);
		} else if (p[3].revents) {
			int r = take_files(d, err);

			if (r < 0)
				return r;
		} else {
			/* Nothing is due from there: whatever it is ends the move. */
			int r = lx_talk_expect(&m->talk, LXMGR__V1__MOVE_FRAME__WHAT_READY, NULL, err);

			return r < 0 ? r
				     : lx_err_set(err, LX_INVALID_ARGUMENT, "the other node is ahead of us");
		}
	}
}

int lx_dump_start(struct lx_move *m, pid_t init, bool lazy, bool v2_only, const struct lx_criu_mounts *mounts,
		  struct lx_dump *d, struct lx_err *err)
{
	lx_autofree char *criu = lx_criu_find(m->libexec), *hook = lx_path_join(m->libexec, "lx-criu-hook");
	lx_autofree char *socket = lx_path_join(m->dir, "hook"), *yard = lx_path_join(m->dir, "yard");
	lx_autofree char *hidden = lx_path_join(m->images, LX_HIDDEN_PAGES);
	struct lx_criu_args args = { .n = 0 };

	*d = LX_DUMP_NONE;
	if (!criu) {
		int r = lx_err_set(err, LX_FAILED_PRECONDITION, "there is no CRIU on this node");

		lx_err_hint(err, "Install " LX_CRIU_VERSION_MIN " or newer there: scripts/install-criu");
		return r;
	}
	if (!hook || !socket || !yard || !hidden)
		return lx_err_oom(err);
	const struct lx_criu_dump how = { .criu = criu,
					  .init = init,
					  .images = m->images,
					  .freezer = m->payload,
					  .cgroup = m->cgroup,
					  .hook = hook,
					  .lazy = lazy,
					  .v2_only = v2_only ? yard : NULL,
					  .mounts = *mounts };
	/* The tar that CRIU runs comes to it as the guest's root. */
	int r = lx_mkdir_p(hidden, 0711, err);

	if (r == 0 && v2_only)
		r = lx_move_yard(m, yard, err);
	if (r == 0)
		r = lx_hooks_open(socket, &d->hooks, err);
	if (r == 0)
		r = lx_criu_dump_args(&how, &args, err);
	if (r < 0)
		return r;
	r = spawn(m, &args, lazy, d, err);
	lx_criu_args_release(&args);
	return r < 0 ? r : wait_for(m, d, pre_dump, err);
}

void lx_dump_go(struct lx_move *m, struct lx_dump *d, lx_dump_file_fn on_file, void *arg)
{
	d->files = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	/* Without it all is sent when all is there. */
	if (d->files >= 0 && inotify_add_watch(d->files, m->images, IN_CLOSE_WRITE) >= 0) {
		d->on_file = on_file;
		d->arg = arg;
	}
	lx_hook_answer(&d->held, 0);
}

int lx_dump_seized(struct lx_move *m, struct lx_dump *d, struct lx_err *err)
{
	int r = wait_for(m, d, network_lock, err);

	if (r == 0)
		lx_hook_answer(&d->held, 0);
	return r;
}

int lx_dump_wait(struct lx_move *m, struct lx_dump *d, struct lx_err *err)
{
	return wait_for(m, d, post_dump, err);
}

/* ------------------------------------------------------------------ the end */

/* What a lazy dump then waits for: that nobody wants its pages any more. */
static void close_pages(struct lx_dump *d)
{
	if (d->pages >= 0)
		close(d->pages);
	d->pages = -1;
}

/* Waits for it, answering `code` at the steps on the way. */
static void wait_exit(struct lx_dump *d, unsigned char code)
{
	struct pollfd p[] = { { .fd = d->pidfd, .events = POLLIN }, { .fd = d->hooks, .events = POLLIN } };

	close_pages(d);
	if (d->pid <= 0)
		return;
	for (;;) {
		int n = poll(p, LX_ARRAY_SIZE(p), END_TIMEOUT_MS);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			kill(d->pid, SIGKILL);
		else if (!p[0].revents) {
			if (lx_hooks_take(d->hooks, &d->held, NULL) == 1)
				lx_hook_answer(&d->held, lx_streq(d->held.action, pre_dump) ||
									 lx_streq(d->held.action, post_dump)
								 ? code
								 : 0);
			continue;
		}
		break;
	}
	waitpid(d->pid, NULL, 0);
	d->pid = 0;
}

void lx_dump_end(struct lx_dump *d)
{
	lx_hook_answer(&d->held, 0);
	wait_exit(d, 0);
}

void lx_dump_back(struct lx_dump *d)
{
	lx_hook_answer(&d->held, 1);
	wait_exit(d, 1);
}

bool lx_dump_is_held(const struct lx_dump *d)
{
	struct pollfd p = { .fd = d->pidfd, .events = POLLIN };

	return d->pid > 0 && poll(&p, 1, 0) == 0;
}

int lx_dump_check(const struct lx_move *m, struct lx_dump *d, struct lx_err *err)
{
	return lx_dump_is_held(d) ? 0 : explain(m, d, err);
}

void lx_dump_release(struct lx_dump *d)
{
	if (d->hooks >= 0)
		close(d->hooks);
	if (d->pidfd >= 0)
		close(d->pidfd);
	if (d->files >= 0)
		close(d->files);
	close_pages(d);
	*d = LX_DUMP_NONE;
}
