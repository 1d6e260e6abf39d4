/*
 * An instance's files are below the state directory, so its root disk is the one that directory's
 * file system is on: found by its number in /sys/dev/block, a partition's by that of the whole disk
 * (cgroups bound whole ones only). File systems of several disks have a number that is no disk's.
 */
#include "agent/worker/instance/root_disk.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "lib/fs.h"

static bool find_disk(const struct lx_job *job, char out[32])
{
	char path[128];
	struct stat st;

	if (stat(job->state_dir, &st) < 0)
		return false;
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/partition", major(st.st_dev), minor(st.st_dev));
	if (lx_path_exists(path)) {
		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/../dev", major(st.st_dev),
			 minor(st.st_dev));
		return lx_read_line(path, out, 32) == 0;
	}
	*strrchr(path, '/') = '\0';
	snprintf(out, 32, "%u:%u", major(st.st_dev), minor(st.st_dev));
	return lx_path_exists(path);
}

static int root_options(const lx_spec *spec, struct lx_map *ret, struct lx_err *err)
{
	lx_map_init(ret, NULL);
	for (size_t i = 0; i < spec->n_devices; i++) {
		const Lxmgr__V1__Device *dev = spec->devices[i]->value;
		bool root = false;

		for (size_t k = 0; dev && k < dev->n_options; k++)
			root |= strcmp(dev->options[k]->key, "path") == 0 &&
				strcmp(dev->options[k]->value, "/") == 0;
		for (size_t k = 0; root && k < dev->n_options; k++)
			if (lx_map_set(ret, dev->options[k]->key, dev->options[k]->value) < 0)
				return lx_err_oom(err);
	}
	return 0;
}

int lx_root_disk_knobs(const struct lx_job *job, const struct lx_host_facts *facts, const lx_spec *spec,
		       struct lx_knob knobs[LX_DISK_KNOBS_MAX], struct lx_err *err)
{
	struct lx_map options;
	char disk[32];
	int r = root_options(spec, &options, err);

	if (r == 0)
		r = lx_disk_limits_plan(&options, facts->io, find_disk(job, disk) ? disk : NULL, knobs, err);
	lx_map_release(&options);
	return r;
}
