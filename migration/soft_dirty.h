/*
 * Marks that the kernel puts on pages when they are written to: soft-dirty bits
 * (CONFIG_MEM_SOFT_DIRTY; Documentation/admin-guide/mm/soft-dirty.rst). Debian's kernels have them.
 *
 * A mark says that a page may have been written to since they were last taken away, and that can
 * only be done for all pages of a process at once, while it runs and writes: what it writes between
 * a look at the marks and their removal would be lost. So they are taken away once, before
 * anything is read, and never again; content_track.h compares what is marked.
 */
#ifndef LX_MIGRATION_SOFT_DIRTY_H
#define LX_MIGRATION_SOFT_DIRTY_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"

/* Bits of an entry of /proc/<pid>/pagemap: Documentation/admin-guide/mm/pagemap.rst. */
#define LX_PAGEMAP_FRAME   ((UINT64_C(1) << 55) - 1) /* or the place in swap */
#define LX_PAGEMAP_MARKED  (UINT64_C(1) << 55)
#define LX_PAGEMAP_SWAPPED (UINT64_C(1) << 62)
#define LX_PAGEMAP_PRESENT (UINT64_C(1) << 63)

/*
 * NULL: this kernel can. Else why not. Tried once, on a process made for it: the marks of one that
 * is itself being moved, from outside, are not ours to take away.
 */
const char *lx_soft_dirty_missing(void);

/* Takes them away. `proc`: the directory of the process in /proc. 0 or a negative errno. */
int lx_soft_dirty_clear(int proc);

#endif
