#include "agent/worker/instance/own_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "agent/worker/instance/rootfs.h"

int lx_own_tree_open(const struct lx_job *job, const lx_spec *spec, struct lx_tree_source *ret,
		     struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];

	*ret = LX_OWN_TREE_NONE;
	ret->id_base = lx_spec_id_base(spec);
	lx_job_own_path(job, path, "upper");
	ret->upper = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (ret->upper < 0)
		return lx_err_errno(err, errno, "cannot open %s", path);
	/* For files of the image that have several names. Neither has to be there. */
	lx_image_path(job, spec->image_fingerprint, path);
	ret->lower = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	lx_job_own_path(job, path, "work/index");
	ret->index = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return 0;
}

void lx_own_tree_close(struct lx_tree_source *source)
{
	int *const fds[] = { &source->upper, &source->lower, &source->index };

	for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}
