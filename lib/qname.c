/* Qualified names; see qname.h. */
#include "lib/qname.h"

#include <stdio.h>
#include <string.h>

bool lx_qname_make(const char *scope, const char *name, char out[LX_QNAME_MAX + 1])
{
	bool plain = lx_str_empty(scope) || lx_streq(scope, LX_QNAME_DEFAULT);
	int n = plain ? snprintf(out, LX_QNAME_MAX + 1, "%s", name)
		      : snprintf(out, LX_QNAME_MAX + 1, "%s%c%s", scope, LX_QNAME_SEPARATOR, name);

	return n >= 0 && n <= LX_QNAME_MAX;
}

const char *lx_qname_leaf(const char *qname)
{
	const char *at = strchr(qname, LX_QNAME_SEPARATOR);

	return at ? at + 1 : qname;
}

const char *lx_qname_scope(const char *qname, char out[LX_QNAME_SCOPE_MAX + 1])
{
	const char *at = strchr(qname, LX_QNAME_SEPARATOR);

	if (at)
		snprintf(out, LX_QNAME_SCOPE_MAX + 1, "%.*s", (int)(at - qname), qname);
	else
		snprintf(out, LX_QNAME_SCOPE_MAX + 1, "%s", LX_QNAME_DEFAULT);
	return out;
}

int lx_qname_check(const char *what, const char *qname, struct lx_err *err)
{
	const char *at = qname ? strchr(qname, LX_QNAME_SEPARATOR) : NULL;
	char scope[LX_QNAME_SCOPE_MAX + 1];

	if (!at)
		return lx_name_check(what, qname, err);
	if (strlen(qname) > LX_QNAME_MAX || at - qname > LX_QNAME_SCOPE_MAX ||
	    lx_name_check("", lx_qname_scope(qname, scope), NULL) < 0 || lx_streq(scope, LX_QNAME_DEFAULT) ||
	    lx_name_check("", at + 1, NULL) < 0)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "invalid %s name \"%.*s\"", what, LX_QNAME_MAX,
				  qname);
	return 0;
}
