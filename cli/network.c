/*
 * lxmgr network: managed bridges and the addresses leased on them.
 */
#include "cli/connection.h"
#include "cli/doc.h"
#include "cli/editor.h"
#include "cli/settings.h"
#include "lxmgr/v1/network.pb-c.h"
#include "proto/pb.h"

typedef Lxmgr__V1__Network network;
typedef Lxmgr__V1__UpdateNetworkRequest update_request;

static int get_network(struct cli *cli, const char *name, network **ret, struct lx_err *err)
{
	Lxmgr__V1__NetworkRequest req = LXMGR__V1__NETWORK_REQUEST__INIT;

	req.name = (char *)name;
	return cli_call(cli, CLI_NETWORKS, "Get", &req, ret, err);
}

/* ------------------------------------------------------------------ list, show, leases */

static void network_doc(struct cli_doc *d, json_t *to, const network *n)
{
	cli_doc_str(d, to, "name", n->name);
	cli_doc_str(d, to, "project", n->project);
	cli_doc_str(d, to, "description", n->description);
	cli_doc_str(d, to, "status", n->status);
	cli_doc_map(d, to, "config", n->n_config, n->config);
	cli_doc_strv(d, to, "used_by", n->n_used_by, n->used_by);
}

static int list_run(struct cli *cli, struct lx_err *err)
{
	static const char *const headings[] = { "NAME",     "IPV4",   "IPV6", "DESCRIPTION",
						">USED BY", "STATUS", NULL };
	Lxmgr__V1__ListNetworksRequest req = LXMGR__V1__LIST_NETWORKS_REQUEST__INIT;
	cli_autopb Lxmgr__V1__ListNetworksResponse *resp = NULL;
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_TABLE, &f, err);

	if (r == 0)
		r = cli_call(cli, CLI_NETWORKS, "List", &req, &resp, err);
	if (r != 0)
		return r;
	if (cli_is_document(&f)) {
		cli_autodoc struct cli_doc d;
		json_t *array = cli_doc_init(&d, true);
		for (size_t i = 0; i < resp->n_networks; i++)
			network_doc(&d, cli_doc_add(&d, array), resp->networks[i]);
		return cli_doc_print(&d, &f, stdout, err);
	}
	cli_autotable struct cli_table t;
	cli_table_init(&t, headings);
	if (cli_all_projects(cli))
		cli_table_column(&t, "PROJECT");
	for (size_t i = 0; i < resp->n_networks; i++) {
		const network *n = resp->networks[i];
		cli_table_row(&t);
		cli_table_set(&t, 0, n->name);
		cli_table_set(&t, 1, lx_pb_map_get(n->n_config, n->config, "ipv4.address"));
		cli_table_set(&t, 2, lx_pb_map_get(n->n_config, n->config, "ipv6.address"));
		cli_table_set(&t, 3, n->description);
		cli_table_setf(&t, 4, "%zu", n->n_used_by);
		cli_table_set(&t, 5, n->status);
		if (cli_all_projects(cli))
			cli_table_set(&t, LX_ARRAY_SIZE(headings) - 1, n->project);
	}
	cli_table_sort(&t, 0);
	return cli_table_print(&t, &f, stdout, err);
}

static int show_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb network *n = NULL;
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_YAML, &f, err);

	if (r == 0)
		r = get_network(cli, cli_operand(cli, 0), &n, err);
	if (r != 0)
		return r;
	cli_autodoc struct cli_doc d;
	network_doc(&d, cli_doc_init(&d, false), n);
	return cli_doc_print(&d, &f, stdout, err);
}

static int leases_run(struct cli *cli, struct lx_err *err)
{
	static const char *const headings[] = { "INSTANCE", "NIC",     "IPV4", "IPV6",
						"MAC",      "NETWORK", "NODE", NULL };
	static const char *const names[] = { "instance", "nic", "ipv4", "ipv6", "hwaddr", "network", "node" };
	Lxmgr__V1__NetworkRequest req = LXMGR__V1__NETWORK_REQUEST__INIT;
	cli_autopb Lxmgr__V1__ListLeasesResponse *resp = NULL;
	cli_autotable struct cli_table t = { 0 };
	cli_autodoc struct cli_doc d = { 0 };
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_TABLE, &f, err);

	req.name = cli->args.operands[0];
	if (r == 0)
		r = cli_call(cli, CLI_NETWORKS, "ListLeases", &req, &resp, err);
	if (r != 0)
		return r;
	cli_table_init(&t, headings);
	json_t *array = cli_doc_init(&d, true);
	for (size_t i = 0; i < resp->n_leases; i++) {
		const Lxmgr__V1__Lease *l = resp->leases[i];
		const char *const values[] = { l->instance, l->nic,     l->ipv4, l->ipv6,
					       l->hwaddr,   l->network, l->node };
		json_t *object = cli_doc_add(&d, array);
		cli_table_row(&t);
		for (size_t c = 0; c < LX_ARRAY_SIZE(values); c++) {
			cli_table_set(&t, c, values[c]);
			cli_doc_str(&d, object, names[c], values[c]);
		}
		if (l->held)
			cli_table_setf(&t, 1, "%s (until restart)", l->nic);
		cli_doc_bool(&d, object, "held", l->held);
	}
	if (cli_is_document(&f))
		return cli_doc_print(&d, &f, stdout, err);
	cli_table_sort(&t, 0);
	return cli_table_print(&t, &f, stdout, err);
}

/* ------------------------------------------------------------------ create, delete */

static int create_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb network *n = cli_pb_new(&lxmgr__v1__network__descriptor);
	cli_automap struct lx_map config;
	int r = n ? 0 : lx_err_oom(err);

	cli_map_init(&config);
	for (int i = 1; r == 0 && i < cli->args.n_operands; i++)
		r = cli_pair(cli, cli_operand(cli, i), &config, err);
	if (r < 0)
		return r;
	if (lx_pb_set(&n->name, cli_operand(cli, 0)) < 0 ||
	    lx_pb_set(&n->description, cli_opt(cli, "description")) < 0 ||
	    lx_pb_map_from(&lxmgr__v1__network__config_entry__descriptor, &n->n_config, &n->config, &config) <
		    0)
		return lx_err_oom(err);
	r = cli_call(cli, CLI_NETWORKS, "Create", n, NULL, err);
	if (r == 0)
		cli_note(cli, "Created network %s", cli_operand(cli, 0));
	return r;
}

static int delete_run(struct cli *cli, struct lx_err *err)
{
	int r = 0;

	for (int i = 0; r == 0 && i < cli->args.n_operands; i++) {
		Lxmgr__V1__NetworkRequest req = LXMGR__V1__NETWORK_REQUEST__INIT;
		req.name = cli->args.operands[i];
		r = cli_call(cli, CLI_NETWORKS, "Delete", &req, NULL, err);
	}
	return r;
}

/* ------------------------------------------------------------------ keys */

static int update(struct cli *cli, const struct lx_map *set, char *const *unset, size_t n_unset,
		  const char *description, struct lx_err *err)
{
	cli_autopb update_request *req = cli_pb_new(&lxmgr__v1__update_network_request__descriptor);

	if (!req || lx_pb_set(&req->name, cli_operand(cli, 0)) < 0 ||
	    lx_pb_set(&req->description, description) < 0 ||
	    lx_pb_strv_copy(&req->n_unset_config, &req->unset_config, n_unset, unset) < 0 ||
	    (set && lx_pb_map_from(&lxmgr__v1__update_network_request__set_config_entry__descriptor,
				   &req->n_set_config, &req->set_config, set) < 0))
		return lx_err_oom(err);
	req->set_description = description != NULL;
	return cli_call(cli, CLI_NETWORKS, "Update", req, NULL, err);
}

static int set_run(struct cli *cli, struct lx_err *err)
{
	cli_automap struct lx_map set;
	const char *description = cli_opt(cli, "description");

	cli_map_init(&set);
	if (cli->args.n_operands < 2 && !description)
		return cli_usage(cli, err, "nothing to set: give KEY=VALUE or --description");
	int r = cli_pairs(cli, 1, &set, err);
	return r < 0 ? r : update(cli, &set, NULL, 0, description, err);
}

static int unset_run(struct cli *cli, struct lx_err *err)
{
	return update(cli, NULL, cli->args.operands + 1, (size_t)cli->args.n_operands - 1, NULL, err);
}

static int get_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb network *n = NULL;
	int r = get_network(cli, cli_operand(cli, 0), &n, err);

	if (r < 0)
		return r;
	const char *value = lx_pb_map_get(n->n_config, n->config, cli_operand(cli, 1));
	printf("%s\n", value ? value : "");
	return 0;
}

static int apply_edit(struct cli *cli, const json_t *doc, void *arg, struct lx_err *err)
{
	static const char *const known[] = { "name",   "project", "description", "status",
					     "config", "used_by", NULL };
	const network *before = arg;
	cli_automap struct lx_map config;
	lx_autofree char *description = NULL;
	size_t n_unset = 0;
	char **unset = NULL;

	cli_map_init(&config);
	int r = cli_doc_check_keys(doc, known, err);
	if (r == 0)
		r = cli_doc_read_text(doc, "description", &description, err);
	if (r == 0)
		r = cli_doc_read_map(doc, "config", &config, err);
	for (size_t i = 0; r == 0 && i < before->n_config; i++)
		if (!lx_map_has(&config, before->config[i]->key) &&
		    lx_pb_strv_add(&n_unset, &unset, before->config[i]->key) < 0)
			r = lx_err_oom(err);
	if (r == 0)
		r = update(cli, &config, unset, n_unset, description, err);
	lx_pb_strv_free(&n_unset, &unset);
	return r;
}

static int edit_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb network *n = NULL;
	int r = get_network(cli, cli_operand(cli, 0), &n, err);

	if (r < 0)
		return r;
	cli_autodoc struct cli_doc d;
	network_doc(&d, cli_doc_init(&d, false), n);
	return cli_edit(cli, &d, "A network. Only description and config can be changed.", apply_edit, n,
			err);
}

/* ------------------------------------------------------------------ the table */

#define KEYS                                                                                                 \
	"Keys: ipv4.address (10.88.0.1/16 or none), ipv4.nat, ipv4.dhcp, ipv6.address (fd42::1/64 or "       \
	"none), "                                                                                            \
	"ipv6.nat, dns.domain, bridge.mtu, security.projects.isolation (true: instances of different "       \
	"projects do not reach each other)."

static const struct cli_option list_options[] = { CLI_FORMAT_OPTION, { .name = NULL } };
static const struct cli_option list_all_options[] = { CLI_ALL_PROJECTS_OPTION,
						      CLI_FORMAT_OPTION,
						      { .name = NULL } };
static const struct cli_option description_options[] = {
	{ "description", 0, "TEXT", "what it is for", 0 },
	{ .name = NULL },
};

#define ONE_NETWORK .min = 1, .max = 1, .kinds = { CLI_NETWORK }

const struct cli_verb cli_network_verbs[] = {
	{ .name = "network list",
	  .aliases = "ls",
	  .summary = "List networks",
	  .examples = "lxmgr network list",
	  .options = list_all_options,
	  .run = list_run },
	{ .name = "network show",
	  .aliases = "info",
	  .operands = "NETWORK",
	  .summary = "Show a network as YAML",
	  .examples = "lxmgr network show lxbr0",
	  .options = list_options,
	  ONE_NETWORK,
	  .run = show_run },
	{ .name = "network create",
	  .operands = "NETWORK [KEY=VALUE...]",
	  .summary = "Create a network: a bridge of that name on every node",
	  .details = KEYS,
	  .examples = "lxmgr network create lxbr1\nlxmgr network create lxbr1 ipv4.address=10.99.0.1/24 "
		      "ipv4.nat=false",
	  .options = description_options,
	  .min = 1,
	  .max = CLI_MANY,
	  .kinds = { CLI_TEXT },
	  .run = create_run },
	{ .name = "network set",
	  .operands = "NETWORK KEY=VALUE...",
	  .summary = "Set configuration keys of a network",
	  .details = KEYS,
	  .examples = "lxmgr network set lxbr0 ipv4.nat=false\nlxmgr network set lxbr0 --description 'the "
		      "default'",
	  .options = description_options,
	  .min = 1,
	  .max = CLI_MANY,
	  .kinds = { CLI_NETWORK, CLI_TEXT },
	  .run = set_run },
	{ .name = "network get",
	  .operands = "NETWORK KEY",
	  .summary = "Print the value of a key",
	  .examples = "lxmgr network get lxbr0 ipv4.address",
	  .min = 2,
	  .max = 2,
	  .kinds = { CLI_NETWORK, CLI_TEXT },
	  .run = get_run },
	{ .name = "network unset",
	  .operands = "NETWORK KEY...",
	  .summary = "Remove configuration keys from a network",
	  .examples = "lxmgr network unset lxbr0 dns.domain",
	  .min = 2,
	  .max = CLI_MANY,
	  .kinds = { CLI_NETWORK, CLI_TEXT },
	  .run = unset_run },
	{ .name = "network edit",
	  .operands = "NETWORK",
	  .summary = "Edit a network as YAML",
	  .details = "In your editor ($VISUAL, $EDITOR, vi), or from stdin when that is no terminal.",
	  .examples = "lxmgr network edit lxbr0",
	  ONE_NETWORK,
	  .run = edit_run },
	{ .name = "network delete",
	  .aliases = "rm",
	  .operands = "NETWORK...",
	  .summary = "Delete networks that nothing uses",
	  .examples = "lxmgr network delete lxbr1",
	  .min = 1,
	  .max = CLI_MANY,
	  .kinds = { CLI_NETWORK },
	  .run = delete_run },
	{ .name = "network leases",
	  .aliases = "list-leases",
	  .operands = "NETWORK",
	  .summary = "List the addresses leased on a network",
	  .examples = "lxmgr network leases lxbr0\nlxmgr network leases lxbr0 --format csv",
	  .options = list_options,
	  ONE_NETWORK,
	  .run = leases_run },
	{ .name = NULL },
};
