/*
 * lxmgr node evacuate, lxmgr node restore: everything off a machine, and home again.
 *
 * One operation, in whose result each instance has a line; that becomes the table, also when
 * some of them failed. The exit code is 1 then.
 */
#include "cli/doc.h"
#include "cli/move.h"
#include "cli/operations.h"
#include "lxmgr/v1/node.pb-c.h"
#include "proto/pb.h"

/* What the result says of one instance, taken apart. */
struct outcome {
	bool failed;
	char mode[32], to[LX_NAME_MAX + 1], downtime[LX_DURATION_TEXT_MAX];
	const char *remark; /* why not; "" */
};

/* "live to node2, 182.4 ms", "cold to node2", "failed: why", "left out: why": node.proto. */
static void take_apart(const char *text, struct outcome *o)
{
	const char *to = strstr(text, " to ");

	*o = (struct outcome){ .remark = text };
	if (lx_starts_with(text, "failed: ")) {
		o->failed = true;
		o->remark = text + strlen("failed: ");
	} else if (!lx_starts_with(text, "left out: ") && to) {
		const char *node = to + strlen(" to "), *comma = node + strcspn(node, ",");
		snprintf(o->mode, sizeof(o->mode), "%.*s", (int)(to - text), text);
		snprintf(o->to, sizeof(o->to), "%.*s", (int)(comma - node), node);
		snprintf(o->downtime, sizeof(o->downtime), "%s", *comma ? comma + strspn(comma, ", ") : "");
		o->remark = "";
	}
}

static int print_doc(const Lxmgr__V1__Operation *op, const struct cli_format *f, struct lx_err *err)
{
	cli_autodoc struct cli_doc d;
	json_t *array = cli_doc_init(&d, true);

	for (size_t i = 0; i < op->n_result; i++) {
		struct outcome o;
		json_t *object = cli_doc_add(&d, array);
		take_apart(op->result[i]->value, &o);
		cli_doc_str(&d, object, "name", op->result[i]->key);
		cli_doc_bool(&d, object, "moved", *o.to);
		cli_doc_bool(&d, object, "failed", o.failed);
		cli_doc_str(&d, object, "mode", o.mode);
		cli_doc_str(&d, object, "downtime", o.downtime);
		cli_doc_str(&d, object, "to", o.to);
		cli_doc_str(&d, object, "remark", o.remark);
	}
	return cli_doc_print(&d, f, stdout, err);
}

static int print_table(const Lxmgr__V1__Operation *op, const struct cli_format *f, struct lx_err *err)
{
	static const char *const headings[] = { "NAME", "MODE", ">DOWNTIME", "TO", "RESULT", NULL };
	cli_autotable struct cli_table t;

	cli_table_init(&t, headings);
	for (size_t i = 0; i < op->n_result; i++) {
		struct outcome o;
		take_apart(op->result[i]->value, &o);
		cli_table_row(&t);
		cli_table_set(&t, 0, op->result[i]->key);
		cli_table_set(&t, 1, o.mode);
		cli_table_set(&t, 2, o.downtime);
		cli_table_set(&t, 3, o.to);
		cli_table_setf(&t, 4, "%s%s", o.failed ? "failed: " : "", *o.to ? "moved" : o.remark);
	}
	cli_table_sort(&t, 0);
	return cli_table_print(&t, f, stdout, err);
}

static int print_outcomes(const struct cli *cli, const Lxmgr__V1__Operation *op, const struct cli_format *f,
			  struct lx_err *err)
{
	if (cli_is_document(f))
		return print_doc(op, f, err);
	if (op->n_result)
		return print_table(op, f, err);
	cli_note(cli, "There was nothing to move.");
	return 0;
}

static int follow(struct cli *cli, const char *doing, const char *method, const char *node,
		  const ProtobufCMessage *req, struct lx_err *err)
{
	struct cli_op op = { .subject = node, .req = req };
	const struct cli_ops ops = { .doing = doing,
				     .service = CLI_NODES,
				     .method = method,
				     .no_wait = cli_no_wait(cli),
				     .ops = &op,
				     .n = 1 };
	struct lx_err said = LX_ERR_INIT;
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_TABLE, &f, err);

	if (r == 0)
		r = cli_ops_run(cli, &ops, err);
	/* What has been moved is worth knowing also when the rest could not be. */
	if (op.last && cli_operation_is_over(op.last) && !cli_no_wait(cli) &&
	    print_outcomes(cli, op.last, &f, &said) < 0 && r == 0) {
		*err = said;
		r = lx_code_errno(said.code);
	}
	cli_ops_release(&op, 1);
	return r;
}

/* What both verbs have: how, how many at a time, how long. */
static int take_options(struct cli *cli, Lxmgr__V1__LiveMode *live, uint32_t *parallel, uint32_t *timeout,
			char **request_id, struct lx_err *err)
{
	int r = cli_live_mode(cli, live, err);

	if (r == 0)
		r = cli_move_timeout(cli, timeout, err);
	if (r == 0)
		r = cli_opt_u32(cli, "parallel", parallel, err);
	if (r == 0 && cli_flag(cli, "parallel") && !*parallel)
		r = cli_usage(cli, err, "--parallel needs at least 1");
	return r < 0 ? r : cli_request_id(request_id, err);
}

static int evacuate_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb Lxmgr__V1__EvacuateNodeRequest *req =
		cli_pb_new(&lxmgr__v1__evacuate_node_request__descriptor);
	int r = req && lx_pb_set(&req->name, cli_operand(cli, 0)) == 0 &&
				lx_pb_set(&req->target, cli_opt(cli, "to")) == 0
			? 0
			: lx_err_oom(err);

	if (r == 0)
		r = take_options(cli, &req->live, &req->parallel, &req->timeout_seconds, &req->request_id,
				 err);
	return r < 0 ? r : follow(cli, "Evacuating", "Evacuate", req->name, &req->base, err);
}

static int restore_run(struct cli *cli, struct lx_err *err)
{
	cli_autopb Lxmgr__V1__RestoreNodeRequest *req =
		cli_pb_new(&lxmgr__v1__restore_node_request__descriptor);
	int r = req && lx_pb_set(&req->name, cli_operand(cli, 0)) == 0 ? 0 : lx_err_oom(err);

	if (r == 0)
		r = take_options(cli, &req->live, &req->parallel, &req->timeout_seconds, &req->request_id,
				 err);
	return r < 0 ? r : follow(cli, "Restoring", "Restore", req->name, &req->base, err);
}

#define MOVE_OPTIONS                                                                                         \
	{ "live", 0, "MODE",                                                                                 \
	  "preferred (default): live where it can be, else with a short clean stop; required: live or "      \
	  "not at all; off: with that stop",                                                                 \
	  CLI_LIVE_MODE },                                                                                   \
		{ "parallel", 0, "N", "how many at a time (2), at most 16", 0 }, CLI_MOVE_TIMEOUT_OPTION,    \
		CLI_FORMAT_OPTION, CLI_NO_WAIT_OPTION

static const struct cli_option evacuate_options[] = {
	{ "to", 0, "NODE", "all to this node; else the manager chooses for each", CLI_NODE },
	MOVE_OPTIONS,
	{ .name = NULL },
};
static const struct cli_option restore_options[] = { MOVE_OPTIONS, { .name = NULL } };

const struct cli_verb cli_node_evacuate_verbs[] = {
	{ .name = "node evacuate",
	  .operands = "NODE",
	  .summary = "Move everything off a machine",
	  .details =
		  "The machine is cordoned first, so that nothing new comes. Then all instances are moved "
		  "to where there is room, those that run live where that can be, and each remembers where "
		  "it came from. One that cannot be moved does not stop the rest: in the end each has a "
		  "line that says what became of it, and the exit code is 1 when any failed. It can be "
		  "run again.\n\n"
		  "lxmgr operation cancel begins no more of them; those on their way arrive.",
	  .examples = "lxmgr node evacuate node2\n"
		      "lxmgr node evacuate node2 --to node3 --parallel 4\n"
		      "lxmgr node evacuate node2 --live=required  # leave what cannot go live",
	  .options = evacuate_options,
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_NODE },
	  .run = evacuate_run },
	{ .name = "node restore",
	  .operands = "NODE",
	  .summary = "Bring home what was evacuated from a machine",
	  .details = "Takes the cordon off and moves the instances back that an evacuation took off the "
		     "machine, wherever they are by now; lxmgr info shows where an instance was evacuated "
		     "from. Nothing else is moved.",
	  .examples = "lxmgr node restore node2",
	  .options = restore_options,
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_NODE },
	  .run = restore_run },
	{ .name = NULL },
};
