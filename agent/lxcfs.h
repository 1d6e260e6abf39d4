/*
 * The node's lxcfs, watched: whether it serves is a fact of the node, and running instances that have
 * files of one that has gone are told of.
 */
#ifndef LX_AGENT_LXCFS_H
#define LX_AGENT_LXCFS_H

#include "lib/err.h"

struct lx_agent;
struct lx_lxcfs_watch;

/* After the facts, of which it is one: asks at once, for a moment at most, and then every now and then. */
int lx_lxcfs_open(struct lx_agent *a, struct lx_err *err);
void lx_lxcfs_close(struct lx_agent *a);

#endif
