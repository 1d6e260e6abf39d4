/*
 * lxmgr dev: a cluster on this machine. Options, and what is remembered of them.
 */
#include "cli/dev.h"

#include <jansson.h>

#include "cli/connection.h"
#include "lib/fs.h"

#define DEFAULT_STATE_DIR "/var/lib/lxmgr"
#define DEFAULT_RUN_DIR   "/run/lxmgr"
#define MEMORY_MAX        65536 /* bytes of dev.json */

/* By enum cli_dev_setting: also the options' names and the members of dev.json. */
static const char *const names[CLI_DEV_N_SETTINGS] = {
	[CLI_DEV_RUN_DIR] = "run-dir",
	[CLI_DEV_SOCKET] = "socket",
	[CLI_DEV_NODES] = "nodes",
	[CLI_DEV_UNDERLAY] = "underlay",
	[CLI_DEV_NETWORK] = "network",
	[CLI_DEV_NETWORK_SUBNET] = "network-subnet",
	[CLI_DEV_IDMAP_BASE] = "idmap-base",
	[CLI_DEV_IDMAP_COUNT] = "idmap-count",
	[CLI_DEV_CGROUP_ROOT] = "cgroup-root",
	[CLI_DEV_MANAGER_LISTEN] = "manager-listen",
	[CLI_DEV_AGENT_LISTEN] = "agent-listen",
	[CLI_DEV_NODE_NAME] = "node-name",
	[CLI_DEV_LOG_LEVEL] = "log-level",
};

char *cli_dev_state_path(const struct cli_dev *d, const char *name)
{
	return lx_path_join(d->state_dir, name);
}

char *cli_dev_run_path(const struct cli_dev *d, const char *name)
{
	return lx_path_join(d->setting[CLI_DEV_RUN_DIR], name);
}

/* ------------------------------------------------------------------ memory */

static int recall(struct cli_dev *d, struct lx_err *err)
{
	lx_autofree char *path = cli_dev_state_path(d, "dev.json");
	lx_autobuf struct lx_buf text = { 0 };
	json_error_t why;

	if (!path)
		return lx_err_oom(err);
	if (!lx_path_exists(path))
		return 0;
	int r = lx_read_file(path, MEMORY_MAX, &text, err);
	if (r < 0)
		return r;
	json_t *doc = json_loadb((const char *)text.data, text.len, 0, &why);
	if (!doc)
		return lx_err_set(err, LX_DATA_LOSS, "%s is damaged: %s", path, why.text);
	for (size_t i = 0; r == 0 && i < CLI_DEV_N_SETTINGS; i++) {
		const char *value = json_string_value(json_object_get(doc, names[i]));
		d->setting[i] = value ? strdup(value) : NULL;
		if (value && !d->setting[i])
			r = lx_err_oom(err);
	}
	json_decref(doc);
	d->known = true;
	return r;
}

int cli_dev_remember(const struct cli_dev *d, struct lx_err *err)
{
	lx_autofree char *path = cli_dev_state_path(d, "dev.json");
	lx_autofree char *text = NULL;
	json_t *doc = json_object();

	for (size_t i = 0; doc && i < CLI_DEV_N_SETTINGS; i++)
		if (d->setting[i] && json_object_set_new(doc, names[i], json_string(d->setting[i])) < 0) {
			json_decref(doc);
			return lx_err_set(err, LX_INVALID_ARGUMENT, "--%s is not UTF-8", names[i]);
		}
	if (doc)
		text = json_dumps(doc, JSON_INDENT(2));
	json_decref(doc);
	if (!text || !path)
		return lx_err_oom(err);
	return lx_write_file_atomic(path, text, strlen(text), 0644, err);
}

/* ------------------------------------------------------------------ options */

/* The daemons start elsewhere, so paths have to be whole. */
static int absolute(const char *path, char **ret, struct lx_err *err)
{
	lx_autofree char *cwd = *path == '/' ? NULL : getcwd(NULL, 0);

	if (*path != '/' && !cwd)
		return lx_err_errno(err, errno, "cannot find the current directory");
	free(*ret);
	*ret = cwd ? lx_path_join(cwd, path) : strdup(path);
	return *ret ? 0 : lx_err_oom(err);
}

static int overlay(struct cli *cli, struct cli_dev *d, struct lx_err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < CLI_DEV_N_SETTINGS; i++) {
		const char *value = cli_opt(cli, names[i]);
		/* What is remembered wins over the environment, which may be about another cluster. */
		if (i == CLI_DEV_SOCKET && !value && !d->setting[i])
			value = getenv("LXMGR_SOCKET");
		if (!value || !*value)
			continue;
		if (i == CLI_DEV_RUN_DIR || i == CLI_DEV_SOCKET) {
			r = absolute(value, &d->setting[i], err);
		} else {
			free(d->setting[i]);
			d->setting[i] = strdup(value);
			r = d->setting[i] ? 0 : lx_err_oom(err);
		}
	}
	return r;
}

static int fill_in(struct cli_dev *d, struct lx_err *err)
{
	/* A cluster elsewhere must not meet the usual one in /run. */
	bool usual = strcmp(d->state_dir, DEFAULT_STATE_DIR) == 0;

	if (!d->setting[CLI_DEV_RUN_DIR])
		d->setting[CLI_DEV_RUN_DIR] = usual ? strdup(DEFAULT_RUN_DIR) : cli_dev_state_path(d, "run");
	if (d->setting[CLI_DEV_RUN_DIR] && !d->setting[CLI_DEV_SOCKET])
		d->setting[CLI_DEV_SOCKET] = cli_dev_run_path(d, "lxmgr.sock");
	return d->setting[CLI_DEV_SOCKET] ? 0 : lx_err_oom(err);
}

static int count_nodes(struct cli *cli, const struct cli_dev *d, unsigned *ret, struct lx_err *err)
{
	const char *text = d->setting[CLI_DEV_NODES];
	uint64_t n = 1;

	if (text && (lx_parse_u64(text, &n) < 0 || n < 1 || n > CLI_DEV_NODES_MAX))
		return cli_usage(cli, err, "--nodes is a number from 1 to %u, not \"%s\"", CLI_DEV_NODES_MAX,
				 text);
	*ret = (unsigned)n;
	return 0;
}

/* Nodes have instances: none goes without being asked for. */
static int check_growth(unsigned before, unsigned nodes, struct lx_err *err)
{
	if (nodes >= before)
		return 0;
	int r = lx_err_set(err, LX_FAILED_PRECONDITION, "this cluster has %u nodes, which cannot become %u",
			   before, nodes);
	lx_err_hint(err, "Leave out --nodes, or begin anew: lxmgr dev down --clean-state");
	return r;
}

int cli_dev_init(struct cli *cli, struct cli_dev *d, struct lx_err *err)
{
	const char *state = cli_opt(cli, "state-dir");
	unsigned before = 1;

	*d = (struct cli_dev){ 0 };
	int r = absolute(state ? state : DEFAULT_STATE_DIR, &d->state_dir, err);
	if (r == 0)
		r = recall(d, err);
	if (r == 0)
		r = count_nodes(cli, d, &before, err);
	if (r == 0)
		r = overlay(cli, d, err);
	if (r == 0)
		r = count_nodes(cli, d, &d->nodes, err);
	if (r == 0)
		r = check_growth(before, d->nodes, err);
	if (r == 0)
		r = fill_in(d, err);
	if (r == 0) {
		cli->remote = NULL;
		cli->socket = d->setting[CLI_DEV_SOCKET];
	}
	return r;
}

int cli_dev_end(struct cli *cli, struct cli_dev *d, int r, struct lx_err *err)
{
	if (r < 0 && cli->socket)
		cli_explain(cli, err);
	cli_disconnect(cli);
	cli->socket = NULL; /* it pointed into `d` */
	cli->dialled = false;
	free(d->state_dir);
	for (size_t i = 0; i < CLI_DEV_N_SETTINGS; i++)
		free(d->setting[i]);
	*d = (struct cli_dev){ 0 };
	return r;
}

/* ------------------------------------------------------------------ the table */

#define PLACE_OPTIONS                                                                                        \
	{ "state-dir", 0, "DIR", "where everything that lasts is (" DEFAULT_STATE_DIR ")", CLI_LOCAL_PATH }, \
		{ "run-dir", 0, "DIR",                                                                       \
		  "sockets and pid files (" DEFAULT_RUN_DIR ", or run in the given state directory)",        \
		  CLI_LOCAL_PATH },                                                                          \
	{                                                                                                    \
		"cgroup-root", 0, "NAME", "the cgroup that containers run in", 0                             \
	}

static const struct cli_option up_options[] = {
	PLACE_OPTIONS,
	{ "nodes", 0, "N", "how many nodes to have (one)", 0 },
	{ "underlay", 0, "CIDR", "addresses of several nodes (a free 10.213.x.0/24)", 0 },
	{ "network", 0, "NAME", "name of the default network's bridge", 0 },
	{ "network-subnet", 0, "CIDR", "its addresses", 0 },
	{ "idmap-base", 0, "N", "first host user id given to containers", 0 },
	{ "idmap-count", 0, "N", "how many ranges of 65536 of them", 0 },
	{ "manager-listen", 0, "HOST:PORT", "where agents reach the manager", 0 },
	{ "agent-listen", 0, "HOST:PORT", "where the manager reaches the agent", 0 },
	{ "node-name", 0, "NAME", "the first node's name (else the host's; of several: node1)", 0 },
	{ "log-level", 0, "LEVEL", "error, warn, info or debug", 0 },
	{ .name = NULL },
};
static const struct cli_option down_options[] = {
	{ "clean-state", 0, NULL, "then remove the state: instances, images, everything", 0 },
	PLACE_OPTIONS,
	{ .name = NULL },
};
static const struct cli_option status_options[] = { PLACE_OPTIONS, { .name = NULL } };

const struct cli_verb cli_dev_verbs[] = {
	{ .name = "dev up",
	  .summary = "Start a manager and one or more agents on this machine",
	  .details =
		  "All run in the background; an agent joins the cluster the first time. What runs already "
		  "is "
		  "left alone, what is missing is started. The options are remembered in the state "
		  "directory. "
		  "For more than trying out, use the service units.\n"
		  "With --nodes the first node is this machine itself and each further one, node2 and so on, "
		  "has a network namespace, named after --cgroup-root (see it with: ip netns exec "
		  "lxmgr-node2 ip address), a state "
		  "directory and a control group of its own. They reach each other over a bridge, and what "
		  "is "
		  "outside through this machine. Nodes can be added later. For several nodes a loopback "
		  "address in --manager-listen and --agent-listen stands for the one on that bridge.",
	  .examples = "lxmgr dev up\n"
		      "lxmgr dev up --nodes 3  # a cluster to move instances in\n"
		      "lxmgr dev up --state-dir /srv/try --network lxtry0 --cgroup-root lxtry "
		      "--manager-listen 127.0.0.1:9443 --agent-listen 127.0.0.1:9444",
	  .options = up_options,
	  .run = cli_dev_up },
	{ .name = "dev down",
	  .summary = "Stop the instances, the agents and the manager",
	  .details = "Instances are stopped cleanly, those that do not end by force; bridges and the "
		     "namespaces of further nodes are removed. The state stays, so that dev up continues "
		     "there, unless --clean-state is given.",
	  .examples = "lxmgr dev down\nlxmgr dev down --clean-state",
	  .options = down_options,
	  .run = cli_dev_down },
	{ .name = "dev status",
	  .summary = "Show what of it runs",
	  .details = "The exit code is 1 when the manager or an agent does not run.",
	  .examples = "lxmgr dev status",
	  .options = status_options,
	  .run = cli_dev_status },
	{ .name = NULL },
};
