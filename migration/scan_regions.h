/* Taking runs of pages out of what PAGEMAP_SCAN has found. Pure, and without libc. */
#ifndef LX_MIGRATION_SCAN_REGIONS_H
#define LX_MIGRATION_SCAN_REGIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "migration/page_runs.h"
#include "migration/pagemap_scan.h"

/*
 * Copies `n` regions to `out`, which has room for `room`, without the hidden runs; both are
 * sorted. Returns how many there are; *walk_end, which said how far the scan has come, is set
 * back to what did not fit.
 */
size_t lx_regions_hide(const struct lx_scan_region *v, size_t n, const struct lx_page_run *hidden,
		       size_t n_hidden, struct lx_scan_region *out, size_t room, uint64_t *walk_end);

/* Whether all of [start, end) is hidden: then there is nothing to scan. */
bool lx_regions_all_hidden(uint64_t start, uint64_t end, const struct lx_page_run *hidden, size_t n_hidden);

#endif
