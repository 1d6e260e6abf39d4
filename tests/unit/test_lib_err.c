/* Errors: set once, wrapped on the way up, cut at character boundaries. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/err.h"

static void sets_code_text_and_errno(void **state)
{
	struct lx_err err = LX_ERR_INIT;

	assert_int_equal(lx_err_set(&err, LX_NOT_FOUND, "instance \"%s\" does not exist", "web1"), -ENOENT);
	assert_int_equal(err.code, LX_NOT_FOUND);
	assert_string_equal(err.msg, "instance \"web1\" does not exist");
	assert_string_equal(err.hint, "");
}

static void setting_again_drops_the_old_hint(void **state)
{
	struct lx_err err = LX_ERR_INIT;

	lx_err_set(&err, LX_NOT_FOUND, "a");
	lx_err_hint(&err, "Do %s.", "this");
	assert_string_equal(err.hint, "Do this.");
	lx_err_set(&err, LX_INTERNAL, "b");
	assert_string_equal(err.hint, "");
}

static void wraps_with_context(void **state)
{
	struct lx_err err = LX_ERR_INIT;

	lx_err_set(&err, LX_INTERNAL, "no such device");
	lx_err_hint(&err, "Plug it in.");
	lx_err_wrap(&err, "cannot mount %s", "root");
	lx_err_wrap(&err, "cannot start web1");
	assert_string_equal(err.msg, "cannot start web1: cannot mount root: no such device");
	assert_string_equal(err.hint, "Plug it in.");
	assert_int_equal(err.code, LX_INTERNAL);
}

static void may_quote_its_own_text(void **state)
{
	struct lx_err err = LX_ERR_INIT;

	lx_err_set(&err, LX_INTERNAL, "inner");
	lx_err_set(&err, LX_UNAVAILABLE, "outer (%s)", err.msg);
	assert_string_equal(err.msg, "outer (inner)");
}

static void names_the_system_error(void **state)
{
	struct lx_err err = LX_ERR_INIT;

	assert_int_equal(lx_err_errno(&err, -ENOENT, "cannot open %s", "/x"), -ENOENT);
	assert_string_equal(err.msg, "cannot open /x: No such file or directory");
	assert_int_equal(err.code, LX_NOT_FOUND);
	assert_int_equal(lx_err_errno(&err, ENOSPC, "cannot write"), -ENOSPC);
	assert_int_equal(err.code, LX_RESOURCE_EXHAUSTED);
	assert_true(strlen(err.hint) > 0);
}

static void keeps_the_errno_of_an_oom(void **state)
{
	struct lx_err err = LX_ERR_INIT;

	assert_int_equal(lx_err_oom(&err), -ENOMEM);
	assert_int_equal(err.code, LX_RESOURCE_EXHAUSTED);
}

static void accepts_null(void **state)
{
	assert_int_equal(lx_err_set(NULL, LX_ABORTED, "x"), -EAGAIN);
	assert_int_equal(lx_err_errno(NULL, EPIPE, "x"), -EPIPE);
	assert_int_equal(lx_err_oom(NULL), -ENOMEM);
	lx_err_hint(NULL, "x");
	lx_err_wrap(NULL, "x");
}

static void cuts_long_text_at_a_character(void **state)
{
	struct lx_err err = LX_ERR_INIT;
	char text[LX_ERR_MSG_MAX * 2];

	/* Two-byte characters behind one byte, and behind none: both parities of the cut. */
	for (int shift = 0; shift < 2; shift++) {
		size_t n = 0;

		if (shift)
			text[n++] = 'x';
		while (n + 2 < sizeof(text)) {
			text[n++] = (char)0xc3;
			text[n++] = (char)0xa4;
		}
		text[n] = '\0';
		lx_err_set(&err, LX_INTERNAL, "%s", text);
		size_t len = strlen(err.msg);

		assert_in_range(len, LX_ERR_MSG_MAX - 2, LX_ERR_MSG_MAX - 1);
		assert_int_equal(len % 2, shift);
		lx_err_hint(&err, "%s", text);
		assert_int_equal(strlen(err.hint) % 2, shift);
	}
	memset(text, 'a', sizeof(text));
	text[LX_ERR_MSG_MAX - 1] = '\0';
	lx_err_set(&err, LX_INTERNAL, "%s", text);
	assert_int_equal(strlen(err.msg), LX_ERR_MSG_MAX - 1);
	lx_err_wrap(&err, "context");
	assert_int_equal(strlen(err.msg), LX_ERR_MSG_MAX - 1);
	assert_int_equal(strncmp(err.msg, "context: aaa", 12), 0);
}

static void stays_on_one_line(void **state)
{
	struct lx_err err = LX_ERR_INIT;

	lx_err_set(&err, LX_INTERNAL, "tool said: a\nb\r\n");
	assert_null(strpbrk(err.msg, "\r\n"));
	lx_err_set(&err, LX_INTERNAL, "\x1b[31m\x7f\xc2\x9b%s\xc3\xa4", "\xc2");
	assert_string_equal(err.msg, " [31m   \xc2\xc3\xa4");
}

static void codes_have_names_and_errnos(void **state)
{
	for (int c = LX_OK; c <= LX_UNAUTHENTICATED; c++) {
		assert_non_null(lx_code_name((enum lx_code)c));
		/* INTERNAL and UNKNOWN share EIO; the others survive the way through an errno. */
		enum lx_code back = lx_errno_code(lx_code_errno((enum lx_code)c));

		if (c == LX_UNKNOWN)
			assert_int_equal(back, LX_INTERNAL);
		else
			assert_int_equal(back, c);
	}
	assert_string_equal(lx_code_name(LX_NOT_FOUND), "NOT_FOUND");
	assert_string_equal(lx_code_name((enum lx_code)99), "UNKNOWN");
	assert_int_equal(lx_code_errno((enum lx_code)99), -EIO);
	assert_int_equal(lx_errno_code(-ECONNREFUSED), LX_UNAVAILABLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sets_code_text_and_errno),
		cmocka_unit_test(setting_again_drops_the_old_hint),
		cmocka_unit_test(wraps_with_context),
		cmocka_unit_test(may_quote_its_own_text),
		cmocka_unit_test(names_the_system_error),
		cmocka_unit_test(keeps_the_errno_of_an_oom),
		cmocka_unit_test(accepts_null),
		cmocka_unit_test(cuts_long_text_at_a_character),
		cmocka_unit_test(stays_on_one_line),
		cmocka_unit_test(codes_have_names_and_errnos),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
