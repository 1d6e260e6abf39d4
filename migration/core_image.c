/* One message, of which one field is looked at. */
#include "migration/core_image.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "lib/str.h"
#include "lxmgr/v1/criu_image.pb-c.h"
#include "migration/criu_messages.h"
#include "proto/pb.h"

#define KIND 0x55053847u /* CORE_MAGIC */

bool lx_core_image_is(const char *name)
{
	return lx_starts_with(name, "core-") && lx_ends_with(name, ".img");
}

int lx_core_image_label(const void *data, size_t len, const char *begin, struct lx_err *err)
{
	Lxmgr__V1__CriuCore *core = NULL;
	struct lx_criu_messages in;
	const uint8_t *message;
	size_t n;

	/* What were behind the one message, CRIU would not read either. */
	if (lx_criu_messages_open(data, len, KIND, &in) && lx_criu_messages_next(&in, &message, &n) > 0)
		core = lxmgr__v1__criu_core__unpack(NULL, n, message);
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
