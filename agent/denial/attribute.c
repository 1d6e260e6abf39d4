/*
 * Whose a record is; see denials.h. A process may have gone when its record is read, and its
 * number may be another's: what can be told without it is, and a process that began after the
 * record is not the one.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/denial/denials.h"
#include "agent/instance/instance.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fs.h"
#include "lib/str.h"

#define PROC_FILE_MAX 16384
/* Behind the ")" that ends a process's name in /proc/PID/stat: its start is the 20th word. */
#define START_WORD 20

static bool is_here(const struct lx_agent *a, const char *instance)
{
	return lx_map_has(&a->instances, instance);
}

/* ------------------------------------------------------------------ by user */

static bool by_user(const struct lx_agent *a, int64_t uid, char *ret)
{
	for (struct lx_map_entry *e = lx_map_first(&a->instances); e && uid > 0; e = lx_map_next(e)) {
		const struct lx_instance *inst = lx_map_value(e);
		int64_t base = inst->spec->idmap_base;

		if (base == 0 || uid < base || uid >= base + inst->spec->idmap_size)
			continue;
		snprintf(ret, LX_NAME_MAX + 1, "%s", inst->name);
		return true;
	}
	return false;
}

/* ------------------------------------------------------------------ by process */

static bool read_proc(int64_t pid, const char *leaf, struct lx_buf *out)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%lld/%s", (long long)pid, leaf);
	return lx_read_file(path, PROC_FILE_MAX, out, NULL) == 0 && out->len > 0;
}

/* Since the epoch, in ms, not later than it was; 0: not known. */
static uint64_t started_ms(int64_t pid)
{
	lx_autobuf struct lx_buf text = { 0 };
	struct timespec boot;
	const char *p = read_proc(pid, "stat", &text) ? strrchr(lx_buf_str(&text), ')') : NULL;
	long hz = sysconf(_SC_CLK_TCK);

	for (int word = 0; p && word < START_WORD; word++) {
		p = strchr(p, ' ');
		p = p ? p + 1 : NULL;
	}
	if (!p || hz <= 0 || clock_gettime(CLOCK_BOOTTIME, &boot) < 0)
		return 0;
	uint64_t up_ms = (uint64_t)boot.tv_sec * 1000 + (uint64_t)boot.tv_nsec / 1000000;

	return lx_now_realtime_ns() / LX_NSEC_PER_MSEC - up_ms + strtoull(p, NULL, 10) * 1000 / (uint64_t)hz;
}

/* "12:pids:/lxmgr/web1/payload/..." and "0::/lxmgr/web1/payload/..." alike. */
static bool in_cgroup(const char *line, const char *root, char *ret)
{
	const char *colon = strchr(line, ':'), *path = colon ? strchr(colon + 1, ':') : NULL;
	size_t n;

	root += *root == '/';
	n = strlen(root);
	if (!path || path[1] != '/' || strncmp(path + 2, root, n) != 0 || path[2 + n] != '/')
		return false;
	const char *name = path + 2 + n + 1;
	size_t len = strcspn(name, "/\n");

	if (len == 0 || len > LX_NAME_MAX || name[len] != '/')
		return false;
	memcpy(ret, name, len);
	ret[len] = '\0';
	return true;
}

static bool by_process(const struct lx_agent *a, const struct lx_audit_record *r, char *ret)
{
	lx_autobuf struct lx_buf text = { 0 };
	bool found = false;

	if (r->pid <= 0 || !read_proc(r->pid, "cgroup", &text))
		return false;
	for (const char *line = lx_buf_str(&text); line && !found; line = strchr(line, '\n')) {
		line += *line == '\n';
		found = in_cgroup(line, a->cgroups.root, ret) && is_here(a, ret);
	}
	if (!found)
		return false;
	/* Read last: whoever has the number now had it when its cgroup was read, or that was wrong too. */
	uint64_t since = started_ms(r->pid);

	return since != 0 && since <= r->time_ms;
}

/* ------------------------------------------------------------------ */

enum lx_audit_of lx_audit_attribute(struct lx_agent *a, const struct lx_audit_record *r, char *ret)
{
	char name[LX_NAME_MAX + 1] = "";
	enum lx_audit_of of = LX_AUDIT_OF_INSTANCE;
	bool ours = *r->profile && lx_audit_instance(a->cgroups.root, r->profile, name, sizeof(name));

	if (!(ours && is_here(a, name)) && !by_user(a, r->uid, name) && !by_process(a, r, name))
		of = ours || r->seccomp ? LX_AUDIT_OF_NODE : LX_AUDIT_OF_NOBODY;
	snprintf(ret, LX_NAME_MAX + 1, "%s", of == LX_AUDIT_OF_INSTANCE ? name : "");
	return of;
}
