/*
 * lxmgr profile add, remove, assign: which profiles an instance has, in which order.
 */
#include "cli/profile.h"
#include "proto/pb.h"

typedef Lxmgr__V1__UpdateInstanceRequest request;

static request *new_request(struct cli *cli, struct lx_err *err)
{
	request *req = cli_pb_new(&lxmgr__v1__update_instance_request__descriptor);

	if (req && lx_pb_set(&req->name, cli_operand(cli, 0)) == 0) {
		req->replace_profiles = true;
		return req;
	}
	lx_pb_free(req);
	lx_err_oom(err);
	return NULL;
}

/* The instance's profiles but `without` (may be NULL). *ret_found: it was among them. */
static int keep_others(struct cli *cli, request *req, const char *without, bool *ret_found,
		       struct lx_err *err)
{
	cli_autopb Lxmgr__V1__Instance *i = NULL;
	int r = cli_instance_get(cli, req->name, &i, err);

	*ret_found = false;
	for (size_t n = 0; r == 0 && n < i->n_profiles; n++) {
		if (lx_streq(i->profiles[n], without))
			*ret_found = true;
		else if (lx_pb_strv_add(&req->n_profiles, &req->profiles, i->profiles[n]) < 0)
			r = lx_err_oom(err);
	}
	return r;
}

static int add_run(struct cli *cli, struct lx_err *err)
{
	const char *profile = cli_operand(cli, 1);
	cli_autopb request *req = new_request(cli, err);
	bool found;

	if (!req)
		return -ENOMEM;
	int r = keep_others(cli, req, profile, &found, err);
	if (r == 0 && found)
		r = lx_err_set(err, LX_ALREADY_EXISTS, "%s has the profile %s already", req->name, profile);
	if (r == 0 && lx_pb_strv_add(&req->n_profiles, &req->profiles, profile) < 0)
		r = lx_err_oom(err);
	return r < 0 ? r : cli_instance_update(cli, req, err);
}

static int remove_run(struct cli *cli, struct lx_err *err)
{
	const char *profile = cli_operand(cli, 1);
	cli_autopb request *req = new_request(cli, err);
	bool found;

	if (!req)
		return -ENOMEM;
	int r = keep_others(cli, req, profile, &found, err);
	if (r == 0 && !found)
		r = lx_err_set(err, LX_NOT_FOUND, "%s does not have the profile %s", req->name, profile);
	return r < 0 ? r : cli_instance_update(cli, req, err);
}

/* "a,b" or several operands; "" alone: none. */
static int assign_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb request *req = new_request(cli, err);

	if (!req)
		return -ENOMEM;
	for (int i = 1; i < cli->args.n_operands; i++) {
		lx_autofree char *list = strdup(cli_operand(cli, i));
		char *rest = list, *name;
		if (!list)
			return lx_err_oom(err);
		while ((name = strsep(&rest, ",")))
			if (*name && lx_pb_strv_add(&req->n_profiles, &req->profiles, name) < 0)
				return lx_err_oom(err);
	}
	return cli_instance_update(cli, req, err);
}

const struct cli_verb cli_profile_assign_verbs[] = {
	{ .name = "profile add",
	  .operands = "INSTANCE PROFILE",
	  .summary = "Put a profile on top of an instance's profiles",
	  .examples = "lxmgr profile add web1 small",
	  .min = 2,
	  .max = 2,
	  .kinds = { CLI_INSTANCE, CLI_PROFILE },
	  .run = add_run },
	{ .name = "profile remove",
	  .operands = "INSTANCE PROFILE",
	  .summary = "Take a profile away from an instance",
	  .examples = "lxmgr profile remove web1 small",
	  .min = 2,
	  .max = 2,
	  .kinds = { CLI_INSTANCE, CLI_PROFILE },
	  .run = remove_run },
	{ .name = "profile assign",
	  .aliases = "apply",
	  .operands = "INSTANCE PROFILE[,PROFILE...]",
	  .summary = "Give an instance just these profiles, later ones win",
	  .examples = "lxmgr profile assign web1 default,small\nlxmgr profile assign web1 ''  # none",
	  .min = 2,
	  .max = CLI_MANY,
	  .kinds = { CLI_INSTANCE, CLI_PROFILE },
	  .run = assign_run },
	{ .name = NULL },
};
