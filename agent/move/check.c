/*
 * CheckMove: what stands in the way on this node. The source's worker looks at the guest; what a
 * node has or lacks is known here: CRIU and its version, the image, the name, memory.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "agent/instance/cards.h"
#include "agent/move/move.h"
#include "agent/worker/disk_quota.h"
#include "agent/worker/intercept_message.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/qname.h"
#include "lib/str.h"
#include "migration/criu.h"
#include "migration/memory_choice.h"
#include "profiles/apparmor.h"
#include "profiles/apparmor_namespace.h"
#include "profiles/intercept.h"
#include "profiles/lxcfs.h"
#include "profiles/privileged.h"
#include "profiles/root_disk.h"
#include "proto/pb.h"

#define OBSTACLES_MAX 12

struct findings {
	Lxmgr__V1__AgentCheckMoveResponse resp;
	Lxmgr__V1__MoveObstacle own[OBSTACLES_MAX], *list[OBSTACLES_MAX];
	char text[OBSTACLES_MAX][2][512];
	size_t n;
	Lxmgr__V1__MoveMemory memory; /* of the source's guest */
	char memory_reason[LX_MEMORY_REASON_MAX];
};

__attribute__((format(printf, 3, 4))) static void found(struct findings *f, const char *code,
							const char *cause, ...)
{
	if (f->n == OBSTACLES_MAX)
		return;
	Lxmgr__V1__MoveObstacle *o = &f->own[f->n];
	va_list ap;

	lxmgr__v1__move_obstacle__init(o);
	va_start(ap, cause);
	vsnprintf(f->text[f->n][0], sizeof(f->text[f->n][0]), cause, ap);
	va_end(ap);
	o->code = (char *)(uintptr_t)code;
	o->cause = f->text[f->n][0];
	o->cure = f->text[f->n][1];
	o->blocks = true;
	f->list[f->n++] = o;
}

__attribute__((format(printf, 2, 3))) static void cure(struct findings *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(f->text[f->n - 1][1], sizeof(f->text[f->n - 1][1]), fmt, ap);
	va_end(ap);
}

static void check_criu(const struct lx_agent *a, struct findings *f)
{
	const Lxmgr__V1__NodeFacts *facts = lx_facts_get(a->facts);

	if (lx_str_empty(facts->criu_version)) {
		found(f, "criu-missing", "there is no CRIU on node %s", a->node);
		cure(f, "Install %s or newer there: scripts/install-criu", LX_CRIU_VERSION_MIN);
	} else if (!lx_criu_version_ok(facts->criu_version)) {
		found(f, "criu-old", "CRIU on node %s is version %s", a->node, facts->criu_version);
		cure(f, "Install %s or newer there: scripts/install-criu", LX_CRIU_VERSION_MIN);
	}
}

/* CRIU would bring back what the machine's root is to run, out of what another node has sent. */
static void check_privileged(const struct lx_agent *a, const Lxmgr__V1__InstanceSpec *spec,
			     struct findings *f)
{
	if (!lx_privileged_is_on(lx_pb_map_get(spec->n_config, spec->config, LX_KEY_PRIVILEGED)))
		return;
	found(f, "privileged", "%s is privileged: its processes have no user namespace to be restored in",
	      spec->name);
	cure(f, "Move it with a short stop, --live=off, or launch an unprivileged one in its place.");
}

/* CRIU brings filters back, and nobody who would answer what they stop. */
static void check_intercepts(const struct lx_agent *a, const struct lx_instance *inst, struct findings *f)
{
	lx_autofree char *inside = lx_instance_path(inst, LX_POLICY_INSIDE);

	if (!inside || !lx_path_exists(inside))
		return;
	found(f, "intercept",
	      "system calls of %s stop for its node (" LX_KEY_INTERCEPT
	      "*), and nobody would answer them once "
	      "it is restored",
	      inst->name);
	cure(f,
	     "Move it with a short stop, --live=off, or take these keys away (lxmgr config unset %s KEY) and "
	     "restart it.",
	     inst->name);
}

/* What is restored there is what runs here; what is made there is what the specification has. */
static void check_cards(const struct lx_instance *inst, struct findings *f)
{
	if (lx_cards_settled(inst))
		return;
	found(f, "cards", "%s runs with network cards that were changed since it was started", inst->name);
	cure(f, "Restart it first (lxmgr restart %s), or move it with a short stop, --live=off.", inst->name);
}

static void check_room(const struct lx_agent *a, const Lxmgr__V1__AgentCheckMoveRequest *req,
		       struct findings *f)
{
	const Lxmgr__V1__NodeFacts *facts = lx_facts_get(a->facts);

	/* The dump lies beside what is restored from it. */
	if (req->live && req->memory_bytes > 0 && facts->memory_free_bytes < 2 * req->memory_bytes) {
		found(f, "memory", "node %s has %" PRIu64 " MiB of memory free, the move needs %" PRIu64,
		      a->node, facts->memory_free_bytes >> 20, (2 * req->memory_bytes) >> 20);
		cure(f, "Free some there, choose another node, or move with --live=off.");
	}
}

/* A directory or device of this node is not on the other, or is another one there. */
static void check_source_devices(const struct lx_agent *a, const Lxmgr__V1__InstanceSpec *spec,
				 struct findings *f)
{
	char names[256];

	if (lx_move_node_devices(spec, false, names, sizeof(names)) == 0)
		return;
	found(f, "device-host", "%s has devices of node %s: %s", spec->name, a->node, names);
	cure(f,
	     "Remove it (lxmgr config device remove %s NAME) and restart %s, or move it with a short stop, "
	     "--live=off, to a node that has the same.",
	     spec->name, spec->name);
}

/* However it comes: its own files are to be bounded before the first of them is here, and must fit. */
static void check_disk(const struct lx_agent *a, const Lxmgr__V1__AgentCheckMoveRequest *req,
		       struct findings *f)
{
	const Lxmgr__V1__InstanceSpec *spec = req->spec;
	const Lxmgr__V1__NodeFacts *facts = lx_facts_get(a->facts);
	struct lx_quota_can can;
	char text[2][LX_SIZE_TEXT_MAX];

	lx_quota_probe(a->instances_dir, &can);
	if (lx_root_disk_size(spec->n_devices, spec->devices) && !can.bounds) {
		found(f, "disk-quota", "node %s cannot bound the size of the root disk of %s: %s", a->node,
		      spec->name, can.cause);
		cure(f, "%s Or choose another node: lxmgr node show says disk-quota: yes there.", can.cure);
	}
	if (req->disk_bytes > facts->disk_free_bytes) {
		found(f, "disk-room", "node %s has %s of disk free, the files of %s take %s", a->node,
		      lx_format_size(facts->disk_free_bytes, text[0], sizeof(text[0])), spec->name,
		      lx_format_size(req->disk_bytes, text[1], sizeof(text[1])));
		cure(f, "Free some there, or choose another node.");
	}
}

/* What has come in through them ends here, and nowhere else. */
static void check_source_proxies(const struct lx_agent *a, const Lxmgr__V1__InstanceSpec *spec,
				 struct findings *f)
{
	char names[256];

	if (lx_move_proxies(spec, false, names, sizeof(names)) == 0)
		return;
	found(f, "proxy", "%s has proxies on node %s, and connections through them end there: %s", spec->name,
	      a->node, names);
	cure(f,
	     "Remove them (lxmgr config device remove %s NAME), which needs no restart, and add them again "
	     "afterwards; or move it with a short stop, --live=off.",
	     spec->name);
}

static void check_destination_proxies(const struct lx_agent *a, const Lxmgr__V1__InstanceSpec *spec,
				      struct findings *f)
{
	char names[256];

	if (lx_move_proxies(spec, true, names, sizeof(names)) == 0)
		return;
	found(f, "proxy-taken", "proxies of %s cannot listen on node %s: %s", spec->name, a->node, names);
	cure(f, "Something listens there already, or the address is not that node's: ss -tulnp on it shows "
		"which; "
		"choose another node, or another address.");
}

/* However it comes, it could not be started here. */
static void check_destination_devices(const struct lx_agent *a, const Lxmgr__V1__InstanceSpec *spec,
				      struct findings *f)
{
	char names[256];

	if (lx_move_node_devices(spec, true, names, sizeof(names)) == 0)
		return;
	found(f, "device-missing", "node %s lacks what devices of %s need: %s", a->node, spec->name, names);
	cure(f,
	     "Make it there, choose another node, or set optional=true (required=false for device nodes); "
	     "lxmgr config device show %s shows what it is.",
	     spec->name);
}

/* What it has of lxcfs it would lose here; or could not be started at all. */
static void check_lxcfs(const struct lx_agent *a, const Lxmgr__V1__AgentCheckMoveRequest *req,
			struct findings *f)
{
	const Lxmgr__V1__NodeFacts *facts = lx_facts_get(a->facts);
	const Lxmgr__V1__InstanceSpec *spec = req->spec;
	const char *here = lx_pb_map_get(facts->n_features, facts->features, "lxcfs");
	enum lx_lxcfs_mode mode = lx_lxcfs_mode_of(lx_pb_map_get(spec->n_config, spec->config, LX_KEY_LXCFS));

	if (lx_streq(here, "yes") || mode == LX_LXCFS_OFF)
		return;
	if (mode == LX_LXCFS_ON) {
		found(f, "lxcfs-missing", "%s has " LX_KEY_LXCFS "=on, and lxcfs of node %s %s", spec->name,
		      a->node, here ? here : "is not known of");
		cure(f,
		     "Start lxcfs there (package lxcfs), choose another node, or set " LX_KEY_LXCFS "=auto.");
	} else if (req->lxcfs) {
		found(f, "lxcfs-missing",
		      "lxcfs of node %s %s: there %s sees the memory and CPUs of the node", a->node,
		      here ? here : "is not known of", spec->name);
		cure(f,
		     "Nothing need be done; to have its own seen, start lxcfs there first (package lxcfs).");
		f->own[f->n - 1].blocks = false;
	}
}

/* What its processes run under could not be brought back here. */
static void check_policy(const struct lx_agent *a, const Lxmgr__V1__AgentCheckMoveRequest *req,
			 struct findings *f)
{
	const Lxmgr__V1__NodeFacts *facts = lx_facts_get(a->facts);
	const Lxmgr__V1__InstanceSpec *spec = req->spec;

	if (!req->policy ||
	    !lx_apparmor_namespace_is_on(
		    lx_pb_map_get(spec->n_config, spec->config, LX_KEY_APPARMOR_NAMESPACE)) ||
	    lx_streq(lx_pb_map_get(facts->n_features, facts->features, LX_FEATURE_APPARMOR_NAMESPACES),
		     "yes"))
		return;
	found(f, "apparmor-namespace",
	      "node %s cannot hold the AppArmor profiles that %s has loaded (" LX_KEY_APPARMOR_NAMESPACE ")",
	      a->node, spec->name);
	cure(f, "Choose a node of which lxmgr node show says " LX_FEATURE_APPARMOR_NAMESPACES
		": yes, or move it with a short stop, --live=off: there it starts without them.");
}

/* CRIU brings each process back under the profile it had, or fails; and confines none that was not. */
static void check_label(const struct lx_agent *a, const Lxmgr__V1__AgentCheckMoveRequest *req,
			struct findings *f)
{
	const Lxmgr__V1__NodeFacts *facts = lx_facts_get(a->facts);
	const Lxmgr__V1__InstanceSpec *spec = req->spec;
	bool there = lx_streq(facts->lsm, "apparmor");
	bool compiles = there &&
			lx_streq(lx_pb_map_get(facts->n_features, facts->features, "apparmor-parser"), "yes");
	enum lx_apparmor_mode mode =
		lx_apparmor_mode_of(lx_pb_map_get(spec->n_config, spec->config, "security.apparmor"));
	bool confined = !lx_str_empty(req->apparmor) && !lx_streq(req->apparmor, "unconfined");

	if (mode == LX_APPARMOR_UNCONFINED || mode == LX_APPARMOR_NAMED)
		compiles = there;
	if (confined && !compiles) {
		found(f, "apparmor-missing", "%s runs under the AppArmor profile %s, and node %s %s",
		      spec->name, req->apparmor, a->node,
		      there ? "has no apparmor_parser" : "has no AppArmor");
		cure(f,
		     "Choose a node that has it (lxmgr node show NODE tells), or move it with a short stop, "
		     "--live=off: there it starts without, unless security.apparmor demands it.");
	} else if (req->live && !confined && compiles && mode != LX_APPARMOR_UNCONFINED) {
		found(f, "apparmor-later", "%s runs under no AppArmor profile, and goes on so on node %s",
		      spec->name, a->node);
		cure(f, "Nothing need be done; from its next start there it has one: lxmgr restart %s",
		     lx_qname_leaf(spec->name));
		f->own[f->n - 1].blocks = false;
	}
}

/* However it comes, it could not be started here. */
static void check_makes_calls(const struct lx_agent *a, const Lxmgr__V1__InstanceSpec *spec,
			      struct findings *f)
{
	const Lxmgr__V1__NodeFacts *facts = lx_facts_get(a->facts);
	unsigned wanted = 0;

	for (size_t i = 0; i < spec->n_config; i++)
		wanted |= lx_intercept_of_key(spec->config[i]->key, spec->config[i]->value);
	if (!wanted || lx_streq(lx_pb_map_get(facts->n_features, facts->features, "seccomp-notify"), "yes"))
		return;
	found(f, "intercept-missing", "node %s cannot make system calls for %s (" LX_KEY_INTERCEPT "*)",
	      a->node, spec->name);
	cure(f, "Choose a node of which lxmgr node show says seccomp-notify: yes, or take these keys away.");
}

static void check_destination(const struct lx_agent *a, const Lxmgr__V1__AgentCheckMoveRequest *req,
			      struct findings *f)
{
	const struct lx_instance *there = lx_map_get(&a->instances, req->spec->name);

	/* The same one is arriving: the manager was restarted meanwhile and looks again. */
	if (there && !lx_streq(there->spec->uuid, req->spec->uuid)) {
		found(f, "name-taken", "node %s has an instance %s already", a->node, req->spec->name);
		cure(f, "Look there: lxmgr list node=%s", a->node);
	}
	for (size_t i = 0; i < req->spec->n_nics; i++)
		if (lx_network_mtu(a->network, req->spec->nics[i]->bridge) == 0) {
			found(f, "network", "network %s is not up on node %s", req->spec->nics[i]->network,
			      a->node);
			cure(f, "lxmgr network show %s says why.", req->spec->nics[i]->network);
		}
	check_destination_devices(a, req->spec, f);
	check_destination_proxies(a, req->spec, f);
	check_lxcfs(a, req, f);
	check_policy(a, req, f);
	check_label(a, req, f);
	check_makes_calls(a, req->spec, f);
	check_disk(a, req, f);
	check_room(a, req, f);
}

/* ------------------------------------------------------------------ the answer */

struct check {
	struct lx_call *call; /* NULL: gone */
	struct findings f;
};

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct check *c = arg;

	c->call = NULL;
}

static const struct lx_call_events events = { .closed = on_closed };

static void reply(struct findings *f, struct lx_agent *a, struct lx_call *call,
		  const Lxmgr__V1__AgentCheckMoveResponse *guest)
{
	size_t n_guest = guest ? guest->n_obstacles : 0;
	Lxmgr__V1__MoveObstacle **all = calloc(f->n + n_guest + 1, sizeof(*all));

	if (!all) {
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	lxmgr__v1__agent_check_move_response__init(&f->resp);
	for (size_t i = 0; i < f->n; i++) {
		f->list[i]->node = a->node;
		all[f->resp.n_obstacles++] = f->list[i];
	}
	for (size_t i = 0; i < n_guest; i++)
		all[f->resp.n_obstacles++] = guest->obstacles[i];
	f->resp.obstacles = all;
	f->resp.criu_version = lx_facts_get(a->facts)->criu_version;
	f->resp.memory = f->memory;
	f->resp.memory_reason = f->memory_reason;
	lx_call_reply(call, &f->resp.base);
	free(all);
}

struct guest_check {
	struct lx_agent *agent;
	struct check c;
};

static void on_guest(const struct lx_job_end *end, void *arg)
{
	struct guest_check *g = arg;

	if (g->c.call) {
		lx_call_set_events(g->c.call, NULL, NULL);
		if (end->err->code != LX_OK)
			lx_call_fail(g->c.call, end->err);
		else
			reply(&g->c.f, g->agent, g->c.call, end->result->check_move);
	}
	free(g);
}

static const struct lx_job_events job_events = { .done = on_guest };

static void check_source(struct lx_agent *a, struct lx_call *call, const char *name, bool postcopy)
{
	struct lx_err err = LX_ERR_INIT;
	struct lx_instance *inst = lx_instance_find(a, name, 0, &err);
	struct guest_check *g = inst ? calloc(1, sizeof(*g)) : NULL;
	int r = inst ? lx_instance_need_running(inst, &err) : -ENOENT;

	if (r == 0 && !g)
		r = lx_err_oom(&err);
	if (r == 0) {
		*g = (struct guest_check){ .agent = a, .c = { .call = call } };
		check_criu(a, &g->c.f);
		/* An estimate: files that are cached count here, and not in the move. */
		g->c.f.memory = lx_memory_choice(lx_instance_config(inst, "migration.memory"),
						 inst->usage.memory_bytes, g->c.f.memory_reason);
		if (postcopy &&
		    lx_memory_postcopy(g->c.f.memory, inst->usage.memory_bytes, g->c.f.memory_reason))
			g->c.f.memory = LXMGR__V1__MOVE_MEMORY__MOVE_MEMORY_POST_COPY;
		check_privileged(a, inst->spec, &g->c.f);
		check_intercepts(a, inst, &g->c.f);
		check_cards(inst, &g->c.f);
		check_source_devices(a, inst->spec, &g->c.f);
		check_source_proxies(a, inst->spec, &g->c.f);
		lx_call_set_events(call, &events, &g->c);
		r = lx_job_run(a->jobs, LX_JOB_MOVE,
			       lx_job_message(inst->spec, LXMGR__V1__WORKER_JOB__JOB_CHECK_MOVE, NULL), NULL,
			       &job_events, g, NULL, &err);
		if (r < 0)
			lx_call_set_events(call, NULL, NULL);
	}
	if (r == 0)
		return;
	free(g);
	lx_call_fail(call, &err);
}

void lx_move_check_call(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__AgentCheckMoveRequest *req = (const void *)msg;
	struct lx_agent *a = arg;
	struct findings f = { .n = 0 };

	if (!lx_str_empty(req->name)) {
		check_source(a, call, req->name, req->postcopy);
		return;
	}
	if (!req->spec) {
		lx_call_failf(call, LX_INVALID_ARGUMENT, "the request names no instance");
		return;
	}
	if (req->live)
		check_criu(a, &f);
	check_destination(a, req, &f);
	reply(&f, a, call, NULL);
}
