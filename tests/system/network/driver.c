/*
 * agent/network/ for tests: commands on standard input, answers on standard output.
 *
 *   load | apply FILE | teardown | mtu NAME | close
 *   here NETWORK HWADDR IPV4 IPV6 | away NETWORK HWADDR IPV4 IPV6 NODE       ("-": none)
 *
 * FILE holds an ApplyNetworksRequest as bytes. An answer is any number of lines
 * "status NAME<TAB>TEXT", then "ok [NUMBER]" or "error CODE<TAB>MESSAGE<TAB>HINT". At the end
 * of the input the context is closed, like a daemon that exits.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/network/network.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"
#include "proto/pb.h"

#define REQUEST_MAX (64u << 20)

static struct lx_network_ctx *ctx;
static uv_pipe_t input;
static char line[4096];
static size_t line_len;

static void say_end(const struct lx_err *err)
{
	if (err)
		printf("error %s\t%s\t%s\n", lx_code_name(err->code), err->msg, err->hint);
	else
		printf("ok\n");
	fflush(stdout);
}

static void on_status(const Lxmgr__V1__ApplyNetworksResponse *status, const struct lx_err *err, void *arg)
{
	for (size_t i = 0; status && i < status->n_status; i++)
		printf("status %s\t%s\n", status->status[i]->key, status->status[i]->value);
	say_end(err);
}

static void on_done(const struct lx_err *err, void *arg)
{
	say_end(err);
}

static void on_closed(void *arg)
{
	printf("closed\n");
	fflush(stdout);
}

static void close_all(void)
{
	uv_close((uv_handle_t *)&input, NULL);
	lx_network_close(ctx, on_closed, NULL);
}

static int apply(const char *path, struct lx_err *err)
{
	lx_autobuf struct lx_buf data = { 0 };
	Lxmgr__V1__ApplyNetworksRequest *req;
	int r = lx_read_file(path, REQUEST_MAX, &data, err);

	if (r < 0)
		return r;
	req = lxmgr__v1__apply_networks_request__unpack(NULL, data.len, data.data);
	if (!req)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%s is no request", path);
	r = lx_network_apply(ctx, req, on_status, NULL, err);
	lx_pb_free(req);
	return r;
}

static int move(char *args, struct lx_err *err)
{
	char *word[6] = { NULL };
	size_t n = 0;

	for (char *w; n < LX_ARRAY_SIZE(word) && (w = strsep(&args, " ")); n++)
		word[n] = lx_streq(w, "-") ? NULL : w;
	if (n == 4)
		return lx_network_here(ctx, word[0], word[1], word[2], word[3], err);
	if (n == 5)
		return lx_network_away(ctx, word[0], word[1], word[2], word[3], word[4], err);
	return lx_err_set(err, LX_INVALID_ARGUMENT, "%zu words", n);
}

static void run(char *command)
{
	char *arg = strchr(command, ' ');
	struct lx_err err = LX_ERR_INIT;
	int r = 0;

	if (arg)
		*arg++ = '\0';
	if (lx_streq(command, "load")) {
		r = lx_network_load(ctx, on_status, NULL, &err);
	} else if (lx_streq(command, "apply") && arg) {
		r = apply(arg, &err);
	} else if (lx_streq(command, "teardown")) {
		r = lx_network_teardown(ctx, on_done, NULL, &err);
	} else if (lx_streq(command, "mtu") && arg) {
		printf("ok %u\n", lx_network_mtu(ctx, arg));
		fflush(stdout);
	} else if ((lx_streq(command, "here") || lx_streq(command, "away")) && arg) {
		r = move(arg, &err);
		if (r == 0)
			say_end(NULL);
	} else if (lx_streq(command, "names")) {
		for (size_t i = 0; i < lx_network_count(ctx); i++)
			printf("status %s\t\n", lx_network_name(ctx, i));
		say_end(NULL);
	} else if (lx_streq(command, "close")) {
		close_all();
	} else {
		r = lx_err_set(&err, LX_INVALID_ARGUMENT, "unknown command %s", command);
	}
	if (r < 0)
		say_end(&err);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
	*buf = uv_buf_init(line + line_len, (unsigned)(sizeof(line) - 1 - line_len));
}

static void on_input(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	char *start = line, *end;

	if (n < 0) {
		close_all();
		return;
	}
	line_len += (size_t)n;
	line[line_len] = '\0';
	for (; (end = strchr(start, '\n')); start = end + 1) {
		*end = '\0';
		run(start);
	}
	line_len -= (size_t)(start - line);
	memmove(line, start, line_len);
}

int main(int argc, char **argv)
{
	struct lx_err err = LX_ERR_INIT;
	uv_loop_t loop;

	if (argc != 3) {
		fprintf(stderr, "usage: %s STATE_DIR RUN_DIR\n", argv[0]);
		return 2;
	}
	lx_log_init("network-driver", LX_LOG_DEBUG);
	signal(SIGPIPE, SIG_IGN);
	uv_loop_init(&loop);
	uv_pipe_init(&loop, &input, 0);
	if (lx_network_open(&loop, argv[1], argv[2], &ctx, &err) < 0) {
		say_end(&err);
		return 1;
	}
	uv_pipe_open(&input, STDIN_FILENO);
	uv_read_start((uv_stream_t *)&input, on_alloc, on_input);
	uv_run(&loop, UV_RUN_DEFAULT);
	return uv_loop_close(&loop) == 0 ? 0 : 3; /* 3: a handle was left open */
}
