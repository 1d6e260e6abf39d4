/* Lists of what is hidden from CRIU (migration/hidden_pages.h), as its library reads them. */
#ifndef LX_MIGRATION_PRELOAD_RUNS_H
#define LX_MIGRATION_PRELOAD_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "migration/hidden_pages.h"

struct lx_hidden_runs {
	const struct lx_page_run *v; /* mapped */
	size_t n;
};

/* In place of what `ret` had: the list of that name, or none where there is none. */
void lx_hidden_runs_load(const char *name, struct lx_hidden_runs *ret);

/* Of the kernel's own tmpfs: memfd_create(2)'s and others of no file. */
bool lx_is_shared_memory(const struct stat *st);

#endif
