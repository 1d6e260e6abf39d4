/*
 * CheckLimits: asked before limits are stored, so that those this node cannot set, or that are below what
 * a running instance has and cannot give back, are refused before anything has changed. The kernel would
 * refuse some of them (v1), and with others kill what is above (v2).
 */
#include "agent/instance/limits_check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "profiles/profiles.h"
#include "proto/pb.h"

static void facts_of(const struct lx_cgroups *cg, const struct sysinfo *info, struct lx_host_facts *ret)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);
	enum lx_cgroup_layout cpu = cg->at[LX_CG_CPU].v2 ? LX_CGROUP_V2 : LX_CGROUP_V1;

	*ret = (struct lx_host_facts){
		.memory_bytes = (uint64_t)info->totalram * info->mem_unit,
		.cpus = online > 0 ? (unsigned)online : 1,
		.memory = cg->at[LX_CG_MEMORY].v2 ? LX_CGROUP_V2 : LX_CGROUP_V1,
		.cpu = cpu,
		.cpuset = cpu,
		.pids = cg->at[LX_CG_PIDS].v2 ? LX_CGROUP_V2 : LX_CGROUP_V1,
		.io = cpu,
		/* Whether it is so the worker finds out that writes them. */
		.swap_accounting = true,
	};
}

/* 0: there is no limit. */
static uint64_t planned(const struct lx_knob *knobs, size_t n, const char *v1, const char *v2)
{
	for (size_t i = 0; i < n; i++)
		if (lx_streq(knobs[i].file, v1) || lx_streq(knobs[i].file, v2))
			return knobs[i].lifts ? 0 : strtoull(knobs[i].value, NULL, 10);
	return 0;
}

static uint64_t stat_of(const struct lx_instance *inst, const char *v1, const char *v2)
{
	const struct lx_cgroups *cg = &inst->agent->cgroups;
	uint64_t value = 0;

	(void)lx_cgroup_keyed(cg, LX_CG_MEMORY, inst->name, "memory.stat", cg->at[LX_CG_MEMORY].v2 ? v2 : v1,
			      &value);
	return value;
}

/* What could be swapped out is not held against it, where it may be. */
static int check_memory(const struct lx_instance *inst, const struct sysinfo *info,
			const struct lx_map *config, uint64_t limit, struct lx_err *err)
{
	uint64_t used = stat_of(inst, "total_rss", "anon") + stat_of(inst, "total_shmem", "shmem"),
		 room = (uint64_t)info->freeswap * info->mem_unit;
	char has[32], may[32];
	bool swaps = true;

	if (lx_parse_bool(lx_config_get(config, "limits.memory.swap"), &swaps) == 0 && !swaps)
		room = 0;
	if (limit == 0 || used <= limit || used - limit <= room)
		return 0;
	lx_format_size(used, has, sizeof(has));
	lx_format_size(limit, may, sizeof(may));
	int r = lx_err_set(err, LX_FAILED_PRECONDITION,
			   "limits.memory: %s uses %s that it cannot give back, more than %s", inst->name,
			   has, may);

	lx_err_hint(err, "Choose a higher limit, or stop something in it.");
	return r;
}

static int check_processes(const struct lx_instance *inst, uint64_t limit, struct lx_err *err)
{
	uint64_t there = 0;

	(void)lx_cgroup_number(&inst->agent->cgroups, LX_CG_PIDS, inst->name, "pids.current", &there);
	if (limit == 0 || there <= limit)
		return 0;
	int r = lx_err_set(err, LX_FAILED_PRECONDITION,
			   "limits.processes: %s has %" PRIu64 " processes and threads, more than %" PRIu64,
			   inst->name, there, limit);

	lx_err_hint(err, "Choose a higher limit, or stop something in it.");
	return r;
}

static int check(const struct lx_instance *inst, const Lxmgr__V1__AgentCheckLimitsRequest *req,
		 const struct lx_map *config, struct lx_err *err)
{
	struct lx_knob knobs[LX_KNOBS_MAX];
	struct lx_host_facts facts;
	struct sysinfo info;

	if (sysinfo(&info) < 0)
		return 0; /* who writes them will see */
	facts_of(&inst->agent->cgroups, &info, &facts);
	int n = lx_limits_plan(config, &facts, knobs, err);

	if (n < 0)
		return n;
	int r = 0;

	if (req->memory)
		r = check_memory(inst, &info, config,
				 planned(knobs, (size_t)n, "memory.limit_in_bytes", "memory.max"), err);
	if (r == 0 && req->processes)
		r = check_processes(inst, planned(knobs, (size_t)n, "pids.max", "pids.max"), err);
	return r;
}

void lx_limits_check_call(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	Lxmgr__V1__AgentCheckLimitsResponse resp = LXMGR__V1__AGENT_CHECK_LIMITS_RESPONSE__INIT;
	const Lxmgr__V1__AgentCheckLimitsRequest *req = (const void *)msg;
	struct lx_err err = LX_ERR_INIT;
	const struct lx_instance *inst = lx_instance_find(arg, req->name, 0, &err);
	struct lx_map config;
	int r = inst ? 0 : -1;

	lx_map_init(&config, free);
	if (r == 0 && lx_pb_map_to(req->n_config, req->config, &config) < 0)
		r = lx_err_oom(&err);
	if (r == 0)
		r = check(inst, req, &config, &err);
	lx_map_release(&config);
	if (r < 0)
		lx_call_fail(call, &err);
	else
		lx_call_reply(call, &resp.base);
}
