/*
 * Memory runs out at every place where rpc/ and lib/ ask for it, one after the other: nothing
 * crashes, leaks or hangs, and a call that was begun is closed once.
 *
 * Linked with --wrap for the allocator; only calls from our own objects are seen here.
 */
#include <stdio.h>
#include <unistd.h>

#include "rpc/proxy.h"
#include "tests/unit/rpc_fixture.h"

#define PATIENCE_TURNS 20000

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t n);

/* Allocations until one fails; negative: none fails. */
static long countdown = -1;

static bool fails(void)
{
	if (countdown < 0)
		return false;
	return countdown-- == 0;
}

void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return fails() ? NULL : __real_realloc(p, n);
}

char *__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}

char *__wrap_strndup(const char *s, size_t n)
{
	return fails() ? NULL : __real_strndup(s, n);
}

static struct lx_tls_config tls_of(const struct rpc_certs *certs, const struct rpc_identity *id)
{
	return (struct lx_tls_config){ .cert_pem = id->cert, .key_pem = id->key, .ca_pem = certs->ca.cert };
}

static void on_unary(const ProtobufCMessage *resp, const struct lx_err *err, void *arg)
{
	struct seen *s = arg;

	s->closed++;
}

static struct lx_channel *inner;

static void proxy_open(struct lx_call *call, void *arg)
{
	lx_rpc_proxy(call, inner, lx_call_method(call), (struct lx_bytes){ 0 }, false, NULL, NULL, NULL);
}

static int add_proxy(struct lx_server *s, struct lx_err *err)
{
	static const struct lx_method methods[] = {
		{ .name = "Unary", .raw = true, .open = proxy_open },
		{ .name = "ServerStream", .raw = true, .open = proxy_open },
		{ .name = "ClientStream", .raw = true, .open = proxy_open },
		{ .name = "Bidi", .raw = true, .open = proxy_open },
	};
	struct lx_service service = { .descriptor = ECHO_SERVICE, .methods = methods, .n_methods = 4 };

	return lx_server_add(s, &service, NULL, err);
}

/* One unary call and one stream to `ch`; waits for their ends. */
static void call_twice(uv_loop_t *loop, struct lx_channel *ch)
{
	static const char *const metadata[][2] = { { "x-a", "b" } };
	struct lx_call_options opt = { .timeout_ms = 60000, .metadata = metadata, .n_metadata = 1 };
	EchoRequest req = ECHO_REQUEST;
	struct seen one = { 0 }, two = { 0 };
	struct lx_err err = LX_ERR_INIT;
	bool started[2];
	int i;

	req.text = (char *)"hello";
	req.size = 100000;
	req.count = 3;
	started[0] =
		lx_channel_unary(ch, ECHO_SERVICE, "Unary", &req.base, &opt, on_unary, &one, NULL, &err) == 0;
	assert_true(started[0] || err.code != LX_OK);
	started[1] = lx_channel_stream(ch, ECHO_SERVICE, "ServerStream", &opt, &seen_events, &two, &two.call,
				       &err) == 0;
	if (started[1]) {
		lx_call_send(two.call, &req.base);
		lx_call_half_close(two.call);
	}
	for (i = 0; i < PATIENCE_TURNS && one.closed + two.closed < (unsigned)started[0] + started[1]; i++)
		uv_run(loop, UV_RUN_ONCE);
	assert_int_equal(one.closed, started[0]);
	assert_int_equal(two.closed, started[1]);
}

struct places {
	char dir[64], path[96], target[128];
};

/* Server, proxy or TLS, channel, calls: until the first thing that fails. */
static void scenario(const struct places *at, const struct rpc_certs *certs, bool proxied, long fail_at)
{
	struct lx_tls_config server_tls = tls_of(certs, &certs->server),
			     client_tls = tls_of(certs, &certs->client);
	struct lx_channel_options opt = { .tls = proxied ? NULL : &client_tls };
	struct lx_server *server = NULL, *proxy = NULL;
	struct lx_channel *ch = NULL;
	struct echo_stats stats = { 0 };
	struct lx_err err;
	char path[128], target[160];
	uv_loop_t loop;
	int r;

	uv_loop_init(&loop);
	inner = NULL;
	countdown = fail_at;
	r = lx_server_create(&loop, &server, &err);
	if (r == 0)
		r = echo_service_add(server, &loop, &stats, &err);
	if (r == 0 && proxied) {
		snprintf(path, sizeof(path), "%s.proxy", at->path);
		snprintf(target, sizeof(target), "unix:%s", path);
		r = lx_server_listen_unix(server, at->path, 0600, (gid_t)-1, &err);
		if (r == 0)
			r = lx_channel_create(&loop, at->target, NULL, &inner, &err);
		if (r == 0)
			r = lx_server_create(&loop, &proxy, &err);
		if (r == 0)
			r = add_proxy(proxy, &err);
		if (r == 0)
			r = lx_server_listen_unix(proxy, path, 0600, (gid_t)-1, &err);
	} else if (r == 0) {
		r = lx_server_listen_tls(server, "127.0.0.1:0", &server_tls, &err);
		snprintf(target, sizeof(target), "127.0.0.1:%d", lx_server_port(server));
	}
	if (r == 0)
		r = lx_channel_create(&loop, target, &opt, &ch, &err);
	if (r == 0)
		call_twice(&loop, ch);
	lx_channel_close(ch);
	lx_channel_close(inner);
	lx_server_close(proxy, NULL, NULL);
	lx_server_close(server, NULL, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	assert_int_equal(stats.open, 0);
}

/* From the first allocation to the last. */
static void everywhere(bool proxied)
{
	struct places at;
	struct rpc_certs *certs;
	long n = 0;

	countdown = -1;
	certs = rpc_certs_make();
	snprintf(at.dir, sizeof(at.dir), "/tmp/lx-rpc-XXXXXX");
	assert_non_null(mkdtemp(at.dir));
	snprintf(at.path, sizeof(at.path), "%s/s", at.dir);
	snprintf(at.target, sizeof(at.target), "unix:%s", at.path);
	do {
		scenario(&at, certs, proxied, n++);
	} while (countdown < 0);
	countdown = -1;
	/* It has seen more than a handful. */
	assert_true(n > 50);
	rpc_certs_free(certs);
	assert_int_equal(rmdir(at.dir), 0);
}

static void test_tls(void **state)
{
	everywhere(false);
}

static void test_proxy(void **state)
{
	everywhere(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_proxy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
