/* The rules of a network, as text for `nft -f -`. Pure. */
#ifndef LX_AGENT_NETWORK_NFT_H
#define LX_AGENT_NETWORK_NFT_H

#include "agent/network/config.h"
#include "lib/buf.h"

#define LX_NFT_TABLE_PREFIX "lxmgr_"

/*
 * Appends commands that make the network's table what it should be, whatever it was before.
 * Texts of several networks together are one transaction. 0 or -ENOMEM.
 */
int lx_nft_set(struct lx_buf *out, const struct lx_network_config *config);
/* Appends commands that remove the table, if it is there. */
int lx_nft_remove(struct lx_buf *out, const char *network);

#endif
