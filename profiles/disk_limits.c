/*
 * blkio.throttle.* (v1) has a file for each direction and unit, "MAJOR:MINOR VALUE" with 0 for no
 * limit; io.max (v2) one line for all, with "max". A rate is one unit or the other: bytes a second,
 * or operations ("500iops").
 */
#include "profiles/disk_limits.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "lib/str.h"
#include "profiles/value.h"

/* 0: none. */
struct bound {
	uint64_t bytes, operations;
};

static int bound_of(const struct lx_map *options, const char *key, struct bound *ret, struct lx_err *err)
{
	const char *value = lx_map_get(options, key);
	bool iops = false;
	uint64_t v = 0;

	*ret = (struct bound){ 0 };
	if (lx_str_empty(value))
		value = lx_map_get(options, "limits.max");
	if (lx_str_empty(value))
		return 0;
	int r = lx_value_disk_rate(value, &iops, &v);

	if (r < 0)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%s: \"%.40s\" is no rate", key, value);
	if (iops)
		ret->operations = v;
	else
		ret->bytes = v;
	return 0;
}

static void put(struct lx_knob *k, enum lx_cgroup_layout layout, const char *file, bool lifts)
{
	*k = (struct lx_knob){ .layout = layout, .lifts = lifts };
	snprintf(k->controller, sizeof(k->controller), "%s", layout == LX_CGROUP_V1 ? "blkio" : "io");
	snprintf(k->file, sizeof(k->file), "%s", file);
}

static int plan_v1(const struct bound *read, const struct bound *write, const char *disk,
		   struct lx_knob knobs[LX_DISK_KNOBS_MAX])
{
	const struct {
		const char *file;
		uint64_t value;
	} files[] = {
		{ "blkio.throttle.read_bps_device", read->bytes },
		{ "blkio.throttle.read_iops_device", read->operations },
		{ "blkio.throttle.write_bps_device", write->bytes },
		{ "blkio.throttle.write_iops_device", write->operations },
	};

	for (int i = 0; i < LX_DISK_KNOBS_MAX; i++) {
		put(&knobs[i], LX_CGROUP_V1, files[i].file, files[i].value == 0);
		snprintf(knobs[i].value, sizeof(knobs[i].value), "%s %" PRIu64, disk, files[i].value);
	}
	return LX_DISK_KNOBS_MAX;
}

static const char *or_max(uint64_t v, char out[21])
{
	if (v == 0)
		return "max";
	snprintf(out, 21, "%" PRIu64, v);
	return out;
}

static int plan_v2(const struct bound *read, const struct bound *write, const char *disk,
		   struct lx_knob *knob)
{
	char a[21], b[21], c[21], d[21];

	put(knob, LX_CGROUP_V2, "io.max",
	    !read->bytes && !read->operations && !write->bytes && !write->operations);
	snprintf(knob->value, sizeof(knob->value), "%.15s rbps=%s wbps=%s riops=%s wiops=%s", disk,
		 or_max(read->bytes, a), or_max(write->bytes, b), or_max(read->operations, c),
		 or_max(write->operations, d));
	return 1;
}

int lx_disk_limits_plan(const struct lx_map *options, enum lx_cgroup_layout layout, const char *disk,
			struct lx_knob knobs[LX_DISK_KNOBS_MAX], struct lx_err *err)
{
	struct bound read, write;
	int r = bound_of(options, "limits.read", &read, err);

	if (r == 0)
		r = bound_of(options, "limits.write", &write, err);
	if (r < 0)
		return r;
	if (disk)
		return layout == LX_CGROUP_V1 ? plan_v1(&read, &write, disk, knobs)
					      : plan_v2(&read, &write, disk, &knobs[0]);
	if (!read.bytes && !read.operations && !write.bytes && !write.operations)
		return 0;
	r = lx_err_set(
		err, LX_FAILED_PRECONDITION,
		"the root disk's rate cannot be bounded: this node's state directory is on no single disk");
	lx_err_hint(err,
		    "Put it on a file system of one disk (ext4, xfs), or unset limits.read, limits.write and "
		    "limits.max of the device.");
	return r;
}
