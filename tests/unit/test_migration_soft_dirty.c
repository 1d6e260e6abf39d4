/*
 * Comparing only what the kernel has marked as written: with real processes. Needs root, and a
 * kernel with soft-dirty marks (CONFIG_MEM_SOFT_DIRTY); skips without, and says what is missing.
 */
#include "pupil.h"

#include <fcntl.h>
#include <sys/uio.h>

#include "migration/content_track.h"
#include "migration/soft_dirty.h"

/* Large enough for whole page tables to be moved instead of pages. */
#define TABLE     (2u << 20)
#define BIG       (2u * TABLE)
#define BIG_PAGES (BIG / LX_PAGE_SIZE)

static uint8_t *big; /* of the pupil: room for two of them, aligned */

static void need(void)
{
	const char *missing = geteuid() == 0 ? lx_soft_dirty_missing() : "not root";

	if (!missing)
		return;
	print_message("needs root and soft-dirty marks: %s\n", missing);
	skip();
}

/* As if this memory of the pupil's had been sent as it is now. */
static void send(struct lx_content_track *t, const struct pupil *p, size_t len)
{
	uint8_t *data = malloc(len);
	struct iovec local = { .iov_base = data, .iov_len = len },
		     remote = { .iov_base = p->memory, .iov_len = len };

	assert_non_null(data);
	assert_int_equal(process_vm_readv(p->pid, &local, 1, &remote, 1, 0), (ssize_t)len);
	assert_int_equal(lx_content_track_sent(t, (uintptr_t)p->memory, data, len), 0);
	free(data);
}

/* Two rounds: from then on marks are believed. */
static void settle(struct lx_content_track *t, const struct pupil *p, size_t len)
{
	struct lx_page_runs written = { 0 };

	assert_int_equal(lx_content_track_open(p->pid, LX_MARKS_CLEAR, t, NULL), 0);
	assert_int_equal(lx_content_track_take(t, &written, NULL), 0);
	assert_int_equal(within(&written, p, 0, len / LX_PAGE_SIZE), len / LX_PAGE_SIZE);
	send(t, p, len);
	assert_int_equal(lx_content_track_take(t, &written, NULL), 0);
	assert_int_equal(within(&written, p, 0, len / LX_PAGE_SIZE), 0);
	lx_page_runs_release(&written);
}

static void act(uint8_t *memory, char letter)
{
	uint8_t *at;
	pid_t child;

	switch (letter) {
	case 'b': /* both large ones, filled, of single pages */
		for (unsigned i = 0; i < 2; i++) {
			at = mmap(big + (size_t)i * BIG, BIG, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
			if (at == MAP_FAILED || madvise(at, BIG, MADV_NOHUGEPAGE) < 0)
				_exit(1);
			memset(at, 1 + (int)i, BIG);
		}
		break;
	case 'o': /* the second one moved over the first */
		if (mremap(big + BIG, BIG, BIG, MREMAP_MAYMOVE | MREMAP_FIXED, big) != big)
			_exit(2);
		break;
	case 'z': /* a new mapping at the same place, read and not written to */
		munmap(memory, BYTES);
		at = mmap(memory, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
			  0);
		for (size_t i = 0; i < PAGES; i++)
			if (at == MAP_FAILED || ((volatile uint8_t *)at)[i * LX_PAGE_SIZE] != 0)
				_exit(3);
		break;
	case 'f': /* a child that shares its pages and ends; then three of them are written to */
		child = fork();
		if (child == 0)
			_exit(0);
		waitpid(child, NULL, 0);
		touch(memory, 'w');
		break;
	case 'n': /* thrown away, and there again */
		madvise(memory, BYTES, MADV_DONTNEED);
		memset(memory, 9, BYTES);
		break;
	default:
		touch(memory, letter);
	}
}

static void tells_what_differs(void **state)
{
	struct lx_page_runs watched = { 0 }, written = { 0 };

	need();
	for (const char *how = "wf"; *how; how++) {
		struct lx_content_track t;
		struct pupil p = start(act);

		settle(&t, &p, BYTES);
		tell(&p, *how);
		for (int i = 0; i < 2; i++) {
			assert_int_equal(lx_content_track_look(&t, &watched, &written, NULL), 0);
			assert_int_equal(within(&watched, &p, 0, PAGES), PAGES);
			assert_int_equal(within(&written, &p, 0, PAGES), 3);
			assert_int_equal(within(&written, &p, 10, 3), 3);
		}
		assert_int_equal(lx_content_track_take(&t, &written, NULL), 0);
		assert_int_equal(within(&written, &p, 0, PAGES), 3);
		send(&t, &p, BYTES);
		assert_int_equal(lx_content_track_look(&t, &watched, &written, NULL), 0);
		assert_int_equal(within(&written, &p, 0, PAGES), 0);
		/* What cannot be read may be anything. */
		tell(&p, 'p');
		assert_int_equal(lx_content_track_look(&t, &watched, &written, NULL), 0);
		assert_true(within(&watched, &p, 20, 1) == 0 || within(&written, &p, 20, 1) == 1);
		lx_content_track_close(&t);
		end(&p);
	}
	lx_page_runs_release(&watched);
	lx_page_runs_release(&written);
}

static void is_not_deceived_by_other_mappings(void **state)
{
	need();
	for (const char *how = "rmzn"; *how; how++) {
		struct lx_page_runs watched = { 0 }, written = { 0 };
		struct lx_content_track t;
		struct pupil p = start(act);

		settle(&t, &p, BYTES);
		tell(&p, *how);
		assert_int_equal(lx_content_track_look(&t, &watched, &written, NULL), 0);
		assert_true(within(&watched, &p, 0, PAGES) == 0 || within(&written, &p, 0, PAGES) == PAGES);
		assert_int_equal(lx_content_track_take(&t, &written, NULL), 0);
		assert_int_equal(within(&written, &p, 0, PAGES), PAGES);
		lx_content_track_close(&t);
		lx_page_runs_release(&watched);
		lx_page_runs_release(&written);
		end(&p);
	}
}

/* Page tables that are moved as they are bring pages along that have no mark. */
static void is_not_deceived_by_moved_tables(void **state)
{
	struct lx_page_runs watched = { 0 }, written = { 0 };
	struct lx_content_track t;
	size_t len = 2 * (size_t)BIG + TABLE;

	need();
	uint8_t *room = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_true(room != MAP_FAILED);
	big = (uint8_t *)(((uintptr_t)room + TABLE - 1) / TABLE * TABLE);
	struct pupil p = start(act), large = p;

	tell(&p, 'b');
	large.memory = big;
	settle(&t, &large, 2 * (size_t)BIG);
	tell(&p, 'o');
	assert_int_equal(lx_content_track_look(&t, &watched, &written, NULL), 0);
	assert_int_equal(within(&written, &large, 0, BIG_PAGES), BIG_PAGES);
	assert_int_equal(lx_content_track_take(&t, &written, NULL), 0);
	assert_int_equal(within(&written, &large, 0, BIG_PAGES), BIG_PAGES);
	lx_content_track_close(&t);
	lx_page_runs_release(&watched);
	lx_page_runs_release(&written);
	end(&p);
	munmap(room, len);
}

/* Somebody else takes away marks that are still wanted: contents are compared from then on. */
static void notices_that_marks_vanish(void **state)
{
	struct lx_page_runs watched = { 0 }, written = { 0 };
	struct lx_content_track t;
	char path[64];

	need();
	struct pupil p = start(act);

	settle(&t, &p, BYTES);
	tell(&p, 'w');
	assert_int_equal(lx_content_track_take(&t, &written, NULL), 0);
	assert_int_equal(within(&written, &p, 0, PAGES), 3);
	snprintf(path, sizeof(path), "/proc/%d", (int)p.pid);
	int proc = open(path, O_RDONLY | O_DIRECTORY);

	assert_true(proc >= 0);
	assert_int_equal(lx_soft_dirty_clear(proc), 0);
	assert_int_equal(lx_content_track_look(&t, &watched, &written, NULL), 0);
	assert_int_equal(within(&watched, &p, 0, PAGES), PAGES);
	assert_int_equal(within(&written, &p, 0, PAGES), 3);
	close(proc);
	lx_content_track_close(&t);
	lx_page_runs_release(&watched);
	lx_page_runs_release(&written);
	end(&p);
}

/* A process that has come later: nothing is taken away, and nothing is missed. */
static void keeps_marks_of_those_that_come_later(void **state)
{
	struct lx_page_runs watched = { 0 }, written = { 0 };
	struct lx_content_track first, later;

	need();
	struct pupil p = start(act);

	settle(&first, &p, BYTES);
	tell(&p, 'w');
	assert_int_equal(lx_content_track_open(p.pid, LX_MARKS_KEEP, &later, NULL), 0);
	assert_int_equal(lx_content_track_take(&later, &written, NULL), 0);
	assert_int_equal(within(&written, &p, 0, PAGES), PAGES);
	send(&later, &p, BYTES);
	assert_int_equal(lx_content_track_look(&first, &watched, &written, NULL), 0);
	assert_int_equal(within(&written, &p, 0, PAGES), 3);
	tell(&p, 'w');
	assert_int_equal(lx_content_track_look(&later, &watched, &written, NULL), 0);
	assert_int_equal(within(&watched, &p, 0, PAGES), PAGES);
	assert_int_equal(within(&written, &p, 0, PAGES), 3);
	lx_content_track_close(&first);
	lx_content_track_close(&later);
	lx_page_runs_release(&watched);
	lx_page_runs_release(&written);
	end(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_what_differs),
		cmocka_unit_test(is_not_deceived_by_other_mappings),
		cmocka_unit_test(is_not_deceived_by_moved_tables),
		cmocka_unit_test(notices_that_marks_vanish),
		cmocka_unit_test(keeps_marks_of_those_that_come_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
