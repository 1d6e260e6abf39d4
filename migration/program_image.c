/* One message; the fields that are not named in criu_image.proto come out as they went in. */
#include "migration/program_image.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/str.h"
#include "lxmgr/v1/criu_image.pb-c.h"
#include "proto/pb.h"

/* include/magic.h of CRIU: of all images, and of this one. */
#define MAGIC_COMMON 0x54564319u
#define MAGIC_MEMORY 0x57492820u
#define HEAD         12u /* with the message's length */

static uint32_t u32_at(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return le32toh(value);
}

bool lx_program_image_is(const char *name)
{
	return lx_starts_with(name, "mm-") && lx_ends_with(name, ".img");
}

static Lxmgr__V1__CriuMemory *read_image(const void *data, size_t len, struct lx_err *err)
{
	const uint8_t *at = data;
	Lxmgr__V1__CriuMemory *mm = NULL;

	/* What were behind the one message, CRIU would not read either. */
	if (len >= HEAD && u32_at(at) == MAGIC_COMMON && u32_at(at + 4) == MAGIC_MEMORY &&
	    u32_at(at + 8) <= len - HEAD)
		mm = lxmgr__v1__criu_memory__unpack(NULL, u32_at(at + 8), at + HEAD);
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
	uint32_t size = htole32((uint32_t)n);

	lx_pb_free(mm);
	int r = !packed || lx_buf_append(out, data, HEAD - sizeof(size)) < 0 ||
				lx_buf_append(out, &size, sizeof(size)) < 0 ||
				lx_buf_append(out, packed, n) < 0
			? lx_err_oom(err)
			: 0;

	free(packed);
	return r;
}
