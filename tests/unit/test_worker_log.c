/* What a person is told of liblxc's log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/worker/instance/instance.h"

#define LINE(level, text)                                                                                    \
	"lxc web1 20260131120000.123 " level "    start - ../src/lxc/start.c:run:42 - " text "\n"

static struct lx_err explain(const char *log)
{
	struct lx_err err = LX_ERR_INIT;

	assert_true(lx_lxc_log_explain("web1", log, &err) < 0);
	return err;
}

static void the_first_error_counts(void **state)
{
	struct lx_err err = explain(LINE("WARN ", "seccomp is a warning") LINE(
		"ERROR", "Nothing known - about this") LINE("ERROR", "seccomp broke later"));

	assert_int_equal(err.code, LX_INTERNAL);
	assert_string_equal(err.msg, "Nothing known - about this");
}

static void known_causes_get_a_cure(void **state)
{
	static const struct {
		const char *log;
		enum lx_code code;
		const char *word;
	} known[] = {
		{ LINE("ERROR", "No such file or directory - Failed to exec \"/sbin/init\""),
		  LX_FAILED_PRECONDITION, "/sbin/init" },
		{ LINE("ERROR", "Failed to attach \"veth1\" to bridge \"lxbr0\""), LX_FAILED_PRECONDITION,
		  "bridge" },
		{ LINE("ERROR", "File exists - Failed to create veth pair \"a\" and \"b\""),
		  LX_FAILED_PRECONDITION, "in use" },
		{ LINE("ERROR", "No space left on device - Failed to create cgroup"), LX_RESOURCE_EXHAUSTED,
		  "cgroup" },
		{ LINE("ERROR", "Failed to load seccomp policy"), LX_FAILED_PRECONDITION,
		  "system call filter" },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		struct lx_err err = explain(known[i].log);

		assert_int_equal(err.code, known[i].code);
		assert_non_null(strstr(err.msg, known[i].word));
		assert_true(strlen(err.hint) > 0);
	}
}

static void a_silent_log(void **state)
{
	static const char *const logs[] = {
		"", "\n\n", "ERROR", " ERROR ", "x ERROR y - z", LINE("ERROR", "")
	};

	for (size_t i = 0; i < sizeof(logs) / sizeof(logs[0]); i++)
		assert_non_null(strstr(explain(logs[i]).msg, "without saying why"));
}

static void a_line_without_end_is_cut(void **state)
{
	static const char head[] = "a ERROR b - c - ";
	char *log = malloc(100000);

	assert_non_null(log);
	memset(log, 'x', 99999);
	memcpy(log, head, sizeof(head) - 1);
	log[99999] = '\0';
	assert_int_equal(explain(log).code, LX_INTERNAL);
	free(log);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_error_counts),
		cmocka_unit_test(known_causes_get_a_cure),
		cmocka_unit_test(a_silent_log),
		cmocka_unit_test(a_line_without_end_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
