/*
 * Sending files out of a guest: the entry of the path asked for, then, for a directory, all
 * below it, each directory before what it holds.
 *
 * A link is followed when it is the path itself, which a person typed; below it links are
 * sent as links. Devices, sockets and FIFOs are left out of trees. A file that shrinks while
 * it is read is an error, because its size was announced; one that grows is cut there.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/frame.h"
#include "agent/worker/instance/guest.h"
#include "agent/worker/instance/guest_path.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fs.h"

#define PERMISSION_BITS 07777
/* One descriptor a level. */
#define DEPTH_MAX 128

struct pull {
	int stream;
	const char *name;             /* the instance */
	const char *top;              /* the path asked for */
	char path[LX_GUEST_PATH_MAX]; /* of the entry at hand, relative to it */
	uint8_t chunk[LX_FRAME_CHUNK];
};

static int fail(const struct pull *p, int errnum, struct lx_err *err)
{
	return lx_err_errno(err, errnum, "cannot read %s%s%s in %s", p->top, *p->path ? "/" : "", p->path,
			    p->name);
}

static int send_response(const struct pull *p, const Lxmgr__V1__PullFileResponse *m, struct lx_err *err)
{
	return lx_frame_write(p->stream, &m->base, err);
}

static int send_entry(struct pull *p, const struct stat *st, Lxmgr__V1__FileType type, char *target,
		      struct lx_err *err)
{
	Lxmgr__V1__FileEntry e = LXMGR__V1__FILE_ENTRY__INIT;
	Lxmgr__V1__PullFileResponse m = LXMGR__V1__PULL_FILE_RESPONSE__INIT;

	e.path = p->path;
	e.type = type;
	e.mode = st->st_mode & PERMISSION_BITS;
	e.uid = st->st_uid;
	e.gid = st->st_gid;
	e.size = type == LXMGR__V1__FILE_TYPE__FILE_TYPE_REGULAR ? (uint64_t)st->st_size : 0;
	e.mtime_ns = (int64_t)st->st_mtim.tv_sec * (int64_t)LX_NSEC_PER_SEC + st->st_mtim.tv_nsec;
	if (target)
		e.target = target;
	m.what_case = LXMGR__V1__PULL_FILE_RESPONSE__WHAT_ENTRY;
	m.entry = &e;
	return send_response(p, &m, err);
}

/* ------------------------------------------------------------------ files and links */

static int send_data(struct pull *p, int fd, uint64_t left, struct lx_err *err)
{
	Lxmgr__V1__PullFileResponse m = LXMGR__V1__PULL_FILE_RESPONSE__INIT;

	m.what_case = LXMGR__V1__PULL_FILE_RESPONSE__WHAT_DATA;
	m.data.data = p->chunk;
	while (left > 0) {
		size_t want = left < sizeof(p->chunk) ? (size_t)left : sizeof(p->chunk);
		ssize_t n = lx_read_full(fd, p->chunk, want);

		if (n < 0)
			return fail(p, (int)n, err);
		if ((size_t)n != want)
			return lx_err_set(err, LX_ABORTED, "%s/%s in %s became shorter while it was read",
					  p->top, p->path, p->name);
		m.data.len = want;
		int r = send_response(p, &m, err);

		if (r < 0)
			return r;
		left -= want;
	}
	return 0;
}

/* What was a file a moment ago may be a FIFO now: open without waiting, then look. */
static int pull_file(struct pull *p, int at, const char *leaf, int follow, struct lx_err *err)
{
	lx_autoclose int fd = openat(at, leaf, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | follow);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return fail(p, errno, err);
	if (!S_ISREG(st.st_mode))
		return fail(p, EINVAL, err);
	int r = send_entry(p, &st, LXMGR__V1__FILE_TYPE__FILE_TYPE_REGULAR, NULL, err);

	return r < 0 ? r : send_data(p, fd, (uint64_t)st.st_size, err);
}

static int pull_link(struct pull *p, int at, const char *leaf, const struct stat *st, struct lx_err *err)
{
	char target[LX_GUEST_PATH_MAX];
	ssize_t n = readlinkat(at, leaf, target, sizeof(target) - 1);

	if (n < 0)
		return fail(p, errno, err);
	target[n] = '\0';
	return send_entry(p, st, LXMGR__V1__FILE_TYPE__FILE_TYPE_SYMLINK, target, err);
}

/* ------------------------------------------------------------------ trees */

static int pull_dir(struct pull *p, int at, const char *leaf, int follow, unsigned depth, struct lx_err *err);

static int pull_child(struct pull *p, int at, const char *leaf, unsigned depth, struct lx_err *err)
{
	struct stat st;

	if (fstatat(at, leaf, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : fail(p, errno, err);
	switch (st.st_mode & S_IFMT) {
	case S_IFREG:
		return pull_file(p, at, leaf, O_NOFOLLOW, err);
	case S_IFLNK:
		return pull_link(p, at, leaf, &st, err);
	case S_IFDIR:
		return pull_dir(p, at, leaf, O_NOFOLLOW, depth, err);
	default:
		return 0;
	}
}

static int pull_children(struct pull *p, DIR *d, unsigned depth, struct lx_err *err)
{
	size_t len = strlen(p->path);

	for (;;) {
		errno = 0;
		struct dirent *e = readdir(d);

		if (!e)
			return errno ? fail(p, errno, err) : 0;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		size_t room = sizeof(p->path) - len;

		if ((size_t)snprintf(p->path + len, room, "%s%s", len ? "/" : "", e->d_name) >= room)
			return fail(p, ENAMETOOLONG, err);
		int r = pull_child(p, dirfd(d), e->d_name, depth + 1, err);

		p->path[len] = '\0';
		if (r < 0)
			return r;
	}
}

static int pull_dir(struct pull *p, int at, const char *leaf, int follow, unsigned depth, struct lx_err *err)
{
	if (depth > DEPTH_MAX)
		return lx_err_set(
			err, LX_RESOURCE_EXHAUSTED,
			"%s/%.200s in %s is deeper than %d directories, the most a transfer can hold", p->top,
			p->path, p->name, DEPTH_MAX);
	int fd = openat(at, leaf, O_RDONLY | O_DIRECTORY | O_CLOEXEC | follow);
	struct stat st;

	if (fd < 0)
		return fail(p, errno, err);
	lx_autoclosedir DIR *d = fdopendir(fd);

	if (!d) {
		close(fd);
		return lx_err_oom(err);
	}
	if (fstat(fd, &st) < 0)
		return fail(p, errno, err);
	int r = send_entry(p, &st, LXMGR__V1__FILE_TYPE__FILE_TYPE_DIRECTORY, NULL, err);

	return r < 0 ? r : pull_children(p, d, depth, err);
}

/* ------------------------------------------------------------------ the verb */

static int pull_top(struct pull *p, bool recursive, struct lx_err *err)
{
	struct stat st;
	int r;

	if (stat(p->top, &st) < 0)
		return fail(p, errno, err);
	if (S_ISREG(st.st_mode))
		return pull_file(p, AT_FDCWD, p->top, 0, err);
	if (!S_ISDIR(st.st_mode))
		return lx_err_set(err, LX_FAILED_PRECONDITION, "%s in %s is neither a file nor a directory",
				  p->top, p->name);
	if (recursive)
		return pull_dir(p, AT_FDCWD, p->top, 0, 0, err);
	r = lx_err_set(err, LX_FAILED_PRECONDITION, "%s in %s is a directory", p->top, p->name);
	lx_err_hint(err, "Ask for all of it: --recursive");
	return r;
}

int lx_job_pull(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	static struct pull p;
	const Lxmgr__V1__PullFileRequest *req = job->msg->pull;
	struct lx_guest_path path;

	if (job->fds.n != 1)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "no descriptor came to write files to");
	p.stream = job->fds.fd[0];
	p.name = job->name;
	p.top = req->path;
	int r = lx_guest_path_parse(req->path, &path, err);

	if (r == 0)
		r = lx_guest_enter(job, err);
	return r < 0 ? r : pull_top(&p, req->recursive, err);
}
