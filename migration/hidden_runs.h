/* Lists of what is hidden from CRIU (hidden_pages.h), as its library and its tar read them. */
#ifndef LX_MIGRATION_HIDDEN_RUNS_H
#define LX_MIGRATION_HIDDEN_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "migration/hidden_pages.h"

struct lx_hidden_runs {
	const struct lx_page_run *v; /* mapped */
	size_t n;
};

/* In place of what `ret` had: the list of that name, or none where there is none, or for NULL. */
void lx_hidden_runs_load(const char *name, struct lx_hidden_runs *ret);

/* That of a file in a tmpfs, in the same way, for who runs beside the images; only large ones have one. */
void lx_hidden_runs_of(const struct stat *st, struct lx_hidden_runs *ret);

/* Lists of memory that processes share may still be written; returns when they are there. */
void lx_hidden_runs_wait(void);

/* Of the kernel's own tmpfs: memfd_create(2)'s and others of no file. */
bool lx_is_shared_memory(const struct stat *st);

#endif
