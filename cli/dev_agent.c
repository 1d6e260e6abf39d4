/*
 * lxmgr dev up, one node: its agent joins when it never has, is started when it does not run
 * as it should, and is waited for.
 *
 * It runs as it should when it listens where the others expect it and lives in its node's
 * network namespace. Else it is started again; its instances do not notice. Ways to fail:
 * the program is not found, it ends while it is waited for (the end of its log is shown), the
 * node was taken out of the cluster, a time-out.
 */
#include <sys/stat.h>
#include <time.h>

#include "cli/connection.h"
#include "cli/dev.h"
#include "cli/node.h"
#include "lib/clock.h"
#include "proto/pb.h"

#define ONLINE_MS 30000u /* how long the node may take to come online */
#define POLL_NS   20000000L
#define MAX_ARGS  32

/* ------------------------------------------------------------------ joining */

/* Whether one of this machine's agents is a member by this name. */
static int is_member(const struct cli_dev *d, const char *name, bool *ret, struct lx_err *err)
{
	int r = 0;

	*ret = false;
	for (unsigned i = 1; r == 0 && !*ret && i <= d->nodes; i++) {
		lx_autofree char *joined = NULL;
		cli_autonode n;
		r = cli_dev_node_init(d, i, &n, err);
		if (r == 0)
			r = cli_dev_node_name(&n, &joined, err);
		*ret = joined && lx_streq(joined, name);
	}
	return r;
}

/*
 * An agent that was killed between the manager's yes and storing it is a member that nobody
 * is. Without instances, which the manager checks, it can make room for itself.
 */
static int get_token(struct cli *cli, const struct cli_dev *d, const char *name, Lxmgr__V1__JoinToken **ret,
		     struct lx_err *err)
{
	int r = cli_node_token(cli, name, 0, ret, err);
	bool member;

	if (r == 0 || err->code != LX_ALREADY_EXISTS || is_member(d, name, &member, err) < 0 || member)
		return r;
	struct lx_err why = *err;
	*err = LX_ERR_INIT;
	r = cli_node_remove(cli, name, false, err);
	if (r < 0) {
		*err = why;
		return r;
	}
	return cli_node_token(cli, name, 0, ret, err);
}

/* ------------------------------------------------------------------ starting */

static bool in_its_network(const struct cli_dev_node *n)
{
	char theirs[256], its[64];
	struct stat a, b;

	if (!n->netns)
		return true;
	snprintf(theirs, sizeof(theirs), CLI_NETNS_DIR "/%s", n->netns);
	snprintf(its, sizeof(its), "/proc/%ld/ns/net", (long)n->agent.pid);
	return stat(theirs, &a) == 0 && stat(its, &b) == 0 && a.st_ino == b.st_ino;
}

static void add(char **argv, size_t *n, const char *option, const char *value)
{
	if (!value || *n + 3 > MAX_ARGS)
		return;
	argv[(*n)++] = (char *)option;
	argv[(*n)++] = (char *)value;
	argv[*n] = NULL;
}

static int start(struct cli *cli, const struct cli_dev *d, struct cli_dev_node *node, bool joined,
		 struct lx_err *err)
{
	cli_autopb Lxmgr__V1__JoinToken *token = NULL;
	char *argv[MAX_ARGS] = { (char *)"lxagentd" };
	size_t n = 1;

	if (!joined) {
		int r = get_token(cli, d, node->wanted_name, &token, err);
		if (r < 0)
			return r;
		add(argv, &n, "--join", token->token);
	}
	add(argv, &n, "--state-dir", node->state_dir);
	add(argv, &n, "--run-dir", node->run_dir);
	add(argv, &n, "--listen", node->listen);
	add(argv, &n, "--cgroup-root", node->cgroup_root);
	add(argv, &n, "--node-name", node->wanted_name);
	add(argv, &n, "--log-level", d->setting[CLI_DEV_LOG_LEVEL]);
	return cli_daemon_start(d, &node->agent, argv, err);
}

static Lxmgr__V1__Node *find(const Lxmgr__V1__ListNodesResponse *resp, const char *name)
{
	for (size_t i = 0; i < resp->n_nodes; i++)
		if (lx_streq(resp->nodes[i]->name, name))
			return resp->nodes[i];
	return NULL;
}

static int list(struct cli *cli, Lxmgr__V1__ListNodesResponse **ret, struct lx_err *err)
{
	Lxmgr__V1__ListNodesRequest req = LXMGR__V1__LIST_NODES_REQUEST__INIT;

	return cli_call(cli, CLI_NODES, "List", &req, ret, err);
}

/* A member that was reached elsewhere, as the only node of its cluster is. */
static int tell_address(struct cli *cli, const struct cli_dev_node *n, const char *name, struct lx_err *err)
{
	cli_autopb Lxmgr__V1__ListNodesResponse *resp = NULL;
	int r = list(cli, &resp, err);

	if (r < 0)
		return r;
	const Lxmgr__V1__Node *known = find(resp, name);
	if (!known) {
		r = lx_err_set(err, LX_NOT_FOUND, "node %s was taken out of the cluster", name);
		lx_err_hint(err, "To let it join anew, remove what is left of it: rm -r %s/pki",
			    n->state_dir);
		return r;
	}
	return lx_streq(known->address, n->listen) ? 0 : cli_node_set_address(cli, name, n->listen, err);
}

int cli_dev_agent_start(struct cli *cli, const struct cli_dev *d, struct cli_dev_node *n, struct lx_err *err)
{
	lx_autofree char *name = NULL;
	int r = cli_dev_node_name(n, &name, err);

	if (r == 0 && n->agent.pid &&
	    (!in_its_network(n) || (n->listen && !cli_daemon_was_told(&n->agent, "--listen", n->listen)))) {
		r = cli_daemon_stop(d, &n->agent, err);
		n->agent.pid = 0;
	}
	if (r == 0 && name && d->nodes > 1)
		r = tell_address(cli, n, name, err);
	if (r == 0 && !n->agent.pid)
		r = start(cli, d, n, name != NULL, err);
	return r;
}

/* ------------------------------------------------------------------ waiting */

static int is_online(struct cli *cli, const struct cli_dev_node *n, bool *ret, struct lx_err *err)
{
	cli_autopb Lxmgr__V1__ListNodesResponse *resp = NULL;
	lx_autofree char *name = NULL;
	int r = cli_dev_node_name(n, &name, err);

	*ret = false;
	if (r < 0 || !name)
		return r;
	r = list(cli, &resp, err);
	const Lxmgr__V1__Node *node = r == 0 ? find(resp, name) : NULL;
	*ret = node && node->status == LXMGR__V1__NODE_STATUS__NODE_STATUS_ONLINE;
	return r;
}

int cli_dev_agent_wait(struct cli *cli, const struct cli_dev *d, const struct cli_dev_node *n,
		       struct lx_err *err)
{
	uint64_t until = lx_now_monotonic_ns() + ONLINE_MS * LX_NSEC_PER_MSEC;
	bool online;

	for (;;) {
		int r = is_online(cli, n, &online, err);
		if (r < 0 || online)
			return r;
		bool dead = !cli_daemon_lives(&n->agent);
		if (dead || lx_now_monotonic_ns() > until) {
			r = lx_err_set(err, LX_UNAVAILABLE,
				       dead ? "%s ended before its node was online"
					    : "the node of %s did not come online",
				       n->agent.name);
			cli_daemon_blame(d, &n->agent, err);
			return r;
		}
		nanosleep(&(struct timespec){ .tv_nsec = POLL_NS }, NULL);
	}
}
