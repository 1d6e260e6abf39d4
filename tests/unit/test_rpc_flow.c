/* Back-pressure: a slow reader stops the sender, and nobody else. */
#include <stdio.h>

#include "tests/unit/rpc_fixture.h"

#define CHUNK 100000u

/* What may be on the way when nobody reads: the window and the queue of each hop, what the
 * sockets hold, and a message on top. */
static uint64_t on_the_way(const struct rig *r)
{
	uint64_t hop = LX_RPC_STREAM_WINDOW + LX_RPC_SEND_HIGH_WATER + (1u << 20);

	return (r->kind == RIG_PROXY ? 2 : 1) * hop;
}

static void test_paused_reader(void **state)
{
	struct rig *r = *state;
	EchoRequest req = ECHO_REQUEST;
	struct seen s = { .pause_each = true }, other = { 0 };
	unsigned i;

	req.count = 100;
	req.size = CHUNK;
	rig_stream(r, "ServerStream", NULL, &s);
	rig_send(&s, &req);
	lx_call_half_close(s.call);
	rig_until(r, &s.messages);
	rig_run_ms(r, 200);
	assert_int_equal(s.messages, 1);
	assert_true(r->stats.sent < on_the_way(r));

	/* The connection goes on for others. */
	req = ECHO_REQUEST;
	req.size = 2000000;
	rig_unary(r, &req, NULL, &other);
	rig_until(r, &other.closed);
	assert_int_equal(other.err.code, LX_OK);
	assert_int_equal(s.messages, 1);

	/* One message for each resume, from where it stopped. */
	for (i = 2; i <= 30; i++) {
		lx_call_resume(s.call);
		while (s.messages < i)
			uv_run(&r->loop, UV_RUN_ONCE);
		assert_int_equal(s.messages, i);
		assert_int_equal(s.last_index, i - 1);
	}
	assert_true(r->stats.sent < on_the_way(r) + 30u * CHUNK);
	s.pause_each = false;
	lx_call_resume(s.call);
	rig_until(r, &s.closed);
	assert_int_equal(s.err.code, LX_OK);
	assert_int_equal(s.messages, 100);
	assert_int_equal(s.bytes, 100u * CHUNK);
}

/* The end waits behind what is held back. */
static void test_end_behind_pause(void **state)
{
	struct rig *r = *state;
	EchoRequest req = ECHO_REQUEST;
	struct seen s = { .pause_each = true };

	req.count = 5;
	req.size = 10;
	rig_stream(r, "ServerStream", NULL, &s);
	rig_send(&s, &req);
	lx_call_half_close(s.call);
	rig_until_gone(r);
	rig_run_ms(r, 100);
	assert_int_equal(r->stats.open, 0);
	assert_int_equal(s.messages, 1);
	assert_int_equal(s.closed, 0);
	s.pause_each = false;
	lx_call_resume(s.call);
	rig_until(r, &s.closed);
	assert_int_equal(s.messages, 5);
	assert_int_equal(s.err.code, LX_OK);
}

static void test_cancel_while_paused(void **state)
{
	struct rig *r = *state;
	EchoRequest req = ECHO_REQUEST;
	struct seen s = { .pause_each = true }, other = { 0 };

	req.count = 100;
	req.size = CHUNK;
	rig_stream(r, "ServerStream", NULL, &s);
	rig_send(&s, &req);
	lx_call_half_close(s.call);
	rig_until(r, &s.messages);
	rig_run_ms(r, 50);
	lx_call_cancel(s.call);
	rig_until(r, &s.closed);
	assert_int_equal(s.messages, 1);
	rig_until_gone(r);
	assert_int_equal(r->stats.cancelled, 1);

	/* Its share of the connection's window is free again. */
	req.count = 0;
	req.size = 4000000;
	rig_unary(r, &req, NULL, &other);
	rig_until(r, &other.closed);
	assert_int_equal(other.err.code, LX_OK);
}

/* A sender hears when to stop and when to go on: more than any window through a slow reader. */
static void test_sender_waits(void **state)
{
	struct rig *r = *state;
	EchoRequest req = ECHO_REQUEST;
	struct seen s = { 0 };
	unsigned sent = 0, waits = 0;
	uint8_t *data = calloc(1, CHUNK);

	req.data = (ProtobufCBinaryData){ .data = data, .len = CHUNK };
	rig_stream(r, "ClientStream", NULL, &s);
	while (sent < 200) {
		int n = lx_call_send(s.call, &req.base);

		assert_true(n >= 0);
		sent++;
		if (n == 0)
			continue;
		waits++;
		s.writable = false;
		while (!s.writable)
			uv_run(&r->loop, UV_RUN_ONCE);
	}
	lx_call_half_close(s.call);
	rig_until(r, &s.closed);
	assert_int_equal(s.err.code, LX_OK);
	assert_int_equal(s.bytes, 200u * CHUNK);
	assert_true(waits > 5);
	free(data);
}

/* Both ways at once, the server pausing the client whenever it cannot answer. */
static void test_bidi_volume(void **state)
{
	struct rig *r = *state;
	EchoRequest req = ECHO_REQUEST;
	struct seen s = { 0 };
	uint8_t *data = calloc(1, CHUNK);
	unsigned i;

	req.data = (ProtobufCBinaryData){ .data = data, .len = CHUNK };
	rig_stream(r, "Bidi", NULL, &s);
	for (i = 0; i < 300; i++)
		rig_send(&s, &req);
	lx_call_half_close(s.call);
	rig_until(r, &s.closed);
	assert_int_equal(s.err.code, LX_OK);
	assert_int_equal(s.messages, 300);
	assert_int_equal(s.bytes, 300u * CHUNK);
	free(data);
}

static void start_paused(struct rig *r, struct seen *s, unsigned n)
{
	EchoRequest req = ECHO_REQUEST;
	unsigned i;

	req.count = 20;
	req.size = CHUNK;
	for (i = 0; i < n; i++) {
		s[i].pause_each = true;
		rig_stream(r, "ServerStream", NULL, &s[i]);
		rig_send(&s[i], &req);
		lx_call_half_close(s[i].call);
	}
	rig_run_ms(r, 300);
}

/* A few paused streams hold more than the connection's window and slow nobody; many close it at
 * last, and free it again. */
static void test_many_paused(void **state)
{
	struct rig *r = *state;
	EchoRequest req = ECHO_REQUEST;
	static struct seen s[40];
	struct seen other = { 0 };
	unsigned i;

	memset(s, 0, sizeof(s));
	start_paused(r, s, 8);
	req.size = 1000000;
	rig_unary(r, &req, NULL, &other);
	rig_until(r, &other.closed);
	assert_int_equal(other.err.code, LX_OK);

	start_paused(r, s + 8, 32);
	for (i = 0; i < 40; i++) {
		s[i].pause_each = false;
		lx_call_resume(s[i].call);
	}
	for (i = 0; i < 40; i++) {
		if (!s[i].closed)
			rig_until(r, &s[i].closed);
		assert_int_equal(s[i].err.code, LX_OK);
		assert_int_equal(s[i].bytes, 20u * CHUNK);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TESTS(test_paused_reader),       RIG_TESTS(test_end_behind_pause),
		RIG_TESTS(test_cancel_while_paused), RIG_TESTS(test_sender_waits),
		RIG_TESTS(test_bidi_volume),         RIG_TESTS(test_many_paused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
