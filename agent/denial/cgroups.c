/*
 * What the cgroups count: processes killed for want of memory, forks that the limit did not let.
 * Read in the rounds in which usage is sampled. The first look at an instance that ran before the
 * agent began finds what was told already, or by nobody any more.
 */
#include "agent/denial/denials.h"

#include "agent/instance/instance.h"

static uint64_t grown(uint64_t *seen, uint64_t now)
{
	/* A group that is new counts from the beginning. */
	uint64_t more = now >= *seen ? now - *seen : now;

	*seen = now;
	return more;
}

/* Where groups below the payload's count for themselves (v2, before 6.11) only the level tells. */
static bool is_full(const struct lx_instance *inst, uint32_t processes)
{
	uint64_t limit = 0;

	return lx_cgroup_number(&inst->agent->cgroups, LX_CG_PIDS, inst->name, "pids.max", &limit) == 0 &&
	       limit != 0 && processes >= limit;
}

void lx_denials_look(struct lx_instance *inst, uint32_t processes)
{
	const struct lx_cgroups *cg = &inst->agent->cgroups;
	struct lx_instance_seen *seen = &inst->seen;
	uint64_t kills = 0, forks = 0;
	bool silent = false;

	/* A reboot inside leaves them as they are: its group may be the same. */
	if (!seen->looked)
		silent = inst->here_since_ns < inst->agent->looking_since_ns;
	seen->looked = true;
	(void)lx_cgroup_keyed(cg, LX_CG_MEMORY, inst->name,
			      cg->at[LX_CG_MEMORY].v2 ? "memory.events" : "memory.oom_control", "oom_kill",
			      &kills);
	(void)lx_cgroup_keyed(cg, LX_CG_PIDS, inst->name, "pids.events", "max", &forks);
	kills = grown(&seen->kills, kills);
	forks = grown(&seen->forks, forks);

	bool full = is_full(inst, processes);

	if (forks == 0 && full && !seen->full)
		forks = 1;
	seen->full = full;
	if (silent)
		return;
	struct lx_denial d = {
		.instance = inst->name, .kind = "memory", .operation = "out-of-memory", .count = kills
	};

	if (kills > 0)
		lx_denials_note(inst->agent, &d);
	d.kind = "processes";
	d.operation = "fork";
	d.count = forks;
	if (forks > 0)
		lx_denials_note(inst->agent, &d);
}
