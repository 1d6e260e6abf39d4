/*
 * lxmgr dev down: instances, agent, network, manager; with --clean-state the state too.
 *
 * Instances outlive both daemons. When one of those is gone but instances still run, it is
 * started again first, because only the API stops instances cleanly.
 */
#include <glob.h>

#include "cli/connection.h"
#include "cli/dev.h"
#include "cli/power.h"
#include "lib/fs.h"
#include "lxmgr/v1/instance.pb-c.h"
#include "proto/pb.h"

#define STOP_SECONDS 30u /* for a clean shutdown, before force */

/* ------------------------------------------------------------------ instances */

/* The agent keeps <run>/agent/NAME.pb of each instance that runs. */
static bool instances_may_run(const struct cli_dev *d)
{
	lx_autofree char *pattern = cli_dev_run_path(d, "agent/*.pb");
	glob_t found = { 0 };

	bool any = pattern && glob(pattern, GLOB_NOSORT, NULL, &found) == 0 && found.gl_pathc > 0;
	globfree(&found);
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

static int stop_instances(struct cli *cli, const struct cli_dev *d, bool up, struct lx_err *err)
{
	struct lx_err first = LX_ERR_INIT;
	int r;

	if (!up && !instances_may_run(d))
		return 0;
	if (!up) {
		r = cli_dev_start(cli, d, err);
		if (r < 0) {
			lx_err_wrap(err, "instances run, and what could stop them does not start");
			return r;
		}
	}
	if (stop_running(cli, false, &first) == 0)
		return 0;
	cli_report(&first);
	cli_note(cli, "Stopping by force what is left.");
	return stop_running(cli, true, err);
}

/* ------------------------------------------------------------------ the rest */

/* Bridges, firewall rules and mounts of this state directory. */
static int tear_down(const struct cli_dev *d, struct lx_err *err)
{
	lx_autofree char *state = cli_dev_state_path(d, "agent"), *run = cli_dev_run_path(d, "agent");
	lx_autofree char *program = NULL;

	if (!state || !run)
		return lx_err_oom(err);
	if (!lx_is_dir(state))
		return 0;
	int r = cli_daemon_find("lxagentd", &program, err);
	if (r < 0)
		return r;
	char *cgroup = d->setting[CLI_DEV_CGROUP_ROOT];
	char *argv[] = { program,
			 (char *)"--teardown",
			 (char *)"--state-dir",
			 state,
			 (char *)"--run-dir",
			 run,
			 cgroup ? (char *)"--cgroup-root" : NULL,
			 cgroup,
			 NULL };
	return cli_run_program(argv, err);
}

static int clean_state(const struct cli_dev *d, struct lx_err *err)
{
	lx_autofree char *agent_run = cli_dev_run_path(d, "agent"), *lock = cli_dev_run_path(d, "dev.lock");
	int r;

	if (!agent_run || !lock)
		return lx_err_oom(err);
	if (!lx_path_exists(d->state_dir))
		return 0;
	if (!d->known) {
		r = lx_err_set(err, LX_FAILED_PRECONDITION, "%s was not made by lxmgr dev up: not removed",
			       d->state_dir);
		lx_err_hint(err, "Remove it by hand when you are sure.");
		return r;
	}
	r = lx_rm_rf(agent_run, err);
	if (r == 0)
		r = lx_rm_rf(d->state_dir, err);
	if (r < 0)
		return r;
	unlink(lock);
	rmdir(d->setting[CLI_DEV_RUN_DIR]); /* stays when somebody else has something there */
	return 0;
}

static int down(struct cli *cli, const struct cli_dev *d, struct lx_err *err)
{
	struct cli_daemon manager = { .program = "lxmgrd" }, agent = { .program = "lxagentd" };
	int r = cli_daemon_check(d, &manager, err);

	if (r == 0)
		r = cli_daemon_check(d, &agent, err);
	if (r == 0)
		r = stop_instances(cli, d, manager.pid && agent.pid, err);
	cli_disconnect(cli);
	if (r == 0)
		r = cli_daemon_stop(d, &agent, err);
	if (r == 0)
		r = tear_down(d, err);
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
	cli_disconnect(cli); /* cli->socket points into `d` */
	cli->socket = NULL;
	cli_dev_release(&d);
	return r;
}
