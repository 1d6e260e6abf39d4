/*
 * lxmgr config device, lxmgr profile device: the devices of an instance or a profile.
 *
 * The same verbs for both; which one is meant is the verb's first word. A device is
 * written whole, so changing one option is: read its options, alter, write.
 */
#include "cli/doc.h"
#include "cli/profile.h"
#include "cli/settings.h"
#include "proto/pb.h"

static bool of_profile(const struct cli *cli)
{
	return lx_starts_with(cli->verb->name, "profile ");
}

/* The owner's devices; `expanded` (may be NULL) also gets those its profiles bring. */
static int load(struct cli *cli, struct lx_map *own, struct lx_map *expanded, struct lx_err *err)
{
	const char *owner = cli_operand(cli, 0);
	int r;

	if (of_profile(cli)) {
		cli_autopb Lxmgr__V1__Profile *p = NULL;
		r = cli_profile_get(cli, owner, &p, err);
		if (r == 0 && lx_pb_devices_to(p->n_devices, p->devices, own) < 0)
			r = lx_err_oom(err);
		return r;
	}
	cli_autopb Lxmgr__V1__Instance *i = NULL;
	r = cli_instance_get(cli, owner, &i, err);
	if (r == 0 &&
	    (lx_pb_devices_to(i->n_devices, i->devices, own) < 0 ||
	     (expanded && lx_pb_devices_to(i->n_expanded_devices, i->expanded_devices, expanded) < 0)))
		r = lx_err_oom(err);
	return r;
}

/* ------------------------------------------------------------------ writing */

struct change {
	const struct lx_map *set; /* devices, or NULL */
	char *const *remove;
	size_t n_remove;
};

static int change_profile(struct cli *cli, Lxmgr__V1__Profile *p, void *arg, struct lx_err *err)
{
	const struct change *c = arg;
	cli_automap struct lx_map devices;

	cli_devices_init(&devices);
	if (lx_pb_devices_to(p->n_devices, p->devices, &devices) < 0)
		return lx_err_oom(err);
	for (size_t i = 0; i < c->n_remove; i++)
		lx_map_del(&devices, c->remove[i]);
	for (struct lx_map_entry *e = c->set ? lx_map_first(c->set) : NULL; e; e = lx_map_next(e)) {
		lx_map_del(&devices, lx_map_key(e));
		struct lx_map *options = cli_device_options(&devices, lx_map_key(e));
		for (struct lx_map_entry *o = lx_map_first(lx_map_value(e)); options && o; o = lx_map_next(o))
			if (cli_map_put(options, lx_map_key(o), lx_map_value(o)) < 0)
				return lx_err_oom(err);
		if (!options)
			return lx_err_oom(err);
	}
	if (lx_pb_devices_from(&lxmgr__v1__profile__devices_entry__descriptor, &p->n_devices, &p->devices,
			       &devices) < 0)
		return lx_err_oom(err);
	return 0;
}

static int save(struct cli *cli, struct change *c, struct lx_err *err)
{
	if (of_profile(cli))
		return cli_profile_change(cli, cli_operand(cli, 0), change_profile, c, err);
	cli_autopb Lxmgr__V1__UpdateInstanceRequest *req =
		cli_pb_new(&lxmgr__v1__update_instance_request__descriptor);
	if (!req || lx_pb_set(&req->name, cli_operand(cli, 0)) < 0 ||
	    lx_pb_strv_copy(&req->n_remove_devices, &req->remove_devices, c->n_remove, c->remove) < 0 ||
	    (c->set && lx_pb_devices_from(&lxmgr__v1__update_instance_request__set_devices_entry__descriptor,
					  &req->n_set_devices, &req->set_devices, c->set) < 0))
		return lx_err_oom(err);
	return cli_instance_update(cli, req, err);
}

/* ------------------------------------------------------------------ verbs */

static int no_device(struct cli *cli, const struct lx_map *expanded, struct lx_err *err)
{
	const char *owner = cli_operand(cli, 0), *device = cli_operand(cli, 1);
	int r = lx_err_set(err, LX_NOT_FOUND, "%s has no device %s", owner, device);

	if (expanded && lx_map_has(expanded, device)) {
		r = lx_err_set(err, LX_FAILED_PRECONDITION, "the device %s of %s comes from a profile",
			       device, owner);
		lx_err_hint(err,
			    "Change the profile, or give the instance its own: lxmgr config device override "
			    "%s %s "
			    "KEY=VALUE",
			    owner, device);
	}
	return r;
}

/* OWNER DEVICE TYPE KEY=VALUE... */
static int add_run(struct cli *cli, struct lx_err *err)
{
	cli_automap struct lx_map own, devices;
	struct change c = { .set = &devices };
	const char *device = cli_operand(cli, 1), *type = cli_operand(cli, 2);
	int r;

	cli_devices_init(&own);
	cli_devices_init(&devices);
	r = load(cli, &own, NULL, err);
	if (r == 0 && lx_map_has(&own, device)) {
		r = lx_err_set(err, LX_ALREADY_EXISTS, "%s has a device %s already", cli_operand(cli, 0),
			       device);
		lx_err_hint(err, "Change it with: lxmgr %s device set",
			    of_profile(cli) ? "profile" : "config");
	}
	struct lx_map *options = r == 0 ? cli_device_options(&devices, device) : NULL;
	if (r == 0 && !options)
		r = lx_err_oom(err);
	if (r == 0 && strchr(type, '=')) /* "type=disk" does as well */
		r = cli_pair(cli, type, options, err);
	else if (r == 0 && cli_map_put(options, "type", type) < 0)
		r = lx_err_oom(err);
	for (int i = 3; r == 0 && i < cli->args.n_operands; i++)
		r = cli_pair(cli, cli_operand(cli, i), options, err);
	return r < 0 ? r : save(cli, &c, err);
}

static int remove_run(struct cli *cli, struct lx_err *err)
{
	cli_automap struct lx_map own, expanded;
	struct change c = { .remove = cli->args.operands + 1, .n_remove = (size_t)cli->args.n_operands - 1 };
	int r;

	cli_devices_init(&own);
	cli_devices_init(&expanded);
	r = load(cli, &own, &expanded, err);
	if (r == 0 && c.n_remove == 1 && !lx_map_has(&own, c.remove[0]))
		r = no_device(cli, &expanded, err);
	return r < 0 ? r : save(cli, &c, err);
}

/* Alters the options of one device: of the owner's own, or with `override` of an inherited one. */
static int change_options(struct cli *cli, bool override, bool unset, struct lx_err *err)
{
	cli_automap struct lx_map own, expanded, one;
	struct change c = { .set = &one };
	const char *device = cli_operand(cli, 1);
	int r;

	cli_devices_init(&own);
	cli_devices_init(&expanded);
	cli_devices_init(&one);
	r = load(cli, &own, &expanded, err);
	struct lx_map *options = r == 0 ? lx_map_take(&own, device) : NULL;
	if (r == 0 && !options && override)
		options = lx_map_take(&expanded, device);
	if (r == 0 && !options)
		r = no_device(cli, &expanded, err);
	if (r == 0 && lx_map_set(&one, device, options) < 0) {
		lx_pb_options_free(options);
		r = lx_err_oom(err);
	}
	for (int i = 2; r == 0 && unset && i < cli->args.n_operands; i++)
		lx_map_del(options, cli_operand(cli, i));
	if (r == 0 && !unset)
		r = cli_pairs(cli, 2, options, err);
	return r < 0 ? r : save(cli, &c, err);
}

static int set_run(struct cli *cli, struct lx_err *err)
{
	return change_options(cli, false, false, err);
}

static int unset_run(struct cli *cli, struct lx_err *err)
{
	return change_options(cli, false, true, err);
}

static int override_run(struct cli *cli, struct lx_err *err)
{
	return change_options(cli, true, false, err);
}

static int get_run(struct cli *cli, struct lx_err *err)
{
	cli_automap struct lx_map own, expanded;
	const char *device = cli_operand(cli, 1);
	int r;

	cli_devices_init(&own);
	cli_devices_init(&expanded);
	r = load(cli, &own, &expanded, err);
	if (r < 0)
		return r;
	const struct lx_map *options = lx_map_get(&own, device);
	if (!options)
		options = lx_map_get(&expanded, device);
	if (!options)
		return no_device(cli, NULL, err);
	const char *value = lx_map_get(options, cli_operand(cli, 2));
	printf("%s\n", value ? value : "");
	return 0;
}

static int list_run(struct cli *cli, struct lx_err *err)
{
	cli_automap struct lx_map own;
	int r;

	cli_devices_init(&own);
	r = load(cli, &own, NULL, err);
	for (struct lx_map_entry *e = r == 0 ? lx_map_first(&own) : NULL; e; e = lx_map_next(e))
		printf("%s\n", lx_map_key(e));
	return r;
}

static int show_run(struct cli *cli, struct lx_err *err)
{
	cli_automap struct lx_map own, expanded;
	cli_autodoc struct cli_doc d = { 0 };
	struct cli_format f;
	int r;

	cli_devices_init(&own);
	cli_devices_init(&expanded);
	r = cli_format(cli, CLI_OUT_YAML, &f, err);
	if (r == 0)
		r = load(cli, &own, &expanded, err);
	if (r < 0)
		return r;
	json_t *root = cli_doc_init(&d, false);
	const struct lx_map *shown = cli_flag(cli, "expanded") ? &expanded : &own;
	for (struct lx_map_entry *e = lx_map_first(shown); e; e = lx_map_next(e)) {
		json_t *device = cli_doc_object(&d, root, lx_map_key(e));
		for (struct lx_map_entry *o = lx_map_first(lx_map_value(e)); o; o = lx_map_next(o))
			cli_doc_str(&d, device, lx_map_key(o), lx_map_value(o));
	}
	return cli_doc_print(&d, &f, stdout, err);
}

/* ------------------------------------------------------------------ the tables */

static const struct cli_option profile_show_options[] = { CLI_FORMAT_OPTION, { .name = NULL } };
static const struct cli_option config_show_options[] = {
	{ "expanded", 'e', NULL, "with those the profiles bring", 0 },
	CLI_FORMAT_OPTION,
	{ .name = NULL },
};

/* The rows both tables have. */
#define DEVICE_VERBS(noun, owner, kind, sample, show_options)                                                \
	{ .name = noun " device list",                                                                       \
	  .aliases = "ls",                                                                                   \
	  .operands = (owner),                                                                               \
	  .summary = "List the names of devices",                                                            \
	  .examples = "lxmgr " noun " device list " sample,                                                  \
	  .min = 1,                                                                                          \
	  .max = 1,                                                                                          \
	  .kinds = { (kind) },                                                                               \
	  .run = list_run },                                                                                 \
		{ .name = noun " device show",                                                               \
		  .operands = (owner),                                                                       \
		  .summary = "Show devices and their options",                                               \
		  .examples = "lxmgr " noun " device show " sample,                                          \
		  .options = (show_options),                                                                 \
		  .min = 1,                                                                                  \
		  .max = 1,                                                                                  \
		  .kinds = { (kind) },                                                                       \
		  .run = show_run },                                                                         \
		{ .name = noun " device add",                                                                \
		  .operands = owner " DEVICE TYPE [KEY=VALUE...]",                                           \
		  .summary = "Add a device",                                                                 \
		  .details = "TYPE is disk, nic, proxy, unix-char, unix-block or none (hides one that a "    \
			     "profile "                                                                      \
			     "brings). lxmgr-config(7) has their options.",                                  \
		  .examples = "lxmgr " noun " device add " sample " eth1 nic network=lxbr1\n"                \
			      "lxmgr " noun " device add " sample " data disk source=/srv/data path=/data",  \
		  .min = 3,                                                                                  \
		  .max = CLI_MANY,                                                                           \
		  .kinds = { (kind), CLI_TEXT },                                                             \
		  .run = add_run },                                                                          \
		{ .name = noun " device remove",                                                             \
		  .aliases = "rm,delete",                                                                    \
		  .operands = owner " DEVICE...",                                                            \
		  .summary = "Remove devices",                                                               \
		  .examples = "lxmgr " noun " device remove " sample " eth1",                                \
		  .min = 2,                                                                                  \
		  .max = CLI_MANY,                                                                           \
		  .kinds = { (kind), CLI_TEXT },                                                             \
		  .run = remove_run },                                                                       \
		{ .name = noun " device get",                                                                \
		  .operands = owner " DEVICE KEY",                                                           \
		  .summary = "Print an option of a device",                                                  \
		  .examples = "lxmgr " noun " device get " sample " eth0 network",                           \
		  .min = 3,                                                                                  \
		  .max = 3,                                                                                  \
		  .kinds = { (kind), CLI_TEXT },                                                             \
		  .run = get_run },                                                                          \
		{ .name = noun " device set",                                                                \
		  .operands = owner " DEVICE KEY=VALUE...",                                                  \
		  .summary = "Set options of a device",                                                      \
		  .examples = "lxmgr " noun " device set " sample " eth0 network=lxbr1",                     \
		  .min = 3,                                                                                  \
		  .max = CLI_MANY,                                                                           \
		  .kinds = { (kind), CLI_TEXT },                                                             \
		  .run = set_run },                                                                          \
	{                                                                                                    \
		.name = noun " device unset", .operands = owner " DEVICE KEY...",                            \
		.summary = "Remove options of a device",                                                     \
		.examples = "lxmgr " noun " device unset " sample " eth0 mtu", .min = 3, .max = CLI_MANY,    \
		.kinds = { (kind), CLI_TEXT }, .run = unset_run                                              \
	}

const struct cli_verb cli_config_device_verbs[] = {
	DEVICE_VERBS("config", "INSTANCE", CLI_INSTANCE, "web1", config_show_options),
	{ .name = "config device override",
	  .operands = "INSTANCE DEVICE [KEY=VALUE...]",
	  .summary = "Give an instance its own copy of a device that a profile brings",
	  .examples = "lxmgr config device override web1 eth0 ipv4.address=10.88.0.50",
	  .min = 2,
	  .max = CLI_MANY,
	  .kinds = { CLI_INSTANCE, CLI_TEXT },
	  .run = override_run },
	{ .name = NULL },
};

const struct cli_verb cli_profile_device_verbs[] = {
	DEVICE_VERBS("profile", "PROFILE", CLI_PROFILE, "default", profile_show_options),
	{ .name = NULL },
};
