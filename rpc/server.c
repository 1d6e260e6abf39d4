/*
 * A server: which methods there are, and what happens when one is called.
 *
 * Happy path: the headers of a call name a method; the gate lets it in; a unary method's
 * handler runs once the request is there, an open one's at once.
 * Ways to fail: not gRPC at all (an HTTP status), an unknown method (UNIMPLEMENTED), headers
 * over the limit or a timeout that is none, the gate's refusal.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/str.h"
#include "rpc/reflection.h"
#include "rpc/server.h"

/* ------------------------------------------------------------------ services */

static const struct lx_method *find_method(const struct lx_service *service, const char *name)
{
	size_t i;

	for (i = 0; i < service->n_methods; i++)
		if (strcmp(service->methods[i].name, name) == 0)
			return &service->methods[i];
	return NULL;
}

static int check_method(const struct lx_service *service, const struct lx_method *m, struct lx_err *err)
{
	const char *name = service->descriptor->name;

	if (!protobuf_c_service_descriptor_get_method_by_name(service->descriptor, m->name))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "service %s has no method %s", name, m->name);
	if (!m->unary == !m->open)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%s/%s needs either `unary` or `open`", name,
				  m->name);
	if (m->unary && (m->client_stream || m->raw))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%s/%s: a %s method needs `open`", name, m->name,
				  m->raw ? "raw" : "client-streaming");
	return 0;
}

int lx_server_add(struct lx_server *s, const struct lx_service *service, void *arg, struct lx_err *err)
{
	const ProtobufCServiceDescriptor *d = service->descriptor;
	const struct lx_method *m;
	struct lx_bound_method *b;
	unsigned i;
	int r;

	for (i = 0; i < service->n_methods; i++) {
		r = check_method(service, &service->methods[i], err);
		if (r < 0)
			return r;
	}
	for (i = 0; i < d->n_methods; i++) {
		lx_autofree char *path = NULL;

		m = find_method(service, d->methods[i].name);
		if (!m)
			return lx_err_set(err, LX_INVALID_ARGUMENT, "%s/%s has no handler", d->name,
					  d->methods[i].name);
		path = lx_asprintf("/%s/%s", d->name, m->name);
		b = malloc(sizeof(*b));
		if (!path || !b) {
			free(b);
			return lx_err_oom(err);
		}
		*b = (struct lx_bound_method){
			.service = d, .method = m, .types = &d->methods[i], .arg = arg
		};
		r = lx_map_set(&s->methods, path, b);
		if (r < 0) {
			free(b);
			return lx_err_oom(err);
		}
	}
	return 0;
}

void lx_server_set_gate(struct lx_server *s, lx_rpc_gate gate, void *arg)
{
	s->gate = gate;
	s->gate_arg = arg;
}

void lx_server_set_witness(struct lx_server *s, const struct lx_rpc_witness *witness, void *arg)
{
	s->witness = witness;
	s->witness_arg = arg;
}

/* ------------------------------------------------------------------ calls */

int lx_server_admit(struct lx_call *call, const ProtobufCMessage *req, struct lx_err *err)
{
	struct lx_server *s = call->conn->owner_data;

	if (!s->witness || !s->witness->request)
		return 0;
	return s->witness->request(call, req, s->witness_arg, err);
}

static void on_outcome(struct lx_call *call, const struct lx_err *err)
{
	struct lx_server *s = call->conn->owner_data;

	s->witness->ended(call, err, s->witness_arg);
}

/* What HTTP answers to one who does not speak gRPC; NULL when it is gRPC. */
static const char *http_refusal(const struct lx_call *call)
{
	if (!call->is_post)
		return "405";
	if (!call->is_grpc)
		return "415";
	return NULL;
}

/* "unknown service" when nothing of that name is served, else "unknown method". */
static void refuse_unknown(struct lx_server *s, struct lx_call *call)
{
	const char *slash = strrchr(call->path, '/');
	size_t len = slash ? (size_t)(slash - call->path) + 1 : 0;
	struct lx_map_entry *e;

	for (e = lx_map_first(&s->methods); e && len; e = lx_map_next(e)) {
		if (strncmp(lx_map_key(e), call->path, len) != 0)
			continue;
		lx_call_abortf(call, LX_UNIMPLEMENTED, "there is no method %s in service %.*s", slash + 1,
			       (int)len - 2, call->path + 1);
		return;
	}
	lx_call_abortf(call, LX_UNIMPLEMENTED, "there is no service for %s", call->path);
}

static void on_request(struct lx_call *call)
{
	struct lx_conn *c = call->conn;
	struct lx_server *s = c->owner_data;
	const char *http = http_refusal(call);
	struct lx_err err = LX_ERR_INIT;
	const struct lx_bound_method *b;

	if (http) {
		lx_http2_refuse(call, http);
		lx_call_finish(call, NULL);
		return;
	}
	if (call->headers_big || !call->path) {
		lx_call_abortf(call, LX_RESOURCE_EXHAUSTED, "the headers of the call have more than %u bytes",
			       LX_RPC_MAX_METADATA);
		return;
	}
	if (call->bad_timeout) {
		lx_call_abortf(call, LX_INVALID_ARGUMENT, "%s: the grpc-timeout is not one", call->path);
		return;
	}
	if (c->draining || s->closing) {
		lx_call_abortf(call, LX_UNAVAILABLE,
			       s->closing ? "the server is shutting down" : "the connection is closing");
		return;
	}
	b = lx_map_get(&s->methods, call->path);
	if (!b) {
		refuse_unknown(s, call);
		return;
	}
	call->witnessed = s->witness && s->witness->ended;
	if (s->gate && s->gate(call, s->gate_arg, &err) < 0) {
		lx_call_abort(call, &err);
		return;
	}
	call->method = b->method;
	call->method_arg = b->arg;
	call->raw = b->method->raw;
	call->incoming = b->types->input;
	if (call->deadline_ns)
		lx_conn_add_deadline(c, call);
	if (b->method->open)
		b->method->open(call, b->arg);
}

/* ------------------------------------------------------------------ connections */

static void prove(struct lx_server *s, struct lx_conn *c)
{
	if (!c->unproven)
		return;
	c->unproven = false;
	TAILQ_REMOVE(&s->unproven, c, in_unproven);
	s->n_unproven--;
}

/* Whoever holds connections open without saying who it is must not keep others out. */
static void add_unproven(struct lx_server *s, struct lx_conn *c)
{
	struct lx_conn *oldest = TAILQ_FIRST(&s->unproven);
	struct lx_err err = LX_ERR_INIT;

	if (s->n_unproven >= LX_RPC_MAX_UNPROVEN && oldest) {
		lx_err_set(&err, LX_RESOURCE_EXHAUSTED,
			   "more than %u connections show no certificate: the oldest is closed",
			   LX_RPC_MAX_UNPROVEN);
		prove(s, oldest);
		lx_conn_fail(oldest, &err);
	}
	c->unproven = true;
	TAILQ_INSERT_TAIL(&s->unproven, c, in_unproven);
	s->n_unproven++;
}

static void on_ready(struct lx_conn *c)
{
	struct lx_server *s = c->owner_data;

	if (c->peer.kind == LX_PEER_TLS && !c->peer.fingerprint)
		lx_conn_give_up_in(c, LX_RPC_UNPROVEN_MS);
	else
		prove(s, c);
	if (s->closing)
		lx_http2_goaway(c);
}

static void on_goaway(struct lx_conn *c)
{
}

static void on_ended(struct lx_conn *c, const struct lx_err *err)
{
	lx_debug("connection ended", "peer=%s reason=\"%s\"", c->name, err->msg);
}

static void on_freed(struct lx_conn *c)
{
	struct lx_server *s = c->owner_data;

	prove(s, c);
	TAILQ_REMOVE(&s->conns, c, in_owner);
	s->n_conns--;
	lx_server_unref(s);
}

static const struct lx_conn_owner server_owner = {
	.ready = on_ready,
	.request = on_request,
	.outcome = on_outcome,
	.goaway = on_goaway,
	.ended = on_ended,
	.freed = on_freed,
};

int lx_server_new_conn(struct lx_server *s, const struct lx_tls *tls, struct lx_conn **ret,
		       struct lx_err *err)
{
	const struct lx_transport *transport = tls ? &lx_transport_tls : &lx_transport_plain;
	int r = lx_conn_create(s->loop, &server_owner, s, transport, tls, NULL, ret, err);

	if (r < 0)
		return r;
	TAILQ_INSERT_TAIL(&s->conns, *ret, in_owner);
	s->n_conns++;
	s->parts++;
	if (tls)
		add_unproven(s, *ret);
	return 0;
}

/* Its calls are told why, and it ends. */
static void close_conn(struct lx_conn *c, const struct lx_err *err)
{
	struct lx_call *call;

	if (c->state != LX_CONN_OPEN) {
		lx_conn_fail(c, err);
		return;
	}
	lx_http2_goaway(c);
	TAILQ_FOREACH (call, &c->calls, in_conn)
		if (!call->ending)
			lx_call_abort(call, err);
	lx_conn_drain(c);
	lx_conn_give_up_in(c, LX_CONN_LINGER_MS);
}

void lx_server_drop_peer(struct lx_server *s, const char *fingerprint)
{
	struct lx_err err = LX_ERR_INIT;
	struct lx_conn *c;

	lx_err_set(&err, LX_UNAUTHENTICATED, "the certificate was revoked");
	TAILQ_FOREACH (c, &s->conns, in_owner)
		if (c->peer.fingerprint && strcasecmp(c->peer.fingerprint, fingerprint) == 0)
			close_conn(c, &err);
}

static void recheck_call(struct lx_server *s, struct lx_call *call)
{
	struct lx_err err = LX_ERR_INIT;

	/* What has been answered stays answered; what the gate has not seen yet, it will see. */
	if (call->method && !call->finished && !call->ending && s->gate(call, s->gate_arg, &err) < 0)
		lx_call_abort(call, &err);
}

void lx_server_recheck(struct lx_server *s)
{
	struct lx_conn *c;
	struct lx_call *call;

	if (!s->gate)
		return;
	TAILQ_FOREACH (c, &s->conns, in_owner)
		TAILQ_FOREACH (call, &c->calls, in_conn)
			recheck_call(s, call);
}

/* ------------------------------------------------------------------ life */

int lx_server_create(uv_loop_t *loop, struct lx_server **ret, struct lx_err *err)
{
	struct lx_server *s = calloc(1, sizeof(*s));

	if (!s)
		return lx_err_oom(err);
	s->loop = loop;
	lx_map_init(&s->methods, free);
	TAILQ_INIT(&s->listeners);
	TAILQ_INIT(&s->conns);
	TAILQ_INIT(&s->unproven);
	uv_idle_init(loop, &s->turn);
	s->turn.data = s;
	s->parts = 1;
	*ret = s;
	return 0;
}

void lx_server_unref(struct lx_server *s)
{
	if (--s->parts)
		return;
	lx_map_release(&s->methods);
	lx_server_free_listeners(s);
	lx_reflection_free(s->reflection);
	if (s->done)
		s->done(s->done_arg);
	free(s);
}

static void on_turn_closed(uv_handle_t *handle)
{
	lx_server_unref(handle->data);
}

void lx_server_close(struct lx_server *s, void (*done)(void *arg), void *arg)
{
	struct lx_err err = LX_ERR_INIT;
	struct lx_conn *c;

	if (!s)
		return;
	lx_err_set(&err, LX_UNAVAILABLE, "the server is shutting down");
	s->closing = true;
	s->done = done;
	s->done_arg = arg;
	lx_server_stop_listening(s);
	TAILQ_FOREACH (c, &s->conns, in_owner)
		close_conn(c, &err);
	uv_close((uv_handle_t *)&s->turn, on_turn_closed);
}
