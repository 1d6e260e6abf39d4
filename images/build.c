/*
 * Building an image: what all templates have in common.
 *
 * The happy path: check the request, let the template's builder fill rootfs/ in a stage,
 * write metadata.yaml, hash the tree, commit.
 * The fingerprint is the SHA-256 of the tarball that an uncompressed export would be.
 *
 * Ways to fail: an unknown template, names that are none, too little space, whatever the
 * builder runs into. Nothing is left behind then but cached packages and a log.
 */
#include "images/build.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "images/apt_sources.h"
#include "images/arch.h"
#include "images/build_internal.h"
#include "images/describe.h"
#include "images/disk.h"
#include "images/pack.h"
#include "images/tree.h"
#include "lib/cleanup.h"
#include "lib/str.h"
#include "proto/pb.h"

/* A minimal Debian, its packages and what installing them needs meanwhile. */
#define BUILD_DISK_BYTES (UINT64_C(1) << 30)

/* ------------------------------------------------------------------ the request */

static bool package_name_valid(const char *s)
{
	size_t n = strlen(s);

	return n >= 2 && n <= LX_BUILD_MAX_NAME && s[0] != '-' && s[0] != '+' && s[0] != '.' &&
	       s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789+.-")] == '\0';
}

static int check_request(struct lx_build *b, struct lx_err *err)
{
	const Lxmgr__V1__BuildImageRequest *q = b->request;
	int r;

	b->template = lx_template_find(q->template_);
	if (!b->template) {
		r = lx_err_set(err, LX_NOT_FOUND, "there is no image template \"%.80s\"", q->template_);
		lx_err_hint(err, "There are: " LX_TEMPLATE_NAMES);
		return r;
	}
	if (b->template->kind == LX_TEMPLATE_BUSYBOX && (q->n_packages > 0 || *q->mirror))
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "the busybox image is made of the node's own busybox: it takes no packages "
				  "and no mirror");
	if (q->n_packages > LX_BUILD_MAX_PACKAGES)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "at most %d packages can be added",
				  LX_BUILD_MAX_PACKAGES);
	for (size_t i = 0; i < q->n_packages; i++) {
		if (package_name_valid(q->packages[i]))
			continue;
		r = lx_err_set(err, LX_INVALID_ARGUMENT, "\"%.80s\" is no package name", q->packages[i]);
		lx_err_hint(err, "A package's name consists of lower-case letters, digits and + . -");
		return r;
	}
	if (*q->mirror && !lx_mirror_valid(q->mirror)) {
		r = lx_err_set(err, LX_INVALID_ARGUMENT, "\"%.80s\" is no mirror", q->mirror);
		lx_err_hint(err, "A mirror looks like http://deb.debian.org/debian");
		return r;
	}
	return 0;
}

/* ------------------------------------------------------------------ after the builder */

static int set_common(struct lx_build *b, struct lx_err *err)
{
	char serial[16], description[128];
	time_t t = (time_t)b->epoch;
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(serial, sizeof(serial), "%Y%m%d", &tm);
	snprintf(description, sizeof(description), "%s %s (%s)", b->template->title, lx_arch_host(), serial);
	b->meta.creation_date = b->epoch;
	b->meta.architecture = strdup(lx_arch_host());
	if (!b->meta.architecture || lx_metadata_set(&b->meta, "os", b->template->os) < 0 ||
	    lx_metadata_set(&b->meta, "release", b->template->release) < 0 ||
	    lx_metadata_set(&b->meta, "architecture", lx_arch_host()) < 0 ||
	    lx_metadata_set(&b->meta, "variant", b->request->n_packages > 0 ? "custom" : "default") < 0 ||
	    lx_metadata_set(&b->meta, "serial", serial) < 0 ||
	    lx_metadata_set(&b->meta, "description", description) < 0)
		return lx_err_oom(err);
	return 0;
}

static int write_metadata(struct lx_build *b, struct lx_err *err)
{
	lx_autobuf struct lx_buf text = { 0 };
	int r = set_common(b, err);

	if (r < 0)
		return r;
	if (lx_metadata_format(&b->meta, &text) < 0)
		return lx_err_oom(err);
	struct timespec times[2] = { { .tv_sec = b->epoch }, { .tv_sec = b->epoch } };

	r = lx_tree_file(b->stage.fd, "metadata.yaml", 0644, text.data, text.len, err);
	if (r == 0 && utimensat(b->stage.fd, "metadata.yaml", times, 0) < 0)
		r = lx_err_errno(err, errno, "cannot set the time of metadata.yaml");
	return r;
}

static int commit(struct lx_build *b, Lxmgr__V1__Image **ret, struct lx_err *err)
{
	char fingerprint[LX_FINGERPRINT_LEN + 1];
	lx_autofree char *source = lx_asprintf(LX_IMAGE_SOURCE_BUILD "%s", b->template->name);
	Lxmgr__V1__Image *image = NULL;
	uint64_t bytes = 0;

	if (!source)
		return lx_err_oom(err);
	int r = lx_pack_fingerprint(b->stage.fd, b->progress, fingerprint, &bytes, err);

	if (r == 0)
		r = lx_image_describe(b->stage.fd, &image, err);
	if (r != 0)
		return r;
	image->unpacked_bytes = bytes;
	if (lx_pb_set(&image->fingerprint, fingerprint) < 0 || lx_pb_set(&image->source, source) < 0)
		r = lx_err_oom(err);
	if (r == 0)
		r = lx_stage_commit(&b->stage, image, ret, err);
	lx_pb_free(image);
	return r;
}

/* ------------------------------------------------------------------ the whole */

static int fill(struct lx_build *b, struct lx_err *err)
{
	if (mkdirat(b->stage.fd, "rootfs", 0755) < 0)
		return lx_err_errno(err, errno, "cannot create the root file system's directory");
	b->root = openat(b->stage.fd, "rootfs", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (b->root < 0)
		return lx_err_errno(err, errno, "cannot open the root file system's directory");
	switch (b->template->kind) {
	case LX_TEMPLATE_DEBIAN: {
		int r = lx_disk_check(b->root, BUILD_DISK_BYTES, err);

		return r < 0 ? r : lx_build_debian(b, err);
	}
	case LX_TEMPLATE_BUSYBOX:
		break;
	}
	return lx_build_busybox(b, err);
}

int lx_image_build(const char *state_dir, const Lxmgr__V1__BuildImageRequest *request,
		   const struct lx_progress *progress, Lxmgr__V1__Image **ret, struct lx_err *err)
{
	struct lx_build b = {
		.state_dir = state_dir,
		.request = request,
		.progress = progress,
		.stage = { .fd = -1 },
		.root = -1,
	};
	int r = check_request(&b, err);

	if (r < 0)
		return r;
	r = lx_stage_begin(state_dir, &b.stage, err);
	if (r == 0)
		r = fill(&b, err);
	if (r == 0)
		r = write_metadata(&b, err);
	if (r == 0)
		r = commit(&b, ret, err);
	if (r < 0)
		lx_err_wrap(err, "cannot build %s", b.template->name);
	if (b.root >= 0)
		close(b.root);
	lx_stage_end(&b.stage);
	lx_metadata_release(&b.meta);
	return r;
}
