/*
 * What is handed out once in the cluster: ranges of 64 Ki host ids, MAC addresses and IP
 * addresses. The store's UNIQUE columns are the truth; these bitmaps find the next free
 * one without asking it. An instance keeps what it got for life.
 *
 * Ids: range k is idmap_base + k * 65536. Addresses: number i of a network's subnet, .0 and
 * .1 (the bridge) and the last one excepted; IPv6 takes the same number in its prefix. Nodes
 * have some too (cluster/hosts.c).
 */
#include "lxmgr/leases.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/str.h"
#include "proto/pb.h"

#define IDMAP_SIZE 65536u
#define SUBNET_MAX (1u << 16) /* addresses of one network that are handed out */

static int bitmap_init(struct lx_bitmap *b, uint32_t n)
{
	b->words = calloc((n + 63) / 64, sizeof(uint64_t));
	b->n = n;
	b->next = 0;
	return b->words ? 0 : -ENOMEM;
}

bool lx_bitmap_test(const struct lx_bitmap *b, uint32_t i)
{
	return b->words[i / 64] >> (i % 64) & 1;
}

void lx_bitmap_set(struct lx_bitmap *b, uint32_t i, bool on)
{
	if (i >= b->n)
		return;
	if (on)
		b->words[i / 64] |= UINT64_C(1) << (i % 64);
	else
		b->words[i / 64] &= ~(UINT64_C(1) << (i % 64));
}

int64_t lx_bitmap_take(struct lx_bitmap *b)
{
	for (uint32_t k = 0; k < b->n; k++) {
		uint32_t i = (b->next + k) % b->n;
		if (lx_bitmap_test(b, i))
			continue;
		lx_bitmap_set(b, i, true);
		b->next = i + 1;
		return i;
	}
	return -1;
}

struct lx_leases {
	struct lx_bitmap ids;
	struct lx_map pools; /* bridge -> struct lx_pool * */
};

static void pool_free(void *p)
{
	struct lx_pool *pool = p;
	if (pool)
		free(pool->used.words);
	free(pool);
}

/* "10.88.0.1/16" into address bytes and prefix length. */
static int parse_cidr(int family, const char *text, void *addr, unsigned max, unsigned *len)
{
	char host[INET6_ADDRSTRLEN];
	const char *slash = strchr(text, '/');
	uint64_t v;
	if (!slash || (size_t)(slash - text) >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, (size_t)(slash - text));
	host[slash - text] = '\0';
	if (inet_pton(family, host, addr) != 1 || lx_parse_u64(slash + 1, &v) < 0 || v < 1 || v > max)
		return -EINVAL;
	*len = (unsigned)v;
	return 0;
}

const char *lx_network_key(const Lxmgr__V1__Network *n, const char *key)
{
	const char *v = lx_pb_map_get(n->n_config, n->config, key);
	return v ? v : "";
}

static int pool_make(const Lxmgr__V1__Network *n, struct lx_pool **ret, struct lx_err *err)
{
	const char *v4 = lx_network_key(n, "ipv4.address"), *v6 = lx_network_key(n, "ipv6.address");
	struct lx_pool *p = calloc(1, sizeof(*p));
	uint32_t size = SUBNET_MAX;
	int r;

	if (!p)
		return lx_err_oom(err);
	if (!lx_str_empty(v4) && !lx_streq(v4, "none")) {
		uint32_t be;
		if (parse_cidr(AF_INET, v4, &be, 30, &p->len4) < 0) {
			r = lx_err_set(err, LX_INVALID_ARGUMENT,
				       "network %s: ipv4.address is \"%s\", not an address with a prefix "
				       "length of 1 to 30",
				       n->name, v4);
			lx_err_hint(err, "For example 10.88.0.1/16, or none.");
			goto fail;
		}
		uint32_t hosts = p->len4 <= 16 ? SUBNET_MAX : UINT32_C(1) << (32 - p->len4);
		size = hosts - 1; /* without the last, the broadcast address */
		p->base4 = ntohl(be) & ~((p->len4 ? UINT32_MAX >> p->len4 : UINT32_MAX));
		p->has4 = true;
		inet_ntop(AF_INET, &be, p->gateway4, sizeof(p->gateway4));
		uint32_t own = ntohl(be) - p->base4;
		if ((r = bitmap_init(&p->used, size)) < 0)
			goto oom;
		lx_bitmap_set(&p->used, own, true);
	} else if ((r = bitmap_init(&p->used, size)) < 0) {
		goto oom;
	}
	lx_bitmap_set(&p->used, 0, true);
	lx_bitmap_set(&p->used, 1, true);
	if (!lx_str_empty(v6) && !lx_streq(v6, "none")) {
		if (parse_cidr(AF_INET6, v6, p->base6, 112, &p->len6) < 0) {
			r = lx_err_set(err, LX_INVALID_ARGUMENT,
				       "network %s: ipv6.address is \"%s\", not an address with a prefix "
				       "length of at most 112",
				       n->name, v6);
			lx_err_hint(err, "For example fd42:1:2:3::1/64, or none.");
			goto fail;
		}
		inet_ntop(AF_INET6, p->base6, p->gateway6, sizeof(p->gateway6));
		p->base6[14] = p->base6[15] = 0;
		p->has6 = true;
	}
	*ret = p;
	return 0;
oom:
	lx_err_oom(err);
fail:
	pool_free(p);
	return r;
}

int lx_leases_init(struct lx_manager *m, struct lx_err *err)
{
	struct lx_leases *l = calloc(1, sizeof(*l));
	if (!l || bitmap_init(&l->ids, m->opt.idmap_count) < 0) {
		free(l);
		return lx_err_oom(err);
	}
	lx_map_init(&l->pools, pool_free);
	m->leases = l;
	return 0;
}

void lx_leases_free(struct lx_leases *l)
{
	if (!l)
		return;
	free(l->ids.words);
	lx_map_release(&l->pools);
	free(l);
}

bool lx_pool_index(const struct lx_pool *p, const char *ipv4, const char *ipv6, uint32_t *ret)
{
	uint32_t be;
	uint8_t a6[16];
	unsigned len;
	if (p->has4 && !lx_str_empty(ipv4) && parse_cidr(AF_INET, ipv4, &be, 32, &len) == 0) {
		*ret = ntohl(be) - p->base4;
		return *ret < p->used.n;
	}
	if (p->has6 && !lx_str_empty(ipv6) && parse_cidr(AF_INET6, ipv6, a6, 128, &len) == 0 &&
	    memcmp(a6, p->base6, 14) == 0) {
		*ret = (uint32_t)a6[14] << 8 | a6[15];
		return *ret < p->used.n;
	}
	return false;
}

struct lx_pool *lx_pool_find(struct lx_manager *m, const char *bridge)
{
	return lx_map_get(&m->leases->pools, bridge);
}

static void mark_list(struct lx_manager *m, Lxmgr__V1__Nic *const *nics, size_t n, bool on)
{
	for (size_t i = 0; i < n; i++) {
		const Lxmgr__V1__Nic *nic = nics[i];
		struct lx_pool *p = lx_pool_find(m, nic->bridge);
		uint32_t index;
		if (p && lx_pool_index(p, nic->ipv4_address, nic->ipv6_address, &index))
			lx_bitmap_set(&p->used, index, on);
		if (on)
			lx_map_set(&m->hwaddrs, nic->hwaddr, (void *)1);
		else
			lx_map_del(&m->hwaddrs, nic->hwaddr);
	}
}

static void mark_nics(struct lx_manager *m, const Lxmgr__V1__Instance *pb, bool on)
{
	mark_list(m, pb->nics, pb->n_nics, on);
	mark_list(m, pb->held_nics, pb->n_held_nics, on);
}

int lx_leases_network(struct lx_manager *m, const char *bridge, struct lx_err *err)
{
	const Lxmgr__V1__Network *n = lx_map_get(&m->networks, bridge);
	struct lx_pool *p = NULL;

	if (!n) {
		lx_map_del(&m->leases->pools, bridge);
		return 0;
	}
	int r = pool_make(n, &p, err);
	if (r < 0)
		return r;
	if (lx_map_set(&m->leases->pools, bridge, p) < 0) {
		pool_free(p);
		return lx_err_oom(err);
	}
	for (size_t i = 0; i < n->n_hosts; i++)
		lx_bitmap_set(&p->used, n->hosts[i]->index, true);
	for (struct lx_map_entry *e = lx_map_first(&m->instances); e; e = lx_map_next(e)) {
		const struct lx_inst *inst = lx_map_value(e);
		mark_nics(m, inst->pb, true);
	}
	return 0;
}

/* An id range: `on` or off. One from before --idmap-base was changed may lie across two of ours. */
static void mark_ids(struct lx_manager *m, const Lxmgr__V1__Instance *pb, bool on)
{
	uint64_t first = pb->idmap_base, end = first + pb->idmap_size, base = m->opt.idmap_base;
	bool across = (first - base) % IDMAP_SIZE || pb->idmap_size != IDMAP_SIZE;

	if (end <= base || (across && !on)) /* the half of another's may be in there */
		return;
	for (uint64_t k = first > base ? (first - base) / IDMAP_SIZE : 0; base + k * IDMAP_SIZE < end; k++)
		if (k < m->leases->ids.n)
			lx_bitmap_set(&m->leases->ids, (uint32_t)k, on);
}

int lx_leases_mark(struct lx_manager *m, const Lxmgr__V1__Instance *pb, struct lx_err *err)
{
	mark_ids(m, pb, true);
	mark_nics(m, pb, true);
	return 0;
}

void lx_leases_give_back(struct lx_manager *m, const Lxmgr__V1__Instance *pb)
{
	mark_ids(m, pb, false);
	mark_nics(m, pb, false);
}

int lx_leases_take(struct lx_manager *m, Lxmgr__V1__Instance *pb, struct lx_err *err)
{
	int64_t k = lx_bitmap_take(&m->leases->ids);
	if (k < 0) {
		int r = lx_err_set(err, LX_RESOURCE_EXHAUSTED, "no range of 65536 host ids is left for %s",
				   pb->name);
		lx_err_hint(err, "Start lxmgrd with a larger --idmap-count, or delete instances.");
		return r;
	}
	pb->idmap_base = m->opt.idmap_base + (uint32_t)k * IDMAP_SIZE;
	pb->idmap_size = IDMAP_SIZE;
	int r = lx_leases_update_nics(m, pb, err);
	if (r < 0)
		lx_leases_give_back(m, pb);
	return r;
}
