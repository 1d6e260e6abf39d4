#include "migration/affinity.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "migration/guest_processes.h"

typedef int (*thread_fn)(void *arg, pid_t tid, struct lx_err *err);

/* Threads that end meanwhile are passed over. */
static int each_thread(const pid_t *pids, size_t n, thread_fn fn, void *arg, struct lx_err *err)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		char path[64];

		snprintf(path, sizeof(path), "/proc/%d/task", (int)pids[i]);
		lx_autoclosedir DIR *d = opendir(path);

		for (struct dirent *e; d && r == 0 && (e = readdir(d));) {
			pid_t tid = (pid_t)strtol(e->d_name, NULL, 10);

			if (tid > 0)
				r = fn(arg, tid, err);
		}
	}
	return r;
}

/* ------------------------------------------------------------------ saving */

struct saving {
	cpu_set_t usual;
	Lxmgr__V1__GuestState *out;
};

static int append(Lxmgr__V1__GuestState *out, pid_t tid, const cpu_set_t *cpus)
{
	Lxmgr__V1__GuestAffinity *a = malloc(sizeof(*a));
	Lxmgr__V1__GuestAffinity **grown = realloc(out->affinities, (out->n_affinities + 1) * sizeof(*grown));
	void *data = malloc(sizeof(*cpus));

	if (grown)
		out->affinities = grown;
	if (!a || !grown || !data) {
		free(a);
		free(data);
		return -ENOMEM;
	}
	memcpy(data, cpus, sizeof(*cpus));
	lxmgr__v1__guest_affinity__init(a);
	a->thread = (uint32_t)tid;
	a->processors.data = data;
	a->processors.len = sizeof(*cpus);
	out->affinities[out->n_affinities++] = a;
	return 0;
}

static int save(void *arg, pid_t tid, struct lx_err *err)
{
	const struct saving *s = arg;
	cpu_set_t cpus;
	pid_t name;

	if (sched_getaffinity(tid, sizeof(cpus), &cpus) < 0 || CPU_EQUAL(&cpus, &s->usual) ||
	    s->out->n_affinities == LX_GUEST_AFFINITIES_MAX || (name = lx_guest_number(tid)) <= 0)
		return 0;
	return append(s->out, name, &cpus) < 0 ? lx_err_oom(err) : 0;
}

int lx_affinity_save(pid_t init, const pid_t *pids, size_t n, Lxmgr__V1__GuestState *out, struct lx_err *err)
{
	struct saving s = { .out = out };

	if (sched_getaffinity(init, sizeof(s.usual), &s.usual) < 0)
		return 0; /* more processors than can be told of here */
	return each_thread(pids, n, save, &s, err);
}

/* ------------------------------------------------------------------ loading */

struct loading {
	const Lxmgr__V1__GuestState *state;
	unsigned done;
};

static int load(void *arg, pid_t tid, struct lx_err *err)
{
	struct loading *l = arg;
	pid_t name = lx_guest_number(tid);

	for (size_t i = 0; i < l->state->n_affinities; i++) {
		const Lxmgr__V1__GuestAffinity *a = l->state->affinities[i];
		cpu_set_t cpus;

		if (name <= 0 || a->thread != (uint32_t)name)
			continue;
		CPU_ZERO(&cpus);
		memcpy(&cpus, a->processors.data,
		       a->processors.len < sizeof(cpus) ? a->processors.len : sizeof(cpus));
		if (sched_setaffinity(tid, sizeof(cpus), &cpus) == 0)
			l->done++;
		break;
	}
	return 0;
}

unsigned lx_affinity_load(const pid_t *pids, size_t n, const Lxmgr__V1__GuestState *state)
{
	struct loading l = { .state = state };

	if (state->n_affinities > 0 && state->n_affinities <= LX_GUEST_AFFINITIES_MAX)
		(void)each_thread(pids, n, load, &l, NULL);
	return l.done;
}
