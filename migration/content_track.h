/*
 * Which pages of a process are not what was sent of them: by comparing contents, for kernels
 * that do not tell of writes (write_track.h). The process is not touched, and pays nothing; who
 * asks reads all its memory each time, once more while it stands still.
 *
 * Contents are known by their hash (tree_hash.h). A guest that makes two of its pages agree
 * deceives itself alone: its own memory is wrong afterwards.
 */
#ifndef LX_MIGRATION_CONTENT_TRACK_H
#define LX_MIGRATION_CONTENT_TRACK_H

#include <sys/types.h>

#include "lib/err.h"
#include "migration/page_runs.h"

struct lx_page_hash;

struct lx_content_track {
	pid_t pid;
	int pagemap;                /* -1: closed */
	struct lx_page_hash *table; /* by address */
	size_t n, room;             /* room: a power of two, or 0 */
};

#define LX_CONTENT_TRACK_NONE ((struct lx_content_track){ .pagemap = -1 })

int lx_content_track_open(pid_t pid, struct lx_content_track *ret, struct lx_err *err);
void lx_content_track_close(struct lx_content_track *t);

/* That has been sent as the content of whole pages from `address` on. 0 or -ENOMEM. */
int lx_content_track_sent(struct lx_content_track *t, uint64_t address, const void *data, size_t len);

/* Pages that are there and are not what was sent of them, in `ret` (emptied first). */
int lx_content_track_take(struct lx_content_track *t, struct lx_page_runs *ret, struct lx_err *err);

/*
 * Of a process that stands still: pages something was sent of, in `watched`, and those of them
 * that are something else now, in `written`.
 */
int lx_content_track_look(struct lx_content_track *t, struct lx_page_runs *watched,
			  struct lx_page_runs *written, struct lx_err *err);

#endif
