/* /proc/PID/status, as proc(5) describes it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/worker/intercept/caller.h"

/* What follows "\n<name>:"; the first line is "Name:", whose text the program chooses, newlines escaped. */
static const char *field(const char *status, const char *name)
{
	char key[32];

	snprintf(key, sizeof(key), "\n%s:", name);
	const char *p = strstr(status, key);

	return p ? p + strlen(key) : NULL;
}

/* Real, effective, saved, and the one for files. */
static int fourth(const char *text, unsigned *ret)
{
	for (int i = 0; i < 4; i++) {
		char *end;

		if (!text)
			return -EINVAL;
		*ret = (unsigned)strtoul(text, &end, 10);
		if (end == text)
			return -EINVAL;
		text = end;
	}
	return 0;
}

static int read_groups(const char *text, struct lx_caller *ret)
{
	if (!text)
		return -EINVAL;
	for (;;) {
		while (*text == ' ' || *text == '\t')
			text++;
		if (*text == '\n' || *text == '\0')
			return 0;
		char *end;
		unsigned long id = strtoul(text, &end, 10);

		if (end == text)
			return -EINVAL;
		if (ret->n_groups == LX_CALLER_GROUPS_MAX)
			return -E2BIG;
		ret->groups[ret->n_groups++] = (gid_t)id;
		text = end;
	}
}

static int read_number(const char *text, int base, uint64_t *ret)
{
	char *end;

	if (!text)
		return -EINVAL;
	*ret = strtoull(text, &end, base);
	return end == text ? -EINVAL : 0;
}

int lx_caller_parse(const char *status, struct lx_caller *ret)
{
	uint64_t mask = 0;
	int r = fourth(field(status, "Uid"), &ret->uid);

	ret->n_groups = 0;
	if (r == 0)
		r = fourth(field(status, "Gid"), &ret->gid);
	if (r == 0)
		r = read_groups(field(status, "Groups"), ret);
	if (r == 0)
		r = read_number(field(status, "Umask"), 8, &mask);
	ret->umask = (mode_t)mask & 0777;
	if (r == 0)
		r = read_number(field(status, "CapEff"), 16, &ret->capabilities);
	return r;
}
