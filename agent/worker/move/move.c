/* What both sides of a move need: where things are, the dump's directory, phases, processes. */
#include "agent/worker/move/move.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "migration/dump_dir.h"
#include "proto/pb.h"

#define PIDS_MAX    1000000u
#define CGROUPS_MAX 65536u
/* How often it is told how much has been sent. */
#define TELL_NS (200 * LX_NSEC_PER_MSEC)

/* This program's directory: the others are beside it. */
static char *own_directory(void)
{
	char exe[LX_JOB_PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	if (n < 0)
		return NULL;
	exe[n] = '\0';
	char *slash = strrchr(exe, '/');

	if (slash)
		*slash = '\0';
	return strdup(exe);
}

int lx_move_init(struct lx_move *m, struct lx_job *job, const char *operation, struct lx_err *err)
{
	*m = (struct lx_move){ .job = job, .talk = { .fd = -1 } };
	int r = lx_move_operation_check(operation, err);

	if (r == 0)
		r = lx_move_record_load(job->state_dir, operation, &m->rec, err);
	if (r == 0)
		r = lx_cgroups_find(&m->cg, err);
	if (r < 0)
		return r;
	snprintf(m->operation, sizeof(m->operation), "%s", operation);
	lx_dump_dir_path(job->run_dir, operation, m->dir);
	snprintf(m->images, sizeof(m->images), "%s/images", m->dir);
	lx_cgroup_path(&m->cg, m->cg.v2, job, "/payload", m->payload);
	snprintf(m->cgroup, sizeof(m->cgroup), "/%s/%s/payload", job->cgroup_root, job->name);
	m->libexec = own_directory();
	m->report = malloc(sizeof(*m->report));
	if (!m->libexec || !m->report)
		return lx_err_oom(err);
	lxmgr__v1__move_report__init(m->report);
	m->mark_ns = lx_now_monotonic_ns();
	if (job->fds.n > 0) {
		m->talk.fd = job->fds.fd[0];
		job->fds.fd[0] = -1;
	}
	return 0;
}

void lx_move_release(struct lx_move *m)
{
	lx_pack_release(&m->talk.pack);
	if (m->talk.fd >= 0)
		close(m->talk.fd);
	lx_move_record_free(m->rec);
	lx_pb_free(m->report);
	free(m->libexec);
}

int lx_move_yard(const struct lx_move *m, const char *yard, struct lx_err *err)
{
	lx_autofree char *name = lx_path_join(yard, "unified");
	int r = name ? lx_mkdir_p(yard, 0700, err) : lx_err_oom(err);

	if (r == 0 && symlink(m->cg.at[m->cg.v2].mount, name) < 0 && errno != EEXIST)
		r = lx_err_errno(err, errno, "cannot make %s", name);
	return r;
}

void lx_move_hold(const char *payload, bool still)
{
	char knob[LX_JOB_PATH_MAX + 32];

	snprintf(knob, sizeof(knob), "%s/cgroup.freeze", payload);
	(void)lx_write_knob(knob, still ? "1" : "0");
}

void lx_move_kill(const char *payload)
{
	char knob[LX_JOB_PATH_MAX + 32];

	snprintf(knob, sizeof(knob), "%s/cgroup.kill", payload);
	(void)lx_write_knob(knob, "1");
}

/* ------------------------------------------------------------------ phases */

int lx_move_report_phase(Lxmgr__V1__MoveReport *r, const char *name, int64_t ns)
{
	for (size_t i = 0; i < r->n_phases; i++) {
		if (lx_streq(r->phases[i]->key, name)) {
			r->phases[i]->value += ns;
			return 0;
		}
	}
	Lxmgr__V1__MoveReport__PhasesEntry *e = malloc(sizeof(*e));
	Lxmgr__V1__MoveReport__PhasesEntry **grown = realloc(r->phases, (r->n_phases + 1) * sizeof(*grown));

	if (grown)
		r->phases = grown;
	if (!e || !grown) {
		free(e);
		return -ENOMEM;
	}
	lxmgr__v1__move_report__phases_entry__init(e);
	r->phases[r->n_phases++] = e;
	e->value = ns;
	return lx_pb_set(&e->key, name);
}

void lx_move_phase(struct lx_move *m, const char *ended)
{
	uint64_t now = lx_now_monotonic_ns();

	/* Without memory for it the report lacks a line. */
	(void)lx_move_report_phase(m->report, ended, (int64_t)(now - m->mark_ns));
	m->mark_ns = now;
}

void lx_move_progress(struct lx_move *m, const char *phase, uint64_t done, uint64_t total)
{
	m->phase = phase;
	m->told_ns = lx_now_monotonic_ns();
	(void)lx_worker_send_progress(m->job->report, phase, done, total, "bytes", NULL);
}

static void on_sent(void *arg)
{
	struct lx_move *m = arg;

	if (m->phase && lx_now_monotonic_ns() - m->told_ns > TELL_NS)
		lx_move_progress(m, m->phase, m->talk.sent, 0);
}

void lx_move_tell_sent(struct lx_move *m)
{
	m->talk.on_sent = on_sent;
	m->talk.arg = m;
}

/* ------------------------------------------------------------------ processes */

struct pids {
	pid_t *v;
	size_t n, room;
};

static int add_pids(const char *procs, struct pids *p)
{
	lx_autofclose FILE *f = fopen(procs, "re");
	char line[32];

	while (f && fgets(line, sizeof(line), f)) {
		pid_t pid = (pid_t)strtol(line, NULL, 10);

		if (p->n == p->room) {
			size_t room = p->room ? 2 * p->room : 64;
			pid_t *grown = room <= PIDS_MAX ? realloc(p->v, room * sizeof(*grown)) : NULL;

			if (!grown)
				return -ENOMEM;
			p->v = grown;
			p->room = room;
		}
		if (pid > 0)
			p->v[p->n++] = pid;
	}
	return 0;
}

static int walk(const char *dir, unsigned depth, struct pids *p)
{
	char path[2 * LX_JOB_PATH_MAX];
	lx_autoclosedir DIR *d = opendir(dir);
	int r;

	snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	r = add_pids(path, p);
	for (struct dirent *e; d && r == 0 && depth < 32 && (e = readdir(d));) {
		/* liblxc puts what was attached to the guest into ".lxc". */
		if (e->d_type != DT_DIR || lx_streq(e->d_name, ".") || lx_streq(e->d_name, ".."))
			continue;
		if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, e->d_name) < sizeof(path))
			r = walk(path, depth + 1, p);
	}
	return r;
}

int lx_move_pids(const struct lx_move *m, pid_t **ret, size_t *ret_n, struct lx_err *err)
{
	struct pids p = { 0 };

	if (walk(m->payload, 0, &p) < 0) {
		free(p.v);
		return lx_err_oom(err);
	}
	*ret = p.v;
	*ret_n = p.n;
	return 0;
}

/* "4:memory:/lxmgr/web1/payload" or, of version 2, "0::/lxmgr/web1/payload/init.scope": the path. */
static const char *path_in(const char *line, bool v2)
{
	static const char first[] = "0::", other[] = ":memory:";
	const char *at =
		v2 ? (lx_starts_with(line, first) ? line + strlen(first) : NULL) : strstr(line, other);

	return at && !v2 ? at + strlen(other) : at;
}

/* Where that process is. */
static int group_of(const struct lx_move *m, pid_t pid, size_t at, char out[LX_JOB_PATH_MAX])
{
	char path[64], *save = NULL;
	lx_autobuf struct lx_buf text = { 0 };

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	int r = lx_read_file(path, CGROUPS_MAX, &text, NULL);

	for (char *line = r < 0 ? NULL : strtok_r((char *)text.data, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		const char *own = path_in(line, at == m->cg.v2);

		if (own && snprintf(out, LX_JOB_PATH_MAX, "%s%s/cgroup.procs", m->cg.at[at].mount, own) <
				   LX_JOB_PATH_MAX)
			return 0;
	}
	return r < 0 ? r : -ENOENT;
}

int lx_move_join_memory(const struct lx_move *m, pid_t init, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];
	size_t at = lx_cgroup_hierarchy(&m->cg, "memory");
	int r = 0;

	if (init > 0)
		r = group_of(m, init, at, path);
	else
		lx_cgroup_path(&m->cg, at, m->job, "/payload/cgroup.procs", path);
	if (r == 0)
		r = lx_write_knob(path, "0");
	return r < 0 ? lx_err_errno(err, r, "cannot join the guest's memory group") : 0;
}
