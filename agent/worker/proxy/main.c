/*
 * lx-proxy RUN_DIR INSTANCE: see daemon.h. Descriptor 3 is the socket of the worker that has started it.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/worker/proxy/daemon.h"
#include "lib/cleanup.h"
#include "lib/log.h"

/* Two descriptors a connection, and listeners. */
#define FILES_MAX 65536

static void set_up_process(void)
{
	struct rlimit files = { FILES_MAX, FILES_MAX };

	(void)signal(SIGPIPE, SIG_IGN);
	/* Sockets get the mode that is asked for when they are there. */
	umask(0177);
	(void)setrlimit(RLIMIT_NOFILE, &files);
	(void)fcntl(LX_WORKER_FD, F_SETFD, FD_CLOEXEC);
	(void)fcntl(LX_WORKER_FD, F_SETFL, fcntl(LX_WORKER_FD, F_GETFL) | O_NONBLOCK);
}

static int set_up_loop(struct lx_proxyd *d)
{
	int r = uv_loop_init(&d->loop);

	d->loop.data = d;
	TAILQ_INIT(&d->devices);
	TAILQ_INIT(&d->conns);
	if (r == 0)
		r = uv_timer_init(&d->loop, &d->look);
	return r == 0 ? uv_timer_init(&d->loop, &d->retry) : r;
}

int main(int argc, char **argv)
{
	static struct lx_proxyd d = { .monitor_fd = -1, .init_fd = -1, .control_fd = -1 };
	struct lx_err err = LX_ERR_INIT;

	lx_log_init("lx-proxy", LX_LOG_WARN);
	if (argc != 3 || fcntl(LX_WORKER_FD, F_GETFD) < 0) {
		fputs("lx-proxy is started by lxagentd's workers.\n", stderr);
		return EXIT_FAILURE;
	}
	d.run_dir = argv[1];
	snprintf(d.instance, sizeof(d.instance), "%s", argv[2]);
	set_up_process();
	if (set_up_loop(&d) < 0 || lx_control_open(&d, LX_WORKER_FD, &err) < 0) {
		(void)lx_worker_send_error(LX_WORKER_FD, &err, NULL);
		return EXIT_FAILURE;
	}
	(void)uv_run(&d.loop, UV_RUN_DEFAULT);
	lx_devices_close(&d);
	lx_inside_stop(d.inside);
	lx_control_close(&d);
	/* The end of the process closes the rest. */
	return EXIT_SUCCESS;
}
