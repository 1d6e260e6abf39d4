/* How calls end: errors, deadlines, cancellation, peers that vanish. Each exactly once. */
#include <errno.h>

#include "lib/clock.h"
#include "tests/unit/rpc_fixture.h"

static void test_error_with_hint(void **state)
{
	struct rig *r = *state;
	EchoRequest req = ECHO_REQUEST;
	struct seen s = { 0 };

	req.fail_code = LX_FAILED_PRECONDITION;
	req.fail_message = (char *)"web1 is busy: 100% \xc3\xbc";
	req.fail_hint = (char *)"Wait for it, or stop it first.";
	rig_unary(r, &req, NULL, &s);
	rig_until(r, &s.closed);
	assert_int_equal(s.closed, 1);
	assert_int_equal(s.err.code, LX_FAILED_PRECONDITION);
	assert_string_equal(s.err.msg, "web1 is busy: 100% \xc3\xbc");
	assert_string_equal(s.err.hint, "Wait for it, or stop it first.");
	assert_int_equal(s.messages, 0);
	rig_until_gone(r);
	assert_int_equal(r->stats.last.code, LX_OK);
}

static void test_error_in_stream(void **state)
{
	struct rig *r = *state;
	EchoRequest req = ECHO_REQUEST;
	struct seen s = { 0 };

	req.text = (char *)"one";
	rig_stream(r, "Bidi", NULL, &s);
	rig_send(&s, &req);
	req.fail_code = LX_ABORTED;
	rig_send(&s, &req);
	rig_until(r, &s.closed);
	assert_int_equal(s.messages, 1);
	assert_int_equal(s.err.code, LX_ABORTED);
	rig_until_gone(r);
}

static void test_deadline(void **state)
{
	struct rig *r = *state;
	struct lx_call_options opt = { .timeout_ms = 100 };
	EchoRequest req = ECHO_REQUEST;
	struct seen s = { 0 };
	uint64_t start = lx_now_monotonic_ns(), took;

	req.delay_ms = 5000;
	rig_unary(r, &req, &opt, &s);
	rig_until(r, &s.closed);
	took = (lx_now_monotonic_ns() - start) / LX_NSEC_PER_MSEC;
	assert_int_equal(s.err.code, LX_DEADLINE_EXCEEDED);
	assert_true(took >= 99 && took < 3000);
	rig_until_gone(r);
	assert_int_equal(r->stats.cancelled, 1);
}

static void test_deadline_not_reached(void **state)
{
	struct rig *r = *state;
	struct lx_call_options opt = { .timeout_ms = 10000 };
	EchoRequest req = ECHO_REQUEST;
	struct seen s = { 0 };

	req.delay_ms = 30;
	rig_unary(r, &req, &opt, &s);
	rig_until(r, &s.closed);
	assert_int_equal(s.err.code, LX_OK);
}

static void test_client_cancels(void **state)
{
	struct rig *r = *state;
	EchoRequest req = ECHO_REQUEST;
	struct seen s = { 0 };

	req.count = 1000000;
	req.delay_ms = 1;
	rig_stream(r, "ServerStream", NULL, &s);
	rig_send(&s, &req);
	lx_call_half_close(s.call);
	rig_until(r, &s.messages);
	lx_call_cancel(s.call);
	assert_int_equal(s.closed, 0);
	rig_until(r, &s.closed);
	assert_int_equal(s.err.code, LX_CANCELLED);
	rig_until_gone(r);
	assert_int_equal(r->stats.cancelled, 1);
	assert_int_equal(s.closed, 1);
}

static void test_cancel_before_connected(void **state)
{
	struct rig *r = *state;
	EchoRequest req = ECHO_REQUEST;
	struct seen s = { 0 }, t = { 0 };

	rig_unary(r, &req, NULL, &s);
	rig_unary(r, &req, NULL, &t);
	lx_call_cancel(s.call);
	rig_until(r, &t.closed);
	assert_int_equal(s.closed, 1);
	assert_int_equal(s.err.code, LX_CANCELLED);
	assert_int_equal(t.err.code, LX_OK);
}

/* The client goes away in the middle. */
static void test_client_vanishes(void **state)
{
	struct rig *r = *state;
	struct seen s = { 0 }, u = { 0 };
	EchoRequest req = ECHO_REQUEST;

	rig_stream(r, "Bidi", NULL, &s);
	rig_send(&s, &req);
	rig_until(r, &s.messages);
	req.delay_ms = 10000;
	rig_unary(r, &req, NULL, &u);
	rig_run_ms(r, 20);
	assert_int_equal(r->stats.open, 2);
	lx_channel_close(r->ch);
	r->ch = NULL;
	assert_int_equal(s.closed + u.closed, 0);
	rig_until(r, &u.closed);
	assert_int_equal(s.closed, 1);
	assert_int_equal(s.err.code, LX_CANCELLED);
	rig_until_gone(r);
	assert_int_equal(r->stats.cancelled, 2);
}

/* The server goes away in the middle; the next call finds the next one. */
static void test_server_restarts(void **state)
{
	struct rig *r = *state;
	EchoRequest req = ECHO_REQUEST;
	struct seen s = { 0 }, t = { 0 }, u = { 0 };

	rig_stream(r, "Bidi", NULL, &s);
	rig_send(&s, &req);
	rig_until(r, &s.messages);
	rig_stop_server(r);
	rig_until(r, &s.closed);
	assert_int_equal(s.err.code, LX_UNAVAILABLE);
	assert_int_equal(r->stats.last.code, LX_UNAVAILABLE);
	if (r->kind == RIG_TLS)
		return; /* the next one has another port */

	rig_unary(r, &req, NULL, &t);
	rig_until(r, &t.closed);
	assert_int_equal(t.err.code, LX_UNAVAILABLE);
	assert_non_null(strstr(t.err.msg, "cannot connect"));

	rig_start_server(r);
	rig_unary(r, &req, NULL, &u);
	rig_until(r, &u.closed);
	assert_int_equal(u.err.code, LX_OK);
	if (r->kind == RIG_UNIX)
		assert_string_equal(r->states, "CRFCFCR");
}

static void test_unknown_method(void **state)
{
	struct rig *r = *state;
	struct seen s = { 0 }, t = { 0 };
	struct lx_err err;

	assert_int_equal(lx_channel_stream_raw(r->ch, "/lxmgr.test.v1.Echo/Nothing", NULL, &seen_events, &s,
					       NULL, &err),
			 0);
	rig_until(r, &s.closed);
	assert_int_equal(s.err.code, LX_UNIMPLEMENTED);
	assert_string_equal(s.err.msg, "there is no method Nothing in service lxmgr.test.v1.Echo");
	assert_int_equal(lx_channel_stream_raw(r->ch, "/no.Such/Thing", NULL, &seen_events, &t, NULL, &err),
			 0);
	rig_until(r, &t.closed);
	assert_int_equal(t.err.code, LX_UNIMPLEMENTED);
	assert_string_equal(t.err.msg, "there is no service for /no.Such/Thing");
}

static void send_raw(struct rig *r, const char *path, const void *data, size_t len, struct seen *s)
{
	struct lx_err err;

	assert_int_equal(lx_channel_stream_raw(r->ch, path, NULL, &seen_events, s, &s->call, &err), 0);
	if (data)
		assert_true(lx_call_send_bytes(s->call, (struct lx_bytes){ data, len }) >= 0);
	lx_call_half_close(s->call);
	rig_until(r, &s->closed);
}

static void test_bad_requests(void **state)
{
	struct rig *r = *state;
	struct seen s = { 0 }, t = { 0 }, u = { 0 };
	uint8_t *many = malloc(3u << 20);
	size_t i;

	send_raw(r, "/lxmgr.test.v1.Echo/Unary", "\x0a\xff garbage", 9, &s);
	assert_int_equal(s.err.code, LX_INVALID_ARGUMENT);
	assert_non_null(strstr(s.err.msg, "lxmgr.test.v1.EchoRequest"));
	memset(&s, 0, sizeof(s));
	send_raw(r, "/lxmgr.test.v1.Echo/Unary", "\x0a\2\xff\xfe", 4, &s);
	assert_int_equal(s.err.code, LX_INVALID_ARGUMENT);
	assert_non_null(strstr(s.err.msg, "field text is not UTF-8"));
	send_raw(r, "/lxmgr.test.v1.Echo/Unary", NULL, 0, &t);
	assert_int_equal(t.err.code, LX_INVALID_ARGUMENT);
	/* Three megabytes of empty messages would become more than a hundred. */
	for (i = 0; i < 3u << 20; i += 2) {
		many[i] = 9 << 3 | 2;
		many[i + 1] = 0;
	}
	send_raw(r, "/lxmgr.test.v1.Echo/Unary", many, 3u << 20, &u);
	assert_int_equal(u.err.code, LX_RESOURCE_EXHAUSTED);
	free(many);
	rig_until_gone(r);
}

static void test_too_large(void **state)
{
	struct rig *r = *state;
	EchoRequest req = ECHO_REQUEST;
	uint8_t *big = calloc(1, LX_RPC_MAX_MESSAGE + 1);
	struct seen s = { 0 }, t = { 0 }, u = { 0 };
	struct lx_err err;

	/* A request over the limit is not even sent ... */
	req.data = (ProtobufCBinaryData){ .data = big, .len = LX_RPC_MAX_MESSAGE };
	assert_true(lx_channel_unary(r->ch, ECHO_SERVICE, "Unary", &req.base, NULL, NULL, NULL, NULL, &err) <
		    0);
	assert_int_equal(err.code, LX_RESOURCE_EXHAUSTED);
	rig_stream(r, "Bidi", NULL, &s);
	assert_int_equal(lx_call_send(s.call, &req.base), -EMSGSIZE);
	rig_until(r, &s.closed);
	assert_int_equal(s.err.code, LX_RESOURCE_EXHAUSTED);
	/* ... nor an answer; the client hears of it. */
	req = ECHO_REQUEST;
	req.size = LX_RPC_MAX_MESSAGE;
	rig_unary(r, &req, NULL, &t);
	rig_until(r, &t.closed);
	assert_int_equal(t.err.code, LX_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(t.err.msg, "4194304"));
	/* One of nearly the limit goes both ways. */
	req.size = 0;
	req.data = (ProtobufCBinaryData){ .data = big, .len = LX_RPC_MAX_MESSAGE - 100 };
	rig_unary(r, &req, NULL, &u);
	rig_until(r, &u.closed);
	assert_int_equal(u.err.code, LX_OK);
	assert_int_equal(u.bytes, LX_RPC_MAX_MESSAGE - 100);
	free(big);
	rig_until_gone(r);
}

static void test_many_at_once(void **state)
{
	struct rig *r = *state;
	EchoRequest req = ECHO_REQUEST;
	static struct seen s[3000];
	unsigned i;

	memset(s, 0, sizeof(s));
	req.size = 3000;
	for (i = 0; i < 3000; i++)
		rig_unary(r, &req, NULL, &s[i]);
	for (i = 0; i < 3000; i++) {
		if (!s[i].closed)
			rig_until(r, &s[i].closed);
		assert_int_equal(s[i].err.code, LX_OK);
		assert_int_equal(s[i].bytes, 3000);
	}
	rig_until_gone(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TESTS(test_error_with_hint),
		RIG_TESTS(test_error_in_stream),
		RIG_TESTS(test_deadline),
		RIG_TESTS(test_deadline_not_reached),
		RIG_TESTS(test_client_cancels),
		RIG_TESTS(test_cancel_before_connected),
		RIG_TESTS(test_client_vanishes),
		RIG_TESTS(test_server_restarts),
		RIG_TEST(test_unknown_method, RIG_UNIX),
		RIG_TEST(test_unknown_method, RIG_TLS),
		RIG_TESTS(test_bad_requests),
		RIG_TESTS(test_too_large),
		RIG_TESTS(test_many_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
