#include "migration/lazy_ranges.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ROOM_MIN 16u

void lx_lazy_ranges_release(struct lx_lazy_ranges *s)
{
	free(s->v);
	*s = (struct lx_lazy_ranges){ 0 };
}

/* For `more` ranges than there are. */
static int reserve(struct lx_lazy_ranges *s, size_t more)
{
	if (s->n + more <= s->room)
		return 0;
	size_t room = 2 * (s->n + more) + ROOM_MIN;
	struct lx_lazy_range *grown = realloc(s->v, room * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	s->v = grown;
	s->room = room;
	return 0;
}

static void insert(struct lx_lazy_ranges *s, size_t at, struct lx_lazy_range range)
{
	memmove(&s->v[at + 1], &s->v[at], (s->n - at) * sizeof(*s->v));
	s->v[at] = range;
	s->n++;
}

int lx_lazy_ranges_append(struct lx_lazy_ranges *s, uint64_t start, uint64_t end)
{
	if (reserve(s, 1) < 0)
		return -ENOMEM;
	s->v[s->n++] = (struct lx_lazy_range){ start, end, start };
	return 0;
}

int lx_lazy_ranges_copy(const struct lx_lazy_ranges *s, struct lx_lazy_ranges *ret)
{
	if (reserve(ret, s->n) < 0)
		return -ENOMEM;
	if (s->n > 0)
		memcpy(ret->v, s->v, s->n * sizeof(*s->v));
	ret->n = s->n;
	return 0;
}

/* Number of the first range that ends above the address; n when none does. */
static size_t first_above(const struct lx_lazy_ranges *s, uint64_t address)
{
	size_t low = 0, high = s->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (s->v[mid].end > address)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

const struct lx_lazy_range *lx_lazy_ranges_find(const struct lx_lazy_ranges *s, uint64_t address)
{
	size_t i = first_above(s, address);

	return i < s->n && s->v[i].start <= address ? &s->v[i] : NULL;
}

/* So that none goes over that address. There is room for one more. */
static void cut(struct lx_lazy_ranges *s, uint64_t at)
{
	size_t i = first_above(s, at);

	if (i == s->n || s->v[i].start >= at)
		return;
	insert(s, i + 1, (struct lx_lazy_range){ at, s->v[i].end, s->v[i].image + (at - s->v[i].start) });
	s->v[i].end = at;
}

/* There is room for two more. */
static void drop(struct lx_lazy_ranges *s, uint64_t start, uint64_t end)
{
	cut(s, start);
	cut(s, end);
	size_t from = first_above(s, start), to = from;

	while (to < s->n && s->v[to].start < end)
		to++;
	memmove(&s->v[from], &s->v[to], (s->n - to) * sizeof(*s->v));
	s->n -= to - from;
}

int lx_lazy_ranges_drop(struct lx_lazy_ranges *s, uint64_t start, uint64_t end)
{
	if (start >= end)
		return 0;
	if (reserve(s, 2) < 0)
		return -ENOMEM;
	drop(s, start, end);
	return 0;
}

int lx_lazy_ranges_remap(struct lx_lazy_ranges *s, uint64_t from, uint64_t to, uint64_t len)
{
	struct lx_lazy_ranges moved = { 0 };

	if (len == 0)
		return 0;
	/* For the cuts of both, and for what goes elsewhere. */
	if (reserve(s, 4) < 0 || reserve(&moved, s->n + 2) < 0)
		return -ENOMEM;
	cut(s, from);
	cut(s, from + len);
	for (size_t i = first_above(s, from); i < s->n && s->v[i].start < from + len; i++) {
		struct lx_lazy_range r = s->v[i];

		r.start += to - from;
		r.end += to - from;
		moved.v[moved.n++] = r;
	}
	drop(s, from, from + len);
	drop(s, to, to + len);
	size_t at = first_above(s, to);

	for (size_t i = 0; i < moved.n; i++)
		insert(s, at + i, moved.v[i]);
	lx_lazy_ranges_release(&moved);
	return 0;
}
