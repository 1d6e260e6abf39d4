/*
 * sysinfo(2) as the guest's own: its memory and swap, its processes, how long its init has run. Load
 * averages are the machine's, as in the guest's /proc/loadavg.
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include "agent/worker/instance/proc.h"
#include "agent/worker/intercept/calls.h"
#include "agent/worker/intercept/memory_figures.h"
#include "lib/fs.h"

#define STAT_MAX 8192

/* linux/sysinfo.h as 32-bit programs of x86 have it: a long is four bytes. */
struct sysinfo32 {
	int32_t uptime;
	uint32_t loads[3];
	uint32_t totalram, freeram, sharedram, bufferram, totalswap, freeswap;
	uint16_t procs, pad;
	uint32_t totalhigh, freehigh, mem_unit;
	char padding[8];
};

/* A file of the payload's; "" when it is not there. */
static const char *read_file(const struct lx_call *call, size_t at, const char *name, char *out, size_t size)
{
	char path[LX_JOB_PATH_MAX], leaf[64];

	snprintf(leaf, sizeof(leaf), "/payload/%s", name);
	lx_cgroup_path(&call->d->cgroups, at, &call->d->job, leaf, path);
	FILE *f = fopen(path, "re");
	size_t n = f ? fread(out, 1, size - 1, f) : 0;

	out[n] = '\0';
	if (f)
		(void)fclose(f);
	return n ? out : NULL;
}

static void memory(const struct lx_call *call, const struct lx_memory_figures *host,
		   struct lx_memory_figures *ret)
{
	static const char *const files[2][5] = {
		{ "memory.max", "memory.current", "memory.stat", "memory.swap.max", "memory.swap.current" },
		{ "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat",
		  "memory.memsw.limit_in_bytes", "memory.memsw.usage_in_bytes" },
	};
	const struct lx_cgroups *cg = &call->d->cgroups;
	size_t at = lx_cgroup_hierarchy(cg, "memory");
	int v1 = at != cg->v2;
	char small[4][32], stat[STAT_MAX];
	struct lx_memory_texts t = {
		.limit = read_file(call, at, files[v1][0], small[0], sizeof(small[0])),
		.usage = read_file(call, at, files[v1][1], small[1], sizeof(small[1])),
		.stat = read_file(call, at, files[v1][2], stat, sizeof(stat)),
		.swap_limit = read_file(call, at, files[v1][3], small[2], sizeof(small[2])),
		.swap_usage = read_file(call, at, files[v1][4], small[3], sizeof(small[3])),
		.v1 = v1,
	};

	lx_memory_figures(&t, host, ret);
}

static uint64_t processes(const struct lx_call *call, uint64_t otherwise)
{
	char text[32], *end;

	if (!read_file(call, lx_cgroup_hierarchy(&call->d->cgroups, "pids"), "pids.current", text,
		       sizeof(text)))
		return otherwise;
	uint64_t n = strtoull(text, &end, 10);

	return end == text ? otherwise : n;
}

static long uptime(const struct lx_call *call, long otherwise)
{
	uint64_t start;
	struct timespec now;

	if (lx_proc_stat(call->init, &start, NULL) < 0 || clock_gettime(CLOCK_BOOTTIME, &now) < 0)
		return otherwise;
	return now.tv_sec - (long)(start / (uint64_t)sysconf(_SC_CLK_TCK));
}

/* Units of bytes while all fits, as the kernel does it. */
static void narrow(const struct sysinfo *s, struct sysinfo32 *ret)
{
	unsigned shift = 0;

	while (s->totalram >> shift > UINT32_MAX || s->totalswap >> shift > UINT32_MAX)
		shift++;
	*ret = (struct sysinfo32){
		.uptime = (int32_t)s->uptime,
		.loads = { (uint32_t)s->loads[0], (uint32_t)s->loads[1], (uint32_t)s->loads[2] },
		.totalram = (uint32_t)(s->totalram >> shift),
		.freeram = (uint32_t)(s->freeram >> shift),
		.sharedram = (uint32_t)(s->sharedram >> shift),
		.totalswap = (uint32_t)(s->totalswap >> shift),
		.freeswap = (uint32_t)(s->freeswap >> shift),
		.procs = s->procs,
		.mem_unit = 1U << shift,
	};
}

void lx_call_sysinfo(const struct lx_call *call, struct lx_outcome *out)
{
	struct sysinfo s, mine = { 0 };
	struct sysinfo32 small;
	struct lx_memory_figures host, guest;
	uint64_t to = call->n->data.args[0];

	if (sysinfo(&s) < 0)
		return;
	host = (struct lx_memory_figures){ (uint64_t)s.totalram * s.mem_unit,
					   (uint64_t)s.freeram * s.mem_unit,
					   (uint64_t)s.sharedram * s.mem_unit,
					   (uint64_t)s.totalswap * s.mem_unit,
					   (uint64_t)s.freeswap * s.mem_unit };
	memory(call, &host, &guest);
	memcpy(mine.loads, s.loads, sizeof(mine.loads));
	mine.uptime = uptime(call, s.uptime);
	mine.totalram = guest.total;
	mine.freeram = guest.free;
	mine.sharedram = guest.shared;
	mine.totalswap = guest.swap_total;
	mine.freeswap = guest.swap_free;
	mine.procs = (unsigned short)processes(call, s.procs);
	mine.mem_unit = 1;
	if (call->n->data.arch == seccomp_arch_native()) {
		lx_call_done(out, lx_caller_write(&call->caller, to, &mine, sizeof(mine)));
	} else if (call->n->data.arch == SCMP_ARCH_X86) {
		narrow(&mine, &small);
		lx_call_done(out, lx_caller_write(&call->caller, to, &small, sizeof(small)));
	}
}
