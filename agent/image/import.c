/*
 * Importing an image.
 *
 *   start -> parts into files below images/incoming -> half-close -> worker: verify, unpack
 *
 * Data is written in a thread, one write at a time, while the next messages collect; when
 * too much has collected the call is paused. Whatever happens, the received files go at
 * the end: an image is made of copies.
 *
 * Ways to fail: another order of messages than image.proto says, more bytes than announced
 * or than IMPORT_MAX_BYTES, a disk that is full (known beforehand when the size was told),
 * and what the worker finds wrong with the image.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/image/images.h"
#include "agent/image/make.h"
#include "agent/loop.h"
#include "images/disk.h"
#include "images/store.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "proto/pb.h"

/* Both parts together. */
#define IMPORT_MAX_BYTES (UINT64_C(64) << 30)
/* One message of data. */
#define IMPORT_MAX_CHUNK (256u << 10)
/* Bytes that wait while others are being written. */
#define IMPORT_HIGH_WATER (1u << 20)
/* Progress is told each time this much has come. */
#define PROGRESS_STEP (4u << 20)

struct import {
	struct lx_agent *agent;
	struct lx_call *call; /* NULL: the caller has gone, or it is the worker's now */
	Lxmgr__V1__ImportImageStart *start;
	char *dir;     /* <incoming>/<uuid> */
	int fd;        /* of the part being received */
	unsigned part; /* 1 or 2 */
	uint64_t received, told;
	struct lx_buf waiting, writing;
	bool busy; /* a write is under way: `writing` and `fd` are the thread's */
	bool next_part, complete, failed;
	bool making; /* the worker reads the files */
	struct lx_err write_err;
};

static void advance(struct import *im);

/* When nobody uses it any more: not the call, not the thread, not the worker. */
static void maybe_free(struct import *im)
{
	if (im->call || im->busy || im->making)
		return;
	if (im->fd >= 0)
		close(im->fd);
	if (im->dir)
		lx_loop_remove_tree(im->agent->loop, im->dir);
	lx_buf_release(&im->waiting);
	lx_buf_release(&im->writing);
	lx_pb_free(im->start);
	free(im->dir);
	free(im);
}

static void fail(struct import *im, const struct lx_err *err)
{
	im->failed = true;
	if (im->call)
		lx_call_fail(im->call, err);
}

static uint64_t announced(const struct import *im)
{
	if (im->start->size == 0 || (im->start->split && im->start->rootfs_size == 0))
		return 0; /* not known */
	return im->start->size + (im->start->split ? im->start->rootfs_size : 0);
}

/* ------------------------------------------------------------------ files */

static char *part_path(const struct import *im, unsigned part)
{
	return lx_asprintf("%s/%s", im->dir, part == 1 ? "part1" : "part2");
}

static int open_part(struct import *im, struct lx_err *err)
{
	lx_autofree char *path = part_path(im, ++im->part);

	if (!path)
		return lx_err_oom(err);
	if (im->fd >= 0)
		close(im->fd);
	im->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	return im->fd < 0 ? lx_err_errno(err, errno, "cannot create %s", path) : 0;
}

static int check_room(const struct import *im, struct lx_err *err)
{
	lx_autoclose int dir = open(im->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return lx_err_errno(err, errno, "cannot open %s", im->dir);
	return lx_disk_check(dir, announced(im), err);
}

static int begin(struct import *im, const Lxmgr__V1__ImportImageStart *start, struct lx_err *err)
{
	char uuid[LX_UUID_TEXT];

	im->start = LX_PB_DUP(Lxmgr__V1__ImportImageStart, start);
	if (!im->start)
		return lx_err_oom(err);
	if (announced(im) > IMPORT_MAX_BYTES)
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED, "the image has %llu bytes, the limit is %llu",
				  (unsigned long long)announced(im), (unsigned long long)IMPORT_MAX_BYTES);
	int r = lx_uuid(uuid);

	if (r < 0)
		return lx_err_errno(err, r, "cannot make a name for the received image");
	im->dir = lx_asprintf("%s/%s", im->agent->incoming_dir, uuid);
	if (!im->dir)
		return lx_err_oom(err);
	if (mkdir(im->dir, 0700) < 0)
		return lx_err_errno(err, errno, "cannot create %s", im->dir);
	r = check_room(im, err);
	return r < 0 ? r : open_part(im, err);
}

/* ------------------------------------------------------------------ writing, in a thread */

static void write_work(void *arg)
{
	struct import *im = arg;
	ssize_t n = lx_write_full(im->fd, im->writing.data, im->writing.len);

	if (n < 0)
		lx_err_errno(&im->write_err, (int)n, "cannot store the image");
}

static void write_done(void *arg)
{
	struct import *im = arg;

	im->busy = false;
	lx_buf_release(&im->writing);
	if (im->write_err.code != LX_OK && !im->failed)
		fail(im, &im->write_err);
	if (im->call && !im->failed) {
		if (!im->next_part)
			lx_call_resume(im->call);
		advance(im);
	}
	maybe_free(im);
}

static void made(void *arg)
{
	struct import *im = arg;

	im->making = false;
	maybe_free(im);
}

static int run_worker(struct import *im, struct lx_err *err)
{
	Lxmgr__V1__WorkerJob *msg = lx_job_message(NULL, LXMGR__V1__WORKER_JOB__JOB_IMPORT_IMAGE, NULL);
	lx_autofree char *first = part_path(im, 1), *second = part_path(im, 2);
	bool split = im->part == 2;

	if (!msg || !first || !second || lx_pb_set(&msg->import_image->metadata_path, first) < 0 ||
	    lx_pb_set(&msg->import_image->rootfs_path, split ? second : "") < 0) {
		lx_pb_free(msg);
		return lx_err_oom(err);
	}
	msg->import_image->start = im->start;
	im->start = NULL;
	int r = lx_make_image(im->agent, im->call, msg, made, im, err);

	if (r == 0) {
		im->making = true;
		im->call = NULL;
	}
	return r;
}

/* Goes on with what is due, unless a write is under way. */
static void advance(struct import *im)
{
	struct lx_err err = LX_ERR_INIT;
	int r = 0;

	if (im->busy || im->failed || im->making)
		return;
	if (im->waiting.len > 0) {
		im->writing = im->waiting;
		im->waiting = (struct lx_buf){ 0 };
		r = lx_loop_work(im->agent->loop, write_work, write_done, im, &err);
		im->busy = r == 0;
	} else if (im->next_part) {
		im->next_part = false;
		r = open_part(im, &err);
		if (r == 0)
			lx_call_resume(im->call);
	} else if (im->complete) {
		r = run_worker(im, &err);
	}
	if (r < 0)
		fail(im, &err);
}

/* ------------------------------------------------------------------ the call */

static int take_data(struct import *im, const uint8_t *data, size_t len, struct lx_err *err)
{
	if (len > IMPORT_MAX_CHUNK)
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "%zu bytes of data in one message, the limit is %u", len, IMPORT_MAX_CHUNK);
	im->received += len;
	if (im->received > (announced(im) ? announced(im) : IMPORT_MAX_BYTES))
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED, "the image has more than the %llu bytes %s",
				  (unsigned long long)(announced(im) ? announced(im) : IMPORT_MAX_BYTES),
				  announced(im) ? "that were announced" : "an image may have");
	if (lx_buf_append(&im->waiting, data, len) < 0)
		return lx_err_oom(err);
	if (im->waiting.len >= IMPORT_HIGH_WATER)
		lx_call_pause(im->call);
	if (im->received - im->told >= PROGRESS_STEP) {
		im->told = im->received;
		lx_make_progress(im->call, "receive", im->received, announced(im));
	}
	return 0;
}

static int take_next_part(struct import *im, struct lx_err *err)
{
	if (!im->start->split || im->part != 1 || im->next_part)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "no further part of the image was announced");
	im->next_part = true;
	lx_call_pause(im->call); /* what follows goes into the next file */
	return 0;
}

static int take(struct import *im, const Lxmgr__V1__ImportImageRequest *req, struct lx_err *err)
{
	bool first = !im->start;

	if (first && req->what_case != LXMGR__V1__IMPORT_IMAGE_REQUEST__WHAT_START)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "the first message must say what is to come");
	switch (req->what_case) {
	case LXMGR__V1__IMPORT_IMAGE_REQUEST__WHAT_START:
		return first ? begin(im, req->start, err)
			     : lx_err_set(err, LX_INVALID_ARGUMENT, "the import has begun already");
	case LXMGR__V1__IMPORT_IMAGE_REQUEST__WHAT_DATA:
		return take_data(im, req->data.data, req->data.len, err);
	case LXMGR__V1__IMPORT_IMAGE_REQUEST__WHAT_NEXT_PART:
		return take_next_part(im, err);
	default:
		return lx_err_set(err, LX_INVALID_ARGUMENT, "a message of no known kind");
	}
}

static void on_message(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	struct import *im = arg;
	struct lx_err err = LX_ERR_INIT;

	if (im->failed)
		return;
	if (take(im, (const void *)msg, &err) < 0)
		fail(im, &err);
	else
		advance(im);
}

static void on_half_closed(struct lx_call *call, void *arg)
{
	struct import *im = arg;
	struct lx_err err = LX_ERR_INIT;

	if (im->failed)
		return;
	im->complete = true;
	if (!im->start || im->received == 0 || (im->start->split && im->part != 2)) {
		lx_err_set(&err, LX_INVALID_ARGUMENT, "the call ended before the image was complete");
		fail(im, &err);
	} else if (announced(im) && im->received < announced(im)) {
		lx_err_set(&err, LX_INVALID_ARGUMENT, "%llu bytes of the image were announced, %llu came",
			   (unsigned long long)announced(im), (unsigned long long)im->received);
		fail(im, &err);
	} else {
		advance(im);
	}
}

static void on_closed(struct lx_call *call, const struct lx_err *err, void *arg)
{
	struct import *im = arg;

	im->call = NULL;
	im->failed = true;
	maybe_free(im);
}

static const struct lx_call_events call_events = {
	.message = on_message,
	.half_closed = on_half_closed,
	.closed = on_closed,
};

void lx_image_import_open(struct lx_call *call, void *arg)
{
	struct import *im = calloc(1, sizeof(*im));

	if (!im) {
		lx_call_failf(call, LX_RESOURCE_EXHAUSTED, "out of memory");
		return;
	}
	*im = (struct import){ .agent = arg, .call = call, .fd = -1 };
	lx_call_set_events(call, &call_events, im);
}
