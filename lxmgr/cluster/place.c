/*
 * Where things go: gathers what is known of nodes and instances for the scheduler
 * (scheduler/score.c decides), and puts its answer into words.
 */
#include "lxmgr/manager.h"

#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "lxmgr/operations/operation.h"
#include "lxmgr/quota.h"
#include "lxmgr/scheduler/score.h"
#include "profiles/apparmor.h"
#include "profiles/lxcfs.h"
#include "profiles/root_disk.h"
#include "profiles/value.h"
#include "proto/pb.h"

/* Nodes that an error names with their reasons; the rest are counted. */
#define REASONS_MAX 8

struct survey {
	struct lx_wanted want;
	size_t n;
	struct lx_node **nodes;
	struct lx_candidate *candidates;
	struct lx_ranked *ranked;
};

static void survey_release(struct survey *s)
{
	free(s->nodes);
	free(s->candidates);
	free(s->ranked);
}

/* ------------------------------------------------------------------ what there is */

static const char *expanded(const Lxmgr__V1__Instance *pb, const char *key)
{
	return lx_pb_map_get(pb->n_expanded_config, pb->expanded_config, key);
}

static void read_demand(const Lxmgr__V1__Instance *pb, struct lx_demand *ret)
{
	const char *memory = expanded(pb, "limits.memory"), *cpu = expanded(pb, "limits.cpu");
	struct lx_amount amount;
	struct lx_cpus cpus;

	*ret = (struct lx_demand){ .disk = lx_root_disk_size(pb->n_expanded_devices, pb->expanded_devices) };
	if (!lx_str_empty(memory) && lx_value_amount(memory, &amount) == 0) {
		ret->memory = amount.bytes;
		ret->memory_percent = amount.percent;
	}
	if (lx_str_empty(cpu) || lx_value_cpus(cpu, &cpus) < 0)
		return;
	ret->cpu = (uint64_t)cpus.count * 1000;
	ret->min_cpus = cpus.count ? 0 : cpus.highest + 1;
}

/* The security module that its confinement cannot do without. */
static void read_lsm(const Lxmgr__V1__Instance *pb, struct lx_wanted *want)
{
	const char *value = expanded(pb, "security.apparmor");
	struct lx_map config;

	lx_map_init(&config, NULL);
	if (!lx_str_empty(value) && lx_map_set(&config, "security.apparmor", (char *)(uintptr_t)value) == 0) {
		enum lx_apparmor_mode mode = lx_apparmor_mode(&config);

		want->lsm = lx_apparmor_demanded(mode) ? "apparmor" : NULL;
		want->needs_compiler = want->lsm && mode != LX_APPARMOR_NAMED;
	}
	if (!lx_str_empty(expanded(pb, "security.selinux.context")))
		want->lsm = "selinux";
	lx_map_release(&config);
}

static void describe(struct lx_manager *m, const struct lx_node *n, const char *fingerprint,
		     struct lx_candidate *c)
{
	const Lxmgr__V1__NodeFacts *f = n->pb->facts;

	*c = (struct lx_candidate){
		.name = n->pb->name,
		.online = lx_node_online(n),
		.cordoned = n->pb->cordoned,
		.away_reason = n->pb->status_reason,
		.has_image = fingerprint && lx_map_has(&n->images, fingerprint),
		.can_get_image = fingerprint && lx_image_available(m, n, fingerprint),
		.n_labels = n->pb->n_labels,
		.labels = (const struct lx_pb_entry *const *)(const void *)n->pb->labels,
	};
	if (!f)
		return;
	c->architecture = f->architecture;
	c->cpus = f->cpus;
	c->memory = f->memory_bytes;
	c->disk = f->disk_bytes;
	c->disk_free = f->disk_free_bytes;
	c->bounds_disk = lx_streq(lx_pb_map_get(f->n_features, f->features, "disk-quota"), "yes");
	c->lsm = f->lsm;
	c->lxcfs = lx_streq(lx_pb_map_get(f->n_features, f->features, "lxcfs"), "yes");
	c->intercepts = lx_streq(lx_pb_map_get(f->n_features, f->features, "seccomp-notify"), "yes");
	c->compiles_policy = lx_streq(lx_pb_map_get(f->n_features, f->features, "apparmor-parser"), "yes");
}

static void add_loads(struct lx_manager *m, struct survey *s)
{
	struct lx_map by_name;

	lx_map_init(&by_name, NULL);
	for (size_t i = 0; i < s->n; i++)
		(void)lx_map_set(&by_name, s->candidates[i].name, &s->candidates[i]);
	for (struct lx_map_entry *e = lx_map_first(&m->instances); e; e = lx_map_next(e)) {
		const struct lx_inst *inst = lx_map_value(e);
		struct lx_candidate *c = lx_map_get(&by_name, inst->pb->node);
		struct lx_demand d;

		if (!c)
			continue;
		read_demand(inst->pb, &d);
		lx_load_add(&c->load, &d, c->memory);
	}
	lx_map_release(&by_name);
}

/* Everything about every node, ranked. `pb` may be NULL. Release it also after a failure. */
static int survey(struct lx_manager *m, struct survey *s, const Lxmgr__V1__Instance *pb,
		  const Lxmgr__V1__Image *image, const char *fingerprint)
{
	size_t all = lx_map_count(&m->nodes) + 1;

	s->nodes = calloc(all, sizeof(struct lx_node *));
	s->candidates = calloc(all, sizeof(*s->candidates));
	s->ranked = calloc(all, sizeof(*s->ranked));
	if (!s->nodes || !s->candidates || !s->ranked)
		return -1;
	for (struct lx_map_entry *e = lx_map_first(&m->nodes); e; e = lx_map_next(e), s->n++) {
		s->nodes[s->n] = lx_map_value(e);
		describe(m, s->nodes[s->n], fingerprint, &s->candidates[s->n]);
	}
	add_loads(m, s);
	s->want.needs_image = fingerprint;
	if (image) {
		s->want.architecture = image->architecture;
		s->want.image_bytes = image->unpacked_bytes;
	}
	if (pb) {
		read_demand(pb, &s->want.demand);
		s->want.labels = expanded(pb, "placement.labels");
		read_lsm(pb, &s->want);
		s->want.lxcfs = lx_lxcfs_mode_of(expanded(pb, LX_KEY_LXCFS)) == LX_LXCFS_ON;
		s->want.needs_intercepts = lx_instance_intercepts(pb);
		if (!image)
			s->want.architecture = pb->architecture;
	}
	lx_score(&s->want, s->candidates, s->n, s->ranked);
	return 0;
}

/* ------------------------------------------------------------------ the answer in words */

static bool confined_somewhere(const struct survey *s)
{
	bool found = !s->want.lsm;

	for (size_t i = 0; i < s->n; i++)
		found = found || (s->candidates[i].online && lx_streq(s->candidates[i].lsm, s->want.lsm) &&
				  (!s->want.needs_compiler || s->candidates[i].compiles_policy));
	return found;
}

/* How to get what its confinement demands, or around it. */
static void hint_lsm(const struct lx_wanted *want, struct lx_err *err)
{
	if (lx_streq(want->lsm, "selinux"))
		lx_err_hint(err, "Boot a node with SELinux, or do without security.selinux.context.");
	else
		lx_err_hint(err, "Boot a node with AppArmor and its package apparmor, or ask for less: "
				 "-c security.apparmor=auto confines by it where it is there.");
}

static void nowhere(const struct lx_manager *m, const struct survey *s, struct lx_err *err)
{
	char text[LX_ERR_MSG_MAX];
	size_t at = 0, told = 0, online = 0, cordoned = 0;

	if (s->n == 0) {
		lx_err_set(err, LX_FAILED_PRECONDITION, "the cluster has no node yet");
		lx_err_hint(err,
			    "Let one join: lxmgr node token, then lxagentd --join TOKEN on the machine.");
		return;
	}
	text[0] = '\0';
	for (size_t i = 0; i < s->n; i++) {
		const struct lx_candidate *c = &s->candidates[s->ranked[i].candidate];

		online += c->online;
		cordoned += c->online && c->cordoned;
		if (told == REASONS_MAX || at + LX_SCORE_REASON_MAX > sizeof(text))
			continue;
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%.40s %.100s", told ? "; " : "",
				       c->name, s->ranked[i].reason);
		told++;
	}
	if (told < s->n)
		snprintf(text + at, sizeof(text) - at, "; and %zu more", s->n - told);
	lx_err_set(err, online ? LX_FAILED_PRECONDITION : LX_UNAVAILABLE, "no node %s: %s",
		   online ? "fits" : "is online", text);
	if (!online)
		lx_err_hint(err, "Start lxagentd on a node; lxmgr node list shows when it is back.");
	else if (cordoned == online)
		lx_err_hint(err, "Take the cordon off a node: lxmgr node uncordon NODE");
	else if (!confined_somewhere(s))
		hint_lsm(&s->want, err);
	else
		lx_err_hint(err, "Ask for less, make room, or choose a node yourself: --target NODE is not "
				 "held against its room and labels.");
}

static void not_there(const struct survey *s, const struct lx_node *n, struct lx_err *err)
{
	const char *target = n->pb->name, *reason = "";

	for (size_t i = 0; i < s->n; i++)
		if (s->nodes[s->ranked[i].candidate] == n)
			reason = s->ranked[i].reason;
	if (!lx_node_online(n)) {
		lx_err_set(err, LX_UNAVAILABLE, "node %s is %s", target, reason);
		lx_err_hint(err, "Choose another node, or start lxagentd there.");
	} else {
		lx_err_set(err, LX_FAILED_PRECONDITION, "node %s %s", target, reason);
		if (s->want.lsm && strstr(reason, " demands"))
			hint_lsm(&s->want, err);
		else
			lx_err_hint(
				err,
				"lxmgr node list and lxmgr image show tell which nodes there are, and which "
				"have the image.");
	}
}

static struct lx_node *choose(struct lx_manager *m, const struct survey *s, struct lx_err *err)
{
	if (s->n > 0 && s->ranked[0].fits)
		return s->nodes[s->ranked[0].candidate];
	struct lx_node *n = lx_str_empty(s->want.target) ? NULL : lx_node_find(m, s->want.target, err);

	if (n)
		not_there(s, n, err);
	else if (lx_str_empty(s->want.target))
		nowhere(m, s, err);
	return NULL;
}

static struct lx_node *place(struct lx_manager *m, struct survey *s, const Lxmgr__V1__Instance *pb,
			     const Lxmgr__V1__Image *image, const char *fingerprint, struct lx_err *err)
{
	struct lx_node *found = NULL;

	if (survey(m, s, pb, image, fingerprint) < 0)
		lx_err_oom(err);
	else
		found = choose(m, s, err);
	survey_release(s);
	return found;
}

/* ------------------------------------------------------------------ who asks */

struct lx_node *lx_place(struct lx_manager *m, const Lxmgr__V1__Image *image, const char *target,
			 struct lx_err *err)
{
	struct survey s = { .want = { .target = target } };

	return place(m, &s, NULL, image, image ? image->fingerprint : NULL, err);
}

struct lx_node *lx_place_instance(struct lx_manager *m, const Lxmgr__V1__Instance *pb,
				  const Lxmgr__V1__Image *image, const char *target, struct lx_err *err)
{
	struct survey s = { .want = { .target = target } };

	return place(m, &s, pb, image, image->fingerprint, err);
}

struct lx_node *lx_place_move(struct lx_manager *m, const struct lx_inst *inst, const char *exclude_node,
			      struct lx_err *err)
{
	struct survey s = { .want = { .exclude = exclude_node } };
	const char *fingerprint = inst->pb->image_fingerprint;

	return place(m, &s, inst->pb, lx_image_any(m, fingerprint), fingerprint, err);
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

/* ------------------------------------------------------------------ in detail */

static Lxmgr__V1__PlacementCandidate *explain_one(const struct lx_candidate *c, const struct lx_ranked *r)
{
	Lxmgr__V1__PlacementCandidate *p = malloc(sizeof(*p));

	if (!p)
		return NULL;
	lxmgr__v1__placement_candidate__init(p);
	p->fits = r->fits;
	p->score = r->score;
	p->has_image = c->has_image;
	p->instances = c->load.instances;
	p->cpus = c->cpus;
	p->cpu_promised = (uint32_t)(c->load.cpu_asked < UINT32_MAX ? c->load.cpu_asked : UINT32_MAX);
	p->memory_bytes = c->memory;
	p->memory_promised = c->load.memory_asked;
	p->disk_bytes = c->disk;
	p->disk_free_bytes = c->disk_free;
	p->disk_promised = c->load.disk_asked;
	if (lx_pb_set(&p->node, c->name) == 0 && lx_pb_set(&p->reason, r->reason) == 0)
		return p;
	lx_pb_free(p);
	return NULL;
}

static Lxmgr__V1__Placement *explain(const struct survey *s)
{
	Lxmgr__V1__Placement *p = malloc(sizeof(*p));

	if (!p)
		return NULL;
	lxmgr__v1__placement__init(p);
	p->candidates = calloc(s->n + 1, sizeof(*p->candidates));
	if (!p->candidates)
		goto oom;
	for (size_t i = 0; i < s->n; i++) {
		const struct lx_ranked *r = &s->ranked[i];

		p->candidates[i] = explain_one(&s->candidates[r->candidate], r);
		if (!p->candidates[i])
			goto oom;
		p->n_candidates++;
	}
	if (s->n == 0 || !s->ranked[0].fits || lx_pb_set(&p->node, p->candidates[0]->node) == 0)
		return p;
oom:
	lx_pb_free(p);
	return NULL;
}

Lxmgr__V1__Placement *lx_place_explain(struct lx_manager *m, const Lxmgr__V1__Instance *pb,
				       const Lxmgr__V1__Image *image, const char *target)
{
	struct survey s = { .want = { .target = target } };
	Lxmgr__V1__Placement *p = survey(m, &s, pb, image, image->fingerprint) == 0 ? explain(&s) : NULL;

	survey_release(&s);
	return p;
}
