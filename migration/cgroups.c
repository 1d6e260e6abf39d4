/*
 * Walking the tree, and making it anew. The payload itself is made by liblxc; of it only owner,
 * mode and the delegated files are carried.
 */
#include "migration/cgroups.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "proto/pb.h"

#define DEPTH_MAX 32
#define KNOB_MAX  4096
#define PATH_LEN  2048

/* What a guest may set, by name; read-only statistics and actions are not among them. */
static const char *const prefixes[] = { "cgroup.", "memory.", "pids.", "cpu.", "cpuset.", "io.", "hugetlb." };
static const char *const not_knobs[] = {
	"cgroup.procs",   "cgroup.threads", "cgroup.kill",      "cgroup.freeze",
	"memory.reclaim", "memory.peak",    "memory.swap.peak", "cgroup.pressure",
};
/* Of the payload's own: who may move processes and hand controllers down. */
static const char *const delegated[] = { "cgroup.procs", "cgroup.subtree_control", "cgroup.threads" };

static bool among(const char *const *list, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (lx_streq(list[i], name))
			return true;
	return false;
}

static bool is_knob(const char *name)
{
	for (size_t i = 0; i < LX_ARRAY_SIZE(prefixes); i++)
		if (lx_starts_with(name, prefixes[i]))
			return !among(not_knobs, LX_ARRAY_SIZE(not_knobs), name);
	return false;
}

/* ------------------------------------------------------------------ save */

static Lxmgr__V1__GuestCgroup *add_group(Lxmgr__V1__GuestState *out, const char *path, const struct stat *st)
{
	Lxmgr__V1__GuestCgroup *g = malloc(sizeof(*g));
	Lxmgr__V1__GuestCgroup **grown = realloc(out->cgroups, (out->n_cgroups + 1) * sizeof(*grown));

	if (grown)
		out->cgroups = grown;
	if (!g || !grown) {
		free(g);
		return NULL;
	}
	lxmgr__v1__guest_cgroup__init(g);
	g->mode = st->st_mode & 07777;
	g->uid = st->st_uid;
	g->gid = st->st_gid;
	out->cgroups[out->n_cgroups++] = g;
	return lx_pb_set(&g->path, path) < 0 ? NULL : g;
}

static int add_knob(Lxmgr__V1__GuestCgroup *g, const char *name, const char *value, const struct stat *st)
{
	Lxmgr__V1__GuestKnob *k = malloc(sizeof(*k));
	Lxmgr__V1__GuestKnob **grown = realloc(g->knobs, (g->n_knobs + 1) * sizeof(*grown));

	if (grown)
		g->knobs = grown;
	if (!k || !grown) {
		free(k);
		return -ENOMEM;
	}
	lxmgr__v1__guest_knob__init(k);
	k->mode = st->st_mode & 07777;
	k->uid = st->st_uid;
	k->gid = st->st_gid;
	g->knobs[g->n_knobs++] = k;
	return lx_pb_set(&k->name, name) < 0 || lx_pb_set(&k->value, value) < 0 ? -ENOMEM : 0;
}

/* A writable file that reads as one short text. */
static int save_knob(int dir, const char *name, bool own_only, Lxmgr__V1__GuestCgroup *g)
{
	char value[KNOB_MAX] = "";
	struct stat st;
	lx_autoclose int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 || fstat(fd, &st) < 0 || !(st.st_mode & 0200))
		return 0;
	if (!own_only) {
		ssize_t n = lx_read_full(fd, value, sizeof(value) - 1);

		if (n <= 0 || n == sizeof(value) - 1)
			return 0;
		value[n] = '\0';
		value[strcspn(value, "\n")] = '\0';
	}
	return add_knob(g, name, value, &st);
}

static int save_group(int dir, const char *path, unsigned depth, Lxmgr__V1__GuestState *out,
		      struct lx_err *err)
{
	char *below[256];
	size_t n_below = 0;
	struct stat st;
	int r = 0;

	if (depth > DEPTH_MAX || out->n_cgroups >= LX_GUEST_CGROUPS_MAX)
		return lx_err_set(err, LX_FAILED_PRECONDITION,
				  "the guest has more than %u cgroups, or deeper ones than %d",
				  LX_GUEST_CGROUPS_MAX, DEPTH_MAX);
	if (fstat(dir, &st) < 0)
		return lx_err_errno(err, errno, "cannot look at the guest's cgroup %s", path);
	Lxmgr__V1__GuestCgroup *g = add_group(out, path, &st);
	int copy = g ? openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	lx_autoclosedir DIR *d = copy >= 0 ? fdopendir(copy) : NULL;

	if (!d)
		return lx_err_oom(err);
	for (struct dirent *e; r == 0 && (e = readdir(d));) {
		if (e->d_type == DT_DIR) {
			if (e->d_name[0] != '.' && n_below < LX_ARRAY_SIZE(below))
				below[n_below++] = strdup(e->d_name);
		} else if (depth == 0) {
			if (among(delegated, LX_ARRAY_SIZE(delegated), e->d_name))
				r = save_knob(dir, e->d_name, !lx_streq(e->d_name, "cgroup.subtree_control"),
					      g);
		} else if (among(delegated, LX_ARRAY_SIZE(delegated), e->d_name) || is_knob(e->d_name)) {
			r = save_knob(dir, e->d_name,
				      lx_starts_with(e->d_name, "cgroup.procs") ||
					      lx_starts_with(e->d_name, "cgroup.threads"),
				      g);
		}
	}
	if (r < 0)
		lx_err_oom(err);
	for (size_t i = 0; i < n_below; i++) {
		char next[PATH_LEN];
		lx_autofree char *name = below[i];
		lx_autoclose int fd = -1;

		if (r < 0 || !name)
			continue;
		if ((size_t)snprintf(next, sizeof(next), "%s%s%s", path, *path ? "/" : "", name) >=
		    sizeof(next))
			continue;
		fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		/* Gone meanwhile: nothing that runs is in there. */
		if (fd >= 0)
			r = save_group(fd, next, depth + 1, out, err);
	}
	return r;
}

int lx_cgroups_save(const char *payload, Lxmgr__V1__GuestState *out, struct lx_err *err)
{
	lx_autoclose int dir = open(payload, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return lx_err_errno(err, errno, "cannot open the guest's cgroup %s", payload);
	return save_group(dir, "", 0, out, err);
}

/* ------------------------------------------------------------------ load */

static bool sane_path(const char *path)
{
	if (*path == '/' || strlen(path) >= PATH_LEN / 2)
		return false;
	for (const char *p = path; *p;) {
		size_t n = strcspn(p, "/");

		if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		p += n + (p[n] == '/');
	}
	return true;
}

static int bad_path(const char *path, struct lx_err *err)
{
	return lx_err_set(err, LX_INVALID_ARGUMENT, "a guest has no cgroup %.200s", path);
}

/* Owner and mode of a file that may be missing here. */
static void own(const char *dir, const Lxmgr__V1__GuestKnob *k)
{
	char path[2 * PATH_LEN];

	snprintf(path, sizeof(path), "%s/%s", dir, k->name);
	if (chown(path, k->uid, k->gid) == 0)
		(void)chmod(path, k->mode & 0777);
}

int lx_cgroups_load(const char *payload, const Lxmgr__V1__GuestState *state, struct lx_err *err)
{
	if (state->n_cgroups > LX_GUEST_CGROUPS_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%zu cgroups are more than a guest may have",
				  state->n_cgroups);
	for (size_t i = 0; i < state->n_cgroups; i++) {
		const Lxmgr__V1__GuestCgroup *g = state->cgroups[i];
		char path[PATH_LEN];

		if (!sane_path(g->path))
			return bad_path(g->path, err);
		snprintf(path, sizeof(path), "%s%s%s", payload, *g->path ? "/" : "", g->path);
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return lx_err_errno(err, errno, "cannot make the guest's cgroup %s", path);
		if (chown(path, g->uid, g->gid) < 0 || chmod(path, g->mode & 0777) < 0)
			return lx_err_errno(err, errno, "cannot hand over the guest's cgroup %s", path);
		for (size_t k = 0; k < g->n_knobs; k++)
			if (!strchr(g->knobs[k]->name, '/'))
				own(path, g->knobs[k]);
	}
	return 0;
}

/* Controllers first become known to the children: "+memory +pids". */
static void enable(const char *dir, const char *value)
{
	char copy[KNOB_MAX], path[2 * PATH_LEN], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", value);
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", dir);
	for (char *c = strtok_r(copy, " ", &save); c; c = strtok_r(NULL, " ", &save)) {
		char word[64];

		snprintf(word, sizeof(word), "+%s", c);
		(void)lx_write_knob(path, word);
	}
}

/* One that differs is written; what this kernel does not know stays away. */
static void set_knob(const char *dir, const Lxmgr__V1__GuestKnob *k)
{
	char path[2 * PATH_LEN], now[KNOB_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, k->name);
	if (*k->value && lx_read_line(path, now, sizeof(now)) == 0 && !lx_streq(now, k->value))
		(void)lx_write_knob(path, k->value);
	own(dir, k);
}

int lx_cgroups_load_knobs(const char *payload, const Lxmgr__V1__GuestState *state, struct lx_err *err)
{
	for (size_t i = 0; i < state->n_cgroups; i++) {
		const Lxmgr__V1__GuestCgroup *g = state->cgroups[i];
		char path[PATH_LEN];

		if (!sane_path(g->path))
			return bad_path(g->path, err);
		snprintf(path, sizeof(path), "%s%s%s", payload, *g->path ? "/" : "", g->path);
		for (size_t k = 0; k < g->n_knobs; k++) {
			if (strchr(g->knobs[k]->name, '/'))
				return bad_path(g->knobs[k]->name, err);
			if (lx_streq(g->knobs[k]->name, "cgroup.subtree_control"))
				enable(path, g->knobs[k]->value);
			else if (*g->path)
				set_knob(path, g->knobs[k]);
		}
	}
	return 0;
}
