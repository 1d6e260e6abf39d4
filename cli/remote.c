/*
 * lxmgr remote: clusters elsewhere that this user has enrolled with (remotes.h).
 */
#include "cli/remotes.h"

#include "cli/connection.h"
#include "cli/doc.h"
#include "cli/identity.h"
#include "cli/remote.h"
#include "rpc/token.h"

static int add_run(struct cli *cli, struct lx_err *err)
{
	const char *name = cli_operand(cli, 0);
	cli_autoremote struct cli_remote remote = { 0 };
	cli_autopb Lxmgr__V1__Identity *identity = NULL;
	struct lx_token token;
	int r = lx_name_check("remote", name, err);

	if (r < 0)
		return r;
	if (strcmp(name, CLI_REMOTE_LOCAL) == 0)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "\"%s\" stands for this machine's socket", name);
	/* Before the token is used up. */
	if (cli_remote_exists(name)) {
		r = lx_err_set(err, LX_ALREADY_EXISTS, "remote %s already exists", name);
		lx_err_hint(err, "Choose another name, or remove it first: lxmgr remote remove %s", name);
		return r;
	}
	if ((r = lx_token_parse(cli_operand(cli, 1), LX_TOKEN_IDENTITY, &token, err)) < 0)
		return r;
	r = cli_remote_enrol(cli, &token, &remote, &identity, err);
	if (r == 0)
		r = cli_remote_store(name, &remote, err);
	if (r == 0)
		cli_note(cli,
			 "Enrolled as %s (%s). Use it with --remote %s, or for good: lxmgr remote switch %s",
			 identity->name, cli_role_name(identity->role), name, name);
	lx_token_release(&token);
	return r;
}

struct listing {
	struct cli_format f;
	struct cli_table table;
	struct cli_doc doc;
	json_t *array;
	char *current;
};

static void list_one(const char *name, void *arg)
{
	struct listing *l = arg;
	cli_autoremote struct cli_remote remote = { 0 };
	struct lx_err err = LX_ERR_INIT;
	bool local = strcmp(name, CLI_REMOTE_LOCAL) == 0;
	bool current = l->current ? strcmp(l->current, name) == 0 : local;

	if (!local && cli_remote_load(name, &remote, &err) < 0)
		return;
	const char *address = local ? CLI_DEFAULT_SOCKET : lx_buf_str(&remote.address);

	if (cli_is_document(&l->f)) {
		json_t *to = cli_doc_add(&l->doc, l->array);

		cli_doc_str(&l->doc, to, "name", name);
		cli_doc_str(&l->doc, to, "address", address);
		cli_doc_bool(&l->doc, to, "current", current);
		return;
	}
	cli_table_row(&l->table);
	cli_table_set(&l->table, 0, name);
	cli_table_set(&l->table, 1, address);
	cli_table_set(&l->table, 2, current ? "yes" : "");
}

static int list_run(struct cli *cli, struct lx_err *err)
{
	static const char *const headings[] = { "NAME", "ADDRESS", "CURRENT", NULL };
	struct listing l = { 0 };
	int r = cli_format(cli, CLI_OUT_TABLE, &l.f, err);

	if (r < 0)
		return r;
	cli_table_init(&l.table, headings);
	l.array = cli_doc_init(&l.doc, true);
	l.current = cli_remote_default();
	list_one(CLI_REMOTE_LOCAL, &l);
	r = cli_remote_each(list_one, &l, err);
	if (r == 0)
		r = cli_is_document(&l.f) ? cli_doc_print(&l.doc, &l.f, stdout, err)
					  : cli_table_print(&l.table, &l.f, stdout, err);
	cli_table_release(&l.table);
	cli_doc_release(&l.doc);
	free(l.current);
	return r;
}

static int check_exists(const char *name, struct lx_err *err)
{
	cli_autoremote struct cli_remote remote = { 0 };

	return cli_remote_load(name, &remote, err);
}

static int switch_run(struct cli *cli, struct lx_err *err)
{
	const char *name = cli_operand(cli, 0);
	int r = strcmp(name, CLI_REMOTE_LOCAL) == 0 ? 0 : check_exists(name, err);

	return r < 0 ? r : cli_remote_set_default(name, err);
}

static int remove_run(struct cli *cli, struct lx_err *err)
{
	const char *name = cli_operand(cli, 0);
	int r = check_exists(name, err);
	lx_autofree char *current = cli_remote_default();

	if (r == 0 && current && strcmp(current, name) == 0)
		r = cli_remote_set_default(CLI_REMOTE_LOCAL, err);
	return r < 0 ? r : cli_remote_remove(name, err);
}

static const struct cli_option list_options[] = { CLI_FORMAT_OPTION, { .name = NULL } };

const struct cli_verb cli_remote_verbs[] = {
	{ .name = "remote add",
	  .operands = "NAME TOKEN",
	  .summary = "Enrol with a cluster elsewhere",
	  .details = "The token comes from an administrator there (lxmgr identity token) and works once. The "
		     "key is made "
		     "here and kept below ~/.config/lxmgr, or LXMGR_CONFIG_DIR.",
	  .examples = "lxmgr remote add prod eyJ2IjoxLCJhIjpb...\nlxmgr --remote prod list",
	  .min = 2,
	  .max = 2,
	  .kinds = { CLI_TEXT },
	  .run = add_run },
	{ .name = "remote list",
	  .aliases = "ls",
	  .summary = "List the clusters you have enrolled with",
	  .examples = "lxmgr remote list",
	  .options = list_options,
	  .run = list_run },
	{ .name = "remote switch",
	  .operands = "NAME",
	  .summary = "Say which cluster is meant when none is named",
	  .details = "\"local\" is this machine's socket, as at first. --remote, --socket, LXMGR_REMOTE and "
		     "LXMGR_SOCKET "
		     "come before it.",
	  .examples = "lxmgr remote switch prod\nlxmgr remote switch local",
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_REMOTE },
	  .run = switch_run },
	{ .name = "remote remove",
	  .aliases = "rm,delete",
	  .operands = "NAME",
	  .summary = "Forget a cluster, and the key for it",
	  .details = "The identity stays known there until an administrator deletes it.",
	  .examples = "lxmgr remote remove prod",
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_REMOTE },
	  .run = remove_run },
	{ .name = NULL },
};
