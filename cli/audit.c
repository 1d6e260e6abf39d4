/*
 * lxmgr audit: who changed what, and who was not let.
 */
#include "cli/connection.h"
#include "cli/doc.h"
#include "lib/clock.h"
#include "lxmgr/v1/audit.pb-c.h"
#include "proto/pb.h"

#define PAGE          1000u
#define LIMIT_DEFAULT 100u

typedef Lxmgr__V1__AuditEntry entry;

/* "2h": that long ago; or a time as `lxmgr audit` prints it. Local errors are usage errors. */
static int take_time(struct cli *cli, const char *option, int64_t *ret, struct lx_err *err)
{
	const char *text = cli_opt(cli, option);
	uint64_t seconds;
	struct tm tm = { 0 };

	if (!text)
		return 0;
	if (lx_parse_duration(text, &seconds) == 0) {
		*ret = (int64_t)(lx_now_realtime_ns() - seconds * LX_NSEC_PER_SEC);
		return 0;
	}
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);

	if (!end) {
		tm = (struct tm){ 0 };
		end = strptime(text, "%Y-%m-%d", &tm);
	}
	if (!end || *end)
		return cli_usage(cli, err,
				 "--%s needs a duration (2h) or a time (2026-01-31T12:00:00Z), not \"%s\"",
				 option, text);
	*ret = (int64_t)timegm(&tm) * (int64_t)LX_NSEC_PER_SEC;
	return 0;
}

static const char *result_of(const entry *e)
{
	return e->code == 0 ? "OK" : lx_code_name((enum lx_code)e->code);
}

struct output {
	struct cli_format f;
	struct cli_table table;
	struct cli_doc doc;
	json_t *array;
};

static void add(struct output *o, const entry *e)
{
	char when[LX_TIME_TEXT];

	if (cli_is_document(&o->f)) {
		json_t *to = cli_doc_add(&o->doc, o->array);

		cli_doc_int(&o->doc, to, "id", e->id);
		cli_doc_time(&o->doc, to, "time", e->time_ns);
		cli_doc_str(&o->doc, to, "identity", e->identity);
		cli_doc_str(&o->doc, to, "peer", e->peer);
		cli_doc_str(&o->doc, to, "method", e->method);
		cli_doc_str(&o->doc, to, "subject", e->subject);
		cli_doc_str(&o->doc, to, "project", e->project);
		cli_doc_str(&o->doc, to, "result", result_of(e));
		cli_doc_str(&o->doc, to, "error", e->error);
		cli_doc_str(&o->doc, to, "request", e->request);
		return;
	}
	cli_table_row(&o->table);
	cli_table_set(&o->table, 0, lx_time_rfc3339((uint64_t)e->time_ns, when));
	cli_table_set(&o->table, 1, e->identity);
	cli_table_set(&o->table, 2, e->peer);
	cli_table_set(&o->table, 3, e->method);
	cli_table_set(&o->table, 4, e->project);
	cli_table_set(&o->table, 5, e->subject);
	cli_table_set(&o->table, 6, result_of(e));
	cli_table_set(&o->table, 7, *e->error ? e->error : e->request);
}

/* Page by page, until there are enough or no more. */
static int fetch(struct cli *cli, Lxmgr__V1__ListAuditRequest *req, uint32_t limit, struct output *o,
		 struct lx_err *err)
{
	uint64_t shown = 0;

	for (;;) {
		cli_autopb Lxmgr__V1__ListAuditResponse *resp = NULL;
		uint64_t left = limit ? limit - shown : PAGE;

		req->limit = left < PAGE ? (uint32_t)left : PAGE;
		int r = cli_call(cli, CLI_AUDIT, "List", req, &resp, err);

		if (r < 0)
			return r;
		for (size_t i = 0; i < resp->n_entries; i++)
			add(o, resp->entries[i]);
		shown += resp->n_entries;
		if (resp->n_entries < req->limit || (limit && shown >= limit))
			return 0;
		req->before_id = resp->entries[resp->n_entries - 1]->id;
	}
}

static int audit_run(struct cli *cli, struct lx_err *err)
{
	static const char *const headings[] = { "TIME",    "IDENTITY", "FROM",    "METHOD", "PROJECT",
						"SUBJECT", "RESULT",   "REQUEST", NULL };
	Lxmgr__V1__ListAuditRequest req = LXMGR__V1__LIST_AUDIT_REQUEST__INIT;
	struct output o = { 0 };
	uint32_t limit = LIMIT_DEFAULT;
	int r = cli_format(cli, CLI_OUT_TABLE, &o.f, err);

	if (r < 0 || (r = take_time(cli, "since", &req.since_ns, err)) < 0 ||
	    (r = take_time(cli, "until", &req.until_ns, err)) < 0 ||
	    (r = cli_opt_u32(cli, "limit", &limit, err)) < 0)
		return r;
	if (cli_opt(cli, "identity"))
		req.identity = (char *)cli_opt(cli, "identity");
	if (cli_opt(cli, "method"))
		req.method = (char *)cli_opt(cli, "method");
	if (cli_opt(cli, "project"))
		req.project = (char *)cli_opt(cli, "project");
	req.refused = cli_flag(cli, "refused");
	cli_table_init(&o.table, headings);
	o.array = cli_doc_init(&o.doc, true);
	r = fetch(cli, &req, limit, &o, err);
	if (r == 0)
		r = cli_is_document(&o.f) ? cli_doc_print(&o.doc, &o.f, stdout, err)
					  : cli_table_print(&o.table, &o.f, stdout, err);
	cli_table_release(&o.table);
	cli_doc_release(&o.doc);
	return r;
}

static const struct cli_option options[] = {
	{ "since", 0, "TIME", "not older: 2h, or 2026-01-31T12:00:00Z", 0 },
	{ "until", 0, "TIME", "not newer", 0 },
	{ "identity", 0, "NAME", "of this one only", CLI_IDENTITY },
	{ "method", 0, "METHOD", "of this method or service only: Create, InstanceService/Create", 0 },
	{ "refused", 0, NULL, "only what was refused or failed", 0 },
	{ "limit", 'n', "N", "at most that many, the newest (100); 0: all", 0 },
	CLI_FORMAT_OPTION,
	{ .name = NULL },
};

const struct cli_verb cli_audit_verbs[] = {
	{ .name = "audit",
	  .names_projects = true,
	  .summary = "Show who changed what, and who was not let",
	  .details = "Every call that changes something, let in or refused, newest first. Tokens, "
		     "environment values and "
		     "the content of files are left out. Kept are the newest 100000 calls that were let in "
		     "and the "
		     "newest 10000 others; rows are never changed. An admin of a project alone sees, with "
		     "--project, what "
		     "was done in it.",
	  .examples = "lxmgr audit\nlxmgr audit --since 1d --identity alice\n"
		      "lxmgr audit --method InstanceService --refused --format json",
	  .options = options,
	  .run = audit_run },
	{ .name = NULL },
};
