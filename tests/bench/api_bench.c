/*
 * How often a second the manager answers InstanceService.List over its unix socket.
 *
 *   api_bench SOCKET CALLS IN_FLIGHT
 *
 * Keeps IN_FLIGHT calls open on one connection until CALLS have been answered. The answers
 * are counted but not decoded: the manager is measured, not protobuf-c. Prints one line of
 * JSON: calls per second, median and 99th percentile latency, bytes of one answer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/str.h"
#include "rpc/rpc.h"

#define PATH "/lxmgr.v1.InstanceService/List"

struct bench {
	struct lx_channel *channel;
	uint64_t calls, started, ended;
	uint64_t *latency_ns;
	size_t answer_bytes;
	bool failed;
};

struct one {
	struct bench *b;
	uint64_t start_ns;
};

static void next(struct bench *b);

static void on_bytes(struct lx_call *call, struct lx_bytes msg, void *arg)
{
	struct one *o = arg;
	o->b->answer_bytes = msg.len;
}

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct one *o = arg;
	struct bench *b = o->b;
	if (err->code != LX_OK) {
		fprintf(stderr, "api_bench: %s\n", err->msg);
		b->failed = true;
	}
	b->latency_ns[b->ended++] = lx_now_monotonic_ns() - o->start_ns;
	free(o);
	if (!b->failed && b->started < b->calls)
		next(b);
	else if (b->ended == b->started)
		lx_channel_close(b->channel);
}

static const struct lx_call_events events = { .bytes = on_bytes, .closed = on_closed };

static void next(struct bench *b)
{
	struct lx_err err = LX_ERR_INIT;
	struct lx_call *call;
	struct one *o = malloc(sizeof(*o));
	if (!o)
		abort();
	*o = (struct one){ b, lx_now_monotonic_ns() };
	if (lx_channel_stream_raw(b->channel, PATH, NULL, &events, o, &call, &err) < 0) {
		fprintf(stderr, "api_bench: %s\n", err.msg);
		exit(1);
	}
	b->started++;
	lx_call_send_bytes(call, (struct lx_bytes){ (const uint8_t *)"", 0 });
	lx_call_half_close(call);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	struct lx_err err = LX_ERR_INIT;
	struct bench b = { 0 };
	uv_loop_t loop;
	uint64_t in_flight;
	char target[256];

	if (argc != 4 || lx_parse_u64(argv[2], &b.calls) < 0 || lx_parse_u64(argv[3], &in_flight) < 0 ||
	    !b.calls || !in_flight || in_flight > b.calls || in_flight > LX_RPC_MAX_CALLS) {
		fprintf(stderr, "usage: api_bench SOCKET CALLS IN_FLIGHT\n");
		return 2;
	}
	snprintf(target, sizeof(target), "unix:%s", argv[1]);
	b.latency_ns = calloc(b.calls + in_flight, sizeof(*b.latency_ns));
	const struct lx_channel_options opt = { 0 };
	if (!b.latency_ns || uv_loop_init(&loop) < 0 ||
	    lx_channel_create(&loop, target, &opt, &b.channel, &err) < 0) {
		fprintf(stderr, "api_bench: %s\n", err.msg);
		return 1;
	}
	uint64_t start = lx_now_monotonic_ns();
	for (uint64_t i = 0; i < in_flight; i++)
		next(&b);
	uv_run(&loop, UV_RUN_DEFAULT);
	double seconds = (double)(lx_now_monotonic_ns() - start) / 1e9;
	qsort(b.latency_ns, b.ended, sizeof(*b.latency_ns), by_value);
	uint64_t p50_ns = b.latency_ns[b.ended / 2], p99_ns = b.latency_ns[b.ended * 99 / 100];
	printf("{\"calls_per_second\": %.0f, \"p50_us\": %.0f, \"p99_us\": %.0f, \"answer_bytes\": %zu}\n",
	       (double)b.ended / seconds, (double)p50_ns / 1e3, (double)p99_ns / 1e3, b.answer_bytes);
	free(b.latency_ns);
	uv_loop_close(&loop);
	return b.failed ? 1 : 0;
}
