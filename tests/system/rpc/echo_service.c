/*
 * The echo service. Every call has a struct echo until it is closed; delays are timers of
 * their own, so that cancelled calls are seen to end the work that belongs to them.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/echo.pb-c.h"
#include "tests/system/rpc/echo_service.h"

struct echo_env {
	uv_loop_t *loop;
	struct echo_stats *stats;
};

struct echo {
	uv_timer_t timer;
	struct lx_call *call; /* NULL once closed */
	struct echo_env *env;
	uint32_t index, count, delay_ms;
	uint64_t messages, bytes;
	uint8_t *data;
	size_t len;
	char *text;
	bool full;
};

static void on_timer_closed(uv_handle_t *h)
{
	struct echo *e = h->data;

	free(e->data);
	free(e->text);
	free(e);
}

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct echo *e = arg;

	e->call = NULL;
	e->env->stats->open--;
	e->env->stats->last = *err;
	if (err->code != LX_OK)
		e->env->stats->cancelled++;
	uv_close((uv_handle_t *)&e->timer, on_timer_closed);
}

static struct echo *echo_new(struct lx_call *call, struct echo_env *env)
{
	struct echo *e = calloc(1, sizeof(*e));

	if (!e) {
		lx_call_cancel(call);
		return NULL;
	}
	e->call = call;
	e->env = env;
	uv_timer_init(env->loop, &e->timer);
	e->timer.data = e;
	env->stats->open++;
	return e;
}

static bool fill(struct echo *e, const Lxmgr__Test__V1__EchoRequest *req)
{
	e->len = req->size ? req->size : req->data.len;
	e->data = malloc(e->len + 1);
	if (e->data && req->size)
		memset(e->data, 'x', e->len);
	else if (e->data && e->len)
		memcpy(e->data, req->data.data, e->len);
	e->text = strdup(req->text);
	e->count = req->count;
	e->delay_ms = req->delay_ms;
	if (e->data && e->text)
		return true;
	lx_call_cancel(e->call);
	return false;
}

static int send_one(struct echo *e, struct lx_call *call, const char *text, const uint8_t *data, size_t len,
		    uint32_t index)
{
	Lxmgr__Test__V1__EchoReply reply = LXMGR__TEST__V1__ECHO_REPLY__INIT;

	reply.text = (char *)(uintptr_t)text;
	reply.data.data = (uint8_t *)(uintptr_t)data;
	reply.data.len = len;
	reply.index = index;
	e->env->stats->sent += len;
	return lx_call_send(call, &reply.base);
}

static bool fails(struct lx_call *call, const Lxmgr__Test__V1__EchoRequest *req)
{
	struct lx_err err = LX_ERR_INIT;

	if (!req->fail_code)
		return false;
	lx_err_set(&err, (enum lx_code)req->fail_code, "%s", req->fail_message);
	if (req->fail_hint[0])
		lx_err_hint(&err, "%s", req->fail_hint);
	lx_call_fail(call, &err);
	return true;
}

/* ------------------------------------------------------------------ unary */

static void reply_now(struct echo *e)
{
	Lxmgr__Test__V1__EchoReply reply = LXMGR__TEST__V1__ECHO_REPLY__INIT;

	reply.text = e->text;
	reply.data.data = e->data;
	reply.data.len = e->len;
	lx_call_set_trailer(e->call, "echo-trailer", "yes");
	lx_call_reply(e->call, &reply.base);
}

static void on_reply_timer(uv_timer_t *t)
{
	reply_now(t->data);
}

static void unary(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	static const struct lx_call_events events = { .closed = on_closed };
	const Lxmgr__Test__V1__EchoRequest *req = (const Lxmgr__Test__V1__EchoRequest *)msg;
	struct echo *e = echo_new(call, arg);

	if (!e)
		return;
	lx_call_set_events(call, &events, e);
	if (fails(call, req) || !fill(e, req))
		return;
	if (e->delay_ms)
		uv_timer_start(&e->timer, on_reply_timer, e->delay_ms, 0);
	else
		reply_now(e);
}

/* ------------------------------------------------------------------ server stream */

static void stream_on(struct echo *e)
{
	while (e->call && e->index < e->count && !e->full) {
		int r = send_one(e, e->call, e->text, e->data, e->len, e->index++);

		if (r < 0)
			return;
		e->full = r == 1;
		if (e->delay_ms)
			return;
	}
	if (e->call && !e->full && e->index == e->count) {
		uv_timer_stop(&e->timer);
		lx_call_fail(e->call, NULL);
	}
}

static void on_stream_timer(uv_timer_t *t)
{
	stream_on(t->data);
}

static void on_stream_writable(struct lx_call *call, void *arg)
{
	struct echo *e = arg;

	e->full = false;
	stream_on(e);
}

static void server_stream(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	static const struct lx_call_events events = { .writable = on_stream_writable, .closed = on_closed };
	const Lxmgr__Test__V1__EchoRequest *req = (const Lxmgr__Test__V1__EchoRequest *)msg;
	struct echo *e = echo_new(call, arg);

	if (!e)
		return;
	lx_call_set_events(call, &events, e);
	if (fails(call, req) || !fill(e, req))
		return;
	if (e->delay_ms)
		uv_timer_start(&e->timer, on_stream_timer, e->delay_ms, e->delay_ms);
	else
		stream_on(e);
}

/* ------------------------------------------------------------------ client stream */

static void on_client_message(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__Test__V1__EchoRequest *req = (const Lxmgr__Test__V1__EchoRequest *)msg;
	struct echo *e = arg;

	e->messages++;
	e->bytes += req->data.len;
	fails(call, req);
}

static void on_client_half_closed(struct lx_call *call, void *arg)
{
	Lxmgr__Test__V1__EchoReply reply = LXMGR__TEST__V1__ECHO_REPLY__INIT;
	struct echo *e = arg;

	reply.messages = e->messages;
	reply.bytes = e->bytes;
	lx_call_reply(call, &reply.base);
}

static void client_stream(struct lx_call *call, void *arg)
{
	static const struct lx_call_events events = {
		.message = on_client_message,
		.half_closed = on_client_half_closed,
		.closed = on_closed,
	};
	struct echo *e = echo_new(call, arg);

	if (e)
		lx_call_set_events(call, &events, e);
}

/* ------------------------------------------------------------------ bidi */

static void on_bidi_message(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__Test__V1__EchoRequest *req = (const Lxmgr__Test__V1__EchoRequest *)msg;
	struct echo *e = arg;

	if (fails(call, req))
		return;
	if (send_one(e, call, req->text, req->data.data, req->data.len, e->index++) == 1)
		lx_call_pause(call);
}

static void on_bidi_half_closed(struct lx_call *call, void *arg)
{
	lx_call_fail(call, NULL);
}

static void on_bidi_writable(struct lx_call *call, void *arg)
{
	lx_call_resume(call);
}

static void bidi(struct lx_call *call, void *arg)
{
	static const struct lx_call_events events = {
		.message = on_bidi_message,
		.half_closed = on_bidi_half_closed,
		.writable = on_bidi_writable,
		.closed = on_closed,
	};
	struct echo *e = echo_new(call, arg);

	if (e)
		lx_call_set_events(call, &events, e);
}

static const struct lx_method methods[] = {
	{ .name = "Unary", .unary = unary },
	{ .name = "ServerStream", .server_stream = true, .unary = server_stream },
	{ .name = "ClientStream", .client_stream = true, .open = client_stream },
	{ .name = "Bidi", .client_stream = true, .server_stream = true, .open = bidi },
};

int echo_service_add(struct lx_server *s, uv_loop_t *loop, struct echo_stats *stats, struct lx_err *err)
{
	static struct echo_env env;
	struct lx_service service = {
		.descriptor = &lxmgr__test__v1__echo__descriptor,
		.methods = methods,
		.n_methods = 4,
	};

	env = (struct echo_env){ .loop = loop, .stats = stats };
	return lx_server_add(s, &service, &env, err);
}
