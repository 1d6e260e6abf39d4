/*
 * Deleting a file, a link or an empty directory of a guest, or with `recursive` a whole
 * tree. A link at the end of the path is deleted itself, not what it points to.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/worker/instance/guest.h"
#include "agent/worker/instance/guest_path.h"
#include "lib/fs.h"

static int delete_path(const struct lx_job *job, const char *path, bool recursive, struct lx_err *err)
{
	struct stat st;
	int r;

	if (lstat(path, &st) < 0)
		return lx_err_errno(err, errno, "cannot delete %s in %s", path, job->name);
	if (recursive) {
		r = lx_rm_rf(path, err);
		if (r < 0)
			lx_err_wrap(err, "cannot delete %s in %s", path, job->name);
		return r;
	}
	if (unlinkat(AT_FDCWD, path, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) == 0)
		return 0;
	int e = errno;

	r = lx_err_errno(err, e, "cannot delete %s in %s", path, job->name);
	if (e == ENOTEMPTY || e == EEXIST) {
		r = lx_err_set(err, LX_FAILED_PRECONDITION, "%s in %s is a directory that is not empty", path,
			       job->name);
		lx_err_hint(err, "Delete all of it: --recursive");
	}
	return r;
}

int lx_job_delete_file(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	const Lxmgr__V1__DeleteFileRequest *req = job->msg->delete_file;
	struct lx_guest_path path;
	int r = lx_guest_path_parse(req->path, &path, err);

	if (r == 0 && !*path.base)
		r = lx_err_set(err, LX_INVALID_ARGUMENT, "the root directory of %s cannot be deleted",
			       job->name);
	if (r == 0)
		r = lx_guest_enter(job, err);
	return r < 0 ? r : delete_path(job, req->path, req->recursive, err);
}
