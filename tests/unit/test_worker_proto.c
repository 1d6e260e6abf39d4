/* The datagrams between agent and workers: round trips, limits, a peer that dies. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/worker/proto.h"

struct pair {
	int agent, worker;
};

static int setup(void **state)
{
	static struct pair p;

	*state = &p;
	return lx_worker_socketpair(&p.agent, &p.worker, NULL);
}

static int teardown(void **state)
{
	struct pair *p = *state;

	close(p->agent);
	if (p->worker >= 0)
		close(p->worker);
	return 0;
}

static void job_carries_descriptors(void **state)
{
	struct pair *p = *state;
	int pipefd[2];
	struct lx_err err = LX_ERR_INIT;

	assert_int_equal(pipe(pipefd), 0);
	Lxmgr__V1__WorkerContext ctx = LXMGR__V1__WORKER_CONTEXT__INIT;
	Lxmgr__V1__StopJob stop = LXMGR__V1__STOP_JOB__INIT;
	Lxmgr__V1__WorkerJob job = LXMGR__V1__WORKER_JOB__INIT;
	char dir[] = "/some/where";

	ctx.state_dir = dir;
	stop.force = 1;
	job.context = &ctx;
	job.job_case = LXMGR__V1__WORKER_JOB__JOB_STOP;
	job.stop = &stop;
	struct lx_worker_fds out = { .fd = { pipefd[1], pipefd[1], pipefd[1] }, .n = 3 }, in;

	assert_int_equal(lx_worker_send_job(p->agent, &job, &out, &err), 0);
	Lxmgr__V1__WorkerJob *got = NULL;

	assert_int_equal(lx_worker_recv_job(p->worker, &got, &in, &err), 1);
	assert_int_equal(got->job_case, LXMGR__V1__WORKER_JOB__JOB_STOP);
	assert_true(got->stop->force);
	assert_string_equal(got->context->state_dir, dir);
	assert_int_equal(in.n, 3);
	assert_true(fcntl(in.fd[2], F_GETFD) & FD_CLOEXEC);
	assert_int_equal(write(in.fd[2], "x", 1), 1);
	char c = 0;

	assert_int_equal(read(pipefd[0], &c, 1), 1);
	assert_int_equal(c, 'x');
	lx_worker_fds_close(&in);
	assert_int_equal(in.n, 0);
	lxmgr__v1__worker_job__free_unpacked(got, NULL);
	close(pipefd[0]);
	close(pipefd[1]);
}

static void reports_arrive_in_order_then_eof(void **state)
{
	struct pair *p = *state;
	struct lx_err err = LX_ERR_INIT, told = LX_ERR_INIT;
	Lxmgr__V1__WorkerReport *r = NULL;
	int extra;

	assert_int_equal(lx_worker_recv_report(p->agent, &r, &extra, &err), -EAGAIN);
	assert_int_equal(err.code, LX_OK);

	assert_int_equal(lx_worker_send_progress(p->worker, "unpack", 5, 10, "bytes", &err), 0);
	assert_int_equal(lx_worker_send_started(p->worker, 42, p->worker, &err), 0);
	lx_err_set(&told, LX_NOT_FOUND, "no image abc");
	lx_err_hint(&told, "Import it first.");
	assert_int_equal(lx_worker_send_error(p->worker, &told, &err), 0);
	assert_int_equal(lx_worker_send_result(p->worker, NULL, &err), 0);
	close(p->worker);
	p->worker = -1;

	assert_int_equal(lx_worker_recv_report(p->agent, &r, &extra, &err), 1);
	assert_int_equal(r->what_case, LXMGR__V1__WORKER_REPORT__WHAT_PROGRESS);
	assert_string_equal(r->progress->phase, "unpack");
	assert_int_equal(r->progress->total, 10);
	assert_int_equal(extra, -1);
	lxmgr__v1__worker_report__free_unpacked(r, NULL);

	assert_int_equal(lx_worker_recv_report(p->agent, &r, &extra, &err), 1);
	assert_int_equal(r->what_case, LXMGR__V1__WORKER_REPORT__WHAT_STARTED);
	assert_int_equal(r->started->pid, 42);
	assert_true(extra >= 0);
	close(extra);
	lxmgr__v1__worker_report__free_unpacked(r, NULL);

	assert_int_equal(lx_worker_recv_report(p->agent, &r, &extra, &err), 1);
	assert_int_equal(r->what_case, LXMGR__V1__WORKER_REPORT__WHAT_ERROR);
	struct lx_err back = LX_ERR_INIT;

	assert_int_equal(lx_worker_error_get(r->error, &back), lx_code_errno(LX_NOT_FOUND));
	assert_string_equal(back.msg, told.msg);
	assert_string_equal(back.hint, told.hint);
	lxmgr__v1__worker_report__free_unpacked(r, NULL);

	assert_int_equal(lx_worker_recv_report(p->agent, &r, &extra, &err), 1);
	assert_int_equal(r->what_case, LXMGR__V1__WORKER_REPORT__WHAT_RESULT);
	lxmgr__v1__worker_report__free_unpacked(r, NULL);

	assert_int_equal(lx_worker_recv_report(p->agent, &r, &extra, &err), 0);
	assert_int_equal(
		lx_worker_send_job(p->agent, &(Lxmgr__V1__WorkerJob)LXMGR__V1__WORKER_JOB__INIT, NULL, &err),
		-EPIPE);
}

static void size_is_limited(void **state)
{
	struct pair *p = *state;
	struct lx_err err = LX_ERR_INIT;
	Lxmgr__V1__WorkerContext ctx = LXMGR__V1__WORKER_CONTEXT__INIT;
	Lxmgr__V1__WorkerJob job = LXMGR__V1__WORKER_JOB__INIT, *got = NULL;
	struct lx_worker_fds fds;
	char *text = malloc(LX_WORKER_DATAGRAM_MAX + 1);

	assert_non_null(text);
	memset(text, 'a', LX_WORKER_DATAGRAM_MAX);
	text[LX_WORKER_DATAGRAM_MAX] = '\0';
	ctx.state_dir = text;
	job.context = &ctx;
	assert_true(lx_worker_send_job(p->agent, &job, NULL, &err) < 0);
	assert_int_equal(err.code, LX_RESOURCE_EXHAUSTED);

	/* Just below it passes, where the kernel lets the buffer grow. */
	text[LX_WORKER_DATAGRAM_MAX - 16] = '\0';
	if (geteuid() == 0) {
		assert_int_equal(lx_worker_send_job(p->agent, &job, NULL, &err), 0);
		assert_int_equal(lx_worker_recv_job(p->worker, &got, &fds, &err), 1);
		assert_int_equal(strlen(got->context->state_dir), LX_WORKER_DATAGRAM_MAX - 16);
		lxmgr__v1__worker_job__free_unpacked(got, NULL);
	}
	free(text);
}

static void garbage_is_an_error(void **state)
{
	struct pair *p = *state;
	struct lx_err err = LX_ERR_INIT;
	Lxmgr__V1__WorkerJob *got = NULL;
	struct lx_worker_fds fds;

	assert_int_equal(send(p->agent, "\xff\xff\xff\xff", 4, 0), 4);
	assert_true(lx_worker_recv_job(p->worker, &got, &fds, &err) < 0);
	assert_int_equal(err.code, LX_INTERNAL);
	assert_null(got);
}

static void unknown_error_codes_stay_errors(void **state)
{
	struct lx_err err = LX_ERR_INIT;
	Lxmgr__V1__WorkerError e = LXMGR__V1__WORKER_ERROR__INIT;

	e.code = 0;
	assert_true(lx_worker_error_get(&e, &err) < 0);
	assert_int_equal(err.code, LX_UNKNOWN);
	e.code = 999;
	assert_true(lx_worker_error_get(&e, &err) < 0);
	assert_int_equal(err.code, LX_UNKNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(job_carries_descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(reports_arrive_in_order_then_eof, setup, teardown),
		cmocka_unit_test_setup_teardown(size_is_limited, setup, teardown),
		cmocka_unit_test_setup_teardown(garbage_is_an_error, setup, teardown),
		cmocka_unit_test(unknown_error_codes_stay_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
