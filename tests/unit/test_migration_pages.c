/* Sets of pages, and CRIU's lists of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/buf.h"
#include "migration/page_image.h"
#include "migration/page_runs.h"

#define P(n) ((uint64_t)(n)*LX_PAGE_SIZE)

static struct lx_page_runs runs(size_t n, const uint64_t (*pairs)[2])
{
	struct lx_page_runs s = { 0 };

	for (size_t i = 0; i < n; i++)
		assert_int_equal(lx_page_runs_append(&s, P(pairs[i][0]), P(pairs[i][1])), 0);
	return s;
}

#define RUNS(...)                                                                                            \
	runs(sizeof((uint64_t[][2]){ __VA_ARGS__ }) / sizeof(uint64_t[2]),                                   \
	     (const uint64_t[][2]){ __VA_ARGS__ })

static void assert_runs(struct lx_page_runs *got, struct lx_page_runs want)
{
	assert_int_equal(got->n, want.n);
	for (size_t i = 0; got->v && want.v && i < got->n; i++) {
		assert_int_equal(got->v[i].start, want.v[i].start);
		assert_int_equal(got->v[i].end, want.v[i].end);
	}
	lx_page_runs_release(got);
	lx_page_runs_release(&want);
}

static void test_append(void **state)
{
	(void)state;
	struct lx_page_runs s = RUNS({ 1, 2 }, { 2, 4 }, { 6, 6 }, { 8, 9 });

	assert_int_equal(s.n, 2);
	assert_int_equal(lx_page_runs_bytes(&s), P(4));
	lx_page_runs_clear(&s);
	assert_int_equal(lx_page_runs_bytes(&s), 0);
	lx_page_runs_release(&s);
}

static void test_operations(void **state)
{
	(void)state;
	struct lx_page_runs a = RUNS({ 1, 5 }, { 10, 20 }, { 30, 31 }),
			    b = RUNS({ 0, 2 }, { 4, 12 }, { 14, 15 }, { 19, 40 });
	struct lx_page_runs none = { 0 }, r = { 0 };

	assert_int_equal(lx_page_runs_union(&a, &b, &r), 0);
	assert_runs(&r, RUNS({ 0, 40 }));
	assert_int_equal(lx_page_runs_common(&a, &b, &r), 0);
	assert_runs(&r, RUNS({ 1, 2 }, { 4, 5 }, { 10, 12 }, { 14, 15 }, { 19, 20 }, { 30, 31 }));
	assert_int_equal(lx_page_runs_without(&a, &b, &r), 0);
	assert_runs(&r, RUNS({ 2, 4 }, { 12, 14 }, { 15, 19 }));
	assert_int_equal(lx_page_runs_without(&b, &a, &r), 0);
	assert_runs(&r, RUNS({ 0, 1 }, { 5, 10 }, { 20, 30 }, { 31, 40 }));
	assert_int_equal(lx_page_runs_without(&a, &none, &r), 0);
	assert_runs(&r, RUNS({ 1, 5 }, { 10, 20 }, { 30, 31 }));
	assert_int_equal(lx_page_runs_without(&a, &a, &r), 0);
	assert_runs(&r, none);
	lx_page_runs_release(&a);
	lx_page_runs_release(&b);
}

/* Against a plain array, for sets of all kinds. */
static void test_gaps(void **state)
{
	static const struct {
		uint64_t start, end, gap_start, gap_end;
	} last[] = {
		{ 0, 40, 31, 40 }, { 0, 31, 20, 30 }, { 12, 18, 0, 0 },   { 0, 20, 5, 10 },
		{ 3, 12, 5, 10 },  { 0, 3, 0, 1 },    { 32, 33, 32, 33 }, { 6, 8, 6, 8 },
	};
	struct lx_page_runs s = RUNS({ 1, 5 }, { 10, 20 }, { 30, 31 });

	(void)state;
	for (size_t i = 0; i < sizeof(last) / sizeof(*last); i++) {
		uint64_t start = P(last[i].start), end = P(last[i].end);
		bool any = lx_page_runs_last_gap(&s, &start, &end);

		assert_int_equal(any, last[i].gap_end > 0);
		if (any)
			assert_true(start == P(last[i].gap_start) && end == P(last[i].gap_end));
	}
	uint64_t start = P(3), end = P(40);

	assert_true(lx_page_runs_gap_at(&s, P(7), &start, &end));
	assert_true(start == P(5) && end == P(10));
	assert_false(lx_page_runs_gap_at(&s, P(10), &start, &end));
	assert_false(lx_page_runs_gap_at(&s, P(30), &start, &end));
	start = P(31);
	end = P(33);
	assert_true(lx_page_runs_gap_at(&s, P(31), &start, &end));
	assert_true(start == P(31) && end == P(33));
	assert_true(lx_page_runs_last_gap(NULL, &start, &end) &&
		    lx_page_runs_gap_at(NULL, P(32), &start, &end));
	assert_true(start == P(31) && end == P(33));
	assert_int_equal(lx_page_runs_drop(&s, P(12), P(40)), 0);
	assert_runs(&s, RUNS({ 1, 5 }, { 10, 12 }));
}

static void test_operations_at_random(void **state)
{
	(void)state;
	unsigned seed = 1;

	for (int round = 0; round < 500; round++) {
		struct lx_page_runs s[2] = { 0 }, r[3] = { 0 };
		bool in[2][64] = { 0 };

		for (int k = 0; k < 2; k++)
			for (uint64_t i = 0; i < 64; i++) {
				seed = seed * 1103515245 + 12345;
				in[k][i] = seed >> 16 & 1;
				if (in[k][i])
					assert_int_equal(lx_page_runs_append(&s[k], P(i), P(i + 1)), 0);
			}
		assert_int_equal(lx_page_runs_union(&s[0], &s[1], &r[0]), 0);
		assert_int_equal(lx_page_runs_common(&s[0], &s[1], &r[1]), 0);
		assert_int_equal(lx_page_runs_without(&s[0], &s[1], &r[2]), 0);
		for (int k = 0; k < 3; k++) {
			bool got[64] = { 0 };

			for (size_t i = 0; i < r[k].n; i++) {
				assert_true(i == 0 || r[k].v[i].start > r[k].v[i - 1].end);
				for (uint64_t at = r[k].v[i].start; at < r[k].v[i].end; at += LX_PAGE_SIZE)
					got[at / LX_PAGE_SIZE] = true;
			}
			for (int i = 0; i < 64; i++) {
				bool a = in[0][i], b = in[1][i];

				assert_int_equal(got[i], k == 0 ? a || b : k == 1 ? a && b : a && !b);
			}
			lx_page_runs_release(&r[k]);
		}
		lx_page_runs_release(&s[0]);
		lx_page_runs_release(&s[1]);
	}
}

/* pagemap-1.img of a CRIU 4.2: head, and two entries of 1 and 4 pages. */
static const uint8_t of_criu[] = { 0x19, 0x43, 0x56, 0x54, 0x25, 0x40, 0x08, 0x56, 0x02, 0x00,
				   0x00, 0x00, 0x08, 0x01, 0x0e, 0x00, 0x00, 0x00, 0x08, 0x80,
				   0xe0, 0x90, 0xf9, 0x9f, 0xbb, 0x15, 0x10, 0x00, 0x20, 0x04,
				   0x28, 0x01, 0x0e, 0x00, 0x00, 0x00, 0x08, 0x80, 0xc0, 0x94,
				   0xf9, 0x9f, 0xbb, 0x15, 0x10, 0x00, 0x20, 0x02, 0x28, 0x04 };

static void test_reads_what_criu_wrote(void **state)
{
	(void)state;
	struct lx_page_image image;
	struct lx_page_runs lazy = { 0 };

	assert_int_equal(lx_page_image_read(of_criu, sizeof(of_criu), &image, NULL), 0);
	assert_int_equal(image.pages_id, 1);
	assert_int_equal(image.n, 2);
	assert_int_equal(image.v[0].flags, LX_PAGES_PRESENT);
	assert_int_equal(image.v[0].end - image.v[0].start, P(1));
	assert_int_equal(image.v[1].flags, LX_PAGES_LAZY);
	assert_int_equal(image.v[1].end - image.v[1].start, P(4));
	assert_int_equal(lx_page_image_lazy_to_parent(&image, &lazy, NULL), 0);
	assert_int_equal(image.v[0].flags, LX_PAGES_PRESENT);
	assert_int_equal(image.v[1].flags, LX_PAGES_LAZY | LX_PAGES_PARENT);
	assert_int_equal(lazy.n, 1);
	assert_int_equal(lazy.v[0].start, image.v[1].start);
	lx_page_runs_release(&lazy);
	lx_page_image_release(&image);
}

/* Shared memory is named by offsets, which begin at 0. */
static void test_address_zero(void **state)
{
	(void)state;
	struct lx_page_entry v[] = { { 0, P(3), LX_PAGES_PARENT }, { P(5), P(6), LX_PAGES_PRESENT } };
	const struct lx_page_image image = { .pages_id = LX_SHARED_PAGES_FIRST, .v = v, .n = 2 };
	struct lx_page_runs pages = RUNS({ 0, 4 });
	lx_autobuf struct lx_buf out = { 0 };
	struct lx_page_image got;
	const uint8_t *bytes;
	size_t tags = 0;

	assert_int_equal(lx_page_image_write(&image, &out, NULL), 0);
	/* Said, not left out: CRIU needs the field. Length, then its tag and value. */
	bytes = out.data;
	for (size_t i = 0; i + 6 <= out.len; i++)
		tags += bytes[i + 1] == 0 && bytes[i + 2] == 0 && bytes[i + 3] == 0 && bytes[i + 4] == 0x08 &&
			bytes[i + 5] == 0;
	assert_int_equal(tags, 1);
	assert_int_equal(lx_page_image_read(out.data, out.len, &got, NULL), 0);
	assert_int_equal(got.pages_id, LX_SHARED_PAGES_FIRST);
	assert_int_equal(got.n, 2);
	assert_int_equal(got.v[0].start, 0);
	assert_int_equal(got.v[0].end, P(3));
	assert_int_equal(got.v[0].flags, LX_PAGES_PARENT);
	assert_int_equal(lx_page_image_add_parent(&got, &pages, NULL), 0);
	assert_int_equal(got.n, 3);
	assert_int_equal(got.v[1].start, P(3));
	assert_int_equal(got.v[1].end, P(4));
	lx_page_image_release(&got);

	/* An entry without an address is not one at address 0. */
	static const uint8_t without[] = { 0x19, 0x43, 0x56, 0x54, 0x25, 0x40, 0x08, 0x56,
					   0x02, 0x00, 0x00, 0x00, 0x08, 0x01, 0x06, 0x00,
					   0x00, 0x00, 0x10, 0x03, 0x20, 0x04, 0x28, 0x03 };

	assert_int_not_equal(lx_page_image_read(without, sizeof(without), &got, NULL), 0);
	for (size_t len = 19; len < out.len; len++)
		if (len != 22 + (size_t)bytes[18]) /* one whole entry */
			assert_int_not_equal(lx_page_image_read(out.data, len, &got, NULL), 0);
	lx_page_runs_release(&pages);
}

static void test_refuses_damaged_lists(void **state)
{
	(void)state;
	uint8_t copy[sizeof(of_criu)];
	struct lx_page_image image;

	for (size_t len = 0; len < sizeof(of_criu); len++)
		if (len != 14 && len != 32) /* whole messages: a shorter list */
			assert_int_not_equal(lx_page_image_read(of_criu, len, &image, NULL), 0);
	memcpy(copy, of_criu, sizeof(copy));
	copy[0] ^= 1;
	assert_int_not_equal(lx_page_image_read(copy, sizeof(copy), &image, NULL), 0);
	/* The second entry where the first one is. */
	memcpy(copy, of_criu, sizeof(copy));
	memcpy(copy + 36, copy + 18, 8);
	assert_int_not_equal(lx_page_image_read(copy, sizeof(copy), &image, NULL), 0);
	/* An entry of no pages. */
	memcpy(copy, of_criu, sizeof(copy));
	copy[sizeof(copy) - 1] = 0;
	assert_int_not_equal(lx_page_image_read(copy, sizeof(copy), &image, NULL), 0);
}

static void test_sparse_list(void **state)
{
	(void)state;
	struct lx_page_runs pages = RUNS({ 1, 2 }, { 5, 9 }, { UINT64_C(1) << 33, (UINT64_C(1) << 33) + 1 });
	lx_autobuf struct lx_buf out = { 0 };
	struct lx_page_image image;
	uint64_t offset = 0;
	size_t run = 0;

	assert_int_equal(lx_page_image_sparse(7, &pages, &out, NULL), 0);
	assert_int_equal(lx_page_image_read(out.data, out.len, &image, NULL), 0);
	assert_int_equal(image.pages_id, 7);
	for (size_t i = 0; i < image.n; i++) {
		const struct lx_page_entry *e = &image.v[i];

		/* A reader adds up what is present: that must come to where the page is. */
		assert_int_equal(offset, lx_page_image_offset(e->start));
		assert_true(e->flags & LX_PAGES_PRESENT);
		if (e->flags & LX_PAGES_LAZY) {
			assert_int_equal(e->start, pages.v[run].start);
			assert_int_equal(e->end, pages.v[run++].end);
		}
		offset += e->end - e->start;
	}
	assert_int_equal(run, pages.n);
	lx_page_image_release(&image);
	lx_page_runs_release(&pages);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_append),
		cmocka_unit_test(test_operations),
		cmocka_unit_test(test_gaps),
		cmocka_unit_test(test_operations_at_random),
		cmocka_unit_test(test_reads_what_criu_wrote),
		cmocka_unit_test(test_address_zero),
		cmocka_unit_test(test_refuses_damaged_lists),
		cmocka_unit_test(test_sparse_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
