/*
 * AgentService: which function serves which method, and who may call at all. The listener
 * speaks TLS with certificates of the cluster's CA on both sides; the certificate's OU says
 * what its holder is.
 */
#include <stdio.h>

#include "agent/agent.h"
#include "agent/identity.h"
#include "agent/image/images.h"
#include "agent/instance/disk.h"
#include "agent/instance/limits_check.h"
#include "agent/instance/streams.h"
#include "agent/instance/task.h"
#include "agent/move/move.h"
#include "agent/peers.h"
#include "agent/policy.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/str.h"

/* Methods that are one verb on one instance. */
#define VERB_METHOD(verb)                                                                                    \
	static void verb##_instance(struct lx_call *call, const ProtobufCMessage *req, void *arg)            \
	{                                                                                                    \
		lx_task_call(arg, call, &lx_verb_##verb,                                                     \
			     (const Lxmgr__V1__AgentInstanceRequest *)(const void *)req);                    \
	}

VERB_METHOD(start)
VERB_METHOD(stop)
VERB_METHOD(restart)
VERB_METHOD(freeze)
VERB_METHOD(unfreeze)

static void networks_applied(const Lxmgr__V1__ApplyNetworksResponse *status, const struct lx_err *err,
			     void *arg);
static void apply_networks(struct lx_call *call, const ProtobufCMessage *req, void *arg);

static const struct lx_method methods[] = {
	{ .name = "Watch", .server_stream = true, .unary = lx_watch_serve },
	{ .name = "CreateInstance", .unary = lx_instance_create_call },
	{ .name = "UpdateInstance", .unary = lx_instance_update_call },
	{ .name = "StartInstance", .unary = start_instance },
	{ .name = "StopInstance", .unary = stop_instance },
	{ .name = "RestartInstance", .unary = restart_instance },
	{ .name = "FreezeInstance", .unary = freeze_instance },
	{ .name = "UnfreezeInstance", .unary = unfreeze_instance },
	{ .name = "DeleteInstance", .unary = lx_instance_delete_call },
	{ .name = "CreateSnapshot", .unary = lx_snapshot_create_call },
	{ .name = "RestoreSnapshot", .unary = lx_snapshot_restore_call },
	{ .name = "DeleteSnapshots", .unary = lx_snapshot_delete_call },
	{ .name = "RenameSnapshot", .unary = lx_snapshot_rename_call },
	{ .name = "Exec", .client_stream = true, .server_stream = true, .open = lx_exec_open },
	{ .name = "ConsoleLog", .server_stream = true, .unary = lx_console_log_call },
	{ .name = "PushFile", .client_stream = true, .raw = true, .open = lx_push_open },
	{ .name = "PullFile", .server_stream = true, .unary = lx_pull_call },
	{ .name = "DeleteFile", .unary = lx_delete_file_call },
	{ .name = "ImportImage", .client_stream = true, .server_stream = true, .open = lx_image_import_open },
	{ .name = "BuildImage", .server_stream = true, .unary = lx_image_build_call },
	{ .name = "ExportImage", .server_stream = true, .unary = lx_image_export_call },
	{ .name = "DeleteImage", .unary = lx_image_delete_call },
	{ .name = "FetchImage", .server_stream = true, .unary = lx_image_fetch_call },
	{ .name = "SendImage", .server_stream = true, .unary = lx_image_send_call },
	{ .name = "ApplyNetworks", .unary = apply_networks },
	{ .name = "SetPeers", .unary = lx_peers_set_call },
	{ .name = "CheckMove", .unary = lx_move_check_call },
	{ .name = "ExpectInstance", .unary = lx_move_expect_call },
	{ .name = "SendInstance", .server_stream = true, .unary = lx_move_send_call },
	{ .name = "EndMove", .unary = lx_move_end_call },
	{ .name = "Transfer",
	  .client_stream = true,
	  .server_stream = true,
	  .raw = true,
	  .open = lx_move_transfer_open },
	{ .name = "AskOutcome", .unary = lx_move_outcome_call },
	{ .name = "CheckDiskSize", .unary = lx_disk_check_call },
	{ .name = "CheckLimits", .unary = lx_limits_check_call },
	{ .name = "CheckPolicy", .unary = lx_policy_check_call },
};

static const struct lx_service service = {
	.descriptor = &lxmgr__v1__agent_service__descriptor,
	.methods = methods,
	.n_methods = LX_ARRAY_SIZE(methods),
};

/* ------------------------------------------------------------------ networks */

/* The answer may come after the caller has gone. */
struct network_call {
	struct lx_call *call; /* NULL: gone */
	bool applied;
};

static void network_call_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct network_call *n = arg;

	n->call = NULL;
	if (n->applied)
		free(n);
}

static const struct lx_call_events network_events = { .closed = network_call_closed };

static void networks_applied(const Lxmgr__V1__ApplyNetworksResponse *status, const struct lx_err *err,
			     void *arg)
{
	struct network_call *n = arg;

	n->applied = true;
	if (!n->call)
		free(n);
	else if (status)
		lx_call_reply(n->call, &status->base);
	else
		lx_call_fail(n->call, err);
}

static void apply_networks(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__ApplyNetworksRequest *req = (const void *)msg;
	struct lx_agent *a = arg;
	struct lx_err err = LX_ERR_INIT;
	struct network_call *n = calloc(1, sizeof(*n));

	if (!n) {
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	n->call = call;
	lx_call_set_events(call, &network_events, n);
	if (lx_network_apply(a->network, req, networks_applied, n, &err) < 0) {
		n->applied = true; /* never will be */
		lx_call_fail(call, &err);
	}
}

/* ------------------------------------------------------------------ who */

/* Methods that other agents call, and nobody else. All the rest is the manager's. */
static const char *const among_agents[] = {
	"/lxmgr.v1.AgentService/SendImage",
	"/lxmgr.v1.AgentService/Transfer",
	"/lxmgr.v1.AgentService/AskOutcome",
};

/* The role, as certificates have it in their OU, that may call the method. */
static const char *role_for(const char *method)
{
	for (size_t i = 0; i < LX_ARRAY_SIZE(among_agents); i++)
		if (lx_streq(method, among_agents[i]))
			return "agent";
	return "manager";
}

static int gate(struct lx_call *call, void *arg, struct lx_err *err)
{
	const struct lx_peer *peer = lx_call_peer(call);
	const struct lx_agent *a = arg;
	const char *role = role_for(lx_call_method(call));
	bool agents = lx_streq(role, "agent"), known = !agents || lx_peers_know(a, peer->fingerprint);

	if (lx_streq(peer->org_unit, role) && known)
		return 0;
	if (lx_streq(peer->org_unit, role))
		lx_err_set(err, LX_PERMISSION_DENIED,
			   "%s may not call %s: it is not, or no longer, part of the cluster",
			   peer->common_name, lx_call_method(call));
	else
		lx_err_set(err, LX_PERMISSION_DENIED, "%s may not call %s: only the cluster's %s may",
			   peer->common_name ? peer->common_name : "a peer without a certificate",
			   lx_call_method(call), agents ? "agents" : role);
	lx_warn("refused a call", "peer=%s name=\"%s\" role=\"%s\" method=%s", peer->address,
		peer->common_name ? peer->common_name : "", peer->org_unit ? peer->org_unit : "",
		lx_call_method(call));
	return -EPERM;
}

int lx_agent_serve(struct lx_agent *a, struct lx_err *err)
{
	struct lx_identity id;
	int r = lx_identity_load(a->state_dir, &id, err);

	if (r < 0)
		return r;
	const struct lx_tls_config tls = { .cert_pem = id.cert_pem,
					   .key_pem = id.key_pem,
					   .ca_pem = id.ca_pem };

	r = lx_server_create(a->loop, &a->server, err);
	if (r == 0) {
		lx_server_set_gate(a->server, gate, a);
		r = lx_server_add(a->server, &service, a, err);
	}
	if (r == 0)
		r = lx_server_listen_tls(a->server, a->opt.listen, &tls, err);
	lx_identity_release(&id);
	return r;
}
