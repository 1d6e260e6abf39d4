/*
 * The instances on disk, when the agent starts:
 *
 *   <name>/spec.pb       an instance: a probe says whether it runs, and it is adopted as it is
 *   <name>/ without      a creation that was cut short: removed, with all that may run of it
 *   .deleting-*          a deletion that was cut short: removed
 *
 * A specification that cannot be read makes an instance in ERROR, which only a person may
 * delete; anything else in the directory is left alone.
 */
#include "agent/instance/instance.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/instance/task.h"
#include "agent/loop.h"
#include "agent/move/move.h"
#include "agent/worker/disk_quota.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/qname.h"
#include "proto/pb.h"

#define SPEC_MAX LX_WORKER_DATAGRAM_MAX
#define DELETING ".deleting-"

static int read_spec(const char *path, Lxmgr__V1__InstanceSpec **ret, struct lx_err *err)
{
	lx_autobuf struct lx_buf data = { 0 };
	int r = lx_read_file(path, SPEC_MAX, &data, err);

	if (r < 0)
		return r;
	*ret = lxmgr__v1__instance_spec__unpack(NULL, data.len, data.data);
	if (!*ret)
		return lx_err_set(err, LX_DATA_LOSS, "%s is damaged: it holds no instance specification",
				  path);
	return 0;
}

static int look_at(struct lx_instance *inst, struct lx_err *err)
{
	struct lx_task *t;
	int r = lx_task_new(inst, &lx_verb_look, "", &t, err);

	if (r == 0)
		lx_task_begin(t);
	return r;
}

static int load_one(struct lx_agent *a, const char *name, struct lx_err *err)
{
	lx_autofree char *path = lx_asprintf("%s/%s/spec.pb", a->instances_dir, name);
	Lxmgr__V1__InstanceSpec nameless = LXMGR__V1__INSTANCE_SPEC__INIT, *spec = NULL;
	struct lx_err why = LX_ERR_INIT;
	struct lx_instance *inst;

	if (!path)
		return lx_err_oom(err);
	int read = read_spec(path, &spec, &why);
	bool sane = read == 0 && lx_streq(spec->name, name);

	if (read == 0 && !sane)
		lx_err_set(&why, LX_DATA_LOSS, "%s is about an instance by the name of %.64s", path,
			   spec->name);
	nameless.name = (char *)(uintptr_t)name;
	int r = lx_instance_add(a, sane ? spec : &nameless, read == -ENOENT ? LX_CREATING : LX_STOPPED, &inst,
				err);

	lx_pb_free(spec);
	if (r < 0)
		return r;
	/* One that was being moved goes on where its journal says it is. */
	if (lx_move_resume(inst))
		return 0;
	if (read == 0 && sane)
		return look_at(inst, err);
	if (read == -ENOENT) {
		lx_info("removing a half-created instance", "instance=%s", name);
		return look_at(inst, err);
	}
	lx_error("cannot read an instance", "instance=%s error=\"%s\"", name, why.msg);
	lx_instance_move(inst, LX_ERROR, why.msg);
	return 0;
}

static bool anything_looked_at(const struct lx_agent *a)
{
	for (struct lx_map_entry *e = lx_map_first(&a->instances); e; e = lx_map_next(e)) {
		const struct lx_instance *inst = lx_map_value(e);

		if (inst->task && inst->task->verb == &lx_verb_look)
			return true;
	}
	return false;
}

/* ------------------------------------------------------------------ what deletions left */

struct leftover {
	struct lx_err err;
	int r;
	char path[];
};

static void leftover_work(void *arg)
{
	struct leftover *l = arg;

	lx_quota_release(l->path);
	l->r = lx_rm_rf(l->path, &l->err);
}

static void leftover_done(void *arg)
{
	struct leftover *l = arg;

	if (l->r < 0)
		lx_warn("cannot remove what is left over", "path=%s error=\"%s\"", l->path, l->err.msg);
	free(l);
}

static void remove_leftover(uv_loop_t *loop, const char *path)
{
	struct lx_err err = LX_ERR_INIT;
	struct leftover *l = calloc(1, sizeof(*l) + strlen(path) + 1);

	if (!l)
		lx_err_oom(&err);
	else
		memcpy(l->path, path, strlen(path) + 1);
	if (l && lx_loop_work(loop, leftover_work, leftover_done, l, &err) == 0)
		return;
	lx_warn("cannot remove what is left over", "path=%s error=\"%s\"", path, err.msg);
	free(l);
}

int lx_instances_load(struct lx_agent *a, struct lx_err *err)
{
	lx_autoclosedir DIR *d = opendir(a->instances_dir);

	if (!d)
		return lx_err_errno(err, errno, "cannot read %s", a->instances_dir);
	for (struct dirent *e; (e = readdir(d));) {
		lx_autofree char *path = lx_path_join(a->instances_dir, e->d_name);

		if (!path)
			return lx_err_oom(err);
		if (lx_starts_with(e->d_name, DELETING))
			remove_leftover(a->loop, path);
		else if (lx_is_dir(path) && lx_qname_check("instance", e->d_name, NULL) == 0) {
			int r = load_one(a, e->d_name, err);

			if (r < 0)
				return r;
		}
	}
	while (anything_looked_at(a))
		uv_run(a->loop, UV_RUN_ONCE);
	return 0;
}
