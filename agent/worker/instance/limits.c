/*
 * A changed specification: its limits and proxies act at once on a running guest, the rest is stored
 * for the next start and the answer names those keys.
 *
 * Limits are written first: when one is refused nothing is stored, and what was written
 * before it is put back to what the stored specification says.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/worker/instance/disk_size.h"
#include "agent/worker/instance/instance.h"
#include "agent/worker/instance/proxies.h"
#include "agent/worker/instance/root_disk.h"
#include "agent/worker/instance/run.h"

/* ------------------------------------------------------------------ knobs */

/*
 * Writes all that are pending and returns how many are left. Some pairs depend on each
 * other (v1: memory.limit never above memsw.limit), and which comes first depends on
 * whether they grow or shrink: so those refused get a second round after the others.
 */
static size_t write_round(const struct lx_job *job, const struct lx_cgroups *cg, const struct lx_knob *knobs,
			  bool *pending, size_t n, size_t *ret_failed, int *ret_errno)
{
	size_t left = 0;

	for (size_t i = 0; i < n; i++) {
		if (!pending[i])
			continue;
		int r = lx_cgroup_write(cg, job, &knobs[i]);

		/* No such controller here: then there is no old limit to lift either. */
		pending[i] = r < 0 && !(r == -ENOENT && knobs[i].lifts);
		if (pending[i]) {
			*ret_failed = i;
			*ret_errno = r;
			left++;
		}
	}
	return left;
}

static int refused(const struct lx_job *job, const struct lx_knob *knob, int errnum, struct lx_err *err)
{
	char value[sizeof(knob->value)];

	snprintf(value, sizeof(value), "%s", knob->value);
	value[strcspn(value, "\n")] = '\0';
	int r = lx_err_errno(err, errnum, "the kernel refused %s = %s for %s", knob->file, value, job->name);

	if (errnum == -EBUSY && strcmp(knob->controller, "memory") == 0)
		lx_err_hint(err,
			    "It uses more memory than that and cannot give it back; choose a higher limit or "
			    "stop something in it.");
	else if (errnum == -ENOENT)
		lx_err_hint(err, "The %s controller is not there for containers on this node.",
			    knob->controller);
	return r;
}

int lx_instance_limits_apply(const struct lx_job *job, const struct lx_cgroups *cg, const lx_spec *spec,
			     struct lx_err *err)
{
	struct lx_knob knobs[LX_KNOBS_MAX + LX_DISK_KNOBS_MAX];
	bool pending[LX_KNOBS_MAX + LX_DISK_KNOBS_MAX];
	struct lx_host_facts facts;
	struct lx_map config;
	int r = lx_cgroups_facts(cg, &facts, err);

	if (r == 0)
		r = lx_spec_config(spec, &config, err);
	if (r < 0)
		return r;
	r = lx_limits_plan(&config, &facts, knobs, err);
	lx_map_release(&config);
	if (r < 0)
		return r;
	size_t n = (size_t)r;

	r = lx_root_disk_knobs(job, &facts, spec, knobs + n, err);
	if (r < 0)
		return r;
	n += (size_t)r;
	size_t left = n, before, failed = 0;
	int errnum = 0;

	memset(pending, true, sizeof(pending));
	do {
		before = left;
		left = write_round(job, cg, knobs, pending, n, &failed, &errnum);
	} while (left > 0 && left < before);
	return left > 0 ? refused(job, &knobs[failed], errnum, err) : 0;
}

/* ------------------------------------------------------------------ the verb */

static int apply_or_put_back(const struct lx_job *job, const lx_spec *old, const lx_spec *new,
			     const struct lx_run *run, struct lx_err *err)
{
	struct lx_cgroups cg;
	int r = lx_cgroups_find(&cg, err);

	if (r < 0)
		return r;
	r = lx_instance_limits_apply(job, &cg, new, err);
	if (r == 0)
		r = lx_proxies_update(job, &cg, old, new, run, err);
	if (r < 0)
		(void)lx_instance_limits_apply(job, &cg, old, NULL);
	return r;
}

int lx_job_limits(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	lx_autospec lx_spec *old = NULL;
	const lx_spec *spec;
	char **keys = NULL;
	size_t n_keys = 0;
	struct lx_run run;
	int r = lx_spec_of_job(job, &spec, err);

	if (r == 0)
		r = lx_spec_load(job, &old, err);
	if (r == 0)
		r = lx_spec_check_fixed(job, old, spec, err);
	if (r == 0)
		r = lx_run_find(job, &run, err);
	if (r < 0)
		return r;
	bool running = r == 1;

	r = lx_disk_size_change(job, old, spec, err);
	if (r < 0)
		return r;
	bool size_later = r == 1;

	r = 0;
	if (running) {
		r = apply_or_put_back(job, old, spec, &run, err);
		if (r == 0)
			r = lx_spec_changes(old, spec, size_later, &keys, &n_keys, err);
	}
	if (r >= 0)
		r = lx_spec_save(job, spec, err);
	if (r < 0) {
		lx_disk_size_put_back(job, old, spec);
		return r;
	}
	if (running)
		lx_run_tell(&run, result);
	/* Freed by the end of the process. */
	result->needs_restart = keys;
	result->n_needs_restart = n_keys;
	return 0;
}
