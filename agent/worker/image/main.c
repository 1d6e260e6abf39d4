/*
 * lx-image-worker: does one job with an image and exits. The agent starts it with one end
 * of a socket pair as descriptor 3 (see agent/worker/proto.h).
 *
 * The happy path: receive the job, do it while reporting progress, send the result. A
 * failed job is an error report and exit 0 all the same: the worker itself has worked.
 * SIGTERM cancels the job, which then cleans up after itself. When the agent has gone the
 * job is finished nevertheless: its outcome is on the disk.
 */
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/worker/image/transfer.h"
#include "agent/worker/proto.h"
#include "images/build.h"
#include "images/export.h"
#include "images/import.h"
#include "images/store.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/str.h"
#include "proto/pb.h"

#define PROGRESS_INTERVAL_NS (100 * LX_NSEC_PER_MSEC)
/* Archives and decompressors allocate what their input tells them to. */
#define IMPORT_MEMORY_MAX (UINT64_C(3) << 30)

static volatile sig_atomic_t cancelled;

static void on_term(int sig)
{
	(void)sig;
	cancelled = 1;
}

/* ------------------------------------------------------------------ progress */

struct reporter {
	uint64_t last_ns;
	char phase[32];
	bool gone; /* nobody listens any more */
};

static int report(void *arg, const char *phase, uint64_t done, uint64_t total, const char *unit)
{
	struct reporter *r = arg;
	uint64_t now = lx_now_monotonic_ns();

	if (cancelled)
		return -ECANCELED;
	bool same = strncmp(r->phase, phase, sizeof(r->phase) - 1) == 0;

	if (r->gone || (same && now - r->last_ns < PROGRESS_INTERVAL_NS))
		return 0;
	r->last_ns = now;
	strncpy(r->phase, phase, sizeof(r->phase) - 1);
	r->gone = lx_worker_send_progress(LX_WORKER_FD, phase, done, total, unit, NULL) < 0;
	return 0;
}

/* ------------------------------------------------------------------ jobs */

static int limit_memory(struct lx_err *err)
{
	struct rlimit memory = { IMPORT_MEMORY_MAX, IMPORT_MEMORY_MAX };

	return setrlimit(RLIMIT_AS, &memory) < 0
		       ? lx_err_errno(err, errno, "cannot limit the worker's memory")
		       : 0;
}

static int import_image(const char *state_dir, const Lxmgr__V1__ImportImageJob *job,
			const struct lx_progress *progress, Lxmgr__V1__Image **ret, struct lx_err *err)
{
	if (!job->start)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "the import job does not say what to import");
	struct lx_image_import in = {
		.state_dir = state_dir,
		.metadata_path = job->metadata_path,
		.rootfs_path = job->start->split ? job->rootfs_path : NULL,
		.expect_fingerprint = job->start->expect_fingerprint,
		.n_properties = job->start->n_properties,
		.properties = job->start->properties,
		.progress = progress,
	};

	int r = limit_memory(err);

	return r < 0 ? r : lx_image_import(&in, ret, err);
}

static int export_image(const char *state_dir, const Lxmgr__V1__ExportImageRequest *request,
			const struct lx_worker_fds *fds, const struct lx_progress *progress,
			struct lx_err *err)
{
	if (fds->n != 1)
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "the export job came without a descriptor to write to");
	return lx_image_export(state_dir, request->image, request->compression, fds->fd[0], progress, err);
}

static int check_fds(const struct lx_worker_fds *fds, struct lx_err *err)
{
	return fds->n == 1 ? 0 : lx_err_set(err, LX_INVALID_ARGUMENT, "the job came without a descriptor");
}

static int send_image(const char *state_dir, const Lxmgr__V1__SendImageJob *job,
		      const struct lx_worker_fds *fds, const struct lx_progress *progress, struct lx_err *err)
{
	int r = check_fds(fds, err);

	return r < 0 ? r : lx_worker_send_image(state_dir, job->fingerprint, fds->fd[0], progress, err);
}

static int receive_image(const char *state_dir, const Lxmgr__V1__ReceiveImageJob *job,
			 const struct lx_worker_fds *fds, const struct lx_progress *progress,
			 Lxmgr__V1__Image **ret, struct lx_err *err)
{
	int r = check_fds(fds, err);

	if (r == 0)
		r = limit_memory(err);
	return r < 0 ? r
		     : lx_worker_receive_image(state_dir, job->fingerprint, fds->fd[0], progress, ret, err);
}

static int run(const Lxmgr__V1__WorkerJob *job, const struct lx_worker_fds *fds, Lxmgr__V1__Image **ret,
	       struct lx_err *err)
{
	struct reporter reporter = { 0 };
	struct lx_progress progress = { .report = report, .arg = &reporter };

	if (!job->context || lx_str_empty(job->context->state_dir))
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "the job does not say where the agent's state is");
	const char *state_dir = job->context->state_dir;

	switch (job->job_case) {
	case LXMGR__V1__WORKER_JOB__JOB_IMPORT_IMAGE:
		return import_image(state_dir, job->import_image, &progress, ret, err);
	case LXMGR__V1__WORKER_JOB__JOB_BUILD_IMAGE:
		return lx_image_build(state_dir, job->build_image, &progress, ret, err);
	case LXMGR__V1__WORKER_JOB__JOB_EXPORT_IMAGE:
		return export_image(state_dir, job->export_image, fds, &progress, err);
	case LXMGR__V1__WORKER_JOB__JOB_DELETE_IMAGE:
		return lx_image_delete(state_dir, job->delete_image->fingerprint, err);
	case LXMGR__V1__WORKER_JOB__JOB_SEND_IMAGE:
		return send_image(state_dir, job->send_image, fds, &progress, err);
	case LXMGR__V1__WORKER_JOB__JOB_RECEIVE_IMAGE:
		return receive_image(state_dir, job->receive_image, fds, &progress, ret, err);
	default:
		return lx_err_set(err, LX_INVALID_ARGUMENT, "this worker does not know the job it was given");
	}
}

static int do_job(const Lxmgr__V1__WorkerJob *job, struct lx_worker_fds *fds)
{
	Lxmgr__V1__WorkerResult result = LXMGR__V1__WORKER_RESULT__INIT;
	struct lx_err err = LX_ERR_INIT, unsent = LX_ERR_INIT;
	int r = run(job, fds, &result.image, &err);

	/* The end of an export's stream must be seen before its result. */
	lx_worker_fds_close(fds);
	r = r < 0 ? lx_worker_send_error(LX_WORKER_FD, &err, &unsent)
		  : lx_worker_send_result(LX_WORKER_FD, &result, &unsent);
	lx_pb_free(result.image);
	if (r < 0 && r != -EPIPE)
		lx_error("cannot report", "why=\"%s\"", unsent.msg);
	return r < 0 ? 1 : 0;
}

static void watch_signals(void)
{
	/* Not restarting system calls: a blocked one returns and the job looks at `cancelled`. */
	struct sigaction term = { .sa_handler = on_term };
	struct sigaction ignore = { .sa_handler = SIG_IGN };

	sigaction(SIGTERM, &term, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
}

int main(void)
{
	Lxmgr__V1__WorkerJob *job = NULL;
	struct lx_worker_fds fds = { .n = 0 };
	struct lx_err err = LX_ERR_INIT;

	lx_log_init("lx-image-worker", LX_LOG_WARN);
	umask(022);
	/* Archives store names as UTF-8; in the "C" locale libarchive could not give them to us. */
	setlocale(LC_CTYPE, "C.UTF-8");
	int r = lx_worker_recv_job(LX_WORKER_FD, &job, &fds, &err);

	if (r == 0)
		return 0;
	if (r < 0) {
		lx_error("cannot receive a job", "why=\"%s\"", err.msg);
		return 1;
	}
	watch_signals();
	r = do_job(job, &fds);
	lx_pb_free(job);
	return r;
}
