/*
 * The users and groups an image itself knows: /etc/passwd and /etc/group of its root file
 * system. Some archives name who is in an access list instead of numbering them. Pure.
 */
#ifndef LX_IMAGES_IDS_H
#define LX_IMAGES_IDS_H

#include "lib/map.h"

#define LX_IDS_FILE_MAX (1024 * 1024)

struct lx_ids {
	struct lx_map users, groups; /* private values */
};

void lx_ids_init(struct lx_ids *ids);
void lx_ids_release(struct lx_ids *ids);
/* Adds what "name:password:id:..." lines say; others are passed over. 0 or -ENOMEM. */
int lx_ids_parse(struct lx_map *which, const char *text);
/* -1 when there is no such name. */
int lx_ids_find(const struct lx_map *which, const char *name);

#endif
