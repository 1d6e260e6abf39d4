/* What sysinfo(2) says of a guest's memory, out of its cgroup's files. Pure; all sizes in bytes. */
#ifndef LX_INTERCEPT_MEMORY_FIGURES_H
#define LX_INTERCEPT_MEMORY_FIGURES_H

#include <stdint.h>

struct lx_memory_figures {
	uint64_t total, free, shared, swap_total, swap_free;
};

/* Texts of the cgroup's files; NULL: not there. "max" and numbers beyond the machine's are no limit. */
struct lx_memory_texts {
	const char *limit, *usage, *stat;
	const char *swap_limit, *swap_usage; /* v1: of memory and swap together */
	int v1;
};

/* `host`: the machine's, of which the guest has at most so much. */
void lx_memory_figures(const struct lx_memory_texts *t, const struct lx_memory_figures *host,
		       struct lx_memory_figures *ret);

#endif
