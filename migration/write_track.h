/*
 * Which pages of a process have been written to: by write protection that the kernel takes away
 * by itself and tells of (userfaultfd(2) with UFFD_FEATURE_WP_ASYNC, PAGEMAP_SCAN in
 * Documentation/admin-guide/mm/pagemap.rst; Linux 6.7).
 *
 * Only private anonymous memory is looked at, and of it what is large enough to be worth it;
 * the rest counts as written. The descriptor is made by the process itself (remote_uffd.h); it
 * keeps nothing. While it is open, a write to a page that has not been written since the last
 * scan costs the process a page fault.
 */
#ifndef LX_MIGRATION_WRITE_TRACK_H
#define LX_MIGRATION_WRITE_TRACK_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/err.h"
#include "migration/page_runs.h"

struct lx_write_track {
	pid_t pid;
	int uffd, pagemap; /* -1: closed */
};

#define LX_WRITE_TRACK_NONE ((struct lx_write_track){ .uffd = -1, .pagemap = -1 })

/* Whether this kernel can, tried on this process itself. */
bool lx_write_track_possible(void);

int lx_write_track_open(pid_t pid, struct lx_write_track *ret, struct lx_err *err);
/* The process's pages are no longer protected. */
void lx_write_track_close(struct lx_write_track *t);

/*
 * Pages that are there and have been written to since the last such call, in `ret` (emptied
 * first): all of them the first time. From now on it is noted anew. What is written while this
 * goes on is in this call's answer or in the next one's. After a failure some pages may have
 * lost their mark without having been told of: close it then.
 */
int lx_write_track_take(struct lx_write_track *t, struct lx_page_runs *ret, struct lx_err *err);

/*
 * Of a process that stands still: memory that has been watched without a gap since the last
 * lx_write_track_take(), in `watched`, and what has been written of it, in `written`.
 */
int lx_write_track_look(struct lx_write_track *t, struct lx_page_runs *watched, struct lx_page_runs *written,
			struct lx_err *err);

#endif
