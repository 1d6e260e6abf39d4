/* What the builders of images share. Private to images/build*.c. */
#ifndef LX_IMAGES_BUILD_INTERNAL_H
#define LX_IMAGES_BUILD_INTERNAL_H

#include <stdint.h>

#include "images/metadata.h"
#include "images/progress.h"
#include "images/store.h"
#include "images/template.h"
#include "lib/err.h"

/* One build, from the request to the commit. */
struct lx_build {
	const char *state_dir;
	const struct lx_template *template;
	const Lxmgr__V1__BuildImageRequest *request; /* checked */
	const struct lx_progress *progress;
	struct lx_stage stage;
	int root; /* of the tree: stage/rootfs */
	/* Set by the builder: */
	struct lx_metadata meta; /* properties besides the common ones */
	int64_t epoch;           /* the image's date (seconds); it sets no file's time to a later one */
};

int lx_build_debian(struct lx_build *b, struct lx_err *err);
int lx_build_busybox(struct lx_build *b, struct lx_err *err);

/*
 * Fills stage/rootfs with a minimal Debian and the packages named (comma-separated), using
 * mmdebstrap or else debootstrap.
 */
struct lx_bootstrap {
	const char *suite, *archive, *security; /* security: NULL for none */
	const char *packages;
	const char *apt_settings; /* lines for apt.conf */
};
int lx_bootstrap(struct lx_build *b, const struct lx_bootstrap *what, struct lx_err *err);

/* Debian's keys, as every Debian has them. */
#define LX_DEBIAN_KEYRING "/usr/share/keyrings/debian-archive-keyring.gpg"

#endif
