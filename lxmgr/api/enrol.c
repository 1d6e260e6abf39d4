/*
 * IdentityService: tokens, and the client that comes with one.
 *
 * A token (rpc/token.h) is made for one identity with one role. Using it deletes it in the
 * transaction that makes the identity, so it works once; only the hash of its secret is kept.
 */
#include "lxmgr/api/identities.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/str.h"
#include "lxmgr/api/commit.h"
#include "lxmgr/auth/audit.h"
#include "lxmgr/auth/secret.h"
#include "lxmgr/cluster/own_address.h"
#include "proto/pb.h"
#include "rpc/token.h"

#define TOKENS_MAX 1000u
#define SECRET_MAX 256u

static bool is_expired(const Lxmgr__V1__IdentityToken *t)
{
	return t->expires_at_ns < (int64_t)lx_now_realtime_ns();
}

/* Memory forgets those that have expired; the store's go with the next one that is made. */
static void drop_expired(struct lx_identities *ids)
{
	for (struct lx_map_entry *e = lx_map_first(&ids->tokens), *next; e; e = next) {
		next = lx_map_next(e);
		if (is_expired(lx_map_value(e)))
			lx_map_del(&ids->tokens, lx_map_key(e));
	}
}

/* The hash that the token for an identity is kept under, or NULL. */
static const char *hash_of(const struct lx_identities *ids, const char *name)
{
	for (struct lx_map_entry *e = lx_map_first(&ids->tokens); e; e = lx_map_next(e))
		if (lx_streq(((const Lxmgr__V1__IdentityToken *)lx_map_value(e))->name, name))
			return lx_map_key(e);
	return NULL;
}

/* ------------------------------------------------------------------ making one */

struct creation {
	Lxmgr__V1__IdentityToken *pb; /* without the token */
	char *text;
	char hash[LX_HASH_TEXT];
};

static void creation_free(struct creation *c)
{
	if (!c)
		return;
	lx_pb_free(c->pb);
	free(c->text);
	free(c);
}

static void on_token_stored(struct lx_manager *m, struct lx_call *call, const struct lx_err *err, void *data)
{
	struct creation *c = data;
	Lxmgr__V1__IdentityToken reply = *c->pb;

	reply.token = c->text;
	lx_api_answer(call, &reply.base, err);
	if (err->code == LX_OK && lx_map_set(&m->identities->tokens, c->hash, c->pb) == 0)
		c->pb = NULL;
	creation_free(c);
}

/* 0 or -ENOMEM. */
static int copy_roles(Lxmgr__V1__IdentityToken *to, const Lxmgr__V1__CreateIdentityTokenRequest *req)
{
	to->projects = calloc(req->n_projects + 1, sizeof(*to->projects));
	for (size_t i = 0; to->projects && i < req->n_projects; i++) {
		to->projects[i] = LX_PB_DUP(Lxmgr__V1__ProjectRole, req->projects[i]);
		if (!to->projects[i])
			return -ENOMEM;
		to->n_projects++;
	}
	return to->projects ? 0 : -ENOMEM;
}

static int make(struct lx_manager *m, const Lxmgr__V1__CreateIdentityTokenRequest *req, struct creation *c,
		struct lx_err *err)
{
	char secret[LX_SECRET_TEXT];
	long long expires;
	const struct lx_rights rights = { req->role, req->n_projects, req->projects };
	int r = lx_api_check_identity(m, req->name, &rights, req->description, err);

	if (r < 0)
		return r;
	drop_expired(m->identities);
	if (hash_of(m->identities, req->name)) {
		r = lx_err_set(err, LX_ALREADY_EXISTS, "there is a token for identity %s already", req->name);
		lx_err_hint(err, "Take it back first: lxmgr identity revoke-token %s", req->name);
		return r;
	}
	if (lx_map_count(&m->identities->tokens) >= TOKENS_MAX)
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED, "there are %u tokens already", TOKENS_MAX);
	if ((r = lx_token_expiry(req->ttl_seconds, &expires, err)) < 0 ||
	    (r = lx_secret_make(secret, c->hash, err)) < 0)
		return r;
	c->pb = malloc(sizeof(*c->pb));
	if (!c->pb)
		return lx_err_oom(err);
	lxmgr__v1__identity_token__init(c->pb);
	c->pb->role = req->role;
	c->pb->expires_at_ns = expires;
	lx_autofree char *addresses = lx_own_addresses(m);

	c->text = !addresses ? NULL
			     : lx_token_format(LX_TOKEN_IDENTITY, addresses, m->ca_fingerprint, secret,
					       req->name);
	if (!c->text || lx_pb_set(&c->pb->name, req->name) < 0 ||
	    lx_pb_set(&c->pb->description, req->description) < 0 || copy_roles(c->pb, req) < 0)
		return lx_err_oom(err);
	return 0;
}

static struct lx_txn *token_txn(const struct creation *c)
{
	size_t len;
	lx_autofree uint8_t *spec = lx_pb_pack(&c->pb->base, &len);
	struct lx_txn *txn = spec ? lx_txn_new(NULL) : NULL;

	if (!txn)
		return NULL;
	lx_txn_exec(txn, "DELETE FROM identity_tokens WHERE expires_at < ?1");
	lx_txn_int(txn, (int64_t)lx_now_realtime_ns());
	lx_txn_exec(
		txn,
		"INSERT INTO identity_tokens (secret_hash, name, expires_at, spec) VALUES (?1, ?2, ?3, ?4)");
	lx_txn_text(txn, c->hash);
	lx_txn_text(txn, c->pb->name);
	lx_txn_int(txn, c->pb->expires_at_ns);
	lx_txn_blob(txn, spec, len);
	return txn;
}

static void create_token(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct lx_err err = LX_ERR_INIT;
	struct creation *c = calloc(1, sizeof(*c));
	int r = c ? make(arg, (const void *)msg, c, &err) : lx_err_oom(&err);

	if (r == 0 && lx_api_commit(arg, call, token_txn(c), on_token_stored, c, &err) == 0)
		return;
	creation_free(c);
	lx_call_fail(call, &err);
}

void lx_api_identity_list_tokens(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct lx_identities *ids = ((struct lx_manager *)arg)->identities;
	Lxmgr__V1__ListIdentityTokensResponse resp = LXMGR__V1__LIST_IDENTITY_TOKENS_RESPONSE__INIT;

	drop_expired(ids);
	lx_autofree Lxmgr__V1__IdentityToken **list = calloc(lx_map_count(&ids->tokens) + 1, sizeof(*list));
	if (!list) {
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	resp.tokens = list;
	for (struct lx_map_entry *e = lx_map_first(&ids->tokens); e; e = lx_map_next(e))
		list[resp.n_tokens++] = lx_map_value(e);
	lx_call_reply(call, &resp.base);
}

static void on_token_deleted(struct lx_manager *m, struct lx_call *call, const struct lx_err *err, void *data)
{
	lx_autofree char *hash = data;
	Lxmgr__V1__DeleteIdentityTokenResponse reply = LXMGR__V1__DELETE_IDENTITY_TOKEN_RESPONSE__INIT;

	if (err->code == LX_OK)
		lx_map_del(&m->identities->tokens, hash);
	lx_api_answer(call, &reply.base, err);
}

static void delete_token(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__IdentityRequest *req = (const void *)msg;
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;

	drop_expired(m->identities);
	const char *found = hash_of(m->identities, req->name);

	if (!found) {
		lx_err_set(&err, LX_NOT_FOUND, "there is no token for identity %s", req->name);
		lx_err_hint(&err, "lxmgr identity list-tokens shows those that can still be used.");
		lx_call_fail(call, &err);
		return;
	}
	char *hash = strdup(found);
	struct lx_txn *txn = hash ? lx_txn_new(NULL) : NULL;

	if (txn) {
		lx_txn_exec(txn, "DELETE FROM identity_tokens WHERE secret_hash = ?1");
		lx_txn_text(txn, hash);
	}
	if (lx_api_commit(m, call, txn, on_token_deleted, hash, &err) == 0)
		return;
	free(hash);
	lx_call_fail(call, &err);
}

/* ------------------------------------------------------------------ using one */

struct enrolment {
	Lxmgr__V1__Identity *pb;
	char *certificate;
	char hash[LX_HASH_TEXT];
};

static void enrolment_free(struct enrolment *e)
{
	if (!e)
		return;
	lx_pb_free(e->pb);
	free(e->certificate);
	free(e);
}

static int bad_token(struct lx_err *err)
{
	int r = lx_err_set(err, LX_PERMISSION_DENIED,
			   "the enrolment token is not valid: unknown, used, taken back, or expired");

	lx_err_hint(err, "Ask an administrator for a new one: lxmgr identity token NAME");
	return r;
}

static void on_enrolled(struct lx_manager *m, struct lx_call *call, const struct lx_err *err, void *data)
{
	struct enrolment *en = data;
	struct lx_err e = *err;
	Lxmgr__V1__EnrolResponse reply = LXMGR__V1__ENROL_RESPONSE__INIT;

	if (e.code == LX_ABORTED)
		bad_token(&e);
	reply.identity = en->pb;
	reply.certificate_pem = en->certificate;
	reply.ca_pem = m->ca_pem;
	reply.cluster_id = m->cluster_id;
	if (e.code == LX_OK) {
		Lxmgr__V1__Identity *copy = LX_PB_DUP(Lxmgr__V1__Identity, en->pb);

		lx_info("client enrolled", "identity=%s role=%s", en->pb->name,
			lx_role_name((enum lx_role)en->pb->role));
		lx_map_del(&m->identities->tokens, en->hash);
		if (!copy || lx_identity_put(m->identities, copy) < 0)
			lx_error("out of memory for an identity", "");
	}
	lx_api_answer(call, &reply.base, &e);
	enrolment_free(en);
}

static int admit(struct lx_manager *m, const Lxmgr__V1__EnrolRequest *req, struct enrolment *en,
		 struct lx_err *err)
{
	const Lxmgr__V1__IdentityToken *t;
	int r;

	if (lx_str_empty(req->secret) || lx_str_empty(req->csr_pem))
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "an enrolment needs the secret of a token and a certificate request");
	if (strlen(req->secret) > SECRET_MAX)
		return bad_token(err);
	lx_secret_hash(req->secret, en->hash);
	t = lx_map_get(&m->identities->tokens, en->hash);
	if (!t || is_expired(t))
		return bad_token(err);
	const struct lx_rights rights = { t->role, t->n_projects, t->projects };
	r = lx_api_check_identity(m, t->name, &rights, t->description, err);
	return r < 0 ? r
		     : lx_api_identity_sign(m, req->csr_pem, t->name, &rights, t->description, &en->pb,
					    &en->certificate, err);
}

static void enrol(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct lx_manager *m = arg;
	struct lx_err err = LX_ERR_INIT;
	struct enrolment *en = calloc(1, sizeof(*en));
	struct lx_txn *txn = en ? lx_txn_new(NULL) : NULL;
	int r = txn ? admit(m, (const void *)msg, en, &err) : lx_err_oom(&err);

	if (r == 0) {
		lx_audit_about(call, en->pb->name);
		lx_txn_exec(txn, "DELETE FROM identity_tokens WHERE secret_hash = ?1 AND expires_at >= ?2");
		lx_txn_text(txn, en->hash);
		lx_txn_int(txn, (int64_t)lx_now_realtime_ns());
		lx_txn_expect(txn, 1, "no such token");
		if (lx_api_identity_txn(txn, en->pb) < 0)
			r = lx_err_oom(&err);
	}
	if (r == 0 && lx_api_commit(m, call, lx_move_ptr(txn), on_enrolled, en, &err) == 0)
		return;
	lx_txn_free(txn);
	enrolment_free(en);
	lx_call_fail(call, &err);
}

#define TURN(name, handler)                                                                                  \
	void name(struct lx_call *call, const ProtobufCMessage *msg, void *arg)                              \
	{                                                                                                    \
		lx_turn_take(arg, call, msg, true, handler);                                                 \
	}

TURN(lx_api_identity_create_token, create_token)
TURN(lx_api_identity_delete_token, delete_token)
TURN(lx_api_identity_enrol, enrol)
