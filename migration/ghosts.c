/*
 * The guest does not run, or is frozen, so nothing changes under our feet; but what it has
 * prepared may lie there. Symbolic links are not followed, nor mounts crossed.
 */
#include "migration/ghosts.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/str.h"

#define REMAP "link_remap."
#define MARK  ".cr."
#define GHOST ".ghost"

static bool all(int (*is)(int), const char *from, const char *to)
{
	const char *p = from;

	while (p < to && is((unsigned char)*p))
		p++;
	return from < to && p == to;
}

static bool is_name(const char *name)
{
	size_t n = strlen(name);

	if (lx_starts_with(name, REMAP))
		return all(isdigit, name + strlen(REMAP), name + n);
	if (!lx_ends_with(name, GHOST))
		return false;
	const char *end = name + n - strlen(GHOST), *mark = NULL;

	for (const char *p = name; (p = strstr(p, MARK)); p++)
		mark = p;
	return mark && mark < end && all(isxdigit, mark + strlen(MARK), end);
}

static bool is_older(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

/* `path` is relative. */
static int remove_one(int root, char *path)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV };
	char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;

	if (slash)
		*slash = '\0';
	lx_autoclose int dir = (int)syscall(SYS_openat2, root, slash ? path : ".", &how, sizeof(how));

	return dir < 0 || unlinkat(dir, name, 0) < 0 ? -errno : 0;
}

int lx_ghosts_remove(const char *upper, int root, const char *since, struct lx_err *err)
{
	char *const tops[] = { (char *)(uintptr_t)upper, NULL };
	struct stat began;

	if (lstat(since, &began) < 0)
		return 0;
	FTS *fts = fts_open(tops, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);

	if (!fts)
		return lx_err_errno(err, errno, "cannot look for what CRIU has left in %s", upper);
	for (FTSENT *e; (e = fts_read(fts));) {
		if ((e->fts_info != FTS_F && e->fts_info != FTS_DEFAULT) || !is_name(e->fts_name) ||
		    is_older(&e->fts_statp->st_ctim, &began.st_ctim))
			continue;
		lx_autofree char *path = strdup(e->fts_path + strlen(upper) + 1);
		int r = path ? remove_one(root, path) : -ENOMEM;

		if (r < 0 && r != -ENOENT)
			lx_warn("cannot remove what CRIU has left", "file=\"%s\" error=\"%s\"", e->fts_path,
				strerror(-r));
	}
	fts_close(fts);
	return 0;
}
