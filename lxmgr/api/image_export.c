/*
 * ImageService.Export: a node that has the image sends it, its messages are passed on
 * undecoded (rpc/proxy.h).
 */
#include "lxmgr/api/images.h"

#include <stdlib.h>

#include "lib/cleanup.h"
#include "lxmgr/auth/auth.h"
#include "proto/pb.h"
#include "rpc/proxy.h"
#include "rpc/text.h"
#include "rpc/unpack.h"

static const struct lx_call_events proxied = { 0 };

static void export_first(struct lx_call *call, struct lx_bytes bytes, void *arg)
{
	const ProtobufCMessageDescriptor *type = &lxmgr__v1__export_image_request__descriptor;
	Lxmgr__V1__ExportImageRequest out = LXMGR__V1__EXPORT_IMAGE_REQUEST__INIT;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	struct lx_unpacked first = { 0 };
	struct lx_node *node = NULL;
	lx_autofree uint8_t *packed = NULL;
	size_t len = 0;

	lx_call_set_events(call, &proxied, NULL);
	if (lx_rpc_unpack(&first, type, bytes, &err) == 0 && lx_text_check(type, bytes, &err) == 0) {
		const Lxmgr__V1__ExportImageRequest *req = (const void *)first.msg;
		Lxmgr__V1__Image *img = lx_image_find(m, lx_call_project(call), req->image, &err);
		node = img ? lx_node_with_image(m, img, &err) : NULL;
		if (node) {
			/* Nodes know images by fingerprint only. */
			out.image = img->fingerprint;
			out.compression = req->compression;
			packed = lx_pb_pack(&out.base, &len);
			if (!packed)
				lx_err_oom(&err);
		}
	}
	lx_unpacked_release(&first);
	if (!packed)
		lx_call_fail(call, &err);
	else
		lx_rpc_proxy(call, node->channel, "/lxmgr.v1.AgentService/ExportImage",
			     (struct lx_bytes){ packed, len }, false, NULL, NULL, NULL);
}

static const struct lx_call_events export_events = { .bytes = export_first };

void lx_api_image_export(struct lx_call *call, void *manager)
{
	lx_call_set_events(call, &export_events, manager);
}
