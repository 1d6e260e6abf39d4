/* Labels as texts, see the header. */
#include "profiles/selinux.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/str.h"

#define CATEGORIES 1024

/* One level, "s0:c1,c3.c5", taken apart. */
struct level {
	char sensitivity[16];
	bool has[CATEGORIES];
	bool any;
};

/* The n-th of what colons separate; the last one (n = 3) has colons in it. "": there are not so many. */
static const char *part(const char *label, unsigned n)
{
	while (n > 0 && *label) {
		label += strcspn(label, ":");
		label += *label == ':';
		n--;
	}
	return label;
}

static bool is_type(const char *label, const char *type)
{
	const char *at = part(label, 2);
	size_t n = strcspn(at, ":");

	return n == strlen(type) && strncmp(at, type, n) == 0;
}

static bool is_among(const char *label, const char *const *types)
{
	while (*types && !is_type(label, *types))
		types++;
	return *types;
}

/* "s0-s0:c1,c2": processes may go up to the second. */
static const char *clearance(const char *label)
{
	const char *level = part(label, 3), *dash = strchr(level, '-');

	return dash ? dash + 1 : level;
}

static bool read_category(const char **at, unsigned long *ret)
{
	char *end;

	if (**at != 'c' || (*at)[1] < '0' || (*at)[1] > '9')
		return false;
	*ret = strtoul(*at + 1, &end, 10);
	*at = end;
	return *ret < CATEGORIES;
}

static bool read_level(const char *text, struct level *ret)
{
	size_t n = strcspn(text, ":");

	memset(ret, 0, sizeof(*ret));
	if (n == 0 || n >= sizeof(ret->sensitivity))
		return false;
	memcpy(ret->sensitivity, text, n);
	for (const char *at = text + n; *at;) {
		unsigned long first, last;

		at++; /* a colon before the first, commas before the others */
		if (!read_category(&at, &first))
			return false;
		last = first;
		if (*at == '.' && (at++, !read_category(&at, &last)))
			return false;
		if (last < first || (*at && *at != ','))
			return false;
		memset(ret->has + first, true, last - first + 1);
		ret->any = true;
	}
	return true;
}

bool lx_selinux_may_use(const char *context, const char *label)
{
	/* The last ones are of older policies. */
	static const char *const files[] = { LX_SELINUX_FILE_TYPE, "container_ro_file_t",
					     "container_share_t",  "svirt_sandbox_file_t",
					     "svirt_lxc_file_t",   NULL };
	static const char *const unbound[] = { "spc_t", "unconfined_t", "unconfined_service_t", NULL };
	struct level process, file;

	if (is_among(context, unbound))
		return true;
	if (!is_among(label, files))
		return false;
	if (!*part(context, 3))
		return true; /* a policy without levels */
	if (!read_level(clearance(context), &process) || !read_level(clearance(label), &file))
		return false;
	return lx_streq(process.sensitivity, file.sensitivity) &&
	       (!file.any || memcmp(process.has, file.has, sizeof(file.has)) == 0);
}

void lx_selinux_level(const char *context, bool shared, char out[LX_SELINUX_LEVEL_MAX])
{
	const char *level = clearance(context);

	snprintf(out, LX_SELINUX_LEVEL_MAX, "%.*s", shared ? (int)strcspn(level, ":") : (int)strlen(level),
		 level);
}
