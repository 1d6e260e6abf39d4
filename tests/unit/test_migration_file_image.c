/* Timers in CRIU's image of open files. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/buf.h"
#include "migration/file_image.h"

#define BYTES(text) (text), sizeof(text) - 1

#define FILES "\x19\x43\x56\x54\x38\x31\x30\x56"
/* type 2 (pipe), id 9 */
#define PIPE "\x04\x00\x00\x00\x08\x02\x10\x09"
/* As CRIU 4.2 writes it: type 17, id 7; of a timer: id 7, flags of two bytes, an owner, clock 1, `what`. */
#define TIMER(what)                                                                                          \
	"\x23\x00\x00\x00\x08\x11\x10\x07\x62\x1d"                                                           \
	"\x08\x07\x10\x82\x10\x1a\x08\x08\x00\x10\x00\x18\x00\x20\x00\x20\x01" what
#define AS(ticks, flags, s, ns, every_s, every_ns)                                                           \
	"\x28" ticks "\x30" flags "\x38" s "\x40" ns "\x48" every_s "\x50" every_ns
#define TICKS "\x05"
#define ABS   "\x01"
#define NO    "\x00"

static void timers_are_armed_as_they_were(void **state)
{
	static const struct {
		const char *before, *after; /* NULL: as it is */
	} t[] = {
		/* Periodic, and expired: after its period. */
		{ AS(TICKS, NO, NO, NO, "\x01", "\x02"), AS(TICKS, NO, "\x01", "\x02", "\x01", "\x02") },
		{ AS(TICKS, ABS, NO, NO, NO, "\x02"), AS(TICKS, NO, NO, "\x02", NO, "\x02") },
		/* Not armed, of a point in time: so it stays. */
		{ AS(NO, ABS, NO, NO, NO, NO), AS(NO, NO, NO, NO, NO, NO) },
		{ AS(NO, "\x03", NO, NO, "\x01", NO), AS(NO, NO, NO, NO, "\x01", NO) },
		{ AS(TICKS, ABS, NO, NO, NO, NO), AS(TICKS, NO, NO, NO, NO, NO) },
		/* Armed, or not periodic. */
		{ AS(TICKS, NO, NO, NO, NO, NO), NULL },
		{ AS(NO, NO, NO, NO, "\x01", NO), NULL },
		{ AS(NO, ABS, "\x01", NO, NO, NO), NULL },
		{ AS(NO, "\x03", NO, "\x01", NO, NO), NULL },
		{ AS(TICKS, NO, NO, "\x01", NO, "\x02"), NULL },
	};
	static const char head[] = FILES PIPE TIMER("");
	char image[sizeof(head) - 1 + 12 + sizeof(PIPE)];

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		lx_autobuf struct lx_buf out = { 0 }, again = { 0 };
		size_t len = sizeof(image) - 1;

		memcpy(image, head, sizeof(head) - 1);
		memcpy(image + sizeof(head) - 1, t[i].before, 12);
		memcpy(image + sizeof(head) - 1 + 12, PIPE, sizeof(PIPE));
		assert_int_equal(lx_file_image_arm(image, len, &out, NULL), 0);
		if (!t[i].after) {
			assert_int_equal(out.len, 0);
			continue;
		}
		/* Fields come in another order, as they may. */
		assert_int_equal(out.len, len);
		assert_memory_equal(out.data, FILES PIPE, sizeof(FILES PIPE) - 1);
		assert_non_null(memmem(out.data, out.len, t[i].after, 12));
		assert_non_null(memmem(out.data, out.len, "\x08\x07\x10\x82\x10\x1a\x08", 7));
		assert_memory_equal(out.data + len - (sizeof(PIPE) - 1), PIPE, sizeof(PIPE) - 1);
		assert_int_equal(lx_file_image_arm(out.data, out.len, &again, NULL), 0);
		assert_int_equal(again.len, 0);
	}
}

static void damaged_images_are_refused(void **state)
{
	static const char whole[] = FILES TIMER(AS(TICKS, NO, NO, NO, "\x01", NO));
	struct lx_err err = LX_ERR_INIT;

	for (size_t len = 0; len < sizeof(whole) - 1; len++) {
		lx_autobuf struct lx_buf out = { 0 };
		char *cut = malloc(len + 1);

		assert_non_null(cut);
		memcpy(cut, whole, len);
		assert_int_equal(lx_file_image_arm(cut, len, &out, &err),
				 len == sizeof(FILES) - 1 ? 0 : -EBADMSG);
		free(cut);
	}
	assert_int_equal(err.code, LX_DATA_LOSS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timers_are_armed_as_they_were),
		cmocka_unit_test(damaged_images_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
