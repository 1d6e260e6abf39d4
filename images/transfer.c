/*
 * Sending and receiving, see the header.
 *
 *   send      image.pb, then the tree packed (pack.c), then its hash; at the end a look
 *             whether the tree is still in its place: deleting moves it away before it takes
 *             it apart, so what is in place was whole while it was read
 *   receive   unpack into a stage as an import does, while it comes; hash the stage; compare;
 *             commit
 *
 * Ways to fail: the image is not there or goes meanwhile; the other side goes away; another
 * image than asked for; bytes that unpack to another tree than the sender's; no room.
 */
#include "images/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "images/arch.h"
#include "images/disk.h"
#include "images/pack.h"
#include "images/store.h"
#include "images/unpack.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/str.h"
#include "proto/pb.h"

/* ------------------------------------------------------------------ sending */

static int check_in_place(const char *path, int dir, const char *fingerprint, struct lx_err *err)
{
	struct stat there, here;

	if (fstat(dir, &here) == 0 && stat(path, &there) == 0 && there.st_dev == here.st_dev &&
	    there.st_ino == here.st_ino)
		return 0;
	return lx_err_set(err, LX_ABORTED, "image %.*s was deleted while it was sent", LX_FINGERPRINT_SHORT,
			  fingerprint);
}

static int send_tree(const char *state_dir, const char *fingerprint, const struct lx_image_sender *to,
		     const struct lx_progress *progress, struct lx_err *err)
{
	const struct lx_pack_sink sink = { .write = to->data, .arg = to->arg };
	lx_autofree char *path = lx_image_path(state_dir, fingerprint);
	char digest[LX_FINGERPRINT_LEN + 1];

	if (!path)
		return lx_err_oom(err);
	lx_autoclose int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return lx_err_errno(err, errno, "cannot open %s", path);
	int r = lx_pack_send(dir, &sink, progress, digest, err);

	if (r == 0)
		r = check_in_place(path, dir, fingerprint, err);
	return r == 0 ? to->end(to->arg, digest, err) : r;
}

int lx_image_send(const char *state_dir, const char *fingerprint, const struct lx_image_sender *to,
		  const struct lx_progress *progress, struct lx_err *err)
{
	Lxmgr__V1__Image *image = NULL;
	int r = lx_image_load(state_dir, fingerprint, &image, err);

	if (r < 0)
		return r;
	r = to->image(to->arg, image, err);
	lx_pb_free(image);
	return r < 0 ? r : send_tree(state_dir, fingerprint, to, progress, err);
}

/* ------------------------------------------------------------------ receiving */

struct reception {
	const struct lx_image_receiver *from;
	const struct lx_progress *progress;
	struct lx_unpacked unpacked;
};

/* The unpacker counts what it read, packed; people want to know how much of the image is there. */
static int report(void *arg, const char *phase, uint64_t done, uint64_t total, const char *unit)
{
	const struct reception *rc = arg;

	if (!rc->progress)
		return 0;
	return rc->progress->report(rc->progress->arg, "fetch image", rc->unpacked.bytes,
				    rc->from->image->unpacked_bytes, "bytes");
}

static int unpack(struct reception *rc, int stage, struct lx_err *err)
{
	static const char *const parts[] = { "metadata.yaml", "templates", "rootfs", NULL };
	const struct lx_progress progress = { .report = report, .arg = rc };
	const struct lx_tar_source source = {
		.fd = -1,
		.read = rc->from->read,
		.arg = rc->from->arg,
		.name = "the image",
		/* From a node of ours: holes compress to nothing, and that is no bomb. */
		.max_ratio = UINT64_MAX,
		.progress = &progress,
	};
	const struct lx_unpack_options options = { .only = parts };
	lx_autotar struct lx_tar *tar = NULL;
	int r = lx_tar_open(&source, &tar, err);

	return r < 0 ? r : lx_unpack(tar, stage, &options, &rc->unpacked, err);
}

static int verify(struct reception *rc, int stage, const char *fingerprint, struct lx_err *err)
{
	char said[LX_FINGERPRINT_LEN + 1], got[LX_FINGERPRINT_LEN + 1];
	uint64_t bytes = 0;
	bool built = lx_starts_with(rc->from->image->source, LX_IMAGE_SOURCE_BUILD);
	int r = rc->from->digest(rc->from->arg, said, err);

	if (r == 0)
		r = lx_pack_fingerprint(stage, rc->progress, got, &bytes, err);
	if (r < 0)
		return r;
	if (lx_streq(got, said) && (!built || lx_streq(got, fingerprint)))
		return 0;
	r = lx_err_set(err, LX_DATA_LOSS,
		       "image %.*s is not what its sender has: its files hash to %.*s, expected was %.*s",
		       LX_FINGERPRINT_SHORT, fingerprint, LX_FINGERPRINT_SHORT, got, LX_FINGERPRINT_SHORT,
		       built ? fingerprint : said);
	lx_err_hint(err, "It was damaged on its way, or on the disk of the node it came from.");
	return r;
}

static int check_image(const Lxmgr__V1__Image *image, const char *fingerprint, struct lx_err *err)
{
	if (!lx_streq(image->fingerprint, fingerprint))
		return lx_err_set(err, LX_DATA_LOSS, "the sender has sent image %.*s instead of %.*s",
				  LX_FINGERPRINT_SHORT, image->fingerprint, LX_FINGERPRINT_SHORT,
				  fingerprint);
	if (!lx_arch_runs(lx_arch_host(), image->architecture))
		return lx_err_set(err, LX_FAILED_PRECONDITION, "the image is for %.64s, this node is %s",
				  image->architecture, lx_arch_host());
	return 0;
}

static int make(struct reception *rc, struct lx_stage *stage, const char *fingerprint, Lxmgr__V1__Image **ret,
		struct lx_err *err)
{
	int r = lx_disk_check(stage->fd, rc->from->image->unpacked_bytes, err);

	if (r == 0)
		r = unpack(rc, stage->fd, err);
	if (r == 0)
		r = verify(rc, stage->fd, fingerprint, err);
	if (r < 0)
		return r;
	Lxmgr__V1__Image *image = LX_PB_DUP(Lxmgr__V1__Image, rc->from->image);

	if (!image)
		return lx_err_oom(err);
	image->imported_at_ns = (int64_t)lx_now_realtime_ns();
	r = lx_stage_commit(stage, image, ret, err);
	lx_pb_free(image);
	return r;
}

int lx_image_receive(const char *state_dir, const char *fingerprint, const struct lx_image_receiver *from,
		     const struct lx_progress *progress, Lxmgr__V1__Image **ret, struct lx_err *err)
{
	struct reception rc = { .from = from, .progress = progress };
	struct lx_stage stage;
	int r = check_image(from->image, fingerprint, err);

	if (r < 0)
		return r;
	if (lx_image_load(state_dir, fingerprint, ret, NULL) == 0)
		return 0;
	r = lx_stage_begin(state_dir, &stage, err);
	if (r == 0)
		r = make(&rc, &stage, fingerprint, ret, err);
	lx_stage_end(&stage);
	return r;
}
