/*
 * CRIU's images of processes' memory (criu_image.proto, mm-<process>.img), as far as they say which
 * program a process runs: /proc/<pid>/exe, as an entry of the image of open files (file_image.h). Pure.
 */
#ifndef LX_MIGRATION_PROGRAM_IMAGE_H
#define LX_MIGRATION_PROGRAM_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"

/* The most that is read of one: some hundred bytes a mapping. */
#define LX_PROGRAM_IMAGE_MAX (64u * 1024 * 1024)

/* "mm-412.img" */
bool lx_program_image_is(const char *name);

/* -EBADMSG: it is no such image, or a damaged one. */
int lx_program_image_file(const void *data, size_t len, uint32_t *ret_id, struct lx_err *err);
/* The image, with another entry. */
int lx_program_image_set_file(const void *data, size_t len, uint32_t id, struct lx_buf *out,
			      struct lx_err *err);

#endif
