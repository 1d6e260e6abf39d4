/*
 * Reading and writing whole files. Trees (mkdir -p, rm -rf) are in fs_tree.c. Every
 * descriptor is close-on-exec; interrupted system calls are repeated.
 */
#include "lib/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/str.h"

#define READ_CHUNK 4096

ssize_t lx_read_full(int fd, void *buf, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = read(fd, (char *)buf + done, n - done);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (r == 0)
			break;
		done += (size_t)r;
	}
	return (ssize_t)done;
}

ssize_t lx_write_full(int fd, const void *buf, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = write(fd, (const char *)buf + done, n - done);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		done += (size_t)r;
	}
	return (ssize_t)done;
}

/* ------------------------------------------------------------------ reading */

/* Sizes of files in /proc are 0, so read until the end instead of trusting fstat(). */
static int read_all(int fd, size_t max, struct lx_buf *out)
{
	size_t got = 0;

	for (;;) {
		/* One byte more than allowed tells a file of exactly max bytes from a longer one. */
		size_t want = max - got < READ_CHUNK ? max - got + 1 : READ_CHUNK;

		if (lx_buf_reserve(out, want) < 0)
			return -ENOMEM;
		ssize_t r = lx_read_full(fd, out->data + out->len, want);

		if (r < 0)
			return (int)r;
		out->len += (size_t)r;
		out->data[out->len] = '\0';
		got += (size_t)r;
		if (got > max)
			return -EFBIG;
		if ((size_t)r < want)
			return 0;
	}
}

int lx_read_file(const char *path, size_t max, struct lx_buf *out, struct lx_err *err)
{
	lx_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return lx_err_errno(err, errno, "cannot open %s", path);
	size_t before = out->len;
	int r = read_all(fd, max, out);

	if (r < 0) {
		out->len = before;
		if (out->data)
			out->data[before] = '\0';
		if (r == -EFBIG) {
			lx_err_set(err, LX_RESOURCE_EXHAUSTED,
				   "cannot read %s: it is larger than the %zu bytes expected at most", path,
				   max);
			return r;
		}
		return lx_err_errno(err, r, "cannot read %s", path);
	}
	return 0;
}

int lx_read_line(const char *path, char *buf, size_t n)
{
	lx_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	ssize_t r = lx_read_full(fd, buf, n);

	if (r < 0)
		return (int)r;
	char *end = memchr(buf, '\n', (size_t)r);

	if (!end && (size_t)r == n)
		return -EFBIG;
	*(end ? end : buf + r) = '\0';
	return 0;
}

/* ------------------------------------------------------------------ writing */

int lx_fsync_dir(const char *path)
{
	lx_autoclose int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	return fsync(fd) < 0 ? -errno : 0;
}

static int fill_file(int fd, const void *data, size_t len, mode_t mode, bool durable)
{
	ssize_t w = lx_write_full(fd, data, len);

	if (w < 0)
		return (int)w;
	/* Not at creation: the umask must not change what was asked for. */
	if (fchmod(fd, mode) < 0 || (durable && fsync(fd) < 0))
		return -errno;
	return 0;
}

static int replace_file(const char *path, const void *data, size_t len, mode_t mode, bool durable,
			struct lx_err *err)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash ? slash + 1 : path;
	/* "/" of "/file" is its directory; "" of "file" is ".". */
	lx_autofree char *dir =
		slash ? strndup(path, slash > path ? (size_t)(slash - path) : 1) : strdup(".");
	lx_autofree char *temp = lx_asprintf("%.*s.%s.XXXXXX", (int)(base - path), path, base);

	if (!dir || !temp)
		return lx_err_oom(err);
	lx_autoclose int fd = mkostemp(temp, O_CLOEXEC);

	if (fd < 0)
		return lx_err_errno(err, errno, "cannot create a temporary file for %s", path);
	int r = fill_file(fd, data, len, mode, durable);

	if (r == 0 && rename(temp, path) < 0)
		r = -errno;
	if (r < 0) {
		unlink(temp);
		return lx_err_errno(err, r, "cannot write %s", path);
	}
	r = durable ? lx_fsync_dir(dir) : 0;
	if (r < 0)
		return lx_err_errno(err, r, "cannot flush directory %s", dir);
	return 0;
}

int lx_write_file_atomic(const char *path, const void *data, size_t len, mode_t mode, struct lx_err *err)
{
	return replace_file(path, data, len, mode, true, err);
}

int lx_write_file_volatile(const char *path, const void *data, size_t len, mode_t mode, struct lx_err *err)
{
	return replace_file(path, data, len, mode, false, err);
}

int lx_write_knob(const char *path, const char *text)
{
	lx_autoclose int fd = open(path, O_WRONLY | O_CLOEXEC);
	size_t len = strlen(text);
	ssize_t w;

	if (fd < 0)
		return -errno;
	do {
		w = write(fd, text, len);
	} while (w < 0 && errno == EINTR);
	if (w < 0)
		return -errno;
	return (size_t)w == len ? 0 : -EIO;
}

/* ------------------------------------------------------------------ paths */

bool lx_path_exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

bool lx_is_dir(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int lx_dir_is_empty(int dir)
{
	int list = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	lx_autoclosedir DIR *d = list < 0 ? NULL : fdopendir(list);
	int r = 1;

	if (!d) {
		r = -errno;
		if (list >= 0)
			close(list);
		return r;
	}
	for (struct dirent *e; r == 1 && (e = readdir(d));)
		r = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
	return r;
}

char *lx_path_join(const char *a, const char *b)
{
	size_t n = strlen(a);

	while (n > 0 && a[n - 1] == '/')
		n--;
	while (*b == '/')
		b++;
	return lx_asprintf("%.*s/%s", (int)n, a, b);
}
