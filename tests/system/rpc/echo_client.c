/*
 * Calls an echo service that is not ours, one call of each kind, and prints what came of it:
 *
 *   rpc_echo_client TARGET
 *
 *   unary OK text=hello bytes=0 messages=1
 *   ...
 *
 * The lines are compared by test_grpcio.py.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/rpc.h"
#include "tests/echo.pb-c.h"

typedef Lxmgr__Test__V1__EchoRequest EchoRequest;
typedef Lxmgr__Test__V1__EchoReply EchoReply;

struct seen {
	unsigned messages;
	uint64_t bytes;
	char text[64];
	bool closed;
	struct lx_err err;
};

static uv_loop_t loop;
static struct lx_channel *ch;

static void die(const struct lx_err *err)
{
	fprintf(stderr, "%s\n", err->msg);
	exit(1);
}

static void on_message(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const EchoReply *reply = (const EchoReply *)msg;
	struct seen *s = arg;

	s->messages++;
	s->bytes += reply->bytes ? reply->bytes : reply->data.len;
	snprintf(s->text, sizeof(s->text), "%s", reply->text);
}

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct seen *s = arg;

	s->closed = true;
	s->err = *err;
}

static const struct lx_call_events events = { .message = on_message, .closed = on_closed };

static void finish(const char *name, struct seen *s)
{
	while (!s->closed)
		uv_run(&loop, UV_RUN_ONCE);
	printf("%s %s text=%s bytes=%" PRIu64 " messages=%u%s%s\n", name, lx_code_name(s->err.code), s->text,
	       s->bytes, s->messages, s->err.code ? " error=" : "", s->err.msg);
}

static struct lx_call *start(const char *method, uint64_t timeout_ms, struct seen *s)
{
	static const char *const metadata[][2] = { { "x-test", "from here" } };
	struct lx_call_options opt = { .timeout_ms = timeout_ms, .metadata = metadata, .n_metadata = 1 };
	struct lx_call *call;
	struct lx_err err;

	*s = (struct seen){ 0 };
	if (lx_channel_stream(ch, &lxmgr__test__v1__echo__descriptor, method, &opt, &events, s, &call, &err) <
	    0)
		die(&err);
	return call;
}

/* Sends `n` requests and closes. */
static void call(const char *name, const char *method, const EchoRequest *req, unsigned n,
		 uint64_t timeout_ms)
{
	struct seen s;
	struct lx_call *c = start(method, timeout_ms, &s);

	while (n--)
		lx_call_send(c, &req->base);
	lx_call_half_close(c);
	finish(name, &s);
}

int main(int argc, char **argv)
{
	EchoRequest req = LXMGR__TEST__V1__ECHO_REQUEST__INIT;
	struct lx_err err;
	struct seen s;
	uint8_t *data = calloc(1, 100000);

	if (argc != 2 || !data)
		return 2;
	uv_loop_init(&loop);
	if (lx_channel_create(&loop, argv[1], NULL, &ch, &err) < 0)
		die(&err);

	req.text = (char *)"hello";
	call("unary", "Unary", &req, 1, 0);
	req.size = 3000000;
	call("large", "Unary", &req, 1, 0);
	req.size = 10000;
	req.count = 300;
	call("server-stream", "ServerStream", &req, 1, 0);
	req.data = (ProtobufCBinaryData){ .data = data, .len = 100000 };
	call("client-stream", "ClientStream", &req, 30, 0);
	req.size = 0;
	call("bidi", "Bidi", &req, 30, 0);
	req.data.len = 0;
	req.fail_code = LX_NOT_FOUND;
	req.fail_message = (char *)"no such thing: \xc3\xa4 100%";
	call("error", "Unary", &req, 1, 0);
	req.fail_code = 0;
	req.delay_ms = 3000;
	call("deadline", "Unary", &req, 1, 100);

	req.delay_ms = 0;
	lx_call_cancel(start("Bidi", 0, &s));
	finish("cancel", &s);
	if (lx_channel_stream_raw(ch, "/lxmgr.test.v1.Echo/Nothing", NULL, &events, &s, NULL, &err) < 0)
		die(&err);
	s = (struct seen){ 0 };
	finish("unknown", &s);

	lx_channel_close(ch);
	uv_run(&loop, UV_RUN_DEFAULT);
	free(data);
	return uv_loop_close(&loop) == 0 ? 0 : 1;
}
