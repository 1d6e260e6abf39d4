/*
 * A server's connection under bytes from a client: HTTP/2 frames, headers, messages of the
 * echo service. Whatever comes, every call that was opened is closed once, and everything is freed.
 *
 * The first byte chooses: bit 0, a proper connection preface goes ahead of the input; the rest, in
 * how many pieces it arrives.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/server.h"
#include "tests/system/rpc/echo_service.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";

static uv_loop_t loop;
static struct lx_server *server;
static struct echo_stats stats;

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void set_up(void)
{
	uv_loop_init(&loop);
	must(lx_server_create(&loop, &server, NULL) == 0);
	must(echo_service_add(server, &loop, &stats, NULL) == 0);
}

/* What accepting a client does. */
static void adopt(int fd)
{
	struct lx_conn *c;

	must(lx_server_new_conn(server, NULL, &c, NULL) == 0);
	must(uv_pipe_init(&loop, &c->io.pipe, 0) == 0);
	must(uv_pipe_open(&c->io.pipe, fd) == 0);
	c->io_open = true;
	c->handles++;
	lx_conn_start(c);
}

/* Lets the server work, and throws away what it says. */
static void work(int fd)
{
	char answer[65536];
	int i;

	for (i = 0; i < 4; i++)
		uv_run(&loop, UV_RUN_NOWAIT);
	while (recv(fd, answer, sizeof(answer), MSG_DONTWAIT) > 0)
		uv_run(&loop, UV_RUN_NOWAIT);
}

static void say(int fd, const void *data, size_t size)
{
	const char *p = data;

	while (size) {
		ssize_t n = send(fd, p, size, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n > 0) {
			p += n;
			size -= (size_t)n;
		}
		work(fd);
		if (n <= 0)
			return;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t piece, n;
	int fd[2], i;

	if (!server)
		set_up();
	if (size < 2)
		return 0;
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd) == 0);
	adopt(fd[0]);
	if (data[0] & 1)
		say(fd[1], preface, sizeof(preface) - 1);
	piece = data[0] >> 1 ? (size - 1) / (data[0] >> 1) + 1 : size;
	data++;
	size--;
	while (size) {
		n = piece < size ? piece : size;
		say(fd[1], data, n);
		data += n;
		size -= n;
	}
	close(fd[1]);
	for (i = 0; i < 1000 && server->n_conns; i++)
		uv_run(&loop, UV_RUN_NOWAIT);
	uv_run(&loop, UV_RUN_NOWAIT);
	must(server->n_conns == 0);
	must(stats.open == 0);
	return 0;
}
