/*
 * lxmgr start, stop, restart, freeze, unfreeze: what an instance does.
 *
 * Several instances are asked for at once over one connection; each fails or succeeds on
 * its own, and the exit code is 1 when any failed.
 */
#include "cli/operations.h"
#include "cli/power.h"
#include "lxmgr/v1/instance.pb-c.h"
#include "proto/pb.h"

typedef Lxmgr__V1__InstanceActionRequest request;

static void free_requests(request **reqs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		lx_pb_free(reqs[i]);
	free(reqs);
}

static request *make_request(const char *name, const struct cli_action *action, struct lx_err *err)
{
	request *req = cli_pb_new(&lxmgr__v1__instance_action_request__descriptor);

	if (req && lx_pb_set(&req->name, name) == 0 && cli_request_id(&req->request_id, err) == 0) {
		req->force = action->force;
		req->timeout_seconds = action->timeout;
		return req;
	}
	lx_pb_free(req);
	return NULL;
}

int cli_act_on(struct cli *cli, const struct cli_action *action, char *const *names, size_t n,
	       struct lx_err *err)
{
	lx_autofree struct cli_op *ops = calloc(n ? n : 1, sizeof(*ops));
	request **reqs = calloc(n ? n : 1, sizeof(*reqs));
	int r = ops && reqs ? 0 : lx_err_oom(err);

	for (size_t i = 0; r == 0 && i < n; i++) {
		reqs[i] = make_request(names[i], action, err);
		if (!reqs[i])
			r = lx_err_oom(err);
		else
			ops[i] = (struct cli_op){ .subject = names[i], .req = &reqs[i]->base };
	}
	if (r == 0) {
		const struct cli_ops run = { .doing = action->doing,
					     .service = CLI_INSTANCES,
					     .method = action->method,
					     .no_wait = action->no_wait,
					     .ops = ops,
					     .n = n };
		r = cli_ops_run(cli, &run, err);
	}
	if (ops)
		cli_ops_release(ops, n);
	if (reqs)
		free_requests(reqs, n);
	return r;
}

/* The names of the instances for which `action` makes sense. */
static int all_names(struct cli *cli, const struct cli_action *action, size_t *n, char ***names,
		     struct lx_err *err)
{
	Lxmgr__V1__ListInstancesRequest req = LXMGR__V1__LIST_INSTANCES_REQUEST__INIT;
	cli_autopb Lxmgr__V1__ListInstancesResponse *resp = NULL;
	int r = cli_call(cli, CLI_INSTANCES, "List", &req, &resp, err);

	for (size_t i = 0; r == 0 && i < resp->n_instances; i++)
		if (action->applies(resp->instances[i]->status) &&
		    lx_pb_strv_add(n, names, resp->instances[i]->name) < 0)
			r = lx_err_oom(err);
	return r;
}

static int act(struct cli *cli, struct cli_action *action, struct lx_err *err)
{
	const char *timeout = cli_opt(cli, "timeout");
	char **names = NULL;
	uint64_t seconds = 0;
	size_t n = 0;
	int r;

	action->force = cli_flag(cli, "force");
	action->no_wait = cli_no_wait(cli);
	if (timeout && (lx_parse_duration(timeout, &seconds) < 0 || seconds > UINT32_MAX))
		return cli_usage(cli, err, "--timeout needs seconds (30) or a duration (1m30s), not \"%s\"",
				 timeout);
	action->timeout = (uint32_t)seconds;
	if (!cli_flag(cli, "all")) {
		if (!cli->args.n_operands)
			return cli_usage(cli, err, "which instance? Name it, or use --all");
		return cli_act_on(cli, action, cli->args.operands, (size_t)cli->args.n_operands, err);
	}
	if (cli->args.n_operands)
		return cli_usage(cli, err, "--all and names exclude each other");
	r = all_names(cli, action, &n, &names, err);
	if (r == 0)
		r = cli_act_on(cli, action, names, n, err);
	lx_pb_strv_free(&n, &names);
	return r;
}

/* ------------------------------------------------------------------ verbs */

static bool is_stopped(Lxmgr__V1__InstanceStatus s)
{
	return s == LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_STOPPED;
}

static bool is_running(Lxmgr__V1__InstanceStatus s)
{
	return s == LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_RUNNING;
}

static bool is_frozen(Lxmgr__V1__InstanceStatus s)
{
	return s == LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_FROZEN;
}

bool cli_instance_is_up(Lxmgr__V1__InstanceStatus s)
{
	return is_running(s) || is_frozen(s) || s == LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_STARTING ||
	       s == LXMGR__V1__INSTANCE_STATUS__INSTANCE_STATUS_FREEZING;
}

static int start_run(struct cli *cli, struct lx_err *err)
{
	return act(cli, &(struct cli_action){ .doing = "Starting", .method = "Start", .applies = is_stopped },
		   err);
}

static int stop_run(struct cli *cli, struct lx_err *err)
{
	return act(
		cli,
		&(struct cli_action){ .doing = "Stopping", .method = "Stop", .applies = cli_instance_is_up },
		err);
}

static int restart_run(struct cli *cli, struct lx_err *err)
{
	return act(cli,
		   &(struct cli_action){ .doing = "Restarting", .method = "Restart", .applies = is_running },
		   err);
}

static int freeze_run(struct cli *cli, struct lx_err *err)
{
	return act(cli,
		   &(struct cli_action){ .doing = "Freezing", .method = "Freeze", .applies = is_running },
		   err);
}

static int unfreeze_run(struct cli *cli, struct lx_err *err)
{
	return act(cli,
		   &(struct cli_action){ .doing = "Unfreezing", .method = "Unfreeze", .applies = is_frozen },
		   err);
}

#define ALL_OPTION                                                                                           \
	{                                                                                                    \
		"all", 'a', NULL, "all instances for which it makes sense", CLI_TEXT                         \
	}

static const struct cli_option plain_options[] = { ALL_OPTION, CLI_NO_WAIT_OPTION, { .name = NULL } };

static const struct cli_option stop_options[] = {
	{ "force", 'f', NULL, "do not wait for a clean shutdown: kill it", 0 },
	{ "timeout", 0, "SECONDS", "how long a clean shutdown may take (else boot.host_shutdown_timeout)",
	  0 },
	ALL_OPTION,
	CLI_NO_WAIT_OPTION,
	{ .name = NULL },
};

#define INSTANCES .operands = "INSTANCE...", .min = 0, .max = CLI_MANY, .kinds = { CLI_INSTANCE }

const struct cli_verb cli_power_verbs[] = {
	{ .name = "start",
	  .summary = "Start instances",
	  .examples = "lxmgr start web1\nlxmgr start web1 web2 web3\nlxmgr start --all",
	  .options = plain_options,
	  INSTANCES,
	  .run = start_run },
	{ .name = "stop",
	  .summary = "Stop instances, cleanly or by force",
	  .details = "The instance is asked to shut down and gets until the time-out to do so; what is left "
		     "is an "
		     "error that names the instance, never a silent kill. --force kills at once.",
	  .examples = "lxmgr stop web1\nlxmgr stop web1 web2 --timeout 30\nlxmgr stop --all --force",
	  .options = stop_options,
	  INSTANCES,
	  .run = stop_run },
	{ .name = "restart",
	  .summary = "Restart instances",
	  .examples = "lxmgr restart web1\nlxmgr restart web1 --force",
	  .options = stop_options,
	  INSTANCES,
	  .run = restart_run },
	{ .name = "freeze",
	  .aliases = "pause",
	  .summary = "Freeze all processes of instances",
	  .examples = "lxmgr freeze web1",
	  .options = plain_options,
	  INSTANCES,
	  .run = freeze_run },
	{ .name = "unfreeze",
	  .aliases = "resume",
	  .summary = "Let frozen instances go on",
	  .examples = "lxmgr unfreeze web1\nlxmgr unfreeze --all",
	  .options = plain_options,
	  INSTANCES,
	  .run = unfreeze_run },
	{ .name = NULL },
};
