/* The table of verbs is sound, and options are read by it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cli/cli.h"

#define MAX_OPTIONS 48  /* as in cli/args.c */
#define MAX_NAMES   512 /* as in cli/verbs.c */

static size_t count(const struct cli_option *table)
{
	size_t n = 0;

	while (table && table[n].name)
		n++;
	return n;
}

static void verbs_are_complete(void **state)
{
	size_t names = 0;

	for (size_t g = 0; g < cli_n_groups; g++) {
		names++;
		for (const struct cli_verb *v = cli_groups[g].verbs; v->name; v++, names++) {
			assert_non_null(v->run);
			assert_non_null(v->summary);
			assert_true(v->max == CLI_MANY || v->max >= v->min);
			assert_ptr_equal(cli_verb_find(v->name), v); /* no name twice */
			assert_false(cli_is_noun(v->name));
			assert_true(count(v->options) + count(cli_global_options) <= MAX_OPTIONS);
			if (!v->hidden)
				assert_non_null(v->examples);
		}
	}
	assert_true(names <= MAX_NAMES);
}

static void no_letter_or_option_twice(void **state)
{
	for (size_t g = 0; g < cli_n_groups; g++) {
		for (const struct cli_verb *v = cli_groups[g].verbs; v->name; v++) {
			for (const struct cli_option *a = v->options; a && a->name; a++) {
				for (const struct cli_option *b = a + 1; b->name; b++) {
					assert_string_not_equal(a->name, b->name);
					assert_true(!a->letter || a->letter != b->letter);
				}
				for (const struct cli_option *b = cli_global_options; b->name; b++) {
					assert_string_not_equal(a->name, b->name);
					assert_true(!a->letter || a->letter != b->letter);
				}
			}
		}
	}
}

static void verbs_are_found(void **state)
{
	assert_string_equal(cli_verb_find("ls")->name, "list");
	assert_string_equal(cli_verb_find("image rm")->name, "image delete");
	assert_string_equal(cli_verb_find("config device rm")->name, "config device remove");
	assert_null(cli_verb_find("image"));
	assert_null(cli_verb_find("rm image"));
	assert_null(cli_verb_find("l"));
	assert_null(cli_verb_find(""));
	assert_true(cli_is_noun("image"));
	assert_true(cli_is_noun("config device"));
	assert_false(cli_is_noun("imag"));
	assert_false(cli_is_noun(""));
}

static const struct cli_option own[] = {
	{ "force", 'f', NULL, "", 0 },
	{ "config", 'c', "KEY=VALUE", "", 0 },
	{ "long-only", 0, "X", "", 0 },
	{ .name = NULL },
};

struct result {
	struct cli cli;
	struct lx_err err;
	int r, rest;
};

static struct result parse(bool leading, int argc, char **argv)
{
	struct result x = { .err = LX_ERR_INIT };

	x.r = cli_args_parse(&x.cli.args, own, leading, argc, argv, &x.rest, &x.err);
	return x;
}

#define ARGS(...) ((char *[]){ (char *)"verb", __VA_ARGS__, NULL })
#define PARSE(leading, ...)                                                                                  \
	parse(leading, (int)(sizeof((char *[]){ (char *)"verb", __VA_ARGS__ }) / sizeof(char *)),            \
	      ARGS(__VA_ARGS__))
#define S(s) (char *)(s)

static void options_anywhere(void **state)
{
	char *argv[] = { S("verb"),     S("a"),   S("-f"),      S("b"),
			 S("--config"), S("x=1"), S("-cx=2"),   S("--config=x=3"),
			 S("--"),       S("-f"),  S("--bogus"), NULL };
	struct result x = parse(false, 11, argv);
	const char *v;
	size_t i = 0;

	assert_int_equal(x.r, 0);
	assert_int_equal(x.rest, 7);
	assert_string_equal(argv[7], "a");
	assert_string_equal(argv[8], "b");
	assert_string_equal(argv[9], "-f");
	assert_true(cli_flag(&x.cli, "force"));
	assert_string_equal(cli_opt(&x.cli, "config"), "x=3");
	assert_null(cli_opt(&x.cli, "long-only"));
	for (const char *const want[] = { "x=1", "x=2", "x=3" }; (v = cli_opt_next(&x.cli, "config", &i));)
		assert_string_equal(v, want[v[2] - '1']);
	assert_int_equal(x.cli.args.n_given, 4);
	cli_args_release(&x.cli.args);
}

static void leading_stops_at_the_first_operand(void **state)
{
	struct result x = PARSE(true, S("-q"), S("--socket"), S("/s"), S("list"), S("-f"));

	assert_int_equal(x.r, 0);
	assert_int_equal(x.rest, 4);
	assert_true(cli_flag(&x.cli, "quiet"));
	assert_string_equal(cli_opt(&x.cli, "socket"), "/s");
	assert_false(cli_flag(&x.cli, "force"));
	cli_args_release(&x.cli.args);
}

static void refused(struct result x, const char *msg, const char *hint)
{
	assert_int_equal(x.r, -EINVAL);
	assert_string_equal(x.err.msg, msg);
	assert_string_equal(x.err.hint, hint);
	cli_args_release(&x.cli.args);
}

static void bad_options(void **state)
{
	refused(PARSE(false, S("--forse")), "unknown option --forse", "Did you mean --force?");
	refused(PARSE(false, S("--zzz=1")), "unknown option --zzz", "");
	refused(PARSE(false, S("-z")), "unknown option -z", "");
	refused(PARSE(false, S("-fz")), "unknown option -z", "");
	refused(PARSE(false, S("--config")), "option --config needs a value: KEY=VALUE", "");
	refused(PARSE(false, S("-c")), "option --config needs a value: KEY=VALUE", "");
	refused(PARSE(false, S("--force=1")), "option --force takes no value", "");
}

static void numbers(void **state)
{
	struct result x = PARSE(false, S("--long-only"), S("4294967295"));
	uint32_t n = 7;

	assert_int_equal(cli_opt_u32(&x.cli, "config", &n, &x.err), 0);
	assert_int_equal(n, 7);
	assert_int_equal(cli_opt_u32(&x.cli, "long-only", &n, &x.err), 0);
	assert_int_equal(n, UINT32_MAX);
	cli_args_release(&x.cli.args);
	static const char *const bad[] = { "4294967296", "-1", "", "1x", "0x10" };
	for (size_t i = 0; i < LX_ARRAY_SIZE(bad); i++) {
		x = PARSE(false, S("--long-only"), S(bad[i]));
		assert_int_equal(cli_opt_u32(&x.cli, "long-only", &n, &x.err), -EINVAL);
		assert_true(x.cli.misused);
		cli_args_release(&x.cli.args);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(verbs_are_complete),
		cmocka_unit_test(no_letter_or_option_twice),
		cmocka_unit_test(verbs_are_found),
		cmocka_unit_test(options_anywhere),
		cmocka_unit_test(leading_stops_at_the_first_operand),
		cmocka_unit_test(bad_options),
		cmocka_unit_test(numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
