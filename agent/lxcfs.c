/*
 * Asking lxcfs is done in a thread, for it may not answer: then that thread waits on, no other is
 * started, and at the next tick lxcfs counts as one that does not serve. Which instances have files
 * of it is read from their tables of mounts, without touching it: when something has changed, and of those
 * that had lost theirs until they have other ones.
 */
#include "agent/lxcfs.h"

#include <stdio.h>
#include <stdlib.h>

#include "agent/agent.h"
#include "agent/instance/instance.h"
#include "agent/loop.h"
#include "agent/worker/lxcfs.h"
#include "lib/log.h"
#include "migration/lxcfs_mounts.h"

#define LOOK_MS 5000u

struct question {
	struct lx_lxcfs_watch *watch; /* NULL: closed meanwhile */
	char dir[1024];
	struct lx_lxcfs answer;
};

struct lx_lxcfs_watch {
	struct lx_agent *agent;
	struct lx_lxcfs now;
	struct lx_timer *timer;
	struct question *asked; /* not answered yet */
	bool looked;            /* at the instances, since the agent runs */
};

/* ------------------------------------------------------------------ instances */

/* Has it files of lxcfs, and not of the one that serves now? One that is gone by now has none. */
static bool has_lost(const struct lx_lxcfs *now, const struct lx_instance *inst)
{
	lx_automounts struct lx_mounts t = { 0 };

	if (!lx_instance_is_up(inst) || inst->init <= 0 || lx_mounts_read(inst->init, &t, NULL) < 0)
		return false;
	return !lx_lxcfs_is_whole(&t, now->serves, now->major, now->minor);
}

static void look_at_instances(struct lx_lxcfs_watch *w, bool all)
{
	for (struct lx_map_entry *e = lx_map_first(&w->agent->instances); e; e = lx_map_next(e)) {
		struct lx_instance *inst = lx_map_value(e);
		bool lost = (all || inst->lxcfs_lost) && has_lost(&w->now, inst);

		if (lost == inst->lxcfs_lost)
			continue;
		inst->lxcfs_lost = lost;
		lx_watch_instance(w->agent, inst);
	}
}

/* ------------------------------------------------------------------ the node's */

static bool differs(const struct lx_lxcfs *a, const struct lx_lxcfs *b)
{
	return a->serves != b->serves || a->files != b->files || a->major != b->major ||
	       a->minor != b->minor || !lx_streq(a->why, b->why);
}

static void tell(const struct lx_lxcfs_watch *w)
{
	bool mounted = w->now.major || w->now.minor;

	lx_facts_lxcfs(w->agent->facts, w->now.serves ? "yes" : w->now.why, mounted && !w->now.serves);
}

static void take(struct lx_lxcfs_watch *w, const struct lx_lxcfs *answer)
{
	bool changed = differs(&w->now, answer);

	w->now = *answer;
	look_at_instances(w, changed || !w->looked);
	w->looked = true;
	if (!changed)
		return;
	if (answer->serves)
		lx_info("lxcfs serves", "dir=%s", w->agent->opt.lxcfs_dir);
	else
		lx_warn("lxcfs does not serve any more", "dir=%s why=\"it %s\"", w->agent->opt.lxcfs_dir,
			answer->why);
	tell(w);
	lx_watch_facts(w->agent);
}

/* ------------------------------------------------------------------ asking */

static void ask(void *arg)
{
	struct question *q = arg;

	lx_lxcfs_ask(q->dir, &q->answer);
}

static void answered(void *arg)
{
	struct question *q = arg;

	if (q->watch) {
		q->watch->asked = NULL;
		take(q->watch, &q->answer);
	}
	free(q);
}

static void on_timer(void *arg)
{
	struct lx_lxcfs_watch *w = arg;
	struct lx_err err = LX_ERR_INIT;

	if (w->asked) {
		struct lx_lxcfs silent = w->now;

		silent.serves = false;
		silent.silent = true;
		silent.files = 0;
		snprintf(silent.why, sizeof(silent.why), "does not answer");
		take(w, &silent);
		return;
	}
	struct question *q = calloc(1, sizeof(*q));

	if (!q)
		return;
	q->watch = w;
	snprintf(q->dir, sizeof(q->dir), "%s", w->agent->opt.lxcfs_dir);
	if (lx_loop_work(w->agent->loop, ask, answered, q, &err) < 0) {
		lx_warn("cannot ask lxcfs", "error=\"%s\"", err.msg);
		free(q);
		return;
	}
	w->asked = q;
}

/* ------------------------------------------------------------------ life */

int lx_lxcfs_open(struct lx_agent *a, struct lx_err *err)
{
	struct lx_lxcfs_watch *w;

	if (lx_str_empty(a->opt.lxcfs_dir)) {
		lx_facts_lxcfs(a->facts, "is not used: lxagentd --lxcfs \"\"", false);
		return 0;
	}
	w = calloc(1, sizeof(*w));
	if (!w)
		return lx_err_oom(err);
	w->agent = a;
	lx_lxcfs_ask_soon(a->opt.lxcfs_dir, &w->now);
	int r = lx_timer_start(a->loop, LOOK_MS, LOOK_MS, on_timer, w, &w->timer, err);

	if (r < 0) {
		free(w);
		return r;
	}
	a->lxcfs = w;
	tell(w);
	return 0;
}

void lx_lxcfs_close(struct lx_agent *a)
{
	struct lx_lxcfs_watch *w = a->lxcfs;

	if (!w)
		return;
	if (w->asked)
		w->asked->watch = NULL;
	lx_timer_stop(w->timer);
	free(w);
	a->lxcfs = NULL;
}
