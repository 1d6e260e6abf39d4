/* What the command line prints: tables, CSV, YAML, progress; and YAML that people write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cli/doc.h"
#include "cli/instance.h"
#include "cli/progress.h"

static const char *const headings[] = { "NAME", ">N", "TEXT", NULL };

/* Whatever the table prints, as text. */
static char *print(struct cli_table *t, const char *format)
{
	struct cli_format f;
	struct lx_err err = LX_ERR_INIT;
	char *text = NULL;
	size_t len;

	assert_int_equal(cli_format_parse(format, &f), 0);
	/* libsmartcols asks for the descriptor of its stream, so that must be a file. */
	FILE *out = tmpfile();
	assert_non_null(out);
	assert_int_equal(cli_table_print(t, &f, out, &err), 0);
	len = (size_t)ftell(out);
	rewind(out);
	text = calloc(1, len + 1);
	assert_int_equal(fread(text, 1, len, out), len);
	fclose(out);
	return text;
}

static void prints(struct cli_table *t, const char *format, const char *want)
{
	char *got = print(t, format);

	assert_string_equal(got, want);
	free(got);
}

static void tables(void **state)
{
	struct cli_table t;

	cli_table_init(&t, headings);
	cli_table_row(&t);
	cli_table_set(&t, 0, "b");
	cli_table_setf(&t, 1, "%d", 10);
	cli_table_set(&t, 2, "two\nlines");
	cli_table_row(&t);
	cli_table_set(&t, 0, "a");
	cli_table_set(&t, 9, "nowhere");
	cli_table_sort(&t, 0);
	prints(&t, "csv", "a,,\nb,10,\"two\nlines\"\n");
	prints(&t, "csv,header", "NAME,N,TEXT\na,,\nb,10,\"two\nlines\"\n");
	prints(&t, "table", "NAME   N  TEXT\na      -  -\nb     10  two\n          lines\n");
	prints(&t, "compact,noheader", "a     - -\nb    10 two,lines\n");
	cli_table_release(&t);
}

static void csv_quotes(void **state)
{
	struct cli_table t;

	cli_table_init(&t, (const char *const[]){ "A", "B", NULL });
	cli_table_row(&t);
	cli_table_set(&t, 0, "say \"hi\", all");
	cli_table_set(&t, 1, "\r");
	prints(&t, "csv", "\"say \"\"hi\"\", all\",\"\r\"\n");
	cli_table_release(&t);
}

static void formats(void **state)
{
	struct cli_format f;

	assert_int_equal(cli_format_parse("json", &f), 0);
	assert_int_equal(f.layout, CLI_OUT_JSON);
	assert_int_equal(cli_format_parse("csv", &f), 0);
	assert_false(f.header);
	assert_int_equal(cli_format_parse("table,noheader", &f), 0);
	assert_false(f.header);
	static const char *const bad[] = { "", "xml", "tabl", "tables", "csv,", "csv,headers", ",header" };
	for (size_t i = 0; i < LX_ARRAY_SIZE(bad); i++)
		assert_int_equal(cli_format_parse(bad[i], &f), -EINVAL);
}

static void columns(void **state)
{
	struct cli_list_column c[CLI_LIST_MAX_COLUMNS];
	struct lx_err err = LX_ERR_INIT;
	bool full;
	size_t n;

	assert_int_equal(cli_list_columns("ns46Li", c, &n, &full, &err), 0);
	assert_int_equal(n, 6);
	assert_false(full);
	cli_list_columns_release(c, n);
	assert_int_equal(cli_list_columns("name,4,user.owner", c, &n, &full, &err), 0);
	assert_int_equal(n, 3);
	assert_true(full);
	assert_string_equal(c[2].key, "user.owner");
	cli_list_columns_release(c, n);
	static const char *const bad[] = { "", ",", "z", "nz", "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn" };
	for (size_t i = 0; i < LX_ARRAY_SIZE(bad); i++) {
		assert_true(cli_list_columns(bad[i], c, &n, &full, &err) < 0);
		cli_list_columns_release(c, n);
	}
}

/* ------------------------------------------------------------------ YAML */

static void yaml_text(const char *value, const char *want)
{
	struct lx_buf out = { 0 };
	json_t *v = json_string(value);

	assert_int_equal(cli_yaml_write(v, &out), 0);
	assert_int_equal(out.data[out.len - 1], '\n');
	out.data[out.len - 1] = '\0';
	assert_string_equal((char *)out.data, want);
	json_decref(v);
	lx_buf_release(&out);
}

static void yaml_scalars(void **state)
{
	yaml_text("web1", "web1");
	yaml_text("debian/12", "debian/12");
	yaml_text("/srv/a b", "/srv/a b");
	yaml_text("a:b", "a:b");
	static const char *const quoted[] = { "",     "12",  "1.5", "true", "No",   "null",
					      "~",    "on",  "- a", "a: b", "a:",   "#a",
					      "a #b", "*a",  "&a",  "!a",   "|",    ">",
					      "{a}",  "[a]", "'a'", "@a",   "`a`",  "%a",
					      " a",   "a ",  "?",   "1e3",  "0x10", "12:30",
					      ".inf", "-",   "=",   "<<",   "a,b",  "2001-01-01" };
	for (size_t i = 0; i < LX_ARRAY_SIZE(quoted); i++) {
		char want[64];
		snprintf(want, sizeof(want), "\"%s\"", quoted[i]);
		yaml_text(quoted[i], want);
	}
	yaml_text("a\"b\\c", "\"a\\\"b\\\\c\"");
	yaml_text("a\nb\tc\033", "\"a\\nb\\tc\\x1b\"");
	yaml_text("\xc3\xa4", "\"\xc3\xa4\"");
}

/* What is written reads as the same. */
static void round_trip(const char *json)
{
	json_t *v = json_loads(json, JSON_DECODE_ANY, NULL), *back = NULL;
	struct lx_err err = LX_ERR_INIT;
	struct lx_buf out = { 0 };

	assert_non_null(v);
	assert_int_equal(cli_yaml_write(v, &out), 0);
	assert_int_equal(cli_yaml_read(lx_buf_str(&out), out.len, &back, &err), 0);
	if (!json_equal(v, back))
		fail_msg("%s became:\n%s", json, lx_buf_str(&out));
	json_decref(v);
	json_decref(back);
	lx_buf_release(&out);
}

static void yaml_round_trips(void **state)
{
	round_trip("{\"a\": \"b\", \"c\": {\"d\": \"e\", \"f\": {\"g\": \"1\"}}, \"h\": [\"i\", \"j\"]}");
	round_trip("[{\"a\": \"b\", \"c\": [\"d\"]}, [\"e\", [\"f\"]], \"g\", {}, []]");
	round_trip("{\"key with: colon\": \"a\\nb\", \"\": \"\", \"true\": \"true\", \"multi\\nline\": "
		   "{\"x\": \"y\"}}");
	round_trip("{\"deep\": [[[\"x\"], {\"a\": [{\"b\": \"c\"}]}]]}");
	round_trip("\"- not a list\"");
}

static json_t *read_ok(const char *text)
{
	struct lx_err err = LX_ERR_INIT;
	json_t *v = NULL;

	if (cli_yaml_read(text, strlen(text), &v, &err) < 0)
		fail_msg("%s: %s", text, err.msg);
	return v;
}

static void yaml_reads_what_people_write(void **state)
{
	json_t *v = read_ok("# remark\nconfig:\n  limits.cpu: 4\n  user.on: yes\n  user.none: ~\n  "
			    "user.text: |\n    a\n    b\n"
			    "devices: {}\nprofiles: [a, 'b']\n");
	json_t *config = json_object_get(v, "config");

	assert_string_equal(json_string_value(json_object_get(config, "limits.cpu")), "4");
	assert_string_equal(json_string_value(json_object_get(config, "user.on")), "yes");
	assert_string_equal(json_string_value(json_object_get(config, "user.none")), "");
	assert_string_equal(json_string_value(json_object_get(config, "user.text")), "a\nb\n");
	assert_int_equal(json_array_size(json_object_get(v, "profiles")), 2);
	json_decref(v);
	v = read_ok("");
	assert_int_equal(json_object_size(v), 0);
	assert_true(json_is_object(v));
	json_decref(v);
}

static void yaml_refuses(void **state)
{
	static const char *const bad[] = {
		"a: [",
		"a: b: c",
		"\ta: b",
		"a: 1\na: 2",
		"a: *b",
		"{a: b}}",
		"a: 1\n---\nb: 2\n",
		"? [a]\n: b",
		"a: \"\\0\"",
		"a: \xff",
		"[[[[[[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]]]]]]",
	};

	for (size_t i = 0; i < LX_ARRAY_SIZE(bad); i++) {
		struct lx_err err = LX_ERR_INIT;
		json_t *v = NULL;
		if (cli_yaml_read(bad[i], strlen(bad[i]), &v, &err) == 0)
			fail_msg("accepted: %s", bad[i]);
		assert_int_equal(err.code, LX_INVALID_ARGUMENT);
		assert_non_null(strstr(err.msg, "line "));
	}
}

/* ------------------------------------------------------------------ documents */

static void bad_utf8_is_repaired(void **state)
{
	struct cli_doc d;
	json_t *root = cli_doc_init(&d, false);

	cli_doc_str(&d, root, "k", "a\xff\xc3\xa4\xc3(\xed\xa0\x80z\xf0\x9f\x98\x80\xe2\x82");
	assert_false(d.oom);
	assert_string_equal(json_string_value(json_object_get(root, "k")),
			    "a?\xc3\xa4?(???z\xf0\x9f\x98\x80??");
	cli_doc_release(&d);
}

/* ------------------------------------------------------------------ progress */

static void line(const struct cli_progress_state *s, double rate, unsigned frame, int width, const char *want)
{
	char buf[256];

	cli_progress_format(s, rate, frame, width, buf, sizeof(buf));
	assert_string_equal(buf, want);
}

static void progress_lines(void **state)
{
	struct cli_progress_state s = { .label = "Importing", .phase = "upload", .unit = "bytes" };
	const double rate = 1 << 20;

	line(&s, 0, 0, 80, "| Importing: upload");
	line(&s, 0, 0, 0, "Importing: upload");
	s.done = 10 << 20;
	line(&s, 0, 1, 80, "/ Importing: upload 10MiB");
	s.total = 40 << 20;
	line(&s, rate, 2, 80, "- Importing: upload [#####               ]  25% 10MiB/40MiB 1MiB/s 0:30 left");
	line(&s, rate, 2, 0, "Importing: upload 25% 10MiB/40MiB 1MiB/s 0:30 left");
	line(&s, rate, 2, 20, "- Importing: upload ");
	s.done = 80 << 20; /* more than was said */
	line(&s, rate, 3, 80, "\\ Importing: upload [####################] 100% 80MiB/40MiB 1MiB/s");
	s = (struct cli_progress_state){ .label = "Stopping", .done = 3, .total = 4, .unit = "done" };
	line(&s, 5, 0, 80, "| Stopping [###############     ]  75% 3/4 done");
	s = (struct cli_progress_state){ .label = "x", .done = 1, .total = UINT64_MAX };
	line(&s, 0.001, 0, 0, "x 0% 1/18446744073709551615");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables),
		cmocka_unit_test(csv_quotes),
		cmocka_unit_test(formats),
		cmocka_unit_test(columns),
		cmocka_unit_test(yaml_scalars),
		cmocka_unit_test(yaml_round_trips),
		cmocka_unit_test(yaml_reads_what_people_write),
		cmocka_unit_test(yaml_refuses),
		cmocka_unit_test(bad_utf8_is_repaired),
		cmocka_unit_test(progress_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
