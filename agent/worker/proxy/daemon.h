/*
 * lx-proxy: the proxies of one running instance, in one process.
 *
 *      instance worker ---- jobs: which devices, then who the monitor is ----> control.c
 *                                                                                |
 *      guest's init, watched (watch.c)  --- it runs / it has ended --->  device.c: listeners
 *                                                                                |
 *      inside.c: sockets in the guest  <--- listen, connect -----  stream.c, datagram.c
 *
 * It is in a cgroup of its own below the instance's, so that whatever ends the instance ends it; it
 * leaves by itself when liblxc's monitor has. The agent may come and go meanwhile: workers talk to it
 * over a socket in the run directory.
 */
#ifndef LX_PROXY_DAEMON_H
#define LX_PROXY_DAEMON_H

#include <errno.h>
#include <uv.h>

#include "agent/worker/proto.h"
#include "agent/worker/endpoint.h"
#include "agent/worker/proxy/inside.h"
#include "lib/list.h"
#include "lib/str.h"

/* Connections and datagram sessions of all devices of an instance. */
#define LX_PROXY_OPEN_MAX 4096

struct lx_proxy_device;
struct lx_conn;

struct lx_proxyd {
	uv_loop_t loop;
	char instance[LX_NAME_MAX + 1];
	bool privileged;

	/* watch.c */
	int monitor_fd, init_fd; /* pidfds; -1: not known */
	int monitor;
	uv_poll_t on_monitor, on_init;
	uv_timer_t look;
	struct lx_inside *inside; /* NULL while no guest runs */

	/* device.c */
	TAILQ_HEAD(, lx_proxy_device) devices;
	TAILQ_HEAD(, lx_conn) conns;
	unsigned n_open; /* connections and sessions */
	uv_timer_t retry;

	/* control.c */
	const char *run_dir;
	int control_fd; /* listens there */
	uv_poll_t on_client;
	struct lx_apply *apply; /* a job under way */
};

/* ------------------------------------------------------------------ watch.c */

/* The monitor is there: from now on its child is the guest, after a reboot inside another one. */
int lx_watch_begin(struct lx_proxyd *d, int monitor, uint64_t start, struct lx_err *err);
/* A socket in the guest; -ESRCH when none runs. */
int lx_watch_ask(struct lx_proxyd *d, bool listen, const struct lx_endpoint *e, lx_inside_cb cb, void *arg);

/* ------------------------------------------------------------------ device.c */

/* Told by watch.c. */
void lx_devices_guest_runs(struct lx_proxyd *d);
void lx_devices_guest_ended(struct lx_proxyd *d);

/*
 * Makes the devices those of the specification: others are closed, new ones opened. What listens in
 * the guest is open later, when there is a guest: lx_devices_waiting() says how many that are, and
 * each ends with lx_apply_opened(), until lx_devices_settled().
 */
int lx_devices_apply(struct lx_proxyd *d, const Lxmgr__V1__InstanceSpec *spec, struct lx_err *err);
unsigned lx_devices_waiting(const struct lx_proxyd *d);
void lx_devices_settled(struct lx_proxyd *d);
bool lx_devices_any(const struct lx_proxyd *d);
/* Closes all; sockets with paths on the node are removed. */
void lx_devices_close(struct lx_proxyd *d);

/* ------------------------------------------------------------------ stream.c, datagram.c */

struct lx_listener {
	struct lx_proxy_device *device;
	struct lx_endpoint here, there; /* where it listens, where it connects */
	bool in_guest;                  /* it listens in the guest */
	int fd;                         /* -1: not open */
	bool opening, closing, polling;
	int fault; /* that was told of, so that each is told once */
	uv_poll_t poll;
	TAILQ_HEAD(, lx_session) sessions; /* of datagrams */
};

/* The listener has something: connections to accept, datagrams to read. */
void lx_stream_accept(struct lx_proxyd *d, struct lx_listener *l);
void lx_datagram_read(struct lx_proxyd *d, struct lx_listener *l);
/* Sessions that have been silent for long end. */
void lx_datagram_sweep(struct lx_listener *l);
void lx_datagram_close(struct lx_listener *l);
/* Ends connections of one device; NULL: of all. */
void lx_stream_close(struct lx_proxyd *d, const struct lx_proxy_device *device);

/*
 * A socket on the other side than the listener's, perhaps still connecting: returned, or a negative
 * errno; LX_DIAL_LATER: the callback (inside.h) gets it.
 */
#define LX_DIAL_LATER (-EINPROGRESS)
int lx_dial(struct lx_proxyd *d, const struct lx_listener *l, lx_inside_cb cb, void *arg);
/* One connection or session more or less: listeners rest while there are too many. */
void lx_count(struct lx_proxyd *d, int more);
/* The machine is out of something: it rests for a moment. */
void lx_listener_rest(struct lx_listener *l);

/* ------------------------------------------------------------------ control.c */

/* `job_fd`: the one that was inherited. */
int lx_control_open(struct lx_proxyd *d, int job_fd, struct lx_err *err);
void lx_apply_opened(struct lx_proxyd *d, const struct lx_err *err);
void lx_control_close(struct lx_proxyd *d);

#endif
