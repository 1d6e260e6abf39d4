/*
 * lxmgr profile: named sets of configuration and devices.
 *
 * The manager replaces a profile whole and refuses a write that is based on an old one
 * (its revision), so a change here is: read, alter, write, and again when it was refused.
 */
#include "cli/profile.h"

#include "cli/doc.h"
#include "cli/editor.h"
#include "cli/settings.h"
#include "proto/pb.h"

typedef Lxmgr__V1__Profile profile;

#define CHANGE_TRIES 8

int cli_profile_get(struct cli *cli, const char *name, profile **ret, struct lx_err *err)
{
	Lxmgr__V1__ProfileRequest req = LXMGR__V1__PROFILE_REQUEST__INIT;

	req.name = (char *)name;
	return cli_call(cli, CLI_PROFILES, "Get", &req, ret, err);
}

/* Which instances the change touches, and how. */
static void note_users(struct cli *cli, const Lxmgr__V1__UpdateProfileResponse *resp)
{
	for (size_t i = 0; i < resp->n_applied; i++)
		cli_note(cli, "%s has it now.", resp->applied[i]);
	for (size_t i = 0; i < resp->n_needs_restart; i++)
		cli_note(cli, "%s needs a restart for it to take effect.", resp->needs_restart[i]);
}

static int write_profile(struct cli *cli, const profile *p, struct lx_err *err)
{
	cli_autopb Lxmgr__V1__UpdateProfileResponse *resp = NULL;
	int r = cli_call(cli, CLI_PROFILES, "Update", p, &resp, err);

	if (r == 0)
		note_users(cli, resp);
	return r;
}

int cli_profile_change(struct cli *cli, const char *name,
		       int (*change)(struct cli *cli, profile *p, void *arg, struct lx_err *err), void *arg,
		       struct lx_err *err)
{
	for (unsigned tries = 1;; tries++) {
		cli_autopb profile *p = NULL;
		int r = cli_profile_get(cli, name, &p, err);
		if (r == 0)
			r = change(cli, p, arg, err);
		if (r == 0)
			r = write_profile(cli, p, err);
		if (r == 0 || err->code != LX_ABORTED || tries == CHANGE_TRIES)
			return r;
	}
}

/* ------------------------------------------------------------------ list, show */

static void profile_doc(struct cli_doc *d, json_t *to, const profile *p)
{
	cli_doc_str(d, to, "name", p->name);
	cli_doc_str(d, to, "project", p->project);
	cli_doc_str(d, to, "description", p->description);
	cli_doc_map(d, to, "config", p->n_config, p->config);
	cli_doc_devices(d, to, "devices", p->n_devices, p->devices);
	cli_doc_bool(d, to, "builtin", p->builtin);
	cli_doc_strv(d, to, "used_by", p->n_used_by, p->used_by);
}

static int list_run(struct cli *cli, struct lx_err *err)
{
	static const char *const headings[] = { "NAME", "DESCRIPTION", ">USED BY", NULL };
	Lxmgr__V1__ListProfilesRequest req = LXMGR__V1__LIST_PROFILES_REQUEST__INIT;
	cli_autopb Lxmgr__V1__ListProfilesResponse *resp = NULL;
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_TABLE, &f, err);

	if (r == 0)
		r = cli_call(cli, CLI_PROFILES, "List", &req, &resp, err);
	if (r != 0)
		return r;
	if (cli_is_document(&f)) {
		cli_autodoc struct cli_doc d;
		json_t *array = cli_doc_init(&d, true);
		for (size_t i = 0; i < resp->n_profiles; i++)
			profile_doc(&d, cli_doc_add(&d, array), resp->profiles[i]);
		return cli_doc_print(&d, &f, stdout, err);
	}
	cli_autotable struct cli_table t;
	cli_table_init(&t, headings);
	if (cli_all_projects(cli))
		cli_table_column(&t, "PROJECT");
	for (size_t i = 0; i < resp->n_profiles; i++) {
		cli_table_row(&t);
		cli_table_set(&t, 0, resp->profiles[i]->name);
		cli_table_set(&t, 1, resp->profiles[i]->description);
		cli_table_setf(&t, 2, "%zu", resp->profiles[i]->n_used_by);
		if (cli_all_projects(cli))
			cli_table_set(&t, LX_ARRAY_SIZE(headings) - 1, resp->profiles[i]->project);
	}
	cli_table_sort(&t, 0);
	return cli_table_print(&t, &f, stdout, err);
}

static int show_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb profile *p = NULL;
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_YAML, &f, err);

	if (r == 0)
		r = cli_profile_get(cli, cli_operand(cli, 0), &p, err);
	if (r != 0)
		return r;
	cli_autodoc struct cli_doc d;
	profile_doc(&d, cli_doc_init(&d, false), p);
	return cli_doc_print(&d, &f, stdout, err);
}

/* ------------------------------------------------------------------ create, edit, copy, delete, rename */

/* Puts what a document says in place of what the profile has. */
static int from_document(const json_t *doc, profile *p, struct lx_err *err)
{
	static const char *const known[] = { "name",    "project", "description", "config",
					     "devices", "builtin", "used_by",     NULL };
	cli_automap struct lx_map config, devices;
	lx_autofree char *description = NULL;
	int r;

	cli_map_init(&config);
	cli_devices_init(&devices);
	r = cli_doc_check_keys(doc, known, err);
	if (r == 0)
		r = cli_doc_read_text(doc, "description", &description, err);
	if (r == 0)
		r = cli_doc_read_map(doc, "config", &config, err);
	if (r == 0)
		r = cli_doc_read_devices(doc, "devices", &devices, err);
	if (r < 0)
		return r;
	if (lx_pb_set(&p->description, description) < 0 ||
	    lx_pb_map_from(&lxmgr__v1__profile__config_entry__descriptor, &p->n_config, &p->config, &config) <
		    0 ||
	    lx_pb_devices_from(&lxmgr__v1__profile__devices_entry__descriptor, &p->n_devices, &p->devices,
			       &devices) < 0)
		return lx_err_oom(err);
	return 0;
}

static int read_file(const char *path, profile *p, struct lx_err *err)
{
	lx_autobuf struct lx_buf text = { 0 };
	json_t *doc = NULL;
	int r = cli_read_document(path, &text, err);

	if (r == 0)
		r = cli_yaml_read(lx_buf_str(&text), text.len, &doc, err);
	if (r == 0)
		r = from_document(doc, p, err);
	if (r < 0)
		lx_err_wrap(err, "%s", strcmp(path, "-") == 0 ? "stdin" : path);
	json_decref(doc);
	return r;
}

static int create_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb profile *p = cli_pb_new(&lxmgr__v1__profile__descriptor);
	const char *file = cli_opt(cli, "file"), *description = cli_opt(cli, "description");
	cli_automap struct lx_map config;
	int r = p ? lx_name_check("profile", cli_operand(cli, 0), err) : lx_err_oom(err);

	cli_map_init(&config);
	if (r == 0 && file)
		r = read_file(file, p, err);
	for (int i = 1; r == 0 && i < cli->args.n_operands; i++)
		r = cli_pair(cli, cli_operand(cli, i), &config, err);
	for (struct lx_map_entry *e = lx_map_first(&config); r == 0 && e; e = lx_map_next(e))
		if (lx_pb_map_set(&lxmgr__v1__profile__config_entry__descriptor, &p->n_config, &p->config,
				  lx_map_key(e), lx_map_value(e)) < 0)
			r = lx_err_oom(err);
	if (r == 0 && (lx_pb_set(&p->name, cli_operand(cli, 0)) < 0 ||
		       (description && lx_pb_set(&p->description, description) < 0)))
		r = lx_err_oom(err);
	if (r == 0)
		r = cli_call(cli, CLI_PROFILES, "Create", p, NULL, err);
	if (r == 0)
		cli_note(cli, "Created profile %s", cli_operand(cli, 0));
	return r;
}

/* The revision that was shown goes back: what somebody else wrote meanwhile is not lost. */
static int apply_edit(struct cli *cli, const json_t *doc, void *arg, struct lx_err *err)
{
	profile *p = arg;
	int r = from_document(doc, p, err);

	return r < 0 ? r : write_profile(cli, p, err);
}

static int edit_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb profile *p = NULL;
	int r = cli_profile_get(cli, cli_operand(cli, 0), &p, err);

	if (r < 0)
		return r;
	cli_autodoc struct cli_doc d;
	profile_doc(&d, cli_doc_init(&d, false), p);
	return cli_edit(cli, &d, "A profile. Its name, builtin and used_by cannot be changed here.",
			apply_edit, p, err);
}

static int copy_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb profile *p = NULL;
	int r = lx_name_check("profile", cli_operand(cli, 1), err);

	if (r == 0)
		r = cli_profile_get(cli, cli_operand(cli, 0), &p, err);
	if (r != 0)
		return r;
	lx_pb_strv_free(&p->n_used_by, &p->used_by);
	p->revision = 0;
	p->builtin = false;
	if (lx_pb_set(&p->name, cli_operand(cli, 1)) < 0)
		return lx_err_oom(err);
	return cli_call(cli, CLI_PROFILES, "Create", p, NULL, err);
}

static int delete_run(struct cli *cli, struct lx_err *err)
{
	int r = 0;

	for (int i = 0; r == 0 && i < cli->args.n_operands; i++) {
		Lxmgr__V1__ProfileRequest req = LXMGR__V1__PROFILE_REQUEST__INIT;
		req.name = cli->args.operands[i];
		r = cli_call(cli, CLI_PROFILES, "Delete", &req, NULL, err);
	}
	return r;
}

static int rename_run(struct cli *cli, struct lx_err *err)
{
	Lxmgr__V1__RenameProfileRequest req = LXMGR__V1__RENAME_PROFILE_REQUEST__INIT;
	int r = lx_name_check("profile", cli_operand(cli, 1), err);

	req.name = cli->args.operands[0];
	req.new_name = cli->args.operands[1];
	return r < 0 ? r : cli_call(cli, CLI_PROFILES, "Rename", &req, NULL, err);
}

/* ------------------------------------------------------------------ keys */

static int get_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb profile *p = NULL;
	int r = cli_profile_get(cli, cli_operand(cli, 0), &p, err);

	if (r < 0)
		return r;
	const char *value = lx_pb_map_get(p->n_config, p->config, cli_operand(cli, 1));
	printf("%s\n", value ? value : "");
	return 0;
}

static int change_set(struct cli *cli, profile *p, void *arg, struct lx_err *err)
{
	const struct lx_map *set = arg;

	for (struct lx_map_entry *e = lx_map_first(set); e; e = lx_map_next(e))
		if (lx_pb_map_set(&lxmgr__v1__profile__config_entry__descriptor, &p->n_config, &p->config,
				  lx_map_key(e), lx_map_value(e)) < 0)
			return lx_err_oom(err);
	return 0;
}

static int set_run(struct cli *cli, struct lx_err *err)
{
	cli_automap struct lx_map set;

	cli_map_init(&set);
	int r = cli_pairs(cli, 1, &set, err);
	return r < 0 ? r : cli_profile_change(cli, cli_operand(cli, 0), change_set, &set, err);
}

static int change_unset(struct cli *cli, profile *p, void *arg, struct lx_err *err)
{
	for (int i = 1; i < cli->args.n_operands; i++)
		lx_pb_map_del(&p->n_config, &p->config, cli_operand(cli, i));
	return 0;
}

static int unset_run(struct cli *cli, struct lx_err *err)
{
	return cli_profile_change(cli, cli_operand(cli, 0), change_unset, NULL, err);
}

/* ------------------------------------------------------------------ the table */

static const struct cli_option list_options[] = { CLI_FORMAT_OPTION, { .name = NULL } };
static const struct cli_option list_all_options[] = { CLI_ALL_PROJECTS_OPTION,
						      CLI_FORMAT_OPTION,
						      { .name = NULL } };
static const struct cli_option create_options[] = {
	{ "description", 0, "TEXT", "what it is for", 0 },
	{ "file", 0, "FILE", "take configuration and devices from this YAML file (\"-\": stdin)",
	  CLI_LOCAL_PATH },
	{ .name = NULL },
};

#define ONE_PROFILE .min = 1, .max = 1, .kinds = { CLI_PROFILE }

const struct cli_verb cli_profile_verbs[] = {
	{ .name = "profile list",
	  .aliases = "ls",
	  .summary = "List profiles",
	  .examples = "lxmgr profile list",
	  .options = list_all_options,
	  .run = list_run },
	{ .name = "profile show",
	  .operands = "PROFILE",
	  .summary = "Show a profile as YAML",
	  .examples = "lxmgr profile show default\nlxmgr profile show default --format json",
	  .options = list_options,
	  ONE_PROFILE,
	  .run = show_run },
	{ .name = "profile create",
	  .operands = "PROFILE [KEY=VALUE...]",
	  .summary = "Create a profile",
	  .examples = "lxmgr profile create small limits.memory=256MiB limits.cpu=1\n"
		      "lxmgr profile create web --description 'web servers'\n"
		      "lxmgr profile show default | lxmgr profile create mine --file -",
	  .options = create_options,
	  .min = 1,
	  .max = CLI_MANY,
	  .kinds = { CLI_TEXT, CLI_KEY_VALUE },
	  .run = create_run },
	{ .name = "profile edit",
	  .operands = "PROFILE",
	  .summary = "Edit a profile as YAML",
	  .details = "In your editor ($VISUAL, $EDITOR, vi), or from stdin when that is no terminal.",
	  .examples = "lxmgr profile edit default\nlxmgr profile edit web < web.yaml",
	  ONE_PROFILE,
	  .run = edit_run },
	{ .name = "profile set",
	  .operands = "PROFILE KEY=VALUE...",
	  .summary = "Set configuration keys of a profile",
	  .details =
		  "Running instances that use the profile follow at once where the key allows it; the others "
		  "are named.",
	  .examples = "lxmgr profile set default limits.memory=1GiB\nlxmgr profile set small limits.cpu 2",
	  .min = 2,
	  .max = CLI_MANY,
	  .kinds = { CLI_PROFILE, CLI_KEY_VALUE },
	  .run = set_run },
	{ .name = "profile get",
	  .operands = "PROFILE KEY",
	  .summary = "Print the value of a key",
	  .examples = "lxmgr profile get default limits.memory",
	  .min = 2,
	  .max = 2,
	  .kinds = { CLI_PROFILE, CLI_KEY },
	  .run = get_run },
	{ .name = "profile unset",
	  .operands = "PROFILE KEY...",
	  .summary = "Remove configuration keys from a profile",
	  .examples = "lxmgr profile unset default limits.memory",
	  .min = 2,
	  .max = CLI_MANY,
	  .kinds = { CLI_PROFILE, CLI_KEY },
	  .run = unset_run },
	{ .name = "profile copy",
	  .aliases = "cp",
	  .operands = "PROFILE NEW-PROFILE",
	  .summary = "Copy a profile",
	  .examples = "lxmgr profile copy default web",
	  .min = 2,
	  .max = 2,
	  .kinds = { CLI_PROFILE, CLI_TEXT },
	  .run = copy_run },
	{ .name = "profile rename",
	  .aliases = "mv",
	  .operands = "PROFILE NEW-NAME",
	  .summary = "Rename a profile",
	  .examples = "lxmgr profile rename web www",
	  .min = 2,
	  .max = 2,
	  .kinds = { CLI_PROFILE, CLI_TEXT },
	  .run = rename_run },
	{ .name = "profile delete",
	  .aliases = "rm",
	  .operands = "PROFILE...",
	  .summary = "Delete profiles that no instance uses",
	  .examples = "lxmgr profile delete web",
	  .min = 1,
	  .max = CLI_MANY,
	  .kinds = { CLI_PROFILE },
	  .run = delete_run },
	{ .name = NULL },
};
