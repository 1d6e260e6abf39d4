/*
 * lxmgr project: who owns what, how much of it there may be, and which one commands are about.
 */
#include "cli/connection.h"
#include "cli/doc.h"
#include "cli/editor.h"
#include "cli/remotes.h"
#include "cli/settings.h"
#include "lxmgr/v1/project.pb-c.h"
#include "proto/pb.h"

typedef Lxmgr__V1__Project project;
typedef Lxmgr__V1__ProjectUse project_use;
typedef Lxmgr__V1__UpdateProjectRequest update_request;

#define AMOUNT_TEXT 64

static int get_project(struct cli *cli, const char *name, project **ret, struct lx_err *err)
{
	Lxmgr__V1__ProjectRequest req = LXMGR__V1__PROJECT_REQUEST__INIT;

	req.name = (char *)(uintptr_t)name;
	return cli_call(cli, CLI_PROJECTS, "Get", &req, ret, err);
}

/* ------------------------------------------------------------------ list, show */

static const project_use *use_of(const project *p, const char *name)
{
	for (size_t i = 0; i < p->n_use; i++)
		if (strcmp(p->use[i]->name, name) == 0)
			return p->use[i];
	return NULL;
}

static void one_amount(const char *name, uint64_t v, char buf[LX_SIZE_TEXT_MAX])
{
	if (strcmp(name, "memory") == 0 || strcmp(name, "disk") == 0)
		lx_format_size(v, buf, LX_SIZE_TEXT_MAX);
	else if (strcmp(name, "cpu") == 0 && v % 1000)
		snprintf(buf, LX_SIZE_TEXT_MAX, "%.1f", (double)v / 1000);
	else
		snprintf(buf, LX_SIZE_TEXT_MAX, "%llu",
			 (unsigned long long)(strcmp(name, "cpu") == 0 ? v / 1000 : v));
}

/* "3/10", "512MiB/2GiB"; without a limit what is used alone. */
static const char *used(const project_use *u, char buf[AMOUNT_TEXT])
{
	char have[LX_SIZE_TEXT_MAX], limit[LX_SIZE_TEXT_MAX];

	one_amount(u->name, u->used, have);
	one_amount(u->name, u->limit, limit);
	snprintf(buf, AMOUNT_TEXT, "%s%s%s", have, u->limited ? "/" : "", u->limited ? limit : "");
	return buf;
}

static void project_doc(struct cli_doc *d, json_t *to, const project *p)
{
	char text[AMOUNT_TEXT];

	cli_doc_str(d, to, "name", p->name);
	cli_doc_str(d, to, "description", p->description);
	cli_doc_map(d, to, "config", p->n_config, p->config);
	json_t *use = cli_doc_object(d, to, "used");
	for (size_t i = 0; i < p->n_use; i++)
		cli_doc_str(d, use, p->use[i]->name, used(p->use[i], text));
	cli_doc_int(d, to, "profiles", p->profiles);
}

static int list_run(struct cli *cli, struct lx_err *err)
{
	static const char *const headings[] = { "NAME",      ">INSTANCES", ">CPU",        ">MEMORY", ">DISK",
						">NETWORKS", ">IMAGES",    "DESCRIPTION", NULL };
	static const char *const columns[] = { "instances", "cpu", "memory", "disk", "networks", "images" };
	Lxmgr__V1__ListProjectsRequest req = LXMGR__V1__LIST_PROJECTS_REQUEST__INIT;
	cli_autopb Lxmgr__V1__ListProjectsResponse *resp = NULL;
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_TABLE, &f, err);

	if (r == 0)
		r = cli_call(cli, CLI_PROJECTS, "List", &req, &resp, err);
	if (r != 0)
		return r;
	if (cli_is_document(&f)) {
		cli_autodoc struct cli_doc d;
		json_t *array = cli_doc_init(&d, true);
		for (size_t i = 0; i < resp->n_projects; i++)
			project_doc(&d, cli_doc_add(&d, array), resp->projects[i]);
		return cli_doc_print(&d, &f, stdout, err);
	}
	cli_autotable struct cli_table t;
	cli_table_init(&t, headings);
	for (size_t i = 0; i < resp->n_projects; i++) {
		const project *p = resp->projects[i];

		cli_table_row(&t);
		cli_table_setf(&t, 0, "%s%s", p->name, strcmp(p->name, cli_project(cli)) == 0 ? " *" : "");
		for (size_t c = 0; c < LX_ARRAY_SIZE(columns); c++) {
			const project_use *u = use_of(p, columns[c]);
			char text[AMOUNT_TEXT];

			cli_table_set(&t, c + 1, u ? used(u, text) : "");
		}
		cli_table_set(&t, LX_ARRAY_SIZE(columns) + 1, p->description);
	}
	cli_table_sort(&t, 0);
	return cli_table_print(&t, &f, stdout, err);
}

static int show_run(struct cli *cli, struct lx_err *err)
{
	const char *name = cli_operand(cli, 0);
	cli_autopb project *p = NULL;
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_YAML, &f, err);

	if (r == 0)
		r = get_project(cli, name ? name : cli_project(cli), &p, err);
	if (r != 0)
		return r;
	cli_autodoc struct cli_doc d;
	project_doc(&d, cli_doc_init(&d, false), p);
	return cli_doc_print(&d, &f, stdout, err);
}

static int get_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb project *p = NULL;
	int r = get_project(cli, cli_operand(cli, 0), &p, err);

	if (r < 0)
		return r;
	const char *value = lx_pb_map_get(p->n_config, p->config, cli_operand(cli, 1));
	printf("%s\n", value ? value : "");
	return 0;
}

/* ------------------------------------------------------------------ create, delete */

static int create_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb Lxmgr__V1__CreateProjectRequest *req =
		cli_pb_new(&lxmgr__v1__create_project_request__descriptor);
	cli_automap struct lx_map config;
	int r = req ? lx_name_check("project", cli_operand(cli, 0), err) : lx_err_oom(err);

	cli_map_init(&config);
	for (int i = 1; r == 0 && i < cli->args.n_operands; i++)
		r = cli_pair(cli, cli_operand(cli, i), &config, err);
	if (r < 0)
		return r;
	if (lx_pb_set(&req->name, cli_operand(cli, 0)) < 0 ||
	    lx_pb_set(&req->description, cli_opt(cli, "description")) < 0 ||
	    lx_pb_map_from(&lxmgr__v1__create_project_request__config_entry__descriptor, &req->n_config,
			   &req->config, &config) < 0)
		return lx_err_oom(err);
	r = cli_call(cli, CLI_PROJECTS, "Create", req, NULL, err);
	if (r == 0)
		cli_note(cli,
			 "Created project %s. Use it with --project %s, or for good: lxmgr project switch %s",
			 req->name, req->name, req->name);
	return r;
}

static int delete_run(struct cli *cli, struct lx_err *err)
{
	int r = 0;

	for (int i = 0; r == 0 && i < cli->args.n_operands; i++) {
		Lxmgr__V1__ProjectRequest req = LXMGR__V1__PROJECT_REQUEST__INIT;

		req.name = cli->args.operands[i];
		r = cli_call(cli, CLI_PROJECTS, "Delete", &req, NULL, err);
	}
	return r;
}

/* Who has switched to it goes along. */
static int rename_run(struct cli *cli, struct lx_err *err)
{
	Lxmgr__V1__RenameProjectRequest req = LXMGR__V1__RENAME_PROJECT_REQUEST__INIT;
	int r = lx_name_check("project", cli_operand(cli, 1), err);

	req.name = cli->args.operands[0];
	req.new_name = cli->args.operands[1];
	if (r == 0)
		r = cli_call(cli, CLI_PROJECTS, "Rename", &req, NULL, err);
	if (r < 0)
		return r;
	lx_autofree char *switched = cli_project_default(cli->remote);

	return switched && strcmp(switched, req.name) == 0
		       ? cli_project_set_default(cli->remote, req.new_name, err)
		       : 0;
}

/* ------------------------------------------------------------------ changes */

static int update(struct cli *cli, const struct lx_map *set, char *const *unset, size_t n_unset,
		  const char *description, struct lx_err *err)
{
	cli_autopb update_request *req = cli_pb_new(&lxmgr__v1__update_project_request__descriptor);

	if (!req || lx_pb_set(&req->name, cli_operand(cli, 0)) < 0 ||
	    lx_pb_set(&req->description, description) < 0 ||
	    lx_pb_strv_copy(&req->n_unset_config, &req->unset_config, n_unset, unset) < 0 ||
	    (set && lx_pb_map_from(&lxmgr__v1__update_project_request__set_config_entry__descriptor,
				   &req->n_set_config, &req->set_config, set) < 0))
		return lx_err_oom(err);
	req->set_description = description != NULL;
	return cli_call(cli, CLI_PROJECTS, "Update", req, NULL, err);
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

static int apply_edit(struct cli *cli, const json_t *doc, void *arg, struct lx_err *err)
{
	static const char *const known[] = { "name", "description", "config", "used", "profiles", NULL };
	const project *before = arg;
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
		r = update(cli, &config, unset, n_unset, description ? description : "", err);
	lx_pb_strv_free(&n_unset, &unset);
	return r;
}

static int edit_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb project *p = NULL;
	int r = get_project(cli, cli_operand(cli, 0), &p, err);

	if (r < 0)
		return r;
	cli_autodoc struct cli_doc d;
	project_doc(&d, cli_doc_init(&d, false), p);
	return cli_edit(cli, &d, "A project. Only description and config can be changed.", apply_edit, p,
			err);
}

/* ------------------------------------------------------------------ switch */

static int switch_run(struct cli *cli, struct lx_err *err)
{
	const char *name = cli_operand(cli, 0);
	cli_autopb project *p = NULL;
	int r = get_project(cli, name, &p, err);

	return r < 0 ? r : cli_project_set_default(cli->remote, name, err);
}

/* ------------------------------------------------------------------ the table */

#define KEYS                                                                                                 \
	"Quotas: limits.instances, limits.cpu, limits.memory, limits.processes, limits.networks, "           \
	"limits.images. Restrictions: restricted.privileged, restricted.nesting, "                           \
	"restricted.interception, restricted.lowlevel, "                                                     \
	"restricted.networks. lxmgr-config(7) says what each is."

static const struct cli_option list_options[] = { CLI_FORMAT_OPTION, { .name = NULL } };
static const struct cli_option description_options[] = {
	{ "description", 0, "TEXT", "what it is for", 0 },
	{ .name = NULL },
};

#define ONE_PROJECT .min = 1, .max = 1, .kinds = { CLI_PROJECT }

const struct cli_verb cli_project_verbs[] = {
	{ .name = "project list",
	  .aliases = "ls",
	  .summary = "List the projects you have to do with, with what they use of what they may",
	  .examples = "lxmgr project list",
	  .options = list_options,
	  .run = list_run },
	{ .name = "project show",
	  .aliases = "info",
	  .operands = "[PROJECT]",
	  .summary = "Show a project as YAML, with what it uses of its quotas",
	  .examples = "lxmgr project show\nlxmgr project show shop",
	  .options = list_options,
	  .max = 1,
	  .kinds = { CLI_PROJECT },
	  .run = show_run },
	{ .name = "project create",
	  .operands = "PROJECT [KEY=VALUE...]",
	  .summary = "Create a project with a profile \"default\" of its own",
	  .details =
		  "It owns instances, profiles, images and networks, named as it likes; images and networks "
		  "of the project \"default\" it shares. Its instances may not be privileged unless "
		  "restricted.privileged=false is given.\n" KEYS,
	  .examples = "lxmgr project create shop\n"
		      "lxmgr project create shop limits.instances=10 limits.memory=8GiB\n"
		      "lxmgr --project shop launch debian/12 web1 -c limits.memory=1GiB",
	  .options = description_options,
	  .min = 1,
	  .max = CLI_MANY,
	  .kinds = { CLI_TEXT },
	  .run = create_run },
	{ .name = "project set",
	  .operands = "PROJECT KEY=VALUE...",
	  .summary = "Set quotas and restrictions of a project",
	  .details = "Refused when what the project has does not fit.\n" KEYS,
	  .examples = "lxmgr project set shop limits.memory=16GiB\nlxmgr project set shop --description 'the "
		      "shop'",
	  .options = description_options,
	  .min = 1,
	  .max = CLI_MANY,
	  .kinds = { CLI_PROJECT, CLI_TEXT },
	  .run = set_run },
	{ .name = "project get",
	  .operands = "PROJECT KEY",
	  .summary = "Print the value of a key",
	  .examples = "lxmgr project get shop limits.memory",
	  .min = 2,
	  .max = 2,
	  .kinds = { CLI_PROJECT, CLI_TEXT },
	  .run = get_run },
	{ .name = "project unset",
	  .operands = "PROJECT KEY...",
	  .summary = "Remove quotas and restrictions from a project",
	  .examples = "lxmgr project unset shop limits.memory",
	  .min = 2,
	  .max = CLI_MANY,
	  .kinds = { CLI_PROJECT, CLI_TEXT },
	  .run = unset_run },
	{ .name = "project edit",
	  .operands = "PROJECT",
	  .summary = "Edit a project as YAML",
	  .details = "In your editor ($VISUAL, $EDITOR, vi), or from stdin when that is no terminal.",
	  .examples = "lxmgr project edit shop",
	  ONE_PROJECT,
	  .run = edit_run },
	{ .name = "project switch",
	  .operands = "PROJECT",
	  .summary = "Say which project is meant when none is named",
	  .details =
		  "On this cluster (the remote in use) and for you alone. --project and LXMGR_PROJECT come "
		  "before it.",
	  .examples = "lxmgr project switch shop\nlxmgr project switch default",
	  ONE_PROJECT,
	  .run = switch_run },
	{ .name = "project rename",
	  .aliases = "mv",
	  .operands = "PROJECT NEW-NAME",
	  .summary = "Rename a project that owns no instance, image or network",
	  .details =
		  "Profiles, quotas, restrictions and everybody's roles in it follow. Nodes know instances, "
		  "images and networks by their project's name, so one that has any is refused. The audit "
		  "log keeps what was done under the old name.",
	  .examples = "lxmgr project rename shop store",
	  .min = 2,
	  .max = 2,
	  .kinds = { CLI_PROJECT, CLI_TEXT },
	  .run = rename_run },
	{ .name = "project delete",
	  .aliases = "rm",
	  .operands = "PROJECT...",
	  .summary = "Delete projects that own nothing",
	  .details = "Roles in it go with it.",
	  .examples = "lxmgr project delete shop",
	  .min = 1,
	  .max = CLI_MANY,
	  .kinds = { CLI_PROJECT },
	  .run = delete_run },
	{ .name = NULL },
};
