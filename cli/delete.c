/*
 * lxmgr delete: instances, gone for good. The manager refuses one that runs unless --force.
 */
#include "cli/power.h"
#include "cli/operations.h"

static int delete_run(struct cli *cli, struct lx_err *err)
{
	struct cli_action action = { .doing = "Deleting",
				     .method = "Delete",
				     .force = cli_flag(cli, "force"),
				     .no_wait = cli_no_wait(cli) };

	if (cli_flag(cli, "interactive"))
		for (int i = 0; i < cli->args.n_operands; i++)
			if (!cli_confirm(false, "Delete %s and all its data?", cli_operand(cli, i)))
				return lx_err_set(err, LX_CANCELLED, "%s was not deleted: not confirmed",
						  cli_operand(cli, i));
	return cli_act_on(cli, &action, cli->args.operands, (size_t)cli->args.n_operands, err);
}

static const struct cli_option options[] = {
	{ "force", 'f', NULL, "stop running instances first, without a clean shutdown", 0 },
	{ "interactive", 'i', NULL, "ask before each one", 0 },
	CLI_NO_WAIT_OPTION,
	{ .name = NULL },
};

const struct cli_verb cli_delete_verbs[] = {
	{ .name = "delete",
	  .aliases = "rm",
	  .operands = "INSTANCE...",
	  .summary = "Delete instances",
	  .details = "A running instance is not deleted unless --force is given. Its snapshots go with it.",
	  .examples = "lxmgr delete web1\nlxmgr delete --force web1 web2",
	  .options = options,
	  .min = 1,
	  .max = CLI_MANY,
	  .kinds = { CLI_INSTANCE },
	  .run = delete_run },
	{ .name = NULL },
};
