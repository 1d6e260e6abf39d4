/*
 * The two processes of a running instance.
 *
 *   init exits, monitor stays    the guest reboots (the monitor starts a new init), or the
 *                                monitor is about to follow
 *   monitor exits                it has stopped
 *
 * Process numbers come from workers and may be old: a pidfd is opened first, then what it
 * stands for is checked. The monitor is known by its title, init by being its child.
 */
#include "agent/instance/monitor.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "agent/instance/cards.h"
#include "agent/instance/intercept.h"
#include "agent/instance/task.h"
#include "agent/loop.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lxmgr/v1/worker.pb-c.h"
#include "proto/pb.h"

#define MONITOR_TITLE "[lxc monitor] "
#define RECORD_MAX    65536u

static int open_pid(pid_t pid)
{
	return pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
}

static bool is_monitor(const struct lx_instance *inst, pid_t pid)
{
	char path[64];
	lx_autobuf struct lx_buf title = { 0 };
	lx_autobuf struct lx_buf want = { 0 };

	snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
	return lx_read_file(path, 65536, &title, NULL) == 0 &&
	       lx_buf_printf(&want, MONITOR_TITLE "%s %s", inst->agent->instances_dir, inst->name) == 0 &&
	       lx_starts_with(lx_buf_str(&title), lx_buf_str(&want));
}

static pid_t child_of(pid_t pid)
{
	char path[64], line[256];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	if (lx_read_line(path, line, sizeof(line)) < 0)
		return 0;
	return (pid_t)strtol(line, NULL, 10);
}

/* When a process started, in ticks since the machine's boot; 0 when it has gone. */
static uint64_t start_ticks(pid_t pid)
{
	char path[64], line[1024];

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (lx_read_line(path, line, sizeof(line)) < 0)
		return 0;
	/* The name in parentheses may hold anything; field 22 is the 20th after it. */
	char *p = strrchr(line, ')');

	for (int i = 0; p && i < 20; i++)
		p = strchr(p + 1, ' ');
	return p ? strtoull(p, NULL, 10) : 0;
}

/* The same as nanoseconds since the epoch. */
static int64_t start_time(uint64_t ticks)
{
	struct timespec boot;

	if (ticks == 0 || clock_gettime(CLOCK_BOOTTIME, &boot) < 0)
		return 0;
	uint64_t since_boot = (uint64_t)boot.tv_sec * LX_NSEC_PER_SEC + (uint64_t)boot.tv_nsec;
	uint64_t started = ticks * (LX_NSEC_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK));

	return (int64_t)(lx_now_realtime_ns() - (since_boot - started));
}

/* A guest that was restored is older than its init: the record of the run knows. 0: nothing else is known. */
static int64_t booted_at(const struct lx_instance *inst, uint64_t ticks)
{
	lx_autobuf struct lx_buf data = { 0 };
	lx_autofree char *path = lx_asprintf("%s/%s.pb", inst->agent->run_dir, inst->name);
	int64_t at = 0;

	if (!path || lx_read_file(path, RECORD_MAX, &data, NULL) < 0)
		return 0;
	Lxmgr__V1__RunRecord *rec = lxmgr__v1__run_record__unpack(NULL, data.len, data.data);

	if (rec && rec->init_pid == inst->init && rec->init_start == ticks)
		at = rec->started_at_ns;
	lx_pb_free(rec);
	return at > 0 && at < inst->here_since_ns ? at : 0;
}

/* `inst->init` is known, and what it is known of is read once. */
static void note_start(struct lx_instance *inst)
{
	uint64_t ticks = start_ticks(inst->init);

	inst->here_since_ns = start_time(ticks);
	inst->started_at_ns = booted_at(inst, ticks);
	if (inst->started_at_ns == 0)
		inst->started_at_ns = inst->here_since_ns;
}

static void drop(struct lx_fdwatch **watch, int *fd)
{
	lx_fdwatch_drop(watch);
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/*
 * Of what an init dies says what its guest asked for: SIGHUP stands for a restart (reboot(2), in
 * a PID namespace). It is there to read as long as nobody has collected the process, field 52
 * of its stat; and the monitor of a restored instance, which does not start it again, does
 * not collect it either.
 */
static bool asked_for_restart(pid_t init)
{
	char path[64], line[1024];

	snprintf(path, sizeof(path), "/proc/%d/stat", init);
	if (init <= 0 || lx_read_line(path, line, sizeof(line)) < 0)
		return false;
	const char *state = strrchr(line, ')'), *code = strrchr(line, ' ');

	return state && state[1] == ' ' && state[2] == 'Z' && code && strtol(code, NULL, 10) == SIGHUP;
}

static void on_init_exit(void *arg, int events)
{
	struct lx_instance *inst = arg;

	inst->wants_restart = asked_for_restart(inst->init);
	drop(&inst->on_init, &inst->init_fd);
	inst->init_gone = true;
	lx_monitor_act(inst);
}

static void on_monitor_exit(void *arg, int events)
{
	struct lx_instance *inst = arg;

	drop(&inst->on_monitor, &inst->monitor_fd);
	inst->monitor_gone = true;
	lx_monitor_act(inst);
}

static bool has_exited(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, 0) > 0;
}

bool lx_monitor_find_init(struct lx_instance *inst)
{
	pid_t init = child_of(inst->monitor);
	int fd = open_pid(init);

	if (fd < 0)
		return false;
	/*
	 * Still the monitor's child now that we hold it: it is the right one. The one before is
	 * the monitor's child as well until the monitor has taken notice of its end.
	 */
	if (child_of(inst->monitor) != init || has_exited(fd) ||
	    lx_fdwatch_start(inst->agent->loop, fd, UV_READABLE, on_init_exit, inst, &inst->on_init, NULL) <
		    0) {
		close(fd);
		return false;
	}
	inst->init_fd = fd;
	inst->init = init;
	inst->init_gone = false;
	note_start(inst);
	/* It may be new to us, and after a reboot inside its cards' host ends are new in any case. */
	lx_cards_adopt(inst);
	return true;
}

void lx_monitor_start(struct lx_instance *inst, pid_t monitor)
{
	lx_monitor_stop(inst);
	inst->monitor = monitor;
	inst->monitor_fd = open_pid(monitor);
	if (inst->monitor_fd < 0 || !is_monitor(inst, monitor) ||
	    lx_fdwatch_start(inst->agent->loop, inst->monitor_fd, UV_READABLE, on_monitor_exit, inst,
			     &inst->on_monitor, NULL) < 0) {
		inst->monitor_gone = true;
		return;
	}
	inst->init_gone = !lx_monitor_find_init(inst);
	lx_intercept_adopt(inst);
}

void lx_monitor_stop(struct lx_instance *inst)
{
	lx_intercept_drop(inst);
	drop(&inst->on_monitor, &inst->monitor_fd);
	drop(&inst->on_init, &inst->init_fd);
	inst->monitor = inst->init = 0;
	inst->lxcfs_lost = false;
	inst->monitor_gone = inst->init_gone = inst->wants_restart = false;
	inst->started_at_ns = inst->here_since_ns = 0;
	inst->has_usage = inst->knows_limit = false;
}

void lx_monitor_act(struct lx_instance *inst)
{
	struct lx_err err = LX_ERR_INIT;
	struct lx_task *t;

	if (inst->task || inst->agent->stopping || !(inst->init_gone || inst->monitor_gone))
		return;
	if (lx_task_new(inst, &lx_verb_end, "", &t, &err) < 0) {
		lx_error("cannot see to an instance that has ended", "instance=%s error=\"%s\"", inst->name,
			 err.msg);
		return;
	}
	lx_task_begin(t);
}
