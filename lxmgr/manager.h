/*
 * lxmgrd's state in memory: the cluster as it is now.
 *
 * The store (SQLite) owns what must last; this owns what is asked for. Everything is
 * loaded once at start, changed only after the store has committed, and fed with live
 * state by the agents' Watch streams. One thread, one loop: no locks.
 *
 * The nouns are kept as the protobuf messages that the API answers with, so that a
 * list is a pack and nothing is translated twice.
 */
#ifndef LX_LXMGR_MANAGER_H
#define LX_LXMGR_MANAGER_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "lib/err.h"
#include "lib/list.h"
#include "lib/map.h"
#include "lib/qname.h"
#include "lxmgr/v1/agent.pb-c.h"
#include "lxmgr/v1/event.pb-c.h"
#include "lxmgr/v1/image.pb-c.h"
#include "lxmgr/v1/instance.pb-c.h"
#include "lxmgr/v1/network.pb-c.h"
#include "lxmgr/v1/node.pb-c.h"
#include "lxmgr/v1/operation.pb-c.h"
#include "lxmgr/v1/profile.pb-c.h"
#include "lxmgr/turn.h"
#include "rpc/rpc.h"
#include "store/store.h"

#define LX_MAX_INSTANCES 100000u
/* Bytes of an expanded configuration: what carries it (RPC, the agent's jobs) has limits too. */
#define LX_MAX_INSTANCE_SPEC (256u << 10)

struct lx_op;
struct lx_node;
struct lx_subscriber;
struct lx_tell;
struct lx_identities;
struct lx_auditor;
struct lx_warnings;

struct lx_manager_options {
	const char *state_dir;
	const char *socket_path;
	const char *socket_group;   /* may use the socket beside root */
	int socket_role;            /* enum lx_role of those in it who have no identity of their own */
	const char *listen;         /* "host:port" for agents and remote clients */
	const char *advertise;      /* what to put into join tokens; NULL: derived from listen */
	const char *network;        /* the default network's name, made on first start */
	const char *network_subnet; /* its IPv4 subnet, NULL: chosen */
	uint32_t idmap_base;        /* first host id to hand out */
	uint32_t idmap_count;       /* how many ranges of 64 Ki */
	uint32_t offline_after_s;   /* a node that is silent for so long is away */
	uint32_t node_wait_s;       /* how long an operation waits for one that is */
};

/* An instance. */
struct lx_inst {
	Lxmgr__V1__Instance *pb;
	char key[LX_QNAME_MAX + 1]; /* what maps, the store and nodes call it (project.h) */
	struct lx_op *op;           /* the operation that has it in hand, or NULL */
	bool pending;               /* its creation has not been confirmed by a node yet */
	/* A move: the node that has committed to be its home, or NULL; what that one says of it. */
	char *arriving_at;
	Lxmgr__V1__InstanceReport *arrived;

	Lxmgr__V1__Denials *denials; /* what was kept from it (warnings/denials.c), or NULL */
	bool denials_dirty;          /* the store has others */

	struct lx_map snapshots; /* name -> Lxmgr__V1__Snapshot *, the oldest first (snapshot.h) */

	bool releasing; /* held.c: its held cards are about to be given up */

	/* tell.c */
	bool telling; /* its agent is being given its specification */
	bool untold;  /* its agent has an older one */
	TAILQ_HEAD(, lx_tell) tells;
};

/* A machine of the cluster and the link to its agent (cluster/link.c). */
struct lx_node {
	struct lx_manager *m;
	Lxmgr__V1__Node *pb;
	struct lx_channel *channel;
	struct lx_call *watch;
	uv_timer_t *timer;  /* reconnects, and notices silence */
	uint64_t heard_ns;  /* monotonic; last message */
	unsigned failures;  /* in a row */
	bool synced;        /* its snapshot is in */
	bool reported;      /* one was, since the manager runs: `images` is what it had then */
	bool apply_pending; /* networks changed since the last ApplyNetworks */
	bool apply_running;
	bool removed;
	struct lx_map images; /* fingerprints it holds -> (void *)1 */
};

struct lx_manager {
	uv_loop_t *loop;
	struct lx_manager_options opt;
	struct lx_store *store;
	struct lx_server *server;

	char cluster_id[37];
	char *address; /* for tokens: "host:port" */
	char *ca_pem, *ca_key_pem, *cert_pem, *key_pem;
	char *ca_fingerprint;
	int64_t started_at_ns;

	struct lx_map nodes;             /* name -> struct lx_node * */
	struct lx_map projects;          /* name -> struct lx_project * (project.h: keys of the others) */
	struct lx_map instances;         /* key -> struct lx_inst * */
	struct lx_map instances_by_uuid; /* borrowed */
	struct lx_map images;            /* key of the fingerprint -> Lxmgr__V1__Image * */
	struct lx_map aliases;           /* key -> Lxmgr__V1__Image * (borrowed) */
	struct lx_map profiles;          /* key -> Lxmgr__V1__Profile * */
	struct lx_map networks;          /* bridge -> Lxmgr__V1__Network * */
	struct lx_map ops;               /* id -> struct lx_op *, oldest first */
	struct lx_map ops_by_request;    /* request id -> struct lx_op * (borrowed) */
	struct lx_map forgets;           /* what agents still know of moves that have ended (move_forget.c) */
	unsigned ended_ops;              /* since those too old were last deleted from the store */
	struct lx_map hwaddrs;           /* taken MACs -> (void *)1 */
	struct lx_leases *leases;
	struct lx_identities *identities; /* auth/auth.h */
	struct lx_auditor *auditor;       /* auth/audit.h */
	struct lx_warnings *warnings;     /* warnings/warnings.h */
	unsigned readers;                 /* of the store, on other threads */
	struct lx_turns turns;            /* changes of the above, one after another */

	uint64_t revision; /* grows with every change of an instance */
	uint64_t net_revision;
	uv_timer_t settle_timer; /* cluster/hosts.c */
	uv_timer_t forget_timer; /* operations/move_forget.c */
	uint8_t *list_cache;     /* packed ListInstancesResponse of `list_revision` and that project */
	size_t list_cache_len;
	uint64_t list_revision;
	char list_project[LX_QNAME_SCOPE_MAX + 1];

	TAILQ_HEAD(, lx_subscriber) subscribers;
	bool stopping;
};

/* ------------------------------------------------------------------ load.c, schema.c */

extern const struct lx_schema lx_manager_schema;
/* Reads the whole store into memory; makes the default project, profile and network on first start. */
int lx_manager_load(struct lx_manager *m, struct lx_err *err);
/* builtin.c: those of profiles/builtin.h, once what is stored has been loaded. */
int lx_manager_add_builtin_profiles(struct lx_manager *m, struct lx_err *err);
int lx_manager_meta_get(struct lx_manager *m, const char *key, char **ret, struct lx_err *err);

/* ------------------------------------------------------------------ instance.c */

/* Finding one by name: project.h. Takes pb over. NULL when out of memory (pb is freed). */
struct lx_inst *lx_inst_add(struct lx_manager *m, Lxmgr__V1__Instance *pb);
void lx_inst_remove(struct lx_manager *m, struct lx_inst *inst);
void lx_inst_free(void *inst);
/* Call after any visible change: bumps the revision, drops the list cache. */
void lx_inst_touch(struct lx_manager *m, struct lx_inst *inst);
void lx_inst_set_status(struct lx_manager *m, struct lx_inst *inst, Lxmgr__V1__InstanceStatus status,
			const char *reason);
const char *lx_inst_status_name(Lxmgr__V1__InstanceStatus s);
/* Expands config and devices of profiles + own into the message's expanded_* and origin. */
int lx_inst_expand(struct lx_manager *m, Lxmgr__V1__Instance *pb, struct lx_err *err);
/* What its agent is told. malloc'ed message (lx_pb_free). */
Lxmgr__V1__InstanceSpec *lx_inst_spec(const struct lx_inst *inst, bool started);
/* What lasts of it, packed for the store: no live state. malloc'ed. */
uint8_t *lx_inst_pack(const Lxmgr__V1__Instance *pb, size_t *len);
/* Takes in what an agent reports. */
void lx_inst_report(struct lx_manager *m, struct lx_node *node, const Lxmgr__V1__InstanceReport *r);
/*
 * It lives on that node from now on, with that generation: memory only, the store is the
 * caller's. Takes in what the node has said of it meanwhile.
 */
void lx_inst_rehome(struct lx_manager *m, struct lx_inst *inst, const char *node, uint64_t generation);
/* A copy of the row with another home, for the store: node, generation, spec. */
int lx_inst_rehome_txn(struct lx_txn *txn, const struct lx_inst *inst, const char *node, uint64_t generation,
		       struct lx_err *err);
/* Where its network cards are: on the way to another node they are there before it is. */
const char *lx_inst_cards_at(const struct lx_inst *inst);
void lx_inst_usage(struct lx_manager *m, const Lxmgr__V1__UsageReports *u);

/* ------------------------------------------------------------------ tell.c */

/*
 * Gives the instance's agent its current specification, as soon as nothing else is done to it
 * there: 0, and `cb` gets the keys that act only after a restart (inst is NULL when it was
 * deleted meanwhile). 1 when its node is away: it is told when it is back, and cb never runs.
 * Negative errno: cb never runs, and it is told when the node comes back the next time.
 */
typedef void (*lx_tell_cb)(struct lx_inst *inst, size_t n_restart, char *const *restart,
			   const struct lx_err *err, void *arg);
int lx_inst_tell(struct lx_manager *m, struct lx_inst *inst, lx_tell_cb cb, void *arg, struct lx_err *err);
/* Nothing is done to it any more: goes on with what waits. */
void lx_inst_tell_next(struct lx_manager *m, struct lx_inst *inst);
/* It is back and holds the specification of this digest: is that the current one? */
void lx_inst_tell_back(struct lx_manager *m, struct lx_inst *inst, uint64_t spec_digest);
/* It is deleted: answers those who wait. */
void lx_inst_tell_gone(struct lx_inst *inst);

/* ------------------------------------------------------------------ leases.c */

struct lx_leases;
/* Id ranges, MAC and IP addresses: in memory what the store's UNIQUE columns guard. */
int lx_leases_init(struct lx_manager *m, struct lx_err *err);
void lx_leases_free(struct lx_leases *l);
/* (Re)reads a network's subnets after it was made or changed; drops it when it is gone. */
int lx_leases_network(struct lx_manager *m, const char *bridge, struct lx_err *err);
/* Fills idmap_base/size and one Nic for each nic device of the expanded devices. */
int lx_leases_take(struct lx_manager *m, Lxmgr__V1__Instance *pb, struct lx_err *err);
/* Marks what a loaded instance holds as taken. */
int lx_leases_mark(struct lx_manager *m, const Lxmgr__V1__Instance *pb, struct lx_err *err);
void lx_leases_give_back(struct lx_manager *m, const Lxmgr__V1__Instance *pb);
/*
 * The nics of an instance after its devices changed: keeps leases that stay valid, holds those that
 * are left over. What it had before stays taken, until lx_leases_drop_nics() has settled which of the
 * two it is; also after a failure, when some of the new may be taken.
 */
int lx_leases_update_nics(struct lx_manager *m, Lxmgr__V1__Instance *pb, struct lx_err *err);
/* Gives back the addresses that `of` has or holds and `but` does neither. */
void lx_leases_drop_nics(struct lx_manager *m, const Lxmgr__V1__Instance *of, const Lxmgr__V1__Instance *but);
/* It holds none any more. */
void lx_leases_drop_held(struct lx_manager *m, Lxmgr__V1__Instance *pb);
/* Whether a card that it holds has an address of this one of its cards. */
bool lx_nic_is_held(const Lxmgr__V1__Instance *pb, const Lxmgr__V1__Nic *nic);

/* ------------------------------------------------------------------ held.c */

/* Cards that an instance holds: one that is changed more often while it runs is to be restarted. */
#define LX_HELD_NICS_MAX 32u
/* Takes in what its agent says of them, before anybody builds on what comes from there. */
void lx_held_report(struct lx_manager *m, struct lx_inst *inst, const Lxmgr__V1__InstanceReport *r);

/* ------------------------------------------------------------------ image.c */

/*
 * By alias, fingerprint, or unique prefix of at least 8 digits: one of the project's own, else a
 * shared one.
 */
Lxmgr__V1__Image *lx_image_find(struct lx_manager *m, const char *project, const char *what,
				struct lx_err *err);
/* One of the project's own: to be changed. */
Lxmgr__V1__Image *lx_image_find_own(struct lx_manager *m, const char *project, const char *what,
				    struct lx_err *err);
/* The project's own one with exactly this fingerprint, or alias; NULL: none. */
Lxmgr__V1__Image *lx_image_get(struct lx_manager *m, const char *project, const char *fingerprint);
Lxmgr__V1__Image *lx_image_of_alias(struct lx_manager *m, const char *project, const char *alias);
/* Any project's, rather one that is not being deleted: nodes keep an image once. NULL: nobody has it. */
const Lxmgr__V1__Image *lx_image_any(const struct lx_manager *m, const char *fingerprint);
/* Remembers, as the project's, an image that a node made or imported: store + memory. The callback
 * gets the image in memory, or an error. `pb` is copied. */
typedef void (*lx_image_cb)(Lxmgr__V1__Image *image, const struct lx_err *err, void *arg);
int lx_image_add(struct lx_manager *m, const char *project, const Lxmgr__V1__Image *pb, size_t n_aliases,
		 char *const *aliases, bool move_aliases, lx_image_cb cb, void *arg, struct lx_err *err);
/* Checks aliases before work is done for them. */
int lx_image_check_aliases(struct lx_manager *m, const char *project, size_t n, char *const *aliases,
			   bool move, struct lx_err *err);
/* In the store; unless `move`, the transaction fails (ABORTED) when another image has got it meanwhile. */
int lx_image_alias_txn(struct lx_txn *txn, const Lxmgr__V1__Image *image, const char *alias, bool move);
/* In memory: takes it from whichever image of the project has it, and gives it to this one (NULL: none). */
void lx_image_take_alias(struct lx_manager *m, const char *project, const char *alias,
			 Lxmgr__V1__Image *image);
void lx_image_on_node(struct lx_manager *m, struct lx_node *node, const char *fingerprint, bool there);
/* The node has none any more, or it is not known which. */
void lx_image_leave_node(struct lx_manager *m, struct lx_node *node);
void lx_image_forget(struct lx_manager *m, const char *project, const char *fingerprint);
/* Is an operation under way that deletes it? */
bool lx_image_is_going(const struct lx_manager *m, const Lxmgr__V1__Image *image);

/* ------------------------------------------------------------------ events.c */

/* `fields`: NULL-terminated key, value, key, value ...; `project` of the subject, "" for the cluster's own.
 */
void lx_event(struct lx_manager *m, const char *type, const char *action, const char *project,
	      const char *subject, const char *node, const char *const *fields);

/* ------------------------------------------------------------------ cluster/ */

/* ca.c: loads or makes the cluster's CA and the manager's own certificate. */
int lx_ca_init(struct lx_manager *m, struct lx_err *err);
#define LX_CERT_DAYS 3650 /* of agents and clients */
/* Signs a request for CN=name, OU=org_unit. malloc'ed PEM; fingerprint out is 65 bytes. */
int lx_ca_sign(struct lx_manager *m, const char *csr_pem, const char *name, const char *org_unit,
	       char **ret_pem, char fingerprint[65], struct lx_err *err);

/* node.c */
struct lx_node *lx_node_find(struct lx_manager *m, const char *name, struct lx_err *err);
struct lx_node *lx_node_add(struct lx_manager *m, Lxmgr__V1__Node *pb); /* takes pb over */
void lx_node_free(void *node);
bool lx_node_online(const struct lx_node *n);

/* link.c: dials the agent, keeps its Watch stream, says when it is away. */
void lx_link_start(struct lx_node *n);
void lx_link_stop(struct lx_node *n);
/* Its address has changed: the connection there is given up for one to the new one. */
void lx_link_redial(struct lx_node *n);

/* peers.c: tells the node, or all that are online, which nodes there are. */
void lx_node_send_peers(struct lx_node *n);
void lx_link_tell_peers(struct lx_manager *m);

/* networks.c: networks, leases or nodes changed: every node gets them, soon and together. */
void lx_link_apply_networks(struct lx_manager *m);
/* hosts.c: the smallest VXLAN id that no network has; 0: none is left. */
uint32_t lx_network_pick_vxlan_id(struct lx_manager *m);

/* stray.c: deletes an image from the node, unless the cluster knows it or it may be about to. */
void lx_node_drop_stray_images(struct lx_node *n);

/* place.c: a node that is online and has the image. */
struct lx_node *lx_node_with_image(struct lx_manager *m, const Lxmgr__V1__Image *image, struct lx_err *err);
/*
 * Which node something goes to (scheduler/score.h says how that is decided): the one asked for
 * with `target` unless NULL or "", else the best. NULL: none fits, and the error says why for
 * each node. lx_place() is for images and the like that ask for nothing but a node, `image`
 * (may be NULL) being there or to be had; the others place instances, whose expanded
 * configuration says what they ask for.
 */
struct lx_node *lx_place(struct lx_manager *m, const Lxmgr__V1__Image *image, const char *target,
			 struct lx_err *err);
struct lx_node *lx_place_instance(struct lx_manager *m, const Lxmgr__V1__Instance *pb,
				  const Lxmgr__V1__Image *image, const char *target, struct lx_err *err);
/* For one that exists: anywhere but on `exclude_node`. */
struct lx_node *lx_place_move(struct lx_manager *m, const struct lx_inst *inst, const char *exclude_node,
			      struct lx_err *err);
/* The decision in all its detail. malloc'ed message (lx_pb_free), NULL when out of memory. */
Lxmgr__V1__Placement *lx_place_explain(struct lx_manager *m, const Lxmgr__V1__Instance *pb,
				       const Lxmgr__V1__Image *image, const char *target);

/* ------------------------------------------------------------------ auth/gate.c */

int lx_gate(struct lx_call *call, void *manager, struct lx_err *err);
/* "root", "NAME", "NAME (uid 1000)", "uid 1000", "certificate CN": for operations and logs. */
void lx_gate_user(const struct lx_manager *m, const struct lx_peer *peer, char *buf, size_t n);

/* ------------------------------------------------------------------ api/ */

extern const struct lx_service lx_api_instances, lx_api_images, lx_api_profiles, lx_api_networks,
	lx_api_nodes, lx_api_operations, lx_api_events, lx_api_system, lx_api_identities, lx_api_audit,
	lx_api_warnings, lx_api_denials, lx_api_projects, lx_api_snapshots;

#endif
