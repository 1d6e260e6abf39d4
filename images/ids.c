/* Names to numbers. A number is kept as a pointer's value, one more than itself, so that 0 is not NULL. */
#include "images/ids.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "images/unpack.h"
#include "lib/cleanup.h"
#include "lib/str.h"

void lx_ids_init(struct lx_ids *ids)
{
	lx_map_init(&ids->users, NULL);
	lx_map_init(&ids->groups, NULL);
}

void lx_ids_release(struct lx_ids *ids)
{
	lx_map_release(&ids->users);
	lx_map_release(&ids->groups);
}

static int parse_line(struct lx_map *which, char *line)
{
	char *name = strsep(&line, ":");
	uint64_t id;

	/* The password's field. */
	strsep(&line, ":");
	char *number = strsep(&line, ":");

	if (!number || !*name || lx_parse_u64(number, &id) < 0 || id > LX_IMAGE_ID_MAX ||
	    lx_map_has(which, name))
		return 0;
	return lx_map_set(which, name, (void *)(uintptr_t)(id + 1));
}

int lx_ids_parse(struct lx_map *which, const char *text)
{
	lx_autofree char *copy = strdup(text);
	char *at = NULL;

	if (!copy)
		return -ENOMEM;
	for (char *line = strtok_r(copy, "\n", &at); line; line = strtok_r(NULL, "\n", &at)) {
		int r = parse_line(which, line);

		if (r < 0)
			return r;
	}
	return 0;
}

int lx_ids_find(const struct lx_map *which, const char *name)
{
	return (int)(uintptr_t)lx_map_get(which, name) - 1;
}
