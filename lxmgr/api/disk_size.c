/* Asking the node; see the header. */
#include "lxmgr/api/disk_size.h"

#include <errno.h>
#include <stdlib.h>

#include "lxmgr/api/update.h"
#include "profiles/root_disk.h"
#include "proto/pb.h"

#define TIMEOUT_MS 60000u

static uint64_t size_of(const Lxmgr__V1__Instance *pb)
{
	return lx_root_disk_size(pb->n_expanded_devices, pb->expanded_devices);
}

int lx_api_check_disk_with(const Lxmgr__V1__Instance *pb, struct lx_err *err)
{
	if (!size_of(pb) || !lx_api_is_privileged(pb))
		return 0;
	int r = lx_err_set(err, LX_INVALID_ARGUMENT,
			   "instance %s is privileged, and its root disk cannot have a size: its root could "
			   "take its files off the account",
			   pb->name);

	lx_err_hint(err, "Launch it unprivileged, or without the option size of its root disk.");
	return r;
}

struct check {
	struct lx_manager *m;
	struct lx_call *call; /* NULL: the client has gone */
	ProtobufCMessage *msg;
	lx_turn_handler next;
};

static void check_free(struct check *c)
{
	lx_pb_free(c->msg);
	free(c);
}

static void on_call_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	((struct check *)arg)->call = NULL;
}

static const struct lx_call_events call_events = { .closed = on_call_closed };

static void on_checked(const ProtobufCMessage *resp, const struct lx_err *err, void *arg)
{
	struct check *c = arg;

	if (c->call) {
		lx_call_set_events(c->call, NULL, NULL);
		if (err->code == LX_OK)
			c->next(c->call, c->msg, c->m);
		else
			lx_call_fail(c->call, err);
	}
	check_free(c);
}

static int ask(struct check *c, const struct lx_inst *inst, uint64_t size, struct lx_err *err)
{
	Lxmgr__V1__AgentCheckDiskSizeRequest req = LXMGR__V1__AGENT_CHECK_DISK_SIZE_REQUEST__INIT;
	const struct lx_call_options options = { .timeout_ms = TIMEOUT_MS };
	struct lx_node *n = lx_map_get(&c->m->nodes, inst->pb->node);

	if (!n || !lx_node_online(n)) {
		int r = lx_err_set(err, LX_UNAVAILABLE,
				   "node %s of instance %s is offline: it cannot say whether the size of its "
				   "root disk can be changed",
				   inst->pb->node, inst->pb->name);

		lx_err_hint(err, "Set it when the node is back: lxmgr node list");
		return r;
	}
	req.name = (char *)(uintptr_t)inst->key;
	req.size_bytes = size;
	return lx_channel_unary(n->channel, &lxmgr__v1__agent_service__descriptor, "CheckDiskSize", &req.base,
				&options, on_checked, c, NULL, err);
}

void lx_api_check_disk_size(struct lx_manager *m, struct lx_call *call, const ProtobufCMessage *msg,
			    const struct lx_inst *inst, const Lxmgr__V1__Instance *changed,
			    lx_turn_handler next)
{
	uint64_t size = size_of(changed);
	struct lx_err err = LX_ERR_INIT;

	/* No size can always be had. */
	if (size == 0 || size == size_of(inst->pb)) {
		next(call, msg, m);
		return;
	}
	struct check *c = calloc(1, sizeof(*c));

	if (!c || !(c->msg = lx_pb_dup(msg))) {
		free(c);
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	c->m = m;
	c->call = call;
	c->next = next;
	lx_call_set_events(call, &call_events, c);
	if (ask(c, inst, size, &err) == 0)
		return;
	lx_call_set_events(call, NULL, NULL);
	lx_call_fail(call, &err);
	check_free(c);
}
