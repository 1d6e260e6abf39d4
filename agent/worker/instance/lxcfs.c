/*
 * Which files of the node's lxcfs an instance gets: all there are, where there are any. Without them
 * it sees the machine's memory and processors, and runs as well: so one that has ended or stands
 * still is no reason not to start, unless it is asked for.
 */
#include "agent/worker/lxcfs.h"

#include "agent/worker/instance/devices.h"
#include "proto/pb.h"

static int refuse(const struct lx_lxcfs *l, struct lx_err *err)
{
	int r = lx_err_set(err, LX_FAILED_PRECONDITION, "lxcfs %s, and " LX_KEY_LXCFS " is on", l->why);

	lx_err_hint(err, "Start it on this node (package lxcfs; lxagentd --lxcfs says where it is mounted), "
			 "or set " LX_KEY_LXCFS "=auto to do without where there is none.");
	return r;
}

int lx_devices_lxcfs(const struct lx_job *job, const lx_spec *spec, lx_lxcfs_set *ret, struct lx_err *err)
{
	enum lx_lxcfs_mode mode = lx_lxcfs_mode_of(lx_pb_map_get(spec->n_config, spec->config, LX_KEY_LXCFS));
	struct lx_lxcfs l = { .why = "is not used on this node" };

	*ret = 0;
	if (mode == LX_LXCFS_OFF)
		return 0;
	if (*job->lxcfs_dir)
		lx_lxcfs_ask_soon(job->lxcfs_dir, &l);
	if (mode == LX_LXCFS_ON && !l.serves)
		return refuse(&l, err);
	*ret = l.serves ? l.files : 0;
	return 0;
}
