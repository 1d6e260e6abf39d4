/* Where agents of other machines reach this manager. */
#ifndef LX_MANAGER_OWN_ADDRESS_H
#define LX_MANAGER_OWN_ADDRESS_H

#include "lxmgr/manager.h"

/*
 * What a join token names: a JSON array of "host:port". It is m->address; where that means "all
 * of this machine's" (0.0.0.0, ::), it is the machine's own, without those that only the machine
 * itself or its instances can reach. NULL when there is no memory; the caller frees it.
 */
char *lx_own_addresses(const struct lx_manager *m);

#endif
