/*
 * grpc.reflection.v1alpha: lets generic clients list and call what is served here.
 *
 * Happy path: each request on the stream is answered in order, from the descriptors the
 * server was given; the list of services is what is really registered.
 * Ways to fail: an unknown name (an error response, the stream goes on), a request that asks
 * for nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "grpc/reflection/v1alpha/reflection.pb-c.h"
#include "rpc/descriptor.h"
#include "rpc/reflection.h"
#include "rpc/server.h"

/* Services that are listed. */
#define MAX_SERVICES 128u

typedef Grpc__Reflection__V1alpha__ServerReflectionRequest Request;
typedef Grpc__Reflection__V1alpha__ServerReflectionResponse Response;

struct lx_reflection {
	struct lx_server *server;
	struct lx_descriptor_set set;
};

static void respond(struct lx_call *call, Response *resp)
{
	if (lx_call_send(call, &resp->base) == 1)
		lx_call_pause(call);
}

static void send_error(struct lx_call *call, Response *resp, enum lx_code code, const char *text)
{
	Grpc__Reflection__V1alpha__ErrorResponse error = GRPC__REFLECTION__V1ALPHA__ERROR_RESPONSE__INIT;

	error.error_code = (int32_t)code;
	error.error_message = (char *)(uintptr_t)text;
	resp->message_response_case =
		GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
	resp->error_response = &error;
	respond(call, resp);
}

static void send_file(struct lx_call *call, Response *resp, const struct lx_descriptor_set *set, ssize_t file)
{
	Grpc__Reflection__V1alpha__FileDescriptorResponse answer =
		GRPC__REFLECTION__V1ALPHA__FILE_DESCRIPTOR_RESPONSE__INIT;
	ProtobufCBinaryData files[LX_DESCRIPTOR_MAX_FILES];
	size_t at[LX_DESCRIPTOR_MAX_FILES], i;

	if (file < 0) {
		send_error(call, resp, LX_NOT_FOUND, "there is no such file or symbol");
		return;
	}
	answer.n_file_descriptor_proto = lx_descriptor_closure(set, (size_t)file, at);
	for (i = 0; i < answer.n_file_descriptor_proto; i++)
		files[i] = (ProtobufCBinaryData){ .data = (uint8_t *)(uintptr_t)set->files[at[i]].data,
						  .len = set->files[at[i]].len };
	answer.file_descriptor_proto = files;
	resp->message_response_case =
		GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
	resp->file_descriptor_response = &answer;
	respond(call, resp);
}

/* Methods are kept by path, those of a service one after the other. */
static void send_services(struct lx_call *call, Response *resp, const struct lx_server *s)
{
	Grpc__Reflection__V1alpha__ListServiceResponse list =
		GRPC__REFLECTION__V1ALPHA__LIST_SERVICE_RESPONSE__INIT;
	Grpc__Reflection__V1alpha__ServiceResponse items[MAX_SERVICES], *pointers[MAX_SERVICES];
	const ProtobufCServiceDescriptor *last = NULL;
	struct lx_map_entry *e;
	size_t n = 0;

	for (e = lx_map_first(&s->methods); e && n < MAX_SERVICES; e = lx_map_next(e)) {
		const struct lx_bound_method *b = lx_map_value(e);

		if (b->service == last)
			continue;
		last = b->service;
		grpc__reflection__v1alpha__service_response__init(&items[n]);
		items[n].name = (char *)(uintptr_t)b->service->name;
		pointers[n] = &items[n];
		n++;
	}
	list.service = pointers;
	list.n_service = n;
	resp->message_response_case =
		GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
	resp->list_services_response = &list;
	respond(call, resp);
}

static void on_message(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Request *req = (const Request *)msg;
	struct lx_reflection *r = arg;
	Response resp = GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_RESPONSE__INIT;

	resp.valid_host = req->host;
	resp.original_request = (Request *)(uintptr_t)req;
	switch (req->message_request_case) {
	case GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
		send_file(call, &resp, &r->set, lx_descriptor_by_name(&r->set, req->file_by_filename));
		break;
	case GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
		send_file(call, &resp, &r->set,
			  lx_descriptor_by_symbol(&r->set, req->file_containing_symbol));
		break;
	case GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
		send_services(call, &resp, r->server);
		break;
	case GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
	case GRPC__REFLECTION__V1ALPHA__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
		send_error(call, &resp, LX_NOT_FOUND, "proto3 messages have no extensions");
		break;
	default:
		send_error(call, &resp, LX_INVALID_ARGUMENT, "the request asks for nothing");
		break;
	}
}

static void on_writable(struct lx_call *call, void *arg)
{
	lx_call_resume(call);
}

static void on_half_closed(struct lx_call *call, void *arg)
{
	lx_call_fail(call, NULL);
}

static void on_open(struct lx_call *call, void *arg)
{
	static const struct lx_call_events events = {
		.message = on_message,
		.writable = on_writable,
		.half_closed = on_half_closed,
	};

	lx_call_set_events(call, &events, arg);
}

static const struct lx_method methods[] = {
	{ .name = "ServerReflectionInfo", .client_stream = true, .server_stream = true, .open = on_open },
};

static const struct lx_service service = {
	.descriptor = &grpc__reflection__v1alpha__server_reflection__descriptor,
	.methods = methods,
	.n_methods = 1,
};

int lx_server_add_reflection(struct lx_server *s, const uint8_t *fds, size_t len, struct lx_err *err)
{
	struct lx_reflection *r;
	int rc;

	if (s->reflection)
		return lx_err_set(err, LX_ALREADY_EXISTS, "the server has reflection already");
	r = calloc(1, sizeof(*r));
	if (!r)
		return lx_err_oom(err);
	r->server = s;
	rc = lx_descriptor_set_parse(&r->set, (struct lx_bytes){ .data = fds, .len = len }, err);
	if (rc == 0)
		rc = lx_server_add(s, &service, r, err);
	if (rc < 0) {
		lx_reflection_free(r);
		return rc;
	}
	s->reflection = r;
	return 0;
}

void lx_reflection_free(struct lx_reflection *r)
{
	if (!r)
		return;
	lx_descriptor_set_release(&r->set);
	free(r);
}
