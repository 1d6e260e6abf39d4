/*
 * Datagrams between the agent and its workers.
 *
 * The happy path: pack the message, sendmsg(2) it with SCM_RIGHTS; on the other side peek
 * at the size, receive into memory of that size, unpack. Ways to fail: a message over
 * LX_WORKER_DATAGRAM_MAX is refused by the sender and by the receiver; more descriptors
 * than LX_WORKER_FDS_MAX, or bytes that are no message, make the receiver give up (what
 * came along is closed).
 */
#include "agent/worker/proto.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "lib/cleanup.h"

/* The kernel charges its own bookkeeping to the buffer as well. */
#define SOCKET_BUFFER (2 * LX_WORKER_DATAGRAM_MAX)

void lx_worker_fds_close(struct lx_worker_fds *fds)
{
	for (size_t i = 0; i < fds->n; i++) {
		if (fds->fd[i] >= 0)
			close(fds->fd[i]);
		fds->fd[i] = -1;
	}
	fds->n = 0;
}

static void grow_buffer(int fd)
{
	int size = SOCKET_BUFFER;

	/* Past net.core.wmem_max only with privilege; without, the default carries any usual message. */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

int lx_worker_socketpair(int *ret_agent, int *ret_worker, struct lx_err *err)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return lx_err_errno(err, errno, "cannot make a socket pair for a worker");
	grow_buffer(pair[0]);
	grow_buffer(pair[1]);
	/* O_NONBLOCK belongs to the open file, and each end is one: the worker's must block. */
	int flags = fcntl(pair[1], F_GETFL);

	if (flags < 0 || fcntl(pair[1], F_SETFL, flags & ~O_NONBLOCK) < 0) {
		int e = errno;

		close(pair[0]);
		close(pair[1]);
		return lx_err_errno(err, e, "cannot make a socket pair for a worker");
	}
	*ret_agent = pair[0];
	*ret_worker = pair[1];
	return 0;
}

/* ------------------------------------------------------------------ datagrams */

static int send_message(int fd, const ProtobufCMessage *m, const int *fds, size_t n_fds, struct lx_err *err)
{
	size_t len = protobuf_c_message_get_packed_size(m);
	const char *what = m->descriptor->short_name;

	if (len > LX_WORKER_DATAGRAM_MAX)
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED,
				  "cannot send a %s of %zu bytes: the limit is %d bytes", what, len,
				  LX_WORKER_DATAGRAM_MAX);
	/* Never NULL: a message without fields is empty. */
	lx_autofree uint8_t *data = malloc(len + 1);

	if (!data)
		return lx_err_oom(err);
	protobuf_c_message_pack(m, data);

	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * LX_WORKER_FDS_MAX)];
	} control = { 0 };
	struct iovec iov = { .iov_base = data, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (n_fds > LX_WORKER_FDS_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "cannot send %zu descriptors with a %s", n_fds,
				  what);
	if (n_fds > 0) {
		msg.msg_control = control.space;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	ssize_t w;

	do
		w = sendmsg(fd, &msg, MSG_NOSIGNAL);
	while (w < 0 && errno == EINTR);
	if (w < 0)
		return lx_err_errno(err, errno, "cannot send a %s", what);
	return 0;
}

static void take_fds(struct msghdr *msg, struct lx_worker_fds *ret)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		for (size_t i = 0; i < n && ret->n < LX_WORKER_FDS_MAX; i++)
			memcpy(&ret->fd[ret->n++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
	}
}

static int recv_message(int fd, const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret,
			struct lx_worker_fds *ret_fds, struct lx_err *err)
{
	const char *what = type->short_name;
	char probe;
	ssize_t size;

	ret_fds->n = 0;
	/* With MSG_TRUNC the answer is the datagram's real size. */
	do
		size = recv(fd, &probe, 1, MSG_PEEK | MSG_TRUNC);
	while (size < 0 && errno == EINTR);
	if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return -EAGAIN;
	/* A peer that died with unread messages resets the connection: gone, as with EOF. */
	if (size < 0 && errno == ECONNRESET)
		return 0;
	if (size < 0)
		return lx_err_errno(err, errno, "cannot receive a %s", what);
	/* An empty datagram would look the same, but no message here packs to nothing. */
	if (size == 0)
		return 0;
	if (size > LX_WORKER_DATAGRAM_MAX)
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED,
				  "refusing a %s of %zd bytes: the limit is %d bytes", what, size,
				  LX_WORKER_DATAGRAM_MAX);
	lx_autofree uint8_t *data = malloc((size_t)size);

	if (!data)
		return lx_err_oom(err);
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * LX_WORKER_FDS_MAX)];
	} control;
	struct iovec iov = { .iov_base = data, .iov_len = (size_t)size };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.space,
			      .msg_controllen = sizeof(control.space) };
	ssize_t r;

	do
		r = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return lx_err_errno(err, errno, "cannot receive a %s", what);
	take_fds(&msg, ret_fds);
	if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		lx_worker_fds_close(ret_fds);
		return lx_err_set(err, LX_INTERNAL, "received a %s that was cut off", what);
	}
	*ret = protobuf_c_message_unpack(type, NULL, (size_t)r, data);
	if (!*ret) {
		lx_worker_fds_close(ret_fds);
		return lx_err_set(err, LX_INTERNAL, "received %zd bytes that are not a %s", r, what);
	}
	return 1;
}

/* ------------------------------------------------------------------ jobs */

int lx_worker_send_job(int fd, const Lxmgr__V1__WorkerJob *job, const struct lx_worker_fds *fds,
		       struct lx_err *err)
{
	return send_message(fd, &job->base, fds ? fds->fd : NULL, fds ? fds->n : 0, err);
}

int lx_worker_recv_job(int fd, Lxmgr__V1__WorkerJob **ret, struct lx_worker_fds *ret_fds, struct lx_err *err)
{
	ProtobufCMessage *m = NULL;
	int r = recv_message(fd, &lxmgr__v1__worker_job__descriptor, &m, ret_fds, err);

	if (r == 1)
		*ret = (Lxmgr__V1__WorkerJob *)m;
	return r;
}

/* ------------------------------------------------------------------ reports */

int lx_worker_send_progress(int fd, const char *phase, uint64_t done, uint64_t total, const char *unit,
			    struct lx_err *err)
{
	Lxmgr__V1__ImageProgress progress = LXMGR__V1__IMAGE_PROGRESS__INIT;
	Lxmgr__V1__WorkerReport report = LXMGR__V1__WORKER_REPORT__INIT;

	/* protobuf-c has no const strings; packing only reads them. */
	progress.phase = (char *)(uintptr_t)phase;
	progress.done = done;
	progress.total = total;
	progress.unit = (char *)(uintptr_t)unit;
	report.what_case = LXMGR__V1__WORKER_REPORT__WHAT_PROGRESS;
	report.progress = &progress;
	return send_message(fd, &report.base, NULL, 0, err);
}

int lx_worker_send_started(int fd, int pid, int extra, struct lx_err *err)
{
	Lxmgr__V1__WorkerStarted started = LXMGR__V1__WORKER_STARTED__INIT;
	Lxmgr__V1__WorkerReport report = LXMGR__V1__WORKER_REPORT__INIT;

	started.pid = pid;
	report.what_case = LXMGR__V1__WORKER_REPORT__WHAT_STARTED;
	report.started = &started;
	return send_message(fd, &report.base, &extra, extra >= 0 ? 1 : 0, err);
}

int lx_worker_send_result(int fd, const Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	Lxmgr__V1__WorkerResult none = LXMGR__V1__WORKER_RESULT__INIT;
	Lxmgr__V1__WorkerReport report = LXMGR__V1__WORKER_REPORT__INIT;

	report.what_case = LXMGR__V1__WORKER_REPORT__WHAT_RESULT;
	report.result = result ? (Lxmgr__V1__WorkerResult *)(uintptr_t)result : &none;
	return send_message(fd, &report.base, NULL, 0, err);
}

int lx_worker_send_error(int fd, const struct lx_err *what, struct lx_err *err)
{
	Lxmgr__V1__WorkerError error = LXMGR__V1__WORKER_ERROR__INIT;
	Lxmgr__V1__WorkerReport report = LXMGR__V1__WORKER_REPORT__INIT;

	error.code = what->code;
	error.message = (char *)(uintptr_t)what->msg;
	error.hint = (char *)(uintptr_t)what->hint;
	report.what_case = LXMGR__V1__WORKER_REPORT__WHAT_ERROR;
	report.error = &error;
	return send_message(fd, &report.base, NULL, 0, err);
}

int lx_worker_recv_report(int fd, Lxmgr__V1__WorkerReport **ret, int *ret_extra, struct lx_err *err)
{
	ProtobufCMessage *m = NULL;
	struct lx_worker_fds fds;
	int r = recv_message(fd, &lxmgr__v1__worker_report__descriptor, &m, &fds, err);

	*ret_extra = -1;
	if (r != 1)
		return r;
	if (fds.n > 0) {
		*ret_extra = fds.fd[0];
		fds.fd[0] = -1;
	}
	lx_worker_fds_close(&fds);
	*ret = (Lxmgr__V1__WorkerReport *)m;
	return 1;
}

int lx_worker_error_get(const Lxmgr__V1__WorkerError *e, struct lx_err *err)
{
	/* A code this side does not know, or "OK" in an error, still is an error. */
	bool known = e->code > LX_OK && e->code <= LX_UNAUTHENTICATED;
	int r = lx_err_set(err, known ? (enum lx_code)e->code : LX_UNKNOWN, "%s", e->message);

	if (e->hint && *e->hint)
		lx_err_hint(err, "%s", e->hint);
	return r;
}
