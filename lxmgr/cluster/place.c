/* Where an instance goes: a node that is there and has the image, the least loaded one. */
#include "lxmgr/manager.h"

#include "images/arch.h"
#include "lib/str.h"
#include "lxmgr/operations/operation.h"

static unsigned count_instances(struct lx_manager *m, const struct lx_node *n)
{
	unsigned count = 0;
	for (struct lx_map_entry *e = lx_map_first(&m->instances); e; e = lx_map_next(e)) {
		const struct lx_inst *inst = lx_map_value(e);
		count += lx_streq(inst->pb->node, n->pb->name);
	}
	return count;
}

struct lx_node *lx_place(struct lx_manager *m, const Lxmgr__V1__Image *image, const char *target,
			 struct lx_err *err)
{
	struct lx_node *best = NULL;
	unsigned best_count = 0, online = 0;

	if (!lx_str_empty(target)) {
		struct lx_node *n = lx_node_find(m, target, err);
		if (!n)
			return NULL;
		if (!lx_node_online(n)) {
			lx_err_set(err, LX_UNAVAILABLE, "node %s is offline: %s", target,
				   n->pb->status_reason);
			lx_err_hint(err, "Choose another node, or start lxagentd there.");
			return NULL;
		}
		if (image && !lx_image_available(m, n, image->fingerprint)) {
			lx_err_set(err, LX_FAILED_PRECONDITION,
				   "node %s does not have image %.12s, and no node that has it is online",
				   target, image->fingerprint);
			lx_err_hint(err, "lxmgr image show %.12s lists the nodes that have it.",
				    image->fingerprint);
			return NULL;
		}
		return n;
	}
	for (struct lx_map_entry *e = lx_map_first(&m->nodes); e; e = lx_map_next(e)) {
		struct lx_node *n = lx_map_value(e);
		if (!lx_node_online(n))
			continue;
		online++;
		if (image && !lx_map_has(&n->images, image->fingerprint))
			continue;
		unsigned count = count_instances(m, n);
		if (!best || count < best_count) {
			best = n;
			best_count = count;
		}
	}
	if (best)
		return best;
	if (!lx_map_count(&m->nodes)) {
		lx_err_set(err, LX_FAILED_PRECONDITION, "the cluster has no node yet");
		lx_err_hint(err,
			    "Let one join: lxmgr node token, then lxagentd --join TOKEN on the machine.");
	} else if (!online) {
		lx_err_set(err, LX_UNAVAILABLE, "no node is online");
		lx_err_hint(err, "lxmgr node list says why; start lxagentd on a node.");
	} else {
		lx_err_set(err, LX_FAILED_PRECONDITION, "no node that is online has image %.12s",
			   image ? image->fingerprint : "");
		lx_err_hint(err, "Import or build it again.");
	}
	return NULL;
}

struct lx_node *lx_node_with_image(struct lx_manager *m, const Lxmgr__V1__Image *image, struct lx_err *err)
{
	for (struct lx_map_entry *e = lx_map_first(&m->nodes); e; e = lx_map_next(e)) {
		struct lx_node *n = lx_map_value(e);
		if (lx_node_online(n) && lx_map_has(&n->images, image->fingerprint))
			return n;
	}
	lx_err_set(err, LX_UNAVAILABLE, "no node that is online has image %.12s", image->fingerprint);
	lx_err_hint(err, "lxmgr node list shows which nodes are away.");
	return NULL;
}
