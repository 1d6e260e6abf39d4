/*
 * What each node is called and where it keeps what. The first node's names are those of a
 * cluster of one, so that one can grow.
 *
 *            first                  second
 *   state    <state>/agent          <state>/agent-node2
 *   run      <run>/agent            <run>/agent-node2
 *   cgroup   ROOT ("lxmgr")         ROOT-node2
 *   network  this machine's         namespace ROOT-node2
 *   joins as --node-name, "node1"   "node2"
 */
#include <jansson.h>

#include "cli/dev.h"
#include "lib/fs.h"
#include "rpc/address.h"

#define DEFAULT_ROOT         "lxmgr"
#define DEFAULT_MANAGER_PORT "8443"
#define DEFAULT_AGENT_PORT   "8444"
#define IDENTITY_MAX         65536 /* bytes of node.json */

const char *cli_dev_root(const struct cli_dev *d)
{
	const char *root = d->setting[CLI_DEV_CGROUP_ROOT];

	return root ? root : DEFAULT_ROOT;
}

/* ------------------------------------------------------------------ addresses */

static bool is_local(const char *host)
{
	return lx_starts_with(host, "127.") || lx_streq(host, "localhost") || lx_streq(host, "::1") ||
	       lx_streq(host, "0.0.0.0") || lx_streq(host, "::");
}

/* A setting that other nodes can use stays as it is; of others the port is taken. */
static int listen_at(const struct cli_dev *d, unsigned number, const char *setting, const char *port,
		     char **ret, struct lx_err *err)
{
	char address[INET_ADDRSTRLEN];
	struct lx_address parsed;

	*ret = NULL;
	if (setting && (d->nodes == 1 || lx_address_parse(setting, &parsed, NULL) < 0 ||
			(number == 1 && !is_local(parsed.host)))) {
		*ret = strdup(setting);
		return *ret ? 0 : lx_err_oom(err);
	}
	if (d->nodes == 1)
		return 0;
	int r = cli_underlay_address(d, number, address, err);
	if (r < 0)
		return r;
	*ret = lx_asprintf("%s:%s", address, setting ? parsed.service : port);
	return *ret ? 0 : lx_err_oom(err);
}

int cli_dev_manager_listen(const struct cli_dev *d, char **ret, struct lx_err *err)
{
	return listen_at(d, 1, d->setting[CLI_DEV_MANAGER_LISTEN], DEFAULT_MANAGER_PORT, ret, err);
}

/* ------------------------------------------------------------------ names */

static int copy(char **to, const char *from)
{
	*to = from ? strdup(from) : NULL;
	return from && !*to ? -ENOMEM : 0;
}

static int name_first(const struct cli_dev *d, struct cli_dev_node *n)
{
	const char *name = d->setting[CLI_DEV_NODE_NAME];

	n->state_dir = cli_dev_state_path(d, "agent");
	n->run_dir = cli_dev_run_path(d, "agent");
	n->daemon_name = strdup("lxagentd");
	if (copy(&n->cgroup_root, d->setting[CLI_DEV_CGROUP_ROOT]) < 0)
		return -ENOMEM;
	return copy(&n->wanted_name, name ? name : d->nodes > 1 ? "node1" : NULL);
}

static int name_further(const struct cli_dev *d, struct cli_dev_node *n)
{
	lx_autofree char *dir = lx_asprintf("agent-node%u", n->number);

	if (!dir)
		return -ENOMEM;
	n->state_dir = cli_dev_state_path(d, dir);
	n->run_dir = cli_dev_run_path(d, dir);
	n->daemon_name = lx_asprintf("lxagentd-node%u", n->number);
	n->cgroup_root = lx_asprintf("%s-node%u", cli_dev_root(d), n->number);
	n->netns = lx_asprintf("%s-node%u", cli_dev_root(d), n->number);
	n->wanted_name = lx_asprintf("node%u", n->number);
	return n->cgroup_root && n->netns && n->wanted_name ? 0 : -ENOMEM;
}

int cli_dev_node_init(const struct cli_dev *d, unsigned number, struct cli_dev_node *n, struct lx_err *err)
{
	*n = (struct cli_dev_node){ .number = number };
	int r = number == 1 ? name_first(d, n) : name_further(d, n);

	if (r < 0 || !n->state_dir || !n->run_dir || !n->daemon_name)
		return lx_err_oom(err);
	n->agent = (struct cli_daemon){ .program = "lxagentd", .name = n->daemon_name, .netns = n->netns };
	/* Without a subnet there are no others yet that would have to reach it. */
	if (d->nodes == 1 || d->setting[CLI_DEV_UNDERLAY])
		r = listen_at(d, number, d->setting[CLI_DEV_AGENT_LISTEN], DEFAULT_AGENT_PORT, &n->listen,
			      err);
	return r < 0 ? r : cli_daemon_check(d, &n->agent, err);
}

void cli_dev_node_release(struct cli_dev_node *n)
{
	free(n->state_dir);
	free(n->run_dir);
	free(n->cgroup_root);
	free(n->netns);
	free(n->listen);
	free(n->wanted_name);
	free(n->daemon_name);
	*n = (struct cli_dev_node){ 0 };
}

int cli_dev_node_name(const struct cli_dev_node *n, char **ret, struct lx_err *err)
{
	lx_autofree char *path = lx_path_join(n->state_dir, "node.json");
	lx_autofree char *last = lx_path_join(n->state_dir, "pki/agent.crt"); /* of what joining stores */
	lx_autobuf struct lx_buf text = { 0 };

	*ret = NULL;
	if (!path || !last)
		return lx_err_oom(err);
	if (!lx_path_exists(last))
		return 0;
	int r = lx_read_file(path, IDENTITY_MAX, &text, err);
	if (r < 0)
		return r;
	json_t *doc = json_loadb(lx_buf_str(&text), text.len, 0, NULL);
	const char *name = json_string_value(json_object_get(doc, "name"));
	if (!name)
		r = lx_err_set(err, LX_DATA_LOSS, "%s is damaged", path);
	else if (!(*ret = strdup(name)))
		r = lx_err_oom(err);
	json_decref(doc);
	return r;
}
