/*
 * An agent that stops leaves bridges, rules and control groups up, so that containers go on.
 * This is the other end: the machine as it was before. It takes the agent's lock, so no agent
 * can be in the way, and refuses while a container runs.
 */
#include "agent/teardown.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"

#define CGROUP_TOP   "/sys/fs/cgroup"
#define CGROUP_DEPTH 16

/* ------------------------------------------------------------------ control groups */

/* Removes a tree of control groups from the leaves up. -EBUSY: processes live in there. */
static int remove_tree(const char *path, int depth)
{
	lx_autoclosedir DIR *dir = opendir(path);
	struct dirent *e;
	int r = 0;

	if (!dir)
		return errno == ENOENT ? 0 : -errno;
	while (depth < CGROUP_DEPTH && r == 0 && (e = readdir(dir))) {
		if (e->d_type != DT_DIR || lx_streq(e->d_name, ".") || lx_streq(e->d_name, ".."))
			continue;
		lx_autofree char *below = lx_path_join(path, e->d_name);

		r = below ? remove_tree(below, depth + 1) : -ENOMEM;
	}
	if (r == 0 && rmdir(path) < 0 && errno != ENOENT)
		r = -errno;
	return r;
}

/* In the one hierarchy of v2, and in each one of v1 and hybrid hosts. */
static int remove_cgroups(const char *root, struct lx_err *err)
{
	lx_autoclosedir DIR *top = opendir(CGROUP_TOP);
	struct dirent *e;
	int r = 0;

	while (top && r == 0 && (e = readdir(top))) {
		if (lx_streq(e->d_name, "..") || (e->d_type != DT_DIR && e->d_type != DT_LNK))
			continue;
		lx_autofree char *path = lx_asprintf("%s/%s/%s", CGROUP_TOP, e->d_name, root);

		r = path ? remove_tree(path, 0) : -ENOMEM;
		if (r < 0)
			lx_err_errno(err, r, "cannot remove control group %s", path ? path : root);
	}
	if (r == -EBUSY)
		lx_err_hint(err, "Something runs in there. Stop the instances first: lxmgr stop --all");
	return r;
}

/* Is a container of ours alive? Asked before anything is touched. */
static bool populated(const char *root, char *name, size_t size)
{
	lx_autofree char *dir = lx_asprintf("%s/unified/%s", CGROUP_TOP, root);
	lx_autofree char *v2 = lx_asprintf("%s/%s", CGROUP_TOP, root);
	const char *const at[] = { dir, v2 };
	char line[64];

	for (size_t i = 0; i < LX_ARRAY_SIZE(at); i++) {
		lx_autoclosedir DIR *d = at[i] ? opendir(at[i]) : NULL;
		struct dirent *e;

		while (d && (e = readdir(d))) {
			if (e->d_type != DT_DIR || *e->d_name == '.')
				continue;
			lx_autofree char *events = lx_asprintf("%s/%s/cgroup.events", at[i], e->d_name);

			if (events && lx_read_line(events, line, sizeof(line)) == 0 &&
			    lx_streq(line, "populated 1")) {
				snprintf(name, size, "%s", e->d_name);
				return true;
			}
		}
	}
	return false;
}

/* ------------------------------------------------------------------ networks */

struct networks {
	struct lx_network_ctx *ctx;
	struct lx_err err;
};

static void on_down(const struct lx_err *err, void *arg)
{
	struct networks *n = arg;

	if (err)
		n->err = *err;
	lx_network_close(n->ctx, NULL, NULL);
}

static int remove_networks(const struct lx_agent_options *opt, struct lx_err *err)
{
	struct networks n = { .err = LX_ERR_INIT };
	uv_loop_t loop;

	if (uv_loop_init(&loop) < 0)
		return lx_err_oom(err);
	int r = lx_network_open(&loop, opt->state_dir, opt->run_dir, &n.ctx, err);

	if (r == 0 && (r = lx_network_teardown(n.ctx, on_down, &n, err)) < 0)
		lx_network_close(n.ctx, NULL, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	if (r == 0 && n.err.code != LX_OK) {
		if (err)
			*err = n.err;
		r = lx_code_errno(n.err.code);
	}
	return r;
}

/* ------------------------------------------------------------------ all of it */

int lx_agent_teardown(const struct lx_agent_options *opt, struct lx_err *err)
{
	lx_autofree char *path = lx_path_join(opt->state_dir, "lock");
	lx_autoclose int lock = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	char name[256];

	if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) < 0) {
		int r = lx_err_set(err, LX_FAILED_PRECONDITION, "an agent is running on %s", opt->state_dir);

		lx_err_hint(err, "Stop it first.");
		return r;
	}
	if (populated(opt->cgroup_root, name, sizeof(name))) {
		int r = lx_err_set(err, LX_FAILED_PRECONDITION, "instance %s is running", name);

		lx_err_hint(err, "Stop the instances first: lxmgr stop --all");
		return r;
	}
	int r = remove_networks(opt, err);

	return r < 0 ? r : remove_cgroups(opt->cgroup_root, err);
}
