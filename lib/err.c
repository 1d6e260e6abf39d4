/*
 * Filling errors and giving them context. Everything is formatted into scratch space
 * first, because callers pass the error's own text as an argument when they wrap.
 * Nothing here can fail: what does not fit is cut, never in the middle of a UTF-8
 * character, and an error always ends up with a code and a text.
 */
#include "lib/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Cuts s to at most `max` bytes with the NUL, at a character boundary. */
static void cut(char *s, size_t len, size_t max)
{
	if (len < max)
		return;
	len = max - 1;
	while (len > 0 && ((unsigned char)s[len] & 0xc0) == 0x80)
		len--;
	s[len] = '\0';
}

/* Scratch is one byte longer than the target, so that a cut sees the byte after it. */
static void format(char *dst, size_t max, const char *fmt, va_list ap)
{
	char scratch[LX_ERR_MSG_MAX + 1];
	int n = vsnprintf(scratch, max + 1, fmt, ap);

	if (n < 0)
		n = snprintf(scratch, max + 1, "%s", fmt);
	size_t len = (size_t)n < max + 1 ? (size_t)n : max;

	cut(scratch, len, max);
	/* A message built from foreign text must not break the log, the wire or a terminal. */
	for (unsigned char *p = (unsigned char *)scratch; *p; p++) {
		if (*p < ' ' || *p == 0x7f)
			*p = ' ';
		else if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f) /* U+0080 to U+009F */
			p[0] = p[1] = ' ';
	}
	memcpy(dst, scratch, strlen(scratch) + 1);
}

int lx_err_vset(struct lx_err *err, enum lx_code code, const char *fmt, va_list ap)
{
	if (err) {
		format(err->msg, sizeof(err->msg), fmt, ap);
		err->code = code;
		err->hint[0] = '\0';
	}
	return lx_code_errno(code);
}

int lx_err_set(struct lx_err *err, enum lx_code code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int r = lx_err_vset(err, code, fmt, ap);
	va_end(ap);
	return r;
}

int lx_err_errno(struct lx_err *err, int errnum, const char *fmt, ...)
{
	errnum = abs(errnum);
	if (!err)
		return -errnum;

	va_list ap;
	char what[LX_ERR_MSG_MAX];

	va_start(ap, fmt);
	format(what, sizeof(what), fmt, ap);
	va_end(ap);
	char reason[128];
	const char *text = strerror_r(errnum, reason, sizeof(reason));

	lx_err_set(err, lx_errno_code(errnum), "%s: %s", what, text);
	if (errnum == ENOSPC || errnum == EDQUOT)
		lx_err_hint(err, "Free some disk space (df -h shows where it is missing) and try again.");
	return -errnum;
}

int lx_err_oom(struct lx_err *err)
{
	lx_err_set(err, LX_RESOURCE_EXHAUSTED, "out of memory");
	return -ENOMEM;
}

void lx_err_hint(struct lx_err *err, const char *fmt, ...)
{
	if (!err)
		return;
	va_list ap;

	va_start(ap, fmt);
	format(err->hint, sizeof(err->hint), fmt, ap);
	va_end(ap);
}

static void replace_msg(struct lx_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void replace_msg(struct lx_err *err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	format(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
}

void lx_err_wrap(struct lx_err *err, const char *fmt, ...)
{
	if (!err)
		return;
	char context[LX_ERR_MSG_MAX];
	va_list ap;

	va_start(ap, fmt);
	format(context, sizeof(context), fmt, ap);
	va_end(ap);
	replace_msg(err, "%s: %s", context, err->msg);
}

/* ------------------------------------------------------------------ codes */

static const struct {
	const char *name;
	int errnum;
} codes[] = {
	[LX_OK] = { "OK", 0 },
	[LX_CANCELLED] = { "CANCELLED", ECANCELED },
	[LX_UNKNOWN] = { "UNKNOWN", EIO },
	[LX_INVALID_ARGUMENT] = { "INVALID_ARGUMENT", EINVAL },
	[LX_DEADLINE_EXCEEDED] = { "DEADLINE_EXCEEDED", ETIMEDOUT },
	[LX_NOT_FOUND] = { "NOT_FOUND", ENOENT },
	[LX_ALREADY_EXISTS] = { "ALREADY_EXISTS", EEXIST },
	[LX_PERMISSION_DENIED] = { "PERMISSION_DENIED", EACCES },
	[LX_RESOURCE_EXHAUSTED] = { "RESOURCE_EXHAUSTED", ENOSPC },
	[LX_FAILED_PRECONDITION] = { "FAILED_PRECONDITION", EBUSY },
	[LX_ABORTED] = { "ABORTED", EAGAIN },
	[LX_OUT_OF_RANGE] = { "OUT_OF_RANGE", ERANGE },
	[LX_UNIMPLEMENTED] = { "UNIMPLEMENTED", EOPNOTSUPP },
	[LX_INTERNAL] = { "INTERNAL", EIO },
	[LX_UNAVAILABLE] = { "UNAVAILABLE", EHOSTUNREACH },
	[LX_DATA_LOSS] = { "DATA_LOSS", EBADMSG },
	[LX_UNAUTHENTICATED] = { "UNAUTHENTICATED", EKEYREJECTED },
};

int lx_code_errno(enum lx_code code)
{
	unsigned n = (unsigned)code;

	return n < sizeof(codes) / sizeof(codes[0]) ? -codes[n].errnum : -EIO;
}

const char *lx_code_name(enum lx_code code)
{
	unsigned n = (unsigned)code;

	return n < sizeof(codes) / sizeof(codes[0]) ? codes[n].name : "UNKNOWN";
}

enum lx_code lx_errno_code(int errnum)
{
	switch (abs(errnum)) {
	case 0:
		return LX_OK;
	case ENOENT:
		return LX_NOT_FOUND;
	case EEXIST:
		return LX_ALREADY_EXISTS;
	case ENOSPC:
	case EDQUOT:
	case ENOMEM:
	case EMFILE:
	case ENFILE:
		return LX_RESOURCE_EXHAUSTED;
	case EACCES:
	case EPERM:
		return LX_PERMISSION_DENIED;
	case EINVAL:
		return LX_INVALID_ARGUMENT;
	case ERANGE:
		return LX_OUT_OF_RANGE;
	case ETIMEDOUT:
		return LX_DEADLINE_EXCEEDED;
	case ECANCELED:
		return LX_CANCELLED;
	case EBUSY:
		return LX_FAILED_PRECONDITION;
	case EAGAIN:
		return LX_ABORTED;
	case EOPNOTSUPP:
		return LX_UNIMPLEMENTED;
	case EBADMSG:
		return LX_DATA_LOSS;
	case EKEYREJECTED:
		return LX_UNAUTHENTICATED;
	case ECONNREFUSED:
	case ECONNRESET:
	case ECONNABORTED:
	case ENOTCONN:
	case EPIPE:
	case EHOSTUNREACH:
		return LX_UNAVAILABLE;
	default:
		return LX_INTERNAL;
	}
}
