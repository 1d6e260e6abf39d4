/*
 * boot.autostart. The kernel's boot id, kept in state/boot-id, tells a restart of the machine
 * from one of the agent; it is written when all that was due has been tried, so an agent
 * that dies in between begins again (what runs by then is left as it is).
 *
 * All are asked for at once, the higher priority first: the job queue makes it a few at a
 * time. One that fails is logged and stays STOPPED.
 */
#include "agent/instance/autostart.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/instance/task.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/log.h"

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

static void read_id(const char *path, char id[64])
{
	if (!path || lx_read_line(path, id, 64) < 0)
		*id = '\0';
}

bool lx_autostart_due(const struct lx_agent *a)
{
	lx_autofree char *path = lx_path_join(a->state_dir, "boot-id");
	char now[64], then[64];

	read_id(BOOT_ID, now);
	read_id(path, then);
	return !lx_streq(now, then);
}

static void remember(const struct lx_agent *a)
{
	lx_autofree char *path = lx_path_join(a->state_dir, "boot-id");
	struct lx_err err = LX_ERR_INIT;
	char now[64], line[66];

	read_id(BOOT_ID, now);
	snprintf(line, sizeof(line), "%s\n", now);
	if (path && lx_write_file_atomic(path, line, strlen(line), 0600, &err) < 0)
		lx_warn("cannot note the machine's boot id: instances may be started again", "error=\"%s\"",
			err.msg);
}

static void on_ended(struct lx_agent *a)
{
	for (struct lx_map_entry *e = lx_map_first(&a->instances); e; e = lx_map_next(e)) {
		const struct lx_instance *inst = lx_map_value(e);

		if (inst->task && inst->task->verb == &lx_verb_autostart)
			return;
	}
	if (!a->stopping) {
		a->rebooted = false;
		remember(a);
	}
}

static int begin(struct lx_task *t, struct lx_err *err)
{
	return lx_verb_start.begin(t, err);
}

const struct lx_verb lx_verb_autostart = { .name = "autostart",
					   .doing = "started with its machine",
					   .begin = begin,
					   .own = true,
					   .ended = on_ended };

/* ------------------------------------------------------------------ which, and in which order */

static bool is_wanted(const struct lx_instance *inst)
{
	const char *autostart = lx_instance_config(inst, "boot.autostart");
	bool always;

	if (inst->state != LX_STOPPED)
		return false;
	if (lx_streq(autostart, "last-state"))
		return inst->spec->started;
	return lx_parse_bool(autostart, &always) == 0 && always;
}

static uint64_t priority(const struct lx_instance *inst)
{
	uint64_t p = 0;

	(void)lx_parse_u64(lx_instance_config(inst, "boot.autostart.priority"), &p);
	return p;
}

static int compare(const void *a, const void *b)
{
	const struct lx_instance *const *x = a, *const *y = b;
	uint64_t px = priority(*x), py = priority(*y);

	if (px != py)
		return px > py ? -1 : 1;
	return strcmp((*x)->name, (*y)->name);
}

void lx_autostart_run(struct lx_agent *a)
{
	struct lx_instance **list = calloc(lx_map_count(&a->instances) + 1, sizeof(*list));
	struct lx_err err = LX_ERR_INIT;
	size_t n = 0;

	if (!list) {
		lx_error("cannot start instances: out of memory", "");
		return;
	}
	for (struct lx_map_entry *e = lx_map_first(&a->instances); a->rebooted && e; e = lx_map_next(e))
		if (is_wanted(lx_map_value(e)))
			list[n++] = lx_map_value(e);
	qsort(list, n, sizeof(*list), compare);
	if (n > 0)
		lx_info("starting instances after a restart of the machine", "count=%zu", n);
	for (size_t i = 0; i < n; i++) {
		struct lx_task *t;

		if (lx_task_new(list[i], &lx_verb_autostart, "", &t, &err) == 0)
			lx_task_begin(t);
		else
			lx_error("cannot start an instance", "instance=%s error=\"%s\"", list[i]->name,
				 err.msg);
	}
	free(list);
	if (n == 0)
		on_ended(a);
}
