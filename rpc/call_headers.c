/*
 * Headers of a call, one at a time. Servers learn what is asked for, clients the status;
 * what has no meaning to gRPC is kept for lx_call_metadata().
 */
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "rpc/call.h"

/* What HTTP/2 counts for a header beside its text (RFC 9113, 6.5.2). */
#define HEADER_OVERHEAD 32u

struct text {
	const char *p;
	size_t len;
};

static bool is(struct text t, const char *s)
{
	return strlen(s) == t.len && memcmp(t.p, s, t.len) == 0;
}

/* "application/grpc", "application/grpc+proto", "application/grpc;..." */
static bool is_grpc_type(struct text t)
{
	static const char type[] = "application/grpc";
	size_t n = sizeof(type) - 1;

	return t.len >= n && memcmp(t.p, type, n) == 0 && (t.len == n || t.p[n] == '+' || t.p[n] == ';');
}

/* Digits only; -1 for anything else. */
static int small_number(struct text t)
{
	size_t i;
	int n = 0;

	if (t.len == 0 || t.len > 3)
		return -1;
	for (i = 0; i < t.len; i++) {
		if (t.p[i] < '0' || t.p[i] > '9')
			return -1;
		n = n * 10 + (t.p[i] - '0');
	}
	return n;
}

static bool server_header(struct lx_call *call, struct text name, struct text value)
{
	uint64_t timeout, now;

	if (is(name, ":path")) {
		free(call->path);
		call->path = strndup(value.p, value.len);
	} else if (is(name, ":method")) {
		call->is_post = is(value, "POST");
	} else if (is(name, "content-type")) {
		call->is_grpc = is_grpc_type(value);
	} else if (is(name, "grpc-timeout")) {
		now = lx_now_monotonic_ns();
		if (lx_timeout_parse(value.p, value.len, &timeout) < 0)
			call->bad_timeout = true;
		else if (timeout < UINT64_MAX - now)
			call->deadline_ns = now + timeout;
	} else {
		return false;
	}
	return true;
}

static bool client_header(struct lx_call *call, struct text name, struct text value)
{
	int n;

	if (is(name, ":status")) {
		call->http_status = small_number(value);
	} else if (is(name, "content-type")) {
		call->is_grpc = is_grpc_type(value);
	} else if (is(name, "grpc-status")) {
		n = small_number(value);
		call->has_status = true;
		call->err.code = n >= 0 && n <= LX_UNAUTHENTICATED ? (enum lx_code)n : LX_UNKNOWN;
	} else if (is(name, "grpc-message")) {
		lx_percent_decode(value.p, value.len, call->err.msg, sizeof(call->err.msg));
	} else if (is(name, "lxmgr-hint")) {
		lx_percent_decode(value.p, value.len, call->err.hint, sizeof(call->err.hint));
	} else {
		return false;
	}
	return true;
}

void lx_call_on_header(struct lx_call *call, const char *name, size_t name_len, const char *value,
		       size_t value_len)
{
	struct text n = { name, name_len }, v = { value, value_len };

	if (call->finished)
		return;
	call->header_bytes += name_len + value_len + HEADER_OVERHEAD;
	if (call->header_bytes > LX_RPC_MAX_METADATA) {
		call->headers_big = true;
		return;
	}
	if (call->server ? server_header(call, n, v) : client_header(call, n, v))
		return;
	if (name[0] == ':' || is(n, "te") || is(n, "grpc-encoding") || is(n, "grpc-accept-encoding"))
		return;
	if (lx_rpc_metadata_add(&call->metadata, name, name_len, value, value_len) < 0)
		call->headers_big = true;
}

/* What an answer that is not gRPC's stands for. */
static enum lx_code http_code(int status)
{
	switch (status) {
	case 400:
		return LX_INTERNAL;
	case 401:
		return LX_UNAUTHENTICATED;
	case 403:
		return LX_PERMISSION_DENIED;
	case 404:
		return LX_UNIMPLEMENTED;
	case 429:
	case 502:
	case 503:
	case 504:
		return LX_UNAVAILABLE;
	default:
		return LX_UNKNOWN;
	}
}

void lx_call_on_response(struct lx_call *call)
{
	if (call->http_status >= 100 && call->http_status < 200) {
		/* "Wait": the real ones follow. */
		call->headers_done = false;
		return;
	}
	if (call->finished || (call->http_status == 200 && call->is_grpc))
		return;
	/* A page of some other server may follow; nobody wants it. */
	lx_call_settle_status(call);
	lx_http2_reset(call, NGHTTP2_CANCEL);
	lx_call_finish(call, &call->err);
}

void lx_call_settle_status(struct lx_call *call)
{
	const char *who = call->conn->name;

	if (call->headers_big)
		lx_err_set(&call->err, LX_RESOURCE_EXHAUSTED, "%s: %s sent more than %u bytes of headers",
			   call->path, who, LX_RPC_MAX_METADATA);
	else if (call->http_status != 200)
		lx_err_set(&call->err, http_code(call->http_status), "%s: %s answered with HTTP status %d",
			   call->path, who, call->http_status);
	else if (!call->is_grpc)
		lx_err_set(&call->err, LX_UNKNOWN, "%s: %s does not answer as a gRPC server", call->path,
			   who);
	else if (!call->has_status)
		lx_err_set(&call->err, LX_INTERNAL, "%s: %s ended the call without a status", call->path,
			   who);
	else if (call->err.code == LX_OK)
		call->err = LX_ERR_INIT;
	else if (!call->err.msg[0])
		lx_err_set(&call->err, call->err.code, "%s: %s", call->path, lx_code_name(call->err.code));
	else if (call->conn->owner->answered)
		call->conn->owner->answered(call->conn, &call->err);
}
