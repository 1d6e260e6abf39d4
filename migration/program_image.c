/* One message; the fields that are not named in criu_image.proto come out as they went in. */
#include "migration/program_image.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/str.h"
#include "lxmgr/v1/criu_image.pb-c.h"
#include "migration/criu_messages.h"
#include "proto/pb.h"

#define KIND 0x57492820u /* MM_MAGIC */

bool lx_program_image_is(const char *name)
{
	return lx_starts_with(name, "mm-") && lx_ends_with(name, ".img");
}

static Lxmgr__V1__CriuMemory *read_image(const void *data, size_t len, struct lx_err *err)
{
	Lxmgr__V1__CriuMemory *mm = NULL;
	struct lx_criu_messages in;
	const uint8_t *message;
	size_t n;

	/* What were behind the one message, CRIU would not read either. */
	if (lx_criu_messages_open(data, len, KIND, &in) && lx_criu_messages_next(&in, &message, &n) > 0)
		mm = lxmgr__v1__criu_memory__unpack(NULL, n, message);
	if (!mm)
		lx_err_set(err, LX_DATA_LOSS, "the image of a process in the dump is damaged");
	return mm;
}

int lx_program_image_file(const void *data, size_t len, uint32_t *ret_id, struct lx_err *err)
{
	Lxmgr__V1__CriuMemory *mm = read_image(data, len, err);

	if (!mm)
		return -EBADMSG;
	*ret_id = mm->exe_file_id;
	lx_pb_free(mm);
	return 0;
}

int lx_program_image_set_file(const void *data, size_t len, uint32_t id, struct lx_buf *out,
			      struct lx_err *err)
{
	Lxmgr__V1__CriuMemory *mm = read_image(data, len, err);
	size_t n = 0;

	if (!mm)
		return -EBADMSG;
	mm->exe_file_id = id;
	uint8_t *packed = lx_pb_pack(&mm->base, &n);

	lx_pb_free(mm);
	int r = !packed || lx_criu_messages_begin(out, KIND) < 0 || lx_criu_messages_put(out, packed, n) < 0
			? lx_err_oom(err)
			: 0;

	free(packed);
	return r;
}
