/*
 * Noting on disk that an instance is (not) wanted running: what boot.autostart=last-state
 * goes by after the machine has restarted. Workers write the specification when they create,
 * start and update; this is for an instance that has stopped. Done in a thread, because it
 * ends with fsync; a failure is logged, and the instance counts as wanted.
 */
#include <stdlib.h>

#include "agent/instance/task.h"
#include "agent/loop.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "proto/pb.h"

struct lx_task_store {
	struct lx_task *task; /* NULL: it went away meanwhile */
	char *path;
	uint8_t *data;
	size_t len;
	int r;
	struct lx_err err;
};

static void free_store(struct lx_task_store *s)
{
	free(s->path);
	free(s->data);
	free(s);
}

static void write_spec(void *arg)
{
	struct lx_task_store *s = arg;

	s->r = lx_write_file_atomic(s->path, s->data, s->len, 0600, &s->err);
}

static void warn(const struct lx_instance *inst, const struct lx_err *err)
{
	lx_warn("cannot note that an instance has stopped", "instance=%s error=\"%s\"", inst->name, err->msg);
}

static void written(void *arg)
{
	struct lx_task_store *s = arg;
	struct lx_task *t = s->task;

	if (t) {
		t->store = NULL;
		if (s->r < 0)
			warn(t->inst, &s->err);
	}
	free_store(s);
	if (t)
		t->next(t);
}

static int begin(struct lx_task *t, struct lx_err *err)
{
	struct lx_instance *inst = t->inst;
	struct lx_task_store *s = calloc(1, sizeof(*s));

	if (!s)
		return lx_err_oom(err);
	s->path = lx_instance_path(inst, "spec.pb");
	s->data = lx_pb_pack(&inst->spec->base, &s->len);
	int r = s->path && s->data ? lx_loop_work(inst->agent->loop, write_spec, written, s, err)
				   : lx_err_oom(err);

	if (r < 0) {
		free_store(s);
		return r;
	}
	s->task = t;
	t->store = s;
	return 0;
}

void lx_task_store(struct lx_task *t, bool started, void (*next)(struct lx_task *t))
{
	struct lx_instance *inst = t->inst;
	struct lx_err err = LX_ERR_INIT;

	t->next = next;
	if ((bool)inst->spec->started != started && lx_instance_on_disk(inst)) {
		inst->spec->started = started;
		if (begin(t, &err) == 0)
			return;
		warn(inst, &err);
	}
	next(t);
}

void lx_task_store_forget(struct lx_task_store *s)
{
	if (s)
		s->task = NULL;
}
