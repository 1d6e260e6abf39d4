/*
 * What each node is told of the networks: their configuration, all leases with the node each
 * is at, and the other nodes. Sent whole, whenever something of it changed; while one request
 * is under way, changes wait and go together in the next.
 *
 * Ways to fail: memory, or the node is away; it is told when it is back (link.c).
 */
#include "lxmgr/cluster/networks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"
#include "lib/str.h"
#include "lxmgr/leases.h"
#include "lxmgr/project.h"
#include "lxmgr/warnings/warnings.h"
#include "proto/pb.h"

#define ADDRESS_TEXT 64

/* ------------------------------------------------------------------ texts of addresses */

void lx_node_host(const struct lx_node *n, char *buf, size_t size)
{
	const char *address = n->pb->address, *colon = strrchr(address, ':');
	size_t len = colon ? (size_t)(colon - address) : strlen(address);

	if (len >= 2 && address[0] == '[' && address[len - 1] == ']') {
		address++;
		len -= 2;
	}
	snprintf(buf, size, "%.*s", (int)len, address);
}

/* ------------------------------------------------------------------ one request */

struct lease_text {
	Lxmgr__V1__LeaseSpec pb;
	char ipv4[ADDRESS_TEXT], ipv6[ADDRESS_TEXT], name[LX_SHOWN_NAME_MAX];
};

struct network_text {
	Lxmgr__V1__NetworkSpec pb;
	char host_ipv4[ADDRESS_TEXT], host_ipv6[ADDRESS_TEXT];
};

struct peer_host_text {
	Lxmgr__V1__NetworkPeerHost pb;
	char ipv4[ADDRESS_TEXT], ipv6[ADDRESS_TEXT];
};

struct peer_text {
	Lxmgr__V1__NetworkPeer pb;
	char address[LX_NODE_HOST_TEXT];
};

/* Only the messages themselves are ours: their texts are in them, or the manager's. */
static void free_request(Lxmgr__V1__ApplyNetworksRequest *req)
{
	for (size_t i = 0; i < req->n_networks; i++) {
		Lxmgr__V1__NetworkSpec *s = req->networks[i];
		for (size_t k = 0; k < s->n_leases; k++)
			free(s->leases[k]);
		free(s->leases);
		free(s);
	}
	free(req->networks);
	for (size_t i = 0; i < req->n_peers; i++) {
		for (size_t k = 0; k < req->peers[i]->n_hosts; k++)
			free(req->peers[i]->hosts[k]);
		free(req->peers[i]->hosts);
		free(req->peers[i]);
	}
	free(req->peers);
}

/* In its own project's network "web1", in a shared one "web1.shop". */
static void set_name(struct lease_text *l, const Lxmgr__V1__Instance *pb, const Lxmgr__V1__Network *net)
{
	if (lx_project_is_default(pb->project))
		return;
	if (lx_same_project(pb->project, net->project))
		snprintf(l->name, sizeof(l->name), "%s", pb->name);
	else
		snprintf(l->name, sizeof(l->name), "%s.%s", pb->name, pb->project);
	l->pb.name = l->name;
}

static int add_lease(const struct lx_inst *inst, Lxmgr__V1__Nic *nic, const Lxmgr__V1__Network *net,
		     Lxmgr__V1__NetworkSpec *s)
{
	struct lease_text *l = malloc(sizeof(*l));
	Lxmgr__V1__LeaseSpec **grown = realloc(s->leases, (s->n_leases + 1) * sizeof(*grown));

	if (grown)
		s->leases = grown;
	if (!l || !grown) {
		free(l);
		return -1;
	}
	lxmgr__v1__lease_spec__init(&l->pb);
	l->pb.instance = (char *)(uintptr_t)inst->key;
	l->pb.card = nic->host_name;
	set_name(l, inst->pb, net);
	l->pb.hwaddr = nic->hwaddr;
	l->pb.ipv4 = (char *)(uintptr_t)lx_address_part(nic->ipv4_address, l->ipv4, sizeof(l->ipv4));
	l->pb.ipv6 = (char *)(uintptr_t)lx_address_part(nic->ipv6_address, l->ipv6, sizeof(l->ipv6));
	l->pb.node = (char *)(uintptr_t)lx_inst_cards_at(inst);
	s->leases[s->n_leases++] = &l->pb;
	return 0;
}

/* An address is leased to one card: as long as one that is held may have it, to that one. */
static int add_leases(struct lx_manager *m, const Lxmgr__V1__Network *net, Lxmgr__V1__NetworkSpec *s)
{
	for (struct lx_map_entry *e = lx_map_first(&m->instances); e; e = lx_map_next(e)) {
		const struct lx_inst *inst = lx_map_value(e);
		const Lxmgr__V1__Instance *pb = inst->pb;

		for (size_t i = 0; i < pb->n_nics + pb->n_held_nics; i++) {
			bool held = i >= pb->n_nics;
			Lxmgr__V1__Nic *nic = held ? pb->held_nics[i - pb->n_nics] : pb->nics[i];

			if (!lx_streq(nic->bridge, s->name) || (!held && lx_nic_is_held(pb, nic)))
				continue;
			if (add_lease(inst, nic, net, s) < 0)
				return -1;
		}
	}
	return 0;
}

static int add_networks(const struct lx_node *n, Lxmgr__V1__ApplyNetworksRequest *req)
{
	struct lx_manager *m = n->m;

	req->networks = calloc(lx_map_count(&m->networks) + 1, sizeof(*req->networks));
	for (struct lx_map_entry *e = lx_map_first(&m->networks); e && req->networks; e = lx_map_next(e)) {
		Lxmgr__V1__Network *net = lx_map_value(e);
		struct network_text *t = malloc(sizeof(*t));
		if (!t)
			return -1;
		lxmgr__v1__network_spec__init(&t->pb);
		req->networks[req->n_networks++] = &t->pb;
		t->pb.name = net->bridge;
		t->pb.n_config = net->n_config;
		t->pb.config = (Lxmgr__V1__NetworkSpec__ConfigEntry **)(void *)net->config;
		t->pb.vxlan_id = net->vxlan_id;
		lx_host_addresses(m, net, n->pb->name, t->host_ipv4, t->host_ipv6, ADDRESS_TEXT);
		t->pb.host_ipv4 = t->host_ipv4;
		t->pb.host_ipv6 = t->host_ipv6;
		if (add_leases(m, net, &t->pb) < 0)
			return -1;
	}
	return req->networks ? 0 : -1;
}

static int add_peer_hosts(struct lx_manager *m, Lxmgr__V1__NetworkPeer *peer)
{
	peer->hosts = calloc(lx_map_count(&m->networks) + 1, sizeof(*peer->hosts));
	for (struct lx_map_entry *e = lx_map_first(&m->networks); e && peer->hosts; e = lx_map_next(e)) {
		Lxmgr__V1__Network *net = lx_map_value(e);
		struct peer_host_text *t = malloc(sizeof(*t));
		if (!t)
			return -1;
		lxmgr__v1__network_peer_host__init(&t->pb);
		peer->hosts[peer->n_hosts++] = &t->pb;
		lx_host_addresses(m, net, peer->node, t->ipv4, t->ipv6, ADDRESS_TEXT);
		t->pb.network = net->bridge;
		t->pb.ipv4 = t->ipv4;
		t->pb.ipv6 = t->ipv6;
	}
	return peer->hosts ? 0 : -1;
}

/* All other nodes, whether they are heard of or not: one that is away may be seen by its peers. */
static int add_peers(const struct lx_node *n, Lxmgr__V1__ApplyNetworksRequest *req)
{
	struct lx_manager *m = n->m;

	req->peers = calloc(lx_map_count(&m->nodes) + 1, sizeof(*req->peers));
	for (struct lx_map_entry *e = lx_map_first(&m->nodes); e && req->peers; e = lx_map_next(e)) {
		const struct lx_node *other = lx_map_value(e);
		struct peer_text *t;
		if (other == n)
			continue;
		t = malloc(sizeof(*t));
		if (!t)
			return -1;
		lxmgr__v1__network_peer__init(&t->pb);
		req->peers[req->n_peers++] = &t->pb;
		lx_node_host(other, t->address, sizeof(t->address));
		t->pb.node = other->pb->name;
		t->pb.address = t->address;
		if (add_peer_hosts(m, &t->pb) < 0)
			return -1;
	}
	return req->peers ? 0 : -1;
}

/* ------------------------------------------------------------------ sending */

/* The first that is not up stands for the others. */
static void warn_of(struct lx_manager *m, const char *node, const Lxmgr__V1__ApplyNetworksResponse *r)
{
	const struct lx_warning_of of = { "network-down", "node", node, node, LX_SEVERITY_HIGH };

	for (size_t i = 0; i < r->n_status; i++) {
		char text[512];

		if (lx_str_empty(r->status[i]->value))
			continue;
		snprintf(text, sizeof(text), "network %s is not up there: %s", r->status[i]->key,
			 r->status[i]->value);
		lx_warning_hold(m, &of, text);
		return;
	}
	lx_warning_resolve(m, &of);
}

static void take_status(struct lx_manager *m, const char *node, const Lxmgr__V1__ApplyNetworksResponse *r)
{
	for (size_t i = 0; r && i < r->n_status; i++) {
		Lxmgr__V1__Network *net = lx_map_get(&m->networks, r->status[i]->key);
		char text[512];
		if (!net)
			continue;
		if (lx_str_empty(r->status[i]->value)) {
			lx_pb_set(&net->status, "up");
			continue;
		}
		snprintf(text, sizeof(text), "node %s: %s", node, r->status[i]->value);
		lx_pb_set(&net->status, text);
		lx_error("network is not up", "network=%s node=%s error=\"%s\"", net->name, node,
			 r->status[i]->value);
	}
}

static void on_applied(const ProtobufCMessage *resp, const struct lx_err *err, void *arg)
{
	struct lx_manager *m = ((void **)arg)[0];
	char *name = ((void **)arg)[1];
	struct lx_node *n = lx_map_get(&m->nodes, name);

	if (n && !m->stopping) {
		n->apply_running = false;
		if (err->code != LX_OK && err->code != LX_UNAVAILABLE)
			lx_error("networks not applied", "node=%s error=\"%s\"", name, err->msg);
		take_status(m, name, (const void *)resp);
		if (resp)
			warn_of(m, name, (const void *)resp);
		if (n->apply_pending)
			lx_node_send_networks(n);
	}
	free(name);
	free(arg);
}

void lx_node_send_networks(struct lx_node *n)
{
	struct lx_manager *m = n->m;
	Lxmgr__V1__ApplyNetworksRequest req = LXMGR__V1__APPLY_NETWORKS_REQUEST__INIT;
	char self[LX_NODE_HOST_TEXT];
	struct lx_err err = LX_ERR_INIT;
	void **arg = NULL;

	n->apply_pending = true;
	if (n->apply_running || !lx_node_online(n))
		return;
	lx_node_host(n, self, sizeof(self));
	req.revision = m->net_revision;
	req.self_address = self;
	arg = calloc(2, sizeof(*arg));
	if (!arg || !(arg[1] = strdup(n->pb->name)) || add_networks(n, &req) < 0 || add_peers(n, &req) < 0) {
		lx_err_oom(&err);
		goto fail;
	}
	arg[0] = m;
	if (lx_channel_unary(n->channel, &lxmgr__v1__agent_service__descriptor, "ApplyNetworks", &req.base,
			     NULL, on_applied, arg, NULL, &err) < 0)
		goto fail;
	n->apply_running = true;
	n->apply_pending = false;
	free_request(&req);
	return;
fail:
	lx_error("networks not sent", "node=%s error=\"%s\"", n->pb->name, err.msg);
	free_request(&req);
	if (arg)
		free(arg[1]);
	free(arg);
}

void lx_link_apply_networks(struct lx_manager *m)
{
	m->net_revision++;
	if (m->stopping)
		return;
	lx_hosts_settle(m);
	for (struct lx_map_entry *e = lx_map_first(&m->nodes); e; e = lx_map_next(e))
		lx_node_send_networks(lx_map_value(e));
}
