/*
 * The addresses of one network, as the files of leases share them: leases.c keeps the pools,
 * nics.c makes network cards from them. Everybody else uses manager.h.
 */
#ifndef LX_LXMGR_LEASES_H
#define LX_LXMGR_LEASES_H

#include <arpa/inet.h>

#include "lxmgr/manager.h"

struct lx_bitmap {
	uint64_t *words;
	uint32_t n, next;
};

struct lx_pool {
	bool has4, has6;
	uint32_t base4; /* host order */
	unsigned len4, len6;
	uint8_t base6[16];
	char gateway4[INET_ADDRSTRLEN], gateway6[INET6_ADDRSTRLEN];
	struct lx_bitmap used;
};

/* By the network's bridge. NULL when there is no such network. */
struct lx_pool *lx_pool_find(struct lx_manager *m, const char *bridge);
/* The number of an address ("10.88.0.7/16", either may be NULL) in its pool; false when it lies outside. */
bool lx_pool_index(const struct lx_pool *p, const char *ipv4, const char *ipv6, uint32_t *ret);

bool lx_bitmap_test(const struct lx_bitmap *b, uint32_t i);
void lx_bitmap_set(struct lx_bitmap *b, uint32_t i, bool on);
/* The next free one after the last that was taken, so that freed ones rest a while. -1: full. */
int64_t lx_bitmap_take(struct lx_bitmap *b);

/* The value of a network's key, "" when it has none. */
const char *lx_network_key(const Lxmgr__V1__Network *n, const char *key);

#endif
