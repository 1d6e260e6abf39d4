/*
 * SELinux' part of lsm.h: may the processes use what the instance is stored in? Looked at are the two
 * directories that its root file system is made of. What is in them is labelled with them; where it is not,
 * the kernel refuses it to the guest, file by file.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/xattr.h>

#include "agent/worker/instance/lsm.h"
#include "lib/log.h"
#include "profiles/apparmor.h"
#include "profiles/selinux.h"

#define LABEL_MAX 256
#define ATTRIBUTE "security.selinux"

/* The kernel says "unlabeled_t" for what has none; where it has no SELinux there is nothing to be read. */
static int read_label(const char *path, char out[LABEL_MAX], struct lx_err *err)
{
	ssize_t n = lgetxattr(path, ATTRIBUTE, out, LABEL_MAX - 1);

	if (n < 0 && errno != ENODATA && errno != ENOTSUP)
		return lx_err_errno(err, errno, "cannot read the SELinux label of %s", path);
	out[n < 0 ? 0 : n] = '\0';
	return 0;
}

static int check(const struct lx_job *job, const char *context, const char *path, bool shared, bool enforcing,
		 struct lx_err *err)
{
	char label[LABEL_MAX], level[LX_SELINUX_LEVEL_MAX];
	int r = read_label(path, label, err);

	if (r < 0 || lx_selinux_may_use(context, label))
		return r;
	if (!*label)
		snprintf(label, sizeof(label), "no label");
	if (!enforcing) {
		lx_warn("SELinux is permissive, and would not let an instance use its storage",
			"instance=%s context=%s path=%s label=\"%s\"", job->name, context, path, label);
		return 0;
	}
	lx_selinux_level(context, shared, level);
	r = lx_err_set(err, LX_FAILED_PRECONDITION,
		       "%s " LX_REFUSAL_SELINUX
		       " (%s) that may not use its storage: %s is labelled %s, and has to be "
		       "of type " LX_SELINUX_FILE_TYPE "%s%s",
		       job->name, context, path, label, *level ? ", level " : "", level);
	lx_err_hint(err, "On its node: chcon -R -t " LX_SELINUX_FILE_TYPE " %s%s %s", *level ? "-l " : "",
		    level, path);
	return r;
}

int lx_selinux_check_storage(const struct lx_job *job, const char *context, const char *const paths[2],
			     bool enforcing, struct lx_err *err)
{
	int r = check(job, context, paths[0], false, enforcing, err);

	return r < 0 ? r : check(job, context, paths[1], true, enforcing, err);
}
