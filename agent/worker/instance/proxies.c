/*
 * lx-proxy is started as a companion of the instance, before there is a guest, and told of it then.
 */
#include "agent/worker/instance/proxies.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/worker/control_socket.h"
#include "agent/worker/endpoint.h"
#include "agent/worker/instance/companion.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "profiles/proxy.h"
#include "proto/pb.h"

#define PROGRAM   "lx-proxy"
#define CGROUP    "/proxy"
#define ANSWER_MS 15000

/* ------------------------------------------------------------------ what there is */

/* Its options as a map, which borrows from the specification. True for a proxy. */
static bool read_options(const Lxmgr__V1__InstanceSpec__DevicesEntry *e, struct lx_map *ret)
{
	lx_map_init(ret, NULL);
	for (size_t i = 0; e->value && i < e->value->n_options; i++)
		if (lx_map_set(ret, e->value->options[i]->key, e->value->options[i]->value) < 0)
			return false;
	return lx_streq(lx_map_get(ret, "type"), LX_PROXY_TYPE);
}

static bool has_proxies(const lx_spec *spec)
{
	for (size_t i = 0; i < spec->n_devices; i++) {
		const Lxmgr__V1__Device *d = spec->devices[i]->value;

		if (d && lx_streq(lx_pb_map_get(d->n_options, d->options, "type"), LX_PROXY_TYPE))
			return true;
	}
	return false;
}

/* ------------------------------------------------------------------ talking */

static int wait_answer(const struct lx_job *job, int fd, struct lx_err *err)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	Lxmgr__V1__WorkerReport *report = NULL;
	int extra, r = poll(&p, 1, ANSWER_MS);

	if (r <= 0)
		return lx_err_set(err, LX_DEADLINE_EXCEEDED, "the proxies of %s do not answer", job->name);
	r = lx_worker_recv_report(fd, &report, &extra, err);
	if (r == 0)
		return lx_err_set(err, LX_INTERNAL, "the proxies of %s have ended", job->name);
	if (r < 0)
		return r;
	if (extra >= 0)
		close(extra);
	r = report->what_case == LXMGR__V1__WORKER_REPORT__WHAT_ERROR
		    ? lx_worker_error_get(report->error, err)
		    : 0;
	lxmgr__v1__worker_report__free_unpacked(report, NULL);
	return r;
}

static int tell(const struct lx_job *job, int fd, const lx_spec *spec, const struct lx_run *run,
		struct lx_err *err)
{
	Lxmgr__V1__WorkerJob msg = LXMGR__V1__WORKER_JOB__INIT;
	Lxmgr__V1__ProxyJob proxy = LXMGR__V1__PROXY_JOB__INIT;

	msg.spec = (lx_spec *)(uintptr_t)spec;
	msg.job_case = LXMGR__V1__WORKER_JOB__JOB_PROXY;
	msg.proxy = &proxy;
	if (run) {
		proxy.monitor_pid = run->monitor;
		proxy.monitor_start = run->monitor_start;
	}
	int r = lx_worker_send_job(fd, &msg, NULL, err);

	return r < 0 ? r : wait_answer(job, fd, err);
}

/* ------------------------------------------------------------------ starting */

static int start(const struct lx_job *job, const struct lx_cgroups *cg, int mounts, int *ret_fd,
		 struct lx_err *err)
{
	char *const argv[] = { (char *)(uintptr_t)PROGRAM, (char *)(uintptr_t)job->run_dir,
			       (char *)(uintptr_t)job->name, NULL };
	int r = lx_companion_start(job, cg, &(struct lx_companion){ PROGRAM, CGROUP, argv }, mounts, ret_fd,
				   err);

	if (r == -ENOENT)
		lx_err_wrap(err, "%s has proxies", job->name);
	return r;
}

int lx_proxies_start(const struct lx_job *job, const struct lx_cgroups *cg, const lx_spec *spec, int mounts,
		     int *ret_fd, struct lx_err *err)
{
	*ret_fd = -1;
	if (!has_proxies(spec))
		return 0;
	lx_autoclose int fd = -1;
	int r = start(job, cg, mounts, &fd, err);

	if (r == 0)
		r = tell(job, fd, spec, NULL, err);
	if (r == 0)
		*ret_fd = lx_move_fd(fd);
	return r;
}

int lx_proxies_guest_runs(const struct lx_job *job, int fd, const struct lx_run *run, struct lx_err *err)
{
	lx_autoclose int channel = fd;

	return channel < 0 ? 0 : tell(job, channel, NULL, run, err);
}

/* ------------------------------------------------------------------ changing */

static int update(const struct lx_job *job, const struct lx_cgroups *cg, const lx_spec *spec,
		  const struct lx_run *run, struct lx_err *err)
{
	lx_autoclose int fd = lx_control_connect(job->run_dir, job->name, LX_CONTROL_PROXY, 0, err);

	if (fd < 0 && fd != -ENOENT)
		return fd;
	if (fd == -ENOENT) {
		if (!has_proxies(spec))
			return 0;
		int r = start(job, cg, -1, &fd, err);

		if (r < 0)
			return r;
	}
	return tell(job, fd, spec, run, err);
}

static bool same_proxies(const lx_spec *a, const lx_spec *b)
{
	for (size_t i = 0; i < a->n_devices; i++) {
		struct lx_map x, y = { 0 };
		bool same = true;

		if (read_options(a->devices[i], &x)) {
			same = false;
			for (size_t k = 0; k < b->n_devices; k++)
				if (strcmp(a->devices[i]->key, b->devices[k]->key) == 0) {
					(void)read_options(b->devices[k], &y);
					same = lx_map_same_strings(&x, &y);
				}
		}
		lx_map_release(&x);
		lx_map_release(&y);
		if (!same)
			return false;
	}
	return true;
}

int lx_proxies_update(const struct lx_job *job, const struct lx_cgroups *cg, const lx_spec *old,
		      const lx_spec *new, const struct lx_run *run, struct lx_err *err)
{
	if (same_proxies(old, new) && same_proxies(new, old))
		return 0;
	int r = update(job, cg, new, run, err);

	if (r < 0)
		(void)update(job, cg, old, run, NULL);
	return r;
}

void lx_proxies_forget(const struct lx_job *job)
{
	lx_autospec lx_spec *spec = NULL;

	lx_control_forget(job->run_dir, job->name, LX_CONTROL_PROXY);
	if (lx_spec_load(job, &spec, NULL) < 0)
		return;
	for (size_t i = 0; i < spec->n_devices; i++) {
		struct lx_endpoint e;
		struct lx_map options;
		struct lx_proxy p;

		if (read_options(spec->devices[i], &options) && lx_proxy_read(&options, &p) == 1 &&
		    !p.in_guest) {
			lx_endpoint_of(&p.listen, 0, &e);
			lx_endpoint_forget(&e);
		}
		lx_map_release(&options);
	}
}
