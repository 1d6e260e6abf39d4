#include "migration/late_pages.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "migration/page_image.h"

#define LIST_MAX (64u << 20)

/* ------------------------------------------------------------------ what is missing */

static int add(struct lx_late_pages **all, const struct lx_page_image *list, struct lx_err *err)
{
	struct lx_late_pages *one = calloc(1, sizeof(*one));

	if (!one)
		return lx_err_oom(err);
	one->pages_id = list->pages_id;
	for (size_t i = 0; i < list->n; i++)
		if (list->v[i].flags & LX_PAGES_LAZY &&
		    lx_page_runs_append(&one->missing, list->v[i].start, list->v[i].end) < 0) {
			lx_late_pages_free(one);
			return lx_err_oom(err);
		}
	one->next = *all;
	*all = one;
	return 0;
}

int lx_late_pages_read(int images, int pid, struct lx_late_pages **all, struct lx_err *err)
{
	lx_autobuf struct lx_buf data = { 0 };
	struct lx_page_image list = { 0 };
	struct lx_err why = LX_ERR_INIT;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d/" LX_LATE_PREFIX "%d.img", images, pid);
	int r = lx_read_file(path, LIST_MAX, &data, &why);

	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = lx_page_image_read(data.data, data.len, &list, &why);
	if (r == 0)
		r = add(all, &list, &why);
	lx_page_image_release(&list);
	if (r < 0 && err)
		*err = why;
	return r;
}

void lx_late_pages_free(struct lx_late_pages *all)
{
	while (all) {
		struct lx_late_pages *next = all->next;

		lx_page_runs_release(&all->missing);
		free(all);
		all = next;
	}
}

struct lx_late_pages *lx_late_pages_of(struct lx_late_pages *all, uint32_t pages_id)
{
	while (all && all->pages_id != pages_id)
		all = all->next;
	return all;
}

bool lx_late_pages_any(const struct lx_late_pages *all)
{
	while (all && all->missing.n == 0)
		all = all->next;
	return all;
}

/* ------------------------------------------------------------------ the lists */

static DIR *open_again(int images)
{
	int fd = openat(images, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d && fd >= 0)
		close(fd);
	return d;
}

bool lx_late_pages_listed(int images)
{
	lx_autoclosedir DIR *d = open_again(images);

	for (struct dirent *e; d && (e = readdir(d));)
		if (lx_starts_with(e->d_name, LX_LATE_PREFIX))
			return true;
	return false;
}

int lx_late_pages_forget(int images, struct lx_err *err)
{
	lx_autoclosedir DIR *d = open_again(images);

	if (!d)
		return errno == ENOENT ? 0 : lx_err_errno(err, errno, "cannot read the images of memory");
	for (struct dirent *e; (e = readdir(d));)
		if (lx_starts_with(e->d_name, LX_LATE_PREFIX) && unlinkat(images, e->d_name, 0) < 0)
			return lx_err_errno(err, errno, "cannot remove %s", e->d_name);
	return 0;
}
