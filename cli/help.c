/*
 * Help, from the table of verbs: for one verb, for a noun's verbs, for all.
 */
#include "cli/cli.h"

#include "lib/buf.h"

#define HELP_WIDTH 78

/* Prints words of `text` from column `at`, folded, later lines indented by `indent`. */
static void fold(FILE *out, const char *text, int at, int indent)
{
	int column = at;

	for (const char *p = text; *p;) {
		int len = (int)strcspn(p, " \n");
		if (column > indent && column + 1 + len > HELP_WIDTH) {
			fprintf(out, "\n%*s", indent, "");
			column = indent;
		} else if (p != text && column > indent) {
			putc(' ', out);
			column++;
		}
		fprintf(out, "%.*s", len, p);
		column += len;
		p += len;
		if (*p == '\n') {
			putc('\n', out);
			fprintf(out, "%*s", indent, "");
			column = indent;
			p++;
		}
		while (*p == ' ')
			p++;
	}
	putc('\n', out);
}

/* "  left        right, folded" */
static void entry(FILE *out, int width, const char *left, const char *right)
{
	int n = fprintf(out, "  %-*s  ", width, left);

	if (n > width + 4) { /* too long for its column: the text goes below */
		fprintf(out, "\n%*s", width + 4, "");
		n = width + 4;
	}
	fold(out, right, n, width + 4);
}

static void option_text(const struct cli_option *o, char *buf, size_t n)
{
	snprintf(buf, n, "%c%c%s--%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
		 o->letter ? ", " : "  ", o->name, o->value ? " " : "", o->value ? o->value : "");
}

#define OPTION_WIDTH 24

static void options(FILE *out, const char *title, const struct cli_option *table)
{
	char left[80];

	if (!table || !table->name)
		return;
	fprintf(out, "\n%s:\n", title);
	for (const struct cli_option *o = table; o->name; o++) {
		option_text(o, left, sizeof(left));
		entry(out, OPTION_WIDTH, left, o->help);
	}
}

static void examples(FILE *out, const char *text)
{
	fputs("\nExamples:\n", out);
	while (*text) {
		int len = (int)strcspn(text, "\n");
		fprintf(out, "  %.*s\n", len, text);
		text += len + (text[len] == '\n');
	}
}

int cli_help_verb(const struct cli_verb *v, FILE *out)
{
	fprintf(out, "Usage: lxmgr %s", v->name);
	if (v->options)
		fputs(" [OPTION...]", out);
	fprintf(out, "%s%s\n\n", v->operands ? " " : "", v->operands ? v->operands : "");
	fold(out, v->summary, 0, 0);
	if (v->aliases)
		fprintf(out, "Also known as: %s\n", v->aliases);
	if (v->details) {
		putc('\n', out);
		fold(out, v->details, 0, 0);
	}
	options(out, "Options", v->options);
	if (v->examples)
		examples(out, v->examples);
	fputs("\nFor options that are known everywhere (--socket, --quiet ...) see lxmgr --help.\n", out);
	return 0;
}

#define VERB_WIDTH 16

int cli_help_noun(const char *noun, FILE *out)
{
	size_t len = strlen(noun);

	fprintf(out, "Usage: lxmgr %s VERB [OPTION...] [ARGUMENT...]\n", noun);
	for (size_t g = 0; g < cli_n_groups; g++) {
		bool titled = false;
		for (const struct cli_verb *v = cli_groups[g].verbs; v->name; v++) {
			if (v->hidden || strncmp(v->name, noun, len) != 0 || v->name[len] != ' ')
				continue;
			if (!titled)
				fprintf(out, "\n%s:\n", cli_groups[g].title);
			titled = true;
			entry(out, VERB_WIDTH, v->name + len + 1, v->summary);
		}
	}
	fprintf(out, "\nSee lxmgr %s VERB --help for options and examples.\n", noun);
	return 0;
}

static void top_level(FILE *out)
{
	const char *title = "";

	for (size_t g = 0; g < cli_n_groups; g++) {
		if (cli_groups[g].noun)
			continue;
		if (strcmp(title, cli_groups[g].title) != 0)
			fprintf(out, "\n%s:\n", cli_groups[g].title);
		title = cli_groups[g].title;
		for (const struct cli_verb *v = cli_groups[g].verbs; v->name; v++)
			if (!v->hidden)
				entry(out, VERB_WIDTH, v->name, v->summary);
	}
}

static void nouns(FILE *out)
{
	const char *noun = "";

	fputs("\nWith verbs of their own (lxmgr NOUN --help):\n", out);
	for (size_t g = 0; g < cli_n_groups; g++) {
		if (!cli_groups[g].noun || strcmp(noun, cli_groups[g].noun) == 0)
			continue;
		noun = cli_groups[g].noun;
		entry(out, VERB_WIDTH, noun, cli_groups[g].title);
	}
}

int cli_help_all(FILE *out)
{
	fputs("Usage: lxmgr VERB [OPTION...] [ARGUMENT...]\n\n"
	      "Runs full operating systems in containers on a cluster of machines.\n",
	      out);
	top_level(out);
	nouns(out);
	options(out, "Everywhere", cli_global_options);
	fputs("\nlxmgr VERB --help shows a verb's options and examples.\n"
	      "Exit codes: 0 done, 1 failed, 2 misspelt; exec, shell and console return the command's.\n",
	      out);
	return 0;
}

static int help_run(struct cli *cli, struct lx_err *err)
{
	lx_autobuf struct lx_buf words = { 0 };

	for (int i = 0; i < cli->args.n_operands; i++)
		if (lx_buf_printf(&words, "%s%s", i ? " " : "", cli_operand(cli, i)) < 0)
			return lx_err_oom(err);
	if (!words.len)
		return cli_help_all(stdout);
	const char *name = lx_buf_str(&words);
	const struct cli_verb *v = cli_verb_find(name);
	if (v)
		return cli_help_verb(v, stdout);
	if (cli_is_noun(name))
		return cli_help_noun(name, stdout);
	return cli_verb_unknown(cli, name, err);
}

const struct cli_verb cli_help_verbs[] = {
	{
		.name = "help",
		.operands = "[VERB...]",
		.summary = "Show help for a verb, or all verbs",
		.examples = "lxmgr help\nlxmgr help config device add",
		.max = CLI_MANY,
		.kinds = { CLI_VERB },
		.run = help_run,
	},
	{ .name = NULL },
};
