#include "migration/scan_regions.h"

/* The first hidden run that ends above `at`. */
static size_t first_above(const struct lx_page_run *hidden, size_t n, uint64_t at)
{
	size_t low = 0, high = n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (hidden[middle].end <= at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

size_t lx_regions_hide(const struct lx_scan_region *v, size_t n, const struct lx_page_run *hidden,
		       size_t n_hidden, struct lx_scan_region *out, size_t room, uint64_t *walk_end)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t at = v[i].start;

		for (size_t h = first_above(hidden, n_hidden, at); at < v[i].end; h++) {
			bool over = h == n_hidden || hidden[h].start >= v[i].end;
			uint64_t until = over ? v[i].end : hidden[h].start;

			if (until > at && k == room) {
				*walk_end = at;
				return k;
			}
			if (until > at)
				out[k++] = (struct lx_scan_region){ at, until, v[i].categories };
			at = over ? v[i].end : hidden[h].end;
		}
	}
	return k;
}

bool lx_regions_all_hidden(uint64_t start, uint64_t end, const struct lx_page_run *hidden, size_t n_hidden)
{
	size_t h = first_above(hidden, n_hidden, start);

	return h < n_hidden && hidden[h].start <= start && hidden[h].end >= end;
}
