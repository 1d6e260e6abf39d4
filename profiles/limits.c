/*
 * What the limits.* keys mean to the kernel: files below the payload's cgroup and what to
 * write there, for the controllers where this machine has them (v1 or v2 each).
 *
 * The plan always holds every file: one without a limit is set to "no limit" (marked
 * `lifts`), so that the same plan removes limits from a running container. Where the kernel
 * compares two files at each write, the one that could be in the way is lifted first: the
 * plan can be written as it stands whatever was there before.
 *
 * It fails when a value is malformed, when a CPU set names CPUs this machine lacks, and
 * when its kernel cannot limit swap as asked.
 */
#include "profiles/profiles.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "profiles/check.h"
#include "profiles/value.h"

#define NO_LIMIT           UINT64_MAX
#define DEFAULT_PERIOD_US  100000
#define DEFAULT_SWAPPINESS "60"
#define PAGE               4096
#define HARD               "limits.memory"
#define SOFT               "limits.memory.soft"

struct plan {
	const struct lx_map *config;
	const struct lx_host_facts *host;
	struct lx_knob *knobs;
	int n;
};

/* A limit to write, or with `lifts` the value that stands for none. */
static void add(struct plan *p, const char *controller, enum lx_cgroup_layout layout, const char *file,
		bool lifts, const char *value)
{
	struct lx_knob *k = &p->knobs[p->n++];

	*k = (struct lx_knob){ .layout = layout, .lifts = lifts };
	snprintf(k->controller, sizeof(k->controller), "%s", controller);
	snprintf(k->file, sizeof(k->file), "%s", file);
	snprintf(k->value, sizeof(k->value), "%s", value);
}

/* The same for a number; NO_LIMIT is written as `none`. */
static void add_number(struct plan *p, const char *controller, enum lx_cgroup_layout layout, const char *file,
		       uint64_t value, const char *none)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	add(p, controller, layout, file, value == NO_LIMIT, value == NO_LIMIT ? none : text);
}

/* The value of a key, checked again: it may come from a file another version wrote. NULL when
 * unset or wrong (r < 0). */
static int get(const struct plan *p, const char *name, const char **ret, struct lx_err *err)
{
	const char *value = lx_map_get(p->config, name);

	*ret = NULL;
	if (lx_str_empty(value))
		return 0;
	int r = lx_config_check(name, value, err);

	if (r == 0)
		*ret = value;
	return r;
}

/* ------------------------------------------------------------------ memory */

static int plan_memory_limit(const struct plan *p, const char *key, uint64_t *ret, struct lx_err *err)
{
	struct lx_amount a;
	const char *value;
	int r = get(p, key, &value, err);

	*ret = NO_LIMIT;
	if (r < 0 || !value)
		return r;
	r = lx_value_amount(value, &a);
	if (r < 0)
		return r;
	*ret = a.bytes;
	if (a.percent)
		*ret = p->host->memory_bytes / 100 * a.percent / PAGE * PAGE;
	if (*ret == 0) {
		r = lx_err_set(err, LX_FAILED_PRECONDITION, "%s: %s of a machine whose memory is not known",
			       key, value);
		lx_err_hint(err, "Use a size, like 512MiB.");
		return r;
	}
	return 0;
}

/* Bytes of swap; NO_LIMIT: any. */
static int plan_swap_limit(const struct plan *p, uint64_t *ret, struct lx_err *err)
{
	const char *value;
	bool any;
	int r = get(p, "limits.memory.swap", &value, err);

	*ret = NO_LIMIT;
	if (r < 0 || !value)
		return r;
	if (lx_parse_bool(value, &any) < 0)
		return lx_parse_size(value, ret);
	if (!any)
		*ret = 0;
	return 0;
}

static int swap_impossible(const char *why, struct lx_err *err)
{
	int r = lx_err_set(err, LX_FAILED_PRECONDITION, "limits.memory.swap: %s", why);

	lx_err_hint(err, "Set limits.memory too, use limits.memory.swap=true or false, or boot the machine "
			 "with swapaccount=1 and cgroup v2.");
	return r;
}

/*
 * v1 counts memory and swap together, so a bound on swap alone cannot be said there. No swap
 * at all can: pages are then never swapped out to make room within the container.
 */
static int plan_memory_v1(struct plan *p, uint64_t memory, uint64_t swap, struct lx_err *err)
{
	uint64_t both = NO_LIMIT;

	if (swap != NO_LIMIT && memory != NO_LIMIT && __builtin_add_overflow(memory, swap, &both))
		both = NO_LIMIT;
	if (swap != NO_LIMIT && swap != 0 && memory == NO_LIMIT)
		return swap_impossible("a size alone cannot be enforced by cgroup v1", err);
	if (swap != NO_LIMIT && swap != 0 && !p->host->swap_accounting)
		return swap_impossible("this machine's kernel does not count swap", err);
	/* The sum may not be below memory at any moment: it makes way first. */
	if (p->host->swap_accounting)
		add(p, "memory", LX_CGROUP_V1, "memory.memsw.limit_in_bytes", true, "-1");
	add_number(p, "memory", LX_CGROUP_V1, "memory.limit_in_bytes", memory, "-1");
	if (both != NO_LIMIT && p->host->swap_accounting)
		add_number(p, "memory", LX_CGROUP_V1, "memory.memsw.limit_in_bytes", both, "");
	add(p, "memory", LX_CGROUP_V1, "memory.swappiness", swap != 0, swap == 0 ? "0" : DEFAULT_SWAPPINESS);
	return 0;
}

static int plan_memory_v2(struct plan *p, uint64_t memory, uint64_t swap, struct lx_err *err)
{
	if (swap != NO_LIMIT && !p->host->swap_accounting)
		return swap_impossible("this machine's kernel does not count swap", err);
	add_number(p, "memory", LX_CGROUP_V2, "memory.max", memory, "max");
	if (p->host->swap_accounting)
		add_number(p, "memory", LX_CGROUP_V2, "memory.swap.max", swap, "max");
	return 0;
}

static int above_hard(const struct lx_map *config, enum lx_code code, struct lx_err *err)
{
	int r = lx_err_set(err, code, SOFT ": %s is more than " HARD "=%s",
			   (const char *)lx_map_get(config, SOFT), (const char *)lx_map_get(config, HARD));

	lx_err_hint(err, "Where the hard limit is reached first it never acts: choose a smaller one.");
	return r;
}

int lx_limits_check(const struct lx_map *config, struct lx_err *err)
{
	struct lx_amount soft, hard;

	if (lx_value_amount(lx_config_get(config, SOFT), &soft) < 0 ||
	    lx_value_amount(lx_config_get(config, HARD), &hard) < 0 || !soft.percent != !hard.percent ||
	    (soft.percent <= hard.percent && soft.bytes <= hard.bytes))
		return 0;
	return above_hard(config, LX_INVALID_ARGUMENT, err);
}

/* Which one is more where one of them is a part of the machine's memory is known here only. */
static int plan_memory_soft(struct plan *p, uint64_t hard, struct lx_err *err)
{
	uint64_t soft = NO_LIMIT;
	int r = plan_memory_limit(p, SOFT, &soft, err);

	if (r < 0)
		return r;
	if (soft != NO_LIMIT && soft > hard)
		return above_hard(p->config, LX_FAILED_PRECONDITION, err);
	if (p->host->memory == LX_CGROUP_V1)
		add_number(p, "memory", LX_CGROUP_V1, "memory.soft_limit_in_bytes", soft, "-1");
	else
		add_number(p, "memory", LX_CGROUP_V2, "memory.high", soft, "max");
	return 0;
}

static int plan_memory(struct plan *p, struct lx_err *err)
{
	uint64_t memory = NO_LIMIT, swap = NO_LIMIT;
	int r = plan_memory_limit(p, HARD, &memory, err);

	if (r == 0)
		r = plan_memory_soft(p, memory, err);
	if (r == 0)
		r = plan_swap_limit(p, &swap, err);
	if (r < 0)
		return r;
	return p->host->memory == LX_CGROUP_V1 ? plan_memory_v1(p, memory, swap, err)
					       : plan_memory_v2(p, memory, swap, err);
}

/* ------------------------------------------------------------------ CPU */

/* A set must lie within what the machine has. */
static int check_set(const struct plan *p, const char *value, const struct lx_cpus *cpus, struct lx_err *err)
{
	if (cpus->count || cpus->highest < p->host->cpus)
		return 0;
	int r = lx_err_set(err, LX_FAILED_PRECONDITION, "limits.cpu: %s names CPU %u, this machine has %u",
			   value, cpus->highest, p->host->cpus);

	lx_err_hint(err, "Its CPUs are 0 to %u.", p->host->cpus ? p->host->cpus - 1 : 0);
	return r;
}

/* The tighter one of "N CPUs" and "so much of each period". */
static void plan_quota(struct plan *p, const struct lx_cpus *cpus, const struct lx_allowance *allowance)
{
	uint64_t period = DEFAULT_PERIOD_US, quota = NO_LIMIT;

	if (cpus->count)
		quota = cpus->count * period;
	if (allowance->period_us &&
	    (quota == NO_LIMIT || allowance->quota_us < cpus->count * allowance->period_us)) {
		quota = allowance->quota_us;
		period = allowance->period_us;
	}
	if (p->host->cpu == LX_CGROUP_V1) {
		/* Lifting the quota comes first, or the new period could be refused for the old one. */
		add(p, "cpu", LX_CGROUP_V1, "cpu.cfs_quota_us", true, "-1");
		add_number(p, "cpu", LX_CGROUP_V1, "cpu.cfs_period_us", period, "");
		if (quota != NO_LIMIT)
			add_number(p, "cpu", LX_CGROUP_V1, "cpu.cfs_quota_us", quota, "");
		else
			p->knobs[p->n - 1].lifts = true;
		return;
	}
	char text[64];

	if (quota == NO_LIMIT)
		snprintf(text, sizeof(text), "max %" PRIu64, period);
	else
		snprintf(text, sizeof(text), "%" PRIu64 " %" PRIu64, quota, period);
	add(p, "cpu", LX_CGROUP_V2, "cpu.max", quota == NO_LIMIT, text);
}

/* 100 % is what every cgroup has: 100 on v2, 1024 on v1. */
static void plan_weight(struct plan *p, const struct lx_allowance *allowance)
{
	unsigned percent = allowance->percent ? allowance->percent : 100;

	if (p->host->cpu == LX_CGROUP_V1)
		add_number(p, "cpu", LX_CGROUP_V1, "cpu.shares", 1024 * percent / 100, "");
	else
		add_number(p, "cpu", LX_CGROUP_V2, "cpu.weight", percent, "");
	p->knobs[p->n - 1].lifts = percent == 100;
}

/*
 * Without a set, v2 takes an empty line for "as the parent"; v1 wants to hear every CPU.
 */
static void plan_set(struct plan *p, const char *value, const struct lx_cpus *cpus)
{
	bool set = value && !cpus->count;
	char all[32];

	snprintf(all, sizeof(all), "0-%u", p->host->cpus ? p->host->cpus - 1 : 0);
	if (set)
		add(p, "cpuset", p->host->cpuset, "cpuset.cpus", false, value);
	else if (p->host->cpuset == LX_CGROUP_V2)
		add(p, "cpuset", p->host->cpuset, "cpuset.cpus", true, "\n");
	else
		add(p, "cpuset", p->host->cpuset, "cpuset.cpus", true,
		    p->host->cpu_set ? p->host->cpu_set : all);
}

static int plan_cpu(struct plan *p, struct lx_err *err)
{
	struct lx_cpus cpus = { 0 };
	struct lx_allowance allowance = { 0 };
	const char *set, *share;
	int r = get(p, "limits.cpu", &set, err);

	if (r == 0 && set)
		r = lx_value_cpus(set, &cpus);
	if (r == 0 && set)
		r = check_set(p, set, &cpus, err);
	if (r == 0)
		r = get(p, "limits.cpu.allowance", &share, err);
	if (r == 0 && share)
		r = lx_value_allowance(share, &allowance);
	if (r < 0)
		return r;
	plan_quota(p, &cpus, &allowance);
	plan_weight(p, &allowance);
	plan_set(p, set, &cpus);
	return 0;
}

/* ------------------------------------------------------------------ processes */

static int plan_processes(struct plan *p, struct lx_err *err)
{
	uint64_t limit = NO_LIMIT;
	const char *value;
	int r = get(p, "limits.processes", &value, err);

	if (r == 0 && value)
		r = lx_parse_u64(value, &limit);
	if (r < 0)
		return r;
	add_number(p, "pids", p->host->pids, "pids.max", limit, "max");
	return 0;
}

int lx_limits_plan(const struct lx_map *config, const struct lx_host_facts *host,
		   struct lx_knob knobs[LX_KNOBS_MAX], struct lx_err *err)
{
	struct plan p = { .config = config, .host = host, .knobs = knobs };
	int r = plan_memory(&p, err);

	if (r == 0)
		r = plan_cpu(&p, err);
	if (r == 0)
		r = plan_processes(&p, err);
	return r < 0 ? r : p.n;
}
