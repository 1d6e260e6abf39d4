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

/* What names are made of, and what paths and longer words are made of besides. */
static bool is_of_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == LX_QNAME_SEPARATOR;
}

static bool is_of_word(char c)
{
	return is_of_name(c) || (c >= 'A' && c <= 'Z') || c == '/' || c == '@';
}

/* Length of the qualified name that begins here, and that somebody knows; 0: none does. */
static size_t known_at(const char *at, bool (*known)(const char *qname, void *arg), void *arg)
{
	char name[LX_QNAME_MAX + 1];
	size_t len = 0;

	while (is_of_name(at[len]))
		len++;
	if (len == 0 || len > LX_QNAME_MAX || is_of_word(at[len]))
		return 0;
	memcpy(name, at, len);
	name[len] = '\0';
	return strchr(name, LX_QNAME_SEPARATOR) && known(name, arg) ? len : 0;
}

void lx_qname_reword(const char *text, bool (*known)(const char *qname, void *arg), void *arg, char *out,
		     size_t n)
{
	size_t to = 0;
	char before = '\0';

	/* What is written is never more than what was read. */
	while (*text && to + 1 < n) {
		size_t len = is_of_word(before) ? 0 : known_at(text, known, arg);

		if (len)
			text += (size_t)(lx_qname_leaf(text) - text);
		before = *text;
		out[to++] = *text++;
	}
	out[to] = '\0';
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
