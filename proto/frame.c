/*
 * Length-prefixed messages. A length over LX_FRAME_MAX, an end within a message and bytes
 * that are no message are errors: after them the stream cannot be read on.
 */
#include "proto/frame.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/cleanup.h"
#include "lib/fs.h"

/* 1 with the length, 0 at the end. */
static int read_length(int fd, const char *what, size_t *ret, struct lx_err *err)
{
	uint32_t header;
	ssize_t n = lx_read_full(fd, &header, sizeof(header));

	if (n < 0)
		return lx_err_errno(err, (int)n, "cannot receive a %s", what);
	if (n == 0)
		return 0;
	if (n != sizeof(header))
		return lx_err_set(err, LX_CANCELLED, "the sender stopped before a %s", what);
	*ret = ntohl(header);
	if (*ret > LX_FRAME_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "refusing a %s of %zu bytes: the limit is %d",
				  what, *ret, LX_FRAME_MAX);
	return 1;
}

int lx_frame_read(int fd, const ProtobufCMessageDescriptor *type, ProtobufCMessage **ret, struct lx_err *err)
{
	const char *what = type->short_name;
	size_t len = 0;
	int r = read_length(fd, what, &len, err);

	if (r <= 0)
		return r;
	lx_autofree uint8_t *data = malloc(len + 1);

	if (!data)
		return lx_err_oom(err);
	ssize_t n = lx_read_full(fd, data, len);

	if (n < 0)
		return lx_err_errno(err, (int)n, "cannot receive a %s", what);
	if ((size_t)n != len)
		return lx_err_set(err, LX_CANCELLED, "the sender stopped within a %s", what);
	*ret = protobuf_c_message_unpack(type, NULL, len, data);
	if (!*ret)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "received %zu bytes that are not a %s", len,
				  what);
	return 1;
}

/* As lx_write_full(), but without SIGPIPE where the descriptor is a socket. */
static ssize_t send_full(int fd, const uint8_t *data, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t w = send(fd, data + done, n - done, MSG_NOSIGNAL);

		if (w < 0 && errno == ENOTSOCK)
			return lx_write_full(fd, data + done, n - done);
		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return -errno;
		done += (size_t)w;
	}
	return (ssize_t)done;
}

int lx_frame_write(int fd, const ProtobufCMessage *m, struct lx_err *err)
{
	size_t len = protobuf_c_message_get_packed_size(m);

	if (len > LX_FRAME_MAX)
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED,
				  "cannot send a %s of %zu bytes: the limit is %d", m->descriptor->short_name,
				  len, LX_FRAME_MAX);
	lx_autofree uint8_t *data = malloc(LX_FRAME_HEADER + len);
	uint32_t header = htonl((uint32_t)len);

	if (!data)
		return lx_err_oom(err);
	memcpy(data, &header, sizeof(header));
	protobuf_c_message_pack(m, data + LX_FRAME_HEADER);
	ssize_t w = send_full(fd, data, LX_FRAME_HEADER + len);

	return w < 0 ? lx_err_errno(err, (int)w, "cannot send a %s", m->descriptor->short_name) : 0;
}
