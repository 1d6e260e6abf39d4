#include "migration/ahead_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "lxmgr/v1/migration.pb-c.h"
#include "migration/guest_path.h"
#include "proto/pb.h"

#define LIST_MAX (64u << 20)

static bool is_list(const char *name, unsigned *number)
{
	int end = 0;

	/* NOLINTNEXTLINE(cert-err34-c): one that does not fit names no file */
	return sscanf(name, LX_AHEAD_LIST "%n", number, &end) == 1 && end > 0 && name[end] == '\0';
}

/* Another open directory: `dir`'s own position is nobody's. */
static DIR *open_again(int dir)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d && fd >= 0)
		close(fd);
	return d;
}

bool lx_ahead_files_any(int dir)
{
	lx_autoclosedir DIR *d = open_again(dir);
	unsigned number;
	bool any = false;

	for (struct dirent *e; d && !any && (e = readdir(d));)
		any = is_list(e->d_name, &number);
	return any;
}

static int copy_run(int from, int to, uint64_t start, uint64_t end)
{
	off_t at = (off_t)start;

	if (lseek(to, at, SEEK_SET) < 0)
		return -errno;
	while (at < (off_t)end) {
		ssize_t n = sendfile(to, from, &at, (size_t)((off_t)end - at));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
	}
	return 0;
}

static int copy_runs(int from, int to, const Lxmgr__V1__AheadFile *list)
{
	int r = list->n_runs % 2 ? -EBADMSG : 0;

	for (size_t i = 0; r == 0 && i < list->n_runs; i += 2) {
		/* Lists count in whole pages. */
		uint64_t end = list->runs[i + 1] < list->size ? list->runs[i + 1] : list->size;

		if (list->runs[i] < end)
			r = copy_run(from, to, list->runs[i], end);
	}
	return r;
}

static int fill(int content, pid_t init, const Lxmgr__V1__AheadFile *list)
{
	struct stat st;
	struct statfs fs;
	lx_autoclose int fd = lx_guest_open(init, list->path, O_WRONLY | O_NONBLOCK);

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || fs.f_type != TMPFS_MAGIC || (uint64_t)st.st_size != list->size)
		return -ESTALE;
	int r = copy_runs(content, fd, list);
	const struct timespec times[] = { st.st_atim, st.st_mtim };

	return r == 0 && futimens(fd, times) < 0 ? -errno : r;
}

static int fill_one(int dir, const char *name, unsigned number, pid_t init, struct lx_err *err)
{
	char path[PATH_MAX], content_name[32];
	lx_autobuf struct lx_buf data = { 0 };

	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, name);
	snprintf(content_name, sizeof(content_name), LX_AHEAD_CONTENT, number);
	int r = lx_read_file(path, LIST_MAX, &data, err);

	if (r < 0)
		return r;
	Lxmgr__V1__AheadFile *list = lxmgr__v1__ahead_file__unpack(NULL, data.len, data.data);
	lx_autoclose int content = openat(dir, content_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	r = !list ? -EBADMSG : content < 0 ? -errno : fill(content, init, list);
	if (r < 0)
		r = lx_err_errno(err, r, "cannot put back what was copied ahead of %s",
				 list ? list->path : "a file of the guest");
	lx_pb_free(list);
	return r;
}

int lx_ahead_files_fill(int dir, pid_t init, struct lx_err *err)
{
	lx_autoclosedir DIR *d = open_again(dir);
	unsigned number;
	int r = d ? 0 : lx_err_errno(err, errno, "cannot list what was copied ahead");

	for (struct dirent *e; r == 0 && (e = readdir(d));)
		if (is_list(e->d_name, &number))
			r = fill_one(dir, e->d_name, number, init, err);
	return r;
}
