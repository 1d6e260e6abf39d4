/* The reflection service; see lx_server_add_reflection() in rpc.h. */
#ifndef LX_RPC_REFLECTION_H
#define LX_RPC_REFLECTION_H

struct lx_reflection;

void lx_reflection_free(struct lx_reflection *r);

#endif
