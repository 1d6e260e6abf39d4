/*
 * The echo service as a program, for clients that are not ours.
 *
 *   rpc_echo_server unix PATH [DESCRIPTORS]
 *   rpc_echo_server tls HOST:PORT CERT KEY CA [DESCRIPTORS]
 *
 * Prints "ready PORT" when it listens; ends on SIGTERM, printing "gone" once all is freed.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/fs.h"
#include "tests/system/rpc/echo_service.h"

#define MAX_FILE (1u << 20)

static struct lx_server *server;
static uv_signal_t term;

static int listen_tls(char **argv, struct lx_err *err)
{
	lx_autobuf struct lx_buf cert = { 0 }, key = { 0 }, ca = { 0 };
	struct lx_tls_config tls;
	int r;

	r = lx_read_file(argv[3], MAX_FILE, &cert, err);
	if (r == 0)
		r = lx_read_file(argv[4], MAX_FILE, &key, err);
	if (r == 0)
		r = lx_read_file(argv[5], MAX_FILE, &ca, err);
	if (r < 0)
		return r;
	tls = (struct lx_tls_config){
		.cert_pem = lx_buf_str(&cert),
		.key_pem = lx_buf_str(&key),
		.ca_pem = lx_buf_str(&ca),
	};
	return lx_server_listen_tls(server, argv[2], &tls, err);
}

static void on_gone(void *arg)
{
	puts("gone");
}

static void on_term(uv_signal_t *s, int sig)
{
	lx_server_close(server, on_gone, NULL);
	uv_close((uv_handle_t *)s, NULL);
}

int main(int argc, char **argv)
{
	bool tls = argc >= 6 && strcmp(argv[1], "tls") == 0;
	bool local = argc >= 3 && strcmp(argv[1], "unix") == 0;
	const char *descriptors = argv[tls && argc > 6 ? 6 : local && argc > 3 ? 3 : argc];
	lx_autobuf struct lx_buf fds = { 0 };
	struct echo_stats stats = { 0 };
	struct lx_err err = LX_ERR_INIT;
	uv_loop_t loop;
	int r;

	if (!tls && !local) {
		fprintf(stderr,
			"usage: %s unix PATH [DESCRIPTORS] | tls HOST:PORT CERT KEY CA [DESCRIPTORS]\n",
			argv[0]);
		return 2;
	}
	uv_loop_init(&loop);
	r = lx_server_create(&loop, &server, &err);
	if (r == 0)
		r = echo_service_add(server, &loop, &stats, &err);
	if (r == 0 && descriptors)
		r = lx_read_file(descriptors, MAX_FILE, &fds, &err);
	if (r == 0 && descriptors)
		r = lx_server_add_reflection(server, fds.data, fds.len, &err);
	if (r == 0)
		r = tls ? listen_tls(argv, &err)
			: lx_server_listen_unix(server, argv[2], 0600, (gid_t)-1, &err);
	if (r < 0) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	uv_signal_init(&loop, &term);
	uv_signal_start(&term, on_term, SIGTERM);
	printf("ready %d\n", tls ? lx_server_port(server) : 0);
	fflush(stdout);
	uv_run(&loop, UV_RUN_DEFAULT);
	return uv_loop_close(&loop) == 0 && stats.open == 0 ? 0 : 1;
}
