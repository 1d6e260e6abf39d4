/*
 * Keeping locks of the kernel's warm: what is written, and that it ends. In place of a cgroup stands a
 * directory with a file of the same name, which shows what a cgroup would have been told; tests of
 * live moves have the real one.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/fs.h"
#include "migration/warm_locks.h"

static char dir[] = "/tmp/lxt-warm-XXXXXX";

static void procs_path(char out[64])
{
	snprintf(out, 64, "%s/cgroup.procs", dir);
}

static void put(const char *text)
{
	char path[64];

	procs_path(path);
	assert_int_equal(lx_write_file_atomic(path, text, strlen(text), 0600, NULL), 0);
}

static void a_process_is_put_where_it_is(void **state)
{
	static const char before[] = "4711\n4712\n";
	struct lx_warm w = { .on = false };
	struct lx_buf after = { 0 };
	char path[64];

	(void)state;
	put(before);
	lx_warm_cgroups(dir, &w);
	assert_true(w.on);
	usleep(20000);
	lx_warm_stop(&w);
	assert_false(w.on);

	procs_path(path);
	assert_int_equal(lx_read_file(path, 4096, &after, NULL), 0);
	const char *said = lx_buf_str(&after) + strlen(before);

	assert_true(strncmp(lx_buf_str(&after), before, strlen(before)) == 0);
	assert_int_not_equal(*said, '\0');
	for (; *said; said += 4)
		assert_memory_equal(said, "4711", 4);
	lx_buf_release(&after);
}

static void without_a_process_nothing_is_done(void **state)
{
	struct lx_warm w = { .on = true };

	(void)state;
	put("");
	lx_warm_cgroups(dir, &w);
	assert_false(w.on);
	lx_warm_cgroups("/nowhere", &w);
	assert_false(w.on);
	lx_warm_stop(&w);
}

static void file_locks_can_be_stopped_twice(void **state)
{
	struct lx_warm w = { .on = false };

	(void)state;
	lx_warm_stop(&w);
	lx_warm_file_locks(&w);
	assert_true(w.on);
	lx_warm_stop(&w);
	lx_warm_stop(&w);
}

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	char path[64];

	(void)state;
	procs_path(path);
	(void)unlink(path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_process_is_put_where_it_is),
		cmocka_unit_test(without_a_process_nothing_is_done),
		cmocka_unit_test(file_locks_can_be_stopped_twice),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
