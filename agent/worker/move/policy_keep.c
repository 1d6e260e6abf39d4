/*
 * A guest's AppArmor profiles while CRIU dumps it, see policy.h.
 *
 * For the moment in which it is in the guest's processes CRIU replaces every profile of the namespace by one
 * that lets it do that, and loads the kernel's copy again afterwards. A CRIU that is killed in between does
 * not; and it starts a compiler twice for each, also for the hundred of a Debian 13 of which nobody is under
 * any. So the copies are taken before, while the guest stands still: those of use are loaded again on the way
 * back, and in the place of the others CRIU is given what there is (migration/preload/policy.c), which the
 * kernel takes for what it has, and leaves alone.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/worker/move/policy.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "migration/dump_dir.h"
#include "migration/policy_namespace.h"
#include "profiles/apparmor_namespace.h"

#define KEPT           "policy" /* in the directory of the dump */
#define PATH_LEN       4096
#define NAME_MAX_BYTES 1024u
#define LABEL_MAX      4096u
#define POLICY_MAX     (16u << 20) /* the kernel's own bound is below */

static const char *const kept_dirs[] = { LX_POLICY_KEPT_IDLE, LX_POLICY_KEPT_USED };

void lx_policy_kept_path(const char *dump_dir, char out[LX_POLICY_KEPT_MAX])
{
	snprintf(out, LX_POLICY_KEPT_MAX, "%s/" KEPT, dump_dir);
}

/* ------------------------------------------------------------------ before a dump */

/* The labels of all its threads, a line each. */
static int read_labels(const pid_t *pids, size_t n, struct lx_buf *out, struct lx_err *err)
{
	char path[PATH_LEN];
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		snprintf(path, sizeof(path), "/proc/%d/task", (int)pids[i]);
		lx_autoclosedir DIR *dir = opendir(path);

		if (!dir)
			return lx_err_errno(err, errno, "cannot open %s", path);
		for (const struct dirent *e; r == 0 && (e = readdir(dir));) {
			if (e->d_name[0] == '.')
				continue;
			snprintf(path, sizeof(path), "/proc/%d/task/%s/attr/current", (int)pids[i],
				 e->d_name);
			/* One that has ended has none any more. */
			if (lx_read_file(path, LABEL_MAX, out, NULL) == -ENOMEM || lx_buf_puts(out, "\n") < 0)
				r = lx_err_oom(err);
		}
	}
	return r;
}

/* Its name as that of a file. False: it cannot be one. */
static bool file_name(char *name)
{
	name[strcspn(name, "\n")] = '\0';
	for (char *at = name; *at; at++)
		if (*at == '/')
			*at = '.';
	return *name && !lx_streq(name, ".") && !lx_streq(name, "..");
}

/* One that cannot be kept (it is going, its name is none for a file) is left to CRIU alone. */
static int keep_one(const char *profile, const char *labels, const char *kept, struct lx_err *err)
{
	lx_autobuf struct lx_buf data = { 0 };
	char path[PATH_LEN], name[NAME_MAX_BYTES];

	snprintf(path, sizeof(path), "%s/name", profile);
	if (lx_read_line(path, name, sizeof(name)) < 0)
		return 0;
	/* A name that occurs in another one's label is taken for one in use: that costs time, no more. */
	bool used = strstr(labels, name);

	snprintf(path, sizeof(path), "%s/raw_data", profile);
	if (!file_name(name) || lx_read_file(path, POLICY_MAX, &data, NULL) < 0)
		return 0;
	snprintf(path, sizeof(path), "%s/%s/%s", kept, kept_dirs[used], name);
	return lx_write_file_volatile(path, data.data, data.len, 0600, err);
}

static int make_dirs(const char *kept, struct lx_err *err)
{
	char path[PATH_LEN];
	int r = 0;

	for (size_t i = 0; i < LX_ARRAY_SIZE(kept_dirs) && r == 0; i++) {
		snprintf(path, sizeof(path), "%s/%s", kept, kept_dirs[i]);
		r = lx_mkdir_p(path, 0700, err);
	}
	return r;
}

int lx_policy_keep(const char *namespace, const char *dump_dir, const pid_t *pids, size_t n,
		   struct lx_err *err)
{
	char all[PATH_LEN / 4], one[PATH_LEN / 2], kept[LX_POLICY_KEPT_MAX];
	lx_autobuf struct lx_buf labels = { 0 };

	snprintf(all, sizeof(all), LX_APPARMOR_NAMESPACES "/%s/profiles", namespace);
	lx_autoclosedir DIR *dir = opendir(all);
	int r = dir ? 0 : lx_err_errno(err, errno, "cannot open %s", all);

	lx_policy_kept_path(dump_dir, kept);
	if (r == 0)
		r = make_dirs(kept, err);
	if (r == 0)
		r = read_labels(pids, n, &labels, err);
	for (const struct dirent *e; r == 0 && (e = readdir(dir));) {
		if (e->d_name[0] == '.' && (!e->d_name[1] || lx_streq(e->d_name, "..")))
			continue;
		snprintf(one, sizeof(one), "%s/%s", all, e->d_name);
		r = keep_one(one, lx_buf_str(&labels), kept, err);
	}
	return r;
}

/* ------------------------------------------------------------------ the way back */

static int put_back(const char *path, const char *into, struct lx_err *err)
{
	lx_autobuf struct lx_buf data = { 0 };
	int r = lx_read_file(path, POLICY_MAX, &data, err);

	if (r < 0)
		return r;
	lx_autoclose int fd = open(into, O_WRONLY | O_CLOEXEC);

	/* The kernel takes a profile in one piece. */
	if (fd < 0 || write(fd, data.data, data.len) != (ssize_t)data.len)
		return lx_err_errno(err, errno, "cannot load the AppArmor profile %s again", path);
	return 0;
}

int lx_policy_put_back(const struct lx_job *job, const char *dump_dir, struct lx_err *err)
{
	char namespace[LX_APPARMOR_NAMESPACE_MAX], into[PATH_LEN], kept[LX_POLICY_KEPT_MAX], path[PATH_LEN];

	lx_policy_kept_path(dump_dir, kept);
	snprintf(path, sizeof(path), "%s/" LX_POLICY_KEPT_USED, kept);
	lx_autoclosedir DIR *dir = opendir(path);
	int first = 0;

	lx_policy_find(job, namespace);
	if (!dir || !*namespace)
		return 0;
	snprintf(into, sizeof(into), LX_APPARMOR_NAMESPACES "/%s/.replace", namespace);
	for (const struct dirent *e; (e = readdir(dir));) {
		if (lx_streq(e->d_name, ".") || lx_streq(e->d_name, ".."))
			continue;
		snprintf(path, sizeof(path), "%s/" LX_POLICY_KEPT_USED "/%s", kept, e->d_name);
		int r = put_back(path, into, first == 0 ? err : NULL);

		first = first == 0 ? r : first;
	}
	return first;
}
