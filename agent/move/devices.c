/*
 * What an instance has of its node's, for preflight. The running guest has what it was started with,
 * its specification may say more or less by now: a device that is no longer in it is still among
 * the guest's mounts, where the worker finds it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "agent/move/move.h"
#include "agent/worker/endpoint.h"
#include "profiles/host_device.h"

/* False: memory is out. */
static bool read_options(const Lxmgr__V1__InstanceSpec__DevicesEntry *e, struct lx_map *options)
{
	lx_map_init(options, NULL);
	for (size_t i = 0; e->value && i < e->value->n_options; i++)
		if (lx_map_set(options, e->value->options[i]->key, e->value->options[i]->value) < 0)
			return false;
	return true;
}

/* 1: it is the node's; 0: it is not, or memory is out. */
static int read_device(const Lxmgr__V1__InstanceSpec__DevicesEntry *e, struct lx_map *options,
		       struct lx_host_device *ret)
{
	return read_options(e, options) && lx_host_device_read(options, ret) == 1 &&
	       ret->kind != LX_HOST_DEVICE_TMPFS;
}

/* Not even an automount is waited for: this is the agent's loop. */
static bool is_missing(const struct lx_host_device *d)
{
	struct statx st;

	return d->source && !d->optional &&
	       statx(AT_FDCWD, d->source, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &st) < 0;
}

static void put_name(const char *name, size_t n, size_t *at, char *buf, size_t size)
{
	if (*at < size)
		*at += (size_t)snprintf(buf + *at, size - *at, "%s%s", n ? ", " : "", name);
}

/* A moment each: sockets are opened and closed again. */
static bool is_taken(const struct lx_proxy *p)
{
	struct lx_endpoint e;

	for (unsigned i = 0; i < p->listen.n_ports && !p->in_guest; i++) {
		lx_endpoint_of(&p->listen, i, &e);
		if (lx_endpoint_try(&e) < 0)
			return true;
	}
	return false;
}

size_t lx_move_proxies(const Lxmgr__V1__InstanceSpec *spec, bool taken, char *buf, size_t size)
{
	size_t n = 0, at = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < spec->n_devices; i++) {
		struct lx_map options;
		struct lx_proxy p;

		if (read_options(spec->devices[i], &options) && lx_proxy_read(&options, &p) == 1 &&
		    (!taken || is_taken(&p)))
			put_name(spec->devices[i]->key, n++, &at, buf, size);
		lx_map_release(&options);
	}
	return n;
}

size_t lx_move_node_devices(const Lxmgr__V1__InstanceSpec *spec, bool missing, char *buf, size_t size)
{
	size_t n = 0, at = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < spec->n_devices; i++) {
		struct lx_map options;
		struct lx_host_device d;

		if (read_device(spec->devices[i], &options, &d) && (!missing || is_missing(&d)))
			put_name(spec->devices[i]->key, n++, &at, buf, size);
		lx_map_release(&options);
	}
	return n;
}
