/* The growable buffer. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/buf.h"

static void starts_empty(void **state)
{
	lx_autobuf struct lx_buf b = { 0 };

	assert_string_equal(lx_buf_str(&b), "");
	lx_buf_consume(&b, 10);
	assert_int_equal(lx_buf_append(&b, NULL, 0), 0);
	assert_int_equal(b.len, 0);
	lx_buf_release(NULL);
}

static void appends_and_terminates(void **state)
{
	lx_autobuf struct lx_buf b = { 0 };

	assert_int_equal(lx_buf_puts(&b, "ab"), 0);
	assert_int_equal(lx_buf_append(&b, "\0c", 2), 0);
	assert_int_equal(b.len, 4);
	assert_memory_equal(b.data, "ab\0c", 5);
	assert_int_equal(lx_buf_printf(&b, "%d-%s", 42, "x"), 0);
	assert_memory_equal(b.data, "ab\0c42-x", 9);
}

static void grows_far(void **state)
{
	lx_autobuf struct lx_buf b = { 0 };

	for (int i = 0; i < 100000; i++)
		assert_int_equal(lx_buf_append(&b, &(char){ (char)('a' + i % 26) }, 1), 0);
	assert_int_equal(b.len, 100000);
	assert_true(b.cap < 3 * b.len);
	for (int i = 0; i < 100000; i++)
		assert_int_equal(b.data[i], 'a' + i % 26);
	assert_int_equal(b.data[b.len], 0);
}

static void consumes_from_the_front(void **state)
{
	lx_autobuf struct lx_buf b = { 0 };

	lx_buf_puts(&b, "hello world");
	lx_buf_consume(&b, 6);
	assert_string_equal(lx_buf_str(&b), "world");
	lx_buf_consume(&b, 100);
	assert_int_equal(b.len, 0);
	assert_string_equal(lx_buf_str(&b), "");
}

static void hands_out_its_memory(void **state)
{
	struct lx_buf b = { 0 };
	char *s = lx_buf_steal(&b);

	assert_string_equal(s, "");
	free(s);
	lx_buf_puts(&b, "mine");
	s = lx_buf_steal(&b);
	assert_string_equal(s, "mine");
	assert_null(b.data);
	assert_int_equal(b.len + b.cap, 0);
	free(s);
}

static void refuses_the_impossible_and_stays(void **state)
{
	lx_autobuf struct lx_buf b = { 0 };

	lx_buf_puts(&b, "kept");
	assert_int_equal(lx_buf_reserve(&b, SIZE_MAX), -ENOMEM);
	assert_int_equal(lx_buf_reserve(&b, SIZE_MAX - 5), -ENOMEM);
	assert_string_equal(lx_buf_str(&b), "kept");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(starts_empty),
		cmocka_unit_test(appends_and_terminates),
		cmocka_unit_test(grows_far),
		cmocka_unit_test(consumes_from_the_front),
		cmocka_unit_test(hands_out_its_memory),
		cmocka_unit_test(refuses_the_impossible_and_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
