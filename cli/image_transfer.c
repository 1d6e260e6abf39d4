/*
 * lxmgr image import, export: images as files.
 *
 * Import: start, the bytes of one or two files, then the manager's progress while it
 * unpacks, then the image. Export: what the image is, then its bytes, into a temporary
 * file that gets its name when all of it is there. An interrupted transfer leaves nothing.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "cli/connection.h"
#include "cli/image.h"
#include "cli/operations.h"
#include "cli/progress.h"
#include "cli/settings.h"
#include "lib/fs.h"
#include "proto/pb.h"

#define CHUNK (256u << 10) /* bytes in one message, as the manager takes them */

const struct cli_option cli_image_import_options[] = {
	{ "alias", 0, "NAME", "give it this alias; may be repeated", 0 },
	{ "reuse", 0, NULL, "take the aliases away from the image that has them", 0 },
	{ "fingerprint", 0, "SHA256", "refuse any other image", 0 },
	{ "target", 0, "NODE", "store it on this node first", CLI_NODE },
	{ .name = NULL },
};

const struct cli_option cli_image_export_options[] = {
	{ "compression", 0, "NAME", "zstd (default), gzip, xz or none", 0 },
	{ .name = NULL },
};

/* ------------------------------------------------------------------ import */

struct upload {
	struct cli *cli;
	struct lx_call *call;
	const char *path[2];
	int fd[2];
	uint64_t size[2], sent;
	unsigned n, part;
	uint8_t *chunk;
	bool full, half_closed, closed;
	Lxmgr__V1__Image *image;
	struct lx_err err;
	struct cli_progress progress;
};

static void show(struct upload *u, const char *phase, uint64_t done, uint64_t total, const char *unit)
{
	const struct cli_progress_state s = {
		.label = "Importing", .phase = phase, .done = done, .total = total, .unit = unit
	};

	cli_progress_show(&u->progress, &s);
}

static void send_message(struct upload *u, const Lxmgr__V1__ImportImageRequest *req)
{
	if (lx_call_send(u->call, &req->base) != 0)
		u->full = true; /* or ended: `closed` tells */
}

/* One chunk, or the end of a part. */
static int send_next(struct upload *u, struct lx_err *err)
{
	Lxmgr__V1__ImportImageRequest req = LXMGR__V1__IMPORT_IMAGE_REQUEST__INIT;
	ssize_t n = read(u->fd[u->part], u->chunk, CHUNK);

	if (n < 0)
		return lx_err_errno(err, errno, "cannot read %s", u->path[u->part]);
	if (n > 0) {
		req.what_case = LXMGR__V1__IMPORT_IMAGE_REQUEST__WHAT_DATA;
		req.data.data = u->chunk;
		req.data.len = (size_t)n;
		u->sent += (uint64_t)n;
		send_message(u, &req);
	} else if (++u->part < u->n) {
		req.what_case = LXMGR__V1__IMPORT_IMAGE_REQUEST__WHAT_NEXT_PART;
		req.next_part = true;
		send_message(u, &req);
	} else {
		lx_call_half_close(u->call);
		u->half_closed = true;
	}
	return 0;
}

static void pump(struct upload *u)
{
	int r = 0;

	while (r == 0 && !u->full && !u->closed && !u->half_closed)
		r = send_next(u, &u->err);
	if (r < 0) {
		lx_call_cancel(u->call);
		u->full = true;
	}
	if (!u->half_closed)
		show(u, "upload", u->sent, u->size[0] + u->size[1], "bytes");
}

static void on_writable(struct lx_call *call, void *arg)
{
	struct upload *u = arg;

	u->full = u->err.code != LX_OK;
	pump(u);
}

static void on_import(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__ImportImageResponse *resp = (const Lxmgr__V1__ImportImageResponse *)msg;
	struct upload *u = arg;

	if (resp->what_case == LXMGR__V1__IMPORT_IMAGE_RESPONSE__WHAT_PROGRESS) {
		const Lxmgr__V1__Operation *op = resp->progress;
		show(u, op->phase, op->progress_done, op->progress_total, op->progress_unit);
	} else if (resp->what_case == LXMGR__V1__IMPORT_IMAGE_RESPONSE__WHAT_IMAGE) {
		lx_pb_free(u->image);
		u->image = LX_PB_DUP(Lxmgr__V1__Image, resp->image);
	}
}

static void on_import_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct upload *u = arg;

	u->closed = true;
	if (u->err.code == LX_OK)
		u->err = *err;
}

/* Operands: the files, then properties. */
static int take_operands(struct cli *cli, struct upload *u, struct lx_map *properties, struct lx_err *err)
{
	int i = 0, r = 0;

	for (; i < cli->args.n_operands && i < 2; i++) {
		const char *path = cli_operand(cli, i);
		struct stat st;
		if (i && strchr(path, '=') && !lx_path_exists(path))
			break;
		u->path[u->n] = path;
		u->fd[u->n] = open(path, O_RDONLY | O_CLOEXEC);
		if (u->fd[u->n] < 0 || fstat(u->fd[u->n], &st) < 0)
			return lx_err_errno(err, errno, "cannot read %s", path);
		if (S_ISDIR(st.st_mode))
			return lx_err_set(err, LX_INVALID_ARGUMENT, "%s is a directory, not an image", path);
		u->size[u->n++] = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
	}
	for (; r == 0 && i < cli->args.n_operands; i++)
		r = cli_pair(cli, cli_operand(cli, i), properties, err);
	return r;
}

static int fill_start(struct cli *cli, const struct upload *u, const struct lx_map *properties,
		      Lxmgr__V1__ImportImageStart *start, struct lx_err *err)
{
	start->size = u->size[0];
	start->rootfs_size = u->size[1];
	start->split = u->n == 2;
	start->move_aliases = cli_flag(cli, "reuse");
	if (lx_pb_set(&start->node, cli_opt(cli, "target")) < 0 ||
	    lx_pb_set(&start->expect_fingerprint, cli_opt(cli, "fingerprint")) < 0 ||
	    lx_pb_map_from(&lxmgr__v1__import_image_start__properties_entry__descriptor, &start->n_properties,
			   &start->properties, properties) < 0)
		return lx_err_oom(err);
	int r = cli_image_aliases(cli, &start->n_aliases, &start->aliases, err);
	return r < 0 ? r : cli_request_id(&start->request_id, err);
}

static int upload(struct upload *u, Lxmgr__V1__ImportImageStart *start, struct lx_err *err)
{
	static const struct lx_call_events events = { .message = on_import,
						      .writable = on_writable,
						      .closed = on_import_closed };
	Lxmgr__V1__ImportImageRequest req = LXMGR__V1__IMPORT_IMAGE_REQUEST__INIT;
	int r = cli_connect(u->cli, err);

	if (r == 0)
		r = lx_channel_stream(u->cli->channel, CLI_IMAGES, "Import", cli_options(u->cli), &events, u,
				      &u->call, err);
	if (r != 0)
		return r;
	cli_progress_init(&u->progress, u->cli->quiet);
	req.what_case = LXMGR__V1__IMPORT_IMAGE_REQUEST__WHAT_START;
	req.start = start;
	send_message(u, &req);
	pump(u);
	r = cli_run_call(u->cli, u->call, &u->closed, err);
	cli_progress_clear(&u->progress);
	if (r == 0 && u->err.code != LX_OK) {
		*err = u->err;
		r = lx_code_errno(err->code);
	}
	if (r == 0 && !u->image)
		r = lx_err_set(err, LX_UNKNOWN, "the import ended without an image");
	return r;
}

int cli_image_import(struct cli *cli, struct lx_err *err)
{
	cli_autopb Lxmgr__V1__ImportImageStart *start =
		cli_pb_new(&lxmgr__v1__import_image_start__descriptor);
	cli_automap struct lx_map properties;
	lx_autofree uint8_t *chunk = malloc(CHUNK);
	struct upload u = { .cli = cli, .fd = { -1, -1 }, .chunk = chunk, .err = LX_ERR_INIT };

	cli_map_init(&properties);
	int r = start && chunk ? take_operands(cli, &u, &properties, err) : lx_err_oom(err);
	if (r == 0)
		r = fill_start(cli, &u, &properties, start, err);
	if (r == 0)
		r = upload(&u, start, err);
	if (r == 0)
		printf("%s\n", u.image->fingerprint);
	for (unsigned i = 0; i < 2; i++)
		if (u.fd[i] >= 0)
			close(u.fd[i]);
	lx_pb_free(u.image);
	return r;
}

/* ------------------------------------------------------------------ export */

struct download {
	struct cli *cli;
	const char *target, *ending;
	int fd;
	char *temp, *path; /* NULL: stdout */
	uint64_t bytes, total;
	bool closed;
	struct lx_err err;
	struct cli_progress progress;
};

/* The first message names the image, and so the file. */
static int begin(struct download *d, const Lxmgr__V1__Image *image, struct lx_err *err)
{
	if (d->fd >= 0)
		return lx_err_set(err, LX_DATA_LOSS, "the manager sent two images");
	d->total = image->size_bytes;
	if (lx_streq(d->target, "-")) {
		d->fd = STDOUT_FILENO;
		return 0;
	}
	if (strspn(image->fingerprint, "0123456789abcdef") != strlen(image->fingerprint))
		return lx_err_set(err, LX_DATA_LOSS, "the manager sent a fingerprint that is none");
	if (lx_is_dir(d->target))
		d->path = lx_asprintf("%s/%s%s", d->target, image->fingerprint, d->ending);
	else
		d->path = strdup(d->target);
	d->temp = d->path ? lx_asprintf("%s.XXXXXX", d->path) : NULL;
	if (!d->temp)
		return lx_err_oom(err);
	d->fd = mkostemp(d->temp, O_CLOEXEC);
	return d->fd < 0 ? lx_err_errno(err, errno, "cannot write %s", d->path) : 0;
}

static void on_export(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__ExportImageResponse *resp = (const Lxmgr__V1__ExportImageResponse *)msg;
	struct download *d = arg;
	int r = 0;

	if (d->err.code != LX_OK)
		return;
	if (resp->what_case == LXMGR__V1__EXPORT_IMAGE_RESPONSE__WHAT_IMAGE) {
		r = begin(d, resp->image, &d->err);
	} else if (resp->what_case == LXMGR__V1__EXPORT_IMAGE_RESPONSE__WHAT_DATA) {
		ssize_t n = d->fd < 0 ? -EPROTO : lx_write_full(d->fd, resp->data.data, resp->data.len);
		if (n < 0)
			r = lx_err_errno(&d->err, (int)n, "cannot write %s", d->path ? d->path : "the image");
		d->bytes += resp->data.len;
	}
	if (r < 0) {
		lx_call_cancel(call);
		return;
	}
	const struct cli_progress_state s = {
		.label = "Exporting", .phase = "", .done = d->bytes, .total = d->total, .unit = "bytes"
	};
	cli_progress_show(&d->progress, &s);
}

static void on_export_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct download *d = arg;

	d->closed = true;
	if (d->err.code == LX_OK)
		d->err = *err;
}

static int download(struct download *d, const Lxmgr__V1__ExportImageRequest *req, struct lx_err *err)
{
	static const struct lx_call_events events = { .message = on_export, .closed = on_export_closed };
	struct lx_call *call;
	int r = cli_connect(d->cli, err);

	if (r == 0)
		r = lx_channel_stream(d->cli->channel, CLI_IMAGES, "Export", cli_options(d->cli), &events, d,
				      &call, err);
	if (r != 0)
		return r;
	cli_progress_init(&d->progress, d->cli->quiet);
	if (lx_call_send(call, &req->base) >= 0)
		lx_call_half_close(call);
	r = cli_run_call(d->cli, call, &d->closed, err);
	cli_progress_clear(&d->progress);
	if (r == 0 && d->err.code != LX_OK) {
		*err = d->err;
		r = lx_code_errno(err->code);
	}
	if (r == 0 && d->fd < 0)
		r = lx_err_set(err, LX_DATA_LOSS, "the manager sent no image");
	return r;
}

static int keep(struct download *d, struct lx_err *err)
{
	mode_t mask = umask(0);

	umask(mask);
	if (fchmod(d->fd, 0666 & ~mask) < 0 || fsync(d->fd) < 0 || rename(d->temp, d->path) < 0)
		return lx_err_errno(err, errno, "cannot write %s", d->path);
	free(d->temp);
	d->temp = NULL;
	printf("%s\n", d->path);
	return 0;
}

int cli_image_export(struct cli *cli, struct lx_err *err)
{
	static const struct {
		const char *name, *ending;
	} compressions[] = {
		{ "zstd", ".tar.zst" }, { "gzip", ".tar.gz" }, { "xz", ".tar.xz" }, { "none", ".tar" }
	};
	const char *compression = cli_opt(cli, "compression"), *target = cli_operand(cli, 1);
	struct download d = { .cli = cli, .target = target ? target : ".", .fd = -1, .err = LX_ERR_INIT };
	Lxmgr__V1__ExportImageRequest req = LXMGR__V1__EXPORT_IMAGE_REQUEST__INIT;

	for (size_t i = 0; i < LX_ARRAY_SIZE(compressions); i++)
		if (lx_streq(compression ? compression : "zstd", compressions[i].name))
			d.ending = compressions[i].ending;
	if (!d.ending)
		return cli_usage(cli, err, "--compression is zstd, gzip, xz or none, not \"%s\"",
				 compression);
	req.image = cli->args.operands[0];
	req.compression = (char *)(compression ? compression : "zstd");
	int r = download(&d, &req, err);
	if (r == 0 && d.temp)
		r = keep(&d, err);
	if (d.temp)
		unlink(d.temp);
	if (d.fd > STDERR_FILENO)
		close(d.fd);
	free(d.temp);
	free(d.path);
	return r;
}
