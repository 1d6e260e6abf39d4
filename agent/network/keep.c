/* Reads and writes networks.pb. Ways to fail: no space, no permission, a damaged file. */
#include "agent/network/keep.h"

#include <errno.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "proto/pb.h"

#define KEEP_FILE "networks.pb"
/* LX_NETWORKS_MAX networks with some thousand leases each. */
#define KEEP_MAX_BYTES (64u << 20)

int lx_keep_write(const char *state_dir, const Lxmgr__V1__ApplyNetworksRequest *req, struct lx_err *err)
{
	lx_autofree char *path = lx_path_join(state_dir, KEEP_FILE);
	size_t len;
	lx_autofree uint8_t *data = lx_pb_pack(&req->base, &len);

	if (!path || !data)
		return lx_err_oom(err);
	if (len > KEEP_MAX_BYTES)
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED,
				  "the networks take %zu bytes, more than the %u allowed", len,
				  KEEP_MAX_BYTES);
	return lx_write_file_atomic(path, data, len, 0600, err);
}

int lx_keep_read(const char *state_dir, Lxmgr__V1__ApplyNetworksRequest **ret, struct lx_err *err)
{
	lx_autofree char *path = lx_path_join(state_dir, KEEP_FILE);
	lx_autobuf struct lx_buf data = { 0 };
	int r;

	*ret = NULL;
	if (!path)
		return lx_err_oom(err);
	if (!lx_path_exists(path))
		return 0;
	r = lx_read_file(path, KEEP_MAX_BYTES, &data, err);
	if (r < 0)
		return r;
	*ret = lxmgr__v1__apply_networks_request__unpack(NULL, data.len, data.data);
	if (!*ret) {
		r = lx_err_set(err, LX_DATA_LOSS, "%s is damaged", path);
		lx_err_hint(
			err,
			"The manager sends the networks again when it connects; until then there are none.");
		return r;
	}
	return 0;
}
