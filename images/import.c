/*
 * Importing an image.
 *
 * The happy path: hash what was received; unpack it into a stage (unified: everything from
 * one archive; split: the metadata's archive, then the root file system into rootfs/);
 * describe what came out; commit.
 *
 * Hashing first costs one more read of files that are in memory anyway, and it means that
 * a wrong or known image is noticed before a byte of it is unpacked.
 *
 * Ways to fail: another fingerprint than expected; no image at all, with a word on what it
 * seems to be; whatever unpacking and describing refuse; no room.
 */
#include "images/import.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "images/describe.h"
#include "images/disk.h"
#include "images/metadata.h"
#include "images/ref.h"
#include "images/squashfs.h"
#include "images/store.h"
#include "images/unpack.h"
#include "lib/cleanup.h"
#include "lib/str.h"
#include "proto/pb.h"

#define HASH_CHUNK (256 * 1024)

struct part {
	int fd;
	uint64_t size;
	char magic[4];
};

struct import {
	const struct lx_image_import *in;
	struct part parts[2]; /* the second: a split image's root file system */
	size_t n_parts;
	char fingerprint[LX_FINGERPRINT_LEN + 1];
	struct lx_unpacked unpacked;
	struct lx_err *err;
};

/* ------------------------------------------------------------------ what was received */

static int open_part(struct import *im, const char *path)
{
	struct part *p = &im->parts[im->n_parts];
	struct stat st;

	p->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (p->fd < 0)
		return lx_err_errno(im->err, errno, "cannot open the received image");
	im->n_parts++;
	if (fstat(p->fd, &st) < 0)
		return lx_err_errno(im->err, errno, "cannot look at the received image");
	if (!S_ISREG(st.st_mode) || st.st_size == 0)
		return lx_err_set(im->err, LX_INVALID_ARGUMENT, "%s is empty",
				  im->n_parts == 1 ? "the image" : "the root file system");
	p->size = (uint64_t)st.st_size;
	if (pread(p->fd, p->magic, sizeof(p->magic), 0) < 0)
		return lx_err_errno(im->err, errno, "cannot read the received image");
	return 0;
}

static bool is_magic(const struct part *p, const char *magic)
{
	return memcmp(p->magic, magic, sizeof(p->magic)) == 0;
}

/* Says it in a word when somebody sends what is no tarball, but known. */
static int check_kind(struct import *im)
{
	const struct part *last = &im->parts[im->n_parts - 1];

	if (is_magic(last, "QFI\xfb"))
		return lx_err_set(
			im->err, LX_INVALID_ARGUMENT,
			"this is the disk of a virtual machine (qcow2): only container images can be used");
	if (is_magic(last, "PK\x03\x04"))
		return lx_err_set(im->err, LX_INVALID_ARGUMENT, "this is a zip file: images are tarballs");
	if (!is_magic(&im->parts[0], LX_SQUASHFS_MAGIC))
		return 0;
	int r = lx_err_set(im->err, LX_INVALID_ARGUMENT, "a squashfs root file system has no metadata in it");

	lx_err_hint(im->err, "Give the metadata tarball first: lxmgr image import METADATA ROOTFS");
	return r;
}

static int hash_part(struct import *im, const struct part *p, EVP_MD_CTX *ctx, uint64_t *done, uint64_t total)
{
	lx_autofree char *chunk = malloc(HASH_CHUNK);

	if (!chunk)
		return lx_err_oom(im->err);
	for (off_t at = 0; (uint64_t)at < p->size;) {
		ssize_t n = pread(p->fd, chunk, HASH_CHUNK, at);

		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n == 0)
			return lx_err_set(im->err, LX_ABORTED,
					  "the received image changed while it was read");
		if (n < 0)
			return lx_err_errno(im->err, errno, "cannot read the received image");
		if (EVP_DigestUpdate(ctx, chunk, (size_t)n) != 1)
			return lx_err_set(im->err, LX_INTERNAL, "cannot compute the image's fingerprint");
		at += n;
		*done += (uint64_t)n;
		int r = lx_progress_report(im->in->progress, "verify", *done, total, "bytes", im->err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int hash_parts(struct import *im)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char digest[EVP_MAX_MD_SIZE];
	uint64_t done = 0, total = 0;
	unsigned len = 0;
	int r = 0;

	if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1) {
		EVP_MD_CTX_free(ctx);
		return lx_err_oom(im->err);
	}
	for (size_t i = 0; i < im->n_parts; i++)
		total += im->parts[i].size;
	for (size_t i = 0; r == 0 && i < im->n_parts; i++)
		r = hash_part(im, &im->parts[i], ctx, &done, total);
	if (r == 0 && EVP_DigestFinal_ex(ctx, digest, &len) != 1)
		r = lx_err_set(im->err, LX_INTERNAL, "cannot compute the image's fingerprint");
	if (r == 0)
		lx_hex(digest, len, im->fingerprint);
	EVP_MD_CTX_free(ctx);
	return r;
}

static int check_fingerprint(struct import *im)
{
	const char *expected = im->in->expect_fingerprint;

	if (lx_str_empty(expected) || lx_streq(expected, im->fingerprint))
		return 0;
	int r = lx_err_set(im->err, LX_INVALID_ARGUMENT, "the image's fingerprint is %s, expected was %.80s",
			   im->fingerprint, expected);

	lx_err_hint(im->err, "It was damaged on its way, or it is another image. Fetch it again.");
	return r;
}

/* ------------------------------------------------------------------ unpacking */

static int unpack_tar(struct import *im, const struct part *p, const char *name, int dirfd,
		      const char *const *only)
{
	struct lx_tar_source source = {
		.fd = p->fd, .name = name, .size = p->size, .progress = im->in->progress
	};
	struct lx_unpack_options options = { .only = only, .accounts = only ? "rootfs/etc" : "etc" };
	lx_autotar struct lx_tar *tar = NULL;
	int r = lx_tar_open(&source, &tar, im->err);

	return r < 0 ? r : lx_unpack(tar, dirfd, &options, &im->unpacked, im->err);
}

static int unpack_rootfs(struct import *im, int stage)
{
	const struct part *p = &im->parts[1];

	if (mkdirat(stage, "rootfs", 0755) < 0)
		return lx_err_errno(im->err, errno, "cannot create the root file system's directory");
	lx_autoclose int dir = openat(stage, "rootfs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (dir < 0)
		return lx_err_errno(im->err, errno, "cannot open the root file system's directory");
	if (is_magic(p, LX_SQUASHFS_MAGIC))
		return lx_squashfs_unpack(p->fd, p->size, dir, im->in->progress, &im->unpacked, im->err);
	return unpack_tar(im, p, "the root file system", dir, NULL);
}

static int unpack(struct import *im, int stage)
{
	static const char *const unified[] = { "metadata.yaml", "templates", "rootfs", NULL };
	static const char *const metadata[] = { "metadata.yaml", "templates", NULL };
	bool split = im->n_parts == 2;
	int r = unpack_tar(im, &im->parts[0], split ? "the metadata" : "the image", stage,
			   split ? metadata : unified);

	return r == 0 && split ? unpack_rootfs(im, stage) : r;
}

/* ------------------------------------------------------------------ the whole */

static int describe(struct import *im, int stage, Lxmgr__V1__Image **ret)
{
	const struct lx_image_import *in = im->in;
	Lxmgr__V1__Image *image = NULL;
	char skipped[24];
	int r = lx_image_describe(stage, &image, im->err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < im->n_parts; i++)
		image->size_bytes += im->parts[i].size;
	image->unpacked_bytes = im->unpacked.bytes;
	if (lx_pb_set(&image->fingerprint, im->fingerprint) < 0 || lx_pb_set(&image->source, "import") < 0)
		r = lx_err_oom(im->err);
	snprintf(skipped, sizeof(skipped), "%llu", (unsigned long long)im->unpacked.skipped_devices);
	if (r == 0 && im->unpacked.skipped_devices > 0)
		r = lx_image_set_property(image, LX_PROPERTY_SKIPPED, skipped, im->err);
	for (size_t i = 0; r == 0 && i < in->n_properties; i++) {
		r = lx_property_check(in->properties[i]->key, in->properties[i]->value, im->err);
		if (r == 0)
			r = lx_image_set_property(image, in->properties[i]->key, in->properties[i]->value,
						  im->err);
	}
	if (r < 0)
		lx_pb_free(image);
	else
		*ret = image;
	return r;
}

static int make(struct import *im, struct lx_stage *stage, Lxmgr__V1__Image **ret)
{
	Lxmgr__V1__Image *image = NULL;
	uint64_t packed = 0;

	for (size_t i = 0; i < im->n_parts; i++)
		packed += im->parts[i].size;
	/* Unpacked it will not be smaller. */
	int r = lx_disk_check(stage->fd, packed, im->err);

	if (r == 0)
		r = unpack(im, stage->fd);
	if (r == 0)
		r = describe(im, stage->fd, &image);
	if (r == 0)
		r = lx_stage_commit(stage, image, ret, im->err);
	lx_pb_free(image);
	return r;
}

static int import(struct import *im, Lxmgr__V1__Image **ret)
{
	const struct lx_image_import *in = im->in;
	struct lx_stage stage;
	int r = open_part(im, in->metadata_path);

	if (r == 0 && in->rootfs_path)
		r = open_part(im, in->rootfs_path);
	if (r == 0)
		r = check_kind(im);
	if (r == 0)
		r = hash_parts(im);
	if (r == 0)
		r = check_fingerprint(im);
	if (r < 0)
		return r;
	if (lx_image_load(in->state_dir, im->fingerprint, ret, NULL) == 0)
		return 0;
	r = lx_stage_begin(in->state_dir, &stage, im->err);
	if (r == 0)
		r = make(im, &stage, ret);
	lx_stage_end(&stage);
	return r;
}

int lx_image_import(const struct lx_image_import *in, Lxmgr__V1__Image **ret, struct lx_err *err)
{
	struct import im = { .in = in, .err = err };
	int r = import(&im, ret);

	for (size_t i = 0; i < im.n_parts; i++)
		close(im.parts[i].fd);
	return r;
}
