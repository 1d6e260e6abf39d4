/*
 * lxagentd's context: everything the agent is made of, on one loop and in one thread.
 *
 *   main.c       options, signals          agent.c     start and end of everything below
 *   join.c       becoming a member         service.c   who may call what
 *   watch.c      telling the manager       facts.c     what this machine is
 *   jobs.c       work done by workers      pump.c      bytes to and from them
 *   lxcfs.c      whether the node has one
 *   instance/    one file a verb           image/      the same for images
 *   network/     bridges and leases            move/      instances between nodes
 *   denial/      what was kept from instances
 *
 * The agent never blocks its loop on liblxc, mounts, archives or CRIU: that is what workers
 * are for. What it knows is on disk before it answers, so it may be killed at any moment;
 * running containers do not notice.
 */
#ifndef LX_AGENT_AGENT_H
#define LX_AGENT_AGENT_H

#include <stdbool.h>

#include <uv.h>

#include "agent/cgroup.h"
#include "agent/facts.h"
#include "agent/jobs.h"
#include "agent/network/network.h"
#include "agent/watch.h"
#include "lib/list.h"
#include "lib/map.h"
#include "rpc/rpc.h"

struct lx_lxcfs_watch;
struct lx_usage;
struct lx_denials;

struct lx_agent_options {
	const char *state_dir;
	const char *run_dir;
	const char *listen;    /* "0.0.0.0:8444" */
	const char *advertise; /* where the manager reaches us; NULL: port of `listen` where we come from */
	const char *token;     /* to join with, or NULL */
	const char *node_name; /* to join as; NULL: the token's, else the host's */
	const char *cgroup_root;
	const char *lxcfs_dir; /* where lxcfs is mounted, if it is; "": it is not used */
};

struct lx_agent {
	uv_loop_t *loop;
	struct lx_agent_options opt; /* state_dir and run_dir absolute */
	char *state_dir, *run_dir;
	char *instances_dir; /* liblxc's path as well: always the same string */
	char *images_dir;
	char *incoming_dir; /* of images, half received and half unpacked */
	char *libexec_dir;
	char *node;    /* our name in the cluster */
	int lock;      /* held for our life: one agent a state directory */
	bool rebooted; /* the machine has restarted since an agent ran here last */
	bool stopping;

	struct lx_cgroups cgroups;
	struct lx_facts *facts;
	struct lx_lxcfs_watch *lxcfs; /* NULL: it is not used */
	struct lx_jobs *jobs;
	struct lx_network_ctx *network;
	struct lx_server *server;
	struct lx_watch watch;
	Lxmgr__V1__SetPeersRequest *peers; /* peers.h; NULL: never told */
	struct lx_usage *usage;
	struct lx_denials *denials;
	int64_t looking_since_ns;                  /* for denials; since the epoch */
	struct lx_map instances;                   /* name -> struct lx_instance * */
	struct lx_map images;                      /* fingerprint -> Lxmgr__V1__Image * */
	struct lx_map moves;                       /* operation -> struct lx_agent_move * (move/) */
	TAILQ_HEAD(, lx_move_expecting) expecting; /* announcements that wait (move/expect.c) */
	struct lx_map images_leaving;              /* fingerprints that are being deleted -> (void *)1 */
	struct lx_map fetches;                     /* fingerprint -> what image/fetch.c has under way */
};

/* Everything up to serving; runs the loop while it waits (joining, probing what runs). */
int lx_agent_open(struct lx_agent *a, uv_loop_t *loop, const struct lx_agent_options *opt,
		  struct lx_err *err);
/* Stops serving and lets go; containers go on. The loop has to run until it is empty. */
void lx_agent_close(struct lx_agent *a);
/* After the loop has ended. */
void lx_agent_release(struct lx_agent *a);

/* service.c: who may call what, and the listener. */
int lx_agent_serve(struct lx_agent *a, struct lx_err *err);

#endif
