/* Frames of a round of memory. */
#ifndef LX_WORKER_MOVE_MEMORY_SEND_H
#define LX_WORKER_MOVE_MEMORY_SEND_H

#include "agent/worker/move/memory.h"
#include "lib/buf.h"

/* A file begins, of what is copied ahead or of the dump itself. */
int lx_memory_send_begin(struct lx_memory *mem, Lxmgr__V1__DumpFile *file, struct lx_err *err);
/* Of the file that was begun last, at most LX_MOVE_CHUNK. */
int lx_memory_send_data(struct lx_memory *mem, uint64_t offset, const void *data, size_t len,
			struct lx_err *err);

/*
 * The contents of `pages` of a process. What is not there any more is left out: `got` (empty)
 * has what was sent.
 */
int lx_memory_send_pages(struct lx_memory *mem, struct lx_memory_process *p, const struct lx_page_runs *pages,
			 struct lx_page_runs *got, struct lx_err *err);
/* Which of its pages count; `prefix` is of the list's name. */
int lx_memory_send_list(struct lx_memory *mem, const struct lx_memory_process *p, const char *prefix,
			const struct lx_page_runs *pages, struct lx_err *err);
/* Pages that follow after the commit, at most LX_MOVE_CHUNK. All are there, or it fails. */
int lx_memory_send_late(struct lx_memory *mem, const struct lx_memory_process *p, uint64_t start,
			uint64_t end, struct lx_err *err);
/* A file out of memory, of what is copied ahead or of the dump itself. */
int lx_memory_send_file(struct lx_memory *mem, bool ahead, const char *name, const struct lx_buf *data,
			struct lx_err *err);

#endif
