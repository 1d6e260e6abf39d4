/* Labels in CRIU's images of threads: as it writes them, and as another node may make them up. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "migration/core_image.h"

#define HEAD  "\x19\x43\x56\x54\x47\x38\x05\x55"
#define BEGIN "lxmgr-a//&:lxc-lxmgr-a:"
/* mtype 1; thread_core with a futex of 0, creds with a uid of 0 and a label of `n` characters. */
#define THREAD(total, thread, creds, n, label)                                                               \
	HEAD total "\x00\x00\x00\x08\x01\x2a" thread "\x08\x00\x52" creds "\x08\x00\x7a" n label

static int check(const char *data, size_t len)
{
	struct lx_err err = LX_ERR_INIT;
	int r = lx_core_image_label(data, len, BEGIN, &err);

	assert_true(r == 0 || *err.msg);
	return r;
}

#define CHECK(text) check((text), sizeof(text) - 1)

static void takes_what_begins_so(void **state)
{
	assert_int_equal(CHECK(THREAD("\x2a", "\x26", "\x22", "\x1e", BEGIN "bounded")), 0);
	/* Of more than one part inside. */
	assert_int_equal(CHECK(THREAD("\x2b", "\x27", "\x23", "\x1f", BEGIN "a//&:b:c")), 0);
}

static void refuses_others(void **state)
{
	assert_int_equal(CHECK(THREAD("\x16", "\x12", "\x0e", "\x0a", "unconfined")), -EPERM);
	assert_int_equal(CHECK(THREAD("\x13", "\x0f", "\x0b", "\x07", "lxmgr-a")), -EPERM);
	assert_int_equal(CHECK(THREAD("\x23", "\x1f", "\x1b", "\x17", BEGIN)), -EPERM);
	assert_int_equal(CHECK(THREAD("\x2a", "\x26", "\x22", "\x1e", "lxmgr-b//&:lxc-lxmgr-a:bounded")),
			 -EPERM);
	assert_int_equal(CHECK(THREAD("\x0c", "\x08", "\x04", "\x00", "")), -EPERM);
	/* Neither label nor creds nor thread. */
	assert_int_equal(CHECK(HEAD "\x02\x00\x00\x00\x08\x01"), -EPERM);
	assert_int_equal(CHECK(HEAD "\x00\x00\x00\x00"), -EPERM);
}

static void refuses_what_is_no_image(void **state)
{
	static const char whole[] = THREAD("\x2a", "\x26", "\x22", "\x1e", BEGIN "bounded");

	for (size_t n = 0; n < sizeof(whole) - 1; n++)
		assert_int_equal(check(whole, n), -EBADMSG);
	assert_int_equal(CHECK("\x19\x43\x56\x54\x38\x31\x30\x56\x02\x00\x00\x00\x08\x01"), -EBADMSG);
	assert_int_equal(CHECK(HEAD "\xff\xff\xff\xff\x08\x01"), -EBADMSG);
}

static void knows_them_by_name(void **state)
{
	assert_true(lx_core_image_is("core-412.img"));
	assert_false(lx_core_image_is("ids-412.img"));
	assert_false(lx_core_image_is("core-412.img.kept"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_what_begins_so),
		cmocka_unit_test(refuses_others),
		cmocka_unit_test(refuses_what_is_no_image),
		cmocka_unit_test(knows_them_by_name),
	};

	return cmocka_run_group_tests_name("migration: images of threads", tests, NULL, NULL);
}
