/*
 * The devices of the instance and their listeners. One on the node is open from the moment its device
 * is there, so that a start finds out in time that its port is taken; what comes in waits until the
 * guest runs. One in the guest is opened whenever there is a guest, and tried again when it failed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/worker/proxy/daemon.h"
#include "lib/cleanup.h"
#include "lib/log.h"
#include "profiles/proxy.h"
#include "proto/pb.h"

#define RETRY_MS 1000

struct lx_proxy_device {
	TAILQ_ENTRY(lx_proxy_device) next;
	struct lx_proxyd *d;
	char *name;
	struct lx_map options; /* its own copy */
	bool wanted;           /* by the job under way, which waits for it */
	bool closing;
	unsigned n_listeners, busy; /* busy: listeners not yet closed, answers not yet here */
	struct lx_listener *listeners;
};

/* ------------------------------------------------------------------ life */

static void device_free(struct lx_proxy_device *dev)
{
	lx_map_release(&dev->options);
	free(dev->listeners);
	free(dev->name);
	free(dev);
}

static void release(struct lx_proxy_device *dev)
{
	if (--dev->busy == 0 && dev->closing)
		device_free(dev);
}

static void on_listener_closed(uv_handle_t *handle)
{
	struct lx_listener *l = handle->data;

	l->closing = false;
	release(l->device);
}

static void listener_close(struct lx_listener *l)
{
	lx_datagram_close(l);
	if (l->fd < 0)
		return;
	l->closing = true;
	l->polling = false;
	uv_close((uv_handle_t *)&l->poll, on_listener_closed);
	/* Not later, which libuv allows: its address may be wanted for another. */
	close(l->fd);
	l->fd = -1;
	if (!l->in_guest && l->here.owned)
		(void)unlink(((const struct sockaddr_un *)&l->here.addr)->sun_path);
}

static void device_close(struct lx_proxy_device *dev)
{
	TAILQ_REMOVE(&dev->d->devices, dev, next);
	dev->closing = true;
	dev->busy++;
	lx_stream_close(dev->d, dev);
	for (unsigned i = 0; i < dev->n_listeners; i++)
		listener_close(&dev->listeners[i]);
	release(dev);
}

static void fill_listeners(struct lx_proxy_device *dev, const struct lx_proxy *p)
{
	for (unsigned i = 0; i < dev->n_listeners; i++) {
		struct lx_listener *l = &dev->listeners[i];

		l->device = dev;
		l->fd = -1;
		l->in_guest = p->in_guest;
		TAILQ_INIT(&l->sessions);
		lx_endpoint_of(&p->listen, i, &l->here);
		lx_endpoint_of(&p->connect, p->connect.n_ports > 1 ? i : 0, &l->there);
		l->here.early = p->in_guest;
		l->here.owned = p->listen.kind == LX_PROXY_UNIX && p->listen.path[0] == '/';
		l->here.mode = p->mode;
		l->here.uid = p->uid;
		l->here.gid = p->gid;
	}
}

/* Takes the options over. NULL: out of memory. */
static struct lx_proxy_device *device_new(struct lx_proxyd *d, const char *name, struct lx_map *options,
					  const struct lx_proxy *p)
{
	struct lx_proxy_device *dev = calloc(1, sizeof(*dev));

	if (!dev)
		return NULL;
	dev->d = d;
	dev->options = *options;
	*options = (struct lx_map){ 0 };
	dev->name = strdup(name);
	dev->n_listeners = p->listen.n_ports;
	dev->listeners = calloc(dev->n_listeners, sizeof(*dev->listeners));
	if (!dev->name || !dev->listeners) {
		device_free(dev);
		return NULL;
	}
	fill_listeners(dev, p);
	TAILQ_INSERT_TAIL(&d->devices, dev, next);
	return dev;
}

/* ------------------------------------------------------------------ opening */

static const char *listen_text(const struct lx_proxy_device *dev)
{
	return lx_map_get(&dev->options, "listen");
}

static void explain(const struct lx_listener *l, int errnum, struct lx_err *err)
{
	const char *name = l->device->name, *listen = listen_text(l->device);
	const char *where = l->in_guest ? "in the guest" : "on this node";

	switch (-errnum) {
	case EADDRINUSE:
		lx_err_set(err, LX_FAILED_PRECONDITION, "device %s: something listens at %s %s already", name,
			   listen, where);
		lx_err_hint(err, "%s shows what it is; end it, or give the device another address.",
			    l->here.addr.ss_family == AF_UNIX ? "ss -xlp" : "ss -tulnp");
		break;
	case EADDRNOTAVAIL:
		lx_err_set(err, LX_FAILED_PRECONDITION, "device %s: the address of %s is none of this node's",
			   name, listen);
		lx_err_hint(err, "ip address shows which there are; 0.0.0.0 and [::] stand for all of them.");
		break;
	case ENOENT:
	case ENOTDIR:
		lx_err_set(err, LX_FAILED_PRECONDITION, "device %s: there is no directory for %s %s", name,
			   listen, where);
		lx_err_hint(err, "Make it first, or choose another path.");
		break;
	default:
		lx_err_errno(err, errnum, "device %s: cannot listen at %s %s", name, listen, where);
	}
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct lx_listener *l = poll->data;

	if (l->here.type == SOCK_DGRAM)
		lx_datagram_read(l->device->d, l);
	else
		lx_stream_accept(l->device->d, l);
}

/* Listens while there is a guest, and while there is room. */
static void update_polling(struct lx_listener *l)
{
	const struct lx_proxyd *d = l->device->d;
	bool should = d->inside && d->n_open < LX_PROXY_OPEN_MAX;

	if (l->fd < 0 || should == l->polling)
		return;
	l->polling = should;
	if (should)
		(void)uv_poll_start(&l->poll, UV_READABLE, on_readable);
	else
		(void)uv_poll_stop(&l->poll);
}

static void opened(struct lx_listener *l, int fd)
{
	struct lx_proxy_device *dev = l->device;
	struct lx_err err = LX_ERR_INIT;

	if (fd >= 0) {
		l->fd = fd;
		l->poll.data = l;
		l->polling = false;
		dev->busy++;
		(void)uv_poll_init(&dev->d->loop, &l->poll, fd);
		update_polling(l);
	} else {
		explain(l, fd, &err);
	}
	if (dev->wanted)
		lx_apply_opened(dev->d, &err);
	else if (fd < 0 && fd != l->fault)
		lx_warn("a proxy cannot listen", "instance=%s error=\"%s\"", dev->d->instance, err.msg);
	l->fault = fd < 0 ? fd : 0;
}

static void on_opened_inside(int fd, void *arg)
{
	struct lx_listener *l = arg;
	struct lx_proxy_device *dev = l->device;

	l->opening = false;
	if (dev->closing || fd == -ESRCH) {
		if (fd >= 0)
			close(fd);
	} else {
		opened(l, fd);
	}
	release(dev);
}

static void open_inside(struct lx_listener *l)
{
	if (l->fd >= 0 || l->opening || l->closing ||
	    lx_watch_ask(l->device->d, true, &l->here, on_opened_inside, l) < 0)
		return;
	l->opening = true;
	l->device->busy++;
}

static void open_all_inside(struct lx_proxyd *d)
{
	struct lx_proxy_device *dev;

	TAILQ_FOREACH (dev, &d->devices, next)
		for (unsigned i = 0; i < dev->n_listeners; i++)
			if (dev->listeners[i].in_guest)
				open_inside(&dev->listeners[i]);
}

/* ------------------------------------------------------------------ the guest comes and goes */

static void update_all(struct lx_proxyd *d)
{
	struct lx_proxy_device *dev;

	TAILQ_FOREACH (dev, &d->devices, next)
		for (unsigned i = 0; i < dev->n_listeners; i++)
			update_polling(&dev->listeners[i]);
}

static void on_retry(uv_timer_t *timer)
{
	struct lx_proxyd *d = timer->loop->data;
	struct lx_proxy_device *dev;

	TAILQ_FOREACH (dev, &d->devices, next)
		for (unsigned i = 0; i < dev->n_listeners; i++)
			lx_datagram_sweep(&dev->listeners[i]);
	update_all(d);
	/* A job waits for each of its own once. */
	if (!d->apply)
		open_all_inside(d);
}

void lx_devices_guest_runs(struct lx_proxyd *d)
{
	open_all_inside(d);
	update_all(d);
	(void)uv_timer_start(&d->retry, on_retry, RETRY_MS, RETRY_MS);
}

/* What is open in there would keep its network alive. */
void lx_devices_guest_ended(struct lx_proxyd *d)
{
	struct lx_proxy_device *dev;

	lx_stream_close(d, NULL);
	TAILQ_FOREACH (dev, &d->devices, next)
		for (unsigned i = 0; i < dev->n_listeners; i++) {
			if (dev->listeners[i].in_guest)
				listener_close(&dev->listeners[i]);
			else
				lx_datagram_close(&dev->listeners[i]);
		}
	update_all(d);
}

void lx_listener_rest(struct lx_listener *l)
{
	l->polling = false;
	(void)uv_poll_stop(&l->poll);
}

void lx_count(struct lx_proxyd *d, int more)
{
	bool was_full = d->n_open >= LX_PROXY_OPEN_MAX;

	d->n_open = (unsigned)((int)d->n_open + more);
	if (was_full != (d->n_open >= LX_PROXY_OPEN_MAX))
		update_all(d);
}

int lx_dial(struct lx_proxyd *d, const struct lx_listener *l, lx_inside_cb cb, void *arg)
{
	if (!l->in_guest) {
		int r = lx_watch_ask(d, false, &l->there, cb, arg);

		return r < 0 ? r : LX_DIAL_LATER;
	}
	return lx_endpoint_connect(&l->there);
}

/* ------------------------------------------------------------------ a specification */

static struct lx_proxy_device *find(struct lx_proxyd *d, const char *name)
{
	struct lx_proxy_device *dev;

	TAILQ_FOREACH (dev, &d->devices, next)
		if (strcmp(dev->name, name) == 0)
			return dev;
	return NULL;
}

/* Opens what can be opened at once; the first fault ends it. */
static int open_on_node(struct lx_proxy_device *dev, struct lx_err *err)
{
	for (unsigned i = 0; i < dev->n_listeners; i++) {
		struct lx_listener *l = &dev->listeners[i];
		int fd = lx_endpoint_listen(&l->here);

		if (fd < 0) {
			explain(l, fd, err);
			return fd;
		}
		opened(l, fd);
	}
	return 0;
}

static int read_options(const Lxmgr__V1__InstanceSpec__DevicesEntry *e, struct lx_map *ret,
			struct lx_proxy *p, struct lx_err *err)
{
	lx_map_init(ret, free);
	if (e->value && lx_pb_map_to(e->value->n_options, e->value->options, ret) < 0)
		return lx_err_oom(err);
	if (!lx_streq(lx_map_get(ret, "type"), LX_PROXY_TYPE))
		return 0;
	if (lx_proxy_read(ret, p) == 1)
		return 1;
	return lx_err_set(err, LX_INVALID_ARGUMENT, "device %s is no whole proxy", e->key);
}

static int add(struct lx_proxyd *d, const char *name, struct lx_map *options, const struct lx_proxy *p,
	       struct lx_err *err)
{
	struct lx_proxy_device *dev = device_new(d, name, options, p);

	if (!dev)
		return lx_err_oom(err);
	if (!p->in_guest)
		return open_on_node(dev, err);
	dev->wanted = true;
	for (unsigned i = 0; i < dev->n_listeners; i++)
		open_inside(&dev->listeners[i]);
	return 0;
}

static bool is_in(const struct lx_proxy_device *dev, const Lxmgr__V1__InstanceSpec *spec)
{
	for (size_t i = 0; i < spec->n_devices; i++) {
		struct lx_map options;
		struct lx_proxy p;

		if (strcmp(spec->devices[i]->key, dev->name) != 0)
			continue;
		bool same = read_options(spec->devices[i], &options, &p, NULL) == 1 &&
			    lx_map_same_strings(&options, &dev->options);

		lx_map_release(&options);
		return same;
	}
	return false;
}

int lx_devices_apply(struct lx_proxyd *d, const Lxmgr__V1__InstanceSpec *spec, struct lx_err *err)
{
	struct lx_proxy_device *dev, *after;
	int r = 0;

	/* First what goes, so that its addresses are free. */
	TAILQ_FOREACH_SAFE (dev, &d->devices, next, after) {
		dev->wanted = false;
		if (!is_in(dev, spec))
			device_close(dev);
	}
	for (size_t i = 0; i < spec->n_devices && r >= 0; i++) {
		struct lx_map options;
		struct lx_proxy p;

		r = read_options(spec->devices[i], &options, &p, err);
		if (r == 1 && !find(d, spec->devices[i]->key))
			r = add(d, spec->devices[i]->key, &options, &p, err);
		lx_map_release(&options);
	}
	return r < 0 ? r : 0;
}

unsigned lx_devices_waiting(const struct lx_proxyd *d)
{
	const struct lx_proxy_device *dev;
	unsigned n = 0;

	TAILQ_FOREACH (dev, &d->devices, next)
		for (unsigned i = 0; i < dev->n_listeners; i++)
			n += dev->wanted && dev->listeners[i].in_guest && dev->listeners[i].fd < 0;
	return n;
}

void lx_devices_settled(struct lx_proxyd *d)
{
	struct lx_proxy_device *dev;

	TAILQ_FOREACH (dev, &d->devices, next)
		dev->wanted = false;
}

bool lx_devices_any(const struct lx_proxyd *d)
{
	return !TAILQ_EMPTY(&d->devices);
}

void lx_devices_close(struct lx_proxyd *d)
{
	while (!TAILQ_EMPTY(&d->devices))
		device_close(TAILQ_FIRST(&d->devices));
}
