/*
 * Reading the cgroups of instances. The mount table is read once; after that each number is
 * one open, one read, one close. Names come from /proc/self/mounts: a v1 hierarchy carries
 * its controllers as mount options, a v2 one lists them in cgroup.controllers.
 */
#include "agent/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"

/* v1: the controller that has the files we read; v2: the one to be listed, NULL where every group has them.
 * Processes are in all hierarchies alike, and freezing goes by the v2 one (worker/instance/cgroup.h). */
static const struct {
	const char *v1;
	const char *v2;
} controllers[LX_CONTROLLERS] = {
	[LX_CG_MEMORY] = { "memory", "memory" },
	[LX_CG_CPU] = { "cpuacct", NULL },
	[LX_CG_PIDS] = { "pids", "pids" },
	[LX_CG_FREEZER] = { NULL, NULL }, /* always the v2 one */
};

/* Bytes of a file with numbers in it. */
#define CGROUP_FILE_MAX 4096

static void note_mount(struct lx_cgroups *cg, enum lx_controller c, const char *dir, bool v2)
{
	cg->at[c].v2 = v2;
	snprintf(cg->at[c].mount, sizeof(cg->at[c].mount), "%s", dir);
}

static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = list; (p = strstr(p, word)); p += n)
		if ((p == list || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
			return true;
	return false;
}

/* A controller that a v1 hierarchy has is not in the v2 one. */
static void note_v2(struct lx_cgroups *cg, const char *dir)
{
	lx_autofree char *path = lx_path_join(dir, "cgroup.controllers");
	char list[512] = "";

	if (path)
		(void)lx_read_line(path, list, sizeof(list));
	for (int c = 0; c < LX_CONTROLLERS; c++) {
		const char *listed = controllers[c].v2;

		if (!*cg->at[c].mount && (!listed || has_word(list, listed)))
			note_mount(cg, (enum lx_controller)c, dir, true);
	}
}

int lx_cgroups_init(struct lx_cgroups *cg, const char *root)
{
	char v2_dir[LX_CGROUP_MOUNT_MAX] = "";
	bool any_v1 = false;
	FILE *mounts = setmntent("/proc/self/mounts", "re");

	if (!mounts)
		return -errno;
	*cg = (struct lx_cgroups){ 0 };
	snprintf(cg->root, sizeof(cg->root), "%s", root);
	for (struct mntent *m; (m = getmntent(mounts));) {
		if (lx_streq(m->mnt_type, "cgroup2") && !*v2_dir)
			snprintf(v2_dir, sizeof(v2_dir), "%s", m->mnt_dir);
		if (!lx_streq(m->mnt_type, "cgroup"))
			continue;
		any_v1 = true;
		for (int c = 0; c < LX_CONTROLLERS; c++)
			if (controllers[c].v1 && !*cg->at[c].mount && hasmntopt(m, controllers[c].v1))
				note_mount(cg, (enum lx_controller)c, m->mnt_dir, false);
	}
	endmntent(mounts);
	if (*v2_dir)
		note_v2(cg, v2_dir);
	snprintf(cg->layout, sizeof(cg->layout), "%s", !any_v1 ? "v2" : *v2_dir ? "hybrid" : "v1");
	return 0;
}

static int read_payload(const struct lx_cgroups *cg, enum lx_controller c, const char *instance,
			const char *file, char *buf, size_t size)
{
	char path[PATH_MAX];

	if (!*cg->at[c].mount)
		return -ENOENT;
	snprintf(path, sizeof(path), "%s/%s/%s/payload/%s", cg->at[c].mount, cg->root, instance, file);
	lx_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, buf, size - 1);

	if (n < 0)
		return -errno;
	buf[n] = '\0';
	return 0;
}

int lx_cgroup_number(const struct lx_cgroups *cg, enum lx_controller c, const char *instance,
		     const char *file, uint64_t *ret)
{
	char text[64];
	int r = read_payload(cg, c, instance, file, text, sizeof(text));

	if (r < 0)
		return r;
	*ret = strncmp(text, "max", 3) == 0 ? 0 : strtoull(text, NULL, 10);
	return 0;
}

int lx_cgroup_keyed(const struct lx_cgroups *cg, enum lx_controller c, const char *instance, const char *file,
		    const char *key, uint64_t *ret)
{
	char text[CGROUP_FILE_MAX] = "";
	size_t n = strlen(key);
	int r = read_payload(cg, c, instance, file, text, sizeof(text));

	if (r < 0)
		return r;
	for (char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, n) == 0 && line[n] == ' ') {
			*ret = strtoull(line + n, NULL, 10);
			return 0;
		}
	}
	return -ENOENT;
}

bool lx_cgroup_is_frozen(const struct lx_cgroups *cg, const char *instance)
{
	uint64_t frozen = 0;

	return lx_cgroup_keyed(cg, LX_CG_FREEZER, instance, "cgroup.events", "frozen", &frozen) == 0 &&
	       frozen;
}
