#include "agent/peers.h"

#include <stdlib.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"
#include "proto/pb.h"

#define FILE_MAX  (4u << 20)
#define PEERS_MAX 10000u

static char *peers_path(const struct lx_agent *a)
{
	return lx_path_join(a->state_dir, "peers.pb");
}

int lx_peers_load(struct lx_agent *a, struct lx_err *err)
{
	lx_autobuf struct lx_buf file = { 0 };
	lx_autofree char *path = peers_path(a);

	if (!path)
		return lx_err_oom(err);
	if (!lx_path_exists(path))
		return 0;
	int r = lx_read_file(path, FILE_MAX, &file, err);

	if (r < 0)
		return r;
	a->peers = lxmgr__v1__set_peers_request__unpack(NULL, file.len, file.data);
	if (a->peers)
		return 0;
	r = lx_err_set(err, LX_DATA_LOSS, "%s cannot be read", path);
	lx_err_hint(err, "Remove it: the manager sends it again.");
	return r;
}

bool lx_peers_know(const struct lx_agent *a, const char *fingerprint)
{
	if (!a->peers)
		return true;
	for (size_t i = 0; fingerprint && i < a->peers->n_peers; i++)
		if (lx_streq(a->peers->peers[i]->fingerprint, fingerprint))
			return true;
	return false;
}

int lx_peers_expect(const struct lx_agent *a, const char *node, const char **ret, struct lx_err *err)
{
	*ret = NULL;
	if (!a->peers)
		return 0;
	for (size_t i = 0; i < a->peers->n_peers; i++) {
		if (!lx_streq(a->peers->peers[i]->node, node))
			continue;
		*ret = a->peers->peers[i]->fingerprint;
		return 0;
	}
	return lx_err_set(err, LX_FAILED_PRECONDITION, "node %s is not, or no longer, part of the cluster",
			  node);
}

/* ------------------------------------------------------------------ told anew */

static int store(const struct lx_agent *a, const Lxmgr__V1__SetPeersRequest *req, struct lx_err *err)
{
	size_t len;
	lx_autofree uint8_t *packed = lx_pb_pack(&req->base, &len);
	lx_autofree char *path = peers_path(a);

	return packed && path ? lx_write_file_atomic(path, packed, len, 0600, err) : lx_err_oom(err);
}

/* Connections of those who are gone end at once. */
static void drop_strangers(struct lx_agent *a, const Lxmgr__V1__SetPeersRequest *before)
{
	for (size_t i = 0; before && i < before->n_peers; i++) {
		const Lxmgr__V1__Peer *p = before->peers[i];

		if (lx_peers_know(a, p->fingerprint))
			continue;
		lx_info("a node has left the cluster", "node=%s", p->node);
		lx_server_drop_peer(a->server, p->fingerprint);
	}
	lx_server_recheck(a->server);
}

void lx_peers_set_call(struct lx_call *call, const ProtobufCMessage *msg, void *agent)
{
	const Lxmgr__V1__SetPeersRequest *req = (const void *)msg;
	Lxmgr__V1__SetPeersResponse reply = LXMGR__V1__SET_PEERS_RESPONSE__INIT;
	struct lx_agent *a = agent;
	struct lx_err err = LX_ERR_INIT;

	if (req->n_peers > PEERS_MAX) {
		lx_call_failf(call, LX_INVALID_ARGUMENT, "more than %u nodes", PEERS_MAX);
		return;
	}
	Lxmgr__V1__SetPeersRequest *before = a->peers, *next = LX_PB_DUP(Lxmgr__V1__SetPeersRequest, req);

	if (!next)
		lx_err_oom(&err);
	if (!next || store(a, next, &err) < 0) {
		lx_pb_free(next);
		lx_call_fail(call, &err);
		return;
	}
	a->peers = next;
	lx_call_reply(call, &reply.base);
	drop_strangers(a, before);
	lx_pb_free(before);
}
