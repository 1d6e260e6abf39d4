/*
 * A channel's connection under bytes from a server: one call of each kind is under way while they
 * come. Whatever comes, each call is closed once, and everything is freed.
 *
 * The first byte chooses as in fuzz_rpc_conn.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "rpc/rpc.h"
#include "tests/echo.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* SETTINGS, and the acknowledgement of the client's. */
static const char preface[] = "\0\0\0\4\0\0\0\0\0\0\0\0\4\1\0\0\0\0";

static uv_loop_t loop;
static int listener = -1;
static char target[128];
static unsigned closed[4];

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void set_up(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char dir[] = "/tmp/lx-fuzz-XXXXXX";

	uv_loop_init(&loop);
	must(mkdtemp(dir) != NULL);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/s", dir);
	snprintf(target, sizeof(target), "unix:%s", addr.sun_path);
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	must(bind(listener, (struct sockaddr *)&addr, sizeof(addr)) == 0 && listen(listener, 8) == 0);
}

static void clean_up(void)
{
	char *slash = strrchr(target, '/');

	unlink(target + strlen("unix:"));
	*slash = '\0';
	rmdir(target + strlen("unix:"));
}

static void on_message(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	must(*(unsigned *)arg == 0);
	lx_call_pause(call);
	lx_call_resume(call);
}

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	(*(unsigned *)arg)++;
}

static void on_unary(const ProtobufCMessage *resp, const struct lx_err *err, void *arg)
{
	must(!resp == (err->code != LX_OK));
	(*(unsigned *)arg)++;
}

static const struct lx_call_events events = { .message = on_message, .closed = on_closed };

static void start_calls(struct lx_channel *ch)
{
	static const char *const methods[] = { "ServerStream", "ClientStream", "Bidi" };
	Lxmgr__Test__V1__EchoRequest req = LXMGR__TEST__V1__ECHO_REQUEST__INIT;
	const ProtobufCServiceDescriptor *service = &lxmgr__test__v1__echo__descriptor;
	struct lx_call *call;
	int i;

	memset(closed, 0, sizeof(closed));
	must(lx_channel_unary(ch, service, "Unary", &req.base, NULL, on_unary, &closed[0], NULL, NULL) == 0);
	for (i = 0; i < 3; i++) {
		must(lx_channel_stream(ch, service, methods[i], NULL, &events, &closed[i + 1], &call, NULL) ==
		     0);
		lx_call_send(call, &req.base);
		if (i < 2)
			lx_call_half_close(call);
	}
}

static void work(int fd)
{
	char said[65536];
	int i;

	for (i = 0; i < 4; i++)
		uv_run(&loop, UV_RUN_NOWAIT);
	while (recv(fd, said, sizeof(said), MSG_DONTWAIT) > 0)
		uv_run(&loop, UV_RUN_NOWAIT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lx_channel *ch;
	size_t piece, n;
	int fd, i;

	if (listener < 0) {
		set_up();
		atexit(clean_up);
	}
	if (size < 2)
		return 0;
	must(lx_channel_create(&loop, target, NULL, &ch, NULL) == 0);
	start_calls(ch);
	uv_run(&loop, UV_RUN_NOWAIT);
	fd = accept(listener, NULL, NULL);
	must(fd >= 0);
	work(fd);
	if (data[0] & 1)
		must(send(fd, preface, sizeof(preface) - 1, MSG_NOSIGNAL) > 0);
	piece = data[0] >> 1 ? (size - 1) / (data[0] >> 1) + 1 : size;
	data++;
	size--;
	while (size) {
		n = piece < size ? piece : size;
		if (send(fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL) <= 0)
			break;
		work(fd);
		data += n;
		size -= n;
	}
	work(fd);
	close(fd);
	for (i = 0; i < 8; i++)
		uv_run(&loop, UV_RUN_NOWAIT);
	lx_channel_close(ch);
	uv_run(&loop, UV_RUN_DEFAULT);
	for (i = 0; i < 4; i++)
		must(closed[i] == 1);
	return 0;
}
