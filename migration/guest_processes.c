/*
 * Finding a guest's processes: the cgroup tree is walked, the status of each read, and from
 * their parents follows who descends from init. Whoever is gone when looked at is left out.
 * A parent that died in between makes a child look like a stranger; it is asked once more.
 */
#include "migration/guest_processes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"

#define STATUS_MAX 8192u

/* cgroup.procs of a million processes, and /proc/<pid>/status. */
#define PROCS_TEXT_MAX  (16u * 1024 * 1024)
#define STATUS_TEXT_MAX (64u * 1024)

static int read_status(pid_t pid, struct lx_proc_status *ret)
{
	char path[64];
	lx_autobuf struct lx_buf text = { 0 };

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	int r = lx_read_file(path, STATUS_TEXT_MAX, &text, NULL);

	return r < 0 ? r : lx_proc_status_parse(lx_buf_str(&text), ret);
}

struct walk {
	struct lx_guest_processes *ps;
	size_t cap;
	size_t top; /* length of the payload's path */
};

static int add(struct walk *w, pid_t pid, const char *cgroup, struct lx_err *err)
{
	if (w->ps->n == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 64;
		struct lx_guest_process *p = realloc(w->ps->p, cap * sizeof(*p));

		if (!p)
			return lx_err_oom(err);
		w->ps->p = p;
		w->cap = cap;
	}
	if (w->ps->n >= LX_GUEST_PROCESSES_MAX)
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED, "it has more than %u processes",
				  LX_GUEST_PROCESSES_MAX);

	struct lx_guest_process *p = &w->ps->p[w->ps->n];

	memset(p, 0, sizeof(*p));
	p->pid = pid;
	lx_proc_unit(cgroup + w->top, p->unit);
	w->ps->n++;
	return 0;
}

static int walk_cgroup(struct walk *w, const char *dir, int depth, struct lx_err *err)
{
	lx_autobuf struct lx_buf text = { 0 };
	lx_autofree char *procs = lx_path_join(dir, "cgroup.procs");

	if (!procs)
		return lx_err_oom(err);
	int r = lx_read_file(procs, PROCS_TEXT_MAX, &text, NULL);

	/* Removed meanwhile; threaded ones list nothing, their processes are listed further up. */
	if (depth && (r == -ENOENT || r == -ENODEV))
		return 0;
	if (r < 0 && r != -EOPNOTSUPP)
		return lx_err_errno(err, r, "cannot read %s", procs);
	for (const char *p = lx_buf_str(&text); *p; p = strchrnul(p, '\n'), p += *p == '\n') {
		long pid = strtol(p, NULL, 10);

		/* 0: a process of another PID namespace than ours. */
		if (pid > 0) {
			r = add(w, (pid_t)pid, dir, err);
			if (r < 0)
				return r;
		}
	}

	lx_autoclosedir DIR *d = opendir(dir);

	if (!d)
		return depth && errno == ENOENT ? 0 : lx_err_errno(err, errno, "cannot read cgroup %s", dir);
	if (depth >= LX_GUEST_CGROUPS_DEPTH)
		return 0;
	for (struct dirent *e; (e = readdir(d));) {
		if (e->d_type != DT_DIR || lx_streq(e->d_name, ".") || lx_streq(e->d_name, ".."))
			continue;
		lx_autofree char *sub = lx_path_join(dir, e->d_name);

		if (!sub)
			return lx_err_oom(err);
		r = walk_cgroup(w, sub, depth + 1, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int by_pid(const void *a, const void *b)
{
	pid_t x = ((const struct lx_guest_process *)a)->pid, y = ((const struct lx_guest_process *)b)->pid;

	return x < y ? -1 : x > y;
}

const struct lx_guest_process *lx_guest_process_find(const struct lx_guest_processes *ps, pid_t pid)
{
	struct lx_guest_process key = { .pid = pid };

	return ps->n ? bsearch(&key, ps->p, ps->n, sizeof(key), by_pid) : NULL;
}

static bool descends(const struct lx_guest_processes *ps, const struct lx_guest_process *p, pid_t init)
{
	for (size_t steps = 0; p && steps <= ps->n; steps++) {
		if (p->pid == init || p->status.parent == init)
			return true;
		p = lx_guest_process_find(ps, p->status.parent);
	}
	return false;
}

int lx_guest_processes_read(pid_t init, const char *cgroup, struct lx_guest_processes *ret,
			    struct lx_err *err)
{
	struct walk w = { .ps = ret, .top = strlen(cgroup) };

	*ret = (struct lx_guest_processes){ 0 };
	int r = walk_cgroup(&w, cgroup, 0, err);

	if (r < 0)
		return r;

	size_t n = 0;

	for (size_t i = 0; i < ret->n; i++) {
		ret->p[n] = ret->p[i];
		if (read_status(ret->p[n].pid, &ret->p[n].status) == 0)
			n++;
	}
	ret->n = n;
	if (n)
		qsort(ret->p, n, sizeof(*ret->p), by_pid);
	if (!lx_guest_process_find(ret, init))
		return lx_err_set(err, LX_FAILED_PRECONDITION,
				  "its init (process %d of the node) is not there", (int)init);
	/* Moved from one cgroup to another meanwhile: listed twice. */
	n = 0;
	for (size_t i = 0; i < ret->n; i++)
		if (!n || ret->p[n - 1].pid != ret->p[i].pid)
			ret->p[n++] = ret->p[i];
	ret->n = n;
	for (size_t i = 0; i < n; i++) {
		struct lx_guest_process *p = &ret->p[i];

		if (!descends(ret, p, init))
			(void)read_status(p->pid, &p->status);
		p->outside = !descends(ret, p, init);
	}
	return 0;
}

void lx_guest_processes_release(struct lx_guest_processes *ps)
{
	free(ps->p);
	*ps = (struct lx_guest_processes){ 0 };
}

static int add_mounts(struct lx_guest_mounts *m, pid_t pid, struct lx_err *err)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)pid);
	if (stat(path, &st) < 0)
		return 0;
	for (size_t i = 0; i < m->n; i++)
		if (m->ids[i] == st.st_ino)
			return 0;

	struct lx_mounts *tables = realloc(m->tables, (m->n + 1) * sizeof(*tables));

	if (tables)
		m->tables = tables;
	pid_t *pids = realloc(m->pids, (m->n + 1) * sizeof(*pids));

	if (pids)
		m->pids = pids;
	uint64_t *ids = realloc(m->ids, (m->n + 1) * sizeof(*ids));

	if (ids)
		m->ids = ids;
	if (!tables || !pids || !ids)
		return lx_err_oom(err);

	struct lx_err why = LX_ERR_INIT;
	int r = lx_mounts_read(pid, &m->tables[m->n], &why);

	if (r < 0) {
		lx_mounts_release(&m->tables[m->n]);
		/* Gone, or on its way out: EINVAL. */
		if (r == -ENOENT || r == -ESRCH || r == -EINVAL)
			return 0;
		if (err)
			*err = why;
		return r;
	}
	m->pids[m->n] = pid;
	m->ids[m->n] = st.st_ino;
	m->n++;
	return 0;
}

int lx_guest_mounts_read(pid_t init, const struct lx_guest_processes *ps, struct lx_guest_mounts *ret,
			 struct lx_err *err)
{
	*ret = (struct lx_guest_mounts){ 0 };
	int r = add_mounts(ret, init, err);

	for (size_t i = 0; r == 0 && i < ps->n; i++)
		if (!ps->p[i].outside)
			r = add_mounts(ret, ps->p[i].pid, err);
	if (r == 0 && !ret->n)
		r = lx_err_set(err, LX_FAILED_PRECONDITION,
			       "the mounts of its init (process %d of the node) cannot be read", (int)init);
	return r;
}

void lx_guest_mounts_release(struct lx_guest_mounts *m)
{
	for (size_t i = 0; i < m->n; i++)
		lx_mounts_release(&m->tables[i]);
	free(m->tables);
	free(m->pids);
	free(m->ids);
	*m = (struct lx_guest_mounts){ 0 };
}

pid_t lx_guest_number(pid_t pid)
{
	struct lx_proc_status status;
	lx_autobuf struct lx_buf text = { 0 };
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	return lx_read_file(path, STATUS_MAX, &text, NULL) == 0 &&
			       lx_proc_status_parse(lx_buf_str(&text), &status) == 0
		       ? status.inside
		       : 0;
}
