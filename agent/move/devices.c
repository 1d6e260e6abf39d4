/*
 * What an instance has of its node's, for preflight. The running guest has what it was started with,
 * its specification may say more or less by now: a device that is no longer in it is still among
 * the guest's mounts, where the worker finds it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "agent/move/move.h"
#include "profiles/host_device.h"

/* 1: it is the node's; 0: it is not, or memory is out. */
static int read_device(const Lxmgr__V1__InstanceSpec__DevicesEntry *e, struct lx_map *options,
		       struct lx_host_device *ret)
{
	lx_map_init(options, NULL);
	for (size_t i = 0; e->value && i < e->value->n_options; i++)
		if (lx_map_set(options, e->value->options[i]->key, e->value->options[i]->value) < 0)
			return 0;
	return lx_host_device_read(options, ret) == 1 && ret->kind != LX_HOST_DEVICE_TMPFS;
}

/* Not even an automount is waited for: this is the agent's loop. */
static bool is_missing(const struct lx_host_device *d)
{
	struct statx st;

	return d->source && !d->optional &&
	       statx(AT_FDCWD, d->source, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &st) < 0;
}

size_t lx_move_node_devices(const Lxmgr__V1__InstanceSpec *spec, bool missing, char *buf, size_t size)
{
	size_t n = 0, at = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < spec->n_devices; i++) {
		struct lx_map options;
		struct lx_host_device d;

		if (read_device(spec->devices[i], &options, &d) && (!missing || is_missing(&d))) {
			if (at < size)
				at += (size_t)snprintf(buf + at, size - at, "%s%s", n ? ", " : "",
						       spec->devices[i]->key);
			n++;
		}
		lx_map_release(&options);
	}
	return n;
}
