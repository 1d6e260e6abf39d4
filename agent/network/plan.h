/*
 * Which machines there are beside this one and what of a network lives there, out of the
 * manager's request and of what was moved since. Pure.
 */
#ifndef LX_AGENT_NETWORK_PLAN_H
#define LX_AGENT_NETWORK_PLAN_H

#include "agent/network/config.h"
#include "lib/err.h"
#include "lib/map.h"

#define LX_PEERS_MAX 1024

/* Another machine, as this network sees it. */
struct lx_peer {
	struct lx_subnet addr;  /* where its tunnels end */
	struct lx_subnet host4; /* its own addresses in the network; family 0: none */
	struct lx_subnet host6;
	uint8_t hwaddr[LX_HWADDR_BYTES]; /* of its end of the link between the machines */
};

/* An instance's network card on another machine. */
struct lx_remote {
	const struct lx_peer *at;
	uint8_t hwaddr[LX_HWADDR_BYTES];
	struct lx_subnet v4; /* a subnet of one; family 0: none */
	struct lx_subnet v6;
};

struct lx_plan {
	struct lx_subnet self; /* family 0: not known */
	uint8_t self_hwaddr[LX_HWADDR_BYTES];
	struct lx_peer *peers;
	size_t n_peers;
	struct lx_remote *remotes;
	size_t n_remotes;
	struct lx_map by_node; /* name -> struct lx_peer *, borrowed */
};

/*
 * Moves that were seen here before the manager told of them (lx_network_here): they count
 * until it says something else of that card than it did then. {0} is a valid empty one.
 */
struct lx_moves {
	struct lx_map by_hwaddr;
};

/* `node` "" is here; `was` is what the manager says of it at this moment ("" when nothing). */
int lx_moves_note(struct lx_moves *m, const char *hwaddr, const char *node, const char *was,
		  struct lx_err *err);
void lx_moves_release(struct lx_moves *m);

/*
 * Fills `plan`. A peer that cannot be reached by IP, or a lease that is none, is left out: the
 * first such error is in *bad. Moves that the manager has caught up with are forgotten. Fails
 * when out of memory, or beyond the limits.
 */
int lx_plan_make(struct lx_plan *plan, const struct lx_network_config *config,
		 const Lxmgr__V1__ApplyNetworksRequest *req, const Lxmgr__V1__NetworkSpec *spec,
		 struct lx_moves *moves, struct lx_err *bad, struct lx_err *err);
void lx_plan_release(struct lx_plan *plan);

/* Bytes that the tunnel adds to each frame of an instance. */
unsigned lx_plan_overhead(const struct lx_subnet *self);

#endif
