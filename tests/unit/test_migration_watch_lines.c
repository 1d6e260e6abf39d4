/* What the kernel says of watched files, whole and not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "migration/watch_lines.h"

#define HEAD   "pos:\t0\nflags:\t02004000\nmnt_id:\t15\nino:\t2083\n"
#define HANDLE "fhandle-bytes:8 fhandle-type:fe f_handle:26bf1f0000000000\n"

static void others_have_none(void **state)
{
	assert_int_equal(lx_watch_lines(""), LX_WATCHES_NONE);
	assert_int_equal(lx_watch_lines(HEAD), LX_WATCHES_NONE);
	assert_int_equal(lx_watch_lines("tfd:        9 events:       19 data: inotify wd:1"),
			 LX_WATCHES_NONE);
	assert_int_equal(lx_watch_lines(HEAD "fanotify flags:10 event-flags:0\n"), LX_WATCHES_NONE);
}

static void all_have_handles(void **state)
{
	assert_int_equal(lx_watch_lines(HEAD "inotify wd:1 ino:1fbf26 sdev:26 mask:2 ignored_mask:0 " HANDLE),
			 LX_WATCHES_COMPLETE);
	assert_int_equal(lx_watch_lines("inotify wd:2 ino:1 sdev:26 mask:2 ignored_mask:0 " HANDLE
					"inotify wd:1 ino:2 sdev:26 mask:2 ignored_mask:0 " HANDLE),
			 LX_WATCHES_COMPLETE);
	assert_int_equal(lx_watch_lines("fanotify ino:2 sdev:26 mflags:0 mask:2 ignored_mask:0 " HANDLE),
			 LX_WATCHES_COMPLETE);
}

static void one_has_none(void **state)
{
	/* As seen. */
	assert_int_equal(lx_watch_lines(HEAD "inotify wd:28 ino:1faa71 sdev:26 mask:2 ignored_mask:0 \n"),
			 LX_WATCHES_INCOMPLETE);
	assert_int_equal(lx_watch_lines("inotify wd:2 ino:1 sdev:26 mask:2 ignored_mask:0 " HANDLE
					"inotify wd:1 ino:2 sdev:26 mask:2 ignored_mask:0 \n"),
			 LX_WATCHES_INCOMPLETE);
	/* The one behind is not its own. */
	assert_int_equal(lx_watch_lines("inotify wd:2 ino:1 sdev:26 mask:2 ignored_mask:0 \n"
					"inotify wd:1 ino:2 sdev:26 mask:2 ignored_mask:0 " HANDLE),
			 LX_WATCHES_INCOMPLETE);
	assert_int_equal(lx_watch_lines("inotify wd:2"), LX_WATCHES_INCOMPLETE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(others_have_none),
		cmocka_unit_test(all_have_handles),
		cmocka_unit_test(one_has_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
