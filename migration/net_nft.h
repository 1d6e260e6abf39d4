/* The packet filter of a network namespace: nftables. */
#ifndef LX_MIGRATION_NET_NFT_H
#define LX_MIGRATION_NET_NFT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lib/err.h"
#include "migration/netlink.h"

/* Tables by which CRIU keeps packets away while it works; never the guest's. */
#define LX_CRIU_TABLE_PREFIX "CRIU-"

/* A dump of nftables' own: NFT_MSG_GETTABLE ... A kernel without nftables has none of anything. */
int lx_nft_dump(struct nl_sock *sock, int message, lx_netlink_fn fn, void *arg, struct lx_err *err);

/* All of the guest's tables as text for lx_net_nft_load(), malloc'ed; "" when it has none, which costs no
 * fork. */
int lx_net_nft_save(int netns, char **ret, struct lx_err *err);
int lx_net_nft_load(int netns, const char *rules, struct lx_err *err);

/* Drops tables whose name begins with `prefix` from what `nft list ruleset` printed, in place. Pure. */
void lx_nft_drop_tables(char *rules, const char *prefix);

/*
 * Whether a rule of the guest's uses a match or target of iptables, which nft can neither
 * print nor read; `table` gets the table's name, at most `n` bytes.
 */
int lx_net_nft_has_xt(int netns, bool *ret, char *table, size_t n, struct lx_err *err);

#endif
