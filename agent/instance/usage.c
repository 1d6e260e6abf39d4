/*
 * Sampling. At each interval a round goes over all running instances, a few of them in each
 * turn of the loop so that hundreds do not delay a request. An instance costs seven short
 * reads of cgroup files (three of them for what its limits kept from it, denial/cgroups.c), and asking for
 * its account of the disk; the network's counters come from one read of /proc/net/dev a round (it shows our
 * own network namespace, which /sys need not). Only what has changed is sent.
 */
#include "agent/instance/usage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/denial/denials.h"
#include "agent/instance/disk.h"
#include "agent/instance/instance.h"
#include "agent/loop.h"
#include "lib/fs.h"
#include "proto/pb.h"

/* Instances sampled in one turn of the loop. */
#define USAGE_SLICE 16
/* One line for each interface. */
#define NET_DEV_MAX (8u << 20)

struct card {
	char name[16];
	uint64_t rx, tx; /* as the host sees it */
};

struct lx_usage {
	struct lx_agent *agent;
	struct lx_timer *interval;
	uint32_t interval_ms;
	struct lx_timer *turn;          /* a round is under way */
	char (*names)[LX_NAME_MAX + 1]; /* of the round: instances may go in between */
	size_t n, next;
	struct card *cards;
	size_t n_cards;
};

/* ------------------------------------------------------------------ network */

static int compare_cards(const void *a, const void *b)
{
	return strcmp(((const struct card *)a)->name, ((const struct card *)b)->name);
}

/* "  name: bytes received, seven other counters, bytes sent, ..." */
static bool parse_card(const char *line, struct card *c)
{
	const char *name = line + strspn(line, " ");
	const char *colon = strchr(name, ':');
	uint64_t value = 0;

	if (!colon)
		return false; /* the table's head */
	snprintf(c->name, sizeof(c->name), "%.*s", (int)(colon - name), name);
	char *at = (char *)(uintptr_t)colon + 1;

	for (int field = 0; field < 9; field++) {
		value = strtoull(at, &at, 10);
		if (field == 0)
			c->rx = value;
	}
	c->tx = value;
	return true;
}

static void add_card(struct lx_usage *u, size_t *room, const char *line)
{
	struct card c;

	if (!parse_card(line, &c))
		return;
	if (u->n_cards == *room) {
		size_t more = *room ? *room * 2 : 64;
		struct card *grown = realloc(u->cards, more * sizeof(*grown));

		if (!grown)
			return;
		u->cards = grown;
		*room = more;
	}
	u->cards[u->n_cards++] = c;
}

static void read_cards(struct lx_usage *u)
{
	lx_autobuf struct lx_buf text = { 0 };
	char *save = NULL;
	size_t room = 0;

	if (lx_read_file("/proc/net/dev", NET_DEV_MAX, &text, NULL) < 0 || text.len == 0)
		return;
	for (char *line = strtok_r((char *)text.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		add_card(u, &room, line);
	qsort(u->cards, u->n_cards, sizeof(*u->cards), compare_cards);
}

static void sum_cards(const struct lx_usage *u, const struct lx_instance *inst, Lxmgr__V1__InstanceUsage *ret)
{
	const Lxmgr__V1__InstanceSpec *spec = inst->spec;

	for (size_t i = 0; i < spec->n_nics + spec->n_held_nics; i++) {
		const Lxmgr__V1__Nic *nic =
			i < spec->n_nics ? spec->nics[i] : spec->held_nics[i - spec->n_nics];
		struct card key;

		snprintf(key.name, sizeof(key.name), "%s", nic->host_name);
		const struct card *c =
			u->n_cards ? bsearch(&key, u->cards, u->n_cards, sizeof(key), compare_cards) : NULL;
		if (!c)
			continue;
		/* What the host's end sends the instance receives. */
		ret->rx_bytes += c->tx;
		ret->tx_bytes += c->rx;
	}
}

/* ------------------------------------------------------------------ cgroups */

static uint64_t number(const struct lx_instance *inst, enum lx_controller c, const char *v1, const char *v2)
{
	const struct lx_cgroups *cg = &inst->agent->cgroups;
	uint64_t value = 0;

	(void)lx_cgroup_number(cg, c, inst->name, cg->at[c].v2 ? v2 : v1, &value);
	return value;
}

static uint64_t cpu_ns(const struct lx_instance *inst)
{
	const struct lx_cgroups *cg = &inst->agent->cgroups;
	uint64_t usec = 0;

	if (!cg->at[LX_CG_CPU].v2)
		return number(inst, LX_CG_CPU, "cpuacct.usage", "");
	(void)lx_cgroup_keyed(cg, LX_CG_CPU, inst->name, "cpu.stat", "usage_usec", &usec);
	return usec * 1000;
}

static uint64_t memory_limit(const struct lx_instance *inst)
{
	uint64_t limit = number(inst, LX_CG_MEMORY, "memory.limit_in_bytes", "memory.max");

	/* v1 says "no limit" with the largest number of whole pages. */
	return limit > INT64_MAX - 65536 ? 0 : limit;
}

static void sample(const struct lx_usage *u, struct lx_instance *inst, Lxmgr__V1__InstanceUsage *ret)
{
	*ret = inst->usage;
	ret->memory_bytes = number(inst, LX_CG_MEMORY, "memory.usage_in_bytes", "memory.current");
	ret->memory_peak_bytes = number(inst, LX_CG_MEMORY, "memory.max_usage_in_bytes", "memory.peak");
	ret->processes = (uint32_t)number(inst, LX_CG_PIDS, "pids.current", "pids.current");
	ret->cpu_ns = cpu_ns(inst);
	if (!inst->knows_limit) {
		ret->memory_limit_bytes = memory_limit(inst);
		inst->knows_limit = true;
	}
	lx_disk_sample(inst, ret);
	ret->rx_bytes = ret->tx_bytes = 0;
	sum_cards(u, inst, ret);
}

/* ------------------------------------------------------------------ a round */

static bool differs(const Lxmgr__V1__InstanceUsage *a, const Lxmgr__V1__InstanceUsage *b)
{
	return a->memory_bytes != b->memory_bytes || a->memory_peak_bytes != b->memory_peak_bytes ||
	       a->memory_limit_bytes != b->memory_limit_bytes || a->cpu_ns != b->cpu_ns ||
	       a->disk_bytes != b->disk_bytes || a->disk_limit_bytes != b->disk_limit_bytes ||
	       a->processes != b->processes || a->rx_bytes != b->rx_bytes || a->tx_bytes != b->tx_bytes;
}

static void end_round(struct lx_usage *u)
{
	lx_timer_drop(&u->turn);
	free(u->names);
	free(u->cards);
	u->names = NULL;
	u->cards = NULL;
	u->n = u->next = u->n_cards = 0;
}

static void send_reports(struct lx_agent *a, Lxmgr__V1__UsageReport *reports, size_t n)
{
	Lxmgr__V1__UsageReport *list[USAGE_SLICE];
	Lxmgr__V1__UsageReports all = LXMGR__V1__USAGE_REPORTS__INIT;
	Lxmgr__V1__AgentEvent event = LXMGR__V1__AGENT_EVENT__INIT;

	for (size_t i = 0; i < n; i++)
		list[i] = &reports[i];
	all.n_reports = n;
	all.reports = list;
	event.what_case = LXMGR__V1__AGENT_EVENT__WHAT_USAGE;
	event.usage = &all;
	if (n > 0)
		lx_watch_send(a, &event);
}

static void take_turn(void *arg)
{
	struct lx_usage *u = arg;
	Lxmgr__V1__UsageReport reports[USAGE_SLICE];
	size_t n = 0;

	for (size_t i = 0; i < USAGE_SLICE && u->next < u->n; i++) {
		struct lx_instance *inst = lx_map_get(&u->agent->instances, u->names[u->next++]);
		Lxmgr__V1__InstanceUsage now;

		if (!inst || !lx_instance_is_up(inst))
			continue;
		sample(u, inst, &now);
		lx_denials_look(inst, now.processes);
		if (inst->has_usage && !differs(&inst->usage, &now))
			continue;
		inst->usage = now;
		inst->has_usage = true;
		lxmgr__v1__usage_report__init(&reports[n]);
		reports[n].name = inst->name;
		reports[n].usage = &inst->usage;
		n++;
	}
	send_reports(u->agent, reports, n);
	if (u->next == u->n)
		end_round(u);
}

static void begin_round(void *arg)
{
	struct lx_usage *u = arg;
	size_t all = lx_map_count(&u->agent->instances);

	if (u->turn || all == 0)
		return; /* the one before is not through yet */
	u->names = calloc(all, sizeof(*u->names));
	if (!u->names)
		return;
	for (struct lx_map_entry *e = lx_map_first(&u->agent->instances); e; e = lx_map_next(e))
		if (lx_instance_is_up(lx_map_value(e)))
			snprintf(u->names[u->n++], sizeof(*u->names), "%s", lx_map_key(e));
	if (u->n > 0)
		read_cards(u);
	/* Every millisecond a slice: requests come in between. */
	if (u->n == 0 || lx_timer_start(u->agent->loop, 0, 1, take_turn, u, &u->turn, NULL) < 0)
		end_round(u);
}

void lx_usage_retime(struct lx_agent *a)
{
	struct lx_usage *u = a->usage;
	uint32_t ms = u ? lx_watch_usage_interval(a) : 0;

	if (!u || ms == u->interval_ms)
		return;
	lx_timer_drop(&u->interval);
	u->interval_ms = 0;
	if (ms > 0 && lx_timer_start(a->loop, 0, ms, begin_round, u, &u->interval, NULL) == 0)
		u->interval_ms = ms;
}

int lx_usage_open(struct lx_agent *a, struct lx_err *err)
{
	a->usage = calloc(1, sizeof(*a->usage));
	if (!a->usage)
		return lx_err_oom(err);
	a->usage->agent = a;
	return 0;
}

void lx_usage_close(struct lx_agent *a)
{
	if (!a->usage)
		return;
	end_round(a->usage);
	lx_timer_stop(a->usage->interval);
	free(a->usage);
	a->usage = NULL;
}
