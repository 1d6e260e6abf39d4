/*
 * lxmgr dev: a cluster of one. Options, what is remembered of them, and status.
 */
#include "cli/dev.h"

#include <jansson.h>

#include "cli/connection.h"
#include "cli/node.h"
#include "cli/table.h"
#include "lib/fs.h"

#define DEFAULT_STATE_DIR "/var/lib/lxmgr"
#define DEFAULT_RUN_DIR   "/run/lxmgr"
#define MEMORY_MAX        65536 /* bytes of dev.json */

/* By enum cli_dev_setting: also the options' names and the members of dev.json. */
static const char *const names[CLI_DEV_N_SETTINGS] = {
	[CLI_DEV_RUN_DIR] = "run-dir",           [CLI_DEV_SOCKET] = "socket",
	[CLI_DEV_NETWORK] = "network",           [CLI_DEV_NETWORK_SUBNET] = "network-subnet",
	[CLI_DEV_IDMAP_BASE] = "idmap-base",     [CLI_DEV_IDMAP_COUNT] = "idmap-count",
	[CLI_DEV_CGROUP_ROOT] = "cgroup-root",   [CLI_DEV_MANAGER_LISTEN] = "manager-listen",
	[CLI_DEV_AGENT_LISTEN] = "agent-listen", [CLI_DEV_NODE_NAME] = "node-name",
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

int cli_dev_init(struct cli *cli, struct cli_dev *d, struct lx_err *err)
{
	const char *state = cli_opt(cli, "state-dir");

	*d = (struct cli_dev){ 0 };
	int r = absolute(state ? state : DEFAULT_STATE_DIR, &d->state_dir, err);
	if (r == 0)
		r = recall(d, err);
	if (r == 0)
		r = overlay(cli, d, err);
	if (r == 0)
		r = fill_in(d, err);
	if (r == 0) {
		cli->remote = NULL;
		cli->socket = d->setting[CLI_DEV_SOCKET];
	}
	return r;
}

void cli_dev_release(struct cli_dev *d)
{
	free(d->state_dir);
	for (size_t i = 0; i < CLI_DEV_N_SETTINGS; i++)
		free(d->setting[i]);
	*d = (struct cli_dev){ 0 };
}

/* ------------------------------------------------------------------ status */

static void daemon_row(const struct cli_dev *d, struct cli_table *t, const struct cli_daemon *daemon)
{
	cli_table_row(t);
	cli_table_set(t, 0, daemon->program);
	cli_table_set(t, 1, daemon->pid ? "RUNNING" : "STOPPED");
	if (daemon->pid)
		cli_table_setf(t, 2, "%ld", (long)daemon->pid);
	cli_table_setf(t, 3, "%s/log/%s.log", d->state_dir, daemon->program);
}

static int status(struct cli *cli, const struct cli_dev *d, struct lx_err *err)
{
	static const char *const headings[] = { "PROGRAM", "STATUS", ">PID", "LOG", NULL };
	const struct cli_format f = { CLI_OUT_TABLE, true };
	struct cli_daemon manager = { .program = "lxmgrd" }, agent = { .program = "lxagentd" };
	cli_autotable struct cli_table t;
	int r = cli_daemon_check(d, &manager, err);

	if (r == 0)
		r = cli_daemon_check(d, &agent, err);
	if (r < 0)
		return r;
	cli_table_init(&t, headings);
	daemon_row(d, &t, &manager);
	daemon_row(d, &t, &agent);
	r = cli_table_print(&t, &f, stdout, err);
	if (r == 0)
		printf("Socket: %s\nState: %s\n", d->setting[CLI_DEV_SOCKET], d->state_dir);
	if (!manager.pid || !agent.pid)
		cli->exit_code = CLI_EXIT_FAILED;
	return r;
}

static int status_run(struct cli *cli, struct lx_err *err)
{
	struct cli_dev d;
	int r = cli_dev_init(cli, &d, err);

	if (r == 0)
		r = status(cli, &d, err);
	cli_dev_release(&d);
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
	{ "network", 0, "NAME", "name of the default network's bridge", 0 },
	{ "network-subnet", 0, "CIDR", "its addresses", 0 },
	{ "idmap-base", 0, "N", "first host user id given to containers", 0 },
	{ "idmap-count", 0, "N", "how many ranges of 65536 of them", 0 },
	{ "manager-listen", 0, "HOST:PORT", "where agents reach the manager", 0 },
	{ "agent-listen", 0, "HOST:PORT", "where the manager reaches the agent", 0 },
	{ "node-name", 0, "NAME", "the node's name (else the host's)", 0 },
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
	  .summary = "Start a manager and an agent on this machine",
	  .details =
		  "Both run in the background; the agent joins the cluster the first time. What runs already "
		  "is "
		  "left alone. The options are remembered in the state directory. For more than trying out, "
		  "use the service units.",
	  .examples = "lxmgr dev up\n"
		      "lxmgr dev up --state-dir /srv/try --network lxtry0 --cgroup-root lxtry "
		      "--manager-listen 127.0.0.1:9443 --agent-listen 127.0.0.1:9444",
	  .options = up_options,
	  .run = cli_dev_up },
	{ .name = "dev down",
	  .summary = "Stop the instances, the agent and the manager",
	  .details = "Instances are stopped cleanly, those that do not end by force; bridges are removed. "
		     "The state "
		     "stays, so that dev up continues there, unless --clean-state is given.",
	  .examples = "lxmgr dev down\nlxmgr dev down --clean-state",
	  .options = down_options,
	  .run = cli_dev_down },
	{ .name = "dev status",
	  .summary = "Show what of it runs",
	  .details = "The exit code is 1 when the manager or the agent does not run.",
	  .examples = "lxmgr dev status",
	  .options = status_options,
	  .run = status_run },
	{ .name = NULL },
};
