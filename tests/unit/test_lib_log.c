/* Log lines: one write each, never two lines, never too long, priorities for the journal. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/log.h"

static int saved_stderr = -1, pipe_out = -1;

/* Puts a pipe in the place of stderr; each test reads a line before it writes the next. */
static int catch_stderr(void **state)
{
	int fds[2];

	if (pipe(fds) < 0)
		return -1;
	saved_stderr = dup(STDERR_FILENO);
	dup2(fds[1], STDERR_FILENO);
	close(fds[1]);
	pipe_out = fds[0];
	return 0;
}

static int release_stderr(void **state)
{
	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	close(pipe_out);
	unsetenv("JOURNAL_STREAM");
	return 0;
}

static size_t caught(char *buf, size_t n)
{
	ssize_t r = read(pipe_out, buf, n - 1);

	assert_true(r > 0);
	buf[r] = '\0';
	return (size_t)r;
}

static void writes_a_stamped_line(void **state)
{
	char line[4096];

	lx_log_init("lxagentd", LX_LOG_INFO);
	errno = EPIPE;
	lx_info("instance started", "instance=%s pid=%d", "web1", 4711);
	assert_int_equal(errno, EPIPE);
	caught(line, sizeof(line));
	/* 2026-01-31T12:00:00.123Z info  lxagentd: ... */
	assert_string_equal(line + 24, " info  lxagentd: instance started instance=web1 pid=4711\n");
	assert_int_equal(line[10], 'T');
	assert_int_equal(line[19], '.');
	assert_int_equal(line[23], 'Z');
	lx_warn("bare", "%s", "");
	caught(line, sizeof(line));
	assert_non_null(strstr(line, " warn  lxagentd: bare"));
}

static void drops_what_is_above_the_level(void **state)
{
	char line[4096];

	lx_log_init("x", LX_LOG_WARN);
	lx_debug("unseen", "%s", "");
	lx_info("unseen", "%s", "");
	lx_error("seen", "%s", "a=1");
	caught(line, sizeof(line));
	assert_non_null(strstr(line, "error x: seen a=1\n"));
}

static void cuts_and_never_forges_lines(void **state)
{
	char line[8192], big[6000];

	lx_log_init("x", LX_LOG_INFO);
	memset(big, 'b', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	lx_info("long", "v=%s", big);
	size_t n = caught(line, sizeof(line));

	assert_true(n <= 2048);
	assert_int_equal(line[n - 1], '\n');
	lx_info("evil", "v=%s", "a\nb\r\x1b[31m");
	caught(line, sizeof(line));
	assert_non_null(strstr(line, "evil v=a b  [31m\n"));
}

static void speaks_to_the_journal(void **state)
{
	char stream[64], line[4096];
	struct stat st;

	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	lx_log_init("x", LX_LOG_DEBUG);
	lx_error("broken", "a=%d", 1);
	caught(line, sizeof(line));
	assert_string_equal(line, "<3>broken a=1\n");
	lx_debug("detail", "a=%d", 1);
	caught(line, sizeof(line));
	assert_string_equal(line, "<7>detail a=1\n");
	/* Someone redirected stderr elsewhere: the variable is stale. */
	setenv("JOURNAL_STREAM", "1:1", 1);
	lx_log_init("x", LX_LOG_DEBUG);
	lx_error("broken", "a=%d", 1);
	caught(line, sizeof(line));
	assert_non_null(strstr(line, "error x: broken a=1\n"));
}

static void parses_levels(void **state)
{
	enum lx_log_level l = LX_LOG_ERROR;

	assert_int_equal(lx_log_parse_level("debug", &l), 0);
	assert_int_equal(l, LX_LOG_DEBUG);
	assert_int_equal(lx_log_parse_level("verbose", &l), -EINVAL);
	assert_int_equal(lx_log_parse_level(NULL, &l), -EINVAL);
	assert_int_equal(l, LX_LOG_DEBUG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(writes_a_stamped_line, catch_stderr, release_stderr),
		cmocka_unit_test_setup_teardown(drops_what_is_above_the_level, catch_stderr, release_stderr),
		cmocka_unit_test_setup_teardown(cuts_and_never_forges_lines, catch_stderr, release_stderr),
		cmocka_unit_test_setup_teardown(speaks_to_the_journal, catch_stderr, release_stderr),
		cmocka_unit_test(parses_levels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
