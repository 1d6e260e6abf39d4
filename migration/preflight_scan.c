/*
 * Reading what there is to judge. In this order: the guest's processes, their mounts, then of
 * each process its namespaces, descriptors and memory, then its sockets.
 *
 * Nothing is opened but files of /proc itself: links below fd/ and map_files/ are looked at
 * with statx(2), without asking a file system for news (a FUSE server inside may not answer),
 * and a socket's protocol through a descriptor that only names it (O_PATH). Processes end and
 * descriptors are closed meanwhile; what is gone is no obstacle.
 */
#include "migration/preflight_scan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/str.h"

#define LOOKS_MAX     3u
#define LOOK_AGAIN_MS 20u

static const char *const kinds[LX_SCAN_KINDS] = {
	"user", "uts", "ipc", "pid", "cgroup", "net", "time", "pid_for_children", "time_for_children"
};

int lx_scan_report(struct lx_scan *s, const struct lx_guest_process *p, const struct lx_verdict *v,
		   struct lx_err *err)
{
	struct lx_preflight_process of;

	if (!v->code)
		return 0;
	of = (struct lx_preflight_process){ p->status.inside, p->status.name, p->unit };
	return lx_preflight_report_add(&s->report, v, &of, err);
}

int lx_scan_link(int dir, const char *name, char *out, size_t n)
{
	ssize_t len = readlinkat(dir, name, out, n - 1);

	if (len < 0)
		return -errno;
	out[len] = '\0';
	return 0;
}

/* ---- processes ---- */

static int open_of(pid_t pid, const char *what)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Of all processes first: a descriptor of a namespace is judged by whether one lives there. */
static int collect_namespaces(struct lx_scan *s, const struct lx_guest_process *p, struct lx_err *err)
{
	char link[64];
	lx_autoclose int dir = open_of(p->pid, "ns");

	for (size_t i = 0; dir >= 0 && i < LX_ARRAY_SIZE(kinds); i++)
		if (lx_scan_link(dir, kinds[i], link, sizeof(link)) == 0 &&
		    lx_map_set(&s->namespaces, link, (void *)p) < 0)
			return lx_err_oom(err);
	if (dir >= 0 && lx_scan_link(dir, "mnt", link, sizeof(link)) == 0 &&
	    lx_map_set(&s->namespaces, link, (void *)p) < 0)
		return lx_err_oom(err);
	return 0;
}

static void close_net(void *fd)
{
	close(*(int *)fd);
	free(fd);
}

/* Open from here on: who lives in it now may have ended when its sockets are asked about. */
static int keep_net(struct lx_scan *s, const char *link, int dir)
{
	int *fd = lx_map_has(&s->nets, link) ? NULL : malloc(sizeof(*fd));

	if (!fd)
		return lx_map_has(&s->nets, link) ? 0 : -ENOMEM;
	*fd = openat(dir, "net", O_RDONLY | O_CLOEXEC);
	/* It has ended since. */
	if (*fd < 0) {
		free(fd);
		return 0;
	}
	int r = lx_map_set(&s->nets, link, fd);

	if (r < 0)
		close_net(fd);
	return r;
}

static int look_at_namespaces(struct lx_scan *s, const struct lx_guest_process *p, struct lx_err *err)
{
	char link[64];
	struct lx_verdict v;
	lx_autoclose int dir = open_of(p->pid, "ns");

	for (size_t i = 0; dir >= 0 && i < LX_ARRAY_SIZE(kinds); i++) {
		if (lx_scan_link(dir, kinds[i], link, sizeof(link)) < 0)
			continue;
		if (lx_streq(kinds[i], "net") && keep_net(s, link, dir) < 0)
			return lx_err_oom(err);
		if (lx_streq(link, s->own[i]))
			continue;
		lx_judge_namespace(kinds[i], p->unit, &v);
		int r = lx_scan_report(s, p, &v, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int look_at_status(struct lx_scan *s, const struct lx_guest_process *p, struct lx_err *err)
{
	struct lx_verdict v = { 0 };

	if (p->status.tracer) {
		const struct lx_guest_process *by = lx_guest_process_find(&s->ps, p->status.tracer);

		v.code = "traced";
		snprintf(v.what, sizeof(v.what), "is traced by process %d (%s)",
			 by ? (int)by->status.inside : (int)p->status.tracer,
			 by ? by->status.name : "of the node");
		snprintf(v.cure, sizeof(v.cure), "End the debugger (gdb, strace) first.");
		int r = lx_scan_report(s, p, &v, err);

		if (r < 0)
			return r;
	}
	if (!p->status.session) {
		v.code = "outside-session";
		snprintf(v.what, sizeof(v.what), "belongs to a session of an exec or shell from outside");
		snprintf(v.cure, sizeof(v.cure),
			 "End it, or start it inside as a unit (systemd-run) or in a session of its own "
			 "(setsid).");
		return lx_scan_report(s, p, &v, err);
	}
	return 0;
}

static int look_at_outsider(struct lx_scan *s, const struct lx_guest_process *p, struct lx_err *err)
{
	struct lx_verdict v = { .code = "outside-process", .passes = true };

	if (p->status.state == 'Z' || p->status.state == 'X')
		return 0;
	snprintf(v.what, sizeof(v.what), "was started by exec or shell: it is ended by the move");
	snprintf(v.cure, sizeof(v.cure), "Nothing need be done; exec or shell again after the move.");
	return lx_scan_report(s, p, &v, err);
}

/* ---- all of it ---- */

static int found_socket(void *arg, size_t process, const struct lx_verdict *v, struct lx_err *err)
{
	struct lx_scan *s = arg;
	const struct lx_guest_process *p = &s->ps.p[process];

	return p->outside ? 0 : lx_scan_report(s, p, v, err);
}

/*
 * A unix socket that is in no network namespace of the guest was made outside and handed in.
 * If it was just closed since it was found, it is no more.
 */
static int look_at_unseen(struct lx_scan *s, const struct lx_guest_socket *socket, struct lx_err *err)
{
	const struct lx_guest_process *p = &s->ps.p[socket->process];
	struct lx_verdict v = { .code = "unix-peer" };
	char path[64], link[64], same[64];

	if (!socket->is_unix || socket->seen || p->outside)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)p->pid, socket->fd);
	snprintf(same, sizeof(same), "socket:[%llu]", (unsigned long long)socket->ino);
	if (lx_scan_link(AT_FDCWD, path, link, sizeof(link)) < 0 || !lx_streq(link, same))
		return 0;
	snprintf(v.what, sizeof(v.what), "has a unix socket that was made outside (descriptor %d)",
		 socket->fd);
	snprintf(v.cure, sizeof(v.cure), "End the session it was started from, or restart it as a unit.");
	return lx_scan_report(s, p, &v, err);
}

static int look_at_sockets(struct lx_scan *s, struct lx_err *err)
{
	lx_guest_sockets_sort(&s->sockets);
	for (struct lx_map_entry *e = lx_map_first(&s->nets); e; e = lx_map_next(e)) {
		const int *net = lx_map_value(e);
		int r = lx_preflight_sockets(*net, &s->sockets, found_socket, s, err);

		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < s->sockets.n; i++) {
		int r = look_at_unseen(s, &s->sockets.s[i], err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int look_at_process(struct lx_scan *s, const struct lx_guest_process *p, struct lx_err *err)
{
	int r;

	if (p->outside) {
		r = look_at_outsider(s, p, err);
		return r < 0 ? r : lx_scan_fds(s, p, err);
	}
	if (p->status.state == 'Z' || p->status.state == 'X')
		return 0;
	r = look_at_status(s, p, err);
	if (r == 0)
		r = look_at_namespaces(s, p, err);
	if (r == 0)
		r = lx_scan_fds(s, p, err);
	return r < 0 ? r : lx_scan_maps(s, p, err);
}

static int look_at_all(struct lx_scan *s, struct lx_err *err)
{
	int r = lx_guest_processes_read(s->g->init, s->g->cgroup, &s->ps, err);

	if (r == 0)
		r = lx_scan_collect_mounts(s, err);
	if (r < 0)
		return r;

	lx_autoclose int dir = open_of(s->g->init, "ns");

	for (size_t i = 0; i < LX_ARRAY_SIZE(kinds); i++)
		if (dir < 0 || lx_scan_link(dir, kinds[i], s->own[i], sizeof(s->own[i])) < 0)
			s->own[i][0] = '\0';
	for (size_t i = 0; r == 0 && i < s->ps.n; i++)
		if (!s->ps.p[i].outside)
			r = collect_namespaces(s, &s->ps.p[i], err);
	for (size_t i = 0; r == 0 && i < s->ps.n; i++)
		r = look_at_process(s, &s->ps.p[i], err);
	if (r == 0)
		r = lx_scan_mounts(s, err);
	if (r == 0)
		r = look_at_sockets(s, err);
	return r < 0 ? r : lx_scan_ghosts(s, err);
}

static struct lx_scan *open_scan(const struct lx_preflight_guest *g)
{
	struct lx_scan *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->g = g;
	lx_map_init(&s->namespaces, NULL);
	lx_map_init(&s->nets, close_net);
	lx_preflight_report_init(&s->report);
	return s;
}

static void close_scan(struct lx_scan *s)
{
	lx_preflight_report_release(&s->report);
	lx_map_release(&s->nets);
	lx_map_release(&s->namespaces);
	lx_guest_sockets_release(&s->sockets);
	lx_guest_processes_release(&s->ps);
	lx_guest_mounts_release(&s->mounts);
	lx_mounts_release(&s->outside);
	free(s->mount_ids);
	free(s);
}

/*
 * The guest goes on while it is looked at: a connection that came about meanwhile, say, has one end that was
 * looked for too early. What blocks a move is there at each look.
 */
int lx_preflight_scan(const struct lx_preflight_guest *g, lx_obstacle_fn fn, void *arg, struct lx_err *err)
{
	struct lx_scan *s = NULL;

	for (unsigned look = 1;; look++) {
		s = open_scan(g);
		if (!s)
			return lx_err_oom(err);
		int r = look_at_all(s, err);

		if (r < 0) {
			lx_err_wrap(err, "cannot look for what stands in the way of a move");
			close_scan(s);
			return r;
		}
		if (look == LOOKS_MAX || !lx_preflight_report_blocks(&s->report))
			break;
		close_scan(s);
		usleep(LOOK_AGAIN_MS * 1000);
	}
	int r = lx_preflight_report_give(&s->report, fn, arg, err);

	close_scan(s);
	return r;
}
