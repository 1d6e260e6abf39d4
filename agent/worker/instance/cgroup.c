/*
 * Finding the hierarchies and what they offer; writing an instance's limits. They are looked
 * up below /sys/fs/cgroup instead of in the list of mounts: that list grows with everything
 * mounted on the machine.
 */
#include "agent/worker/instance/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"

#define CGROUP_MOUNT "/sys/fs/cgroup"

#define OWN_CGROUPS_MAX 65536

/* ------------------------------------------------------------------ hierarchies */

static bool has_magic(const char *path, long magic)
{
	struct statfs st;

	return statfs(path, &st) == 0 && (long)st.f_type == magic;
}

static int add(struct lx_cgroups *cg, const char *path, bool v2, struct lx_err *err)
{
	if (cg->n == LX_CGROUP_HIERARCHIES_MAX || strlen(path) >= LX_CGROUP_MOUNT_MAX)
		return lx_err_set(err, LX_INTERNAL, "cannot use the cgroup hierarchy %s: there are too many",
				  path);
	char *mount = cg->at[cg->n].mount;

	memcpy(mount, path, strlen(path) + 1);
	cg->at[cg->n].controllers = v2 ? "" : strrchr(mount, '/') + 1;
	if (v2)
		cg->v2 = cg->n;
	cg->n++;
	return 0;
}

int lx_cgroups_find(struct lx_cgroups *ret, struct lx_err *err)
{
	*ret = (struct lx_cgroups){ .v2 = LX_CGROUP_HIERARCHIES_MAX };
	if (has_magic(CGROUP_MOUNT, CGROUP2_SUPER_MAGIC))
		return add(ret, CGROUP_MOUNT, true, err);

	lx_autoclosedir DIR *d = opendir(CGROUP_MOUNT);

	if (!d)
		return lx_err_errno(err, errno, "cannot look for cgroups in %s", CGROUP_MOUNT);
	for (struct dirent *e; (e = readdir(d));) {
		char path[sizeof(CGROUP_MOUNT) + sizeof(e->d_name)];

		/* Links are second names: cpu -> cpu,cpuacct. */
		if (e->d_name[0] == '.' || e->d_type != DT_DIR)
			continue;
		snprintf(path, sizeof(path), CGROUP_MOUNT "/%s", e->d_name);
		bool v2 = has_magic(path, CGROUP2_SUPER_MAGIC);

		if (!v2 && !has_magic(path, CGROUP_SUPER_MAGIC))
			continue;
		int r = add(ret, path, v2, err);

		if (r < 0)
			return r;
	}
	if (ret->v2 == LX_CGROUP_HIERARCHIES_MAX) {
		int r = lx_err_set(err, LX_FAILED_PRECONDITION,
				   "this node has no cgroup v2 hierarchy below %s", CGROUP_MOUNT);

		lx_err_hint(err, "Mount one: mount -t cgroup2 none %s/unified", CGROUP_MOUNT);
		return r;
	}
	return 0;
}

/* Is `word` one of the comma-separated `list`? */
static bool listed(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *p = list; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
		if (strncmp(p, word, n) == 0 && (p[n] == '\0' || p[n] == ','))
			return true;
	return false;
}

size_t lx_cgroup_hierarchy(const struct lx_cgroups *cg, const char *controller)
{
	for (size_t i = 0; i < cg->n; i++)
		if (i != cg->v2 && listed(cg->at[i].controllers, controller))
			return i;
	return cg->v2;
}

static enum lx_cgroup_layout layout_of(const struct lx_cgroups *cg, const char *controller)
{
	return lx_cgroup_hierarchy(cg, controller) == cg->v2 ? LX_CGROUP_V2 : LX_CGROUP_V1;
}

int lx_cgroups_facts(const struct lx_cgroups *cg, struct lx_host_facts *ret, struct lx_err *err)
{
	/* One job a process: what facts point to may live as long as it does. */
	static char cpus[256];
	char path[LX_JOB_PATH_MAX];
	struct sysinfo info;
	long online = sysconf(_SC_NPROCESSORS_ONLN);

	if (sysinfo(&info) < 0)
		return lx_err_errno(err, errno, "cannot find out how much memory the node has");
	*ret = (struct lx_host_facts){
		.memory_bytes = (uint64_t)info.totalram * info.mem_unit,
		.cpus = online > 0 ? (unsigned)online : 1,
		.memory = layout_of(cg, "memory"),
		.cpu = layout_of(cg, "cpu"),
		.cpuset = layout_of(cg, "cpuset"),
		.pids = layout_of(cg, "pids"),
		.io = layout_of(cg, "blkio"),
	};
	if (lx_read_line("/sys/devices/system/cpu/online", cpus, sizeof(cpus)) == 0)
		ret->cpu_set = cpus;
	/* v2's root group has no swap file to look at, but the kernel always accounts swap there. */
	snprintf(path, sizeof(path), "%s/memory.memsw.limit_in_bytes",
		 cg->at[lx_cgroup_hierarchy(cg, "memory")].mount);
	ret->swap_accounting = ret->memory == LX_CGROUP_V2 || lx_path_exists(path);
	return 0;
}

/* ------------------------------------------------------------------ one instance's groups */

void lx_cgroup_path(const struct lx_cgroups *cg, size_t at, const struct lx_job *job, const char *leaf,
		    char out[LX_JOB_PATH_MAX])
{
	snprintf(out, LX_JOB_PATH_MAX, "%s/%s/%s%s", cg->at[at].mount, job->cgroup_root, job->name, leaf);
}

int lx_cgroup_write(const struct lx_cgroups *cg, const struct lx_job *job, const struct lx_knob *knob)
{
	size_t at = knob->layout == LX_CGROUP_V2 ? cg->v2 : lx_cgroup_hierarchy(cg, knob->controller);
	char leaf[sizeof("/payload/") + sizeof(knob->file)], path[LX_JOB_PATH_MAX];

	snprintf(leaf, sizeof(leaf), "/payload/%s", knob->file);
	lx_cgroup_path(cg, at, job, leaf, path);
	return lx_write_knob(path, knob->value);
}

int lx_cgroup_adopt(const struct lx_cgroups *cg, const struct lx_job *job, pid_t pid, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX], number[16];

	snprintf(number, sizeof(number), "%d", (int)pid);
	for (size_t i = 0; i < cg->n; i++) {
		if (i == cg->v2)
			continue;
		lx_cgroup_path(cg, i, job, "/payload/cgroup.procs", path);
		int r = lx_write_knob(path, number);

		if (r < 0)
			return lx_err_errno(err, r, "cannot put process %d into %s", (int)pid, path);
	}
	return 0;
}

void lx_cgroup_hurry(const struct lx_cgroups *cg, const struct lx_job *job, pid_t monitor)
{
	char path[LX_JOB_PATH_MAX], number[16];

	snprintf(number, sizeof(number), "%d", (int)monitor);
	lx_cgroup_path(cg, cg->v2, job, "/monitor/cgroup.procs", path);
	(void)lx_write_knob(path, number);
}

/* ------------------------------------------------------------------ our own */

int lx_cgroup_remember(struct lx_buf *home, struct lx_err *err)
{
	return lx_read_file("/proc/self/cgroup", OWN_CGROUPS_MAX, home, err);
}

/* "4:memory:/path" and the like: v2 names no controllers, a named v1 hierarchy says "name=". */
static int go_back(const struct lx_cgroups *cg, const char *line, struct lx_err *err)
{
	char controllers[LX_CGROUP_MOUNT_MAX] = "", own[512], path[LX_JOB_PATH_MAX];
	size_t at = cg->v2;

	if (sscanf(line, "%*u:%95[^:]:%511[^\n]", controllers, own) != 2 &&
	    sscanf(line, "%*u::%511[^\n]", own) != 1)
		return 0;
	if (*controllers) {
		controllers[strcspn(controllers, ",")] = '\0';
		at = lx_cgroup_hierarchy(cg, lx_starts_with(controllers, "name=") ? controllers + 5
										  : controllers);
		if (at == cg->v2) /* not mounted here */
			return 0;
	}
	snprintf(path, sizeof(path), "%s%s/cgroup.procs", cg->at[at].mount, own);
	int r = lx_write_knob(path, "0");

	return r < 0 ? lx_err_errno(err, r, "cannot go back to the cgroup %s", path) : 0;
}

int lx_cgroup_go_back(const struct lx_cgroups *cg, const struct lx_buf *home, struct lx_err *err)
{
	const char *line = lx_buf_str(home);

	while (line && *line) {
		int r = go_back(cg, line, err);

		if (r < 0)
			return r;
		line = strchr(line, '\n');
		line += line != NULL;
	}
	return 0;
}
