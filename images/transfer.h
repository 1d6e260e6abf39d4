/*
 * An image on its way from one node to another: the same files, under the same fingerprint.
 * What carries it is the caller's business.
 *
 * The fingerprint alone cannot tell whether all came over well: it is that of the tarball an
 * image was imported from, which nobody has any more. So the sender says at the end what its
 * tree hashes to (lx_pack_fingerprint()), and the receiver hashes what it has unpacked: owners,
 * modes, times, attributes, links and content are equal or there is no image. Of an image that
 * was built, that hash has to be the fingerprint as well.
 */
#ifndef LX_IMAGES_TRANSFER_H
#define LX_IMAGES_TRANSFER_H

#include <sys/types.h>

#include "images/progress.h"
#include "images/ref.h"
#include "lib/err.h"
#include "lxmgr/v1/image.pb-c.h"

/* Each returns 0, or a negative errno with err filled, which ends the transfer. */
struct lx_image_sender {
	int (*image)(void *arg, Lxmgr__V1__Image *image, struct lx_err *err); /* first */
	int (*data)(void *arg, const void *data, size_t len, struct lx_err *err);
	int (*end)(void *arg, const char *digest, struct lx_err *err); /* last, when all went well */
	void *arg;
};

/* LX_NOT_FOUND when the node does not have it; LX_ABORTED when it was deleted meanwhile. */
int lx_image_send(const char *state_dir, const char *fingerprint, const struct lx_image_sender *to,
		  const struct lx_progress *progress, struct lx_err *err);

struct lx_image_receiver {
	/* What the sender said first. Borrowed from the receiver. */
	const Lxmgr__V1__Image *image;
	/* The next bytes of data: how many, 0 when there are no more. */
	ssize_t (*read)(void *arg, void *buf, size_t n, struct lx_err *err);
	/* After that: what the sender said last. */
	int (*digest)(void *arg, char ret[LX_FINGERPRINT_LEN + 1], struct lx_err *err);
	void *arg;
};

/*
 * Success also when the image is there already (nothing is read then). *ret is freed with
 * lx_pb_free(). After a failure nothing is left. Phases: "fetch image", "verify".
 */
int lx_image_receive(const char *state_dir, const char *fingerprint, const struct lx_image_receiver *from,
		     const struct lx_progress *progress, Lxmgr__V1__Image **ret, struct lx_err *err);

#endif
