/*
 * lxmgr operation: what is under way and what was.
 */
#include "cli/doc.h"
#include "cli/move_report.h"
#include "cli/operations.h"
#include "lib/clock.h"
#include "proto/pb.h"

typedef Lxmgr__V1__Operation operation;

#define SHORT_ID 8 /* digits shown; any unique beginning names an operation */

static void operation_doc(struct cli_doc *d, json_t *to, const operation *o)
{
	cli_doc_str(d, to, "id", o->id);
	cli_doc_str(d, to, "kind", o->kind);
	cli_doc_str(d, to, "subject", o->subject);
	cli_doc_str(d, to, "project", o->project);
	cli_doc_str(d, to, "status", cli_operation_status(o->status));
	cli_doc_str(d, to, "phase", o->phase);
	cli_doc_int(d, to, "progress_done", o->progress_done);
	cli_doc_int(d, to, "progress_total", o->progress_total);
	cli_doc_str(d, to, "progress_unit", o->progress_unit);
	cli_doc_time(d, to, "created_at", o->created_at_ns);
	cli_doc_time(d, to, "updated_at", o->updated_at_ns);
	cli_doc_str(d, to, "node", o->node);
	cli_doc_str(d, to, "user", o->user);
	cli_doc_bool(d, to, "cancellable", o->cancellable);
	cli_doc_str(d, to, "error_code", o->error_code ? lx_code_name((enum lx_code)o->error_code) : "");
	cli_doc_str(d, to, "error", o->error);
	cli_doc_str(d, to, "hint", o->hint);
	cli_doc_bool(d, to, "outcome_open", o->outcome_open);
	cli_doc_map(d, to, "result", o->n_result, o->result);
	if (o->move)
		cli_move_doc(d, to, "move", o->move);
}

static void progress_cell(struct cli_table *t, size_t column, const operation *o)
{
	if (*o->error)
		cli_table_set(t, column, o->error);
	else if (o->progress_total && !cli_operation_is_over(o))
		cli_table_setf(t, column, "%s %u%%", o->phase,
			       (unsigned)(100.0 * (double)o->progress_done / (double)o->progress_total));
	else
		cli_table_set(t, column, o->phase);
}

static int list_run(struct cli *cli, struct lx_err *err)
{
	static const char *const headings[] = { "ID",       "KIND", "SUBJECT", "STATUS",
						"PROGRESS", "NODE", "STARTED", NULL };
	Lxmgr__V1__ListOperationsRequest req = LXMGR__V1__LIST_OPERATIONS_REQUEST__INIT;
	cli_autopb Lxmgr__V1__ListOperationsResponse *resp = NULL;
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_TABLE, &f, err);

	req.all = cli_flag(cli, "all");
	if (r == 0)
		r = cli_opt_u32(cli, "limit", &req.limit, err);
	if (r == 0)
		r = cli_call(cli, CLI_OPERATIONS, "List", &req, &resp, err);
	if (r != 0)
		return r;
	if (cli_is_document(&f)) {
		cli_autodoc struct cli_doc d;
		json_t *array = cli_doc_init(&d, true);
		for (size_t i = 0; i < resp->n_operations; i++)
			operation_doc(&d, cli_doc_add(&d, array), resp->operations[i]);
		return cli_doc_print(&d, &f, stdout, err);
	}
	cli_autotable struct cli_table t;
	cli_table_init(&t, headings);
	if (cli_all_projects(cli))
		cli_table_column(&t, "PROJECT");
	for (size_t i = 0; i < resp->n_operations; i++) {
		const operation *o = resp->operations[i];
		char text[LX_TIME_TEXT];
		cli_table_row(&t);
		cli_table_setf(&t, 0, "%.*s", SHORT_ID, o->id);
		cli_table_set(&t, 1, o->kind);
		cli_table_set(&t, 2, o->subject);
		cli_table_set(&t, 3, cli_operation_status(o->status));
		progress_cell(&t, 4, o);
		cli_table_set(&t, 5, o->node);
		cli_table_set(&t, 6, lx_time_rfc3339((uint64_t)o->created_at_ns, text));
		if (cli_all_projects(cli))
			cli_table_set(&t, LX_ARRAY_SIZE(headings) - 1, o->project);
	}
	return cli_table_print(&t, &f, stdout, err);
}

static int show_run(struct cli *cli, struct lx_err *err)
{
	Lxmgr__V1__OperationRequest req = LXMGR__V1__OPERATION_REQUEST__INIT;
	cli_autopb operation *o = NULL;
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_YAML, &f, err);

	req.id = cli->args.operands[0];
	if (r == 0)
		r = cli_call(cli, CLI_OPERATIONS, "Get", &req, &o, err);
	if (r != 0)
		return r;
	cli_autodoc struct cli_doc d;
	operation_doc(&d, cli_doc_init(&d, false), o);
	return cli_doc_print(&d, &f, stdout, err);
}

static int cancel_run(struct cli *cli, struct lx_err *err)
{
	int r = 0;

	for (int i = 0; r == 0 && i < cli->args.n_operands; i++) {
		Lxmgr__V1__OperationRequest req = LXMGR__V1__OPERATION_REQUEST__INIT;
		req.id = cli->args.operands[i];
		r = cli_call(cli, CLI_OPERATIONS, "Cancel", &req, NULL, err);
	}
	return r;
}

static int wait_run(struct cli *cli, struct lx_err *err)
{
	size_t n = (size_t)cli->args.n_operands;
	lx_autofree struct cli_op *ops = calloc(n, sizeof(*ops));

	if (!ops)
		return lx_err_oom(err);
	for (size_t i = 0; i < n; i++)
		ops[i] = (struct cli_op){ .subject = cli->args.operands[i], .id = cli->args.operands[i] };
	const struct cli_ops run = { .doing = "Waiting for", .ops = ops, .n = n };
	int r = cli_ops_run(cli, &run, err);
	cli_ops_release(ops, n);
	return r;
}

static const struct cli_option list_options[] = {
	CLI_ALL_PROJECTS_OPTION,
	{ "all", 'a', NULL, "also those that have ended", 0 },
	{ "limit", 0, "N", "at most N ended ones, the newest (100)", 0 },
	CLI_FORMAT_OPTION,
	{ .name = NULL },
};
static const struct cli_option show_options[] = { CLI_FORMAT_OPTION, { .name = NULL } };

const struct cli_verb cli_operation_verbs[] = {
	{ .name = "operation list",
	  .aliases = "ls",
	  .summary = "List operations",
	  .examples = "lxmgr operation list\nlxmgr operation list --all --limit 20",
	  .options = list_options,
	  .run = list_run },
	{ .name = "operation show",
	  .aliases = "info",
	  .operands = "ID",
	  .summary = "Show an operation: progress, result, error",
	  .details = "ID is an operation's id, or a unique beginning of at least four digits.",
	  .examples = "lxmgr operation show 3fa4c1d2",
	  .options = show_options,
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_OPERATION },
	  .run = show_run },
	{ .name = "operation wait",
	  .operands = "ID...",
	  .summary = "Wait until operations have ended",
	  .details = "The exit code is 1 when one of them failed or was cancelled.",
	  .examples = "lxmgr operation wait 3fa4c1d2\nlxmgr operation wait $(lxmgr stop --all --no-wait)",
	  .min = 1,
	  .max = CLI_MANY,
	  .kinds = { CLI_OPERATION },
	  .run = wait_run },
	{ .name = "operation cancel",
	  .aliases = "delete",
	  .operands = "ID...",
	  .summary = "Cancel operations that can be",
	  .examples = "lxmgr operation cancel 3fa4c1d2",
	  .min = 1,
	  .max = CLI_MANY,
	  .kinds = { CLI_OPERATION },
	  .run = cancel_run },
	{ .name = NULL },
};
