/*
 * Memory of a process that is not in place yet: ranges of its addresses, and where each lies in
 * the image, by the address it had there. The two differ once the process has moved some of it
 * (mremap(2)). Pure.
 *
 * Addresses are bytes, ranges are half-open, sorted and apart. Callers keep to whole pages.
 */
#ifndef LX_MIGRATION_LAZY_RANGES_H
#define LX_MIGRATION_LAZY_RANGES_H

#include <stddef.h>
#include <stdint.h>

struct lx_lazy_range {
	uint64_t start, end;
	uint64_t image; /* of `start` */
};

struct lx_lazy_ranges {
	struct lx_lazy_range *v;
	size_t n, room;
};

void lx_lazy_ranges_release(struct lx_lazy_ranges *s);

/* All that return int: 0 or -ENOMEM, and then nothing has changed. */

/* Above all there are; it lies in the image where it was. */
int lx_lazy_ranges_append(struct lx_lazy_ranges *s, uint64_t start, uint64_t end);
/* `ret` is empty. */
int lx_lazy_ranges_copy(const struct lx_lazy_ranges *s, struct lx_lazy_ranges *ret);
/* The one with that address, or NULL. Good until the next change. */
const struct lx_lazy_range *lx_lazy_ranges_find(const struct lx_lazy_ranges *s, uint64_t address);
/* It is in place, or no longer wanted. */
int lx_lazy_ranges_drop(struct lx_lazy_ranges *s, uint64_t start, uint64_t end);
/* What is in [from, from + len) is `to - from` further on now, in place of what was there. */
int lx_lazy_ranges_remap(struct lx_lazy_ranges *s, uint64_t from, uint64_t to, uint64_t len);

#endif
