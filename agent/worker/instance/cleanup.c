/*
 * Leaving nothing behind: after a stop, a crash of a worker, or a start that failed.
 *
 * Works by names alone, so that it can be repeated and does not need to know how far
 * anything got: every process below the instance's cgroup is killed, the cgroups are
 * removed, then the network cards of the last run and of the specification, what its proxies have
 * left, and the AppArmor profile.
 */
#include <errno.h>

#include "agent/worker/instance/instance.h"
#include "agent/worker/instance/intercepts.h"
#include "agent/worker/instance/lsm.h"
#include "agent/worker/instance/proxies.h"
#include "agent/worker/instance/run.h"
#include "agent/worker/instance/veth.h"

struct cards {
	int r;
	struct lx_err *err;
};

static void delete_card(const char *name, void *arg)
{
	struct cards *cards = arg;
	int r = lx_veth_delete(name, cards->r < 0 ? NULL : cards->err);

	/* Something else of that name is none of ours. */
	if (r < 0 && r != -EEXIST && cards->r == 0)
		cards->r = r;
}

static int delete_cards(const struct lx_job *job, struct lx_err *err)
{
	struct cards cards = { .err = err };
	lx_autospec lx_spec *spec = NULL;

	lx_run_each_veth(job, delete_card, &cards);
	/* A start that was cut short wrote no record. */
	if (cards.r == 0 && lx_spec_load(job, &spec, NULL) == 0)
		for (size_t i = 0; i < spec->n_nics; i++)
			delete_card(spec->nics[i]->host_name, &cards);
	return cards.r;
}

int lx_instance_wipe(const struct lx_job *job, const struct lx_cgroups *cg, struct lx_err *err)
{
	int r = lx_cgroup_remove(cg, job, err);

	if (r == 0)
		r = delete_cards(job, err);
	if (r == 0) {
		lx_proxies_forget(job);
		lx_intercepts_forget(job);
		lx_lsm_forget(job);
		lx_run_forget(job);
	}
	return r;
}

int lx_instance_clean(const struct lx_job *job, const struct lx_cgroups *cg, struct lx_err *err)
{
	struct lx_run run;

	/*
	 * When a worker is killed while it starts the instance, liblxc's monitor may be there
	 * already, but not yet in its cgroup. It answers once it has started the guest or failed:
	 * asking waits for that. What it answers does not matter.
	 */
	(void)lx_run_find(job, &run, NULL);
	return lx_instance_wipe(job, cg, err);
}

int lx_job_cleanup(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	struct lx_cgroups cg;
	int r = lx_cgroups_find(&cg, err);

	if (r == 0)
		r = lx_instance_clean(job, &cg, err);
	if (r < 0)
		lx_err_wrap(err, "cannot clean up after %s", job->name);
	return r;
}
