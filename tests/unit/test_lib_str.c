/* Text: names, numbers, sizes, durations, suggestions, identifiers, times. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/str.h"

static void compares(void **state)
{
	assert_true(lx_streq("a", "a"));
	assert_false(lx_streq("a", "b"));
	assert_true(lx_streq(NULL, NULL));
	assert_false(lx_streq(NULL, ""));
	assert_true(lx_starts_with("image/x", "image/"));
	assert_false(lx_starts_with("im", "image/"));
	assert_true(lx_ends_with("a.tar.gz", ".gz"));
	assert_false(lx_ends_with("gz", ".gz"));
	assert_true(lx_str_empty(NULL) && lx_str_empty("") && !lx_str_empty(" "));
	lx_autofree char *s = lx_asprintf("%s-%d", "a", 1);

	assert_string_equal(s, "a-1");
}

static void accepts_names(void **state)
{
	static const char *const good[] = { "a", "web1", "1a", "a-b", "a--b", "0x0" };

	for (size_t i = 0; i < LX_ARRAY_SIZE(good); i++)
		assert_int_equal(lx_name_check("instance", good[i], NULL), 0);
}

static void refuses_names(void **state)
{
	static const char *const bad[] = { "",    "-a",    "a-",   "Web",   "a_b",     "a.b",
					   "a b", "12345", "-",    "a/b",   "../etc",  "\xc3\xa4",
					   "a\n", "1",     "a\tb", "a\x7f", "web1\xff" };
	char longname[LX_NAME_MAX + 2];

	for (size_t i = 0; i < LX_ARRAY_SIZE(bad); i++) {
		struct lx_err err = LX_ERR_INIT;

		assert_int_equal(lx_name_check("instance", bad[i], &err), -EINVAL);
		assert_int_equal(err.code, LX_INVALID_ARGUMENT);
		assert_true(lx_starts_with(err.msg, "invalid instance name \""));
		assert_true(strlen(err.hint) > 0);
	}
	assert_int_equal(lx_name_check("instance", NULL, NULL), -EINVAL);
	memset(longname, 'a', sizeof(longname));
	longname[sizeof(longname) - 1] = '\0';
	assert_int_equal(lx_name_check("instance", longname, NULL), -EINVAL);
	longname[LX_NAME_MAX] = '\0';
	assert_int_equal(lx_name_check("instance", longname, NULL), 0);
}

static void parses_numbers(void **state)
{
	uint64_t u = 7;
	int64_t i = 7;

	assert_int_equal(lx_parse_u64("0", &u), 0);
	assert_true(u == 0);
	assert_int_equal(lx_parse_u64("18446744073709551615", &u), 0);
	assert_true(u == UINT64_MAX);
	assert_int_equal(lx_parse_u64("18446744073709551616", &u), -ERANGE);
	assert_int_equal(lx_parse_u64("99999999999999999999999", &u), -ERANGE);
	for (const char *const *s = (const char *const[]){ "", "-1", "+1", " 1", "1 ", "1x", "0x10", NULL };
	     *s; s++)
		assert_int_equal(lx_parse_u64(*s, &u), -EINVAL);
	assert_int_equal(lx_parse_u64(NULL, &u), -EINVAL);
	assert_true(u == UINT64_MAX); /* untouched on failure */

	assert_int_equal(lx_parse_i64("-9223372036854775808", &i), 0);
	assert_true(i == INT64_MIN);
	assert_int_equal(lx_parse_i64("9223372036854775807", &i), 0);
	assert_true(i == INT64_MAX);
	assert_int_equal(lx_parse_i64("-0", &i), 0);
	assert_true(i == 0);
	assert_int_equal(lx_parse_i64("9223372036854775808", &i), -ERANGE);
	assert_int_equal(lx_parse_i64("-9223372036854775809", &i), -ERANGE);
	assert_int_equal(lx_parse_i64("--1", &i), -EINVAL);
	assert_int_equal(lx_parse_i64("-", &i), -EINVAL);
	assert_int_equal(lx_parse_i64(NULL, &i), -EINVAL);
}

static void parses_booleans(void **state)
{
	bool b = false;

	for (const char *const *s = (const char *const[]){ "true", "yes", "on", "1", NULL }; *s; s++) {
		b = false;
		assert_int_equal(lx_parse_bool(*s, &b), 0);
		assert_true(b);
	}
	for (const char *const *s = (const char *const[]){ "false", "no", "off", "0", NULL }; *s; s++) {
		b = true;
		assert_int_equal(lx_parse_bool(*s, &b), 0);
		assert_false(b);
	}
	assert_int_equal(lx_parse_bool("TRUE", &b), -EINVAL);
	assert_int_equal(lx_parse_bool("", &b), -EINVAL);
	assert_int_equal(lx_parse_bool(NULL, &b), -EINVAL);
}

static void parses_sizes(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{ "0", 0 },
		{ "512", 512 },
		{ "512B", 512 },
		{ "1kB", 1000 },
		{ "1KiB", 1024 },
		{ "20MB", 20000000 },
		{ "256MiB", UINT64_C(256) << 20 },
		{ "3GB", UINT64_C(3000000000) },
		{ "2GiB", UINT64_C(2) << 30 },
		{ "1TB", UINT64_C(1000000000000) },
		{ "16777215TiB", UINT64_C(16777215) << 40 },
		{ "1.5GiB", UINT64_C(3) << 29 },
		{ "0.25kB", 250 },
		{ "18446744073709551615", UINT64_MAX },
	};
	uint64_t v = 7;

	for (size_t i = 0; i < LX_ARRAY_SIZE(good); i++) {
		assert_int_equal(lx_parse_size(good[i].text, &v), 0);
		assert_true(v == good[i].bytes);
	}
	v = 7;
	for (const char *const *s =
		     (const char *const[]){ "", "MiB", "-1", "1 MiB", "1mib", "1MIB", "1M", "1.5", "1.MiB",
					    ".5MiB", "1.5B", "1.1234567MiB", "1.2.3MiB", "12%", NULL };
	     *s; s++)
		assert_int_equal(lx_parse_size(*s, &v), -EINVAL);
	assert_int_equal(lx_parse_size(NULL, &v), -EINVAL);
	assert_int_equal(lx_parse_size("16777216TiB", &v), -ERANGE);
	assert_int_equal(lx_parse_size("16777215.999999TiB", &v), 0);
	assert_int_equal(lx_parse_size("18446744073709551616", &v), -ERANGE);
	assert_int_equal(lx_parse_size("18446744073709551615.9kB", &v), -ERANGE);
}

static void formats_sizes(void **state)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{ 0, "0B" },
		{ 1023, "1023B" },
		{ 1024, "1KiB" },
		{ 1536, "1.5KiB" },
		{ 13107200, "12.5MiB" },
		{ 1048575, "1MiB" }, /* not 1024KiB */
		{ UINT64_C(1) << 30, "1GiB" },
		{ UINT64_C(1) << 40, "1TiB" },
		{ UINT64_C(1) << 50, "1024TiB" },
		{ UINT64_MAX, "16777216TiB" },
	};
	char buf[LX_SIZE_TEXT_MAX];

	for (size_t i = 0; i < LX_ARRAY_SIZE(cases); i++)
		assert_string_equal(lx_format_size(cases[i].bytes, buf, sizeof(buf)), cases[i].text);
	assert_string_equal(lx_format_size(13107200, buf, 4), "12.");
}

static void formats_durations(void **state)
{
	static const struct {
		uint64_t ns;
		const char *text;
	} cases[] = {
		{ 0, "0.0 ms" },
		{ 49999, "0.0 ms" },
		{ 182449999, "182.4 ms" },
		{ 999949999, "999.9 ms" },
		{ 999950000, "1.00 s" },
		{ 2314000000, "2.31 s" },
		{ 59994999999, "59.99 s" },
		{ 59995000000, "1m 0s" },
		{ 185000000000, "3m 5s" },
		{ 3723400000000, "1h 2m 3s" },
		{ UINT64_MAX, "5124095h 34m 34s" },
	};
	char buf[LX_DURATION_TEXT_MAX];

	for (size_t i = 0; i < LX_ARRAY_SIZE(cases); i++)
		assert_string_equal(lx_format_duration(cases[i].ns, buf, sizeof(buf)), cases[i].text);
	assert_string_equal(lx_format_duration(182400000, buf, 4), "182");
}

static void parses_durations(void **state)
{
	static const struct {
		const char *text;
		uint64_t seconds;
	} good[] = { { "0", 0 },        { "30", 30 },       { "30s", 30 },   { "5m", 300 },
		     { "1h30m", 5400 }, { "2h0m5s", 7205 }, { "1d", 86400 }, { "90m", 5400 } };
	uint64_t v = 7;

	for (size_t i = 0; i < LX_ARRAY_SIZE(good); i++) {
		assert_int_equal(lx_parse_duration(good[i].text, &v), 0);
		assert_true(v == good[i].seconds);
	}
	v = 7;
	for (const char *const *s =
		     (const char *const[]){ "", "s", "5s1h", "5m5m", "1h30", "-5", "1.5h", "5 m", "1w",
					    "99999999999999999999", "999999999999999999h", NULL };
	     *s; s++)
		assert_int_equal(lx_parse_duration(*s, &v), -EINVAL);
	assert_int_equal(lx_parse_duration(NULL, &v), -EINVAL);
	assert_true(v == 7);
}

static void suggests_the_nearest(void **state)
{
	static const char *const verbs[] = { "launch", "list", "stop", "start", "info" };
	size_t n = LX_ARRAY_SIZE(verbs);
	char longword[200];

	assert_string_equal(lx_nearest("lanch", verbs, n), "launch");
	assert_string_equal(lx_nearest("lsit", verbs, n), "list"); /* a swap is one edit */
	assert_null(lx_nearest("lisxx", verbs, 1));
	assert_null(lx_nearest("lxxt", verbs, n)); /* half of the word is wrong */
	assert_string_equal(lx_nearest("strat", verbs, n), "start");
	assert_string_equal(lx_nearest("lis", verbs, n), "list");
	assert_string_equal(lx_nearest("stop", verbs, n), "stop");
	assert_null(lx_nearest("migrate", verbs, n));
	assert_null(lx_nearest("", verbs, n));
	assert_null(lx_nearest("x", verbs, n));
	assert_null(lx_nearest("list", verbs, 0));
	memset(longword, 'a', sizeof(longword) - 1);
	longword[sizeof(longword) - 1] = '\0';
	assert_null(lx_nearest(longword, verbs, n));
	assert_null(lx_nearest("abc", (const char *const[]){ longword }, 1));
}

static void makes_hex_and_uuids(void **state)
{
	char hex[9], a[LX_UUID_TEXT], b[LX_UUID_TEXT];

	lx_hex("\x00\x7f\x80\xff", 4, hex);
	assert_string_equal(hex, "007f80ff");
	assert_int_equal(lx_uuid(a), 0);
	assert_int_equal(lx_uuid(b), 0);
	assert_string_not_equal(a, b);
	assert_int_equal(strlen(a), LX_UUID_TEXT - 1);
	assert_int_equal(strspn(a, "0123456789abcdef-"), LX_UUID_TEXT - 1);
	assert_true(a[8] == '-' && a[13] == '-' && a[18] == '-' && a[23] == '-');
	assert_int_equal(a[14], '4');
	assert_non_null(strchr("89ab", a[19]));
}

static void formats_times(void **state)
{
	char buf[LX_TIME_TEXT];

	assert_string_equal(lx_time_rfc3339(0, buf), "1970-01-01T00:00:00Z");
	assert_string_equal(lx_time_rfc3339(UINT64_C(1769860800) * LX_NSEC_PER_SEC + 999999999, buf),
			    "2026-01-31T12:00:00Z");
	assert_string_equal(lx_time_rfc3339(UINT64_MAX, buf), "2554-07-21T23:34:33Z");
	uint64_t t = lx_now_monotonic_ns();

	assert_true(lx_now_monotonic_ns() >= t);
	assert_true(lx_now_realtime_ns() > UINT64_C(1600000000) * LX_NSEC_PER_SEC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(compares),
		cmocka_unit_test(accepts_names),
		cmocka_unit_test(refuses_names),
		cmocka_unit_test(parses_numbers),
		cmocka_unit_test(parses_booleans),
		cmocka_unit_test(parses_sizes),
		cmocka_unit_test(formats_sizes),
		cmocka_unit_test(formats_durations),
		cmocka_unit_test(parses_durations),
		cmocka_unit_test(suggests_the_nearest),
		cmocka_unit_test(makes_hex_and_uuids),
		cmocka_unit_test(formats_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
