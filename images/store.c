/*
 * The content store, see the header. The steps that make a crash harmless:
 *
 *   commit   tree -> syncfs -> image.pb (atomic, flushed) -> rename into place -> fsync of images/
 *   delete   rename into incoming/ -> fsync of images/ -> remove
 *
 * Ways to fail: a full or broken disk. A directory under a fingerprint's name without
 * image.pb cannot come from us; it is moved away when the image arrives.
 */
#include "images/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "images/ref.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "proto/pb.h"

#define IMAGE_PB "image.pb"

char *lx_image_path(const char *state_dir, const char *fingerprint)
{
	return lx_asprintf("%s/images/%s", state_dir, fingerprint);
}

char *lx_image_incoming_path(const char *state_dir)
{
	return lx_image_path(state_dir, "incoming");
}

char *lx_image_cache_path(const char *state_dir)
{
	return lx_image_path(state_dir, "cache");
}

int lx_image_store_init(const char *state_dir, struct lx_err *err)
{
	lx_autofree char *images = lx_asprintf("%s/images", state_dir);
	lx_autofree char *incoming = lx_image_incoming_path(state_dir);

	if (!images || !incoming)
		return lx_err_oom(err);
	int r = lx_mkdir_p(incoming, 0700, err);

	if (r < 0)
		return r;
	/* Whoever made them: setuid programs in here must be out of reach. */
	if (chmod(images, 0700) < 0)
		return lx_err_errno(err, errno, "cannot close %s to others", images);
	return 0;
}

/* ------------------------------------------------------------------ looking */

int lx_image_load(const char *state_dir, const char *fingerprint, Lxmgr__V1__Image **ret, struct lx_err *err)
{
	lx_autofree char *path = lx_asprintf("%s/images/%s/" IMAGE_PB, state_dir, fingerprint);
	lx_autobuf struct lx_buf data = { 0 };

	if (!path)
		return lx_err_oom(err);
	if (!lx_fingerprint_valid(fingerprint))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "\"%.80s\" is no image fingerprint", fingerprint);
	int r = lx_read_file(path, LX_IMAGE_PB_MAX, &data, err);

	if (r == -ENOENT)
		return lx_err_set(err, LX_NOT_FOUND, "image %.*s is not on this node", LX_FINGERPRINT_SHORT,
				  fingerprint);
	if (r < 0)
		return r;
	Lxmgr__V1__Image *image = lxmgr__v1__image__unpack(NULL, data.len, data.data);

	if (!image || !lx_streq(image->fingerprint, fingerprint)) {
		lx_pb_free(image);
		return lx_err_set(err, LX_DATA_LOSS, "%s is damaged", path);
	}
	*ret = image;
	return 0;
}

static int list_add(Lxmgr__V1__Image ***v, size_t *n, Lxmgr__V1__Image *image)
{
	Lxmgr__V1__Image **grown = realloc(*v, (*n + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	*v = grown;
	grown[(*n)++] = image;
	return 0;
}

int lx_image_list(const char *state_dir, Lxmgr__V1__Image ***ret, size_t *n, struct lx_err *err)
{
	lx_autofree char *path = lx_asprintf("%s/images", state_dir);

	*ret = NULL;
	*n = 0;
	if (!path)
		return lx_err_oom(err);
	lx_autoclosedir DIR *d = opendir(path);

	if (!d)
		return errno == ENOENT ? 0 : lx_err_errno(err, errno, "cannot list %s", path);
	for (struct dirent *e; (e = readdir(d));) {
		Lxmgr__V1__Image *image = NULL;
		struct lx_err why = LX_ERR_INIT;

		if (!lx_fingerprint_valid(e->d_name))
			continue;
		if (lx_image_load(state_dir, e->d_name, &image, &why) < 0) {
			lx_debug("image left out", "fingerprint=%s why=\"%s\"", e->d_name, why.msg);
			continue;
		}
		if (list_add(ret, n, image) < 0) {
			lx_pb_free(image);
			while (*n > 0)
				lx_pb_free((*ret)[--*n]);
			free(*ret);
			*ret = NULL;
			return lx_err_oom(err);
		}
	}
	return 0;
}

/* ------------------------------------------------------------------ removing */

/* A stage's worker holds a lock on it, which ends with the worker however that ends. */
static bool in_use(int incoming, const char *name)
{
	lx_autoclose int fd = openat(incoming, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

int lx_image_store_sweep(const char *state_dir, struct lx_err *err)
{
	lx_autofree char *incoming = lx_image_incoming_path(state_dir);
	int r = 0;

	if (!incoming)
		return lx_err_oom(err);
	lx_autoclosedir DIR *d = opendir(incoming);

	if (!d)
		return errno == ENOENT ? 0 : lx_err_errno(err, errno, "cannot list %s", incoming);
	for (struct dirent *e; r == 0 && (e = readdir(d));) {
		if (lx_streq(e->d_name, ".") || lx_streq(e->d_name, "..") || in_use(dirfd(d), e->d_name))
			continue;
		lx_autofree char *path = lx_path_join(incoming, e->d_name);

		r = path ? lx_rm_rf(path, err) : lx_err_oom(err);
	}
	return r;
}

/* Out of sight at once, off the disk in a while. -ENOENT (quietly) when it is not there. */
static int discard(const char *state_dir, const char *path, struct lx_err *err)
{
	char uuid[LX_UUID_TEXT];
	int r = lx_uuid(uuid);

	if (r < 0)
		return lx_err_errno(err, r, "cannot make up a name");
	lx_autofree char *images = lx_asprintf("%s/images", state_dir);
	lx_autofree char *to = lx_asprintf("%s/images/incoming/%s", state_dir, uuid);

	if (!images || !to)
		return lx_err_oom(err);
	if (rename(path, to) < 0)
		return errno == ENOENT ? -ENOENT : lx_err_errno(err, errno, "cannot move %s away", path);
	r = lx_fsync_dir(images);
	if (r < 0)
		return lx_err_errno(err, r, "cannot flush directory %s", images);
	return lx_rm_rf(to, err);
}

int lx_image_delete(const char *state_dir, const char *fingerprint, struct lx_err *err)
{
	lx_autofree char *path = lx_image_path(state_dir, fingerprint);

	if (!path)
		return lx_err_oom(err);
	if (!lx_fingerprint_valid(fingerprint))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "\"%.80s\" is no image fingerprint", fingerprint);
	int r = lx_image_store_init(state_dir, err);

	if (r == 0)
		r = discard(state_dir, path, err);
	return r == -ENOENT ? 0 : r;
}

/* ------------------------------------------------------------------ stages */

int lx_stage_begin(const char *state_dir, struct lx_stage *ret, struct lx_err *err)
{
	char uuid[LX_UUID_TEXT];

	*ret = (struct lx_stage){ .fd = -1 };
	int r = lx_image_store_init(state_dir, err);

	if (r < 0)
		return r;
	r = lx_uuid(uuid);
	if (r < 0)
		return lx_err_errno(err, r, "cannot make up a name");
	ret->state_dir = strdup(state_dir);
	ret->path = lx_asprintf("%s/images/incoming/%s", state_dir, uuid);
	if (!ret->state_dir || !ret->path)
		return lx_err_oom(err);
	if (mkdir(ret->path, 0700) < 0)
		return lx_err_errno(err, errno, "cannot create directory %s", ret->path);
	ret->fd = open(ret->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (ret->fd < 0)
		return lx_err_errno(err, errno, "cannot open directory %s", ret->path);
	/* Against a sweep by an agent that starts anew while we work. */
	struct stat st;

	if (flock(ret->fd, LOCK_EX | LOCK_NB) < 0 || fstat(ret->fd, &st) < 0 || st.st_nlink == 0)
		return lx_err_set(err, LX_ABORTED, "directory %s was swept away", ret->path);
	return 0;
}

void lx_stage_end(struct lx_stage *s)
{
	struct lx_err err = LX_ERR_INIT;

	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	/* What cannot be removed now goes when the agent starts next. */
	if (s->path && lx_rm_rf(s->path, &err) < 0)
		lx_debug("stage stays", "why=\"%s\"", err.msg);
	free(s->path);
	free(s->state_dir);
	s->path = s->state_dir = NULL;
}

static int write_pb(const struct lx_stage *s, const Lxmgr__V1__Image *image, struct lx_err *err)
{
	lx_autofree char *path = lx_path_join(s->path, IMAGE_PB);
	size_t len = 0;
	lx_autofree uint8_t *data = lx_pb_pack(&image->base, &len);

	if (!path || !data)
		return lx_err_oom(err);
	return lx_write_file_atomic(path, data, len, 0600, err);
}

/* 0: in place. 1: the image was there before. */
static int put_in_place(const struct lx_stage *s, const char *fingerprint, Lxmgr__V1__Image **existing,
			struct lx_err *err)
{
	lx_autofree char *images = lx_asprintf("%s/images", s->state_dir);
	lx_autofree char *to = lx_image_path(s->state_dir, fingerprint);
	int r;

	if (!images || !to)
		return lx_err_oom(err);
	while (renameat2(AT_FDCWD, s->path, AT_FDCWD, to, RENAME_NOREPLACE) < 0) {
		if (errno != EEXIST)
			return lx_err_errno(err, errno, "cannot move the image to %s", to);
		if (lx_image_load(s->state_dir, fingerprint, existing, NULL) == 0)
			return 1;
		r = discard(s->state_dir, to, err);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	r = lx_fsync_dir(images);
	return r < 0 ? lx_err_errno(err, r, "cannot flush directory %s", images) : 0;
}

int lx_stage_commit(struct lx_stage *s, const Lxmgr__V1__Image *image, Lxmgr__V1__Image **ret,
		    struct lx_err *err)
{
	if (syncfs(s->fd) < 0)
		return lx_err_errno(err, errno, "cannot flush the image to the disk");
	Lxmgr__V1__Image *copy = LX_PB_DUP(Lxmgr__V1__Image, image);
	int r = copy ? write_pb(s, image, err) : lx_err_oom(err);

	if (r == 0)
		r = put_in_place(s, image->fingerprint, ret, err);
	if (r == 0) {
		/* The stage is the image now: nothing is left to remove. */
		free(s->path);
		s->path = NULL;
		*ret = copy;
		return 0;
	}
	lx_pb_free(copy);
	return r < 0 ? r : 0;
}
