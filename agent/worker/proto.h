/*
 * What the agent and its workers say to each other (proto/lxmgr/v1/worker.proto):
 * one job to the worker, then reports back. Each message is one datagram on a
 * SOCK_SEQPACKET pair, with descriptors beside it.
 *
 * Used by both sides, with blocking descriptors in the workers and non-blocking
 * ones in the agent. Receiving returns
 *
 *    1        a message; the caller owns it and the descriptors (close-on-exec)
 *    0        the other side has closed its end
 *   -EAGAIN   nothing there yet (non-blocking only); the error is untouched
 *   < 0       broken: do not read again
 *
 * Sending returns 0 or a negative errno, -EPIPE when the other side is gone. It never
 * raises SIGPIPE. The descriptors passed in stay the caller's.
 */
#ifndef LX_AGENT_WORKER_PROTO_H
#define LX_AGENT_WORKER_PROTO_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"
#include "lxmgr/v1/worker.pb-c.h"

/* Largest message. An instance's expanded configuration has to fit, see LX_CONFIG_MAX_*. */
#define LX_WORKER_DATAGRAM_MAX (1024 * 1024)
/* Descriptors beside one message: exec's stdin, stdout, stderr. */
#define LX_WORKER_FDS_MAX 3
/* The worker's end of the pair. */
#define LX_WORKER_FD 3

struct lx_worker_fds {
	int fd[LX_WORKER_FDS_MAX];
	size_t n;
};

/* Closes what is left in there; taken ones are marked by -1. */
void lx_worker_fds_close(struct lx_worker_fds *fds);

/* Both ends close-on-exec, with room for the largest message. The agent's end is non-blocking. */
int lx_worker_socketpair(int *ret_agent, int *ret_worker, struct lx_err *err);

/* ------------------------------------------------------------------ jobs */

/* `fds` may be NULL. */
int lx_worker_send_job(int fd, const Lxmgr__V1__WorkerJob *job, const struct lx_worker_fds *fds,
		       struct lx_err *err);
int lx_worker_recv_job(int fd, Lxmgr__V1__WorkerJob **ret, struct lx_worker_fds *ret_fds, struct lx_err *err);

/* ------------------------------------------------------------------ reports */

int lx_worker_send_progress(int fd, const char *phase, uint64_t done, uint64_t total, const char *unit,
			    struct lx_err *err);
/* `extra`: a descriptor that goes along (the pty's master), or -1. */
int lx_worker_send_started(int fd, int pid, int extra, struct lx_err *err);
/* The last message of a worker is one of these two. NULL: an empty result. */
int lx_worker_send_result(int fd, const Lxmgr__V1__WorkerResult *result, struct lx_err *err);
int lx_worker_send_error(int fd, const struct lx_err *what, struct lx_err *err);

/* *ret_extra is the descriptor that came along, or -1. */
int lx_worker_recv_report(int fd, Lxmgr__V1__WorkerReport **ret, int *ret_extra, struct lx_err *err);

/* The error a worker reported, back as one. Returns the negative errno that fits. */
int lx_worker_error_get(const Lxmgr__V1__WorkerError *e, struct lx_err *err);

#endif
