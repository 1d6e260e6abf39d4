/*
 * lxmgr dev down: instances, agents, networks, manager; with --clean-state the state too.
 *
 * Instances outlive all daemons. When one of those is gone but instances still run, it is
 * started again first, because only the API stops instances cleanly. A daemon may be dying while
 * this looks at it: its process is there, its socket is not any more. So what cannot be reached,
 * or leaves instances running that it did not list, is looked at again for a while.
 */
#include <glob.h>
#include <time.h>

#include "cli/connection.h"
#include "cli/dev.h"
#include "cli/power.h"
#include "lib/fs.h"
#include "lxmgr/v1/instance.pb-c.h"
#include "proto/pb.h"

#define STOP_SECONDS 30u /* for a clean shutdown, before force */
#define SETTLE_TRIES 100u
#define SETTLE_NS    20000000L

/* ------------------------------------------------------------------ instances */

/* An agent keeps NAME.pb in its run directory of each instance that runs. */
static bool instances_may_run(const struct cli_dev *d)
{
	static const char *const patterns[] = { "agent/*.pb", "agent-node*/*.pb" };
	bool any = false;

	for (size_t i = 0; !any && i < LX_ARRAY_SIZE(patterns); i++) {
		lx_autofree char *pattern = cli_dev_run_path(d, patterns[i]);
		glob_t found = { 0 };
		any = pattern && glob(pattern, GLOB_NOSORT, NULL, &found) == 0 && found.gl_pathc > 0;
		globfree(&found);
	}
	return any;
}

static int running_names(struct cli *cli, size_t *n, char ***names, struct lx_err *err)
{
	Lxmgr__V1__ListInstancesRequest req = LXMGR__V1__LIST_INSTANCES_REQUEST__INIT;
	cli_autopb Lxmgr__V1__ListInstancesResponse *resp = NULL;
	int r = cli_call(cli, CLI_INSTANCES, "List", &req, &resp, err);

	for (size_t i = 0; r == 0 && i < resp->n_instances; i++)
		if (cli_instance_is_up(resp->instances[i]->status) &&
		    lx_pb_strv_add(n, names, resp->instances[i]->name) < 0)
			r = lx_err_oom(err);
	return r;
}

static int stop_running(struct cli *cli, bool force, struct lx_err *err)
{
	const struct cli_action action = {
		.doing = "Stopping", .method = "Stop", .force = force, .timeout = force ? 0 : STOP_SECONDS
	};
	char **names = NULL;
	size_t n = 0;
	int r = running_names(cli, &n, &names, err);

	if (r == 0 && n)
		r = cli_act_on(cli, &action, names, n, err);
	lx_pb_strv_free(&n, &names);
	return r;
}

/* *ret: whether everything runs that could stop instances. */
static int is_up(const struct cli_dev *d, bool *ret, struct lx_err *err)
{
	struct cli_daemon manager = { .program = "lxmgrd", .name = "lxmgrd" };
	int r = cli_daemon_check(d, &manager, err);

	*ret = manager.pid != 0;
	for (unsigned i = 1; r == 0 && i <= d->nodes; i++) {
		cli_autonode n;
		r = cli_dev_node_init(d, i, &n, err);
		*ret = *ret && n.agent.pid;
	}
	return r;
}

/* Starts what is missing, if there is anything to stop. *ret: whether everything runs now. */
static int revive(struct cli *cli, struct cli_dev *d, bool *ret, struct lx_err *err)
{
	int r = is_up(d, ret, err);

	if (r < 0 || *ret || !instances_may_run(d))
		return r;
	r = cli_dev_start(cli, d, err);
	if (r < 0)
		lx_err_wrap(err, "instances run, and what could stop them does not start");
	*ret = r == 0;
	return r;
}

static int stop_instances(struct cli *cli, struct cli_dev *d, struct lx_err *err)
{
	struct lx_err why = LX_ERR_INIT;

	for (unsigned i = 0; i < SETTLE_TRIES; i++) {
		bool up;
		int r = revive(cli, d, &up, err);
		if (r < 0 || !up)
			return r;
		why = LX_ERR_INIT;
		r = stop_running(cli, false, &why);
		if (r == 0 && !instances_may_run(d))
			return 0;
		if (r < 0 && why.code != LX_UNAVAILABLE)
			break;
		nanosleep(&(struct timespec){ .tv_nsec = SETTLE_NS }, NULL);
	}
	if (why.code != LX_OK) {
		cli_explain(cli, &why);
		cli_report(&why);
		cli_note(cli, "Stopping by force what is left.");
	}
	return stop_running(cli, true, err);
}

/* ------------------------------------------------------------------ the rest */

/* Bridges, firewall rules and control groups of a node whose agent has stopped. */
static int tear_down(const struct cli_dev_node *n, struct lx_err *err)
{
	lx_autofree char *program = NULL;

	if (!lx_is_dir(n->state_dir))
		return 0;
	int r = cli_daemon_find("lxagentd", &program, err);
	if (r < 0)
		return r;
	char *argv[] = { program,
			 (char *)"--teardown",
			 (char *)"--state-dir",
			 n->state_dir,
			 (char *)"--run-dir",
			 n->run_dir,
			 n->cgroup_root ? (char *)"--cgroup-root" : NULL,
			 n->cgroup_root,
			 NULL };
	return cli_run_program(argv, n->netns, err);
}

static int stop_node(const struct cli_dev *d, unsigned number, struct lx_err *err)
{
	cli_autonode n;
	int r = cli_dev_node_init(d, number, &n, err);

	if (r == 0)
		r = cli_daemon_stop(d, &n.agent, err);
	return r < 0 ? r : tear_down(&n, err);
}

static int clean_run_dirs(const struct cli_dev *d, struct lx_err *err)
{
	int r = 0;

	for (unsigned i = 1; r == 0 && i <= d->nodes; i++) {
		cli_autonode n;
		r = cli_dev_node_init(d, i, &n, err);
		if (r == 0)
			r = lx_rm_rf(n.run_dir, err);
	}
	return r;
}

static int clean_state(const struct cli_dev *d, struct lx_err *err)
{
	lx_autofree char *lock = cli_dev_run_path(d, "dev.lock");
	int r;

	if (!lock)
		return lx_err_oom(err);
	if (!lx_path_exists(d->state_dir))
		return 0;
	if (!d->known) {
		r = lx_err_set(err, LX_FAILED_PRECONDITION, "%s was not made by lxmgr dev up: not removed",
			       d->state_dir);
		lx_err_hint(err, "Remove it by hand when you are sure.");
		return r;
	}
	r = clean_run_dirs(d, err);
	if (r == 0)
		r = lx_rm_rf(d->state_dir, err);
	if (r < 0)
		return r;
	unlink(lock);
	rmdir(d->setting[CLI_DEV_RUN_DIR]); /* stays when somebody else has something there */
	return 0;
}

static int down(struct cli *cli, struct cli_dev *d, struct lx_err *err)
{
	struct cli_daemon manager = { .program = "lxmgrd", .name = "lxmgrd" };
	int r = stop_instances(cli, d, err);

	cli_disconnect(cli);
	for (unsigned i = 1; r == 0 && i <= d->nodes; i++)
		r = stop_node(d, i, err);
	if (r == 0)
		r = cli_underlay_down(d, err);
	if (r == 0)
		r = cli_daemon_stop(d, &manager, err);
	if (r == 0 && cli_flag(cli, "clean-state"))
		r = clean_state(d, err);
	if (r == 0)
		cli_note(cli,
			 cli_flag(cli, "clean-state") ? "All stopped, the state in %s is removed."
						      : "All stopped; the state in %s is kept.",
			 d->state_dir);
	return r;
}

int cli_dev_down(struct cli *cli, struct lx_err *err)
{
	struct cli_dev d;
	int r = cli_dev_init(cli, &d, err);

	if (r == 0)
		r = down(cli, &d, err);
	return cli_dev_end(cli, &d, r, err);
}
