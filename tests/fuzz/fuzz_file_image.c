/*
 * Fuzzing what a node takes in of another's dump: the image of open files. Whatever it is, what comes
 * out is an image again, and nothing is left in it to be taken out.
 */
#include <assert.h>
#include <stdint.h>

#include "migration/file_image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	lx_autobuf struct lx_buf out = { 0 }, again = { 0 };

	if (lx_file_image_unsize(data, size, &out, NULL) < 0 || out.len == 0)
		return 0;
	assert(lx_file_image_unsize(out.data, out.len, &again, NULL) == 0);
	assert(again.len == out.len);
	return 0;
}
