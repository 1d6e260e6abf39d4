/*
 * Writing the audit log; see audit.h for when. What a call's row will say is noted with the call
 * (lx_call_note) from the moment its request is known until it ends; who it was is looked up
 * then, before a change of identities can take the name away.
 */
#include "lxmgr/auth/audit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/str.h"
#include "lxmgr/auth/auth.h"

#define IDENTITY_MAX 128
#define STRANGERS    256 /* identities whose refusals are counted apart */

struct note {
	char identity[IDENTITY_MAX];
	char *subject, *request;
	bool written; /* or in a transaction under way */
};

/* Of one identity, for as long as it goes on being refused. */
struct refusals {
	double left; /* that may be written now */
	uint64_t since_ns;
	unsigned omitted;
};

struct lx_auditor {
	struct lx_map refusals; /* identity -> struct refusals * */
	unsigned written;       /* rows since those too many were last deleted */
};

static void note_free(struct note *n)
{
	if (!n)
		return;
	free(n->subject);
	free(n->request);
	free(n);
}

/* "InstanceService/Create" */
static const char *short_method(const char *path)
{
	static const char package[] = "/lxmgr.v1.";

	return lx_starts_with(path, package) ? path + strlen(package) : path + (*path == '/');
}

/* The address without its port, which says nothing. */
static const char *peer_text(const struct lx_peer *peer, char *buf, size_t n)
{
	const char *colon = strrchr(peer->address, ':');

	if (peer->kind == LX_PEER_UNIX || !colon)
		snprintf(buf, n, "unix");
	else
		snprintf(buf, n, "%.*s", (int)(colon - peer->address), peer->address);
	return buf;
}

/* "" for calls that are about none, or whose header names none. */
static const char *project_of(const struct lx_call *call)
{
	const char *project = lx_call_project(call);
	enum lx_where where = lx_access_find(lx_call_method(call))->where;

	if (where == LX_IN_CLUSTER || where == LX_ANYWHERE || lx_name_check("", project, NULL) < 0)
		return "";
	return project;
}

/* ------------------------------------------------------------------ rows */

static void prune(struct lx_txn *txn, bool ok)
{
	lx_txn_exec(txn,
		    "DELETE FROM audit WHERE ok = ?1 AND seq <= (SELECT max(seq) FROM audit WHERE ok = ?1)"
		    " - ?2");
	lx_txn_int(txn, ok);
	lx_txn_int(txn, ok ? LX_AUDIT_KEEP : LX_AUDIT_KEEP_REFUSED);
}

static void add_row(struct lx_manager *m, struct lx_txn *txn, struct lx_call *call, const struct note *n,
		    enum lx_code code, const char *error)
{
	bool ok = code == LX_OK;
	char peer[64];

	lx_txn_exec(txn,
		    "INSERT INTO audit (ok, seq, time_ns, identity, peer, method, subject, project, code,"
		    " error, request) VALUES (?1, (SELECT coalesce(max(seq), 0) + 1 FROM audit WHERE"
		    " ok = ?1), ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)");
	lx_txn_int(txn, ok);
	lx_txn_int(txn, (int64_t)lx_now_realtime_ns());
	lx_txn_text(txn, n->identity);
	lx_txn_text(txn, peer_text(lx_call_peer(call), peer, sizeof(peer)));
	lx_txn_text(txn, short_method(lx_call_method(call)));
	lx_txn_text(txn, n->subject ? n->subject : "");
	lx_txn_text(txn, project_of(call));
	lx_txn_int(txn, (int64_t)code);
	lx_txn_text(txn, error);
	lx_txn_text(txn, n->request ? n->request : "");
	if (++m->auditor->written < LX_AUDIT_PRUNE_EVERY)
		return;
	m->auditor->written = 0;
	prune(txn, true);
	prune(txn, false);
}

static void on_stored(const struct lx_store_result *res, const struct lx_err *err, void *arg)
{
	if (err->code != LX_OK)
		lx_error("the audit log cannot be written", "error=\"%s\"", err->msg);
}

static void submit_row(struct lx_manager *m, struct lx_call *call, const struct note *n, enum lx_code code,
		       const char *error)
{
	struct lx_txn *txn = lx_txn_new(NULL);
	struct lx_err err = LX_ERR_INIT;

	if (txn)
		add_row(m, txn, call, n, code, error);
	else
		lx_err_oom(&err);
	if (txn && lx_store_submit(m->store, txn, on_stored, NULL, &err) == 0)
		return;
	if (!m->stopping)
		lx_error("the audit log cannot be written", "method=%s identity=\"%s\" error=\"%s\"",
			 short_method(lx_call_method(call)), n->identity, err.msg);
}

/* ------------------------------------------------------------------ one who is refused often */

static struct refusals *refusals_of(struct lx_auditor *a, const char *identity)
{
	struct refusals *r = lx_map_get(&a->refusals, identity);

	if (r)
		return r;
	if (lx_map_count(&a->refusals) >= STRANGERS) {
		lx_map_release(&a->refusals);
		lx_map_init(&a->refusals, free);
	}
	r = calloc(1, sizeof(*r));
	if (!r || lx_map_set(&a->refusals, identity, r) < 0) {
		free(r);
		return NULL;
	}
	r->left = LX_AUDIT_BURST;
	r->since_ns = lx_now_monotonic_ns();
	return r;
}

/* May one more be written? Then *ret_omitted is how many were not before it. */
static bool may_write(struct lx_auditor *a, const char *identity, unsigned *ret_omitted)
{
	struct refusals *r = refusals_of(a, identity);
	uint64_t now = lx_now_monotonic_ns();

	*ret_omitted = 0;
	if (!r)
		return true;
	/* One every other second. */
	r->left += (double)(now - r->since_ns) / (2.0 * (double)LX_NSEC_PER_SEC);
	if (r->left > LX_AUDIT_BURST)
		r->left = LX_AUDIT_BURST;
	r->since_ns = now;
	if (r->left < 1) {
		r->omitted++;
		return false;
	}
	r->left -= 1;
	*ret_omitted = r->omitted;
	r->omitted = 0;
	return true;
}

static void write_refusal(struct lx_manager *m, struct lx_call *call, const struct note *n,
			  const struct lx_err *why)
{
	/* Who shows no certificate may come from anywhere, and is one. */
	const char *who = lx_call_peer(call)->kind == LX_PEER_TLS && !lx_call_peer(call)->fingerprint
				  ? "certificate (none)"
				  : n->identity;
	char more[48] = "";
	unsigned omitted;

	if (!may_write(m->auditor, who, &omitted))
		return;
	if (omitted)
		snprintf(more, sizeof(more), " (%u more before it)", omitted);
	lx_autofree char *error = lx_asprintf("%s%s", why->msg, more);
	submit_row(m, call, n, why->code, error ? error : why->msg);
}

/* ------------------------------------------------------------------ calls */

static struct note *note_new(struct lx_manager *m, struct lx_call *call)
{
	struct note *n = calloc(1, sizeof(*n));

	if (n)
		lx_gate_user(m, lx_call_peer(call), n->identity, sizeof(n->identity));
	return n;
}

void lx_audit_message(struct lx_manager *m, struct lx_call *call, const ProtobufCMessage *first)
{
	if (lx_call_note(call) || !lx_access_find(lx_call_method(call))->changes)
		return;
	struct note *n = note_new(m, call);

	if (!n)
		return; /* the row will say who and what method, at the end */
	n->subject = strdup(lx_audit_subject(first));
	n->request = lx_audit_describe(first);
	lx_call_set_note(call, n);
}

void lx_audit_about(struct lx_call *call, const char *subject)
{
	struct note *n = lx_call_note(call);
	char *copy = n ? strdup(subject) : NULL;

	if (!copy)
		return;
	free(n->subject);
	n->subject = copy;
}

void lx_audit_fact(struct lx_call *call, const char *fact)
{
	struct note *n = lx_call_note(call);
	char *with = n ? lx_asprintf("%s %s", fact, n->request ? n->request : "") : NULL;

	if (!with)
		return;
	free(n->request);
	n->request = with;
}

void lx_audit_into(struct lx_manager *m, struct lx_call *call, struct lx_txn *txn)
{
	struct note *n = call ? lx_call_note(call) : NULL;

	if (!n || n->written || !txn)
		return;
	n->written = true;
	add_row(m, txn, call, n, LX_OK, "");
}

void lx_audit_failed(struct lx_call *call)
{
	struct note *n = call ? lx_call_note(call) : NULL;

	if (n)
		n->written = false;
}

void lx_audit_now(struct lx_manager *m, struct lx_call *call)
{
	struct note *n = lx_call_note(call);

	if (!n || n->written)
		return;
	n->written = true;
	submit_row(m, call, n, LX_OK, "");
}

static int on_request(struct lx_call *call, const ProtobufCMessage *req, void *arg, struct lx_err *err)
{
	lx_audit_message(arg, call, req);
	return 0;
}

static void on_ended(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct lx_manager *m = arg;
	struct note *n = lx_call_note(call);

	lx_call_set_note(call, NULL);
	if (!n && lx_access_find(lx_call_method(call))->changes)
		n = note_new(m, call);
	if (n && !n->written && !m->stopping) {
		if (err->code == LX_OK)
			submit_row(m, call, n, LX_OK, "");
		else
			write_refusal(m, call, n, err);
	}
	note_free(n);
}

const struct lx_rpc_witness lx_audit_witness = { .request = on_request, .ended = on_ended };

/* ------------------------------------------------------------------ life */

int lx_auditor_create(struct lx_manager *m, struct lx_auditor **ret, struct lx_err *err)
{
	struct lx_auditor *a = calloc(1, sizeof(*a));

	if (!a)
		return lx_err_oom(err);
	lx_map_init(&a->refusals, free);
	*ret = a;
	return 0;
}

void lx_auditor_free(struct lx_auditor *a)
{
	if (!a)
		return;
	lx_map_release(&a->refusals);
	free(a);
}
