#include <stdio.h>
#include <unistd.h>

#include "rpc/proxy.h"
#include "tests/unit/rpc_fixture.h"

#define PATIENCE_MS 20000

/* ------------------------------------------------------------------ the loop */

static void on_tick(uv_timer_t *t)
{
	*(bool *)t->data = true;
}

static void run(struct rig *r, const unsigned *flag, unsigned ms)
{
	bool over = false;
	uv_timer_t timer;

	uv_timer_init(&r->loop, &timer);
	timer.data = &over;
	uv_update_time(&r->loop);
	uv_timer_start(&timer, on_tick, ms, 0);
	while (!over && !(flag && *flag))
		uv_run(&r->loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&r->loop, UV_RUN_NOWAIT);
}

void rig_until(struct rig *r, const unsigned *flag)
{
	run(r, flag, PATIENCE_MS);
	assert_true(*flag);
}

void rig_run_ms(struct rig *r, unsigned ms)
{
	run(r, NULL, ms);
}

/* Until the service holds no call any more. */
void rig_until_gone(struct rig *r)
{
	unsigned i;

	for (i = 0; i < 500 && r->stats.open; i++)
		rig_run_ms(r, 10);
	assert_int_equal(r->stats.open, 0);
}

/* ------------------------------------------------------------------ the proxy */

static void on_proxied(const struct lx_err *err, void *arg)
{
	struct rig *r = arg;

	r->proxied++;
}

static void proxy_open(struct lx_call *call, void *arg)
{
	struct rig *r = arg;

	lx_rpc_proxy(call, r->inner, lx_call_method(call), (struct lx_bytes){ 0 }, false, NULL, on_proxied,
		     r);
}

static const struct lx_method proxy_methods[] = {
	{ .name = "Unary", .raw = true, .open = proxy_open },
	{ .name = "ServerStream", .raw = true, .open = proxy_open },
	{ .name = "ClientStream", .raw = true, .open = proxy_open },
	{ .name = "Bidi", .raw = true, .open = proxy_open },
};

static void start_proxy(struct rig *r)
{
	struct lx_service service = { .descriptor = ECHO_SERVICE, .methods = proxy_methods, .n_methods = 4 };
	struct lx_err err;
	char path[128];

	snprintf(path, sizeof(path), "%s.proxy", r->path);
	assert_int_equal(lx_channel_create(&r->loop, r->target, NULL, &r->inner, &err), 0);
	assert_int_equal(lx_server_create(&r->loop, &r->proxy, &err), 0);
	assert_int_equal(lx_server_add(r->proxy, &service, r, &err), 0);
	assert_int_equal(lx_server_listen_unix(r->proxy, path, 0600, (gid_t)-1, &err), 0);
	snprintf(r->target, sizeof(r->target), "unix:%s", path);
}

/* ------------------------------------------------------------------ the rig */

static void on_state(struct lx_channel *ch, enum lx_channel_state state, const struct lx_err *err, void *arg)
{
	struct rig *r = arg;
	size_t n = strlen(r->states);

	if (n + 1 < sizeof(r->states))
		r->states[n] = "ICRF"[state];
	if (err)
		r->state_err = *err;
}

void rig_start_server(struct rig *r)
{
	struct lx_tls_config tls;
	struct lx_err err = LX_ERR_INIT;

	assert_int_equal(lx_server_create(&r->loop, &r->server, &err), 0);
	assert_int_equal(echo_service_add(r->server, &r->loop, &r->stats, &err), 0);
	if (r->kind != RIG_TLS) {
		if (lx_server_listen_unix(r->server, r->path, 0600, (gid_t)-1, &err) < 0)
			fail_msg("%s", err.msg);
		snprintf(r->target, sizeof(r->target), "unix:%s", r->path);
		return;
	}
	tls = (struct lx_tls_config){
		.cert_pem = r->certs->server.cert,
		.key_pem = r->certs->server.key,
		.ca_pem = r->certs->ca.cert,
	};
	if (lx_server_listen_tls(r->server, "127.0.0.1:0", &tls, &err) < 0)
		fail_msg("%s", err.msg);
	snprintf(r->target, sizeof(r->target), "127.0.0.1:%d", lx_server_port(r->server));
}

struct lx_channel *rig_channel(struct rig *r)
{
	struct lx_tls_config tls = { 0 };
	struct lx_channel_options opt = { .state = on_state, .arg = r };
	struct lx_channel *ch;
	struct lx_err err = LX_ERR_INIT;

	if (r->kind == RIG_TLS) {
		tls.cert_pem = r->certs->client.cert;
		tls.key_pem = r->certs->client.key;
		tls.ca_pem = r->certs->ca.cert;
		opt.tls = &tls;
	}
	if (lx_channel_create(&r->loop, r->target, &opt, &ch, &err) < 0)
		fail_msg("%s", err.msg);
	return ch;
}

int rig_setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	r->kind = (enum rig_kind)(uintptr_t)*state;
	uv_loop_init(&r->loop);
	snprintf(r->dir, sizeof(r->dir), "/tmp/lx-rpc-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->path, sizeof(r->path), "%s/s", r->dir);
	if (r->kind == RIG_TLS)
		r->certs = rpc_certs_make();
	rig_start_server(r);
	if (r->kind == RIG_PROXY)
		start_proxy(r);
	r->ch = rig_channel(r);
	*state = r;
	return 0;
}

static void on_gone(void *arg)
{
	(*(unsigned *)arg)++;
}

static void stop(struct rig *r, struct lx_server **s)
{
	unsigned gone = 0;

	if (!*s)
		return;
	lx_server_close(*s, on_gone, &gone);
	assert_int_equal(gone, 0);
	*s = NULL;
	rig_until(r, &gone);
	assert_int_equal(gone, 1);
}

void rig_stop_server(struct rig *r)
{
	stop(r, &r->server);
}

int rig_teardown(void **state)
{
	struct rig *r = *state;
	char path[128];

	/* First, as what follows may fail: connections do not need the names any more. */
	snprintf(path, sizeof(path), "%s.proxy", r->path);
	unlink(path);
	unlink(r->path);
	rmdir(r->dir);
	lx_channel_close(r->ch);
	lx_channel_close(r->inner);
	stop(r, &r->proxy);
	stop(r, &r->server);
	uv_run(&r->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&r->loop), 0);
	assert_int_equal(r->stats.open, 0);
	rpc_certs_free(r->certs);
	free(r);
	return 0;
}

/* ------------------------------------------------------------------ calls */

static void on_message(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const EchoReply *reply = (const EchoReply *)msg;
	struct seen *s = arg;

	assert_int_equal(s->closed, 0);
	s->messages++;
	s->bytes += reply->bytes ? reply->bytes : reply->data.len;
	s->last_index = reply->index;
	snprintf(s->text, sizeof(s->text), "%s", reply->text);
	if (s->pause_each)
		lx_call_pause(call);
}

static void on_writable(struct lx_call *call, void *arg)
{
	struct seen *s = arg;

	s->writable = true;
}

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct seen *s = arg;

	s->closed++;
	s->err = *err;
	s->call = NULL;
}

const struct lx_call_events seen_events = {
	.message = on_message,
	.writable = on_writable,
	.closed = on_closed,
};

void rig_stream(struct rig *r, const char *method, const struct lx_call_options *opt, struct seen *seen)
{
	struct lx_err err = LX_ERR_INIT;

	if (lx_channel_stream(r->ch, ECHO_SERVICE, method, opt, &seen_events, seen, &seen->call, &err) < 0)
		fail_msg("%s", err.msg);
}

void rig_send(struct seen *seen, const EchoRequest *req)
{
	assert_true(lx_call_send(seen->call, &req->base) >= 0);
}

static void on_unary(const ProtobufCMessage *resp, const struct lx_err *err, void *arg)
{
	struct seen *s = arg;

	assert_true(!resp == (err->code != LX_OK));
	if (resp)
		on_message(s->call, resp, s);
	on_closed(s->call, err, s);
}

void rig_unary(struct rig *r, const EchoRequest *req, const struct lx_call_options *opt, struct seen *seen)
{
	struct lx_err err = LX_ERR_INIT;

	if (lx_channel_unary(r->ch, ECHO_SERVICE, "Unary", &req->base, opt, on_unary, seen, &seen->call,
			     &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(seen->closed, 0);
}
