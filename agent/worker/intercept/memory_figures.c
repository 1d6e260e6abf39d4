/* Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of the kernel say what the files hold. */
#include "agent/worker/intercept/memory_figures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t number(const char *text, uint64_t otherwise)
{
	char *end;

	if (!text)
		return otherwise;
	uint64_t n = strtoull(text, &end, 10);

	return end == text ? otherwise : n;
}

/* "<name> <number>" at the beginning of a line. */
static uint64_t of_stat(const char *stat, const char *name)
{
	size_t n = strlen(name);

	for (const char *line = stat; line && *line;) {
		if (strncmp(line, name, n) == 0 && line[n] == ' ')
			return number(line + n + 1, 0);
		line = strchr(line, '\n');
		line += line != NULL;
	}
	return 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static void swap(const struct lx_memory_texts *t, const struct lx_memory_figures *host, uint64_t limit,
		 uint64_t usage, struct lx_memory_figures *ret)
{
	uint64_t most = number(t->swap_limit, UINT64_MAX), used = number(t->swap_usage, 0);

	if (t->v1 && t->swap_limit) {
		/* Without a limit both are the same number beyond all memory. */
		most = most >= host->total + host->swap_total && limit >= host->total ? UINT64_MAX
										      : less(most, limit);
		used = less(used, usage);
	}
	ret->swap_total = least(most, host->swap_total);
	ret->swap_free = least(less(ret->swap_total, used), host->swap_free);
}

void lx_memory_figures(const struct lx_memory_texts *t, const struct lx_memory_figures *host,
		       struct lx_memory_figures *ret)
{
	uint64_t limit = number(t->limit, UINT64_MAX), usage = number(t->usage, 0);

	/* What is cached of files and lies idle is given back before anything is short. */
	uint64_t idle = of_stat(t->stat, t->v1 ? "total_inactive_file" : "inactive_file");

	*ret = *host;
	ret->total = least(limit, host->total);
	ret->free = least(less(ret->total, less(usage, idle)), host->free);
	if (limit < host->total)
		ret->free = less(ret->total, less(usage, idle));
	ret->shared = of_stat(t->stat, t->v1 ? "total_shmem" : "shmem");
	swap(t, host, limit, usage, ret);
}
