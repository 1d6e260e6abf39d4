/* Building images here, and sending them out: one job of the image worker each. */
#include <errno.h>

#include "agent/download.h"
#include "agent/image/images.h"
#include "agent/image/make.h"
#include "proto/pb.h"

void lx_image_build_call(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__AgentBuildImageRequest *req = (const void *)msg;
	struct lx_err err = LX_ERR_INIT;

	if (!req->build) {
		lx_call_failf(call, LX_INVALID_ARGUMENT, "the request does not say what to build");
		return;
	}
	if (lx_make_image(arg, call,
			  lx_job_message(NULL, LXMGR__V1__WORKER_JOB__JOB_BUILD_IMAGE, &req->build->base),
			  NULL, NULL, &err) < 0)
		lx_call_fail(call, &err);
}

/* ------------------------------------------------------------------ export */

static int send_data(struct lx_call *call, const uint8_t *data, size_t len)
{
	Lxmgr__V1__ExportImageResponse resp = LXMGR__V1__EXPORT_IMAGE_RESPONSE__INIT;

	resp.what_case = LXMGR__V1__EXPORT_IMAGE_RESPONSE__WHAT_DATA;
	resp.data.data = (uint8_t *)(uintptr_t)data;
	resp.data.len = len;
	return lx_call_send(call, &resp.base);
}

static const struct lx_download_kind export_kind = { .send = send_data };

void lx_image_export_call(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__ExportImageRequest *req = (const void *)msg;
	struct lx_agent *a = arg;
	Lxmgr__V1__ExportImageResponse resp = LXMGR__V1__EXPORT_IMAGE_RESPONSE__INIT;
	Lxmgr__V1__Image *image = lx_map_get(&a->images, req->image);

	if (!image) {
		lx_call_failf(call, LX_NOT_FOUND, "image %.64s is not on node %s", req->image, a->node);
		return;
	}
	resp.what_case = LXMGR__V1__EXPORT_IMAGE_RESPONSE__WHAT_IMAGE;
	resp.image = image;
	lx_call_send(call, &resp.base);
	lx_download(a, call, LX_JOB_IMAGE, lx_job_message(NULL, LXMGR__V1__WORKER_JOB__JOB_EXPORT_IMAGE, msg),
		    &export_kind);
}
