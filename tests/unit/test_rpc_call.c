/* Every kind of call, over every kind of connection. */
#include "tests/unit/rpc_fixture.h"

static void test_unary(void **state)
{
	struct rig *r = *state;
	EchoRequest req = ECHO_REQUEST;
	struct seen s = { 0 };

	req.text = (char *)"hello";
	rig_unary(r, &req, NULL, &s);
	rig_until(r, &s.closed);
	assert_int_equal(s.err.code, LX_OK);
	assert_string_equal(s.text, "hello");
	assert_int_equal(s.messages, 1);
	assert_string_equal(r->states, "CR");
}

static void test_server_stream(void **state)
{
	struct rig *r = *state;
	EchoRequest req = ECHO_REQUEST;
	struct seen s = { 0 };

	req.count = 500;
	req.size = 10000;
	rig_stream(r, "ServerStream", NULL, &s);
	rig_send(&s, &req);
	lx_call_half_close(s.call);
	rig_until(r, &s.closed);
	assert_int_equal(s.err.code, LX_OK);
	assert_int_equal(s.messages, 500);
	assert_int_equal(s.bytes, 5000000);
	assert_int_equal(s.last_index, 499);
}

static void test_client_stream(void **state)
{
	static uint8_t data[20000];
	struct rig *r = *state;
	EchoRequest req = ECHO_REQUEST;
	struct seen s = { 0 };
	int i;

	req.data = (ProtobufCBinaryData){ .data = data, .len = sizeof(data) };
	rig_stream(r, "ClientStream", NULL, &s);
	for (i = 0; i < 300; i++)
		rig_send(&s, &req);
	lx_call_half_close(s.call);
	rig_until(r, &s.closed);
	assert_int_equal(s.err.code, LX_OK);
	assert_int_equal(s.messages, 1);
	assert_int_equal(s.bytes, 300 * sizeof(data));
}

static void test_bidi(void **state)
{
	struct rig *r = *state;
	EchoRequest req = ECHO_REQUEST;
	struct seen s = { 0 };
	unsigned i;

	rig_stream(r, "Bidi", NULL, &s);
	for (i = 1; i <= 50; i++) {
		req.text = (char *)(i % 2 ? "ping" : "pong");
		rig_send(&s, &req);
		while (s.messages < i)
			uv_run(&r->loop, UV_RUN_ONCE);
		assert_string_equal(s.text, req.text);
	}
	lx_call_half_close(s.call);
	rig_until(r, &s.closed);
	assert_int_equal(s.err.code, LX_OK);
	assert_int_equal(s.messages, 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TESTS(test_unary),
		RIG_TESTS(test_server_stream),
		RIG_TESTS(test_client_stream),
		RIG_TESTS(test_bidi),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
