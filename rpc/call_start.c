/* Beginning a call, on the client's side. The rest is as on the server's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/cleanup.h"
#include "lib/str.h"
#include "rpc/channel.h"

static int check_metadata(const struct lx_call_options *opt, struct lx_err *err)
{
	size_t i, bytes = 0;
	int r;

	if (!opt)
		return 0;
	if (opt->n_metadata > LX_CALL_MAX_OWN_HEADERS)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%zu metadata entries, at most %u are allowed",
				  opt->n_metadata, LX_CALL_MAX_OWN_HEADERS);
	for (i = 0; i < opt->n_metadata; i++) {
		r = lx_rpc_metadata_check(opt->metadata[i][0], opt->metadata[i][1], err);
		if (r < 0)
			return r;
		bytes += strlen(opt->metadata[i][0]) + strlen(opt->metadata[i][1]);
	}
	if (bytes > LX_RPC_MAX_METADATA / 2)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%zu bytes of metadata, at most %u are allowed",
				  bytes, LX_RPC_MAX_METADATA / 2);
	return 0;
}

/* On the channel's connection, or on a fresh one when that has used up its stream numbers. */
static int begin(struct lx_channel *ch, char *path, const struct lx_call_options *opt, struct lx_call **ret,
		 struct lx_err *err)
{
	struct lx_call *call;
	struct lx_conn *c;
	int r;

	do {
		r = lx_channel_conn(ch, &c, err);
		if (r < 0)
			return r;
		call = lx_call_new(c, false);
		if (!call)
			return lx_err_oom(err);
		call->path = path;
		r = lx_http2_request(call, opt, err);
		if (r < 0) {
			call->path = NULL;
			lx_call_free(call);
		}
		if (r == -EAGAIN)
			lx_channel_retire(ch);
	} while (r == -EAGAIN);
	if (r < 0)
		return r;
	if (opt && opt->timeout_ms && opt->timeout_ms <= LX_CALL_MAX_TIMEOUT_MS) {
		call->deadline_ns = lx_now_monotonic_ns() + opt->timeout_ms * LX_NSEC_PER_MSEC;
		lx_conn_add_deadline(c, call);
	}
	*ret = call;
	return 0;
}

static int start(struct lx_channel *ch, char *path, const struct lx_call_options *opt, struct lx_call **ret,
		 struct lx_err *err)
{
	int r = path ? check_metadata(opt, err) : lx_err_oom(err);

	if (r == 0)
		r = begin(ch, path, opt, ret, err);
	if (r)
		free(path);
	return r;
}

static int find(const ProtobufCServiceDescriptor *service, const char *method,
		const ProtobufCMethodDescriptor **ret, struct lx_err *err)
{
	*ret = protobuf_c_service_descriptor_get_method_by_name(service, method);
	if (*ret)
		return 0;
	return lx_err_set(err, LX_INVALID_ARGUMENT, "service %s has no method %s", service->name, method);
}

int lx_channel_stream_raw(struct lx_channel *ch, const char *path, const struct lx_call_options *opt,
			  const struct lx_call_events *events, void *arg, struct lx_call **ret,
			  struct lx_err *err)
{
	struct lx_call *call;
	int r = start(ch, strdup(path), opt, &call, err);

	if (r)
		return r;
	call->raw = true;
	lx_call_set_events(call, events, arg);
	if (ret)
		*ret = call;
	return 0;
}

int lx_channel_stream(struct lx_channel *ch, const ProtobufCServiceDescriptor *service, const char *method,
		      const struct lx_call_options *opt, const struct lx_call_events *events, void *arg,
		      struct lx_call **ret, struct lx_err *err)
{
	const ProtobufCMethodDescriptor *m;
	struct lx_call *call;
	int r;

	r = find(service, method, &m, err);
	if (r == 0)
		r = start(ch, lx_asprintf("/%s/%s", service->name, method), opt, &call, err);
	if (r)
		return r;
	call->incoming = m->output;
	lx_call_set_events(call, events, arg);
	if (ret)
		*ret = call;
	return 0;
}

int lx_channel_unary(struct lx_channel *ch, const ProtobufCServiceDescriptor *service, const char *method,
		     const ProtobufCMessage *req, const struct lx_call_options *opt, lx_unary_cb cb,
		     void *arg, struct lx_call **ret_call, struct lx_err *err)
{
	const ProtobufCMethodDescriptor *m;
	struct lx_call *call;
	size_t size;
	int r;

	r = find(service, method, &m, err);
	if (r < 0)
		return r;
	size = protobuf_c_message_get_packed_size(req);
	if (size > LX_RPC_MAX_MESSAGE)
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED,
				  "%s: the request has %zu bytes, the limit is %u", method, size,
				  LX_RPC_MAX_MESSAGE);
	r = start(ch, lx_asprintf("/%s/%s", service->name, method), opt, &call, err);
	if (r)
		return r;
	call->incoming = m->output;
	r = lx_call_send(call, req);
	if (r < 0) {
		/* Out of memory: the call has ended and nobody will hear of it. */
		*err = call->err;
		return r;
	}
	lx_call_half_close(call);
	call->unary = cb;
	call->arg = arg;
	if (ret_call)
		*ret_call = call;
	return 0;
}
