/* When frames of a move are compressed, on links that are made up here, and that they come out as they went
 * in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/worker/move/pack.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "proto/frame.h"
#include "proto/pb.h"

#define FRAME (256u * 1024)
#define MBIT  (1000ull * 1000 / 8)

struct link {
	struct lx_pack pack;
	uint64_t now;
};

/* A link of so many bytes a second, and a processor that compresses so many: 0: at no cost. */
struct way {
	uint64_t rate, compressor;
	unsigned shrunk_to_percent;
	uint64_t busy_ns; /* what the sender has to do between two frames */
};

static void send_through(struct link *l, uint64_t bytes, const struct way *w)
{
	for (uint64_t sent = 0; sent < bytes; sent += FRAME) {
		uint64_t wire = l->pack.on ? FRAME * (uint64_t)w->shrunk_to_percent / 100 : FRAME;

		l->now += l->pack.on && w->compressor ? FRAME * LX_NSEC_PER_SEC / w->compressor : 0;
		uint64_t began = l->now;

		l->now += wire * LX_NSEC_PER_SEC / w->rate;
		lx_pack_note(&l->pack, FRAME, began, l->now);
		l->now += w->busy_ns;
	}
}

static struct link make(void)
{
	return (struct link){ .pack = { .able = true }, .now = 1 };
}

static void slow_links_are(void **state)
{
	const struct way shrinks = { .rate = 80 * MBIT, .shrunk_to_percent = 40, .busy_ns = 100000 },
			 does_not = { .rate = 80 * MBIT,
				      .shrunk_to_percent = 100,
				      .compressor = 8000 * MBIT };
	struct link l = make();

	send_through(&l, 4 * LX_PACK_WINDOW, &shrinks);
	assert_true(l.pack.on);
	/* What follows may shrink again. */
	send_through(&l, 64 * LX_PACK_WINDOW, &does_not);
	assert_true(l.pack.on);
	send_through(&l, 64 * LX_PACK_WINDOW, &shrinks);
	assert_true(l.pack.on);
}

static void fast_links_are_not(void **state)
{
	const struct way w = { .rate = 10000 * MBIT, .shrunk_to_percent = 40, .busy_ns = 1000 };
	struct link l = make();

	send_through(&l, 64 * LX_PACK_WINDOW, &w);
	assert_false(l.pack.on);
}

/* It is not the link that is waited for. */
static void slow_senders_are_not(void **state)
{
	const struct way w = { .rate = 800 * MBIT,
			       .shrunk_to_percent = 40,
			       .busy_ns = 20 * LX_NSEC_PER_MSEC };
	struct link l = make();

	send_through(&l, 64 * LX_PACK_WINDOW, &w);
	assert_false(l.pack.on);
}

/* Tried, and given up for longer and longer; when it helps at last, it stays. */
static void processors_that_are_slower_are_left_be(void **state)
{
	const struct way slow = { .rate = 800 * MBIT, .shrunk_to_percent = 40, .compressor = 600 * MBIT },
			 quick = { .rate = 800 * MBIT, .shrunk_to_percent = 40, .compressor = 4000 * MBIT };
	struct link l = make();
	uint64_t on = 0;

	for (int i = 0; i < 400; i++) {
		send_through(&l, LX_PACK_WINDOW, &slow);
		on += l.pack.on;
	}
	assert_in_range(on, 2, 20);
	send_through(&l, 2 * LX_PACK_PAUSE_MAX * LX_PACK_WINDOW, &quick);
	assert_true(l.pack.on);
}

static Lxmgr__V1__MoveFrame *frame_of(uint8_t *bytes, size_t n)
{
	static Lxmgr__V1__DumpData data;
	static Lxmgr__V1__MoveFrame frame;

	lxmgr__v1__dump_data__init(&data);
	lxmgr__v1__move_frame__init(&frame);
	data.offset = 42;
	data.data.data = bytes;
	data.data.len = n;
	frame.what_case = LXMGR__V1__MOVE_FRAME__WHAT_DUMP_DATA;
	frame.dump_data = &data;
	return &frame;
}

static void they_come_out_as_they_went_in(void **state)
{
	static uint8_t bytes[FRAME];
	struct lx_pack p = { .able = true, .on = true };
	Lxmgr__V1__MovePacked packed = LXMGR__V1__MOVE_PACKED__INIT;
	Lxmgr__V1__MoveFrame *out = NULL;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i / 100);
	assert_int_equal(lx_pack(&p, frame_of(bytes, sizeof(bytes)), &packed), 1);
	assert_true(packed.data.len < sizeof(bytes) / 2);
	assert_int_equal(lx_unpack(&packed, &out, NULL), 0);
	assert_int_equal(out->what_case, LXMGR__V1__MOVE_FRAME__WHAT_DUMP_DATA);
	assert_int_equal(out->dump_data->offset, 42);
	assert_int_equal(out->dump_data->data.len, sizeof(bytes));
	assert_memory_equal(out->dump_data->data.data, bytes, sizeof(bytes));
	lx_pb_free(out);
	free(packed.data.data);
	/* Small ones, what does not shrink, and where nobody can read it: as they are. */
	assert_int_equal(lx_pack(&p, frame_of(bytes, 100), &packed), 0);
	srand(1);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(rand() >> 7); /* NOLINT: no secret */
	assert_int_equal(lx_pack(&p, frame_of(bytes, sizeof(bytes)), &packed), 0);
	memset(bytes, 0, sizeof(bytes));
	p.able = false;
	assert_int_equal(lx_pack(&p, frame_of(bytes, sizeof(bytes)), &packed), 0);
	lx_pack_release(&p);
}

static void refused(Lxmgr__V1__MovePacked *packed)
{
	struct lx_err err = LX_ERR_INIT;
	Lxmgr__V1__MoveFrame *out = NULL;

	assert_true(lx_unpack(packed, &out, &err) < 0);
	assert_int_equal(err.code, LX_INVALID_ARGUMENT);
	assert_null(out);
}

/* Another node may send anything. */
static void what_is_none_is_refused(void **state)
{
	static uint8_t zeros[FRAME];
	struct lx_pack p = { .able = true, .on = true };
	Lxmgr__V1__MovePacked packed = LXMGR__V1__MOVE_PACKED__INIT, inner, twice;
	Lxmgr__V1__MoveFrame wrap = LXMGR__V1__MOVE_FRAME__INIT;

	assert_int_equal(lx_pack(&p, frame_of(zeros, sizeof(zeros)), &packed), 1);
	uint32_t size = packed.size;

	packed.size = size - 1; /* it is more than it says */
	refused(&packed);
	packed.size = size + 1;
	refused(&packed);
	packed.size = LX_FRAME_MAX + 1;
	refused(&packed);
	packed.size = size;
	packed.data.len--;
	refused(&packed);
	packed.data.len++;
	packed.data.data[0] ^= 0xff;
	refused(&packed);
	packed.data.data[0] ^= 0xff;
	/* One within another. */
	inner = packed;
	inner.data.data = zeros;
	inner.data.len = sizeof(zeros);
	wrap.what_case = LXMGR__V1__MOVE_FRAME__WHAT_PACKED;
	wrap.packed = &inner;
	assert_int_equal(lx_pack(&p, &wrap, &twice), 1);
	refused(&twice);
	free(twice.data.data);
	free(packed.data.data);
	lx_pack_release(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slow_links_are),
		cmocka_unit_test(fast_links_are_not),
		cmocka_unit_test(slow_senders_are_not),
		cmocka_unit_test(processors_that_are_slower_are_left_be),
		cmocka_unit_test(they_come_out_as_they_went_in),
		cmocka_unit_test(what_is_none_is_refused),
	};

	return cmocka_run_group_tests_name("move_pack", tests, NULL, NULL);
}
