/*
 * NetworkService. A change is stored, then every node gets the whole set of networks again
 * (cluster/networks.c); what a node says about a network is shown as its status.
 */
#include "lxmgr/api/networks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "lxmgr/api/commit.h"
#include "lxmgr/auth/auth.h"
#include "lxmgr/quota.h"
#include "proto/pb.h"

#define MAX_NETWORKS 256u

static bool is_in(const struct lx_inst *inst, const Lxmgr__V1__Network *n)
{
	for (size_t i = 0; i < inst->pb->n_nics; i++)
		if (lx_streq(inst->pb->nics[i]->bridge, n->bridge))
			return true;
	for (size_t i = 0; i < inst->pb->n_held_nics; i++)
		if (lx_streq(inst->pb->held_nics[i]->bridge, n->bridge))
			return true;
	return false;
}

/* Those instances that the call may see: all for who may see all projects. */
static void fill_used_by(struct lx_manager *m, struct lx_scope *scope, Lxmgr__V1__Network *n)
{
	char shown[LX_SHOWN_NAME_MAX];

	lx_pb_strv_free(&n->n_used_by, &n->used_by);
	for (struct lx_map_entry *e = lx_map_first(&m->instances); e; e = lx_map_next(e)) {
		const struct lx_inst *inst = lx_map_value(e);

		if (is_in(inst, n) &&
		    (scope->cluster != LX_ROLE_NONE || lx_scope_sees(scope, inst->pb->project)))
			lx_pb_strv_add(&n->n_used_by, &n->used_by,
				       lx_inst_shown(inst->pb, scope->project, shown));
	}
}

/* One that uses it, whoever asks; NULL: none. */
static const struct lx_inst *user_of(struct lx_manager *m, const Lxmgr__V1__Network *n)
{
	for (struct lx_map_entry *e = lx_map_first(&m->instances); e; e = lx_map_next(e))
		if (is_in(lx_map_value(e), n))
			return lx_map_value(e);
	return NULL;
}

/* ------------------------------------------------------------------ reads */

static void api_list(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct lx_manager *m = arg;
	Lxmgr__V1__ListNetworksResponse resp = LXMGR__V1__LIST_NETWORKS_RESPONSE__INIT;
	struct lx_scope scope;
	lx_autofree Lxmgr__V1__Network **list = calloc(lx_map_count(&m->networks) + 1, sizeof(*list));

	if (!list) {
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	lx_scope_of(m, call, &scope);
	resp.networks = list;
	for (struct lx_map_entry *e = lx_map_first(&m->networks); e; e = lx_map_next(e)) {
		Lxmgr__V1__Network *n = lx_map_value(e);

		if (!lx_scope_sees_shared(&scope, n->project))
			continue;
		fill_used_by(m, &scope, n);
		list[resp.n_networks++] = n;
	}
	lx_call_reply(call, &resp.base);
}

static void api_get(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__NetworkRequest *req = (const void *)msg;
	struct lx_err err = LX_ERR_INIT;
	Lxmgr__V1__Network *n = lx_network_find(arg, lx_call_project(call), req->name, &err);
	struct lx_scope scope;

	if (!n) {
		lx_call_fail(call, &err);
		return;
	}
	lx_scope_of(arg, call, &scope);
	fill_used_by(arg, &scope, n);
	lx_call_reply(call, &n->base);
}

struct lease_row {
	Lxmgr__V1__Lease pb;
	char ipv4[64], ipv6[64];
};

static char *host_part(const char *cidr, char *buf, size_t n)
{
	snprintf(buf, n, "%s", cidr);
	buf[strcspn(buf, "/")] = '\0';
	return buf;
}

static void fill_row(struct lease_row *row, const Lxmgr__V1__Instance *pb, const Lxmgr__V1__Nic *nic)
{
	lxmgr__v1__lease__init(&row->pb);
	row->pb.network = nic->network;
	row->pb.instance = pb->name;
	row->pb.nic = nic->name;
	row->pb.hwaddr = nic->hwaddr;
	row->pb.ipv4 = host_part(nic->ipv4_address, row->ipv4, sizeof(row->ipv4));
	row->pb.ipv6 = host_part(nic->ipv6_address, row->ipv6, sizeof(row->ipv6));
	row->pb.node = pb->node;
	row->pb.project = pb->project;
}

static void api_leases(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__NetworkRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	Lxmgr__V1__ListLeasesResponse resp = LXMGR__V1__LIST_LEASES_RESPONSE__INIT;
	const Lxmgr__V1__Network *net = lx_network_find(m, lx_call_project(call), req->name, &err);
	struct lx_scope scope;
	size_t n = 0;

	if (!net) {
		lx_call_fail(call, &err);
		return;
	}
	lx_scope_of(m, call, &scope);
	for (struct lx_map_entry *e = lx_map_first(&m->instances); e; e = lx_map_next(e)) {
		const Lxmgr__V1__Instance *pb = ((struct lx_inst *)lx_map_value(e))->pb;

		n += pb->n_nics + pb->n_held_nics;
	}
	lx_autofree struct lease_row *rows = calloc(n + 1, sizeof(*rows));
	lx_autofree Lxmgr__V1__Lease **list = calloc(n + 1, sizeof(*list));
	if (!rows || !list) {
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	resp.leases = list;
	for (struct lx_map_entry *e = lx_map_first(&m->instances); e; e = lx_map_next(e)) {
		const Lxmgr__V1__Instance *pb = ((struct lx_inst *)lx_map_value(e))->pb;
		if (scope.cluster == LX_ROLE_NONE && !lx_scope_sees(&scope, pb->project))
			continue;
		for (size_t i = 0; i < pb->n_nics + pb->n_held_nics; i++) {
			bool held = i >= pb->n_nics;
			const Lxmgr__V1__Nic *nic = held ? pb->held_nics[i - pb->n_nics] : pb->nics[i];
			struct lease_row *row = &rows[resp.n_leases];

			if (!lx_streq(nic->bridge, net->bridge))
				continue;
			fill_row(row, pb, nic);
			row->pb.held = held;
			list[resp.n_leases++] = &row->pb;
		}
	}
	lx_call_reply(call, &resp.base);
}

/* ------------------------------------------------------------------ changes */

static void drop_hosts(Lxmgr__V1__Network *n)
{
	for (size_t i = 0; i < n->n_hosts; i++)
		lx_pb_free(n->hosts[i]);
	free(n->hosts);
	n->hosts = NULL;
	n->n_hosts = 0;
}

static bool subnet_changes(const Lxmgr__V1__Network *a, const Lxmgr__V1__Network *b)
{
	static const char *const keys[] = { "ipv4.address", "ipv6.address" };

	for (size_t i = 0; i < LX_ARRAY_SIZE(keys); i++)
		if (!lx_streq(lx_pb_map_get(a->n_config, a->config, keys[i]),
			      lx_pb_map_get(b->n_config, b->config, keys[i])))
			return true;
	return false;
}

static void on_stored(struct lx_manager *m, struct lx_call *call, const struct lx_err *err, void *data)
{
	Lxmgr__V1__Network *n = data;
	struct lx_err e = *err;

	if (e.code == LX_ALREADY_EXISTS)
		lx_err_set(&e, LX_ALREADY_EXISTS, "network %s already exists", n->name);
	if (e.code == LX_OK && lx_map_set(&m->networks, n->bridge, n) < 0)
		lx_err_oom(&e);
	if (e.code == LX_OK)
		lx_leases_network(m, n->bridge, &e);
	lx_api_answer(call, &n->base, &e);
	if (lx_map_get(&m->networks, n->bridge) != n)
		lx_pb_free(n);
	else
		lx_link_apply_networks(m);
}

/* The default project's networks are their own bridges; others' are numbered as their VXLAN is. */
static int set_bridge(struct lx_manager *m, Lxmgr__V1__Network *n, struct lx_err *err)
{
	char bridge[16];

	if (lx_project_is_default(n->project))
		return lx_pb_set(&n->bridge, n->name) < 0 ? lx_err_oom(err) : 0;
	snprintf(bridge, sizeof(bridge), LX_BRIDGE_PREFIX "%u", n->vxlan_id);
	if (!n->vxlan_id || lx_map_has(&m->networks, bridge))
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED, "no bridge is left for network %s", n->name);
	return lx_pb_set(&n->bridge, bridge) < 0 ? lx_err_oom(err) : 0;
}

/* A network of its own would take the place of a shared one that the project uses by that name. */
static int check_hides(struct lx_manager *m, const char *project, const char *name, struct lx_err *err)
{
	const Lxmgr__V1__Network *shared = lx_network_find(m, LX_PROJECT_DEFAULT, name, NULL);

	for (struct lx_map_entry *e = lx_map_first(&m->instances); e && shared; e = lx_map_next(e)) {
		const struct lx_inst *inst = lx_map_value(e);

		if (!lx_same_project(inst->pb->project, project) || !is_in(inst, shared))
			continue;
		int r = lx_err_set(
			err, LX_FAILED_PRECONDITION,
			"instance %s uses the shared network %s, which one of that name would hide",
			inst->pb->name, name);
		lx_err_hint(err, "Choose another name.");
		return r;
	}
	return 0;
}

static void create(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__Network *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	const char *project = lx_call_project(call);
	Lxmgr__V1__Network *n = NULL;

	n = LX_PB_DUP(Lxmgr__V1__Network, req);
	if (!n || lx_pb_set(&n->bridge, NULL) < 0 || lx_pb_set(&n->project, project) < 0) {
		lx_err_oom(&err);
		goto fail;
	}
	lx_pb_strv_free(&n->n_used_by, &n->used_by);
	drop_hosts(n); /* output only */
	if (lx_network_find_own(m, project, req->name, NULL)) {
		lx_err_set(&err, LX_ALREADY_EXISTS, "network %s already exists", req->name);
		goto fail;
	}
	if (lx_api_check_network(m, n, &err) < 0 || lx_project_room(m, project, LX_QUOTA_NETWORKS, &err) < 0)
		goto fail;
	if (!lx_project_is_default(project) && check_hides(m, project, req->name, &err) < 0)
		goto fail;
	if (lx_map_count(&m->networks) >= MAX_NETWORKS) {
		lx_err_set(&err, LX_RESOURCE_EXHAUSTED, "there are %u networks already", MAX_NETWORKS);
		goto fail;
	}
	n->vxlan_id = lx_network_pick_vxlan_id(m);
	lx_pb_set(&n->status, "pending");
	if (set_bridge(m, n, &err) < 0)
		goto fail;
	if (lx_api_commit(m, call,
			  lx_txn_named_spec("INSERT INTO networks (name, spec) VALUES (?1, ?2)", n->bridge,
					    &n->base),
			  on_stored, n, &err) == 0)
		return;
fail:
	lx_pb_free(n);
	lx_call_fail(call, &err);
}

static void update(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__UpdateNetworkRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	Lxmgr__V1__Network *old = lx_network_find_own(m, lx_call_project(call), req->name, &err), *n = NULL;
	char shown[LX_SHOWN_NAME_MAX];
	int r = 0;

	if (!old)
		goto fail;
	n = LX_PB_DUP(Lxmgr__V1__Network, old);
	if (!n) {
		lx_err_oom(&err);
		goto fail;
	}
	lx_pb_strv_free(&n->n_used_by, &n->used_by);
	for (size_t i = 0; i < req->n_unset_config; i++)
		lx_pb_map_del(&n->n_config, &n->config, req->unset_config[i]);
	for (size_t i = 0; i < req->n_set_config && r == 0; i++)
		r = lx_pb_map_set(&lxmgr__v1__network__config_entry__descriptor, &n->n_config, &n->config,
				  req->set_config[i]->key, req->set_config[i]->value);
	if (r == 0 && req->set_description)
		r = lx_pb_set(&n->description, req->description);
	if (r < 0) {
		lx_err_oom(&err);
		goto fail;
	}
	if (lx_api_check_network(m, n, &err) < 0)
		goto fail;
	/* Addresses in use stay valid: the subnets may not change under them. */
	const struct lx_inst *user = user_of(m, old);
	for (int v = 0; v < 2 && user; v++) {
		const char *key = v ? "ipv6.address" : "ipv4.address";
		if (!lx_streq(lx_pb_map_get(old->n_config, old->config, key),
			      lx_pb_map_get(n->n_config, n->config, key))) {
			lx_err_set(&err, LX_FAILED_PRECONDITION,
				   "network %s: %s cannot change while %s uses it", n->name, key,
				   lx_inst_shown(user->pb, n->project, shown));
			lx_err_hint(&err, "Make another network and move the instances' cards there.");
			goto fail;
		}
	}
	if (subnet_changes(old, n))
		drop_hosts(n); /* their numbers may not be free there: they get new ones (cluster/hosts.c) */
	if (lx_api_commit(
		    m, call,
		    lx_txn_named_spec("UPDATE networks SET spec = ?2 WHERE name = ?1", n->bridge, &n->base),
		    on_stored, n, &err) == 0)
		return;
fail:
	lx_pb_free(n);
	lx_call_fail(call, &err);
}

static void on_deleted(struct lx_manager *m, struct lx_call *call, const struct lx_err *err, void *data)
{
	lx_autofree char *bridge = data;
	Lxmgr__V1__DeleteNetworkResponse reply = LXMGR__V1__DELETE_NETWORK_RESPONSE__INIT;

	if (err->code == LX_OK) {
		lx_map_del(&m->networks, bridge);
		lx_leases_network(m, bridge, NULL);
		lx_link_apply_networks(m);
	}
	lx_api_answer(call, &reply.base, err);
}

static bool in_profile(struct lx_manager *m, const Lxmgr__V1__Network *network,
		       const Lxmgr__V1__Profile **ret)
{
	for (struct lx_map_entry *e = lx_map_first(&m->profiles); e; e = lx_map_next(e)) {
		const Lxmgr__V1__Profile *p = lx_map_value(e);
		for (size_t i = 0; i < p->n_devices; i++) {
			const Lxmgr__V1__Device *d = p->devices[i]->value;
			const char *name = d ? lx_pb_map_get(d->n_options, d->options, "network") : NULL;
			if (name && lx_network_find(m, p->project, name, NULL) == network) {
				*ret = p;
				return true;
			}
		}
	}
	return false;
}

static void delete (struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__NetworkRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	Lxmgr__V1__Network *n = lx_network_find_own(m, lx_call_project(call), req->name, &err);
	const struct lx_inst *user = n ? user_of(m, n) : NULL;
	const Lxmgr__V1__Profile *profile;
	char shown[LX_SHOWN_NAME_MAX];

	if (!n)
		goto fail;
	if (user) {
		lx_err_set(&err, LX_FAILED_PRECONDITION, "network %s is used by instance %s", n->name,
			   lx_inst_shown(user->pb, n->project, shown));
		lx_err_hint(&err, "lxmgr network show %s lists all that use it.", n->name);
		goto fail;
	}
	if (in_profile(m, n, &profile)) {
		bool other = !lx_same_project(profile->project, n->project);

		lx_err_set(&err, LX_FAILED_PRECONDITION, "network %s is used by profile %s%s%s", n->name,
			   profile->name, other ? " of project " : "", other ? profile->project : "");
		goto fail;
	}
	char *bridge = strdup(n->bridge);
	struct lx_txn *txn = bridge ? lx_txn_new(NULL) : NULL;
	if (txn) {
		lx_txn_exec(txn, "DELETE FROM networks WHERE name = ?1");
		lx_txn_text(txn, bridge);
	}
	if (lx_api_commit(m, call, txn, on_deleted, bridge, &err) == 0)
		return;
	free(bridge);
fail:
	lx_call_fail(call, &err);
}

LX_TURN_METHOD(api_create, true, create)
LX_TURN_METHOD(api_update, true, update)
LX_TURN_METHOD(api_delete, true, delete)

static const struct lx_method methods[] = {
	{ .name = "List", .unary = api_list },     { .name = "Get", .unary = api_get },
	{ .name = "Create", .unary = api_create }, { .name = "Update", .unary = api_update },
	{ .name = "Delete", .unary = api_delete }, { .name = "ListLeases", .unary = api_leases },
};

const struct lx_service lx_api_networks = { &lxmgr__v1__network_service__descriptor, methods,
					    LX_ARRAY_SIZE(methods) };
