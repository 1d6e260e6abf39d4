/* PAGEMAP_SCAN of linux/fs.h, which headers older than Linux 6.7 do not have
 * (Documentation/admin-guide/mm/pagemap.rst). */
#ifndef LX_MIGRATION_PAGEMAP_SCAN_H
#define LX_MIGRATION_PAGEMAP_SCAN_H

#include <stdint.h>
#include <sys/ioctl.h>

struct lx_scan_region {
	uint64_t start, end, categories;
};

struct lx_scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define LX_SCAN               _IOWR('f', 16, struct lx_scan_arg)
#define LX_SCAN_WP_MATCHING   (1ull << 0)
#define LX_SCAN_CHECK_WPASYNC (1ull << 1)
#define LX_PAGE_WRITTEN       (1ull << 1)
#define LX_PAGE_PRESENT       (1ull << 3)
#define LX_PAGE_SWAPPED       (1ull << 4)
#define LX_PAGE_ZERO          (1ull << 5) /* the page of zeros that all share: no dump holds it */

#endif
