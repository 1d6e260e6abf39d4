/* The arithmetic, see the header. */
#include "lxmgr/scheduler/score.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "images/arch.h"
#include "lib/str.h"
#include "profiles/labels.h"

static uint64_t memory_asked(const struct lx_demand *d, uint64_t memory)
{
	return d->memory_percent ? memory / 100 * d->memory_percent : d->memory;
}

void lx_load_add(struct lx_load *load, const struct lx_demand *d, uint64_t memory)
{
	uint64_t asked = memory_asked(d, memory);

	load->instances++;
	load->disk_asked += d->disk;
	load->cpu_asked += d->cpu;
	load->cpu_counted += d->cpu ? d->cpu : LX_SCORE_CPU_DEFAULT;
	load->memory_asked += asked;
	load->memory_counted += asked ? asked : LX_SCORE_MEMORY_DEFAULT;
}

/* ------------------------------------------------------------------ what rules a node out */

static bool no(struct lx_ranked *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool no(struct lx_ranked *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->reason, sizeof(r->reason), fmt, ap);
	va_end(ap);
	return false;
}

static bool has_label(const struct lx_candidate *c, const struct lx_label_wish *wish)
{
	for (size_t i = 0; i < c->n_labels; i++)
		if (lx_streq(c->labels[i]->key, wish->key))
			return wish->any || lx_streq(c->labels[i]->value, wish->value);
	return false;
}

static bool labels_fit(const struct lx_wanted *want, const struct lx_candidate *c, struct lx_ranked *r)
{
	const char *list = want->labels ? want->labels : "";
	struct lx_label_wish wish;
	int n;

	while ((n = lx_label_next(&list, &wish)) > 0)
		if (!has_label(c, &wish))
			return no(r, "has no label %s%s%s", wish.key, wish.any ? "" : "=",
				  wish.any ? "" : wish.value);
	return n == 0 || no(r, "the labels asked for cannot be read");
}

static bool memory_fits(const struct lx_wanted *want, const struct lx_candidate *c, struct lx_ranked *r)
{
	char asked[LX_SIZE_TEXT_MAX], total[LX_SIZE_TEXT_MAX], left[LX_SIZE_TEXT_MAX];
	uint64_t memory = memory_asked(&want->demand, c->memory);

	if (memory == 0)
		return true;
	lx_format_size(memory, asked, sizeof(asked));
	if (memory > c->memory)
		return no(r, "has %s of memory, %s is asked for",
			  lx_format_size(c->memory, total, sizeof(total)), asked);
	uint64_t unasked = c->memory > c->load.memory_asked ? c->memory - c->load.memory_asked : 0;

	return memory <= unasked || no(r, "has %s of memory not promised to others, %s is asked for",
				       lx_format_size(unasked, left, sizeof(left)), asked);
}

static bool cpu_fits(const struct lx_wanted *want, const struct lx_candidate *c, struct lx_ranked *r)
{
	uint64_t cpu = want->demand.cpu, all = (uint64_t)c->cpus * 1000 * LX_SCORE_CPU_OVERCOMMIT;

	if (want->demand.min_cpus > c->cpus)
		return no(r, "has %u CPUs, number %u is asked for", c->cpus, want->demand.min_cpus - 1);
	if (cpu == 0)
		return true;
	if (cpu > (uint64_t)c->cpus * 1000)
		return no(r, "has %u CPUs, %g are asked for", c->cpus, (double)cpu / 1000);
	return c->load.cpu_asked + cpu <= all ||
	       no(r, "has promised %g CPUs, and may promise %u (%u for each it has)",
		  (double)c->load.cpu_asked / 1000, c->cpus * LX_SCORE_CPU_OVERCOMMIT,
		  LX_SCORE_CPU_OVERCOMMIT);
}

static bool disk_fits(const struct lx_wanted *want, const struct lx_candidate *c, struct lx_ranked *r)
{
	char left[LX_SIZE_TEXT_MAX], asked[LX_SIZE_TEXT_MAX];
	uint64_t need = LX_SCORE_DISK_RESERVE + (want->needs_image && !c->has_image ? want->image_bytes : 0);

	/* 0 in all: the node does not say. */
	if (c->disk == 0)
		return true;
	if (c->disk_free < need)
		return no(r, "has %s of disk free, %s is needed",
			  lx_format_size(c->disk_free, left, sizeof(left)),
			  lx_format_size(need, asked, sizeof(asked)));
	uint64_t unasked = c->disk > c->load.disk_asked ? c->disk - c->load.disk_asked : 0;

	return want->demand.disk <= unasked || no(r, "has %s of disk not promised to others, %s is asked for",
						  lx_format_size(unasked, left, sizeof(left)),
						  lx_format_size(want->demand.disk, asked, sizeof(asked)));
}

/* It would be refused there: not even who asks for the node by name gets it. */
static bool confines(const struct lx_wanted *want, const struct lx_candidate *c, struct lx_ranked *r)
{
	bool apparmor = lx_streq(want->lsm, "apparmor");

	if (!want->lsm)
		return true;
	if (!lx_streq(want->lsm, c->lsm))
		return no(r, "has no %s, which %s demands", apparmor ? "AppArmor" : "SELinux",
			  apparmor ? "security.apparmor" : "security.selinux.context");
	return !want->needs_compiler || c->compiles_policy ||
	       no(r, "has no apparmor_parser, which security.apparmor demands");
}

static bool can_run(const struct lx_wanted *want, const struct lx_candidate *c, struct lx_ranked *r)
{
	if (!c->online)
		return no(r, "offline: %s",
			  c->away_reason && *c->away_reason ? c->away_reason : "not heard of yet");
	if (!lx_str_empty(want->architecture) && !lx_str_empty(c->architecture) &&
	    !lx_arch_runs(c->architecture, want->architecture))
		return no(r, "is %s, the image is for %s", c->architecture, want->architecture);
	if (want->needs_image && !c->has_image && !c->can_get_image)
		return no(r, "does not have the image, and no node that has it is online");
	if (want->demand.disk && !c->bounds_disk)
		return no(r, "cannot bound the size of a root disk, lxmgr node show %s says why (disk-quota)",
			  c->name);
	if (want->lxcfs && !c->lxcfs)
		return no(r, "has no lxcfs that serves, which security.lxcfs=on demands");
	if (want->needs_intercepts && !c->intercepts)
		return no(r, "hands out no system calls, which security.syscalls.intercept.* demand");
	return confines(want, c, r);
}

static bool fits(const struct lx_wanted *want, const struct lx_candidate *c, struct lx_ranked *r)
{
	if (want->exclude && lx_streq(want->exclude, c->name))
		return no(r, "is where it is now");
	if (!lx_str_empty(want->target) && !lx_streq(want->target, c->name))
		return no(r, "another node was asked for");
	if (!can_run(want, c, r))
		return false;
	if (!lx_str_empty(want->target))
		return true;
	if (c->cordoned)
		return no(r, "cordoned");
	return labels_fit(want, c, r) && memory_fits(want, c, r) && cpu_fits(want, c, r) &&
	       disk_fits(want, c, r);
}

/* ------------------------------------------------------------------ how good it is */

/* 1000 with nothing on it, 500 when all is taken, towards 0 with more than that. */
static unsigned room(uint64_t taken, uint64_t all)
{
	return all == 0 ? 0 : (unsigned)(1000.0 / (1.0 + (double)taken / (double)all));
}

static void rate(const struct lx_wanted *want, const struct lx_candidate *c, struct lx_ranked *r)
{
	struct lx_load with = c->load;

	lx_load_add(&with, &want->demand, c->memory);
	unsigned cpu = room(with.cpu_counted, (uint64_t)c->cpus * 1000);
	unsigned memory = room(with.memory_counted, c->memory);
	unsigned disk = room(c->disk - (c->disk_free < c->disk ? c->disk_free : c->disk), c->disk);

	r->score = (cpu + memory + disk) / 3;
	if (want->needs_image && c->has_image)
		r->score += LX_SCORE_IMAGE_BONUS;
	if (!lx_str_empty(want->target))
		snprintf(r->reason, sizeof(r->reason), "asked for");
	else
		snprintf(r->reason, sizeof(r->reason), "room: cpu %u, memory %u, disk %u%s", cpu, memory,
			 disk, want->needs_image && c->has_image ? "; has the image" : "");
}

static int order(const void *pa, const void *pb, void *arg)
{
	const struct lx_candidate *all = arg;
	const struct lx_ranked *a = pa, *b = pb;
	const struct lx_candidate *ca = &all[a->candidate], *cb = &all[b->candidate];

	if (a->fits != b->fits)
		return a->fits ? -1 : 1;
	if (a->fits && a->score != b->score)
		return a->score > b->score ? -1 : 1;
	if (a->fits && ca->load.instances != cb->load.instances)
		return ca->load.instances < cb->load.instances ? -1 : 1;
	return strcmp(ca->name, cb->name);
}

void lx_score(const struct lx_wanted *want, const struct lx_candidate *candidates, size_t n,
	      struct lx_ranked *ret)
{
	for (size_t i = 0; i < n; i++) {
		ret[i] = (struct lx_ranked){ .candidate = i };
		ret[i].fits = fits(want, &candidates[i], &ret[i]);
		if (ret[i].fits)
			rate(want, &candidates[i], &ret[i]);
	}
	if (n > 1)
		qsort_r(ret, n, sizeof(*ret), order, (void *)(uintptr_t)candidates);
}
