#include "agent/image/images.h"

#include <stdlib.h>

#include "images/store.h"
#include "lib/log.h"
#include "proto/pb.h"

static int remember(struct lx_agent *a, Lxmgr__V1__Image *image, struct lx_err *err)
{
	if (lx_map_set(&a->images, image->fingerprint, image) == 0)
		return 0;
	lx_pb_free(image);
	return lx_err_oom(err);
}

int lx_images_load(struct lx_agent *a, struct lx_err *err)
{
	Lxmgr__V1__Image **list = NULL;
	size_t n = 0;
	int r = lx_image_store_init(a->state_dir, err);

	if (r == 0)
		r = lx_image_store_sweep(a->state_dir, err);
	if (r == 0)
		r = lx_image_list(a->state_dir, &list, &n, err);
	for (size_t i = 0; i < n; i++) {
		if (r == 0)
			r = remember(a, list[i], err);
		else
			lx_pb_free(list[i]);
	}
	free(list);
	return r;
}

int lx_images_add(struct lx_agent *a, const Lxmgr__V1__Image *image, struct lx_err *err)
{
	Lxmgr__V1__Image *copy = LX_PB_DUP(Lxmgr__V1__Image, image);
	int r = copy ? remember(a, copy, err) : lx_err_oom(err);

	if (r == 0) {
		lx_info("image added", "fingerprint=%s description=\"%s\"", copy->fingerprint,
			copy->description);
		lx_watch_image_added(a, copy);
	}
	return r;
}
