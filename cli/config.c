/*
 * lxmgr config: the configuration of an instance.
 */
#include "cli/doc.h"
#include "cli/editor.h"
#include "cli/profile.h"
#include "cli/operations.h"
#include "cli/settings.h"
#include "proto/pb.h"

typedef Lxmgr__V1__Instance instance;
typedef Lxmgr__V1__UpdateInstanceRequest update_request;

int cli_instance_get(struct cli *cli, const char *name, instance **ret, struct lx_err *err)
{
	Lxmgr__V1__GetInstanceRequest req = LXMGR__V1__GET_INSTANCE_REQUEST__INIT;

	req.name = (char *)name;
	return cli_call(cli, CLI_INSTANCES, "Get", &req, ret, err);
}

int cli_instance_update(struct cli *cli, update_request *req, struct lx_err *err)
{
	cli_autopb Lxmgr__V1__UpdateInstanceResponse *resp = NULL;
	int r = cli_request_id(&req->request_id, err);

	if (r == 0)
		r = cli_call(cli, CLI_INSTANCES, "Update", req, &resp, err);
	for (size_t i = 0; r == 0 && i < resp->n_needs_restart; i++)
		cli_note(cli, "%s takes effect when %s is restarted.", resp->needs_restart[i], req->name);
	return r;
}

/* ------------------------------------------------------------------ get, set, unset */

static int get_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb instance *i = NULL;
	const char *key = cli_operand(cli, 1);
	int r = cli_instance_get(cli, cli_operand(cli, 0), &i, err);

	if (r < 0)
		return r;
	const char *value = cli_flag(cli, "expanded")
				    ? lx_pb_map_get(i->n_expanded_config, i->expanded_config, key)
				    : lx_pb_map_get(i->n_config, i->config, key);
	printf("%s\n", value ? value : "");
	return 0;
}

static int update(struct cli *cli, const struct lx_map *set, char *const *unset, size_t n_unset,
		  struct lx_err *err)
{
	cli_autopb update_request *req = cli_pb_new(&lxmgr__v1__update_instance_request__descriptor);

	if (!req || lx_pb_set(&req->name, cli_operand(cli, 0)) < 0 ||
	    lx_pb_strv_copy(&req->n_unset_config, &req->unset_config, n_unset, unset) < 0 ||
	    (set && lx_pb_map_from(&lxmgr__v1__update_instance_request__set_config_entry__descriptor,
				   &req->n_set_config, &req->set_config, set) < 0))
		return lx_err_oom(err);
	return cli_instance_update(cli, req, err);
}

static int set_run(struct cli *cli, struct lx_err *err)
{
	cli_automap struct lx_map set;

	cli_map_init(&set);
	int r = cli_pairs(cli, 1, &set, err);
	return r < 0 ? r : update(cli, &set, NULL, 0, err);
}

static int unset_run(struct cli *cli, struct lx_err *err)
{
	return update(cli, NULL, cli->args.operands + 1, (size_t)cli->args.n_operands - 1, err);
}

/* ------------------------------------------------------------------ show, edit */

static void config_doc(struct cli_doc *d, const instance *i, bool expanded)
{
	json_t *root = cli_doc_init(d, false);

	cli_doc_str(d, root, "name", i->name);
	cli_doc_strv(d, root, "profiles", i->n_profiles, i->profiles);
	if (expanded) {
		cli_doc_map(d, root, "config", i->n_expanded_config, i->expanded_config);
		cli_doc_devices(d, root, "devices", i->n_expanded_devices, i->expanded_devices);
		cli_doc_map(d, root, "origin", i->n_origin, i->origin);
	} else {
		cli_doc_map(d, root, "config", i->n_config, i->config);
		cli_doc_devices(d, root, "devices", i->n_devices, i->devices);
	}
}

static int show_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb instance *i = NULL;
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_YAML, &f, err);

	if (r == 0)
		r = cli_instance_get(cli, cli_operand(cli, 0), &i, err);
	if (r != 0)
		return r;
	cli_autodoc struct cli_doc d;
	config_doc(&d, i, cli_flag(cli, "expanded"));
	return cli_doc_print(&d, &f, stdout, err);
}

static int read_profiles(const json_t *doc, update_request *req, struct lx_err *err)
{
	const json_t *list = json_object_get(doc, "profiles");
	json_t *name;
	size_t n;

	req->replace_profiles = list != NULL;
	if (list && !json_is_array(list) && !(json_is_string(list) && !json_string_length(list)))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "profiles must be a list of names");
	json_array_foreach(list, n, name)
	{
		if (!json_is_string(name))
			return lx_err_set(err, LX_INVALID_ARGUMENT, "profiles must be a list of names");
		if (lx_pb_strv_add(&req->n_profiles, &req->profiles, json_string_value(name)) < 0)
			return lx_err_oom(err);
	}
	return 0;
}

/* What is in `before` but not in the document any more is to go. */
static int read_removals(const instance *before, const struct lx_map *config, const struct lx_map *devices,
			 update_request *req, struct lx_err *err)
{
	for (size_t i = 0; i < before->n_config; i++)
		if (!lx_map_has(config, before->config[i]->key) &&
		    lx_pb_strv_add(&req->n_unset_config, &req->unset_config, before->config[i]->key) < 0)
			return lx_err_oom(err);
	for (size_t i = 0; i < before->n_devices; i++)
		if (!lx_map_has(devices, before->devices[i]->key) &&
		    lx_pb_strv_add(&req->n_remove_devices, &req->remove_devices, before->devices[i]->key) < 0)
			return lx_err_oom(err);
	return 0;
}

static int apply_edit(struct cli *cli, const json_t *doc, void *arg, struct lx_err *err)
{
	static const char *const known[] = { "name", "profiles", "config", "devices", NULL };
	cli_autopb update_request *req = cli_pb_new(&lxmgr__v1__update_instance_request__descriptor);
	cli_automap struct lx_map config, devices;
	int r;

	cli_map_init(&config);
	cli_devices_init(&devices);
	r = req ? cli_doc_check_keys(doc, known, err) : lx_err_oom(err);
	if (r == 0)
		r = cli_doc_read_map(doc, "config", &config, err);
	if (r == 0)
		r = cli_doc_read_devices(doc, "devices", &devices, err);
	if (r == 0)
		r = read_profiles(doc, req, err);
	if (r == 0)
		r = read_removals(arg, &config, &devices, req, err);
	if (r < 0)
		return r;
	if (lx_pb_set(&req->name, cli_operand(cli, 0)) < 0 ||
	    lx_pb_map_from(&lxmgr__v1__update_instance_request__set_config_entry__descriptor,
			   &req->n_set_config, &req->set_config, &config) < 0 ||
	    lx_pb_devices_from(&lxmgr__v1__update_instance_request__set_devices_entry__descriptor,
			       &req->n_set_devices, &req->set_devices, &devices) < 0)
		return lx_err_oom(err);
	return cli_instance_update(cli, req, err);
}

static int edit_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb instance *i = NULL;
	int r = cli_instance_get(cli, cli_operand(cli, 0), &i, err);

	if (r < 0)
		return r;
	cli_autodoc struct cli_doc d;
	config_doc(&d, i, false);
	return cli_edit(cli, &d, "The configuration of an instance. What its profiles bring is not shown.",
			apply_edit, i, err);
}

/* ------------------------------------------------------------------ keys */

static int keys_run(struct cli *cli, struct lx_err *err)
{
	static const char *const headings[] = { "KEY",  "TYPE", "DEFAULT", "RANGE",
						"ACTS", "FOR",  "MEANING", NULL };
	Lxmgr__V1__ListKeysRequest req = LXMGR__V1__LIST_KEYS_REQUEST__INIT;
	cli_autopb Lxmgr__V1__ListKeysResponse *resp = NULL;
	const char *prefix = cli_operand(cli, 0);
	cli_autotable struct cli_table t = { 0 };
	cli_autodoc struct cli_doc d = { 0 };
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_TABLE, &f, err);

	if (r == 0)
		r = cli_call(cli, CLI_PROFILES, "ListKeys", &req, &resp, err);
	if (r != 0)
		return r;
	cli_table_init(&t, headings);
	json_t *array = cli_doc_init(&d, true);
	for (size_t i = 0; i < resp->n_keys; i++) {
		const Lxmgr__V1__ConfigKey *key = resp->keys[i];
		if (prefix && !lx_starts_with(key->name, prefix))
			continue;
		const char *const values[] = { key->name,  key->type,       key->default_, key->range,
					       key->scope, key->applies_to, key->help };
		static const char *const names[] = { "name",  "type",       "default", "range",
						     "scope", "applies_to", "help" };
		json_t *object = cli_doc_add(&d, array);
		cli_table_row(&t);
		for (size_t c = 0; c < LX_ARRAY_SIZE(values); c++) {
			cli_table_set(&t, c, values[c]);
			cli_doc_str(&d, object, names[c], values[c]);
		}
	}
	return cli_is_document(&f) ? cli_doc_print(&d, &f, stdout, err)
				   : cli_table_print(&t, &f, stdout, err);
}

/* ------------------------------------------------------------------ the table */

static const struct cli_option get_options[] = {
	{ "expanded", 'e', NULL, "with what the profiles bring", 0 },
	{ .name = NULL },
};
static const struct cli_option show_options[] = {
	{ "expanded", 'e', NULL, "with what the profiles bring, and where each key comes from", 0 },
	CLI_FORMAT_OPTION,
	{ .name = NULL },
};
static const struct cli_option keys_options[] = { CLI_FORMAT_OPTION, { .name = NULL } };

const struct cli_verb cli_config_verbs[] = {
	{ .name = "config show",
	  .operands = "INSTANCE",
	  .summary = "Show an instance's configuration as YAML",
	  .examples = "lxmgr config show web1\nlxmgr config show web1 --expanded",
	  .options = show_options,
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_INSTANCE },
	  .run = show_run },
	{ .name = "config get",
	  .operands = "INSTANCE KEY",
	  .summary = "Print the value of a key",
	  .examples = "lxmgr config get web1 limits.memory\nlxmgr config get web1 limits.memory --expanded",
	  .options = get_options,
	  .min = 2,
	  .max = 2,
	  .kinds = { CLI_INSTANCE, CLI_KEY },
	  .run = get_run },
	{ .name = "config set",
	  .operands = "INSTANCE KEY=VALUE...",
	  .summary = "Set configuration keys of an instance",
	  .details = "Keys that can act on a running instance do at once; the others are named.",
	  .examples = "lxmgr config set web1 limits.memory=512MiB limits.cpu=2\nlxmgr config set web1 "
		      "limits.memory 1GiB",
	  .min = 2,
	  .max = CLI_MANY,
	  .kinds = { CLI_INSTANCE, CLI_KEY_VALUE },
	  .run = set_run },
	{ .name = "config unset",
	  .operands = "INSTANCE KEY...",
	  .summary = "Remove configuration keys from an instance",
	  .examples = "lxmgr config unset web1 limits.memory",
	  .min = 2,
	  .max = CLI_MANY,
	  .kinds = { CLI_INSTANCE, CLI_KEY },
	  .run = unset_run },
	{ .name = "config edit",
	  .operands = "INSTANCE",
	  .summary = "Edit an instance's configuration as YAML",
	  .details = "In your editor ($VISUAL, $EDITOR, vi), or from stdin when that is no terminal.",
	  .examples = "lxmgr config edit web1\nlxmgr config edit web1 < web1.yaml",
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_INSTANCE },
	  .run = edit_run },
	{ .name = "config keys",
	  .operands = "[PREFIX]",
	  .summary = "List all configuration keys there are",
	  .examples = "lxmgr config keys\nlxmgr config keys limits.",
	  .options = keys_options,
	  .max = 1,
	  .kinds = { CLI_KEY },
	  .run = keys_run },
	{ .name = NULL },
};
