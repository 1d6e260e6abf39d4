/* One pass over the messages; those that are not changed are copied as they are. */
#include "migration/file_image.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/str.h"
#include "lxmgr/v1/criu_image.pb-c.h"
#include "profiles/lxcfs.h"
#include "proto/pb.h"

/* include/magic.h of CRIU: of all images, and of this one. */
#define MAGIC_COMMON 0x54564319u
#define MAGIC_FILES  0x56303138u
#define HEAD         8u

static uint32_t u32_at(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return le32toh(value);
}

/* Wherever it is mounted; of a file of the guest's own with such a path nothing is lost but the comparison.
 */
static bool is_of_lxcfs(const char *name)
{
	char end[64];

	for (size_t i = 0; i < LX_LXCFS_FILES; i++) {
		snprintf(end, sizeof(end), "/%s", lx_lxcfs_files[i]);
		if (lx_ends_with(name, end) || lx_streq(name, lx_lxcfs_files[i]))
			return true;
	}
	return false;
}

static int put(struct lx_buf *out, const uint8_t *message, size_t len)
{
	uint32_t size = htole32((uint32_t)len);

	return lx_buf_append(out, &size, sizeof(size)) < 0 ? -ENOMEM : lx_buf_append(out, message, len);
}

/* protobuf-c reads some numbers of fields that it cannot write: a message that has one is damaged. */
static bool can_be_read(const uint8_t *message, size_t len)
{
	Lxmgr__V1__CriuFile *f = lxmgr__v1__criu_file__unpack(NULL, len, message);

	lx_pb_free(f);
	return f != NULL;
}

/* 1: it was written without its size; 0: as it came. */
static int put_file(struct lx_buf *out, const uint8_t *message, size_t len)
{
	Lxmgr__V1__CriuFile *f = lxmgr__v1__criu_file__unpack(NULL, len, message);
	int r = f ? 0 : -EBADMSG;
	bool change = f && f->regular && f->regular->name && is_of_lxcfs(f->regular->name);

	if (change) {
		size_t n = 0;

		f->regular->has_size = false;
		uint8_t *packed = lx_pb_pack(&f->base, &n);

		r = !packed ? -ENOMEM : can_be_read(packed, n) ? put(out, packed, n) : -EBADMSG;
		free(packed);
	} else if (r == 0) {
		r = put(out, message, len);
	}
	lx_pb_free(f);
	return r < 0 ? r : change;
}

int lx_file_image_unsize(const void *data, size_t len, struct lx_buf *out, struct lx_err *err)
{
	const uint8_t *at = data, *end = at + len;
	struct lx_buf made = { 0 };
	bool changed = false;
	int r = len >= HEAD && u32_at(at) == MAGIC_COMMON && u32_at(at + 4) == MAGIC_FILES
			? lx_buf_append(&made, at, HEAD)
			: -EBADMSG;

	for (at += HEAD; r >= 0 && at < end;) {
		size_t left = (size_t)(end - at), n = left < 4 ? left : u32_at(at);

		r = left < 4 || n > left - 4 ? -EBADMSG : put_file(&made, at + 4, n);
		changed |= r > 0;
		at += 4 + n;
	}
	if (r >= 0 && changed) {
		*out = made;
		return 0;
	}
	lx_buf_release(&made);
	if (r == -EBADMSG) {
		lx_err_set(err, LX_DATA_LOSS, "the image of the dump's open files is damaged");
		return -EBADMSG;
	}
	return r < 0 ? lx_err_oom(err) : 0;
}
