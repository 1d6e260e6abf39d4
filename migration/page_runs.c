/* Each operation is one walk along both sets. */
#include "migration/page_runs.h"

#include <errno.h>
#include <stdlib.h>

void lx_page_runs_release(struct lx_page_runs *s)
{
	free(s->v);
	*s = (struct lx_page_runs){ 0 };
}

void lx_page_runs_clear(struct lx_page_runs *s)
{
	s->n = 0;
}

uint64_t lx_page_runs_bytes(const struct lx_page_runs *s)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < s->n; i++)
		bytes += s->v[i].end - s->v[i].start;
	return bytes;
}

int lx_page_runs_append(struct lx_page_runs *s, uint64_t start, uint64_t end)
{
	if (start >= end)
		return 0;
	if (s->n > 0 && s->v[s->n - 1].end >= start) {
		if (s->v[s->n - 1].end < end)
			s->v[s->n - 1].end = end;
		return 0;
	}
	if (s->n == s->room) {
		size_t room = s->room ? 2 * s->room : 64;
		struct lx_page_run *grown = realloc(s->v, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		s->v = grown;
		s->room = room;
	}
	s->v[s->n++] = (struct lx_page_run){ start, end };
	return 0;
}

int lx_page_runs_union(const struct lx_page_runs *a, const struct lx_page_runs *b, struct lx_page_runs *ret)
{
	int r = 0;

	for (size_t i = 0, j = 0; r == 0 && (i < a->n || j < b->n);) {
		bool first = j == b->n || (i < a->n && a->v[i].start <= b->v[j].start);
		const struct lx_page_run *next = first ? &a->v[i++] : &b->v[j++];

		r = lx_page_runs_append(ret, next->start, next->end);
	}
	return r;
}

int lx_page_runs_common(const struct lx_page_runs *a, const struct lx_page_runs *b, struct lx_page_runs *ret)
{
	int r = 0;

	for (size_t i = 0, j = 0; r == 0 && i < a->n && j < b->n;) {
		const struct lx_page_run *x = &a->v[i], *y = &b->v[j];

		r = lx_page_runs_append(ret, x->start > y->start ? x->start : y->start,
					x->end < y->end ? x->end : y->end);
		if (x->end < y->end)
			i++;
		else
			j++;
	}
	return r;
}

int lx_page_runs_without(const struct lx_page_runs *a, const struct lx_page_runs *b, struct lx_page_runs *ret)
{
	int r = 0;

	for (size_t i = 0, j = 0; r == 0 && i < a->n; i++) {
		uint64_t at = a->v[i].start, end = a->v[i].end;

		while (j < b->n && b->v[j].end <= at)
			j++;
		/* A run of b may reach into the next one of a: it is looked at again there. */
		for (size_t k = j; r == 0 && k < b->n && b->v[k].start < end; k++) {
			r = lx_page_runs_append(ret, at, b->v[k].start);
			at = b->v[k].end;
		}
		if (r == 0)
			r = lx_page_runs_append(ret, at, end);
	}
	return r;
}

int lx_page_runs_drop(struct lx_page_runs *s, uint64_t start, uint64_t end)
{
	struct lx_page_run one = { start, end };
	struct lx_page_runs rest = { 0 };
	int r = lx_page_runs_without(s, &(struct lx_page_runs){ .v = &one, .n = 1 }, &rest);

	if (r < 0) {
		lx_page_runs_release(&rest);
		return r;
	}
	lx_page_runs_release(s);
	*s = rest;
	return 0;
}

/* How many begin below `address`. */
static size_t below(const struct lx_page_runs *s, uint64_t address)
{
	size_t low = 0, high = s->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (s->v[middle].start < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool lx_page_runs_last_gap(const struct lx_page_runs *s, uint64_t *start, uint64_t *end)
{
	for (size_t i = s ? below(s, *end) : 0; i > 0 && *end > *start; i--) {
		const struct lx_page_run *last = &s->v[i - 1];

		if (last->end < *end) {
			if (last->end > *start)
				*start = last->end;
			break;
		}
		*end = last->start;
	}
	return *end > *start;
}

bool lx_page_runs_gap_at(const struct lx_page_runs *s, uint64_t at, uint64_t *start, uint64_t *end)
{
	size_t i = s ? below(s, at + 1) : 0;

	if (i > 0 && s->v[i - 1].end > at)
		return false;
	if (i > 0 && s->v[i - 1].end > *start)
		*start = s->v[i - 1].end;
	if (s && i < s->n && s->v[i].start < *end)
		*end = s->v[i].start;
	return true;
}
