/* How a live move copies memory: what an instance wants, and what this kernel can. */
#ifndef LX_MIGRATION_MEMORY_CHOICE_H
#define LX_MIGRATION_MEMORY_CHOICE_H

#include <stdbool.h>

#include "lxmgr/v1/migration.pb-c.h"

/* Below that it is quicker to copy all of a guest's memory while it stands still. */
#define LX_MEMORY_AHEAD_MIN (UINT64_C(32) << 20)

#define LX_MEMORY_REASON_MAX 256

/*
 * `wanted`: the value of migration.memory, or NULL. Tries the kernel on this process, and on a
 * child. `why`, or NULL: in words.
 */
Lxmgr__V1__MoveMemory lx_memory_choice(const char *wanted, uint64_t bytes, char why[LX_MEMORY_REASON_MAX]);
/*
 * Post-copy has been asked for: is there enough memory for it? `why`, which has why `ahead` comes
 * before it, says that it does.
 */
bool lx_memory_postcopy(Lxmgr__V1__MoveMemory ahead, uint64_t bytes, char why[LX_MEMORY_REASON_MAX]);

#endif
