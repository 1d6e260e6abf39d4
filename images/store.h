/*
 * Where images lie on a node:
 *
 *   <state>/images/<fingerprint>/rootfs/, metadata.yaml, templates/, image.pb
 *   <state>/images/incoming/       parts being received, trees being unpacked
 *   <state>/images/cache/          packages kept between builds, logs of builds
 *
 * An image is made in a directory below incoming/ (a stage), flushed to the disk, and
 * renamed to its place: it is there whole or not at all. Deleting goes the same way back.
 * What a killed process leaves is in incoming/ alone. All directories are for root only:
 * an image holds setuid programs.
 *
 * Needs no archive library, so that the agent can link it.
 */
#ifndef LX_IMAGES_STORE_H
#define LX_IMAGES_STORE_H

#include <stddef.h>

#include "lib/err.h"
#include "lib/str.h"
#include "lxmgr/v1/image.pb-c.h"

/* image.pb: an Image message. */
#define LX_IMAGE_PB_MAX (4 * 1024 * 1024)
/* How Image.source begins for those whose fingerprint is that of their tree (pack.h). */
#define LX_IMAGE_SOURCE_BUILD "build "

/* malloc'ed paths, NULL when out of memory. */
char *lx_image_path(const char *state_dir, const char *fingerprint);
char *lx_image_incoming_path(const char *state_dir);
char *lx_image_cache_path(const char *state_dir);

/* Makes the directories that are missing. */
int lx_image_store_init(const char *state_dir, struct lx_err *err);
/* Removes what interrupted work has left. What a worker still fills (one that has outlived its
 * agent) is locked and stays. */
int lx_image_store_sweep(const char *state_dir, struct lx_err *err);

/* LX_NOT_FOUND when it is not (completely) there. Free with lx_pb_free(). */
int lx_image_load(const char *state_dir, const char *fingerprint, Lxmgr__V1__Image **ret, struct lx_err *err);
/* All that are complete; free each and the array. Unreadable ones are left out. */
int lx_image_list(const char *state_dir, Lxmgr__V1__Image ***ret, size_t *n, struct lx_err *err);
/* Success when it is not there. The caller knows that no container uses it. */
int lx_image_delete(const char *state_dir, const char *fingerprint, struct lx_err *err);

/* ------------------------------------------------------------------ stages */

struct lx_stage {
	char *path; /* <state>/images/incoming/<uuid> */
	char *state_dir;
	int fd; /* of that directory */
};

int lx_stage_begin(const char *state_dir, struct lx_stage *ret, struct lx_err *err);
/*
 * Makes the stage an image, named image->fingerprint. When that image is there already the
 * stage is dropped. *ret is what is in place afterwards.
 */
int lx_stage_commit(struct lx_stage *s, const Lxmgr__V1__Image *image, Lxmgr__V1__Image **ret,
		    struct lx_err *err);
/* Removes what a failed attempt has made; nothing after a commit. Always call it at the end. */
void lx_stage_end(struct lx_stage *s);

#endif
