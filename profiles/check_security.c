/*
 * Checking the values of security.*: names of system calls and capabilities, and what goes to
 * a security module. A wrong name is answered with the nearest right one.
 */
#include "profiles/check.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "profiles/capabilities.h"
#include "profiles/syscalls.h"
#include "profiles/value.h"

/* The kernel's own bound on a label (AppArmor: a page, SELinux: less). */
#define LABEL_MAX 255

static int refuse(struct lx_err *err, const char *name, const char *value, const char *fault)
{
	struct lx_shown s;

	return lx_err_set(err, LX_INVALID_ARGUMENT, "%s: %s %s", name, lx_value_show(&s, value), fault);
}

/* ------------------------------------------------------------------ system calls */

static int check_syscall(const char *name, const char *call, struct lx_err *err)
{
	if (lx_syscall_exists(call))
		return 0;
	lx_autofree char *nearest = lx_syscall_nearest(call);
	int r = refuse(err, name, call, "is not a system call");

	if (nearest)
		lx_err_hint(err,
			    "Did you mean %s? Names are as in syscalls(2), separated by blanks or commas.",
			    nearest);
	else
		lx_err_hint(err, "Names are as in syscalls(2), separated by blanks or commas: "
				 "\"keyctl,add_key\".");
	return r;
}

static int check_movable(const char *name, const char *call, struct lx_err *err)
{
	for (const struct lx_syscall_answer *u = lx_syscalls_unmovable; u->name; u++) {
		if (strcmp(u->name, call) != 0)
			continue;
		int r = refuse(err, name, call,
			       "cannot be allowed: what it makes cannot be moved to another node");

		lx_err_hint(err, "Leave it out: programs that look for it find it missing and do without.");
		return r;
	}
	return 0;
}

static int check_calls(const char *name, const char *value, bool allowing, struct lx_err *err)
{
	const char *call;
	size_t n;
	int r = 0;

	while (r == 0 && (n = lx_syscalls_next(&value, &call)) > 0) {
		lx_autofree char *text = strndup(call, n);

		if (!text)
			return lx_err_oom(err);
		if (allowing && strcmp(text, LX_SYSCALLS_GUEST) == 0)
			continue;
		r = n > LX_SYSCALL_NAME_MAX ? refuse(err, name, text, "is not a system call")
					    : check_syscall(name, text, err);
		if (r == 0 && allowing)
			r = check_movable(name, text, err);
	}
	return r;
}

int lx_check_syscalls(const struct lx_config_key *key, const char *name, const char *value,
		      struct lx_err *err)
{
	return check_calls(name, value, false, err);
}

int lx_check_syscalls_allowed(const struct lx_config_key *key, const char *name, const char *value,
			      struct lx_err *err)
{
	return check_calls(name, value, true, err);
}

/* ------------------------------------------------------------------ capabilities */

int lx_check_capabilities(const struct lx_config_key *key, const char *name, const char *value,
			  struct lx_err *err)
{
	const char *list = value, *found;
	size_t n;

	while ((n = lx_syscalls_next(&list, &found)) > 0) {
		if (lx_capability_find(found, n) >= 0)
			continue;
		lx_autofree char *text = strndup(found, n);

		if (!text)
			return lx_err_oom(err);
		if (key->values && strcmp(text, key->values[0]) == 0 && strcmp(value, text) == 0)
			continue;
		const char *nearest = lx_nearest(text, lx_capability_names, lx_n_capability_names);
		int r = refuse(err, name, text, "is not a capability");

		lx_err_hint(err,
			    "%s%s%sNames are as in capabilities(7), separated by blanks or commas: "
			    "\"net_raw,sys_ptrace\"%s.",
			    nearest ? "Did you mean " : "", nearest ? nearest : "", nearest ? "? " : "",
			    key->values ? "; or none" : "");
		return r;
	}
	return 0;
}

/* ------------------------------------------------------------------ security modules */

/* A profile of the administrator's own: what the kernel takes as a label, and liblxc's file as a value. */
static bool is_label(const char *s, const char *also)
{
	for (const char *p = s; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr(also, *p))
			return false;
	return *s && strlen(s) <= LABEL_MAX;
}

int lx_check_apparmor(const struct lx_config_key *key, const char *name, const char *value,
		      struct lx_err *err)
{
	for (const char *const *v = key->values; *v; v++)
		if (strcmp(*v, value) == 0)
			return 0;
	if (is_label(value, "-_./") && !isdigit((unsigned char)value[0]) && value[0] != '-' &&
	    strcmp(value, "generated") != 0)
		return 0;
	int r = refuse(err, name, value, "is neither a mode nor the name of a profile");

	lx_err_hint(err,
		    "Use auto, enforce, complain, unconfined, or the name of a profile that is loaded on "
		    "the nodes: letters, digits and -_./");
	return r;
}

/*
 * Rules. Whether they compile, and make one profile, is asked where there is a compiler. Here what could
 * break out of the profile is found, and what would have the compiler, which is root of a node, read
 * files of an operator's choosing: a device that is opened does something, a pipe never ends. How the
 * compiler reads quotes is not relied on for that.
 */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool begins_word(const char *line, const char *p)
{
	return p == line || is_blank(p[-1]) || strchr(",\"'()<>{}#", p[-1]);
}

static bool is_word(const char *line, const char *p, const char *word)
{
	size_t n = strlen(word);

	return strncmp(p, word, n) == 0 && begins_word(line, p) && (is_blank(p[n]) || strchr("<\"\n", p[n]));
}

/* The length of what it stands for when it is "<NAME>" below the compiler's own directory, else 0. */
static size_t included_by_name(const char *p)
{
	size_t n = strspn(p + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+./");

	if (p[0] != '<' || n == 0 || p[1] == '/' || p[n + 1] != '>')
		return 0;
	for (const char *q = p + 1; q < p + n; q++)
		if (q[0] == '.' && q[1] == '.')
			return 0;
	return n + 2;
}

/* A line that is an include and nothing else; *ret_len is how long it is without a remark behind. */
static bool is_plain_include(const char *line, size_t *ret_len)
{
	const char *p = line + strspn(line, " \t");

	p += *p == '#';
	if (strncmp(p, "include", strlen("include")) != 0)
		return false;
	p += strlen("include");
	p += strspn(p, " \t");
	if (strncmp(p, "if exists", strlen("if exists")) == 0) {
		p += strlen("if exists");
		p += strspn(p, " \t");
	}
	size_t n = included_by_name(p);

	if (n == 0)
		return false;
	p += n;
	p += strspn(p, " \t");
	*ret_len = (size_t)(p - line);
	return *p == '\0' || *p == '\n' || (*p == '#' && strncmp(p, "#include", strlen("#include")) != 0);
}

static int refuse_rules(struct lx_err *err, const char *name, const char *fault, const char *cure)
{
	int r = lx_err_set(err, LX_INVALID_ARGUMENT, "%s: %s", name, fault);

	lx_err_hint(err, "%s", cure);
	return r;
}

static int refuse_block(struct lx_err *err, const char *name)
{
	return refuse_rules(err, name, "it opens or closes a profile of its own",
			    "Give rules alone, one a line: they are put into the instance's profile.");
}

static int check_rule(const char *name, const char *line, size_t len, struct lx_err *err)
{
	bool quoted = false, quotes = false;
	unsigned depth = 0;
	size_t skip;

	if (is_plain_include(line, &skip))
		return 0;
	for (const char *p = line; p < line + len; p++) {
		if (iscntrl((unsigned char)*p) && *p != '\t')
			return lx_err_set(err, LX_INVALID_ARGUMENT, "%s: there is a control character in it",
					  name);
		if (is_word(line, p, "include") || is_word(line, p, "abi"))
			return refuse_rules(
				err, name, "it includes a file of the node's",
				"Write the rules themselves; or, alone on a line, include <NAME> of "
				"what is in the node's /etc/apparmor.d.");
		if (*p == '#' && !quotes && strncmp(p, "#include", strlen("#include")) != 0)
			return 0; /* a remark */
		if (*p == '"') {
			quotes = true;
			quoted = !quoted;
		} else if (quoted) {
			continue;
		} else if (is_blank(*p)) {
			depth = 0;
		} else if (*p == '{') {
			/* Those of alternatives and variables are within a word. */
			if (depth == 0 && (begins_word(line, p)))
				return refuse_block(err, name);
			depth++;
		} else if (*p == '}' && depth-- == 0) {
			return refuse_block(err, name);
		}
	}
	return 0;
}

int lx_check_apparmor_rules(const struct lx_config_key *key, const char *name, const char *value,
			    struct lx_err *err)
{
	int r = 0;

	for (const char *line = value; r == 0 && *line;) {
		size_t len = strcspn(line, "\n");

		r = check_rule(name, line, len, err);
		line += len + (line[len] == '\n');
	}
	return r;
}

int lx_check_selinux(const struct lx_config_key *key, const char *name, const char *value, struct lx_err *err)
{
	unsigned colons = 0;

	for (const char *p = value; *p; p++)
		colons += *p == ':';
	if (is_label(value, "_-.:,") && colons >= 2 && value[0] != ':' && !strstr(value, "::"))
		return 0;
	int r = refuse(err, name, value, "is not an SELinux context");

	lx_err_hint(
		err,
		"It is USER:ROLE:TYPE or USER:ROLE:TYPE:LEVEL, like system_u:system_r:container_t:s0:c1,c2");
	return r;
}
