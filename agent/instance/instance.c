/*
 * The instances this agent has, and what may become of their state. A move the table does
 * not allow is a bug: it is logged and refused (lib/sm.h).
 */
#include "agent/instance/instance.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/instance/cards.h"
#include "agent/instance/monitor.h"
#include "agent/instance/task.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/qname.h"
#include "lib/sm.h"
#include "profiles/profiles.h"
#include "proto/pb.h"

static const char *const state_names[LX_INSTANCE_STATES] = {
	[LX_CREATING] = "CREATING", [LX_STOPPED] = "STOPPED",   [LX_STARTING] = "STARTING",
	[LX_RUNNING] = "RUNNING",   [LX_FREEZING] = "FREEZING", [LX_FROZEN] = "FROZEN",
	[LX_STOPPING] = "STOPPING", [LX_DELETING] = "DELETING", [LX_ERROR] = "ERROR",
};

#define TO LX_SM_TO

/* Every state may end in ERROR; a worker that died half-way (settle.c) may leave any of the resting states.
 */
static const uint32_t moves[LX_INSTANCE_STATES] = {
	[LX_CREATING] = TO(LX_STOPPED) | TO(LX_RUNNING) | TO(LX_ERROR),
	[LX_STOPPED] = TO(LX_STARTING) | TO(LX_DELETING) | TO(LX_RUNNING) | TO(LX_FROZEN) | TO(LX_ERROR),
	[LX_STARTING] = TO(LX_RUNNING) | TO(LX_STOPPED) | TO(LX_ERROR),
	[LX_RUNNING] = TO(LX_FREEZING) | TO(LX_FROZEN) | TO(LX_STOPPING) | TO(LX_DELETING) | TO(LX_ERROR),
	[LX_FREEZING] = TO(LX_FROZEN) | TO(LX_RUNNING) | TO(LX_STOPPING) | TO(LX_STOPPED) | TO(LX_ERROR),
	[LX_FROZEN] = TO(LX_RUNNING) | TO(LX_STOPPING) | TO(LX_STOPPED) | TO(LX_DELETING) | TO(LX_ERROR),
	[LX_STOPPING] = TO(LX_STOPPED) | TO(LX_RUNNING) | TO(LX_FROZEN) | TO(LX_STARTING) | TO(LX_DELETING) |
			TO(LX_ERROR),
	[LX_DELETING] = TO(LX_STOPPED) | TO(LX_RUNNING) | TO(LX_FROZEN) | TO(LX_ERROR),
	[LX_ERROR] = TO(LX_STARTING) | TO(LX_STOPPING) | TO(LX_DELETING) | TO(LX_STOPPED) | TO(LX_RUNNING) |
		     TO(LX_FROZEN),
};

static const struct lx_sm_def machine = {
	.name = "instance",
	.states = state_names,
	.n_states = LX_INSTANCE_STATES,
	.allowed = moves,
};

static const Lxmgr__V1__InstanceStatus statuses[LX_INSTANCE_STATES] = {
	[LX_CREATING] = LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_CREATING,
	[LX_STOPPED] = LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_STOPPED,
	[LX_STARTING] = LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_STARTING,
	[LX_RUNNING] = LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_RUNNING,
	[LX_FREEZING] = LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_FREEZING,
	[LX_FROZEN] = LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_FROZEN,
	[LX_STOPPING] = LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_STOPPING,
	[LX_DELETING] = LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_DELETING,
	[LX_ERROR] = LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_ERROR,
};

/* ------------------------------------------------------------------ life */

int lx_instance_add(struct lx_agent *a, const Lxmgr__V1__InstanceSpec *spec, enum lx_instance_state state,
		    struct lx_instance **ret, struct lx_err *err)
{
	int r = lx_qname_check("instance", spec->name, err);

	if (r < 0)
		return r;
	struct lx_instance *inst = calloc(1, sizeof(*inst));

	if (!inst)
		return lx_err_oom(err);
	inst->agent = a;
	memcpy(inst->name, spec->name, strlen(spec->name) + 1); /* checked: at most LX_NAME_MAX */
	inst->state = state;
	inst->monitor_fd = inst->init_fd = -1;
	inst->spec = LX_PB_DUP(Lxmgr__V1__InstanceSpec, spec);
	lxmgr__v1__instance_usage__init(&inst->usage);
	if (!inst->spec || lx_map_set(&a->instances, inst->name, inst) < 0) {
		lx_instance_free(inst);
		return lx_err_oom(err);
	}
	*ret = inst;
	return 0;
}

void lx_instance_free(void *p)
{
	struct lx_instance *inst = p;

	if (!inst)
		return;
	lx_monitor_stop(inst);
	lx_task_free(inst->task);
	lx_task_free(inst->next);
	lx_pb_free(inst->spec);
	lx_pb_strv_free(&inst->n_cards, &inst->cards);
	free(inst->last_operation);
	free(inst->reason);
	free(inst);
}

struct lx_instance *lx_instance_find(struct lx_agent *a, const char *name, uint64_t generation,
				     struct lx_err *err)
{
	struct lx_instance *inst = lx_map_get(&a->instances, name);

	if (!inst) {
		lx_err_set(err, LX_NOT_FOUND, "instance %.64s does not exist on node %s", name, a->node);
		return NULL;
	}
	return lx_instance_check_generation(inst, generation, err) < 0 ? NULL : inst;
}

int lx_instance_check_generation(const struct lx_instance *inst, uint64_t generation, struct lx_err *err)
{
	if (generation == 0 || generation == inst->spec->generation)
		return 0;
	lx_err_set(err, LX_FAILED_PRECONDITION,
		   "node %s holds generation %llu of %s, the request is for generation %llu",
		   inst->agent->node, (unsigned long long)inst->spec->generation, inst->name,
		   (unsigned long long)generation);
	lx_err_hint(err, "The instance has changed hands in between. Look again where it runs: lxmgr list %s",
		    inst->name);
	return -EBUSY;
}

/* ------------------------------------------------------------------ state */

void lx_instance_move(struct lx_instance *inst, enum lx_instance_state to, const char *reason)
{
	char *copy = lx_str_empty(reason) ? NULL : strdup(reason);

	if (inst->state != (unsigned)to && lx_sm_move(&machine, &inst->state, to, inst->name) < 0) {
		free(copy);
		return;
	}
	free(inst->reason);
	inst->reason = copy;
	if (to == LX_STOPPED)
		lx_cards_gone(inst);
	lx_watch_instance(inst->agent, inst);
}

const char *lx_instance_state_name(const struct lx_instance *inst)
{
	return lx_sm_name(&machine, inst->state);
}

bool lx_instance_is_up(const struct lx_instance *inst)
{
	return inst->state == LX_RUNNING || inst->state == LX_FREEZING || inst->state == LX_FROZEN;
}

int lx_instance_need_running(const struct lx_instance *inst, struct lx_err *err)
{
	if (inst->state == LX_RUNNING)
		return 0;
	if (inst->state == LX_FROZEN || inst->state == LX_FREEZING) {
		lx_err_set(err, LX_FAILED_PRECONDITION, "%s is frozen", inst->name);
		lx_err_hint(err, "Let it go on first: lxmgr unfreeze %s", inst->name);
	} else {
		lx_err_set(err, LX_FAILED_PRECONDITION, "%s is not running (it is %s)", inst->name,
			   lx_instance_state_name(inst));
		lx_err_hint(err, "Start it first: lxmgr start %s", inst->name);
	}
	return -EBUSY;
}

/*
 * Until init has become the guest's program it is what it will be then. No such files: no AppArmor. Profiles
 * that the guest has loaded have names of its own making.
 */
static void read_label(pid_t init, char *out, size_t n)
{
	static const char *const files[] = { "exec", "current" };
	char path[64];

	out[0] = '\0';
	for (size_t i = 0; i < LX_ARRAY_SIZE(files) && init > 0 && !*out; i++) {
		snprintf(path, sizeof(path), "/proc/%d/attr/apparmor/%s", (int)init, files[i]);
		if (lx_read_line(path, out, n) < 0)
			out[0] = '\0';
	}
	for (char *p = out; *p; p++)
		if (*p < ' ' || *p > '~')
			*p = '?';
}

void lx_instance_report(const struct lx_instance *inst, struct lx_report *ret)
{
	Lxmgr__V1__InstanceReport *pb = &ret->pb;

	lxmgr__v1__instance_report__init(pb);
	pb->name = (char *)(uintptr_t)inst->name;
	pb->uuid = inst->spec->uuid;
	pb->generation = inst->spec->generation;
	pb->spec_digest = lx_pb_spec_digest(inst->spec);
	pb->image_fingerprint = inst->spec->image_fingerprint;
	pb->status = statuses[inst->state];
	if (inst->reason)
		pb->status_reason = inst->reason;
	pb->pid = inst->init;
	pb->started_at_ns = inst->started_at_ns;
	pb->lxcfs_lost = inst->lxcfs_lost;
	pb->cards_settled = lx_cards_settled(inst);
	read_label(inst->init, ret->apparmor, sizeof(ret->apparmor));
	pb->apparmor = ret->apparmor;
	if (inst->has_usage) {
		ret->usage = inst->usage;
		pb->usage = &ret->usage;
	}
}

/* ------------------------------------------------------------------ specification */

char *lx_instance_path(const struct lx_instance *inst, const char *leaf)
{
	return lx_asprintf("%s/%s/%s", inst->agent->instances_dir, inst->name, leaf);
}

bool lx_instance_on_disk(const struct lx_instance *inst)
{
	lx_autofree char *path = lx_instance_path(inst, "spec.pb");

	return path && lx_path_exists(path);
}

const char *lx_instance_config(const struct lx_instance *inst, const char *key)
{
	static const struct lx_map empty;
	const char *value = lx_pb_map_get(inst->spec->n_config, inst->spec->config, key);

	return value ? value : lx_config_get(&empty, key);
}

int lx_instance_set_spec(struct lx_instance *inst, const Lxmgr__V1__InstanceSpec *spec, struct lx_err *err)
{
	Lxmgr__V1__InstanceSpec *copy = LX_PB_DUP(Lxmgr__V1__InstanceSpec, spec);

	if (!copy)
		return lx_err_oom(err);
	lx_pb_free(inst->spec);
	inst->spec = copy;
	inst->knows_limit = false;
	return 0;
}
