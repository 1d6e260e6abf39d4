/*
 * The manual page, from the table of verbs: `lxmgr __manpage` (hidden) prints lxmgr(1) in
 * mdoc(7). docs/man/lxmgr.1 is its output; a test compares the two.
 */
#include "cli/cli.h"

/* Text in which no character is markup. `start`: a line begins here. */
static void escaped(const char *text, bool start)
{
	for (const char *p = text; *p; p++) {
		if (start && (*p == '.' || *p == '\''))
			fputs("\\&", stdout);
		start = *p == '\n';
		if (*p == '\\')
			fputs("\\e", stdout);
		else if (*p == '-')
			fputs("\\-", stdout);
		else
			putchar(*p);
	}
}

static void paragraph(const char *text)
{
	escaped(text, true);
	putchar('\n');
}

/* Paragraphs are separated by newlines, or by empty lines. */
static void paragraphs(const char *text)
{
	while (*(text += strspn(text, "\n"))) {
		lx_autofree char *one = strndup(text, strcspn(text, "\n"));
		if (one) {
			puts(".Pp");
			paragraph(one);
		}
		text += strcspn(text, "\n");
	}
}

static void options(const struct cli_option *table)
{
	if (!table || !table->name)
		return;
	puts(".Bl -tag -width Ds -compact");
	for (const struct cli_option *o = table; o->name; o++) {
		fputs(".It ", stdout);
		if (o->letter)
			printf("Fl %c , ", o->letter);
		printf("Fl \\-%s", o->name);
		if (o->value)
			printf(" Ar %s", o->value);
		putchar('\n');
		paragraph(o->help);
	}
	puts(".El");
}

static void examples(const char *text)
{
	puts(".Bd -literal -offset indent");
	paragraph(text);
	puts(".Ed");
}

static void verb(const struct cli_verb *v)
{
	fputs(".Ss lxmgr ", stdout);
	escaped(v->name, false);
	if (v->operands) {
		putchar(' ');
		escaped(v->operands, false);
	}
	putchar('\n');
	escaped(v->summary, true);
	puts(".");
	if (v->aliases) {
		fputs("Also known as: ", stdout);
		escaped(v->aliases, false);
		puts(".");
	}
	if (v->details)
		paragraphs(v->details);
	if (v->options)
		puts(".Pp");
	options(v->options);
	if (v->examples)
		examples(v->examples);
}

static void title(const char *text)
{
	fputs(".Sh ", stdout);
	for (const char *p = text; *p; p++)
		putchar(*p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p);
	putchar('\n');
}

static const char head[] =
	".\\\" Made by \"lxmgr __manpage\" from the table of verbs.\n"
	".Dd $Mdocdate$\n"
	".Dt LXMGR 1\n"
	".Os\n"
	".Sh NAME\n"
	".Nm lxmgr\n"
	".Nd full operating systems in containers on a cluster of machines\n"
	".Sh SYNOPSIS\n"
	".Nm\n"
	".Ar verb\n"
	".Op Ar option ...\n"
	".Op Ar argument ...\n"
	".Sh DESCRIPTION\n"
	".Nm\n"
	"is the command line of an lxmgr cluster: a client of the manager,\n"
	".Xr lxmgrd 8 .\n"
	"Options may stand anywhere before\n"
	".Ql \\-\\- .\n"
	"Every verb explains itself with\n"
	".Fl \\-help .\n"
	".Pp\n"
	"What takes longer than a moment is an operation. The command shows its progress on a terminal and\n"
	"waits for it; the first Ctrl\\-C stops the waiting, not the operation, and says how to follow or\n"
	"cancel it.\n"
	".Pp\n"
	"These options are known everywhere:\n"
	".Pp\n";

static const char tail[] =
	".Sh ENVIRONMENT\n"
	".Bl -tag -width Ds -compact\n"
	".It Ev LXMGR_SOCKET\n"
	"The manager's socket.\n"
	".It Ev LXMGR_REMOTE\n"
	"Host and port of a manager elsewhere, when no socket is given.\n"
	".It Ev LXMGR_CERT , LXMGR_KEY , LXMGR_CA\n"
	"Own certificate, its key, and the cluster's CA certificate, for a manager elsewhere.\n"
	".It Ev LXMGR_LIBEXEC\n"
	"Where\n"
	".Nm lxmgr-remote\n"
	"is, which talks to a manager elsewhere; when it lies neither in\n"
	".Pa ../libexec\n"
	"beside the program nor where it was installed.\n"
	".It Ev NO_COLOR\n"
	"When set, no colours.\n"
	".It Ev VISUAL , EDITOR\n"
	"The editor; vi without them.\n"
	".El\n"
	".Sh FILES\n"
	".Bl -tag -width Ds -compact\n"
	".It Pa " CLI_DEFAULT_SOCKET "\n"
	"The manager's socket.\n"
	".El\n"
	".Sh EXIT STATUS\n"
	"0 when done, 1 when it failed, 2 when it was misspelt.\n"
	"exec, shell and console return the exit code of the command in the instance, 128 + N when\n"
	"signal N ended it.\n"
	".Sh SEE ALSO\n"
	".Xr lxmgr-config 7 ,\n"
	".Xr lxagentd 8 ,\n"
	".Xr lxmgrd 8\n";

int cli_manpage(struct cli *cli, struct lx_err *err)
{
	const char *last = "";

	fputs(head, stdout);
	options(cli_global_options);
	for (size_t g = 0; g < cli_n_groups; g++) {
		if (strcmp(last, cli_groups[g].title) != 0)
			title(cli_groups[g].title);
		last = cli_groups[g].title;
		for (const struct cli_verb *v = cli_groups[g].verbs; v->name; v++)
			if (!v->hidden)
				verb(v);
	}
	fputs(tail, stdout);
	return 0;
}
