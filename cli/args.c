/*
 * Options by table: getopt_long fed from the verb's and the global options.
 *
 * Options may stand before, between and after operands; what follows "--" is never an
 * option. An option that does not exist or lacks its value is refused with the nearest
 * one that does as a hint. Values are borrowed from argv.
 */
#include "cli/cli.h"

#include <getopt.h>

#define MAX_OPTIONS 48  /* a verb's and the global ones together; checked by a test */
#define LONG_BASE   256 /* getopt's value for the i-th option when it has no letter */

struct tables {
	const struct cli_option *option[MAX_OPTIONS];
	size_t n;
	struct option longs[MAX_OPTIONS + 1];
	char letters[2 * MAX_OPTIONS + 3];
};

static void add(struct tables *t, const struct cli_option *options)
{
	for (const struct cli_option *o = options; o && o->name && t->n < MAX_OPTIONS; o++)
		t->option[t->n++] = o;
}

static void build(struct tables *t, const struct cli_option *own, bool leading)
{
	char *p = t->letters;

	memset(t, 0, sizeof(*t));
	add(t, own);
	add(t, cli_global_options);
	*p++ = leading ? '+' : ':';
	if (leading)
		*p++ = ':';
	for (size_t i = 0; i < t->n; i++) {
		const struct cli_option *o = t->option[i];
		t->longs[i] = (struct option){ o->name, o->value ? required_argument : no_argument, NULL,
					       LONG_BASE + (int)i };
		if (o->letter && !strchr(t->letters + 1, o->letter)) { /* the verb's own come first */
			*p++ = o->letter;
			if (o->value)
				*p++ = ':';
		}
	}
}

static const struct cli_option *by_value(const struct tables *t, int c)
{
	if (c >= LONG_BASE)
		return (size_t)(c - LONG_BASE) < t->n ? t->option[c - LONG_BASE] : NULL;
	for (size_t i = 0; c && i < t->n; i++)
		if (t->option[i]->letter == c)
			return t->option[i];
	return NULL;
}

static int refuse(const struct tables *t, int c, char **argv, struct lx_err *err)
{
	const struct cli_option *o = by_value(t, optopt);
	const char *text = argv[optind - 1];
	int r;

	if (c == ':' && o)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "option --%s needs a value: %s", o->name,
				  o->value);
	if (o)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "option --%s takes no value", o->name);
	if (optopt)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "unknown option -%c", optopt);

	const char *names[MAX_OPTIONS];
	char word[64];
	for (size_t i = 0; i < t->n; i++)
		names[i] = t->option[i]->name;
	snprintf(word, sizeof(word), "%.*s", (int)strcspn(text + 2, "="), text + 2);
	r = lx_err_set(err, LX_INVALID_ARGUMENT, "unknown option --%s", word);
	const char *nearest = lx_nearest(word, names, t->n);
	if (nearest)
		lx_err_hint(err, "Did you mean --%s?", nearest);
	return r;
}

int cli_args_parse(struct cli_args *a, const struct cli_option *own, bool leading, int argc, char **argv,
		   int *ret_rest, struct lx_err *err)
{
	struct tables t;
	int c;

	build(&t, own, leading);
	optind = 0; /* glibc: start afresh */
	opterr = 0;
	while ((c = getopt_long(argc, argv, t.letters, t.longs, NULL)) != -1) {
		const struct cli_option *o = c == '?' || c == ':' ? NULL : by_value(&t, c);
		if (!o)
			return refuse(&t, c, argv, err);
		struct cli_given *grown = realloc(a->given, (a->n_given + 1) * sizeof(*grown));
		if (!grown)
			return lx_err_oom(err);
		a->given = grown;
		a->given[a->n_given++] = (struct cli_given){ o, o->value ? optarg : "" };
	}
	*ret_rest = optind;
	return 0;
}

void cli_args_release(struct cli_args *a)
{
	free(a->given);
	*a = (struct cli_args){ 0 };
}

const char *cli_opt(const struct cli *cli, const char *name)
{
	for (size_t i = cli->args.n_given; i > 0; i--)
		if (strcmp(cli->args.given[i - 1].option->name, name) == 0)
			return cli->args.given[i - 1].value;
	return NULL;
}

bool cli_flag(const struct cli *cli, const char *name)
{
	return cli_opt(cli, name) != NULL;
}

const char *cli_opt_next(const struct cli *cli, const char *name, size_t *i)
{
	while (*i < cli->args.n_given) {
		const struct cli_given *g = &cli->args.given[(*i)++];
		if (strcmp(g->option->name, name) == 0)
			return g->value;
	}
	return NULL;
}

int cli_opt_u32(struct cli *cli, const char *name, uint32_t *ret, struct lx_err *err)
{
	const char *text = cli_opt(cli, name);
	uint64_t v;

	if (!text)
		return 0;
	if (lx_parse_u64(text, &v) < 0 || v > UINT32_MAX)
		return cli_usage(cli, err, "--%s needs a number from 0 to %u, not \"%s\"", name, UINT32_MAX,
				 text);
	*ret = (uint32_t)v;
	return 0;
}
