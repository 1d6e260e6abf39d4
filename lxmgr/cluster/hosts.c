/*
 * Numbers that a cluster hands out for its networks: a VXLAN id each, and in each an address
 * for every node's own use (all nodes have the gateway's; agent/network/hostlink.h says what
 * the other one is for).
 *
 * Both are part of the network as stored. They are added after the network, or the node, was
 * written down: settle() looks what is missing, and as the row may be in the hands of a change
 * that is under way, it waits until none is. A manager that is killed in between finds the
 * same missing at its next start.
 *
 * Addresses come from the upper end of the subnet, where those of instances come last. A small
 * subnet keeps all of them for instances: its nodes have but the gateway's address, and their
 * own processes reach only the instances they have themselves.
 */
#include "lxmgr/cluster/networks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>

#include "lib/log.h"
#include "lib/str.h"
#include "lxmgr/leases.h"
#include "proto/pb.h"

#define VXLAN_FIRST 1024u
#define VXLAN_LAST  ((1u << 23) - 1) /* what an agent takes */

/* Subnets with fewer addresses than this are left alone; of others, nodes take at most this part. */
#define POOL_MIN  64u
#define POOL_PART 4u

#define RETRY_MS 50u

/* ------------------------------------------------------------------ reading */

static const Lxmgr__V1__NetworkHost *find_host(const Lxmgr__V1__Network *net, const char *node)
{
	for (size_t i = 0; i < net->n_hosts; i++)
		if (lx_streq(net->hosts[i]->node, node))
			return net->hosts[i];
	return NULL;
}

void lx_host_addresses(struct lx_manager *m, const Lxmgr__V1__Network *net, const char *node, char *ipv4,
		       char *ipv6, size_t size)
{
	const Lxmgr__V1__NetworkHost *host = find_host(net, node);
	const struct lx_pool *p = lx_pool_find(m, net->bridge);

	ipv4[0] = ipv6[0] = '\0';
	if (!host || !p || host->index >= p->used.n)
		return;
	if (p->has4) {
		uint32_t be = htonl(p->base4 + host->index);
		inet_ntop(AF_INET, &be, ipv4, (socklen_t)size);
	}
	if (p->has6) {
		uint8_t a[sizeof(p->base6)];
		memcpy(a, p->base6, sizeof(a));
		a[14] = (uint8_t)(host->index >> 8);
		a[15] = (uint8_t)host->index;
		inet_ntop(AF_INET6, a, ipv6, (socklen_t)size);
	}
}

uint32_t lx_network_pick_vxlan_id(struct lx_manager *m)
{
	for (uint32_t id = VXLAN_FIRST; id <= VXLAN_LAST; id++) {
		bool taken = false;
		for (struct lx_map_entry *e = lx_map_first(&m->networks); e && !taken; e = lx_map_next(e))
			taken = ((Lxmgr__V1__Network *)lx_map_value(e))->vxlan_id == id;
		if (!taken)
			return id;
	}
	return 0;
}

/* ------------------------------------------------------------------ what is missing */

static bool wants_hosts(const struct lx_pool *p, const Lxmgr__V1__Network *net)
{
	return p && (p->has4 || p->has6) && p->used.n >= POOL_MIN && net->n_hosts < p->used.n / POOL_PART;
}

static bool lacks(struct lx_manager *m, const Lxmgr__V1__Network *net)
{
	const struct lx_pool *p = lx_pool_find(m, net->bridge);

	if (net->vxlan_id == 0)
		return true;
	for (size_t i = 0; i < net->n_hosts; i++)
		if (!lx_map_has(&m->nodes, net->hosts[i]->node))
			return true;
	if (!wants_hosts(p, net))
		return false;
	for (struct lx_map_entry *e = lx_map_first(&m->nodes); e; e = lx_map_next(e))
		if (!find_host(net, lx_map_key(e)))
			return true;
	return false;
}

/* From the upper end. -1: full. */
static int64_t take_index(struct lx_pool *p)
{
	for (uint32_t i = p->used.n; i-- > 0;) {
		if (lx_bitmap_test(&p->used, i))
			continue;
		lx_bitmap_set(&p->used, i, true);
		return i;
	}
	return -1;
}

/* Whether there were any. */
static bool drop_gone(struct lx_manager *m, Lxmgr__V1__Network *net)
{
	size_t n = 0, before = net->n_hosts;

	for (size_t i = 0; i < net->n_hosts; i++) {
		if (lx_map_has(&m->nodes, net->hosts[i]->node))
			net->hosts[n++] = net->hosts[i];
		else
			lx_pb_free(net->hosts[i]);
	}
	net->n_hosts = n;
	return n < before;
}

static int add_host(Lxmgr__V1__Network *net, struct lx_pool *p, const char *node)
{
	Lxmgr__V1__NetworkHost **grown = realloc(net->hosts, (net->n_hosts + 1) * sizeof(*grown));
	Lxmgr__V1__NetworkHost *host = grown ? malloc(sizeof(*host)) : NULL;
	int64_t index;

	if (grown)
		net->hosts = grown;
	if (!host)
		return -1;
	lxmgr__v1__network_host__init(host);
	if (lx_pb_set(&host->node, node) < 0 || (index = take_index(p)) < 0) {
		lx_pb_free(host);
		return -1;
	}
	host->index = (uint32_t)index;
	net->hosts[net->n_hosts++] = host;
	return 0;
}

Lxmgr__V1__Network *lx_hosts_assign(struct lx_manager *m, const Lxmgr__V1__Network *net)
{
	struct lx_pool *p = lx_pool_find(m, net->bridge);
	Lxmgr__V1__Network *copy = LX_PB_DUP(Lxmgr__V1__Network, net);
	bool changed;

	if (!copy)
		return NULL;
	lx_pb_strv_free(&copy->n_used_by, &copy->used_by);
	changed = drop_gone(m, copy) || copy->vxlan_id == 0;
	if (copy->vxlan_id == 0)
		copy->vxlan_id = lx_network_pick_vxlan_id(m);
	for (struct lx_map_entry *e = lx_map_first(&m->nodes); e && wants_hosts(p, copy);
	     e = lx_map_next(e)) {
		if (find_host(copy, lx_map_key(e)))
			continue;
		if (add_host(copy, p, lx_map_key(e)) < 0)
			break; /* the network is full: the node does without */
		changed = true;
	}
	if (changed)
		return copy;
	lx_pb_free(copy);
	return NULL;
}

/* ------------------------------------------------------------------ writing it down */

/* Addresses that one has and the other has not go back. */
static void give_back(struct lx_manager *m, const Lxmgr__V1__Network *of, const Lxmgr__V1__Network *but)
{
	struct lx_pool *p = lx_pool_find(m, of->bridge);

	for (size_t i = 0; p && i < of->n_hosts; i++) {
		const Lxmgr__V1__NetworkHost *kept = find_host(but, of->hosts[i]->node);
		if (!kept || kept->index != of->hosts[i]->index)
			lx_bitmap_set(&p->used, of->hosts[i]->index, false);
	}
}

struct settling {
	struct lx_manager *m;
	Lxmgr__V1__Network *copy;
};

static void on_stored(const struct lx_store_result *res, const struct lx_err *err, void *arg)
{
	struct settling *s = arg;
	struct lx_manager *m = s->m;
	Lxmgr__V1__Network *net = lx_map_get(&m->networks, s->copy->bridge);

	if (err->code != LX_OK)
		lx_error("numbers of a network not stored", "network=%s error=\"%s\"", s->copy->name,
			 err->msg);
	if (net && err->code != LX_OK) {
		give_back(m, s->copy, net);
	} else if (net) {
		size_t n = net->n_hosts;
		Lxmgr__V1__NetworkHost **hosts = net->hosts;

		give_back(m, net, s->copy);
		net->vxlan_id = s->copy->vxlan_id;
		net->n_hosts = s->copy->n_hosts;
		net->hosts = s->copy->hosts;
		s->copy->n_hosts = n;
		s->copy->hosts = hosts;
	}
	lx_pb_free(s->copy);
	free(s);
	lx_turn_release(m);
	if (err->code == LX_OK && !m->stopping)
		lx_link_apply_networks(m);
}

static int store(struct lx_manager *m, Lxmgr__V1__Network *copy, struct lx_err *err)
{
	struct settling *s = malloc(sizeof(*s));
	struct lx_txn *txn = s ? lx_txn_new(NULL) : NULL;
	size_t len;
	uint8_t *bytes =
		txn && lx_pb_set(&copy->status, "pending") == 0 ? lx_pb_pack(&copy->base, &len) : NULL;

	if (!bytes) {
		lx_txn_free(txn);
		free(s);
		return lx_err_oom(err);
	}
	*s = (struct settling){ m, copy };
	lx_txn_exec(txn, "UPDATE networks SET spec = ?2 WHERE name = ?1");
	lx_txn_text(txn, copy->bridge);
	lx_txn_blob(txn, bytes, len);
	lx_txn_expect(txn, 1, "no such network");
	free(bytes);
	lx_turn_hold(m);
	int r = lx_store_submit(m->store, txn, on_stored, s, err);
	if (r < 0) {
		lx_turn_release(m);
		free(s);
	}
	return r;
}

static void on_retry(uv_timer_t *t)
{
	lx_hosts_settle(t->data);
}

static void later(struct lx_manager *m)
{
	if (!m->settle_timer.data) {
		uv_timer_init(m->loop, &m->settle_timer);
		m->settle_timer.data = m;
	}
	uv_timer_start(&m->settle_timer, on_retry, RETRY_MS, 0);
}

void lx_hosts_settle(struct lx_manager *m)
{
	struct lx_err err = LX_ERR_INIT;

	for (struct lx_map_entry *e = lx_map_first(&m->networks); e; e = lx_map_next(e)) {
		const Lxmgr__V1__Network *net = lx_map_value(e);
		if (m->stopping || !lacks(m, net))
			continue;
		if (m->turns.held) {
			later(m);
			return;
		}
		Lxmgr__V1__Network *copy = lx_hosts_assign(m, net);
		if (!copy)
			continue;
		if (store(m, copy, &err) == 0)
			return; /* the others when this one is done */
		give_back(m, copy, net);
		lx_pb_free(copy);
		lx_error("numbers of a network not stored", "network=%s error=\"%s\"", net->name, err.msg);
	}
}
