/*
 * What a call costs: unary calls one after the other and many at once, small and with
 * answers of 40 KB, over a unix socket and over TLS. Server and client have a thread and a
 * loop each; the client's side is part of the price.
 *
 *   rpc_bench [SECONDS [NAME]]      only the measurements whose name contains NAME
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/clock.h"
#include "tests/echo.pb-c.h"
#include "tests/system/rpc/echo_service.h"
#include "tests/unit/rpc_certs.h"

typedef Lxmgr__Test__V1__EchoRequest EchoRequest;

#define MAX_SAMPLES 1000000u
#define REPLY_BYTES 40000u
#define PARALLEL    32u

/* ------------------------------------------------------------------ the server's thread */

struct host {
	pthread_t thread;
	uv_loop_t loop;
	uv_async_t stop;
	struct lx_server *server;
	struct echo_stats stats;
	char target[160];
};

static const char *only;

static void die(const char *what, const struct lx_err *err)
{
	fprintf(stderr, "%s: %s\n", what, err->msg);
	exit(1);
}

static void on_stop(uv_async_t *a)
{
	struct host *h = a->data;

	lx_server_close(h->server, NULL, NULL);
	uv_close((uv_handle_t *)a, NULL);
}

static void *host_main(void *arg)
{
	struct host *h = arg;

	uv_run(&h->loop, UV_RUN_DEFAULT);
	uv_loop_close(&h->loop);
	return NULL;
}

static void host_start(struct host *h, const char *path, const struct rpc_certs *certs)
{
	struct lx_tls_config tls = { .cert_pem = certs->server.cert,
				     .key_pem = certs->server.key,
				     .ca_pem = certs->ca.cert };
	struct lx_err err;
	int r;

	memset(h, 0, sizeof(*h));
	uv_loop_init(&h->loop);
	h->stop.data = h;
	uv_async_init(&h->loop, &h->stop, on_stop);
	if (lx_server_create(&h->loop, &h->server, &err) < 0 ||
	    echo_service_add(h->server, &h->loop, &h->stats, &err) < 0)
		die("server", &err);
	if (path)
		r = lx_server_listen_unix(h->server, path, 0600, (gid_t)-1, &err);
	else
		r = lx_server_listen_tls(h->server, "127.0.0.1:0", &tls, &err);
	if (r < 0)
		die("listen", &err);
	if (path)
		snprintf(h->target, sizeof(h->target), "unix:%s", path);
	else
		snprintf(h->target, sizeof(h->target), "127.0.0.1:%d", lx_server_port(h->server));
	pthread_create(&h->thread, NULL, host_main, h);
}

static void host_stop(struct host *h)
{
	uv_async_send(&h->stop);
	pthread_join(h->thread, NULL);
}

/* ------------------------------------------------------------------ the client */

struct bench {
	uv_loop_t loop;
	struct lx_channel *ch;
	EchoRequest req;
	unsigned running;
	uint64_t end_ns;
	uint64_t *ns; /* samples */
	size_t n;
};

struct one {
	struct bench *b;
	uint64_t start_ns;
};

static void start(struct one *o);

static void on_reply(const ProtobufCMessage *resp, const struct lx_err *err, void *arg)
{
	struct one *o = arg;
	struct bench *b = o->b;
	uint64_t now = lx_now_monotonic_ns();

	if (!resp)
		die("call", err);
	if (b->n < MAX_SAMPLES)
		b->ns[b->n++] = now - o->start_ns;
	if (now < b->end_ns)
		start(o);
	else
		b->running--;
}

static void start(struct one *o)
{
	struct lx_err err;

	o->start_ns = lx_now_monotonic_ns();
	if (lx_channel_unary(o->b->ch, &lxmgr__test__v1__echo__descriptor, "Unary", &o->b->req.base, NULL,
			     on_reply, o, NULL, &err) < 0)
		die("call", &err);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Of the sorted samples. */
static double quantile(const struct bench *b, size_t percent)
{
	size_t at = b->n * percent / 100;

	return b->n ? (double)b->ns[at] : 0;
}

static double cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void measure(struct bench *b, const char *name, unsigned parallel, unsigned size, double seconds)
{
	struct one ones[PARALLEL];
	uint64_t from = lx_now_monotonic_ns();
	double took, cpu = cpu_seconds();
	unsigned i;

	if (only && !strstr(name, only))
		return;
	b->req = (EchoRequest)LXMGR__TEST__V1__ECHO_REQUEST__INIT;
	b->req.size = size;
	b->n = 0;
	b->running = parallel;
	b->end_ns = from + (uint64_t)(seconds * 1e9);
	for (i = 0; i < parallel; i++) {
		ones[i].b = b;
		start(&ones[i]);
	}
	while (b->running)
		uv_run(&b->loop, UV_RUN_ONCE);
	took = (double)(lx_now_monotonic_ns() - from) / 1e9;
	cpu = cpu_seconds() - cpu;
	qsort(b->ns, b->n, sizeof(*b->ns), by_value);
	printf("%-28s %9.0f calls/s  p50 %7.1f us  p99 %7.1f us  cpu %6.1f us/call\n", name,
	       (double)b->n / took, quantile(b, 50) / 1e3, quantile(b, 99) / 1e3, cpu / (double)b->n * 1e6);
	fflush(stdout);
}

static void run(const char *kind, const char *path, const struct rpc_certs *certs, double seconds)
{
	struct lx_tls_config tls = { .cert_pem = certs->client.cert,
				     .key_pem = certs->client.key,
				     .ca_pem = certs->ca.cert };
	struct lx_channel_options opt = { .tls = path ? NULL : &tls };
	struct host h;
	struct bench b = { .ns = malloc(MAX_SAMPLES * sizeof(*b.ns)) };
	struct lx_err err;
	char name[64];

	host_start(&h, path, certs);
	uv_loop_init(&b.loop);
	if (!b.ns || lx_channel_create(&b.loop, h.target, &opt, &b.ch, &err) < 0)
		die("channel", &err);
	snprintf(name, sizeof(name), "%s unary empty", kind);
	measure(&b, name, 1, 0, seconds);
	snprintf(name, sizeof(name), "%s unary empty x%u", kind, PARALLEL);
	measure(&b, name, PARALLEL, 0, seconds);
	snprintf(name, sizeof(name), "%s unary 40 KB", kind);
	measure(&b, name, 1, REPLY_BYTES, seconds);
	snprintf(name, sizeof(name), "%s unary 40 KB x%u", kind, PARALLEL);
	measure(&b, name, PARALLEL, REPLY_BYTES, seconds);
	lx_channel_close(b.ch);
	uv_run(&b.loop, UV_RUN_DEFAULT);
	uv_loop_close(&b.loop);
	host_stop(&h);
	free(b.ns);
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? strtod(argv[1], NULL) : 2;
	struct rpc_certs *certs = rpc_certs_make();
	char dir[] = "/tmp/lx-rpc-bench-XXXXXX", path[64];

	only = argc > 2 ? argv[2] : NULL;
	if (!mkdtemp(dir))
		return 1;
	snprintf(path, sizeof(path), "%s/s", dir);
	run("unix", path, certs, seconds);
	run("tls", NULL, certs, seconds);
	rpc_certs_free(certs);
	rmdir(dir);
	return 0;
}
