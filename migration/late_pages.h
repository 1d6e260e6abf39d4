/*
 * Post-copy: which pages of the images of a guest's memory (page_image.h) have not come yet. Their
 * lists lie beside the images, as "late-<process>.img", in the format of a list of pages; they are
 * removed when all has come. A list that is still there without the source's word that its pages
 * will follow means that they are lost.
 */
#ifndef LX_MIGRATION_LATE_PAGES_H
#define LX_MIGRATION_LATE_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"
#include "migration/page_runs.h"

#define LX_LATE_PREFIX "late-"

/* Of one image. */
struct lx_late_pages {
	uint32_t pages_id;
	struct lx_page_runs missing;
	struct lx_late_pages *next;
};

/* The list of that process, if it has one, into `all` (NULL: of none yet); `images` is a directory. */
int lx_late_pages_read(int images, int pid, struct lx_late_pages **all, struct lx_err *err);
void lx_late_pages_free(struct lx_late_pages *all);

/* NULL: nothing of that image is missing. Good until lx_late_pages_free(), also when all has come. */
struct lx_late_pages *lx_late_pages_of(struct lx_late_pages *all, uint32_t pages_id);
bool lx_late_pages_any(const struct lx_late_pages *all);

/* Is there a list, of any process? */
bool lx_late_pages_listed(int images);
/* All has come. */
int lx_late_pages_forget(int images, struct lx_err *err);

#endif
