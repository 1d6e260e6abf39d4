/*
 * Fuzzing what a node takes in of another's dump: the image of open files. Whatever it is, what comes
 * out is an image again, and nothing is left in it to be taken out.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "migration/file_image.h"

#define ADDED_MAX 4u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Who is named gets an entry that is opened for reading, and a number that nobody had. */
static void add_all(const uint8_t *data, size_t size)
{
	struct lx_file_names names, then;

	if (lx_file_image_names(data, size, &names, NULL) < 0)
		return;
	for (size_t i = 0; i < names.n && i < ADDED_MAX; i++) {
		lx_autobuf struct lx_buf out = { 0 };

		if (lx_file_image_add(data, size, names.ids[i], names.unused, &out, NULL) < 0)
			continue;
		int r = lx_file_image_names(out.data, out.len, &then, NULL);

		assert((r == 0 && then.n == names.n && then.unused == names.unused + 1) ||
		       names.unused == UINT32_MAX);
		free(then.ids);
	}
	free(names.ids);
}

static void arm(const uint8_t *data, size_t size)
{
	lx_autobuf struct lx_buf out = { 0 }, again = { 0 };

	if (lx_file_image_arm(data, size, &out, NULL) < 0 || out.len == 0)
		return;
	assert(lx_file_image_arm(out.data, out.len, &again, NULL) == 0);
	assert(again.len == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	lx_autobuf struct lx_buf out = { 0 }, again = { 0 };

	add_all(data, size);
	arm(data, size);
	if (lx_file_image_unsize(data, size, &out, NULL) < 0 || out.len == 0)
		return 0;
	assert(lx_file_image_unsize(out.data, out.len, &again, NULL) == 0);
	assert(again.len == out.len);
	return 0;
}
