/*
 * Which pages of a process are not what was sent of them: by comparing contents, for kernels
 * that do not tell of writes (write_track.h). The process is not touched, and pays nothing; who
 * asks reads all its memory each time, once more while it stands still.
 *
 * Where the kernel marks pages that are written to (soft_dirty.h), a page is only read when it
 * has a mark, or lies in another frame of memory than when it was last looked at: moved mappings
 * bring unmarked pages along, and merging equal pages (KSM) takes marks away. The second look
 * reads all the same, since what was already on its way into memory when the marks were taken
 * away (direct I/O) leaves none. Marks that vanish while the frame stays were taken away by
 * somebody else: from then on all is read.
 *
 * Contents are known by their hash (tree_hash.h). A guest that makes two of its pages agree, or
 * takes away its own marks, deceives itself alone: its own memory is wrong afterwards.
 */
#ifndef LX_MIGRATION_CONTENT_TRACK_H
#define LX_MIGRATION_CONTENT_TRACK_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/err.h"
#include "migration/page_runs.h"

struct lx_page_hash;

enum lx_content_marks {
	LX_MARKS_NONE,  /* all is read */
	LX_MARKS_CLEAR, /* they are taken away first: only while nothing has been sent of any process, two
			   may share their memory */
	LX_MARKS_KEEP,  /* they count from whenever they were last taken away */
};

struct lx_content_track {
	pid_t pid;
	int pagemap; /* -1: closed */
	bool marks;  /* what has none may be left unread */
	bool lost;   /* ... not any more: some have vanished */
	unsigned takes;
	struct lx_page_hash *table; /* by address */
	size_t n, room;             /* room: a power of two, or 0 */
};

#define LX_CONTENT_TRACK_NONE ((struct lx_content_track){ .pagemap = -1 })

int lx_content_track_open(pid_t pid, enum lx_content_marks marks, struct lx_content_track *ret,
			  struct lx_err *err);
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
