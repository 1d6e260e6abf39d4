/*
 * Finding a source on the node.
 *
 * A source may lie in a directory that some guest has and may write to. A link there would lead to
 * any place of the node, and the next start would mount it: so no link is followed, but for those that
 * the node's own device manager makes in /dev, where no guest is.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/worker/instance/devices.h"
#include "lib/str.h"

/* Everybody may make links in /dev/shm. */
static bool may_have_links(const struct lx_host_device *d)
{
	return d->kind == LX_HOST_DEVICE_NODE && lx_starts_with(d->source, "/dev/") &&
	       !lx_starts_with(d->source, "/dev/shm/");
}

int lx_device_source_open(const char *name, const struct lx_host_device *d, struct lx_err *err)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_MAGICLINKS };
	int r;

	if (!may_have_links(d))
		how.resolve |= RESOLVE_NO_SYMLINKS;
	int fd = (int)syscall(SYS_openat2, AT_FDCWD, d->source, &how, sizeof(how));

	if (fd >= 0)
		return fd;
	if (errno == ELOOP) {
		r = lx_err_set(err, LX_FAILED_PRECONDITION, "device %s: there is a symbolic link in %s", name,
			       d->source);
		lx_err_hint(err, "Name the place itself, without links; on the node: realpath %s", d->source);
		return r;
	}
	if (errno != ENOENT && errno != ENOTDIR)
		return lx_err_errno(err, errno, "device %s: cannot open %s", name, d->source);
	if (d->optional)
		return -ENOENT;
	r = lx_err_set(err, LX_FAILED_PRECONDITION, "device %s: this node has no %s", name, d->source);
	lx_err_hint(err, d->kind == LX_HOST_DEVICE_NODE
				 ? "Plug it in, or set required=false to start without it."
				 : "Make it there, or set optional=true to start without it.");
	return r;
}
