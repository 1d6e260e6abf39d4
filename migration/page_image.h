/*
 * CRIU's page images: which pages of a process a dump has, and where (criu_image.proto).
 *
 * The contents of entries that are LX_PAGES_PRESENT follow each other in the pages file, in the
 * order of the entries. Those that are LX_PAGES_PARENT are looked for in the directory "parent"
 * beside the image, which again may have a parent.
 */
#ifndef LX_MIGRATION_PAGE_IMAGE_H
#define LX_MIGRATION_PAGE_IMAGE_H

#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "migration/page_runs.h"

#define LX_PAGE_SIZE 4096u

#define LX_PAGES_PARENT  1u
#define LX_PAGES_LAZY    2u
#define LX_PAGES_PRESENT 4u

/* Name of the directory, or the link to it, that holds what is LX_PAGES_PARENT. */
#define LX_PAGES_PARENT_DIR "parent"

/* Numbers of pages files of shared memory that is copied ahead. Those of processes, and CRIU's, count from 1.
 */
#define LX_SHARED_PAGES_FIRST (1u << 30)

struct lx_page_entry {
	uint64_t start, end;
	uint32_t flags;
};

struct lx_page_image {
	uint32_t pages_id;
	struct lx_page_entry *v;
	size_t n;
};

int lx_page_image_read(const void *data, size_t len, struct lx_page_image *ret, struct lx_err *err);
void lx_page_image_release(struct lx_page_image *image);
int lx_page_image_write(const struct lx_page_image *image, struct lx_buf *out, struct lx_err *err);

/*
 * The list for a pages file that is an image of the address space: the page at address A is at
 * offset A - LX_PAGE_SIZE, what is not there is a hole. Such a file can be written to in any
 * order and as often as one likes. `pages` are lazy; between them are entries for the holes,
 * which no reader asks for that goes by the lists of the dump.
 */
static inline uint64_t lx_page_image_offset(uint64_t address)
{
	return address - LX_PAGE_SIZE;
}

int lx_page_image_sparse(uint32_t pages_id, const struct lx_page_runs *pages, struct lx_buf *out,
			 struct lx_err *err);

/*
 * Takes what a dump left out for being lazy out of it: such entries become the parent's, and
 * their pages are appended to `ret`.
 */
int lx_page_image_lazy_to_parent(struct lx_page_image *image, struct lx_page_runs *ret, struct lx_err *err);

/*
 * Adds the parent's pages that the dump was not shown (hidden_pages.h). What it has seen all the
 * same stays as it is. `pages` and `ret` may not be the same.
 */
int lx_page_image_add_parent(struct lx_page_image *image, const struct lx_page_runs *pages,
			     struct lx_err *err);

#endif
