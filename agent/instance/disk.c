/*
 * CheckDiskSize: asked before a size is stored, so that one that is less than what is taken, or that
 * nothing here would hold to, is refused before anything has changed. A thread looks: the account may be
 * right only when the file system has been flushed.
 */
#include "agent/instance/disk.h"

#include <stdlib.h>

#include "agent/loop.h"
#include "lib/cleanup.h"
#include "lib/str.h"

void lx_disk_sample(const struct lx_instance *inst, Lxmgr__V1__InstanceUsage *ret)
{
	char dir[LX_QUOTA_PATH_MAX];
	struct lx_quota_room room;

	snprintf(dir, sizeof(dir), "%s/%s", inst->agent->instances_dir, inst->name);
	if (lx_quota_read(dir, &room) < 0)
		room = (struct lx_quota_room){ 0 };
	ret->disk_bytes = room.used;
	ret->disk_limit_bytes = room.limit;
}

struct check {
	struct lx_call *call; /* NULL: gone */
	char name[LX_NAME_MAX + 1];
	char dir[LX_QUOTA_PATH_MAX];
	uint64_t size;
	bool stopped;
	struct lx_err err;
};

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	((struct check *)arg)->call = NULL;
}

static const struct lx_call_events call_events = { .closed = on_closed };

static void work(void *arg)
{
	struct check *c = arg;

	(void)lx_quota_check(c->dir, c->name, c->size, c->stopped, &c->err);
}

static void done(void *arg)
{
	Lxmgr__V1__AgentCheckDiskSizeResponse resp = LXMGR__V1__AGENT_CHECK_DISK_SIZE_RESPONSE__INIT;
	struct check *c = arg;

	if (c->call) {
		lx_call_set_events(c->call, NULL, NULL);
		if (c->err.code == LX_OK)
			lx_call_reply(c->call, &resp.base);
		else
			lx_call_fail(c->call, &c->err);
	}
	free(c);
}

void lx_disk_check_call(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__AgentCheckDiskSizeRequest *req = (const void *)msg;
	struct lx_agent *a = arg;
	struct lx_err err = LX_ERR_INIT;
	const struct lx_instance *inst = lx_instance_find(a, req->name, 0, &err);
	struct check *c = inst ? calloc(1, sizeof(*c)) : NULL;

	if (inst && !c)
		lx_err_oom(&err);
	if (!c) {
		lx_call_fail(call, &err);
		return;
	}
	c->call = call;
	c->size = req->size_bytes;
	c->stopped = inst->state == LX_STOPPED;
	snprintf(c->name, sizeof(c->name), "%s", inst->name);
	snprintf(c->dir, sizeof(c->dir), "%s/%s", a->instances_dir, inst->name);
	lx_call_set_events(call, &call_events, c);
	if (lx_loop_work(a->loop, work, done, c, &err) == 0)
		return;
	lx_call_set_events(call, NULL, NULL);
	lx_call_fail(call, &err);
	free(c);
}
