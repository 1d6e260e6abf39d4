/*
 * Loading, comparing and storing an instance's specification.
 */
#include "agent/worker/instance/spec.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "profiles/privileged.h"
#include "proto/pb.h"

/* Hex SHA-256. */
#define FINGERPRINT_LEN 64

/* Ids of one container: at least what a distribution's own users need. */
#define IDMAP_SIZE_MIN 65536

void lx_spec_free(lx_spec *spec)
{
	lxmgr__v1__instance_spec__free_unpacked(spec, NULL);
}

bool lx_spec_exists(const struct lx_job *job)
{
	char path[LX_JOB_PATH_MAX];

	lx_job_path(job, path, "spec.pb");
	return lx_path_exists(path);
}

int lx_spec_load(const struct lx_job *job, lx_spec **ret, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];
	lx_autobuf struct lx_buf data = { 0 };

	lx_job_path(job, path, "spec.pb");
	int r = lx_read_file(path, LX_SPEC_MAX, &data, err);

	if (r == -ENOENT)
		return lx_err_set(err, LX_NOT_FOUND, "instance %s does not exist on this node", job->name);
	if (r < 0)
		return r;
	*ret = lxmgr__v1__instance_spec__unpack(NULL, data.len, data.data);
	if (!*ret)
		return lx_err_set(err, LX_DATA_LOSS, "%s is damaged: it holds no instance specification",
				  path);
	return 0;
}

static int pack(const lx_spec *spec, struct lx_buf *out)
{
	size_t len = lxmgr__v1__instance_spec__get_packed_size(spec);

	/* One byte more, so that there is memory even for an empty one. */
	if (lx_buf_reserve(out, len + 1) < 0)
		return -ENOMEM;
	out->len = lxmgr__v1__instance_spec__pack(spec, out->data);
	return 0;
}

bool lx_spec_equal(const lx_spec *a, const lx_spec *b)
{
	lx_autobuf struct lx_buf pa = { 0 }, pb = { 0 };

	if (pack(a, &pa) < 0 || pack(b, &pb) < 0)
		return false;
	return pa.len == pb.len && memcmp(pa.data, pb.data, pa.len) == 0;
}

int lx_spec_save(const struct lx_job *job, const lx_spec *spec, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];
	lx_autobuf struct lx_buf data = { 0 }, stored = { 0 };

	lx_job_path(job, path, "spec.pb");
	if (pack(spec, &data) < 0)
		return lx_err_oom(err);
	if (lx_read_file(path, LX_SPEC_MAX, &stored, NULL) == 0 && stored.len == data.len &&
	    memcmp(stored.data, data.data, data.len) == 0)
		return 0;
	return lx_write_file_atomic(path, data.data, data.len, 0600, err);
}

int lx_spec_check_fixed(const struct lx_job *job, const lx_spec *stored, const lx_spec *new,
			struct lx_err *err)
{
	if (strcmp(stored->image_fingerprint, new->image_fingerprint) != 0)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "the image of %s cannot be changed", job->name);
	if (stored->idmap_base != new->idmap_base || stored->idmap_size != new->idmap_size)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "the id range of %s cannot be changed",
				  job->name);
	/* Its files belong to the ids it was made with. */
	if (lx_spec_is_privileged(stored) != lx_spec_is_privileged(new))
		return lx_err_set(err, LX_INVALID_ARGUMENT, LX_KEY_PRIVILEGED " of %s cannot be changed",
				  job->name);
	return 0;
}

bool lx_spec_is_privileged(const lx_spec *spec)
{
	return lx_privileged_is_on(lx_pb_map_get(spec->n_config, spec->config, LX_KEY_PRIVILEGED));
}

uint32_t lx_spec_id_base(const lx_spec *spec)
{
	return lx_spec_is_privileged(spec) ? 0 : spec->idmap_base;
}

static bool is_fingerprint(const char *s)
{
	size_t n = 0;

	for (; s[n]; n++)
		if (!isdigit((unsigned char)s[n]) && !(s[n] >= 'a' && s[n] <= 'f'))
			return false;
	return n == FINGERPRINT_LEN;
}

int lx_spec_of_job(const struct lx_job *job, const lx_spec **ret, struct lx_err *err)
{
	const lx_spec *spec = job->msg->spec;

	if (!spec)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "the job brings no specification of %s",
				  job->name);
	/* It becomes part of a path. */
	if (!is_fingerprint(spec->image_fingerprint))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%s: \"%.80s\" is no image fingerprint",
				  job->name, spec->image_fingerprint);
	if (spec->idmap_size < IDMAP_SIZE_MIN || spec->idmap_base == 0 ||
	    spec->idmap_base + (uint64_t)spec->idmap_size > UINT32_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "%s: ids %u to %llu cannot be mapped: a container needs %d of its own",
				  job->name, spec->idmap_base,
				  (unsigned long long)spec->idmap_base + spec->idmap_size, IDMAP_SIZE_MIN);
	*ret = spec;
	return 0;
}

int lx_spec_config(const lx_spec *spec, struct lx_map *ret, struct lx_err *err)
{
	lx_map_init(ret, NULL);
	for (size_t i = 0; i < spec->n_config; i++)
		if (lx_map_set(ret, spec->config[i]->key, spec->config[i]->value) < 0) {
			lx_map_release(ret);
			return lx_err_oom(err);
		}
	return 0;
}
