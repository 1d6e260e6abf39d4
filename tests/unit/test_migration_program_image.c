/* Programs in CRIU's images that are known by a descriptor which only names them. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/buf.h"
#include "migration/file_image.h"
#include "migration/program_image.h"

#define BYTES(text) (text), sizeof(text) - 1

/* ---- open files ---- */

#define FILES "\x19\x43\x56\x54\x38\x31\x30\x56"
/* type 2 (pipe), id 9 */
#define PIPE "\x04\x00\x00\x00\x08\x02\x10\x09"
/* type 1, `id`; regular: `id`, `flags` (4 bytes), pos 0, fown "", name "/a", mnt_id 5 */
#define FILE_OF(id, flags)                                                                                   \
	"\x17\x00\x00\x00\x08\x01\x10" id "\x1a\x11\x08" id "\x10" flags "\x18\x00\x2a\x00\x32\x02/"         \
	"a\x38\x0a"
#define NAMED(id) FILE_OF(id, "\x80\x80\x80\x01") /* O_PATH */
#define OPEN(id)  FILE_OF(id, "\x80\x80\x80\x00") /* O_RDONLY, in as many bytes */

static void finds_those_that_only_name(void **state)
{
	struct lx_file_names names;

	assert_int_equal(
		lx_file_image_names(BYTES(FILES OPEN("\x03") NAMED("\x04") PIPE NAMED("\x02")), &names, NULL),
		0);
	assert_int_equal(names.n, 2);
	assert_true(lx_file_names_has(&names, 4) && lx_file_names_has(&names, 2));
	assert_false(lx_file_names_has(&names, 3) || lx_file_names_has(&names, 9));
	assert_int_equal(names.unused, 10); /* the pipe's counts as well */
	free(names.ids);
	assert_int_equal(lx_file_image_names(BYTES(FILES PIPE), &names, NULL), 0);
	assert_int_equal(names.n, 0);
	free(names.ids);
}

static void adds_one_opened_for_reading(void **state)
{
	static const char image[] = FILES NAMED("\x04") PIPE;
	lx_autobuf struct lx_buf out = { 0 };
	struct lx_file_names names;
	struct lx_err err = LX_ERR_INIT;

	assert_int_equal(lx_file_image_add(BYTES(image), 4, 10, &out, NULL), 0);
	/* What was there is there as it was. */
	assert_true(out.len > sizeof(image) - 1);
	assert_memory_equal(out.data, image, sizeof(image) - 1);
	const char *added = (const char *)out.data + sizeof(image) - 1;
	size_t n = out.len - (sizeof(image) - 1);

	assert_non_null(memmem(added, n, "\x10\x0a\x1a", 3));     /* its number, and then the file */
	assert_non_null(memmem(added, n, "\x08\x0a\x10\x00", 4)); /* again, and no flags */
	assert_non_null(memmem(added, n, "\x18\x00\x2a\x00", 4)); /* what is not looked at */
	assert_non_null(memmem(added, n, "\x32\x02/a", 4));       /* the name */
	assert_non_null(memmem(added, n, "\x38\x0a", 2));         /* the mount */
	assert_int_equal(lx_file_image_names(out.data, out.len, &names, NULL), 0);
	assert_int_equal(names.n, 1);
	assert_int_equal(names.unused, 11);
	free(names.ids);
	/* There is no such file. */
	lx_buf_release(&out);
	assert_int_equal(lx_file_image_add(BYTES(image), 9, 10, &out, &err), -EBADMSG);
	assert_int_equal(lx_file_image_add(BYTES(image), 5, 10, &out, &err), -EBADMSG);
	assert_int_equal(out.len, 0);
	assert_int_equal(err.code, LX_DATA_LOSS);
}

static void damaged_files_are_refused(void **state)
{
	static const char whole[] = FILES PIPE NAMED("\x04");
	struct lx_file_names names;

	for (size_t len = 0; len < sizeof(whole) - 1; len++) {
		char *cut = malloc(len + 1);

		assert_non_null(cut);
		memcpy(cut, whole, len);
		int r = lx_file_image_names(cut, len, &names, NULL);

		/* An end between two messages is one. */
		assert_int_equal(r, len == sizeof(FILES) - 1 || len == sizeof(FILES PIPE) - 1 ? 0 : -EBADMSG);
		free(names.ids);
		free(cut);
	}
	/* No number is left for another one. */
	assert_int_equal(lx_file_image_names(BYTES(FILES "\x08\x00\x00\x00\x08\x02\x10\xff\xff\xff\xff\x0f"),
					     &names, NULL),
			 -EBADMSG);
	free(names.ids);
}

/* ---- memory ---- */

#define MEMORY "\x19\x43\x56\x54\x20\x28\x49\x57"
/* start_code 0, exe_file_id, dumpable 1 */
#define PROGRAM(id) MEMORY "\x06\x00\x00\x00\x08\x00\x60" id "\x78\x01"

static void knows_and_changes_the_program(void **state)
{
	lx_autobuf struct lx_buf out = { 0 };
	uint32_t id = 0;

	assert_int_equal(lx_program_image_file(BYTES(PROGRAM("\x04")), &id, NULL), 0);
	assert_int_equal(id, 4);
	assert_int_equal(lx_program_image_set_file(BYTES(PROGRAM("\x04")), 300, &out, NULL), 0);
	assert_int_equal(lx_program_image_file(out.data, out.len, &id, NULL), 0);
	assert_int_equal(id, 300);
	assert_non_null(memmem(out.data, out.len, "\x08\x00", 2));
	assert_non_null(memmem(out.data, out.len, "\x78\x01", 2));
	assert_int_equal(out.len, sizeof(PROGRAM("\x04")) - 1 + 1);
}

static void damaged_memory_is_refused(void **state)
{
	static const char whole[] = PROGRAM("\x04");
	lx_autobuf struct lx_buf out = { 0 };
	struct lx_err err = LX_ERR_INIT;
	uint32_t id;

	for (size_t len = 0; len < sizeof(whole) - 1; len++) {
		assert_int_equal(lx_program_image_file(whole, len, &id, &err), -EBADMSG);
		assert_int_equal(lx_program_image_set_file(whole, len, 3, &out, &err), -EBADMSG);
	}
	assert_int_equal(lx_program_image_file(BYTES(MEMORY "\x02\x00\x00\x00\x08\x00"), &id, &err),
			 -EBADMSG);
	assert_int_equal(err.code, LX_DATA_LOSS);
	assert_true(lx_program_image_is("mm-1.img"));
	assert_false(lx_program_image_is("mm-1.img.old") || lx_program_image_is("pagemap-1.img"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_those_that_only_name), cmocka_unit_test(adds_one_opened_for_reading),
		cmocka_unit_test(damaged_files_are_refused),  cmocka_unit_test(knows_and_changes_the_program),
		cmocka_unit_test(damaged_memory_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
