/*
 * lxmgr node: the machines of the cluster.
 */
#include "cli/connection.h"
#include "cli/doc.h"
#include "cli/node.h"
#include "lib/clock.h"
#include "lxmgr/v1/node.pb-c.h"
#include "proto/pb.h"

typedef Lxmgr__V1__Node node;

const char *cli_node_status(Lxmgr__V1__NodeStatus status)
{
	switch (status) {
	case LXMGR__V1__NODE_STATUS__NODE_STATUS_ONLINE:
		return "ONLINE";
	case LXMGR__V1__NODE_STATUS__NODE_STATUS_OFFLINE:
		return "OFFLINE";
	default:
		return "UNKNOWN";
	}
}

static const Lxmgr__V1__NodeFacts *facts_of(const node *n)
{
	static const Lxmgr__V1__NodeFacts none = LXMGR__V1__NODE_FACTS__INIT;

	return n->facts ? n->facts : &none;
}

static void node_doc(struct cli_doc *d, json_t *to, const node *n)
{
	const Lxmgr__V1__NodeFacts *f = facts_of(n);

	cli_doc_str(d, to, "name", n->name);
	cli_doc_str(d, to, "address", n->address);
	cli_doc_str(d, to, "status", cli_node_status(n->status));
	cli_doc_str(d, to, "status_reason", n->status_reason);
	cli_doc_bool(d, to, "cordoned", n->cordoned);
	cli_doc_map(d, to, "labels", n->n_labels, n->labels);
	cli_doc_int(d, to, "instances", n->instances);
	cli_doc_time(d, to, "joined_at", n->joined_at_ns);
	cli_doc_time(d, to, "last_seen", n->last_seen_ns);
	cli_doc_str(d, to, "version", f->version);
	cli_doc_str(d, to, "kernel", f->kernel);
	cli_doc_str(d, to, "os", f->os);
	cli_doc_str(d, to, "architecture", f->architecture);
	cli_doc_int(d, to, "cpus", f->cpus);
	cli_doc_int(d, to, "memory", f->memory_bytes);
	cli_doc_int(d, to, "memory_free", f->memory_free_bytes);
	cli_doc_int(d, to, "disk", f->disk_bytes);
	cli_doc_int(d, to, "disk_free", f->disk_free_bytes);
	cli_doc_str(d, to, "lxc_version", f->lxc_version);
	cli_doc_str(d, to, "criu_version", f->criu_version);
	cli_doc_str(d, to, "cgroup_layout", f->cgroup_layout);
	cli_doc_str(d, to, "lsm", f->lsm);
	cli_doc_map(d, to, "features", f->n_features, f->features);
	cli_doc_strv(d, to, "warnings", f->n_warnings, f->warnings);
	cli_doc_str(d, to, "fingerprint", n->fingerprint);
}

static void node_row(struct cli_table *t, const node *n)
{
	const Lxmgr__V1__NodeFacts *f = facts_of(n);
	char total[LX_SIZE_TEXT_MAX], unused[LX_SIZE_TEXT_MAX];

	cli_table_row(t);
	cli_table_set(t, 0, n->name);
	cli_table_setf(t, 1, "%s%s", cli_node_status(n->status), n->cordoned ? ",CORDONED" : "");
	cli_table_set(t, 2, n->address);
	cli_table_setf(t, 3, "%u", n->instances);
	if (f->cpus)
		cli_table_setf(t, 4, "%u", f->cpus);
	if (f->memory_bytes)
		cli_table_setf(t, 5, "%s of %s free",
			       lx_format_size(f->memory_free_bytes, unused, sizeof(unused)),
			       lx_format_size(f->memory_bytes, total, sizeof(total)));
	cli_table_set(t, 6, f->version);
	cli_table_set(t, 7, *n->status_reason ? n->status_reason : f->n_warnings ? f->warnings[0] : "");
}

static int list_run(struct cli *cli, struct lx_err *err)
{
	static const char *const headings[] = { "NAME",   "STATUS",  "ADDRESS", ">INSTANCES", ">CPUS",
						"MEMORY", "VERSION", "REMARK",  NULL };
	Lxmgr__V1__ListNodesRequest req = LXMGR__V1__LIST_NODES_REQUEST__INIT;
	cli_autopb Lxmgr__V1__ListNodesResponse *resp = NULL;
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_TABLE, &f, err);

	if (r == 0)
		r = cli_call(cli, CLI_NODES, "List", &req, &resp, err);
	if (r != 0)
		return r;
	if (cli_is_document(&f)) {
		cli_autodoc struct cli_doc d;
		json_t *array = cli_doc_init(&d, true);
		for (size_t i = 0; i < resp->n_nodes; i++)
			node_doc(&d, cli_doc_add(&d, array), resp->nodes[i]);
		return cli_doc_print(&d, &f, stdout, err);
	}
	cli_autotable struct cli_table t;
	cli_table_init(&t, headings);
	for (size_t i = 0; i < resp->n_nodes; i++)
		node_row(&t, resp->nodes[i]);
	cli_table_sort(&t, 0);
	return cli_table_print(&t, &f, stdout, err);
}

static int show_run(struct cli *cli, struct lx_err *err)
{
	Lxmgr__V1__NodeRequest req = LXMGR__V1__NODE_REQUEST__INIT;
	cli_autopb node *n = NULL;
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_YAML, &f, err);

	req.name = cli->args.operands[0];
	if (r == 0)
		r = cli_call(cli, CLI_NODES, "Get", &req, &n, err);
	if (r != 0)
		return r;
	for (size_t i = 0; !cli->quiet && n->facts && i < n->facts->n_warnings; i++)
		cli_warn("%s: %s", n->name, n->facts->warnings[i]);
	cli_autodoc struct cli_doc d;
	node_doc(&d, cli_doc_init(&d, false), n);
	return cli_doc_print(&d, &f, stdout, err);
}

int cli_node_token(struct cli *cli, const char *name, uint32_t ttl, Lxmgr__V1__JoinToken **ret,
		   struct lx_err *err)
{
	Lxmgr__V1__CreateTokenRequest req = LXMGR__V1__CREATE_TOKEN_REQUEST__INIT;

	if (name)
		req.name = (char *)name;
	req.ttl_seconds = ttl;
	return cli_call(cli, CLI_NODES, "CreateToken", &req, ret, err);
}

/* The token alone on stdout, so that it can be pasted or substituted. */
static int token_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb Lxmgr__V1__JoinToken *token = NULL;
	const char *ttl = cli_opt(cli, "ttl");
	char until[LX_TIME_TEXT];
	uint64_t seconds = 0;

	if (ttl && (lx_parse_duration(ttl, &seconds) < 0 || !seconds || seconds > UINT32_MAX))
		return cli_usage(cli, err, "--ttl needs a duration (30m, 2h), not \"%s\"", ttl);
	int r = cli_node_token(cli, cli_operand(cli, 0), (uint32_t)seconds, &token, err);
	if (r < 0)
		return r;
	printf("%s\n", token->token);
	fflush(stdout);
	if (token->expires_at_ns)
		cli_note(cli, "Good for one machine until %s. There: lxagentd --join TOKEN",
			 lx_time_rfc3339((uint64_t)token->expires_at_ns, until));
	return 0;
}

int cli_node_set_address(struct cli *cli, const char *name, const char *address, struct lx_err *err)
{
	Lxmgr__V1__SetNodeAddressRequest req = LXMGR__V1__SET_NODE_ADDRESS_REQUEST__INIT;

	req.name = (char *)name;
	req.address = (char *)address;
	return cli_call(cli, CLI_NODES, "SetAddress", &req, NULL, err);
}

static int set_address_run(struct cli *cli, struct lx_err *err)
{
	return cli_node_set_address(cli, cli->args.operands[0], cli->args.operands[1], err);
}

int cli_node_remove(struct cli *cli, const char *name, bool force, struct lx_err *err)
{
	Lxmgr__V1__NodeRequest req = LXMGR__V1__NODE_REQUEST__INIT;

	req.name = (char *)name;
	req.force = force;
	return cli_call(cli, CLI_NODES, "Remove", &req, NULL, err);
}

static int remove_run(struct cli *cli, struct lx_err *err)
{
	const char *name = cli->args.operands[0];
	bool force = cli_flag(cli, "force");

	if (force && !cli_confirm(true, "Forget %s and all instances on it?", name))
		return lx_err_set(err, LX_CANCELLED, "%s was not removed: not confirmed", name);
	return cli_node_remove(cli, name, force, err);
}

/* ------------------------------------------------------------------ labels and cordons */

/* "KEY=VALUE" sets, "KEY-" removes. */
static int take_label(struct cli *cli, const char *text, Lxmgr__V1__UpdateNodeRequest *req,
		      struct lx_err *err)
{
	const char *equals = strchr(text, '=');
	size_t n = strlen(text);

	if (!equals && (n < 2 || text[n - 1] != '-'))
		return cli_usage(cli, err, "\"%s\" is neither KEY=VALUE (set it) nor KEY- (remove it)", text);
	lx_autofree char *key = strndup(text, equals ? (size_t)(equals - text) : n - 1);
	int r = !key     ? -ENOMEM
		: equals ? lx_pb_map_set(&lxmgr__v1__update_node_request__set_labels_entry__descriptor,
					 &req->n_set_labels, &req->set_labels, key, equals + 1)
			 : lx_pb_strv_add(&req->n_unset_labels, &req->unset_labels, key);

	return r < 0 ? lx_err_oom(err) : 0;
}

static int label_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb Lxmgr__V1__UpdateNodeRequest *req =
		cli_pb_new(&lxmgr__v1__update_node_request__descriptor);
	int r = req && lx_pb_set(&req->name, cli_operand(cli, 0)) == 0 ? 0 : lx_err_oom(err);

	for (int i = 1; r == 0 && i < cli->args.n_operands; i++)
		r = take_label(cli, cli_operand(cli, i), req, err);
	return r < 0 ? r : cli_call(cli, CLI_NODES, "Update", req, NULL, err);
}

/* One after another: the first that fails ends it. */
static int set_cordon(struct cli *cli, bool cordon, struct lx_err *err)
{
	int r = 0;

	for (int i = 0; r == 0 && i < cli->args.n_operands; i++) {
		Lxmgr__V1__UpdateNodeRequest req = LXMGR__V1__UPDATE_NODE_REQUEST__INIT;
		req.name = cli->args.operands[i];
		req.cordon = cordon;
		req.uncordon = !cordon;
		r = cli_call(cli, CLI_NODES, "Update", &req, NULL, err);
	}
	return r;
}

static int cordon_run(struct cli *cli, struct lx_err *err)
{
	return set_cordon(cli, true, err);
}

static int uncordon_run(struct cli *cli, struct lx_err *err)
{
	return set_cordon(cli, false, err);
}

static const struct cli_option list_options[] = { CLI_FORMAT_OPTION, { .name = NULL } };
static const struct cli_option token_options[] = {
	{ "ttl", 0, "DURATION", "how long it is good for (one hour)", 0 },
	{ .name = NULL },
};
static const struct cli_option remove_options[] = {
	{ "force", 'f', NULL, "also when it is offline with instances: they are forgotten too", 0 },
	{ .name = NULL },
};

const struct cli_verb cli_node_verbs[] = {
	{ .name = "node list",
	  .aliases = "ls",
	  .summary = "List the machines of the cluster",
	  .examples = "lxmgr node list",
	  .options = list_options,
	  .run = list_run },
	{ .name = "node show",
	  .aliases = "info",
	  .operands = "NODE",
	  .summary = "Show what a machine is and what it can do",
	  .examples = "lxmgr node show node1\nlxmgr node show node1 --format json",
	  .options = list_options,
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_NODE },
	  .run = show_run },
	{ .name = "node token",
	  .aliases = "add",
	  .operands = "[NAME]",
	  .summary = "Make a token with which one machine may join",
	  .details = "Only the token goes to stdout. NAME binds it to a machine of that name.",
	  .examples = "lxmgr node token\nlxmgr node token node2 --ttl 10m\nlxagentd --join \"$(lxmgr node "
		      "token -q)\"",
	  .options = token_options,
	  .max = 1,
	  .kinds = { CLI_TEXT },
	  .run = token_run },
	{ .name = "node label",
	  .operands = "NODE KEY=VALUE... | KEY-...",
	  .summary = "Set and remove labels of a machine",
	  .details = "Instances ask for labels with the configuration key placement.labels, and are then put "
		     "on machines that have all of them. Those that are somewhere already stay there. lxmgr "
		     "node show lists a machine's labels.",
	  .examples = "lxmgr node label node1 disk=ssd zone=a\n"
		      "lxmgr node label node1 zone-  # remove it\n"
		      "lxmgr launch debian/12 db1 -c placement.labels=disk=ssd",
	  .min = 2,
	  .max = CLI_MANY,
	  .kinds = { CLI_NODE, CLI_TEXT },
	  .run = label_run },
	{ .name = "node cordon",
	  .operands = "NODE...",
	  .summary = "Put nothing new on a machine",
	  .details = "What is on it stays and runs on. Only a launch that names the machine (--target) still "
		     "goes there.",
	  .examples = "lxmgr node cordon node2",
	  .min = 1,
	  .max = CLI_MANY,
	  .kinds = { CLI_NODE },
	  .run = cordon_run },
	{ .name = "node uncordon",
	  .operands = "NODE...",
	  .summary = "Use a machine for new instances again",
	  .examples = "lxmgr node uncordon node2",
	  .min = 1,
	  .max = CLI_MANY,
	  .kinds = { CLI_NODE },
	  .run = uncordon_run },
	{ .name = "node set-address",
	  .operands = "NODE HOST:PORT",
	  .summary = "Say where a machine is reached from now on",
	  .details = "For a machine that got another address since it joined. Its agent has to listen there; "
		     "it is recognised by its certificate.",
	  .examples = "lxmgr node set-address node2 192.0.2.7:8444",
	  .min = 2,
	  .max = 2,
	  .kinds = { CLI_NODE, CLI_TEXT },
	  .run = set_address_run },
	{ .name = "node remove",
	  .aliases = "rm,delete",
	  .operands = "NODE",
	  .summary = "Take a machine out of the cluster",
	  .details =
		  "Refused while instances live there or move there, or an image is on no other machine. "
		  "With --force images are no reason to stay, and a machine that is offline for good is "
		  "forgotten with its instances; one that was moving there is taken back by the machine it "
		  "came from. The manager has nothing to do with its agent from then on; stop that, or "
		  "on a machine that is lost make sure it does not come back.",
	  .examples = "lxmgr node remove node2",
	  .options = remove_options,
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_NODE },
	  .run = remove_run },
	{ .name = NULL },
};
