/* Making an image of what somebody has sent: one tarball, or metadata and root file system apart. */
#ifndef LX_IMAGES_IMPORT_H
#define LX_IMAGES_IMPORT_H

#include <stddef.h>

#include "images/progress.h"
#include "lib/err.h"
#include "lxmgr/v1/image.pb-c.h"

struct lx_image_import {
	const char *state_dir;
	const char *metadata_path;      /* the unified tarball, or the metadata's */
	const char *rootfs_path;        /* tarball or squashfs; NULL: unified */
	const char *expect_fingerprint; /* "" or NULL: any */
	/* Set or replace what metadata.yaml says. */
	size_t n_properties;
	Lxmgr__V1__ImportImageStart__PropertiesEntry **properties;
	const struct lx_progress *progress; /* phases "verify", "unpack" */
};

/*
 * The fingerprint is the SHA-256 of the file, or of both files one after the other. An
 * image that is there already is success. *ret is freed with lx_pb_free(). After a failure
 * nothing is left; the received files stay the caller's.
 */
int lx_image_import(const struct lx_image_import *in, Lxmgr__V1__Image **ret, struct lx_err *err);

#endif
