/* An image to and from another node as a stream of SendImageResponse (worker/frame.h). */
#ifndef LX_AGENT_WORKER_IMAGE_TRANSFER_H
#define LX_AGENT_WORKER_IMAGE_TRANSFER_H

#include "images/progress.h"
#include "lib/err.h"
#include "lxmgr/v1/image.pb-c.h"

/* images/transfer.h, with the stream on `fd`. */
int lx_worker_send_image(const char *state_dir, const char *fingerprint, int fd,
			 const struct lx_progress *progress, struct lx_err *err);
int lx_worker_receive_image(const char *state_dir, const char *fingerprint, int fd,
			    const struct lx_progress *progress, Lxmgr__V1__Image **ret, struct lx_err *err);

#endif
