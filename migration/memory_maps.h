/* Which mappings of a process are copied ahead of its dump. Pure. */
#ifndef LX_MIGRATION_MEMORY_MAPS_H
#define LX_MIGRATION_MEMORY_MAPS_H

#include "lib/str.h"
#include "migration/proc_text.h"

/* Smaller ones are not worth the trouble. */
#define LX_MAP_AHEAD_MIN (64u * 1024)

/* Private and of no file (what is shared has one); not a stack, nor the kernel's own. */
static inline bool lx_map_goes_ahead(const struct lx_proc_map *map)
{
	return map->end >= map->start + LX_MAP_AHEAD_MIN &&
	       (map->path_len == 0 || lx_starts_with(map->path, "[heap]\n") ||
		lx_starts_with(map->path, "[anon:"));
}

#endif
