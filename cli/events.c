/*
 * lxmgr events: what happens, as it happens, a line an event, until Ctrl-C.
 */
#include "cli/connection.h"
#include "cli/doc.h"
#include "lib/clock.h"
#include "lxmgr/v1/event.pb-c.h"
#include "proto/pb.h"

typedef Lxmgr__V1__Event event;

struct stream {
	bool json, done;
	struct lx_err err;
};

static int print_json(const event *e, struct lx_err *err)
{
	cli_autodoc struct cli_doc d;
	json_t *root = cli_doc_init(&d, false);

	cli_doc_time(&d, root, "time", e->time_ns);
	cli_doc_str(&d, root, "type", e->type);
	cli_doc_str(&d, root, "action", e->action);
	cli_doc_str(&d, root, "subject", e->subject);
	cli_doc_str(&d, root, "project", e->project);
	cli_doc_str(&d, root, "node", e->node);
	cli_doc_map(&d, root, "fields", e->n_fields, e->fields);
	return cli_doc_print_line(&d, stdout, err);
}

static void print_text(const event *e)
{
	char time[LX_TIME_TEXT];

	lx_time_rfc3339((uint64_t)e->time_ns, time);
	fputs(time, stdout);
	const char *const words[] = { e->type, e->action, e->subject };
	for (size_t i = 0; i < LX_ARRAY_SIZE(words); i++) {
		putchar(' ');
		cli_put_safe(stdout, words[i]);
	}
	if (*e->project && strcmp(e->project, "default") != 0) {
		fputs(" project=", stdout);
		cli_put_safe(stdout, e->project);
	}
	if (*e->node) {
		fputs(" node=", stdout);
		cli_put_safe(stdout, e->node);
	}
	for (size_t i = 0; i < e->n_fields; i++) {
		putchar(' ');
		cli_put_safe(stdout, e->fields[i]->key);
		putchar('=');
		cli_put_safe(stdout, e->fields[i]->value);
	}
	putchar('\n');
}

static void on_event(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const event *e = (const event *)msg;
	struct stream *s = arg;
	int r = 0;

	if (s->json)
		r = print_json(e, &s->err);
	else
		print_text(e);
	if (r < 0 || fflush(stdout) != 0)
		lx_call_cancel(call);
}

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct stream *s = arg;

	s->done = true;
	if (s->err.code == LX_OK)
		s->err = *err;
}

static int events_run(struct cli *cli, struct lx_err *err)
{
	static const struct lx_call_events events = { .message = on_event, .closed = on_closed };
	cli_autopb Lxmgr__V1__WatchEventsRequest *req =
		cli_pb_new(&lxmgr__v1__watch_events_request__descriptor);
	struct stream s = { .err = LX_ERR_INIT };
	const char *format = cli_opt(cli, "format"), *type;
	struct lx_call *call;

	s.json = lx_streq(format, "json");
	if (format && !s.json && strcmp(format, "text") != 0)
		return cli_usage(cli, err, "--format is text or json, not \"%s\"", format);
	for (size_t i = 0; req && (type = cli_opt_next(cli, "type", &i));)
		if (lx_pb_strv_add(&req->n_types, &req->types, type) < 0)
			return lx_err_oom(err);
	int r = req ? cli_connect(cli, err) : lx_err_oom(err);
	if (r == 0)
		r = lx_channel_stream(cli->channel, CLI_EVENTS, "Watch", cli_options(cli), &events, &s, &call,
				      err);
	if (r != 0)
		return r;
	if (lx_call_send(call, &req->base) >= 0)
		lx_call_half_close(call);
	r = cli_run(cli, &s.done, err);
	if (r == 0 && s.err.code != LX_OK && !ferror(stdout)) {
		*err = s.err;
		r = lx_code_errno(err->code);
	}
	return r;
}

static const struct cli_option options[] = {
	CLI_ALL_PROJECTS_OPTION,
	{ "type", 't', "TYPE", "only lifecycle, operation, node or security events; may be repeated", 0 },
	{ "format", 'f', "FORMAT", "text (default) or json, one object a line", 0 },
	{ .name = NULL },
};

const struct cli_verb cli_event_verbs[] = {
	{ .name = "events",
	  .aliases = "monitor",
	  .summary = "Show what happens, as it happens",
	  .details =
		  "Security events tell what was kept from an instance: by AppArmor, by its filter of system "
		  "calls (with security.syscalls.log), by the guard of its network cards, by its limits. "
		  "What is alike is one event a second, with its count.",
	  .examples = "lxmgr events\nlxmgr events --type lifecycle --format json | jq .action\n"
		      "lxmgr events --type security",
	  .options = options,
	  .run = events_run },
	{ .name = NULL },
};
