/* Reads and writes networks.pb. Ways to fail: no space, no permission, a damaged file. */
#include "agent/network/keep.h"

#include <errno.h>
#include <stdlib.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "proto/pb.h"

#define KEEP_FILE "networks.pb"
/* LX_NETWORKS_MAX networks with some thousand leases each. */
#define KEEP_MAX_BYTES (64u << 20)

struct writing {
	uv_work_t work;
	char *path;
	uint8_t *data;
	size_t len;
	int r;
	struct lx_err err;
	lx_kept_cb cb;
	void *arg;
};

static void free_writing(struct writing *w)
{
	free(w->path);
	free(w->data);
	free(w);
}

static void write_it(uv_work_t *work)
{
	struct writing *w = work->data;

	w->r = lx_write_file_atomic(w->path, w->data, w->len, 0600, &w->err);
}

static void on_written(uv_work_t *work, int status)
{
	struct writing *w = work->data;

	w->cb(w->r < 0 ? &w->err : NULL, w->arg);
	free_writing(w);
}

static int begin(uv_loop_t *loop, struct writing *w, struct lx_err *err)
{
	if (!w->path || !w->data)
		return lx_err_oom(err);
	if (w->len > KEEP_MAX_BYTES)
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED,
				  "the networks take %zu bytes, more than the %u allowed", w->len,
				  KEEP_MAX_BYTES);
	int r = uv_queue_work(loop, &w->work, write_it, on_written);

	return r < 0 ? lx_err_errno(err, r, "cannot write %s", w->path) : 0;
}

int lx_keep_write(uv_loop_t *loop, const char *state_dir, const Lxmgr__V1__ApplyNetworksRequest *req,
		  lx_kept_cb cb, void *arg, struct lx_err *err)
{
	struct writing *w = calloc(1, sizeof(*w));

	if (!w)
		return lx_err_oom(err);
	w->work.data = w;
	w->path = lx_path_join(state_dir, KEEP_FILE);
	w->data = lx_pb_pack(&req->base, &w->len);
	w->cb = cb;
	w->arg = arg;
	int r = begin(loop, w, err);

	if (r < 0)
		free_writing(w);
	return r;
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
