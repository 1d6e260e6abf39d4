/* metadata.yaml: what is taken from it, what is refused, and that writing is reading's inverse. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "images/metadata.h"

static int parse(const char *text, struct lx_metadata *m, struct lx_err *err)
{
	*err = LX_ERR_INIT;
	return lx_metadata_parse(text, strlen(text), m, err);
}

static void reads_what_publishers_write(void **state)
{
	static const char text[] = "architecture: amd64\n"
				   "creation_date: 1700000000\n"
				   "expiry_date: 1800000000\n"
				   "properties:\n"
				   "  architecture: amd64\n"
				   "  description: Debian bookworm amd64 (20231114_05:24)\n"
				   "  os: Debian\n"
				   "  release: 12\n"
				   "  serial: \"20231114_05:24\"\n"
				   "  empty:\n"
				   "  nothing: ~\n"
				   "  quoted: '~'\n"
				   "templates:\n"
				   "  /etc/hostname:\n"
				   "    when:\n"
				   "    - create\n"
				   "    - copy\n"
				   "    create_only: false\n"
				   "    template: hostname.tpl\n"
				   "    properties: {}\n"
				   "unknown: [1, {a: b}, *x]\n";
	struct lx_metadata m;
	struct lx_err err;

	/* The alias at the end points nowhere, in a part that is skipped: no tree, no harm. */
	assert_int_equal(parse(text, &m, &err), 0);
	assert_int_equal(err.code, LX_OK);
	assert_string_equal(m.architecture, "x86_64");
	assert_int_equal(m.creation_date, 1700000000);
	assert_int_equal(m.expiry_date, 1800000000);
	assert_string_equal(lx_metadata_get(&m, "os"), "Debian");
	assert_string_equal(lx_metadata_get(&m, "release"), "12");
	assert_string_equal(lx_metadata_get(&m, "serial"), "20231114_05:24");
	assert_string_equal(lx_metadata_get(&m, "empty"), "");
	assert_string_equal(lx_metadata_get(&m, "nothing"), "");
	assert_string_equal(lx_metadata_get(&m, "quoted"), "~");
	assert_string_equal(lx_metadata_get(&m, "absent"), "");
	assert_int_equal(lx_map_count(&m.properties), 8);
	lx_metadata_release(&m);
}

static void reads_the_least(void **state)
{
	struct lx_metadata m;
	struct lx_err err;

	assert_int_equal(parse("{\"architecture\": \"aarch64\", \"properties\": {\"os\": \"x\"}}", &m, &err),
			 0);
	assert_string_equal(m.architecture, "aarch64");
	assert_int_equal(m.creation_date, 0);
	lx_metadata_release(&m);
	assert_int_equal(parse("architecture: i386\nproperties:\n", &m, &err), 0);
	assert_string_equal(m.architecture, "i686");
	lx_metadata_release(&m);
}

static void refuses(void **state)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{ "", "empty" },
		{ "# nothing\n", "empty" },
		{ "just text", "line 1" },
		{ "- a\n- b\n", "line 1" },
		{ "creation_date: 1\n", "architecture" },
		{ "architecture: vax\n", "line 1" },
		{ "architecture: [x86_64]\n", "line 1" },
		{ "architecture: x86_64\narchitecture: x86_64\n", "line 2" },
		{ "architecture: x86_64\ncreation_date: yesterday\n", "line 2" },
		{ "architecture: x86_64\ncreation_date: -5\n", "line 2" },
		{ "architecture: x86_64\ncreation_date: 99999999999999999\n", "line 2" },
		{ "architecture: x86_64\nproperties: [a]\n", "line 2" },
		{ "architecture: x86_64\nproperties: text\n", "line 2" },
		{ "architecture: x86_64\nproperties:\n  a: {b: c}\n", "line 3" },
		{ "architecture: x86_64\nproperties:\n  a: 1\n  a: 2\n", "line 4" },
		{ "architecture: x86_64\nproperties:\n  a: &x 1\n  b: *x\n", "line 4" },
		{ "architecture: x86_64\nproperties:\n  a: \"\\0\"\n", "NUL" },
		{ "architecture: x86_64\nproperties:\n  a: \"\\e[31m\"\n", "control" },
		{ "architecture: x86_64\nproperties:\n  \"\": x\n", "property name" },
		{ "architecture: x86_64\n\tproperties: x\n", "line 2" },
		{ "architecture: 'x86_64\n", "line" },
		{ "architecture: x86_64\nproperties:\n  a: \"\xff\xfe\"\n", "line" },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct lx_metadata m;
		struct lx_err err;

		assert_int_equal(parse(bad[i].text, &m, &err), -EINVAL);
		assert_int_equal(err.code, LX_INVALID_ARGUMENT);
		if (!strstr(err.msg, bad[i].says))
			fail_msg("%zu: \"%s\" does not say \"%s\"", i, err.msg, bad[i].says);
		lx_metadata_release(&m);
	}
}

static void has_limits(void **state)
{
	struct lx_buf text = { 0 };
	struct lx_metadata m;
	struct lx_err err;

	/* Deep in a part that is skipped. */
	assert_int_equal(lx_buf_puts(&text, "architecture: x86_64\nother: "), 0);
	for (int i = 0; i < 10000; i++)
		assert_int_equal(lx_buf_puts(&text, "["), 0);
	assert_int_equal(parse(lx_buf_str(&text), &m, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "nested"));
	lx_metadata_release(&m);

	lx_buf_release(&text);
	assert_int_equal(lx_buf_puts(&text, "architecture: x86_64\nproperties:\n"), 0);
	for (int i = 0; i <= LX_METADATA_MAX_PROPERTIES; i++)
		assert_int_equal(lx_buf_printf(&text, "  p%d: x\n", i), 0);
	assert_int_equal(parse(lx_buf_str(&text), &m, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "too many"));
	lx_metadata_release(&m);

	lx_buf_release(&text);
	assert_int_equal(lx_buf_puts(&text, "architecture: x86_64\nproperties:\n  a: "), 0);
	for (int i = 0; i <= LX_METADATA_MAX_VALUE; i++)
		assert_int_equal(lx_buf_puts(&text, "x"), 0);
	assert_int_equal(parse(lx_buf_str(&text), &m, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "longer"));
	lx_metadata_release(&m);
	lx_buf_release(&text);

	char *big = calloc(1, LX_METADATA_MAX_BYTES + 1);

	assert_non_null(big);
	assert_int_equal(lx_metadata_parse(big, LX_METADATA_MAX_BYTES + 1, &m, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "larger"));
	lx_metadata_release(&m);
	free(big);
}

static void writes_what_it_reads(void **state)
{
	static const char *const values[] = {
		"plain", "",  "with \"quotes\" and \\", "two\nlines\tand a tab",
		"12",    "~", "# no comment",           "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa7",
		"a: b"
	};
	struct lx_metadata m = { 0 }, back;
	struct lx_buf text = { 0 };
	struct lx_err err = LX_ERR_INIT;
	char key[16];

	m.architecture = strdup("x86_64");
	m.creation_date = 1700000000;
	m.expiry_date = 7;
	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
		snprintf(key, sizeof(key), "key %zu", i);
		assert_int_equal(lx_property_check(key, values[i], &err), 0);
		assert_int_equal(lx_metadata_set(&m, key, values[i]), 0);
	}
	assert_int_equal(lx_metadata_format(&m, &text), 0);
	assert_int_equal(lx_metadata_parse(text.data, text.len, &back, &err), 0);
	assert_string_equal(back.architecture, "x86_64");
	assert_int_equal(back.creation_date, 1700000000);
	assert_int_equal(back.expiry_date, 7);
	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
		snprintf(key, sizeof(key), "key %zu", i);
		assert_string_equal(lx_metadata_get(&back, key), values[i]);
	}
	lx_metadata_release(&m);
	lx_metadata_release(&back);
	lx_buf_release(&text);
}

static void checks_properties(void **state)
{
	static const char *const bad_values[] = {
		"\x01", "\x7f", "\xff", "\xc0\x80", "\xed\xa0\x80", "\xc2\x9b", "\xf4\x90\x80\x80", "\xe2\x82"
	};

	assert_int_equal(lx_property_check("os", "Debian", NULL), 0);
	assert_int_equal(lx_property_check("", "x", NULL), -EINVAL);
	assert_int_equal(lx_property_check("a=b", "x", NULL), -EINVAL);
	assert_int_equal(lx_property_check("a\nb", "x", NULL), -EINVAL);
	for (size_t i = 0; i < sizeof(bad_values) / sizeof(*bad_values); i++)
		assert_int_equal(lx_property_check("os", bad_values[i], NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_publishers_write),
		cmocka_unit_test(reads_the_least),
		cmocka_unit_test(refuses),
		cmocka_unit_test(has_limits),
		cmocka_unit_test(writes_what_it_reads),
		cmocka_unit_test(checks_properties),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
