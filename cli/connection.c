/*
 * One loop, one channel, calls one after the other.
 *
 * The happy path: the first call makes loop and channel, the channel dials, the answer
 * comes, the loop is left. When the manager cannot be reached the library says that the
 * connection failed; cli_explain() then looks at the socket itself and names cause and
 * cure, because "is it running?" is what a person has to find out next.
 */
#include "cli/connection.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "lib/fs.h"
#include "proto/pb.h"

uv_loop_t *cli_loop(const struct cli *cli)
{
	return cli->loop;
}

void cli_cleanup_pb(void *p)
{
	lx_pb_free(*(void **)p);
}

void *cli_pb_new(const ProtobufCMessageDescriptor *type)
{
	ProtobufCMessage *msg = calloc(1, type->sizeof_message);

	if (msg)
		protobuf_c_message_init(type, msg);
	return msg;
}

static int dial_unix(struct cli *cli, struct lx_err *err)
{
	const struct lx_channel_options opt = { 0 };
	lx_autofree char *target = lx_asprintf("unix:%s", cli->socket);

	if (!target)
		return lx_err_oom(err);
	return lx_channel_create_unix(cli->loop, target, &opt, &cli->channel, err);
}

int cli_loop_open(struct cli *cli, struct lx_err *err)
{
	uv_loop_t *loop = cli->loop ? NULL : calloc(1, sizeof(*loop));

	if (cli->loop)
		return 0;
	if (!loop)
		return lx_err_oom(err);
	int r = uv_loop_init(loop);
	if (r < 0) {
		free(loop);
		return lx_err_errno(err, r, "cannot make an event loop");
	}
	cli->loop = loop;
	return 0;
}

int cli_connect(struct cli *cli, struct lx_err *err)
{
	if (cli->channel)
		return 0;
	int r = cli_loop_open(cli, err);
	if (r < 0)
		return r;
	cli->dialled = true;
	return cli->dial_remote ? cli->dial_remote(cli, err) : dial_unix(cli, err);
}

void cli_disconnect(struct cli *cli)
{
	lx_channel_close(cli->channel);
	cli->channel = NULL;
	if (cli->loop) {
		uv_run(cli->loop, UV_RUN_DEFAULT);
		uv_loop_close(cli->loop);
		free(cli->loop);
		cli->loop = NULL;
	}
}

int cli_run(struct cli *cli, const bool *done, struct lx_err *err)
{
	while (!*done)
		if (!uv_run(cli->loop, UV_RUN_ONCE) && !*done)
			return lx_err_set(err, LX_INTERNAL,
					  "the connection went quiet before the answer came");
	return 0;
}

static const int deadly[] = { SIGINT, SIGTERM, SIGHUP };

struct interrupt {
	uv_signal_t signals[LX_ARRAY_SIZE(deadly)];
	unsigned open; /* signals that the loop has not let go of */
	struct lx_call *call;
	const bool *closed;
	int signum;
};

static void on_deadly(uv_signal_t *handle, int signum)
{
	struct interrupt *i = handle->data;

	i->signum = signum;
	if (!*i->closed)
		lx_call_cancel(i->call);
}

static void on_signal_closed(uv_handle_t *handle)
{
	struct interrupt *i = handle->data;

	i->open--;
}

int cli_run_call(struct cli *cli, struct lx_call *call, const bool *closed, struct lx_err *err)
{
	struct interrupt i = { .call = call, .closed = closed };

	for (; i.open < LX_ARRAY_SIZE(deadly); i.open++) {
		uv_signal_init(cli->loop, &i.signals[i.open]);
		i.signals[i.open].data = &i;
		uv_signal_start(&i.signals[i.open], on_deadly, deadly[i.open]);
	}
	int r = cli_run(cli, closed, err);
	for (unsigned n = 0; n < LX_ARRAY_SIZE(deadly); n++)
		uv_close((uv_handle_t *)&i.signals[n], on_signal_closed);
	while (i.open)
		uv_run(cli->loop, UV_RUN_ONCE);
	return i.signum ? lx_err_set(err, LX_CANCELLED, "interrupted") : r;
}

const struct lx_call_options *cli_options(const struct cli *cli)
{
	static const char *metadata[1][2] = { { "lxmgr-project", NULL } };
	static const struct lx_call_options in_project = { .metadata = metadata, .n_metadata = 1 };

	metadata[0][1] = cli->project;
	return cli->project ? &in_project : NULL;
}

struct answer {
	bool done;
	ProtobufCMessage *resp;
	struct lx_err err;
};

static void on_answer(const ProtobufCMessage *resp, const struct lx_err *err, void *arg)
{
	struct answer *a = arg;

	a->done = true;
	if (err && err->code != LX_OK) {
		a->err = *err;
		return;
	}
	a->resp = lx_pb_dup(resp);
	if (!a->resp)
		lx_err_oom(&a->err);
}

int cli_call(struct cli *cli, const ProtobufCServiceDescriptor *service, const char *method, const void *req,
	     void *ret_resp, struct lx_err *err)
{
	struct answer a = { .err = LX_ERR_INIT };
	int r = cli_connect(cli, err);

	if (r == 0)
		r = lx_channel_unary(cli->channel, service, method, req, cli_options(cli), on_answer, &a,
				     NULL, err);
	if (r == 0)
		r = cli_run(cli, &a.done, err);
	if (r < 0)
		return r;
	if (a.err.code != LX_OK) {
		*err = a.err;
		return lx_code_errno(a.err.code);
	}
	if (ret_resp)
		*(void **)ret_resp = a.resp;
	else
		lx_pb_free(a.resp);
	return 0;
}

/* 0 or the errno with which connecting to the socket fails. */
static int try_socket(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	lx_autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return errno;
	if (strlen(path) >= sizeof(sa.sun_path))
		return ENAMETOOLONG;
	memcpy(sa.sun_path, path, strlen(path));
	return connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? errno : 0;
}

void cli_explain(const struct cli *cli, struct lx_err *err)
{
	if (err->code != LX_UNAVAILABLE || *err->hint || !cli->dialled)
		return;
	if (cli->remote) {
		lx_err_hint(err, "Is lxmgrd running there, and does %s reach it?", cli->remote);
		return;
	}
	switch (try_socket(cli->socket)) {
	case ENOENT:
	case ENOTDIR:
		lx_err_set(err, LX_UNAVAILABLE, "cannot reach the manager: there is no socket %s",
			   cli->socket);
		break;
	case ECONNREFUSED:
		lx_err_set(err, LX_UNAVAILABLE, "cannot reach the manager: nobody answers on %s",
			   cli->socket);
		break;
	case EACCES:
		lx_err_set(err, LX_PERMISSION_DENIED, "cannot reach the manager: you may not use %s",
			   cli->socket);
		lx_err_hint(err, "Run lxmgr as root, or as a member of the group that owns the socket.");
		return;
	default:
		return;
	}
	lx_err_hint(err,
		    "Is lxmgrd running? Start it (systemctl start lxmgrd), start a cluster of one "
		    "(lxmgr dev up, make quickstart), or name its socket with --socket or LXMGR_SOCKET.");
}
