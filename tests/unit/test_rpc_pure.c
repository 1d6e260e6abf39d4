/* The parts of rpc/ without I/O: framing, codings, addresses, descriptors, decoding. */
#include <errno.h>
#include <stdio.h>

#include "lib/clock.h"
#include "proto/descriptors.h"
#include "rpc/address.h"
#include "rpc/descriptor.h"
#include "rpc/framing.h"
#include "rpc/metadata.h"
#include "rpc/text.h"
#include "rpc/unpack.h"
#include "tests/unit/rpc_fixture.h"

/* ------------------------------------------------------------------ framing */

static void test_framing_pieces(void **state)
{
	static const uint8_t wire[] = { 0, 0, 0, 0, 3, 'a', 'b', 'c', 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 'd' };
	size_t step, at, n;

	for (step = 1; step <= sizeof(wire); step++) {
		struct lx_framer f = { 0 };
		char got[16] = "";
		unsigned messages = 0;

		for (at = 0; at < sizeof(wire); at += step) {
			const uint8_t *p = wire + at;
			struct lx_bytes msg;

			n = sizeof(wire) - at < step ? sizeof(wire) - at : step;
			while (n) {
				if (lx_framer_feed(&f, &p, &n, &msg, NULL) != 1)
					continue;
				snprintf(got + strlen(got), sizeof(got) - strlen(got), "%.*s.", (int)msg.len,
					 (const char *)msg.data);
				messages++;
			}
		}
		assert_int_equal(messages, 3);
		assert_string_equal(got, "abc..d.");
		assert_false(lx_framer_partial(&f));
		lx_framer_release(&f);
	}
}

static int feed_head(const char *head, struct lx_err *err)
{
	struct lx_framer f = { 0 };
	const uint8_t *p = (const uint8_t *)head;
	size_t n = LX_FRAME_HEAD;
	struct lx_bytes msg;
	int r = lx_framer_feed(&f, &p, &n, &msg, err);

	lx_framer_release(&f);
	return r;
}

static void test_framing_refuses(void **state)
{
	struct lx_err err;

	assert_int_equal(feed_head("\1\0\0\0\1", &err), -EOPNOTSUPP);
	assert_int_equal(err.code, LX_UNIMPLEMENTED);
	assert_int_equal(feed_head("\2\0\0\0\1", &err), -EPROTO);
	assert_int_equal(feed_head("\0\0\x40\0\1", &err), -EMSGSIZE);
	assert_int_equal(err.code, LX_RESOURCE_EXHAUSTED);
	assert_string_equal(err.msg, "the message has 4194305 bytes, the limit is 4194304");
	assert_int_equal(feed_head("\0\0\x40\0\0", &err), 0);
}

/* ------------------------------------------------------------------ metadata */

static void test_timeouts(void **state)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} good[] = {
		{ "1n", 1 },
		{ "20u", 20000 },
		{ "1500m", 1500 * LX_NSEC_PER_MSEC },
		{ "3S", 3 * LX_NSEC_PER_SEC },
		{ "2M", 120 * LX_NSEC_PER_SEC },
		{ "1H", 3600 * LX_NSEC_PER_SEC },
		{ "99999999H", UINT64_MAX },
		{ "0m", 0 },
	};
	static const char *const bad[] = { "", "m", "1", "1x", "123456789m", "-1m", "1 m", "m1" };
	char text[LX_TIMEOUT_TEXT];
	uint64_t ns;
	size_t i;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(lx_timeout_parse(good[i].text, strlen(good[i].text), &ns), 0);
		assert_int_equal(ns, good[i].ns);
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(lx_timeout_parse(bad[i], strlen(bad[i]), &ns), -EINVAL);
	lx_timeout_format(1500 * LX_NSEC_PER_MSEC, text);
	assert_string_equal(text, "1500000u");
	lx_timeout_format(99999999 * LX_NSEC_PER_SEC + 1, text);
	assert_string_equal(text, "1666667M");
	lx_timeout_format(UINT64_MAX, text);
	assert_string_equal(text, "5124096H");
}

static void test_percent(void **state)
{
	lx_autobuf struct lx_buf out = { 0 };
	char text[16];

	assert_int_equal(lx_percent_encode(" a%\xc3\xa4\n ", &out), 0);
	assert_string_equal(lx_buf_str(&out), "%20a%25%C3%A4%0A%20");
	lx_percent_decode("a%25%c3%A4%0a%", 14, text, sizeof(text));
	assert_string_equal(text, "a%\xc3\xa4 %");
	lx_percent_decode("%zz%4", 5, text, sizeof(text));
	assert_string_equal(text, "%zz%4");
	/* Cut between characters, not in one. */
	lx_percent_decode("abc%C3%A4def", 12, text, 5);
	assert_string_equal(text, "abc");
	lx_percent_decode("abc%C3%A4def", 12, text, 6);
	assert_string_equal(text, "abc\xc3\xa4");
}

static void test_metadata(void **state)
{
	struct lx_metadata md = { 0 };

	assert_int_equal(lx_rpc_metadata_check("x-request-id", "abc 1", NULL), 0);
	assert_true(lx_rpc_metadata_check("X-Upper", "a", NULL) < 0);
	assert_true(lx_rpc_metadata_check("", "a", NULL) < 0);
	assert_true(lx_rpc_metadata_check("te", "a", NULL) < 0);
	assert_true(lx_rpc_metadata_check("grpc-status", "0", NULL) < 0);
	assert_true(lx_rpc_metadata_check(":path", "/", NULL) < 0);
	assert_true(lx_rpc_metadata_check("x", "a\r\nb: c", NULL) < 0);
	assert_true(lx_rpc_metadata_check("x", " a", NULL) < 0);
	assert_int_equal(lx_rpc_metadata_add(&md, "a", 1, "1", 1), 0);
	assert_int_equal(lx_rpc_metadata_add(&md, "b", 1, "2", 1), 0);
	assert_int_equal(lx_rpc_metadata_add(&md, "a", 1, "3", 1), 0);
	assert_string_equal(lx_rpc_metadata_get(&md, "a"), "1");
	assert_string_equal(lx_rpc_metadata_get(&md, "b"), "2");
	assert_null(lx_rpc_metadata_get(&md, "c"));
	lx_rpc_metadata_release(&md);
}

static void test_addresses(void **state)
{
	static const char *const bad[] = { "",           "host",   ":1",      "host:", "host:x",
					   "host:65536", "::1:80", "[::1:80", "[]:1",  "host:-1" };
	struct lx_address a;
	size_t i;

	assert_int_equal(lx_address_parse("node1.example:8440", &a, NULL), 0);
	assert_string_equal(a.host, "node1.example");
	assert_int_equal(a.port, 8440);
	assert_string_equal(a.service, "8440");
	assert_int_equal(lx_address_parse("[2001:db8::7]:0", &a, NULL), 0);
	assert_string_equal(a.host, "2001:db8::7");
	assert_int_equal(a.port, 0);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_true(lx_address_parse(bad[i], &a, NULL) < 0);
}

/* ------------------------------------------------------------------ descriptors */

static void test_descriptors(void **state)
{
	struct lx_descriptor_set set;
	size_t len, files[LX_DESCRIPTOR_MAX_FILES];
	const uint8_t *data = lx_proto_descriptors(&len);
	ssize_t at;

	assert_int_equal(lx_descriptor_set_parse(&set, (struct lx_bytes){ data, len }, NULL), 0);
	at = lx_descriptor_by_name(&set, "grpc/reflection/v1alpha/reflection.proto");
	assert_true(at >= 0);
	assert_int_equal(lx_descriptor_by_symbol(&set, "grpc.reflection.v1alpha.ServerReflection"), at);
	assert_int_equal(lx_descriptor_by_symbol(
				 &set, "grpc.reflection.v1alpha.ServerReflection.ServerReflectionInfo"),
			 at);
	assert_int_equal(lx_descriptor_by_symbol(&set, "grpc.reflection.v1alpha.ErrorResponse.error_code"),
			 at);
	assert_int_equal(lx_descriptor_by_symbol(&set, "grpc.reflection.v1alpha.ErrorResponse.nothing"), -1);
	assert_int_equal(lx_descriptor_by_symbol(&set, "grpc.reflection.v1alpha"), -1);
	assert_int_equal(lx_descriptor_by_symbol(&set, ""), -1);
	assert_int_equal(lx_descriptor_by_name(&set, "no.proto"), -1);
	assert_int_equal(lx_descriptor_closure(&set, (size_t)at, files), 1);
	/* A file that imports others brings them along. */
	at = lx_descriptor_by_name(&set, "lxmgr/v1/agent.proto");
	assert_true(at >= 0);
	assert_true(lx_descriptor_closure(&set, (size_t)at, files) > 1);
	assert_int_equal(files[0], at);
	lx_descriptor_set_release(&set);
	assert_true(lx_descriptor_set_parse(&set, (struct lx_bytes){ data, len - 1 }, NULL) < 0);
	assert_true(lx_descriptor_set_parse(&set, (struct lx_bytes){ data, 0 }, NULL) < 0);
}

/* ------------------------------------------------------------------ decoding */

static void test_unpack(void **state)
{
	const ProtobufCMessageDescriptor *type = &lxmgr__test__v1__echo_request__descriptor;
	struct lx_unpacked u = { 0 };
	struct lx_err err;
	uint8_t *many;
	size_t i;

	assert_int_equal(lx_rpc_unpack(&u, type, (struct lx_bytes){ (const uint8_t *)"\x0a\3abc", 5 }, &err),
			 0);
	assert_string_equal(((EchoRequest *)u.msg)->text, "abc");
	lx_unpacked_release(&u);
	assert_int_equal(lx_rpc_unpack(&u, type, (struct lx_bytes){ NULL, 0 }, &err), 0);
	lx_unpacked_release(&u);
	assert_int_equal(lx_rpc_unpack(&u, type, (struct lx_bytes){ (const uint8_t *)"\x0a\4abc", 5 }, &err),
			 -EINVAL);
	assert_int_equal(err.code, LX_INVALID_ARGUMENT);
	/* Unknown fields are fine: peers may be newer. */
	assert_int_equal(
		lx_rpc_unpack(&u, type, (struct lx_bytes){ (const uint8_t *)"\xfa\x3f\1x", 4 }, &err), 0);
	lx_unpacked_release(&u);

	many = malloc(LX_RPC_MAX_MESSAGE);
	for (i = 0; i < LX_RPC_MAX_MESSAGE; i += 2) {
		many[i] = 9 << 3 | 2;
		many[i + 1] = 0;
	}
	assert_int_equal(lx_rpc_unpack(&u, type, (struct lx_bytes){ many, LX_RPC_MAX_MESSAGE }, &err),
			 -ENOSPC);
	assert_int_equal(err.code, LX_RESOURCE_EXHAUSTED);
	assert_null(u.memory);
	assert_int_equal(lx_rpc_unpack(&u, type, (struct lx_bytes){ many, 100000 }, &err), 0);
	assert_int_equal(((EchoRequest *)u.msg)->n_empties, 50000);
	lx_unpacked_release(&u);
	free(many);
}

static struct lx_bytes text_bytes(const char *s)
{
	return (struct lx_bytes){ (const uint8_t *)s, strlen(s) };
}

static void test_utf8(void **state)
{
	static const char *const good[] = {
		"", "abc", "\xc3\xa4", "\xe6\xbc\xa2", "\xf0\x9f\x98\x80", "\x7f"
	};
	static const char *const bad[] = {
		"\xff",    "a\x80", "\xc3", "\xc0\xaf", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
		"\xe6\xbc"
	};
	size_t i;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(lx_text_is_utf8(text_bytes(good[i])));
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(lx_text_is_utf8(text_bytes(bad[i])));
}

static void test_text(void **state)
{
	const ProtobufCMessageDescriptor *type = &lxmgr__test__v1__echo_request__descriptor;
	EchoRequest req = ECHO_REQUEST;
	Lxmgr__Test__V1__Empty one = LXMGR__TEST__V1__EMPTY__INIT, two = one, *list[] = { &one, &two };
	uint8_t wire[64];
	struct lx_err err;

	req.n_empties = 2;
	req.empties = list;
	two.text = (char *)"abc";
	size_t len = protobuf_c_message_pack(&req.base, wire);

	assert_int_equal(lx_text_check(type, (struct lx_bytes){ wire, len }, &err), 0);
	wire[len - 1] = 0xff;
	assert_int_equal(lx_text_check(type, (struct lx_bytes){ wire, len }, &err), -EINVAL);
	assert_string_equal(err.msg, "field text is not UTF-8");
	wire[len - 1] = 0;
	assert_int_equal(lx_text_check(type, (struct lx_bytes){ wire, len }, &err), -EINVAL);
	assert_string_equal(err.msg, "field text has a NUL in it");
	/* What the decoder would not have let through. */
	for (size_t cut = 1; cut < 4; cut++)
		assert_int_equal(lx_text_check(type, (struct lx_bytes){ wire, len - cut }, &err), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_framing_pieces), cmocka_unit_test(test_framing_refuses),
		cmocka_unit_test(test_timeouts),       cmocka_unit_test(test_percent),
		cmocka_unit_test(test_metadata),       cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_descriptors),    cmocka_unit_test(test_unpack),
		cmocka_unit_test(test_utf8),           cmocka_unit_test(test_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
