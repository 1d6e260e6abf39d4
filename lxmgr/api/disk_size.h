/*
 * The size of a root disk: what is wrong with it is found before anything is stored. Whether it can be
 * held to, and is not less than what is taken, the instance's node knows.
 */
#ifndef LX_LXMGR_API_DISK_SIZE_H
#define LX_LXMGR_API_DISK_SIZE_H

#include "lxmgr/manager.h"

/* What of the instance, as it is to be, does not go with a size. */
int lx_api_check_disk_with(const Lxmgr__V1__Instance *pb, struct lx_err *err);

/*
 * `changed`: what the instance would become. Without another size `next` runs at once, with one that its
 * node has said yes to once it has (on a copy of the message); else the call fails.
 */
void lx_api_check_disk_size(struct lx_manager *m, struct lx_call *call, const ProtobufCMessage *msg,
			    const struct lx_inst *inst, const Lxmgr__V1__Instance *changed,
			    lx_turn_handler next);

#endif
