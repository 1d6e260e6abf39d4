/*
 * The layer of drop-ins that every systemd guest gets: written once for all instances to
 * <state_dir>/guest/<hash of its contents>. It is built aside and renamed, so that what has
 * the final name is complete; of two that build it at the same time one wins, and both
 * have the same files. They have the same times on every node: to the systemd of a guest that has
 * moved they would have changed else, and it would ask for a reload.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/worker/instance/rootfs.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "profiles/profiles.h"

#define WRITTEN_S 946684800 /* the year 2000 */

/* FNV-1a, with the terminating NUL, so that "ab","c" and "a","bc" differ. */
static uint64_t mix(uint64_t hash, const char *text)
{
	do {
		hash ^= (unsigned char)*text;
		hash *= 0x100000001b3;
	} while (*text++);
	return hash;
}

static int date(const char *path, struct lx_err *err)
{
	static const struct timespec times[2] = { { .tv_sec = WRITTEN_S }, { .tv_sec = WRITTEN_S } };

	return utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW) < 0
		       ? lx_err_errno(err, errno, "cannot set the time of %s", path)
		       : 0;
}

static int write_layer(const char *dir, const struct lx_guest_file *files, size_t n, struct lx_err *err)
{
	for (size_t i = 0; i < n; i++) {
		char path[LX_JOB_PATH_MAX];

		if ((size_t)snprintf(path, sizeof(path), "%s%s", dir, files[i].path) >= sizeof(path))
			return lx_err_set(err, LX_INTERNAL, "the path %s%s is too long", dir, files[i].path);
		char *slash = strrchr(path, '/');

		*slash = '\0';
		int r = lx_mkdir_p(path, 0755, err);

		*slash = '/';
		if (r == 0)
			r = lx_write_file_atomic(path, files[i].text, strlen(files[i].text), files[i].mode,
						 err);
		if (r == 0)
			r = date(path, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int make_layer(const struct lx_job *job, const char *path, const struct lx_guest_file *files, size_t n,
		      struct lx_err *err)
{
	char tmp[LX_JOB_PATH_MAX];

	snprintf(tmp, sizeof(tmp), "%s/guest/.new-%d", job->state_dir, (int)getpid());
	/* Left by a killed worker that had the same number. */
	int r = lx_rm_rf(tmp, err);

	if (r == 0)
		r = lx_mkdir_p(tmp, 0755, err);
	if (r == 0)
		r = write_layer(tmp, files, n, err);
	if (r == 0 && rename(tmp, path) < 0 && errno != EEXIST && errno != ENOTEMPTY)
		r = lx_err_errno(err, errno, "cannot rename %s", tmp);
	(void)lx_rm_rf(tmp, NULL);
	return r;
}

int lx_guest_layer_path(const struct lx_job *job, char out[LX_JOB_PATH_MAX], struct lx_err *err)
{
	struct lx_guest_file files[LX_GUEST_FILES_MAX];
	int n = lx_guest_layer(files, err);

	if (n < 0)
		return n;
	uint64_t hash = 0xcbf29ce484222325 ^ WRITTEN_S;

	for (int i = 0; i < n; i++)
		hash = mix(mix(hash, files[i].path), files[i].text);
	snprintf(out, LX_JOB_PATH_MAX, "%s/guest/%016llx", job->state_dir, (unsigned long long)hash);
	int r = lx_is_dir(out) ? 0 : make_layer(job, out, files, (size_t)n, err);

	lx_guest_files_release(files, (size_t)n);
	return r;
}
