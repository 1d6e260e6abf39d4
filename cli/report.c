/*
 * What lxmgr says about itself, on stderr: errors with hints, warnings, remarks.
 *
 * Messages come from the manager and may quote what a guest or an image said, so nothing
 * goes to a terminal before its control characters are gone.
 */
#include "cli/cli.h"

#include <stdarg.h>

void cli_put_safe(FILE *out, const char *text)
{
	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		/* C0, DEL, and C1 as UTF-8 (C2 80 to C2 9F) */
		bool c1 = p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f;
		if ((*p < 0x20 && *p != '\n' && *p != '\t') || *p == 0x7f || c1) {
			putc('?', out);
			p += c1;
		} else {
			putc(*p, out);
		}
	}
}

static void say(const char *prefix, const char *text)
{
	fputs(prefix, stderr);
	cli_put_safe(stderr, text);
	putc('\n', stderr);
}

void cli_report(const struct lx_err *err)
{
	say("Error: ", *err->msg ? err->msg : lx_code_name(err->code));
	if (*err->hint)
		say("Hint: ", err->hint);
	else if (err->code == LX_UNIMPLEMENTED)
		say("Hint: ",
		    "The manager, or the node, runs a version of lxmgr that cannot do this: see lxmgr "
		    "version and lxmgr node show.");
}

static void vsay(const char *prefix, const char *fmt, va_list ap)
{
	char text[1024];

	vsnprintf(text, sizeof(text), fmt, ap);
	say(prefix, text);
}

void cli_warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsay("Warning: ", fmt, ap);
	va_end(ap);
}

void cli_note(const struct cli *cli, const char *fmt, ...)
{
	va_list ap;

	if (cli->quiet)
		return;
	va_start(ap, fmt);
	vsay("", fmt, ap);
	va_end(ap);
}

int cli_usage(struct cli *cli, struct lx_err *err, const char *fmt, ...)
{
	char text[LX_ERR_MSG_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	cli->misused = true;
	lx_err_set(err, LX_INVALID_ARGUMENT, "%s", text);
	if (cli->verb)
		lx_err_hint(err, "Usage: lxmgr %s%s%s; see lxmgr %s --help", cli->verb->name,
			    cli->verb->operands ? " " : "", cli->verb->operands ? cli->verb->operands : "",
			    cli->verb->name);
	return -EINVAL;
}

bool cli_colours(int fd)
{
	const char *term = getenv("TERM");

	return lx_str_empty(getenv("NO_COLOR")) && isatty(fd) && term && strcmp(term, "dumb") != 0;
}

bool cli_confirm(bool fallback, const char *fmt, ...)
{
	char answer[16];
	va_list ap;

	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
		return fallback;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputs(" [y/N] ", stderr);
	fflush(stderr);
	return fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}
