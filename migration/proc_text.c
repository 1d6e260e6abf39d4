/*
 * Reading the texts of /proc. Lines are looked for by their names, because kernels add some;
 * a value that is missing stays 0 unless nothing can be said without it.
 */
#include "migration/proc_text.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"

/* Bytes of the UTF-8 sequence at p that must not leave `left`, or 0 when it is none. */
static size_t utf8_len(const unsigned char *p, size_t left)
{
	size_t n = p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc2 ? 2 : 0;

	if (p[0] >= 0xf5 || !n || n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	/* Overlong forms, surrogates, beyond U+10FFFF, and the control characters of Latin-1. */
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
	    (p[0] == 0xf4 && p[1] > 0x8f) || (p[0] == 0xc2 && p[1] < 0xa0))
		return 0;
	return n;
}

void lx_proc_printable(const char *text, size_t len, char *out, size_t n)
{
	const unsigned char *p = (const unsigned char *)text, *end = p + len;
	size_t at = 0;

	while (p < end) {
		size_t take = *p >= 0x80 ? utf8_len(p, (size_t)(end - p)) : 1;

		if (at + (take ? take : 1) >= n)
			break;
		if (!take || *p < ' ' || *p == 0x7f) {
			out[at++] = '?';
			p++;
			continue;
		}
		memcpy(out + at, p, take);
		at += take;
		p += take;
	}
	out[at] = '\0';
}

/* The value of the line "<key>:<blanks>value", or NULL. Ends with the line. */
static const char *value_of(const char *text, const char *key)
{
	size_t n = strlen(key);

	for (const char *line = text; line && *line;) {
		if (strncmp(line, key, n) == 0 && line[n] == ':') {
			line += n + 1;
			return line + strspn(line, " \t");
		}
		line = strchr(line, '\n');
		if (line)
			line++;
	}
	return NULL;
}

static long number_of(const char *text, const char *key, int base)
{
	const char *v = value_of(text, key);

	return v ? strtol(v, NULL, base) : 0;
}

/* The last of a line's numbers: in the innermost namespace. */
static pid_t last_of(const char *text, const char *key)
{
	const char *v = value_of(text, key);
	long last = 0;

	while (v && isdigit((unsigned char)*v)) {
		char *end;

		last = strtol(v, &end, 10);
		v = end + strspn(end, " \t");
	}
	return (pid_t)last;
}

int lx_proc_status_parse(const char *text, struct lx_proc_status *ret)
{
	const char *name = value_of(text, "Name"), *state = value_of(text, "State");

	memset(ret, 0, sizeof(*ret));
	if (!name || !state || !value_of(text, "PPid"))
		return -EBADMSG;
	lx_proc_printable(name, strcspn(name, "\n"), ret->name, sizeof(ret->name));
	ret->state = *state;
	ret->parent = (pid_t)number_of(text, "PPid", 10);
	ret->tracer = (pid_t)number_of(text, "TracerPid", 10);
	ret->inside = last_of(text, "NSpid");
	ret->session = last_of(text, "NSsid");
	ret->anonymous = (uint64_t)number_of(text, "RssAnon", 10) * 1024;
	return 0;
}

void lx_proc_fdinfo_parse(const char *text, struct lx_proc_fdinfo *ret)
{
	ret->flags = (unsigned int)number_of(text, "flags", 8);
	ret->pid = (pid_t)number_of(text, "Pid", 10);
}

const char *lx_proc_map_next(const char *text, struct lx_proc_map *ret)
{
	if (!*text)
		return NULL;

	const char *end = strchrnul(text, '\n'), *p = text;
	size_t range = strcspn(p, " \n");

	*ret = (struct lx_proc_map){ .path = "" };
	if (range < sizeof(ret->range)) {
		char *dash;

		memcpy(ret->range, p, range);
		ret->start = strtoull(ret->range, &dash, 16);
		ret->end = *dash == '-' ? strtoull(dash + 1, NULL, 16) : ret->start;
		/* There without the zeros that stand before a low address here. */
		if (*dash == '-')
			snprintf(ret->range, sizeof(ret->range), "%" PRIx64 "-%" PRIx64, ret->start,
				 ret->end);
	}
	/* range perms offset dev inode path */
	for (int field = 0; field < 5; field++) {
		p += strcspn(p, " \n");
		p += strspn(p, " ");
	}
	if (p < end) {
		ret->path = p;
		ret->path_len = (size_t)(end - p);
	}
	return *end ? end + 1 : end;
}

/* Where a user's systemd is, below its unit: nothing that can be restarted by that name. */
static bool is_managers(const char *name, size_t len)
{
	static const char scope[] = "init.scope";

	return len == strlen(scope) && memcmp(name, scope, len) == 0;
}

void lx_proc_unit(const char *cgroup, char unit[LX_PROC_UNIT_MAX])
{
	static const char *const kinds[] = { ".service", ".scope", ".socket", ".mount", ".swap" };

	unit[0] = '\0';
	for (const char *p = cgroup; *p;) {
		size_t len = strcspn(p, "/");

		for (size_t i = 0; i < LX_ARRAY_SIZE(kinds); i++) {
			size_t k = strlen(kinds[i]);

			/* systemd puts "_" before a name that could be one of the kernel's files. */
			if (len > k && memcmp(p + len - k, kinds[i], k) == 0 &&
			    !(*unit && is_managers(p, len))) {
				size_t skip = *p == '_';

				lx_proc_printable(p + skip, len - skip, unit, LX_PROC_UNIT_MAX);
			}
		}
		p += len;
		p += *p == '/';
	}
}
