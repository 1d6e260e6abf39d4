/*
 * Sizes are set on a directory that is counted. One that is not, of an instance without a size, is left
 * as it is: counting is of use, but nothing depends on it.
 */
#include "agent/worker/instance/disk_size.h"

#include <errno.h>

#include "agent/worker/disk_quota.h"
#include "lib/log.h"
#include "profiles/root_disk.h"

static uint64_t size_of(const lx_spec *spec)
{
	return lx_root_disk_size(spec->n_devices, spec->devices);
}

int lx_disk_size_prepare(const struct lx_job *job, const lx_spec *spec, struct lx_err *err)
{
	uint64_t size = size_of(spec);
	struct lx_quota_room room;
	struct lx_quota_can can;
	struct lx_err why = LX_ERR_INIT;

	lx_quota_probe(job->dir, &can);
	if (size && !can.bounds)
		return lx_quota_check_bound(job->dir, job->name, true, err);
	int r = can.counts ? lx_quota_count(job->dir, spec->idmap_base, spec->idmap_size, &why) : -ENODATA;

	if (r >= 0)
		return lx_quota_read(job->dir, &room) == 0 && room.limit == size
			       ? 0
			       : lx_quota_bound(job->dir, size, err);
	if (size && r == -ENODATA)
		return lx_quota_check_bound(job->dir, job->name, true, err);
	if (size && err)
		*err = why;
	else if (r != -ENODATA)
		lx_warn("what is on a root disk is not counted", "instance=%s error=\"%s\"", job->name,
			why.msg);
	return size ? r : 0;
}

int lx_disk_size_change(const struct lx_job *job, const lx_spec *old, const lx_spec *new, struct lx_err *err)
{
	uint64_t size = size_of(new);
	struct lx_quota_room room;
	struct lx_quota_can can;

	if (size == size_of(old))
		return 0;
	lx_quota_probe(job->dir, &can);
	if (lx_quota_read(job->dir, &room) < 0 || (size && !can.bounds))
		return size ? 1 : 0;
	return lx_quota_bound(job->dir, size, err);
}

void lx_disk_size_put_back(const struct lx_job *job, const lx_spec *old, const lx_spec *new)
{
	struct lx_quota_room room;

	if (size_of(old) != size_of(new) && lx_quota_read(job->dir, &room) == 0)
		(void)lx_quota_bound(job->dir, size_of(old), NULL);
}
