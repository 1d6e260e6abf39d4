/* Parts of the image API that live in files of their own (image_import.c, image_export.c). */
#ifndef LX_LXMGR_API_IMAGES_H
#define LX_LXMGR_API_IMAGES_H

#include "lxmgr/manager.h"

#define MAX_ALIASES 64u /* of one image */

int lx_api_check_properties(size_t n, const void *entries, struct lx_err *err);
void lx_api_image_import(struct lx_call *call, void *manager);
void lx_api_image_export(struct lx_call *call, void *manager);

#endif
