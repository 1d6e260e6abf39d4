/*
 * Which certificates agents shall take for those of other agents: each is told at the start of
 * its link and whenever a machine comes or goes. One that is away is told when it is back, and
 * keeps what it was told last meanwhile.
 */
#include "lxmgr/manager.h"

#include <stdlib.h>

#include "lib/log.h"
#include "lib/str.h"
#include "proto/pb.h"

#define TIMEOUT_MS 10000u

/* The link's next start tells it again; an older agent has no such method. */
static void on_answer(const ProtobufCMessage *resp, const struct lx_err *err, void *arg)
{
	if (!resp && err->code != LX_UNIMPLEMENTED && err->code != LX_CANCELLED &&
	    err->code != LX_UNAVAILABLE)
		lx_warn("a node was not told which nodes there are", "error=\"%s\"", err->msg);
}

void lx_node_send_peers(struct lx_node *n)
{
	struct lx_manager *m = n->m;
	Lxmgr__V1__SetPeersRequest req = LXMGR__V1__SET_PEERS_REQUEST__INIT;
	const struct lx_call_options opt = { .timeout_ms = TIMEOUT_MS };
	struct lx_err err = LX_ERR_INIT;
	size_t count = lx_map_count(&m->nodes);
	Lxmgr__V1__Peer *peers = calloc(count, sizeof(*peers));
	Lxmgr__V1__Peer **list = calloc(count, sizeof(*list));

	for (struct lx_map_entry *e = lx_map_first(&m->nodes); e && peers && list; e = lx_map_next(e)) {
		const struct lx_node *other = lx_map_value(e);

		lxmgr__v1__peer__init(&peers[req.n_peers]);
		peers[req.n_peers].node = other->pb->name;
		peers[req.n_peers].fingerprint = other->pb->fingerprint;
		list[req.n_peers] = &peers[req.n_peers];
		req.n_peers++;
	}
	req.peers = list;
	if (!peers || !list)
		lx_err_oom(&err);
	else
		lx_channel_unary(n->channel, &lxmgr__v1__agent_service__descriptor, "SetPeers", &req.base,
				 &opt, on_answer, NULL, NULL, &err);
	if (err.code != LX_OK)
		lx_warn("a node was not told which nodes there are", "node=%s error=\"%s\"", n->pb->name,
			err.msg);
	free(peers);
	free(list);
}

void lx_link_tell_peers(struct lx_manager *m)
{
	for (struct lx_map_entry *e = lx_map_first(&m->nodes); e; e = lx_map_next(e)) {
		struct lx_node *n = lx_map_value(e);

		if (lx_node_online(n) && n->channel)
			lx_node_send_peers(n);
	}
}
