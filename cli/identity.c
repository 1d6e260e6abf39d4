/*
 * lxmgr identity: who may use the cluster. Tokens are in identity_token.c.
 */
#include "cli/identity.h"

#include "cli/doc.h"
#include "lib/clock.h"
#include "lib/fs.h"
#include "proto/pb.h"

#define CSR_MAX (16u << 10)

typedef Lxmgr__V1__Identity identity;

static const char *const roles[] = { "none", "viewer", "operator", "admin" };

const char *cli_role_name(Lxmgr__V1__Role role)
{
	return (unsigned)role < LX_ARRAY_SIZE(roles) ? roles[role] : "unknown";
}

int cli_role(struct cli *cli, const char *text, Lxmgr__V1__Role *ret, struct lx_err *err)
{
	for (unsigned i = LXMGR__V1__ROLE__ROLE_VIEWER; text && i < LX_ARRAY_SIZE(roles); i++) {
		if (strcmp(text, roles[i]) != 0)
			continue;
		*ret = (Lxmgr__V1__Role)i;
		return 0;
	}
	return text ? cli_usage(cli, err, "\"%s\" is no role: viewer, operator or admin", text)
		    : cli_usage(cli, err, "a role is needed: --role viewer, operator or admin");
}

static int add_right(struct cli *cli, const char *text, const char *role, bool none, struct cli_rights *to,
		     struct lx_err *err)
{
	const char *colon = strchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : strlen(text), i = to->n;

	if (i == CLI_PROJECT_ROLES_MAX || len > LX_NAME_MAX)
		return cli_usage(cli, err, "--project: %s",
				 i == CLI_PROJECT_ROLES_MAX ? "too many of them" : "a name is too long");
	lxmgr__v1__project_role__init(&to->roles[i]);
	snprintf(to->names[i], sizeof(to->names[i]), "%.*s", (int)len, text);
	to->roles[i].project = to->names[i];
	to->list[i] = &to->roles[i];
	to->n++;
	if (colon)
		role = colon + 1;
	if (none && role && strcmp(role, roles[0]) == 0)
		return 0;
	return cli_role(cli, role, &to->roles[i].role, err);
}

int cli_rights(struct cli *cli, const char *role, bool none, struct cli_rights *ret, struct lx_err *err)
{
	const char *project;
	bool plain = false;
	size_t at = 0;
	int r = 0;

	ret->role = LXMGR__V1__ROLE__ROLE_UNSPECIFIED;
	ret->n = 0;
	while (r == 0 && (project = cli_opt_next(cli, "project", &at))) {
		plain = plain || !strchr(project, ':');
		r = add_right(cli, project, role, none, ret, err);
	}
	/* A role that stands beside projects that all have their own is one in all. */
	if (r == 0 && !plain && !(none && role && strcmp(role, roles[0]) == 0) && (role || !ret->n))
		r = cli_role(cli, role, &ret->role, err);
	return r;
}

char *cli_rights_text(Lxmgr__V1__Role role, size_t n, Lxmgr__V1__ProjectRole *const *projects)
{
	char *text = strdup(role || !n ? cli_role_name(role) : "");

	for (size_t i = 0; i < n && text; i++) {
		char *longer = lx_asprintf("%s%s%s:%s", text, *text ? ", " : "", projects[i]->project,
					   cli_role_name(projects[i]->role));
		free(text);
		text = longer;
	}
	return text;
}

static const char *type_name(Lxmgr__V1__IdentityType type)
{
	switch (type) {
	case LXMGR__V1__IDENTITY_TYPE__IDENTITY_TYPE_CERTIFICATE:
		return "certificate";
	case LXMGR__V1__IDENTITY_TYPE__IDENTITY_TYPE_USER:
		return "user";
	case LXMGR__V1__IDENTITY_TYPE__IDENTITY_TYPE_GROUP:
		return "group";
	default:
		return "unknown";
	}
}

static void identity_doc(struct cli_doc *d, json_t *to, const identity *i)
{
	cli_doc_str(d, to, "name", i->name);
	cli_doc_str(d, to, "type", type_name(i->type));
	cli_doc_str(d, to, "role", cli_role_name(i->role));
	json_t *projects = cli_doc_object(d, to, "projects");
	for (size_t n = 0; n < i->n_projects; n++)
		cli_doc_str(d, projects, i->projects[n]->project, cli_role_name(i->projects[n]->role));
	cli_doc_str(d, to, "subject", i->subject);
	cli_doc_str(d, to, "description", i->description);
	cli_doc_time(d, to, "created_at", i->created_at_ns);
	cli_doc_time(d, to, "expires_at", i->expires_at_ns);
}

static int list_run(struct cli *cli, struct lx_err *err)
{
	static const char *const headings[] = { "NAME",        "TYPE",    "ROLE", "SUBJECT",
						"DESCRIPTION", "CREATED", NULL };
	Lxmgr__V1__ListIdentitiesRequest req = LXMGR__V1__LIST_IDENTITIES_REQUEST__INIT;
	cli_autopb Lxmgr__V1__ListIdentitiesResponse *resp = NULL;
	struct cli_format f;
	char when[LX_TIME_TEXT];
	int r = cli_format(cli, CLI_OUT_TABLE, &f, err);

	if (r == 0)
		r = cli_call(cli, CLI_IDENTITIES, "List", &req, &resp, err);
	if (r != 0)
		return r;
	if (cli_is_document(&f)) {
		cli_autodoc struct cli_doc d;
		json_t *array = cli_doc_init(&d, true);
		for (size_t i = 0; i < resp->n_identities; i++)
			identity_doc(&d, cli_doc_add(&d, array), resp->identities[i]);
		return cli_doc_print(&d, &f, stdout, err);
	}
	cli_autotable struct cli_table t;
	cli_table_init(&t, headings);
	for (size_t i = 0; i < resp->n_identities; i++) {
		const identity *id = resp->identities[i];
		bool certificate = id->type == LXMGR__V1__IDENTITY_TYPE__IDENTITY_TYPE_CERTIFICATE;

		lx_autofree char *rights = cli_rights_text(id->role, id->n_projects, id->projects);

		cli_table_row(&t);
		cli_table_set(&t, 0, id->name);
		cli_table_set(&t, 1, type_name(id->type));
		cli_table_set(&t, 2, rights);
		cli_table_setf(&t, 3, "%.*s", certificate ? 12 : 256, id->subject);
		cli_table_set(&t, 4, id->description);
		cli_table_set(&t, 5, lx_time_rfc3339((uint64_t)id->created_at_ns, when));
	}
	cli_table_sort(&t, 0);
	return cli_table_print(&t, &f, stdout, err);
}

static int print_identity(struct cli *cli, const char *method, const void *req, struct lx_err *err)
{
	cli_autopb identity *id = NULL;
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_YAML, &f, err);

	if (r == 0)
		r = cli_call(cli, CLI_IDENTITIES, method, req, &id, err);
	if (r != 0)
		return r;
	cli_autodoc struct cli_doc d;
	identity_doc(&d, cli_doc_init(&d, false), id);
	return cli_doc_print(&d, &f, stdout, err);
}

static int show_run(struct cli *cli, struct lx_err *err)
{
	Lxmgr__V1__IdentityRequest req = LXMGR__V1__IDENTITY_REQUEST__INIT;

	req.name = cli->args.operands[0];
	return print_identity(cli, "Get", &req, err);
}

static int whoami_run(struct cli *cli, struct lx_err *err)
{
	Lxmgr__V1__WhoAmIRequest req = LXMGR__V1__WHO_AM_IREQUEST__INIT;

	return print_identity(cli, "WhoAmI", &req, err);
}

/* The certificate alone goes to stdout. */
static int create_run(struct cli *cli, struct lx_err *err)
{
	Lxmgr__V1__CreateIdentityRequest req = LXMGR__V1__CREATE_IDENTITY_REQUEST__INIT;
	cli_autopb Lxmgr__V1__CreateIdentityResponse *resp = NULL;
	lx_autobuf struct lx_buf csr = { 0 };
	const char *user = cli_opt(cli, "user"), *group = cli_opt(cli, "group"), *file = cli_opt(cli, "csr");
	int r;

	if (!user + !group + !file != 2)
		return cli_usage(cli, err, "one of --user, --group and --csr is needed, and one only");
	struct cli_rights rights;

	if ((r = cli_rights(cli, cli_opt(cli, "role"), false, &rights, err)) < 0)
		return r;
	req.role = rights.role;
	req.n_projects = rights.n;
	req.projects = rights.list;
	if (file && (r = lx_read_file(file, CSR_MAX, &csr, err)) < 0)
		return r;
	req.name = cli->args.operands[0];
	req.user = user ? (char *)user : req.user;
	req.group = group ? (char *)group : req.group;
	req.csr_pem = file ? (char *)(uintptr_t)lx_buf_str(&csr) : req.csr_pem;
	if (cli_opt(cli, "description"))
		req.description = (char *)cli_opt(cli, "description");
	r = cli_call(cli, CLI_IDENTITIES, "Create", &req, &resp, err);
	if (r == 0 && *resp->certificate_pem)
		fputs(resp->certificate_pem, stdout);
	return r;
}

static int set_role_run(struct cli *cli, struct lx_err *err)
{
	Lxmgr__V1__UpdateIdentityRequest req = LXMGR__V1__UPDATE_IDENTITY_REQUEST__INIT;
	struct cli_rights rights;
	int r = cli_rights(cli, cli_operand(cli, 1), true, &rights, err);

	req.name = cli->args.operands[0];
	req.role = rights.role;
	req.drop_role = rights.n == 0 && !rights.role;
	req.n_set_projects = rights.n;
	req.set_projects = rights.list;
	return r < 0 ? r : cli_call(cli, CLI_IDENTITIES, "Update", &req, NULL, err);
}

static int delete_run(struct cli *cli, struct lx_err *err)
{
	int r = 0;

	for (int i = 0; r == 0 && i < cli->args.n_operands; i++) {
		Lxmgr__V1__IdentityRequest req = LXMGR__V1__IDENTITY_REQUEST__INIT;

		req.name = cli->args.operands[i];
		r = cli_call(cli, CLI_IDENTITIES, "Delete", &req, NULL, err);
	}
	return r;
}

static const struct cli_option list_options[] = { CLI_FORMAT_OPTION, { .name = NULL } };
static const struct cli_option create_options[] = {
	{ "role", 0, "ROLE", "viewer, operator or admin", CLI_ROLE },
	{ "user", 0, "USER", "a user of the manager's machine, on its socket", 0 },
	{ "group", 0, "GROUP", "all users of a group there", 0 },
	{ "csr", 0, "FILE", "sign this certificate request (PEM); the certificate goes to stdout",
	  CLI_LOCAL_PATH },
	{ "description", 0, "TEXT", "what it is for", 0 },
	{ .name = NULL },
};

const struct cli_verb cli_identity_verbs[] = {
	{ .name = "identity list",
	  .aliases = "ls",
	  .summary = "List who may use the cluster",
	  .details = "Root on the manager's machine is an admin always and not listed.",
	  .examples = "lxmgr identity list",
	  .options = list_options,
	  .run = list_run },
	{ .name = "identity show",
	  .aliases = "info",
	  .operands = "NAME",
	  .summary = "Show an identity",
	  .examples = "lxmgr identity show alice",
	  .options = list_options,
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_IDENTITY },
	  .run = show_run },
	{ .name = "identity whoami",
	  .summary = "Show who you are to the manager",
	  .examples = "lxmgr identity whoami",
	  .options = list_options,
	  .run = whoami_run },
	{ .name = "identity create",
	  .names_projects = true,
	  .aliases = "add",
	  .operands = "NAME",
	  .summary = "Let a user, a group or a certificate in",
	  .details =
		  "Roles: viewer sees; operator also works with instances, images and profiles; admin also "
		  "with "
		  "nodes, networks, projects and identities. With --project the role is held there only: "
		  "NAME "
		  "alone means --role, NAME:ROLE another one. A user has the role of its own identity, else "
		  "the best of "
		  "its groups. To reach the socket at all it must be in the socket's group. For a client "
		  "elsewhere a token is simpler: lxmgr identity token.",
	  .examples = "lxmgr identity create alice --user alice --role operator\n"
		      "lxmgr identity create bob --user bob --role operator --project shop\n"
		      "lxmgr identity create eve --user eve --role viewer --project shop:operator  # "
		      "elsewhere viewer\n"
		      "lxmgr identity create helpdesk --group helpdesk --role viewer\n"
		      "lxmgr identity create ci --csr ci.csr --role operator > ci.crt",
	  .options = create_options,
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_TEXT },
	  .run = create_run },
	{ .name = "identity set-role",
	  .names_projects = true,
	  .operands = "NAME ROLE",
	  .summary = "Change what an identity may do",
	  .details = "Acts at once: calls that are open and not allowed any more end. With --project it is "
		     "about "
		     "these alone; the role none takes one back.",
	  .examples = "lxmgr identity set-role alice viewer\nlxmgr identity set-role bob operator --project "
		      "shop\nlxmgr identity set-role bob none --project shop",
	  .min = 2,
	  .max = 2,
	  .kinds = { CLI_IDENTITY, CLI_ROLE },
	  .run = set_role_run },
	{ .name = "identity delete",
	  .aliases = "rm,remove,revoke",
	  .operands = "NAME...",
	  .summary = "Let somebody in no more",
	  .details = "Acts at once: its open calls end, and its certificate is worth nothing from then on.",
	  .examples = "lxmgr identity delete alice",
	  .min = 1,
	  .max = CLI_MANY,
	  .kinds = { CLI_IDENTITY },
	  .run = delete_run },
	{ .name = NULL },
};
