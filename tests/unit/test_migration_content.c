/* Comparing a process's memory with what was sent of it: with real processes. Needs root; skips without. */
#include "pupil.h"

#include <sys/uio.h>

#include "migration/content_track.h"

static void need(void)
{
	if (geteuid() == 0)
		return;
	print_message("needs root\n");
	skip();
}

/* As if the pupil's memory had been sent as it is now. */
static void send(struct lx_content_track *t, const struct pupil *p)
{
	uint8_t *data = malloc(BYTES);
	struct iovec local = { .iov_base = data, .iov_len = BYTES },
		     remote = { .iov_base = p->memory, .iov_len = BYTES };

	assert_non_null(data);
	assert_int_equal(process_vm_readv(p->pid, &local, 1, &remote, 1, 0), BYTES);
	assert_int_equal(lx_content_track_sent(t, (uintptr_t)p->memory, data, BYTES), 0);
	free(data);
}

static void tells_what_differs(void **state)
{
	struct lx_page_runs watched = { 0 }, written = { 0 };
	struct lx_content_track t;

	need();
	struct pupil p = start(touch);

	assert_int_equal(lx_content_track_open(p.pid, LX_MARKS_NONE, &t, NULL), 0);
	assert_int_equal(lx_content_track_take(&t, &written, NULL), 0);
	assert_int_equal(within(&written, &p, 0, PAGES), PAGES);
	/* To have been told of is not to have been sent. */
	assert_int_equal(lx_content_track_look(&t, &watched, &written, NULL), 0);
	assert_int_equal(within(&watched, &p, 0, PAGES), 0);
	send(&t, &p);
	assert_int_equal(lx_content_track_take(&t, &written, NULL), 0);
	assert_int_equal(within(&written, &p, 0, PAGES), 0);
	tell(&p, 'w');
	for (int i = 0; i < 2; i++) {
		assert_int_equal(lx_content_track_look(&t, &watched, &written, NULL), 0);
		assert_int_equal(within(&watched, &p, 0, PAGES), PAGES);
		assert_int_equal(within(&written, &p, 0, PAGES), 3);
		assert_int_equal(within(&written, &p, 10, 3), 3);
	}
	/* As it was, after 256 times once more: what counts is the content. */
	for (int i = 0; i < 255; i++)
		tell(&p, 'w');
	assert_int_equal(lx_content_track_take(&t, &written, NULL), 0);
	assert_int_equal(within(&written, &p, 0, PAGES), 0);
	/* What cannot be read may be anything. */
	tell(&p, 'p');
	assert_int_equal(lx_content_track_look(&t, &watched, &written, NULL), 0);
	assert_true(within(&watched, &p, 20, 1) == 0 || within(&written, &p, 20, 1) == 1);
	lx_content_track_close(&t);
	lx_page_runs_release(&watched);
	lx_page_runs_release(&written);
	end(&p);
}

static void sees_other_mappings(void **state)
{
	need();
	for (const char *how = "rm"; *how; how++) {
		struct lx_page_runs written = { 0 };
		struct lx_content_track t;
		struct pupil p = start(touch);

		assert_int_equal(lx_content_track_open(p.pid, LX_MARKS_NONE, &t, NULL), 0);
		send(&t, &p);
		tell(&p, *how);
		assert_int_equal(lx_content_track_take(&t, &written, NULL), 0);
		assert_int_equal(within(&written, &p, 0, PAGES), PAGES);
		lx_content_track_close(&t);
		lx_page_runs_release(&written);
		end(&p);
	}
}

static void fails_when_the_process_has_gone(void **state)
{
	struct lx_page_runs written = { 0 };
	struct lx_content_track t;

	need();
	struct pupil p = start(touch);

	assert_int_equal(lx_content_track_open(p.pid, LX_MARKS_NONE, &t, NULL), 0);
	end(&p);
	assert_true(lx_content_track_take(&t, &written, NULL) < 0);
	lx_content_track_close(&t);
	assert_true(lx_content_track_open(p.pid, LX_MARKS_NONE, &t, NULL) < 0);
	lx_page_runs_release(&written);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tells_what_differs),
		cmocka_unit_test(sees_other_mappings),
		cmocka_unit_test(fails_when_the_process_has_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
