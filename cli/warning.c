/*
 * lxmgr warning: what a person should know, and what was kept from instances.
 */
#include <inttypes.h>

#include "cli/connection.h"
#include "cli/doc.h"
#include "lib/clock.h"
#include "lxmgr/v1/warning.pb-c.h"
#include "proto/pb.h"

#define IDS_AT_ONCE 1000

typedef Lxmgr__V1__Warning warning;

static const char *const severities[] = { "", "low", "moderate", "high" };
static const char *const statuses[] = { "", "new", "acknowledged", "resolved" };

static const char *severity_of(const warning *w)
{
	return (size_t)w->severity < LX_ARRAY_SIZE(severities) ? severities[w->severity] : "";
}

static const char *status_of(const warning *w)
{
	return (size_t)w->status < LX_ARRAY_SIZE(statuses) ? statuses[w->status] : "";
}

static void warning_doc(struct cli_doc *d, json_t *to, const warning *w)
{
	cli_doc_int(d, to, "id", w->id);
	cli_doc_str(d, to, "type", w->type);
	cli_doc_str(d, to, "entity", w->entity);
	cli_doc_str(d, to, "name", w->name);
	cli_doc_str(d, to, "project", w->project);
	cli_doc_str(d, to, "node", w->node);
	cli_doc_str(d, to, "severity", severity_of(w));
	cli_doc_str(d, to, "status", status_of(w));
	cli_doc_time(d, to, "first_seen", w->first_seen_ns);
	cli_doc_time(d, to, "last_seen", w->last_seen_ns);
	cli_doc_int(d, to, "count", w->count);
	cli_doc_str(d, to, "message", w->message);
}

/* ------------------------------------------------------------------ list, show */

static int take_severity(struct cli *cli, Lxmgr__V1__WarningSeverity *ret, struct lx_err *err)
{
	const char *text = cli_opt(cli, "severity");

	for (size_t i = 1; text && i < LX_ARRAY_SIZE(severities); i++)
		if (lx_streq(text, severities[i])) {
			*ret = (Lxmgr__V1__WarningSeverity)i;
			return 0;
		}
	return text ? cli_usage(cli, err, "--severity is low, moderate or high, not \"%s\"", text) : 0;
}

/* One of another project than commands are about is PROJECT/NAME. */
static void set_name(const struct cli *cli, struct cli_table *t, size_t column, const warning *w)
{
	if (*w->project && strcmp(w->project, cli_project(cli)) != 0)
		cli_table_setf(t, column, "%s/%s", w->project, w->name);
	else
		cli_table_set(t, column, w->name);
}

static void add_row(const struct cli *cli, struct cli_table *t, const warning *w)
{
	char when[LX_TIME_TEXT];

	cli_table_row(t);
	cli_table_setf(t, 0, "%" PRIu64, w->id);
	cli_table_set(t, 1, w->type);
	set_name(cli, t, 2, w);
	cli_table_set(t, 3, w->node);
	cli_table_set(t, 4, severity_of(w));
	cli_table_set(t, 5, status_of(w));
	cli_table_setf(t, 6, "%" PRIu64, w->count);
	cli_table_set(t, 7, lx_time_rfc3339((uint64_t)w->last_seen_ns, when));
	cli_table_set(t, 8, w->message);
}

static int list_run(struct cli *cli, struct lx_err *err)
{
	static const char *const headings[] = { ">ID",    "TYPE",   "NAME",      "NODE",    "SEVERITY",
						"STATUS", ">COUNT", "LAST SEEN", "MESSAGE", NULL };
	Lxmgr__V1__ListWarningsRequest req = LXMGR__V1__LIST_WARNINGS_REQUEST__INIT;
	cli_autopb Lxmgr__V1__ListWarningsResponse *resp = NULL;
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_TABLE, &f, err);

	if (r == 0)
		r = take_severity(cli, &req.severity, err);
	req.all = cli_flag(cli, "all");
	if (cli_opt(cli, "node"))
		req.node = (char *)cli_opt(cli, "node");
	if (cli_opt(cli, "instance"))
		req.instance = (char *)cli_opt(cli, "instance");
	if (r == 0)
		r = cli_call(cli, CLI_WARNINGS, "List", &req, &resp, err);
	if (r != 0)
		return r;
	if (cli_is_document(&f)) {
		cli_autodoc struct cli_doc d;
		json_t *array = cli_doc_init(&d, true);

		for (size_t i = 0; i < resp->n_warnings; i++)
			warning_doc(&d, cli_doc_add(&d, array), resp->warnings[i]);
		return cli_doc_print(&d, &f, stdout, err);
	}
	cli_autotable struct cli_table t;

	cli_table_init(&t, headings);
	for (size_t i = 0; i < resp->n_warnings; i++)
		add_row(cli, &t, resp->warnings[i]);
	return cli_table_print(&t, &f, stdout, err);
}

static int take_id(struct cli *cli, int i, uint64_t *ret, struct lx_err *err)
{
	if (lx_parse_u64(cli_operand(cli, i), ret) < 0 || *ret == 0)
		return cli_usage(cli, err, "\"%s\" is not the number of a warning", cli_operand(cli, i));
	return 0;
}

static int show_run(struct cli *cli, struct lx_err *err)
{
	Lxmgr__V1__WarningRequest req = LXMGR__V1__WARNING_REQUEST__INIT;
	cli_autopb warning *w = NULL;
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_YAML, &f, err);

	if (r == 0)
		r = take_id(cli, 0, &req.id, err);
	if (r == 0)
		r = cli_call(cli, CLI_WARNINGS, "Get", &req, &w, err);
	if (r != 0)
		return r;
	cli_autodoc struct cli_doc d;

	warning_doc(&d, cli_doc_init(&d, false), w);
	return cli_doc_print(&d, &f, stdout, err);
}

/* ------------------------------------------------------------------ acknowledge, delete */

static int change(struct cli *cli, const char *method, const char *done, struct lx_err *err)
{
	Lxmgr__V1__ChangeWarningsRequest req = LXMGR__V1__CHANGE_WARNINGS_REQUEST__INIT;
	cli_autopb Lxmgr__V1__ChangeWarningsResponse *resp = NULL;
	uint64_t ids[IDS_AT_ONCE];
	int r = 0;

	req.all = cli_flag(cli, "all");
	if (!req.all == !cli->args.n_operands)
		return cli_usage(cli, err, "either the numbers of warnings, or --all");
	if (cli->args.n_operands > IDS_AT_ONCE)
		return cli_usage(cli, err, "more than %d warnings at once", IDS_AT_ONCE);
	for (int i = 0; i < cli->args.n_operands && r == 0; i++)
		r = take_id(cli, i, &ids[req.n_ids++], err);
	req.ids = ids;
	if (r == 0)
		r = cli_call(cli, CLI_WARNINGS, method, &req, &resp, err);
	if (r == 0)
		cli_note(cli, "%u %s", resp->changed, done);
	return r;
}

static int acknowledge_run(struct cli *cli, struct lx_err *err)
{
	return change(cli, "Acknowledge", "acknowledged", err);
}

static int delete_run(struct cli *cli, struct lx_err *err)
{
	return change(cli, "Delete", "deleted", err);
}

/* ------------------------------------------------------------------ denials of an instance */

typedef Lxmgr__V1__Denial denial;

static void denial_doc(struct cli_doc *d, json_t *to, const denial *n)
{
	cli_doc_str(d, to, "kind", n->kind);
	cli_doc_bool(d, to, "allowed", n->allowed);
	cli_doc_str(d, to, "operation", n->operation);
	cli_doc_str(d, to, "path", n->path);
	cli_doc_str(d, to, "mask", n->mask);
	cli_doc_str(d, to, "program", n->program);
	cli_doc_map(d, to, "details", n->n_details, n->details);
	cli_doc_int(d, to, "count", n->count);
	cli_doc_time(d, to, "first_seen", n->first_ns);
	cli_doc_time(d, to, "last_seen", n->last_ns);
}

/* What the operation was about, when it was no file. */
static const char *object_of(const denial *n)
{
	static const char *const keys[] = { "capability", "family", "peer" };

	for (size_t i = 0; i < LX_ARRAY_SIZE(keys) && !*n->path; i++) {
		const char *value = lx_pb_map_get(n->n_details, n->details, keys[i]);

		if (value)
			return value;
	}
	return n->path;
}

static int denials_run(struct cli *cli, struct lx_err *err)
{
	static const char *const headings[] = { "KIND",    "OPERATION", "PATH",      "MASK",
						"PROGRAM", ">COUNT",    "LAST SEEN", NULL };
	Lxmgr__V1__DenialsRequest req = LXMGR__V1__DENIALS_REQUEST__INIT;
	cli_autopb Lxmgr__V1__Denials *resp = NULL;
	struct cli_format f;
	int r = cli_format(cli, CLI_OUT_TABLE, &f, err);

	req.name = cli->args.operands[0];
	if (r == 0)
		r = cli_call(cli, CLI_DENIALS, "List", &req, &resp, err);
	if (r != 0)
		return r;
	if (cli_is_document(&f)) {
		cli_autodoc struct cli_doc d;
		json_t *array = cli_doc_init(&d, true);

		for (size_t i = 0; i < resp->n_denials; i++)
			denial_doc(&d, cli_doc_add(&d, array), resp->denials[i]);
		return cli_doc_print(&d, &f, stdout, err);
	}
	cli_autotable struct cli_table t;

	cli_table_init(&t, headings);
	for (size_t i = 0; i < resp->n_denials; i++) {
		const denial *n = resp->denials[i];
		char when[LX_TIME_TEXT];

		cli_table_row(&t);
		cli_table_setf(&t, 0, "%s%s", n->kind, n->allowed ? " (allowed)" : "");
		cli_table_set(&t, 1, n->operation);
		cli_table_set(&t, 2, object_of(n));
		cli_table_set(&t, 3, n->mask);
		cli_table_set(&t, 4, n->program);
		cli_table_setf(&t, 5, "%" PRIu64, n->count);
		cli_table_set(&t, 6, lx_time_rfc3339((uint64_t)n->last_ns, when));
	}
	return cli_table_print(&t, &f, stdout, err);
}

static int forget_run(struct cli *cli, struct lx_err *err)
{
	Lxmgr__V1__DenialsRequest req = LXMGR__V1__DENIALS_REQUEST__INIT;

	req.name = cli->args.operands[0];
	return cli_call(cli, CLI_DENIALS, "Forget", &req, NULL, err);
}

/* ------------------------------------------------------------------ the table */

static const struct cli_option list_options[] = {
	{ "all", 'a', NULL, "acknowledged and resolved ones as well", 0 },
	{ "node", 0, "NODE", "about this node, or what is on it", CLI_NODE },
	{ "instance", 0, "INSTANCE", "about this instance", CLI_INSTANCE },
	{ "severity", 0, "SEVERITY", "at least low, moderate or high", 0 },
	CLI_ALL_PROJECTS_OPTION,
	CLI_FORMAT_OPTION,
	{ .name = NULL },
};
static const struct cli_option show_options[] = { CLI_FORMAT_OPTION, { .name = NULL } };
static const struct cli_option acknowledge_options[] = {
	{ "all", 'a', NULL, "all that are new", 0 },
	{ .name = NULL },
};
static const struct cli_option delete_options[] = {
	{ "all", 'a', NULL, "all that are acknowledged or resolved", 0 },
	{ .name = NULL },
};

const struct cli_verb cli_warning_verbs[] = {
	{ .name = "warning list",
	  .aliases = "ls",
	  .summary = "List what needs attention",
	  .details =
		  "One line for each type and instance or node, however often it happened, the latest first. "
		  "What holds for a time (a node that is away, a full disk) is resolved by itself when it "
		  "ends. Who has a role in all projects sees all of them; one in a project shows those of "
		  "its instances.",
	  .examples = "lxmgr warning list\nlxmgr warning list --all --node node2 --severity high\n"
		      "lxmgr warning list --format json | jq '.[].message'",
	  .options = list_options,
	  .run = list_run },
	{ .name = "warning show",
	  .aliases = "info",
	  .operands = "ID",
	  .summary = "Show a warning",
	  .examples = "lxmgr warning show 12",
	  .options = show_options,
	  .min = 1,
	  .max = 1,
	  .run = show_run },
	{ .name = "warning acknowledge",
	  .aliases = "ack",
	  .operands = "[ID...]",
	  .summary = "Take note of warnings: they are not listed any more",
	  .details = "It goes on being counted, and stays acknowledged when it happens again. One that was "
		     "resolved in between is new.",
	  .examples = "lxmgr warning acknowledge 12 13\nlxmgr warning acknowledge --all",
	  .options = acknowledge_options,
	  .max = CLI_MANY,
	  .run = acknowledge_run },
	{ .name = "warning delete",
	  .aliases = "rm",
	  .operands = "[ID...]",
	  .summary = "Delete warnings",
	  .examples = "lxmgr warning delete 12\nlxmgr warning delete --all",
	  .options = delete_options,
	  .max = CLI_MANY,
	  .run = delete_run },
	{ .name = "warning denials",
	  .operands = "INSTANCE",
	  .summary = "List what was kept from an instance",
	  .details =
		  "By AppArmor, by its filter of system calls (with security.syscalls.log), by the guard of "
		  "its network cards and by its limits. Kept are the 128 different ones that were seen last, "
		  "over restarts and moves.",
	  .examples = "lxmgr warning denials web1",
	  .options = show_options,
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_INSTANCE },
	  .run = denials_run },
	{ .name = "warning forget",
	  .operands = "INSTANCE",
	  .summary = "Forget what was kept from an instance, and count anew",
	  .examples = "lxmgr warning forget web1",
	  .min = 1,
	  .max = 1,
	  .kinds = { CLI_INSTANCE },
	  .run = forget_run },
	{ .name = NULL },
};
