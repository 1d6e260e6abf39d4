/*
 * lxmgr identity token: one-time tokens with which clients enrol.
 */
#include "cli/doc.h"
#include "cli/identity.h"
#include "lib/clock.h"
#include "proto/pb.h"

/* The token alone on stdout, so that it can be pasted or substituted. */
static int token_run(struct cli *cli, struct lx_err *err)
{
	Lxmgr__V1__CreateIdentityTokenRequest req = LXMGR__V1__CREATE_IDENTITY_TOKEN_REQUEST__INIT;
	cli_autopb Lxmgr__V1__IdentityToken *token = NULL;
	const char *ttl = cli_opt(cli, "ttl");
	char until[LX_TIME_TEXT];
	uint64_t seconds = 0;
	struct cli_rights rights;
	int r = cli_rights(cli, cli_opt(cli, "role"), false, &rights, err);

	if (r < 0)
		return r;
	req.role = rights.role;
	req.n_projects = rights.n;
	req.projects = rights.list;
	if (ttl && (lx_parse_duration(ttl, &seconds) < 0 || !seconds || seconds > UINT32_MAX))
		return cli_usage(cli, err, "--ttl needs a duration (30m, 2h), not \"%s\"", ttl);
	req.name = cli->args.operands[0];
	req.ttl_seconds = (uint32_t)seconds;
	if (cli_opt(cli, "description"))
		req.description = (char *)cli_opt(cli, "description");
	r = cli_call(cli, CLI_IDENTITIES, "CreateToken", &req, &token, err);
	if (r < 0)
		return r;
	printf("%s\n", token->token);
	fflush(stdout);
	cli_note(cli, "Good for one client until %s. There: lxmgr remote add NAME TOKEN",
		 lx_time_rfc3339((uint64_t)token->expires_at_ns, until));
	return 0;
}

static int list_tokens_run(struct cli *cli, struct lx_err *err)
{
	static const char *const headings[] = { "NAME", "ROLE", "EXPIRES", "DESCRIPTION", NULL };
	Lxmgr__V1__ListIdentityTokensRequest req = LXMGR__V1__LIST_IDENTITY_TOKENS_REQUEST__INIT;
	cli_autopb Lxmgr__V1__ListIdentityTokensResponse *resp = NULL;
	struct cli_format f;
	char when[LX_TIME_TEXT];
	int r = cli_format(cli, CLI_OUT_TABLE, &f, err);

	if (r == 0)
		r = cli_call(cli, CLI_IDENTITIES, "ListTokens", &req, &resp, err);
	if (r != 0)
		return r;
	if (cli_is_document(&f)) {
		cli_autodoc struct cli_doc d;
		json_t *array = cli_doc_init(&d, true);
		for (size_t i = 0; i < resp->n_tokens; i++) {
			json_t *to = cli_doc_add(&d, array);

			cli_doc_str(&d, to, "name", resp->tokens[i]->name);
			cli_doc_str(&d, to, "role", cli_role_name(resp->tokens[i]->role));
			json_t *projects = cli_doc_object(&d, to, "projects");
			for (size_t n = 0; n < resp->tokens[i]->n_projects; n++)
				cli_doc_str(&d, projects, resp->tokens[i]->projects[n]->project,
					    cli_role_name(resp->tokens[i]->projects[n]->role));
			cli_doc_time(&d, to, "expires_at", resp->tokens[i]->expires_at_ns);
			cli_doc_str(&d, to, "description", resp->tokens[i]->description);
		}
		return cli_doc_print(&d, &f, stdout, err);
	}
	cli_autotable struct cli_table t;
	cli_table_init(&t, headings);
	for (size_t i = 0; i < resp->n_tokens; i++) {
		lx_autofree char *rights = cli_rights_text(resp->tokens[i]->role, resp->tokens[i]->n_projects,
							   resp->tokens[i]->projects);

		cli_table_row(&t);
		cli_table_set(&t, 0, resp->tokens[i]->name);
		cli_table_set(&t, 1, rights);
		cli_table_set(&t, 2, lx_time_rfc3339((uint64_t)resp->tokens[i]->expires_at_ns, when));
		cli_table_set(&t, 3, resp->tokens[i]->description);
	}
	cli_table_sort(&t, 0);
	return cli_table_print(&t, &f, stdout, err);
}

static int revoke_token_run(struct cli *cli, struct lx_err *err)
{
	Lxmgr__V1__IdentityRequest req = LXMGR__V1__IDENTITY_REQUEST__INIT;

	req.name = cli->args.operands[0];
	return cli_call(cli, CLI_IDENTITIES, "DeleteToken", &req, NULL, err);
}

static const struct cli_option token_options[] = {
	{ "role", 0, "ROLE", "viewer, operator or admin", CLI_ROLE },
	{ "ttl", 0, "DURATION", "how long it is good for (one hour)", 0 },
	{ "description", 0, "TEXT", "what the identity is for", 0 },
	{ .name = NULL },
};
static const struct cli_option list_options[] = { CLI_FORMAT_OPTION, { .name = NULL } };

const struct cli_verb cli_identity_token_verbs[] = {
	{ .name = "identity token",
	  .names_projects = true,
	  .operands = "NAME",
	  .summary = "Make a token with which one client may enrol",
	  .details = "Only the token goes to stdout. Whoever uses it first becomes the identity NAME: its "
		     "key is made "
		     "there and stays there, its certificate is known by its fingerprint from then on.",
	  .examples = "lxmgr identity token alice --role operator\n"
		      "lxmgr identity token ci --role viewer --ttl 10m\n"
		      "lxmgr identity token bob --role operator --project shop\n"
		      "lxmgr remote add prod \"$TOKEN\"  # on alice's machine",
	  .options = token_options,
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_TEXT },
	  .run = token_run },
	{ .name = "identity list-tokens",
	  .summary = "List tokens that can still be used",
	  .examples = "lxmgr identity list-tokens",
	  .options = list_options,
	  .run = list_tokens_run },
	{ .name = "identity revoke-token",
	  .operands = "NAME",
	  .summary = "Take a token back that was not used yet",
	  .examples = "lxmgr identity revoke-token alice",
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_TEXT },
	  .run = revoke_token_run },
	{ .name = NULL },
};
