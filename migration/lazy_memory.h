/*
 * Memory of a restored process that is put in place while it runs (userfaultfd(2), MISSING).
 * CRIU has registered it; what is touched and not there yet, and what the process does to its
 * address space meanwhile, is read from the descriptor. Contents come out of the image of its
 * memory (page_image.h).
 *
 * With post-copy some of an image has not come yet (late_pages.h): a page of that is put in place
 * as it comes, and who touches it earlier waits.
 *
 * The kernel refuses to put a page in place (EAGAIN) as long as it waits for somebody to read
 * what has become of the address space: order follows from that.
 */
#ifndef LX_MIGRATION_LAZY_MEMORY_H
#define LX_MIGRATION_LAZY_MEMORY_H

#include "lib/err.h"
#include "migration/late_pages.h"
#include "migration/lazy_ranges.h"

/* Bytes that are put in place at once: as long as that takes somebody else waits for a page. */
#define LX_LAZY_CHUNK (256u << 10)

struct lx_lazy_memory {
	int uffd;
	int pages; /* the image, or -1: there is none, and no ranges */
	uint32_t pages_id;
	struct lx_lazy_ranges ranges;
	const struct lx_late_pages *late; /* of the image, the caller's; NULL: all of it is here */
	uint64_t wanted; /* lx_lazy_memory_serve(): somebody waits for this page of the image; 0: nobody */
};

/*
 * Of the process with that number in the dump, whose list and pages are in `images`, a
 * directory; one that has none there has nothing to wait for. Takes over `uffd` in any case.
 */
int lx_lazy_memory_open(int images, int pid, int uffd, struct lx_lazy_memory *ret, struct lx_err *err);
void lx_lazy_memory_release(struct lx_lazy_memory *m);

/*
 * Reads one message, if there is one, and does what it asks for. 1: it has forked, and `child`
 * is the new process's; 0; negative with err.
 */
int lx_lazy_memory_serve(struct lx_lazy_memory *m, struct lx_lazy_memory *child, struct lx_err *err);

/*
 * Puts the next chunk in place. 1: there was none left, but for what has not come yet; 0;
 * negative with err.
 */
int lx_lazy_memory_step(struct lx_lazy_memory *m, struct lx_err *err);

/* These pages of the image have come, and `late` says so: into place with them. */
int lx_lazy_memory_came(struct lx_lazy_memory *m, uint64_t start, uint64_t end, struct lx_err *err);

#endif
