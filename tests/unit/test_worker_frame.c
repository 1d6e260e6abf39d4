/* Length-prefixed messages on a stream. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/frame.h"
#include "lxmgr/v1/stream.pb-c.h"

static int pair[2];

static int setup(void **state)
{
	return socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
}

static int teardown(void **state)
{
	close(pair[0]);
	close(pair[1]);
	return 0;
}

static int read_one(ProtobufCMessage **m, struct lx_err *err)
{
	return lx_frame_read(pair[1], &lxmgr__v1__data_chunk__descriptor, m, err);
}

static void round_trip_and_end(void **state)
{
	Lxmgr__V1__DataChunk chunk = LXMGR__V1__DATA_CHUNK__INIT, *got;
	static uint8_t data[LX_FRAME_CHUNK];
	struct lx_err err = LX_ERR_INIT;
	ProtobufCMessage *m = NULL;

	memset(data, 'x', sizeof(data));
	chunk.data.data = data;
	chunk.data.len = sizeof(data);
	assert_int_equal(lx_frame_write(pair[0], &chunk.base, &err), 0);
	chunk.data.len = 0;
	assert_int_equal(lx_frame_write(pair[0], &chunk.base, &err), 0);
	shutdown(pair[0], SHUT_WR);
	assert_int_equal(read_one(&m, &err), 1);
	got = (Lxmgr__V1__DataChunk *)m;
	assert_int_equal(got->data.len, sizeof(data));
	assert_memory_equal(got->data.data, data, sizeof(data));
	protobuf_c_message_free_unpacked(m, NULL);
	assert_int_equal(read_one(&m, &err), 1);
	protobuf_c_message_free_unpacked(m, NULL);
	assert_int_equal(read_one(&m, &err), 0);
	assert_int_equal(err.code, LX_OK);
}

static void broken_streams(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
		enum lx_code code;
	} broken[] = {
		{ "\0\0", 2, LX_CANCELLED },
		{ "\0\0\0\5ab", 6, LX_CANCELLED },
		{ "\xff\xff\xff\xff", 4, LX_INVALID_ARGUMENT },
		{ "\0\0\0\2\xff\xff", 6, LX_INVALID_ARGUMENT },
	};

	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		struct lx_err err = LX_ERR_INIT;
		ProtobufCMessage *m = NULL;

		if (i > 0)
			assert_int_equal(setup(state), 0);
		assert_int_equal(send(pair[0], broken[i].bytes, broken[i].n, 0), broken[i].n);
		shutdown(pair[0], SHUT_WR);
		assert_true(read_one(&m, &err) < 0);
		assert_int_equal(err.code, broken[i].code);
		assert_null(m);
		if (i + 1 < sizeof(broken) / sizeof(broken[0]))
			teardown(state);
	}
}

static void reader_gone(void **state)
{
	Lxmgr__V1__DataChunk chunk = LXMGR__V1__DATA_CHUNK__INIT;
	struct lx_err err = LX_ERR_INIT;

	shutdown(pair[1], SHUT_RD);
	assert_int_equal(lx_frame_write(pair[0], &chunk.base, &err), -EPIPE);
}

static void works_on_pipes_too(void **state)
{
	Lxmgr__V1__DataChunk chunk = LXMGR__V1__DATA_CHUNK__INIT;
	ProtobufCMessage *m = NULL;
	int p[2];

	assert_int_equal(pipe(p), 0);
	assert_int_equal(lx_frame_write(p[1], &chunk.base, NULL), 0);
	assert_int_equal(lx_frame_read(p[0], &lxmgr__v1__data_chunk__descriptor, &m, NULL), 1);
	protobuf_c_message_free_unpacked(m, NULL);
	close(p[0]);
	close(p[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(round_trip_and_end, setup, teardown),
		cmocka_unit_test_setup_teardown(broken_streams, setup, teardown),
		cmocka_unit_test_setup_teardown(reader_gone, setup, teardown),
		cmocka_unit_test(works_on_pipes_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
