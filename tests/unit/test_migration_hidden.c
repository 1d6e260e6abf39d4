/*
 * Pages that CRIU is not shown: taking them out of a scan, adding them to its lists, and which of a
 * real process may be hidden at all.
 */
#include <fcntl.h>
#include <signal.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/fs.h"
#include "migration/hidden_pages.h"
#include "migration/page_image.h"
#include "migration/scan_regions.h"

#define P(n) ((uint64_t)(n)*LX_PAGE_SIZE)

/* ------------------------------------------------------------------ the scan */

static void leaves_out_what_is_hidden(void **state)
{
	const struct lx_scan_region v[] = { { P(10), P(20), 8 }, { P(20), P(30), 16 }, { P(40), P(50), 8 } };
	const struct lx_page_run hidden[] = {
		{ P(5), P(12) }, { P(15), P(22) }, { P(35), P(36) }, { P(44), P(45) }
	};
	const struct lx_scan_region want[] = {
		{ P(12), P(15), 8 }, { P(22), P(30), 16 }, { P(40), P(44), 8 }, { P(45), P(50), 8 }
	};
	struct lx_scan_region out[8];
	uint64_t end = P(60);

	assert_int_equal(lx_regions_hide(v, 3, hidden, 4, out, 8, &end), 4);
	assert_memory_equal(out, want, sizeof(want));
	assert_int_equal(end, P(60));
	/* No room: the scan has come less far, and goes on there. */
	assert_int_equal(lx_regions_hide(v, 3, hidden, 4, out, 3, &end), 3);
	assert_int_equal(end, P(45));
	assert_int_equal(lx_regions_hide(v, 3, NULL, 0, out, 8, &end), 3);
	assert_memory_equal(out, v, sizeof(v));
	assert_int_equal(lx_regions_hide(v, 0, hidden, 4, out, 8, &end), 0);
	assert_true(lx_regions_all_hidden(P(16), P(22), hidden, 4));
	assert_false(lx_regions_all_hidden(P(16), P(23), hidden, 4));
	assert_false(lx_regions_all_hidden(P(14), P(16), hidden, 4));
	assert_false(lx_regions_all_hidden(P(50), P(51), hidden, 4));
	assert_false(lx_regions_all_hidden(P(50), P(51), NULL, 0));
}

/* Against one page after the other. */
static void hides_at_random(void **state)
{
	enum { PAGES = 200 };
	srandom(7);
	for (int round = 0; round < 500; round++) {
		struct lx_scan_region v[PAGES], out[PAGES];
		struct lx_page_run hidden[PAGES];
		bool in[PAGES] = { false }, hid[PAGES] = { false };
		size_t n = 0, h = 0;

		for (unsigned at = 0; at < PAGES;) {
			unsigned gap = (unsigned)random() % 4, len = 1 + (unsigned)random() % 6;
			if (at + gap + len > PAGES)
				break;
			v[n++] = (struct lx_scan_region){ P(at + gap), P(at + gap + len), 8 };
			memset(in + at + gap, 1, len);
			at += gap + len;
		}
		for (unsigned at = 0; at < PAGES;) {
			unsigned gap = 1 + (unsigned)random() % 6, len = 1 + (unsigned)random() % 6;
			if (at + gap + len > PAGES)
				break;
			hidden[h++] = (struct lx_page_run){ P(at + gap), P(at + gap + len) };
			memset(hid + at + gap, 1, len);
			at += gap + len;
		}
		uint64_t end = P(PAGES);
		size_t k = lx_regions_hide(v, n, hidden, h, out, PAGES, &end);
		bool got[PAGES] = { false };
		for (size_t i = 0; i < k; i++)
			for (uint64_t p = out[i].start / LX_PAGE_SIZE; p < out[i].end / LX_PAGE_SIZE; p++)
				got[p] = true;
		for (unsigned p = 0; p < PAGES; p++)
			assert_int_equal(got[p], in[p] && !hid[p]);
	}
}

/* ------------------------------------------------------------------ the lists */

static void lists_have_what_was_hidden(void **state)
{
	struct lx_page_image image = { .pages_id = 3, .n = 3, .v = calloc(3, sizeof(*image.v)) };
	struct lx_page_runs pages = { 0 };

	assert_non_null(image.v);
	image.v[0] = (struct lx_page_entry){ P(10), P(12), LX_PAGES_PRESENT };
	image.v[1] = (struct lx_page_entry){ P(12), P(14), LX_PAGES_PARENT | LX_PAGES_LAZY };
	image.v[2] = (struct lx_page_entry){ P(40), P(41), LX_PAGES_PRESENT };
	lx_page_runs_append(&pages, P(2), P(5));
	lx_page_runs_append(&pages, P(11), P(20)); /* some of it CRIU has seen */
	lx_page_runs_append(&pages, P(50), P(60));
	assert_int_equal(lx_page_image_add_parent(&image, &pages, NULL), 0);
	assert_int_equal(image.n, 6);
	const uint64_t want[][3] = { { P(2), P(5), LX_PAGES_PARENT | LX_PAGES_LAZY },
				     { P(10), P(12), LX_PAGES_PRESENT },
				     { P(12), P(14), LX_PAGES_PARENT | LX_PAGES_LAZY },
				     { P(14), P(20), LX_PAGES_PARENT | LX_PAGES_LAZY },
				     { P(40), P(41), LX_PAGES_PRESENT },
				     { P(50), P(60), LX_PAGES_PARENT | LX_PAGES_LAZY } };
	for (size_t i = 0; i < 6; i++) {
		assert_int_equal(image.v[i].start, want[i][0]);
		assert_int_equal(image.v[i].end, want[i][1]);
		assert_int_equal(image.v[i].flags, want[i][2]);
	}
	lx_page_image_release(&image);
	lx_page_runs_release(&pages);
}

/* ------------------------------------------------------------------ a process */

#define LARGE (UINT64_C(16) << 20)

static pid_t stand_still(void)
{
	int s[2];
	char c;

	assert_int_equal(pipe(s), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(s[1]);
		(void)!read(s[0], &c, 1); /* a system call: it has a stack pointer to look at */
		_exit(0);
	}
	close(s[0]);
	/* Until it is in there. Its end of the pipe ends it. */
	for (int i = 0; i < 1000; i++) {
		char path[64], line[64] = "";

		snprintf(path, sizeof(path), "/proc/%d/syscall", (int)pid);
		if (lx_read_line(path, line, sizeof(line)) == 0 && line[0] == '0')
			break;
		usleep(1000);
	}
	return pid;
}

static void chooses_large_private_memory(void **state)
{
	char *large = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *shared = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct lx_page_runs clean = { 0 }, got = { 0 };
	uint64_t at = (uintptr_t)large, stack = (uintptr_t)__builtin_frame_address(0);

	if (geteuid() != 0) {
		print_message("needs root, to see another process's stack pointer\n");
		skip();
	}
	assert_ptr_not_equal(large, MAP_FAILED);
	assert_ptr_not_equal(shared, MAP_FAILED);
	pid_t pid = stand_still();

	lx_page_runs_append(&clean, 0x10000, UINT64_C(0x7ffffffff000));
	assert_int_equal(lx_hidden_pages_choose(pid, &clean, &got), 0);
	bool found = false;
	for (size_t i = 0; i < got.n; i++) {
		found |= got.v[i].start <= at && got.v[i].end >= at + LARGE;
		assert_false(got.v[i].start < (uintptr_t)shared + LARGE && got.v[i].end > (uintptr_t)shared);
		/* The stack is in nothing that is hidden. (A variable may lie elsewhere, with sanitizers.) */
		assert_false(got.v[i].start <= stack && got.v[i].end > stack);
	}
	assert_true(found);
	lx_page_runs_release(&got);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);

	assert_true(lx_hidden_pages_choose(pid, &clean, &got) < 0); /* it has ended */
	assert_int_equal(got.n, 0);
	lx_page_runs_release(&clean);
	munmap(large, LARGE);
	munmap(shared, LARGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(leaves_out_what_is_hidden),
		cmocka_unit_test(hides_at_random),
		cmocka_unit_test(lists_have_what_was_hidden),
		cmocka_unit_test(chooses_large_private_memory),
	};

	return cmocka_run_group_tests_name("migration: hidden pages", tests, NULL, NULL);
}
