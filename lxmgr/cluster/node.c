/* The machines of the cluster, as remembered; the live link to each is in link.c. */
#include "lxmgr/manager.h"

#include <stdlib.h>

#include "lib/str.h"
#include "proto/pb.h"

struct lx_node *lx_node_find(struct lx_manager *m, const char *name, struct lx_err *err)
{
	struct lx_node *n = lx_map_get(&m->nodes, name);
	if (!n) {
		lx_err_set(err, LX_NOT_FOUND, "there is no node %s", name);
		lx_err_hint(err, "lxmgr node list shows the nodes there are.");
	}
	return n;
}

struct lx_node *lx_node_add(struct lx_manager *m, Lxmgr__V1__Node *pb)
{
	struct lx_node *n = calloc(1, sizeof(*n));
	if (!n || lx_map_set(&m->nodes, pb->name, n) < 0) {
		free(n);
		lx_pb_free(pb);
		return NULL;
	}
	n->m = m;
	n->pb = pb;
	lx_map_init(&n->images, NULL);
	return n;
}

void lx_node_free(void *p)
{
	struct lx_node *n = p;
	if (!n)
		return;
	lx_link_stop(n);
	lx_map_release(&n->images);
	lx_pb_free(n->pb);
	free(n);
}

bool lx_node_online(const struct lx_node *n)
{
	return n->synced && n->pb->status == LXMGR__V1__NODE_STATUS__NODE_STATUS_ONLINE;
}
