/*
 * Receiving files into a guest.
 *
 * The happy path: become the guest's root, open the directory the transfer goes to, then
 * for each entry make the directory or the link, or write the file under a temporary name
 * and rename it over the final one. So a file in the guest is the old one or the new one,
 * whole; a transfer that fails half-way leaves the entries that were complete.
 *
 * Links of the guest are followed in the path of the request, which a person typed, and
 * nowhere below it: there they are replaced (at the end of a path) or an error (on the way).
 */
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
#define PARENT_MODE     0755
/* Directories open at the same time to get their times set: a chain, not the whole tree. */
#define DEPTH_MAX 128

/* A directory whose time is set when the entries below it are there. */
struct pending {
	char *path; /* relative to the root */
	int fd;
	int64_t mtime_ns;
};

struct push {
	int stream;
	const char *name; /* the instance */
	const char *path; /* of the request */
	struct lx_guest_path to;
	bool into;     /* entries go below `path` */
	int parent_fd; /* directory that holds `path`, unless `into` */
	int root_fd;   /* `path` itself, once it is a directory; else -1 */
	struct pending pending[DEPTH_MAX];
	size_t n_pending;
	uint64_t files, bytes;
};

static int fail(const struct push *p, const char *entry, int errnum, struct lx_err *err)
{
	return lx_err_errno(err, errnum, "cannot write %s%s%s in %s", p->path, *entry ? "/" : "", entry,
			    p->name);
}

/* ------------------------------------------------------------------ the target */

static int open_dir(const char *path)
{
	int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int open_target(struct push *p, bool create_dirs, struct lx_err *err)
{
	const char *dir = p->into ? p->path : p->to.dir;
	int r = create_dirs ? lx_mkdir_p(dir, PARENT_MODE, err) : 0;

	if (r < 0)
		return r;
	int fd = open_dir(dir);

	if (fd < 0) {
		r = lx_err_errno(err, fd, "cannot open the directory %s in %s", dir, p->name);
		if (fd == -ENOENT)
			lx_err_hint(err, "It is made when you ask for it: --create-dirs");
		return r;
	}
	if (p->into || !*p->to.base)
		p->root_fd = fd;
	else
		p->parent_fd = fd;
	return 0;
}

/* Where an entry goes: a directory (to be closed unless it is one of the push) and a name in it. */
static int locate(const struct push *p, const Lxmgr__V1__FileEntry *e, const char **ret_leaf,
		  struct lx_err *err)
{
	int fd;

	if (!*e->path) {
		if (p->parent_fd < 0)
			return lx_err_set(err, LX_FAILED_PRECONDITION, "%s in %s is a directory", p->path,
					  p->name);
		*ret_leaf = p->to.base;
		fd = fcntl(p->parent_fd, F_DUPFD_CLOEXEC, 0);
		return fd < 0 ? fail(p, "", errno, err) : fd;
	}
	if (!lx_guest_entry_ok(e->path))
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "refusing to write \"%.200s\": not a path below %s", e->path, p->path);
	if (p->root_fd < 0)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%s comes before the directory it is in",
				  e->path);
	fd = lx_guest_open_parent(p->root_fd, e->path, ret_leaf);
	if (fd == -ELOOP)
		return lx_err_set(err, LX_FAILED_PRECONDITION,
				  "cannot write %s/%s in %s: a symbolic link is in the way", p->path, e->path,
				  p->name);
	return fd < 0 ? fail(p, e->path, fd, err) : fd;
}

/* ------------------------------------------------------------------ attributes */

static struct timespec to_timespec(int64_t ns)
{
	int64_t sec = ns / (int64_t)LX_NSEC_PER_SEC, rest = ns % (int64_t)LX_NSEC_PER_SEC;

	if (rest < 0) {
		sec--;
		rest += (int64_t)LX_NSEC_PER_SEC;
	}
	return (struct timespec){ .tv_sec = sec, .tv_nsec = rest };
}

static int set_time(int fd, int64_t mtime_ns)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, to_timespec(mtime_ns) };

	return futimens(fd, times) < 0 ? -errno : 0;
}

/* Owner first: a change of it clears the set-uid bits. */
static int set_owner_and_mode(int fd, const Lxmgr__V1__FileEntry *e)
{
	return fchown(fd, e->uid, e->gid) < 0 || fchmod(fd, e->mode & PERMISSION_BITS) < 0 ? -errno : 0;
}

static int attributes_failed(const struct push *p, const Lxmgr__V1__FileEntry *e, int errnum,
			     struct lx_err *err)
{
	int r = fail(p, e->path, errnum, err);

	if (errnum == -EINVAL)
		lx_err_hint(err, "Owner %u:%u is not among the ids the guest has.", e->uid, e->gid);
	return r;
}

/* ------------------------------------------------------------------ directories */

/* Sets the times of directories that do not hold `path`; all of them for NULL. */
static int settle(struct push *p, const char *path, struct lx_err *err)
{
	while (p->n_pending > 0) {
		struct pending *d = &p->pending[p->n_pending - 1];
		size_t n = strlen(d->path);

		if (path && strncmp(path, d->path, n) == 0 && (n == 0 || path[n] == '/'))
			return 0;
		int r = set_time(d->fd, d->mtime_ns);

		if (r < 0)
			return fail(p, d->path, r, err);
		close(d->fd);
		free(d->path);
		p->n_pending--;
	}
	return 0;
}

static int push_dir(struct push *p, int at, const char *leaf, const Lxmgr__V1__FileEntry *e,
		    struct lx_err *err)
{
	if (p->n_pending == DEPTH_MAX)
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED,
				  "%s/%.200s is deeper than %d directories, the most a transfer can hold",
				  p->path, e->path, DEPTH_MAX);
	if (mkdirat(at, leaf, 0700) < 0 && errno != EEXIST)
		return fail(p, e->path, errno, err);
	/* At the top the guest may have a link to a directory: that is what the person named. */
	lx_autoclose int fd =
		openat(at, leaf, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (*e->path ? O_NOFOLLOW : 0));

	if (fd < 0)
		return fail(p, e->path, errno, err);
	int r = set_owner_and_mode(fd, e);

	if (r < 0)
		return attributes_failed(p, e, r, err);
	if (!*e->path) {
		p->root_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (p->root_fd < 0)
			return fail(p, "", errno, err);
	}
	char *path = strdup(e->path);

	if (!path)
		return lx_err_oom(err);
	p->pending[p->n_pending++] =
		(struct pending){ .path = path, .fd = lx_move_fd(fd), .mtime_ns = e->mtime_ns };
	return 0;
}

/* ------------------------------------------------------------------ files */

/* The data of one file: exactly as many bytes as were announced. */
static int receive_data(struct push *p, int fd, const Lxmgr__V1__FileEntry *e, struct lx_err *err)
{
	uint64_t left = e->size;

	while (left > 0) {
		ProtobufCMessage *m = NULL;
		int r = lx_frame_read(p->stream, &lxmgr__v1__push_file_request__descriptor, &m, err);

		if (r < 0)
			return r;
		if (r == 0)
			return lx_err_set(err, LX_CANCELLED, "the sender stopped within %s/%s", p->path,
					  e->path);
		Lxmgr__V1__PushFileRequest *req = (Lxmgr__V1__PushFileRequest *)m;

		if (req->what_case != LXMGR__V1__PUSH_FILE_REQUEST__WHAT_DATA || req->data.len > left)
			r = lx_err_set(err, LX_INVALID_ARGUMENT,
				       "%s/%s was announced with %llu bytes, but other than that came",
				       p->path, e->path, (unsigned long long)e->size);
		else
			r = (int)lx_write_full(fd, req->data.data, req->data.len);
		if (r < 0 && req->what_case == LXMGR__V1__PUSH_FILE_REQUEST__WHAT_DATA &&
		    req->data.len <= left)
			r = fail(p, e->path, r, err);
		left -= r < 0 ? 0 : req->data.len;
		protobuf_c_message_free_unpacked(m, NULL);
		if (r < 0)
			return r;
	}
	return 0;
}

static int fill_file(struct push *p, int fd, const Lxmgr__V1__FileEntry *e, struct lx_err *err)
{
	int r = receive_data(p, fd, e, err);

	if (r < 0)
		return r;
	r = set_owner_and_mode(fd, e);
	if (r == 0)
		r = set_time(fd, e->mtime_ns);
	return r < 0 ? attributes_failed(p, e, r, err) : 0;
}

/* A name nobody else uses; EEXIST would be somebody guessing it. */
static void temp_name(char out[64])
{
	snprintf(out, 64, ".lxmgr-push-%016llx", (unsigned long long)lx_now_monotonic_ns());
}

static int put_in_place(const struct push *p, int at, const char *tmp, const char *leaf, const char *entry,
			struct lx_err *err)
{
	if (renameat(at, tmp, at, leaf) == 0)
		return 0;
	int e = errno;
	int r = fail(p, entry, e, err);

	if (e == EISDIR || e == ENOTEMPTY || e == EEXIST)
		lx_err_hint(err, "It is a directory there. To put something into it, end the path with a /.");
	return r;
}

static int push_file(struct push *p, int at, const char *leaf, const Lxmgr__V1__FileEntry *e,
		     struct lx_err *err)
{
	char tmp[64];

	temp_name(tmp);
	lx_autoclose int fd = openat(at, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return fail(p, e->path, errno, err);
	int r = fill_file(p, fd, e, err);

	if (r == 0)
		r = put_in_place(p, at, tmp, leaf, e->path, err);
	if (r < 0)
		(void)unlinkat(at, tmp, 0);
	return r;
}

static int push_link(struct push *p, int at, const char *leaf, const Lxmgr__V1__FileEntry *e,
		     struct lx_err *err)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, to_timespec(e->mtime_ns) };
	char tmp[64];
	int r;

	temp_name(tmp);
	if (symlinkat(e->target, at, tmp) < 0)
		return fail(p, e->path, errno, err);
	if (fchownat(at, tmp, e->uid, e->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    utimensat(at, tmp, times, AT_SYMLINK_NOFOLLOW) < 0)
		r = attributes_failed(p, e, -errno, err);
	else
		r = put_in_place(p, at, tmp, leaf, e->path, err);
	if (r < 0)
		(void)unlinkat(at, tmp, 0);
	return r;
}

/* ------------------------------------------------------------------ the stream */

static int push_entry(struct push *p, const Lxmgr__V1__FileEntry *e, struct lx_err *err)
{
	const char *leaf;

	/* The directory things are put into is there already, and stays as it is. */
	if (!*e->path && e->type == LXMGR__V1__FILE_TYPE__FILE_TYPE_DIRECTORY && p->parent_fd < 0)
		return 0;
	int r = settle(p, e->path, err);

	if (r < 0)
		return r;
	lx_autoclose int at = locate(p, e, &leaf, err);

	if (at < 0)
		return at;
	p->files++;
	switch (e->type) {
	case LXMGR__V1__FILE_TYPE__FILE_TYPE_DIRECTORY:
		return push_dir(p, at, leaf, e, err);
	case LXMGR__V1__FILE_TYPE__FILE_TYPE_SYMLINK:
		return push_link(p, at, leaf, e, err);
	case LXMGR__V1__FILE_TYPE__FILE_TYPE_REGULAR:
		p->bytes += e->size;
		return push_file(p, at, leaf, e, err);
	default:
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "%s/%s is neither a file nor a directory nor a symbolic link", p->path,
				  e->path);
	}
}

static int push_all(struct push *p, struct lx_err *err)
{
	for (;;) {
		ProtobufCMessage *m = NULL;
		int r = lx_frame_read(p->stream, &lxmgr__v1__push_file_request__descriptor, &m, err);

		if (r < 0)
			return r;
		if (r == 0)
			return settle(p, NULL, err);
		Lxmgr__V1__PushFileRequest *req = (Lxmgr__V1__PushFileRequest *)m;

		if (req->what_case == LXMGR__V1__PUSH_FILE_REQUEST__WHAT_ENTRY)
			r = push_entry(p, req->entry, err);
		else
			r = lx_err_set(err, LX_INVALID_ARGUMENT, "expected a file, directory or link");
		protobuf_c_message_free_unpacked(m, NULL);
		if (r < 0)
			return r;
	}
}

int lx_job_push(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	static Lxmgr__V1__PushFileResponse response = LXMGR__V1__PUSH_FILE_RESPONSE__INIT;
	static struct push p;
	const Lxmgr__V1__PushFileStart *start = job->msg->push;
	int r;

	if (job->fds.n != 1)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "no stream of files came");
	p = (struct push){ .stream = job->fds.fd[0],
			   .name = job->name,
			   .path = start->path,
			   .into = start->into_directory,
			   .parent_fd = -1,
			   .root_fd = -1 };
	r = lx_guest_path_parse(start->path, &p.to, err);
	if (r == 0)
		r = lx_guest_enter(job, err);
	if (r == 0)
		r = open_target(&p, start->create_dirs, err);
	if (r == 0)
		r = push_all(&p, err);
	if (r < 0)
		return r;
	response.files = p.files;
	response.bytes = p.bytes;
	result->push = &response;
	return 0;
}
