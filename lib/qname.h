/*
 * Names of two parts. What is named within a scope is known outside of it by a qualified name:
 * SCOPE_NAME, or NAME alone in the scope "default". A '_' is in no name, so nothing is
 * ambiguous, and all that was named before there were scopes keeps its name.
 *
 * Both parts together are as long as one name may be: whatever has room for a name has room
 * for a qualified one.
 */
#ifndef LX_LIB_QNAME_H
#define LX_LIB_QNAME_H

#include "lib/err.h"
#include "lib/str.h"

#define LX_QNAME_DEFAULT   "default"
#define LX_QNAME_SEPARATOR '_'
#define LX_QNAME_MAX       LX_NAME_MAX
/* So much of it a scope takes at most; the rest is left to names in it. */
#define LX_QNAME_SCOPE_MAX 32

/* NULL and "" are the default scope. False when it does not fit: `out` is cut then. */
bool lx_qname_make(const char *scope, const char *name, char out[LX_QNAME_MAX + 1]);
/* A name, or two of them. `what` names the kind of thing in the message. 0 or -EINVAL. */
int lx_qname_check(const char *what, const char *qname, struct lx_err *err);
/* The name in its scope; points into `qname`. */
const char *lx_qname_leaf(const char *qname);
/*
 * A text for people, in which each qualified name that `known` knows is the name alone: "cannot start
 * shop_web1" is "cannot start web1". Parts of paths stay as they are, and so does what is longer than
 * `n`, which counts the NUL: it is cut. `text` and `out` may be the same.
 */
void lx_qname_reword(const char *text, bool (*known)(const char *qname, void *arg), void *arg, char *out,
		     size_t n);
/* The scope, "default" when there is none. Returns out. */
const char *lx_qname_scope(const char *qname, char out[LX_QNAME_SCOPE_MAX + 1]);

#endif
