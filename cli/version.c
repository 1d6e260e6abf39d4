/*
 * lxmgr version: of this command and of the manager.
 */
#include "cli/connection.h"
#include "cli/doc.h"
#include "lxmgr/v1/event.pb-c.h"

static int version_run(struct cli *cli, struct lx_err *err)
{
	Lxmgr__V1__SystemInfoRequest req = LXMGR__V1__SYSTEM_INFO_REQUEST__INIT;
	cli_autopb Lxmgr__V1__SystemInfo *info = NULL;
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_YAML, &f, err);

	if (r < 0)
		return r;
	/* Without a manager our own version still is an answer. */
	r = cli_call(cli, CLI_SYSTEM, "Info", &req, &info, err);
	cli_autodoc struct cli_doc d;
	json_t *root = cli_doc_init(&d, false);
	cli_doc_str(&d, root, "client", LX_VERSION);
	if (r == 0) {
		cli_doc_str(&d, root, "manager", info->version);
		cli_doc_str(&d, root, "api", info->api);
		cli_doc_str(&d, root, "cluster", info->cluster_id);
		cli_doc_str(&d, root, "address", info->address);
		cli_doc_time(&d, root, "started_at", info->started_at_ns);
		cli_doc_int(&d, root, "nodes", info->nodes);
		cli_doc_int(&d, root, "instances", info->instances);
		cli_doc_str(&d, root, "user", info->user);
		cli_doc_str(&d, root, "role", info->role);
	}
	int printed = cli_doc_print(&d, &f, stdout, err);
	return printed < 0 ? printed : r;
}

static const struct cli_option options[] = { CLI_FORMAT_OPTION, { .name = NULL } };

const struct cli_verb cli_version_verbs[] = {
	{ .name = "version",
	  .summary = "Show the versions of this command and of the manager",
	  .details = "lxmgr --version shows this command's alone and asks nobody.",
	  .examples = "lxmgr version\nlxmgr version --format json",
	  .options = options,
	  .run = version_run },
	{ .name = NULL },
};
