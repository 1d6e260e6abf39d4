/*
 * The images of this node (their files: images/store.h). The list in memory is what is
 * complete on disk; an image that is being deleted is out of it already.
 */
#ifndef LX_AGENT_IMAGE_IMAGES_H
#define LX_AGENT_IMAGE_IMAGES_H

#include "agent/agent.h"
#include "lxmgr/v1/image.pb-c.h"

/* Sweeps what interrupted work has left, and reads the list. */
int lx_images_load(struct lx_agent *a, struct lx_err *err);
/* Adds a copy and tells the watchers; known ones are only told again. */
int lx_images_add(struct lx_agent *a, const Lxmgr__V1__Image *image, struct lx_err *err);

/* The methods. `agent`: struct lx_agent. */
void lx_image_import_open(struct lx_call *call, void *agent);
void lx_image_build_call(struct lx_call *call, const ProtobufCMessage *req, void *agent);
void lx_image_export_call(struct lx_call *call, const ProtobufCMessage *req, void *agent);
/* From another node, and to one (fetch.c). */
void lx_image_fetch_call(struct lx_call *call, const ProtobufCMessage *req, void *agent);
void lx_image_send_call(struct lx_call *call, const ProtobufCMessage *req, void *agent);
void lx_image_delete_call(struct lx_call *call, const ProtobufCMessage *req, void *agent);

#endif
