/*
 * Errors that name cause and cure.
 *
 * A function that can fail returns 0 or a negative errno and takes a
 * `struct lx_err *` as its last argument. The error is filled exactly once,
 * where the cause is known (lx_err_set), and gets context on its way up
 * (lx_err_wrap: "cannot start web1: cannot mount the root file system: ...").
 * On success the error is left untouched. Every function here accepts NULL.
 *
 * An error owns no memory: it can live on the stack, be copied by assignment
 * and needs no release. Text that does not fit is cut at a character boundary.
 */
#ifndef LX_LIB_ERR_H
#define LX_LIB_ERR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * What kind of failure it is, in the numbering of gRPC's status codes
 * (https://grpc.github.io/grpc/core/md_doc_statuscodes.html), so that an error
 * crosses the wire without translation.
 */
enum lx_code {
	LX_OK = 0,
	LX_CANCELLED = 1,
	LX_UNKNOWN = 2,
	LX_INVALID_ARGUMENT = 3,
	LX_DEADLINE_EXCEEDED = 4,
	LX_NOT_FOUND = 5,
	LX_ALREADY_EXISTS = 6,
	LX_PERMISSION_DENIED = 7,
	LX_RESOURCE_EXHAUSTED = 8,
	LX_FAILED_PRECONDITION = 9,
	LX_ABORTED = 10,
	LX_OUT_OF_RANGE = 11,
	LX_UNIMPLEMENTED = 12,
	LX_INTERNAL = 13,
	LX_UNAVAILABLE = 14,
	LX_DATA_LOSS = 15,
	LX_UNAUTHENTICATED = 16,
};

#define LX_ERR_MSG_MAX  768
#define LX_ERR_HINT_MAX 384

struct lx_err {
	enum lx_code code;
	char msg[LX_ERR_MSG_MAX];   /* what went wrong, with the subject's name; no control characters */
	char hint[LX_ERR_HINT_MAX]; /* what to do about it; may be empty */
};

#define LX_ERR_INIT ((struct lx_err){ .code = LX_OK })

/* Fills an error. Returns a negative errno that fits `code` (for `return lx_err_set(...)`). */
int lx_err_set(struct lx_err *err, enum lx_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int lx_err_vset(struct lx_err *err, enum lx_code code, const char *fmt, va_list ap);

/*
 * Fills an error from an errno (positive or negative): the text gets ": <strerror>"
 * appended and the code is derived from it (ENOENT: NOT_FOUND, EEXIST:
 * ALREADY_EXISTS, ENOSPC/EDQUOT/ENOMEM/EMFILE: RESOURCE_EXHAUSTED, EACCES/EPERM:
 * PERMISSION_DENIED, EINVAL: INVALID_ARGUMENT, ETIMEDOUT: DEADLINE_EXCEEDED,
 * ECANCELED: CANCELLED, EBUSY: FAILED_PRECONDITION, ECONN*, EPIPE, EHOSTUNREACH:
 * UNAVAILABLE, else INTERNAL). ENOSPC and EDQUOT set a hint about disk space.
 * Returns -errnum.
 */
int lx_err_errno(struct lx_err *err, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* -ENOMEM with a constant message. */
int lx_err_oom(struct lx_err *err);

/* Sets or replaces the hint. A full sentence: "Start it first: lxmgr start web1". */
void lx_err_hint(struct lx_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Prepends context: msg becomes "<context>: <msg>". */
void lx_err_wrap(struct lx_err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The negative errno that stands for a code (LX_OK: 0). */
int lx_code_errno(enum lx_code code);

/* The code that stands for an errno, positive or negative (0: LX_OK). */
enum lx_code lx_errno_code(int errnum);

/* "NOT_FOUND" ...; unknown numbers give "UNKNOWN". */
const char *lx_code_name(enum lx_code code);

#endif
