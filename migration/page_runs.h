/*
 * Sets of memory pages, as runs: pure.
 *
 * Addresses are bytes, runs are half-open, sorted, and never touch each other. Callers keep to
 * whole pages; nothing here knows how large one is.
 */
#ifndef LX_MIGRATION_PAGE_RUNS_H
#define LX_MIGRATION_PAGE_RUNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lx_page_run {
	uint64_t start, end;
};

struct lx_page_runs {
	struct lx_page_run *v;
	size_t n, room;
};

void lx_page_runs_release(struct lx_page_runs *s);
/* Keeps the memory. */
void lx_page_runs_clear(struct lx_page_runs *s);
uint64_t lx_page_runs_bytes(const struct lx_page_runs *s);

/* For runs that come in order: [start, end) is not below the end of the last one. 0 or -ENOMEM. */
int lx_page_runs_append(struct lx_page_runs *s, uint64_t start, uint64_t end);

/* `ret` is empty, and none of the others. 0 or -ENOMEM. */
int lx_page_runs_union(const struct lx_page_runs *a, const struct lx_page_runs *b, struct lx_page_runs *ret);
int lx_page_runs_common(const struct lx_page_runs *a, const struct lx_page_runs *b, struct lx_page_runs *ret);
/* What is in `a` and not in `b`. */
int lx_page_runs_without(const struct lx_page_runs *a, const struct lx_page_runs *b,
			 struct lx_page_runs *ret);
/* Takes one run out. */
int lx_page_runs_drop(struct lx_page_runs *s, uint64_t start, uint64_t end);

/*
 * [*start, *end) becomes the last part of it that has nothing of `s`. False: there is none. With
 * `s` NULL it stays as it is.
 */
bool lx_page_runs_last_gap(const struct lx_page_runs *s, uint64_t *start, uint64_t *end);
/* The same for the part that has `at`, which is within. */
bool lx_page_runs_gap_at(const struct lx_page_runs *s, uint64_t at, uint64_t *start, uint64_t *end);

#endif
