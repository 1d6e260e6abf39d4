/*
 * The dump, all of which is here, made one that CRIU can restore on this node (migration/file_image.h): sizes
 * of lxcfs' files, timers that have expired, and programs whose file somebody has open by its name alone.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/worker/move/receive.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "migration/file_image.h"
#include "migration/program_image.h"

static int read_image(const struct lx_receive *rx, const char *name, size_t max, struct lx_buf *ret,
		      struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX + NAME_MAX + 16];

	snprintf(path, sizeof(path), "%s/%s", rx->m.images, name);
	return lx_read_file(path, max, ret, err);
}

/* Not a new file: CRIU's may read it, as the guest's root, and nobody else. */
static int write_image(const struct lx_receive *rx, const char *name, const struct lx_buf *data,
		       struct lx_err *err)
{
	lx_autoclose int fd = openat(rx->dump_dir, name, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n = fd < 0 ? -errno : lx_write_full(fd, data->data, data->len);

	return n < 0 ? lx_err_errno(err, (int)n, "cannot write %s of the dump", name) : 0;
}

/* ------------------------------------------------------------------ programs */

struct programs {
	const struct lx_receive *rx;
	struct lx_file_names names;
	uint32_t *as;        /* of each of them, its entry that is opened for reading; 0: not needed */
	struct lx_buf files; /* the image of open files; empty: as it is */
};

static size_t index_of(const struct lx_file_names *names, uint32_t id)
{
	size_t i = 0;

	while (names->ids[i] != id)
		i++;
	return i;
}

/* `files`: as it is so far. */
static int add_entry(struct programs *p, const struct lx_buf *files, uint32_t id, uint32_t *as,
		     struct lx_err *err)
{
	struct lx_buf made = { 0 };
	int r = lx_file_image_add(files->data, files->len, id, p->names.unused, &made, err);

	if (r < 0)
		return r;
	*as = p->names.unused++;
	lx_buf_release(&p->files);
	p->files = made;
	return 0;
}

static int look_at(struct programs *p, const char *name, const struct lx_buf *files, struct lx_err *err)
{
	lx_autobuf struct lx_buf data = { 0 }, made = { 0 };
	uint32_t id = 0;
	int r = read_image(p->rx, name, LX_PROGRAM_IMAGE_MAX, &data, err);

	if (r == 0)
		r = lx_program_image_file(data.data, data.len, &id, err);
	if (r < 0 || !lx_file_names_has(&p->names, id))
		return r;
	uint32_t *as = &p->as[index_of(&p->names, id)];

	if (*as == 0)
		r = add_entry(p, p->files.len > 0 ? &p->files : files, id, as, err);
	if (r == 0)
		r = lx_program_image_set_file(data.data, data.len, *as, &made, err);
	return r < 0 ? r : write_image(p->rx, name, &made, err);
}

static int look_at_all(struct programs *p, const struct lx_buf *files, struct lx_err *err)
{
	lx_autoclosedir DIR *d = opendir(p->rx->m.images);
	int r = d ? 0 : lx_err_errno(err, errno, "cannot read the dump");

	p->as = calloc(p->names.n, sizeof(*p->as));
	if (r == 0 && !p->as)
		r = lx_err_oom(err);
	for (struct dirent *e; r == 0 && (e = readdir(d));)
		if (lx_program_image_is(e->d_name))
			r = look_at(p, e->d_name, files, err);
	return r;
}

/* `out` stays empty when there is nothing to be done. */
static int separate_programs(const struct lx_receive *rx, const struct lx_buf *files, struct lx_buf *out,
			     struct lx_err *err)
{
	struct programs p = { .rx = rx };
	int r = lx_file_image_names(files->data, files->len, &p.names, err);

	if (r == 0 && p.names.n > 0)
		r = look_at_all(&p, files, err);
	if (r == 0)
		*out = p.files;
	else
		lx_buf_release(&p.files);
	free(p.as);
	free(p.names.ids);
	return r;
}

/* ------------------------------------------------------------------ all of it */

int lx_dump_adapt(const struct lx_receive *rx, struct lx_err *err)
{
	lx_autobuf struct lx_buf data = { 0 }, unsized = { 0 }, armed = { 0 }, separate = { 0 };
	int r = read_image(rx, LX_FILE_IMAGE, LX_FILE_IMAGE_MAX, &data, err);

	if (r == 0)
		r = lx_file_image_unsize(data.data, data.len, &unsized, err);
	const struct lx_buf *now = unsized.len > 0 ? &unsized : &data;

	if (r == 0)
		r = lx_file_image_arm(now->data, now->len, &armed, err);
	if (r == 0 && armed.len > 0)
		now = &armed;
	if (r == 0)
		r = separate_programs(rx, now, &separate, err);
	if (r == 0 && separate.len > 0)
		now = &separate;
	return r < 0 || now == &data ? r : write_image(rx, LX_FILE_IMAGE, now, err);
}
