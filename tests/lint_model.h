/*
 * What the analyzer cannot see across files: making an error never returns 0, and it sets the
 * code. Included in front of every file by `make lint`, and nowhere else.
 */
#include "lib/err.h"

static inline int lint_failed(struct lx_err *err, enum lx_code code)
{
	if (err)
		err->code = code;
	return -1;
}

#define lx_err_set(err, code, ...) ((lx_err_set)((err), (code), __VA_ARGS__), lint_failed((err), (code)))
#define lx_err_errno(err, number, ...)                                                                       \
	((lx_err_errno)((err), (number), __VA_ARGS__), lint_failed((err), LX_INTERNAL))
#define lx_err_oom(err) ((lx_err_oom)(err), lint_failed((err), LX_RESOURCE_EXHAUSTED))
