/* One message, of which one field is looked at. */
#include "migration/core_image.h"

#include <endian.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "lib/str.h"
#include "lxmgr/v1/criu_image.pb-c.h"
#include "proto/pb.h"

/* include/magic.h of CRIU: of all images, and of this one. */
#define MAGIC_COMMON 0x54564319u
#define MAGIC_CORE   0x55053847u
#define HEAD         12u /* with the message's length */

static uint32_t u32_at(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return le32toh(value);
}

bool lx_core_image_is(const char *name)
{
	return lx_starts_with(name, "core-") && lx_ends_with(name, ".img");
}

int lx_core_image_label(const void *data, size_t len, const char *begin, struct lx_err *err)
{
	const uint8_t *at = data;
	Lxmgr__V1__CriuCore *core = NULL;

	/* What were behind the one message, CRIU would not read either. */
	if (len >= HEAD && u32_at(at) == MAGIC_COMMON && u32_at(at + 4) == MAGIC_CORE &&
	    u32_at(at + 8) <= len - HEAD)
		core = lxmgr__v1__criu_core__unpack(NULL, u32_at(at + 8), at + HEAD);
	if (!core) {
		lx_err_set(err, LX_DATA_LOSS, "the image of a thread in the dump is damaged");
		return -EBADMSG;
	}
	const Lxmgr__V1__CriuThreadCore *thread = core->thread_core;
	const char *label =
		thread && thread->creds && thread->creds->lsm_profile ? thread->creds->lsm_profile : "";
	bool same = lx_starts_with(label, begin) && strlen(label) > strlen(begin);

	lx_pb_free(core);
	if (same)
		return 0;
	lx_err_set(err, LX_FAILED_PRECONDITION,
		   "a thread in the dump is not under the AppArmor profile of the instance");
	return -EPERM;
}
