/*
 * The kernel does what has to be done at the end: a tracer that exits lets go of all that it traces, and a
 * stop that it had asked for is forgotten where it has not come about yet.
 *
 * Ways to fail: no memory, no process; no right to the descriptors.
 */
#include "migration/drain.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/unix_diag.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fs.h"
#include "lib/map.h"
#include "migration/descriptors.h"
#include "migration/sock_diag.h"
#include "migration/sockets.h"

#define LOOK_MS     20u
#define PATIENCE_MS 500u

/* ------------------------------------------------------------------ who writes */

struct finding {
	struct lx_map unread, peers; /* "socket:[inode]" */
};

static int set_peer(void *arg, const struct nlmsghdr *h, size_t left, struct lx_err *err)
{
	struct finding *f = arg;
	const struct unix_diag_msg *m = NLMSG_DATA(h);
	uint32_t peer = 0;
	char name[64];
	size_t len;
	const void *p = lx_sock_diag_attribute(h, sizeof(*m), UNIX_DIAG_PEER, sizeof(peer), &len);

	if (!p)
		return 0;
	memcpy(&peer, p, sizeof(peer));
	snprintf(name, sizeof(name), "socket:[%u]", peer);
	if (!lx_map_has(&f->unread, name))
		return 0;
	snprintf(name, sizeof(name), "socket:[%u]", m->udiag_ino);
	return lx_map_set(&f->peers, name, NULL) < 0 ? lx_err_oom(err) : 0;
}

static int find_peers(struct finding *f, pid_t init, struct lx_err *err)
{
	struct {
		struct nlmsghdr h;
		struct unix_diag_req u;
	} req = { .u = { .sdiag_family = AF_UNIX, .udiag_states = ~0u, .udiag_show = UDIAG_SHOW_PEER } };
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)init);
	lx_autoclose int net = open(path, O_RDONLY | O_CLOEXEC);
	lx_autoclose int fd = net < 0 ? -1 : lx_sock_diag_open(net, err);

	if (net < 0)
		return lx_err_errno(err, errno, "cannot open %s", path);
	return fd < 0 ? fd : lx_sock_diag_ask(fd, &req, sizeof(req), set_peer, f, err);
}

static bool is_peer(const char *target, void *arg)
{
	const struct finding *f = arg;

	return lx_map_has(&f->peers, target);
}

static int found(int fd, int number, const char *target, void *arg, struct lx_err *err)
{
	return -EEXIST;
}

static bool writes(struct finding *f, pid_t pid)
{
	const struct lx_descriptors d = { .wanted = is_peer, .each = found, .arg = f };

	return lx_descriptors_each(pid, &d, NULL) == -EEXIST;
}

/* Those of `pids` that write to what is unread and have nothing to read, to the front of `ret`. */
static int find_writers(struct finding *f, pid_t init, const pid_t *pids, size_t n, pid_t *ret,
			struct lx_err *err)
{
	size_t others = 0;
	int writers = 0, r = 0;

	for (size_t i = 0; r >= 0 && i < n; i++) {
		r = lx_sockets_unread_names(pids[i], &f->unread, err);
		if (r == 0)
			ret[others++] = pids[i];
	}
	if (r >= 0)
		r = find_peers(f, init, err);
	for (size_t i = 0; r >= 0 && i < others; i++)
		if (ret[i] != init && writes(f, ret[i]))
			ret[writers++] = ret[i];
	return r < 0 ? r : writers;
}

/* ------------------------------------------------------------------ holding */

static void stop_threads(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	lx_autoclosedir DIR *dir = opendir(path);

	for (struct dirent *e; dir && (e = readdir(dir));) {
		pid_t tid = (pid_t)strtol(e->d_name, NULL, 10);

		/* Gone, or traced by another one. */
		if (tid > 0 && ptrace(PTRACE_SEIZE, tid, 0, 0) == 0)
			(void)ptrace(PTRACE_INTERRUPT, tid, 0, 0);
	}
}

__attribute__((noreturn)) static void trace(const pid_t *pids, int n, int ready, pid_t parent)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	for (int i = 0; i < n; i++)
		stop_threads(pids[i]);
	(void)lx_write_full(ready, "r", 1);
	for (;;)
		pause();
}

static int start_tracer(struct lx_drain *d, const pid_t *pids, int n, struct lx_err *err)
{
	pid_t parent = getpid();
	char byte;
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return lx_err_errno(err, errno, "cannot make a pipe");
	lx_autoclose int read_end = p[0];
	pid_t child = fork();

	if (child == 0)
		trace(pids, n, p[1], parent);
	int saved = errno;

	close(p[1]);
	if (child < 0)
		return lx_err_errno(err, saved, "cannot start a process that holds others");
	d->child = child;
	/* Not before all have been told. */
	if (lx_read_full(read_end, &byte, 1) == 1)
		return n;
	lx_drain_end(d);
	return lx_err_set(err, LX_INTERNAL, "the process that holds others has ended");
}

int lx_drain_begin(struct lx_drain *d, pid_t init, const pid_t *pids, size_t n, struct lx_err *err)
{
	lx_autofree pid_t *writers = calloc(n ? n : 1, sizeof(*writers));
	struct finding f;

	lx_drain_end(d);
	if (!writers)
		return lx_err_oom(err);
	lx_map_init(&f.unread, NULL);
	lx_map_init(&f.peers, NULL);
	int r = find_writers(&f, init, pids, n, writers, err);

	lx_map_release(&f.unread);
	lx_map_release(&f.peers);
	return r > 0 ? start_tracer(d, writers, r, err) : r;
}

bool lx_drain_wait(const pid_t *pids, size_t n, unsigned max_ms)
{
	uint64_t now = lx_now_monotonic_ns(), end = now + max_ms * (uint64_t)LX_NSEC_PER_MSEC, changed = now;
	uint64_t before = 0, bytes = 0;

	while (lx_sockets_unread_bytes(pids, n, &bytes, NULL) == 0 && bytes > 0 && now < end) {
		if (bytes != before)
			changed = now;
		else if (now - changed > PATIENCE_MS * (uint64_t)LX_NSEC_PER_MSEC)
			return false;
		before = bytes;
		usleep(LOOK_MS * 1000);
		now = lx_now_monotonic_ns();
	}
	return true;
}

void lx_drain_end(struct lx_drain *d)
{
	if (d->child <= 0)
		return;
	kill(d->child, SIGKILL);
	while (waitpid(d->child, NULL, 0) < 0 && errno == EINTR)
		;
	d->child = 0;
}
