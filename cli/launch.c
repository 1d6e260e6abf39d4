/*
 * lxmgr launch, lxmgr create: an instance from an image.
 *
 * One request: the manager resolves image and profiles, picks node, name and addresses.
 * Only -d costs a look at the profiles first, since it changes single options of a device
 * that a profile brings, and devices are set whole.
 */
#include "cli/operations.h"
#include "cli/placement.h"
#include "cli/settings.h"
#include "lxmgr/v1/instance.pb-c.h"
#include "lxmgr/v1/profile.pb-c.h"
#include "proto/pb.h"

static int take_profiles(struct cli *cli, Lxmgr__V1__CreateInstanceRequest *req, struct lx_err *err)
{
	const char *name;

	for (size_t i = 0; (name = cli_opt_next(cli, "profile", &i));)
		if (lx_pb_strv_add(&req->n_profiles, &req->profiles, name) < 0)
			return lx_err_oom(err);
	req->no_profiles = cli_flag(cli, "no-profiles");
	if (req->no_profiles && req->n_profiles)
		return cli_usage(cli, err, "--no-profiles and --profile exclude each other");
	return 0;
}

/* The devices the profiles bring, by name; later profiles win. */
static int inherited_devices(struct cli *cli, const Lxmgr__V1__CreateInstanceRequest *req,
			     struct lx_map *devices, struct lx_err *err)
{
	char *fallback[] = { (char *)"default" };
	char **names = req->n_profiles ? req->profiles : fallback;
	size_t n = req->n_profiles ? req->n_profiles : !req->no_profiles;
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		cli_autopb Lxmgr__V1__Profile *profile = NULL;
		Lxmgr__V1__ProfileRequest get = LXMGR__V1__PROFILE_REQUEST__INIT;
		get.name = names[i];
		r = cli_call(cli, CLI_PROFILES, "Get", &get, &profile, err);
		if (r == 0 && lx_pb_devices_to(profile->n_devices, profile->devices, devices) < 0)
			r = lx_err_oom(err);
	}
	return r;
}

/* One of another type, none above all, takes the place of the inherited one with all its options. */
static bool is_of_type(const struct lx_map *device, const struct lx_map *from)
{
	const char *type = lx_map_get(device, "type");

	return !type || lx_streq(type, lx_map_get(from, "type"));
}

/* What a device on the command line does not say, it has from the profiles. */
static int inherit(const struct lx_map *inherited, struct lx_map *devices, struct lx_err *err)
{
	for (struct lx_map_entry *d = lx_map_first(devices); d; d = lx_map_next(d)) {
		const struct lx_map *from = lx_map_get(inherited, lx_map_key(d));
		struct lx_map *to = lx_map_value(d);
		for (struct lx_map_entry *e = from && is_of_type(to, from) ? lx_map_first(from) : NULL; e;
		     e = lx_map_next(e))
			if (!lx_map_has(to, lx_map_key(e)) &&
			    cli_map_put(to, lx_map_key(e), lx_map_value(e)) < 0)
				return lx_err_oom(err);
	}
	return 0;
}

static int take_devices(struct cli *cli, Lxmgr__V1__CreateInstanceRequest *req, struct lx_err *err)
{
	cli_automap struct lx_map inherited, devices;
	const char *text, *network = cli_opt(cli, "network");
	int r = 0;

	cli_devices_init(&inherited);
	cli_devices_init(&devices);
	for (size_t i = 0; r == 0 && (text = cli_opt_next(cli, "device", &i));)
		r = cli_device(cli, text, &devices, err);
	if (r == 0 && lx_map_count(&devices))
		r = inherited_devices(cli, req, &inherited, err);
	if (r == 0)
		r = inherit(&inherited, &devices, err);
	if (r == 0 && network) {
		lx_autofree char *nic = lx_asprintf("eth0,type=nic,network=%s", network);
		r = nic ? cli_device(cli, nic, &devices, err) : lx_err_oom(err);
	}
	if (r == 0 && lx_pb_devices_from(&lxmgr__v1__create_instance_request__devices_entry__descriptor,
					 &req->n_devices, &req->devices, &devices) < 0)
		r = lx_err_oom(err);
	return r;
}

static int take_config(struct cli *cli, Lxmgr__V1__CreateInstanceRequest *req, struct lx_err *err)
{
	cli_automap struct lx_map config;
	const char *text;
	int r = 0;

	cli_map_init(&config);
	for (size_t i = 0; r == 0 && (text = cli_opt_next(cli, "config", &i));)
		r = cli_pair(cli, text, &config, err);
	if (r == 0 && lx_pb_map_from(&lxmgr__v1__create_instance_request__config_entry__descriptor,
				     &req->n_config, &req->config, &config) < 0)
		r = lx_err_oom(err);
	return r;
}

static int fill(struct cli *cli, Lxmgr__V1__CreateInstanceRequest *req, struct lx_err *err)
{
	const char *name = cli_operand(cli, 1);
	int r = name ? lx_name_check("instance", name, err) : 0;

	if (r < 0)
		return r;
	if (lx_pb_set(&req->image, cli_operand(cli, 0)) < 0 || lx_pb_set(&req->name, name) < 0 ||
	    lx_pb_set(&req->target, cli_opt(cli, "target")) < 0)
		return lx_err_oom(err);
	r = cli_request_id(&req->request_id, err);
	if (r == 0)
		r = take_profiles(cli, req, err);
	if (r == 0)
		r = take_config(cli, req, err);
	if (r == 0)
		r = take_devices(cli, req, err);
	return r;
}

static int create(struct cli *cli, bool start, struct lx_err *err)
{
	cli_autopb Lxmgr__V1__CreateInstanceRequest *req =
		cli_pb_new(&lxmgr__v1__create_instance_request__descriptor);
	cli_autopb Lxmgr__V1__Operation *last = NULL;
	const char *name = cli_operand(cli, 1);
	int r = req ? fill(cli, req, err) : lx_err_oom(err);

	if (r < 0)
		return r;
	req->start = start;
	if (cli_flag(cli, "explain") || cli_flag(cli, "dry-run"))
		r = cli_placement(cli, req, err);
	if (r < 0 || cli_flag(cli, "dry-run"))
		return r;
	r = cli_op_run(cli, start ? "Launching" : "Creating", name ? name : "an instance", CLI_INSTANCES,
		       "Create", req, &last, err);
	if (r != 0 || cli_no_wait(cli))
		return r;
	if (name)
		cli_note(cli, "%s %s", start ? "Launched" : "Created", name);
	else if (cli->quiet)
		printf("%s\n", last->subject);
	else
		printf("%s %s\n", start ? "Launched" : "Created", last->subject);
	return 0;
}

static int launch_run(struct cli *cli, struct lx_err *err)
{
	return create(cli, true, err);
}

static int create_run(struct cli *cli, struct lx_err *err)
{
	return create(cli, false, err);
}

static const struct cli_option options[] = {
	{ "profile", 'p', "PROFILE",
	  "apply this profile instead of \"default\"; may be repeated, later ones win", CLI_PROFILE },
	{ "no-profiles", 0, NULL, "apply no profile at all", 0 },
	{ "config", 'c', "KEY=VALUE", "set a configuration key; may be repeated (see lxmgr config keys)",
	  CLI_KEY_VALUE },
	{ "device", 'd', "NAME,KEY=VALUE,...",
	  "set options of a device; one that a profile brings keeps its other options", 0 },
	{ "network", 'n', "NETWORK", "connect eth0 to this network", CLI_NETWORK },
	{ "target", 0, "NODE", "on this node; else the manager decides", CLI_NODE },
	{ "explain", 0, NULL, "show how the node was chosen: what each has left, or why it was not", 0 },
	{ "dry-run", 0, NULL, "check everything and say where it would go, but create nothing", 0 },
	CLI_NO_WAIT_OPTION,
	{ .name = NULL },
};

#define DETAILS                                                                                              \
	"IMAGE is an alias (debian/12) or a fingerprint, of which the first digits are enough. Without "     \
	"NAME the manager picks one and it is printed; with --quiet nothing else is.\n\n"                    \
	"It goes to the node with the most room, by what all instances ask for (limits.memory, "             \
	"limits.cpu, size of the root disk) and the free disk; one that asks for nothing counts as 256 MiB " \
	"and half a CPU. Nodes "                                                                             \
	"that are offline, cordoned, of another architecture, without a label of placement.labels, or "      \
	"without what it asks for are left out. A node without the image fetches it from one that has it. "  \
	"--target takes the node whatever its room and labels."

const struct cli_verb cli_launch_verbs[] = {
	{
		.name = "launch",
		.operands = "IMAGE [NAME]",
		.summary = "Create an instance from an image and start it",
		.details = DETAILS,
		.examples = "lxmgr launch debian/12 web1\n"
			    "lxmgr launch debian/12 web1 -p default -c limits.memory=512MiB -c limits.cpu=2\n"
			    "lxmgr launch debian/12 db1 -d eth0,ipv4.address=10.88.0.50 --target node2\n"
			    "lxmgr launch debian/12 db2 -c placement.labels=disk=ssd --dry-run --explain\n"
			    "name=$(lxmgr launch busybox -q)",
		.options = options,
		.min = 1,
		.max = 2,
		.kinds = { CLI_IMAGE, CLI_TEXT },
		.run = launch_run,
	},
	{
		.name = "create",
		.aliases = "init",
		.operands = "IMAGE [NAME]",
		.summary = "Create an instance from an image, without starting it",
		.details = DETAILS,
		.examples = "lxmgr create debian/12 web1\nlxmgr create debian/12 web1 --no-profiles",
		.options = options,
		.min = 1,
		.max = 2,
		.kinds = { CLI_IMAGE, CLI_TEXT },
		.run = create_run,
	},
	{ .name = NULL },
};
