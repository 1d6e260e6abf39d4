/*
 * CRIU's image of open files (criu_image.proto), and what of it cannot be restored as it was written. Pure.
 *
 * A restore refuses a file whose size is not that of the dump. Those of lxcfs have a size that is made up
 * anew each time they are opened, and another one on another node; so their size is taken out, and then
 * nothing is compared.
 *
 * Of a timerfd that has expired, and was not read, the kernel says that nothing is left until it expires, and
 * so CRIU restores one that is periodic as one that is not armed: it never expires again. And one that was
 * set to a point in time it arms again although it has expired long ago, or was switched off.
 *
 * A process's program is an entry too (program_image.h). When somebody has a descriptor of that file, CRIU
 * takes the descriptor's entry for both, also if that was opened by O_PATH and only names the file: a restore
 * then cannot have the program from it (criu/file-ids.c). Debian 13's systemd has one such of what its
 * helpers run.
 */
#ifndef LX_MIGRATION_FILE_IMAGE_H
#define LX_MIGRATION_FILE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"

/* Its name among the images, and the most that is read of it: a guest has fewer files open. */
#define LX_FILE_IMAGE     "files.img"
#define LX_FILE_IMAGE_MAX (256u * 1024 * 1024)

/*
 * The image without those sizes into `out`, which stays empty when there are none. -EBADMSG: it is
 * no such image, or a damaged one.
 */
int lx_file_image_unsize(const void *data, size_t len, struct lx_buf *out, struct lx_err *err);

/* The same for timers: those that are periodic go on, those that are not armed stay so. */
int lx_file_image_arm(const void *data, size_t len, struct lx_buf *out, struct lx_err *err);

/* Entries that only name a file, and a number that no entry has. */
struct lx_file_names {
	uint32_t *ids; /* malloc'ed */
	size_t n;
	uint32_t unused;
};

int lx_file_image_names(const void *data, size_t len, struct lx_file_names *ret, struct lx_err *err);
bool lx_file_names_has(const struct lx_file_names *names, uint32_t id);
/* The image with one more entry, `as`: the file that `id` names, opened for reading. */
int lx_file_image_add(const void *data, size_t len, uint32_t id, uint32_t as, struct lx_buf *out,
		      struct lx_err *err);

#endif
