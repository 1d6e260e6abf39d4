/*
 * AuditService: pages of the audit log, newest first. The log is in the store alone and may be
 * long: it is read on a thread of libuv's pool, with a connection of its own, and the loop goes
 * on meanwhile. A manager that stops waits for readers (lx_manager.readers).
 */
#include "lxmgr/auth/audit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "lxmgr/auth/auth.h"
#include "lxmgr/v1/audit.pb-c.h"
#include "proto/pb.h"

#define LIMIT_DEFAULT 100u
#define LIMIT_MAX     1000u
#define READERS_MAX   8u
#define CONDITION_MAX 256u

struct reading {
	uv_work_t work;
	struct lx_manager *m;
	struct lx_call *call; /* NULL: the client has gone */
	Lxmgr__V1__ListAuditRequest *req;
	Lxmgr__V1__ListAuditResponse *resp;
	struct lx_err err;
};

static void reading_free(struct reading *r)
{
	if (!r)
		return;
	lx_pb_free(r->req);
	lx_pb_free(r->resp);
	free(r);
}

static int add_entry(Lxmgr__V1__ListAuditResponse *resp, const struct lx_sql_value *c)
{
	Lxmgr__V1__AuditEntry *e = malloc(sizeof(*e));

	if (!e)
		return -ENOMEM;
	lxmgr__v1__audit_entry__init(e);
	resp->entries[resp->n_entries++] = e; /* there is room for `limit` */
	e->id = (uint64_t)c[0].i;
	e->time_ns = c[1].i;
	e->code = (int32_t)c[7].i;
	return lx_pb_set(&e->identity, c[2].data) < 0 || lx_pb_set(&e->peer, c[3].data) < 0 ||
			       lx_pb_set(&e->method, c[4].data) < 0 ||
			       lx_pb_set(&e->subject, c[5].data) < 0 ||
			       lx_pb_set(&e->project, c[6].data) < 0 || lx_pb_set(&e->error, c[8].data) < 0 ||
			       lx_pb_set(&e->request, c[9].data) < 0
		       ? -ENOMEM
		       : 0;
}

static int on_row(const struct lx_sql_value *cols, int n, void *arg)
{
	struct reading *r = arg;

	return add_entry(r->resp, cols) < 0 ? lx_err_oom(&r->err) : 0;
}

static struct lx_sql_value text(const char *s)
{
	return (struct lx_sql_value){ .type = LX_SQL_TEXT, .data = s, .len = strlen(s) };
}

static struct lx_sql_value number(int64_t i)
{
	return (struct lx_sql_value){ .type = LX_SQL_INT, .i = i };
}

/* On a thread of the pool: touches nothing but `r` and the store. */
static void read_page(uv_work_t *work)
{
	/* An identity without the "(uid ...)" behind it; a method, or one of its halves. */
	static const char sql[] =
		"SELECT id, time_ns, identity, peer, method, subject, project, code, error, request FROM "
		"audit"
		" WHERE id < ?1 AND time_ns BETWEEN ?2 AND ?3"
		" AND (?4 = '' OR identity = ?4 OR substr(identity, 1, length(?4) + 2) = ?4 || ' (')"
		" AND (?5 = '' OR method = ?5 OR substr(method, -length(?5) - 1) = '/' || ?5"
		" OR substr(method, 1, length(?5) + 1) = ?5 || '/')"
		" AND (?6 = 0 OR ok = 0) AND (?8 = '' OR project = ?8) ORDER BY id DESC LIMIT ?7";
	struct reading *r = work->data;
	const Lxmgr__V1__ListAuditRequest *req = r->req;
	const bool last = req->before_id == 0 || req->before_id > INT64_MAX;
	const struct lx_sql_value args[] = {
		number(last ? INT64_MAX : (int64_t)req->before_id),
		number(req->since_ns),
		number(req->until_ns ? req->until_ns : INT64_MAX),
		text(req->identity),
		text(req->method),
		number(req->refused),
		number(req->limit),
		text(req->project),
	};

	(void)lx_store_query(r->m->store, sql, args, (int)LX_ARRAY_SIZE(args), on_row, r, &r->err);
}

static void on_read(uv_work_t *work, int status)
{
	struct reading *r = work->data;

	r->m->readers--;
	if (r->call) {
		lx_call_set_events(r->call, NULL, NULL);
		if (r->err.code == LX_OK)
			lx_call_reply(r->call, &r->resp->base);
		else
			lx_call_fail(r->call, &r->err);
	}
	reading_free(r);
}

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	((struct reading *)arg)->call = NULL;
}

static const struct lx_call_events events = { .closed = on_closed };

/* All of it is for admins of the cluster, what was done in a project for that one's. */
static int check_rights(const struct lx_manager *m, const struct lx_call *call, const char *project,
			struct lx_err *err)
{
	enum lx_role role = lx_gate_role(m, lx_call_peer(call), lx_str_empty(project) ? NULL : project, NULL);

	if (role >= LX_ROLE_ADMIN)
		return 0;
	int r = lx_err_set(err, LX_PERMISSION_DENIED, "the audit log of %s%s needs the role %s",
			   lx_str_empty(project) ? "all projects" : "project ", project,
			   lx_role_name(LX_ROLE_ADMIN));
	lx_err_hint(err, "Name a project in which you are one: lxmgr audit --project NAME");
	return r;
}

static int check(const struct lx_manager *m, const Lxmgr__V1__ListAuditRequest *req, struct lx_err *err)
{
	if (!lx_str_empty(req->project) && lx_name_check("project", req->project, err) < 0)
		return -EINVAL;
	if (req->limit > LIMIT_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "a page of the audit log has at most %u entries",
				  LIMIT_MAX);
	if (strlen(req->identity) > CONDITION_MAX || strlen(req->method) > CONDITION_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "an identity and a method have at most %u bytes",
				  CONDITION_MAX);
	if (m->readers >= READERS_MAX)
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED,
				  "%u pages of the audit log are being read already", READERS_MAX);
	return 0;
}

static void api_list(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__ListAuditRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	struct reading *r = NULL;

	if (check(m, req, &err) < 0 || check_rights(m, call, req->project, &err) < 0)
		goto fail;
	r = calloc(1, sizeof(*r));
	if (!r || !(r->req = LX_PB_DUP(Lxmgr__V1__ListAuditRequest, req)) ||
	    !(r->resp = malloc(sizeof(*r->resp)))) {
		lx_err_oom(&err);
		goto fail;
	}
	if (!r->req->limit)
		r->req->limit = LIMIT_DEFAULT;
	lxmgr__v1__list_audit_response__init(r->resp);
	r->resp->entries = calloc(r->req->limit, sizeof(*r->resp->entries));
	if (!r->resp->entries) {
		lx_err_oom(&err);
		goto fail;
	}
	r->m = m;
	r->call = call;
	r->err = LX_ERR_INIT;
	r->work.data = r;
	int rc = uv_queue_work(m->loop, &r->work, read_page, on_read);

	if (rc < 0) {
		lx_err_errno(&err, rc, "cannot read the audit log");
		goto fail;
	}
	m->readers++;
	lx_call_set_events(call, &events, r);
	return;
fail:
	reading_free(r);
	lx_call_fail(call, &err);
}

static const struct lx_method methods[] = {
	{ .name = "List", .unary = api_list },
};

const struct lx_service lx_api_audit = { &lxmgr__v1__audit_service__descriptor, methods,
					 LX_ARRAY_SIZE(methods) };
