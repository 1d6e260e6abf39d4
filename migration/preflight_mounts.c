/* Mounts, see preflight_scan.h. */
#include "migration/preflight_scan.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "migration/lxcfs_mounts.h"

static int int_order(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return x < y ? -1 : x > y;
}

int lx_scan_collect_mounts(struct lx_scan *s, struct lx_err *err)
{
	size_t n = 0;
	int r = lx_guest_mounts_read(s->g->init, &s->ps, &s->mounts, err);

	if (r == 0)
		r = lx_mounts_read(getpid(), &s->outside, err);
	if (r < 0)
		return r;
	for (size_t t = 0; t < s->mounts.n; t++)
		n += s->mounts.tables[t].n;
	s->mount_ids = calloc(n ? n : 1, sizeof(*s->mount_ids));
	if (!s->mount_ids)
		return lx_err_oom(err);
	for (size_t t = 0; t < s->mounts.n; t++)
		for (size_t i = 0; i < s->mounts.tables[t].n; i++)
			s->mount_ids[s->n_mount_ids++] = s->mounts.tables[t].m[i].id;
	qsort(s->mount_ids, s->n_mount_ids, sizeof(*s->mount_ids), int_order);
	return 0;
}

bool lx_scan_knows_mount(const struct lx_scan *s, const struct statx *st)
{
	int id = (int)st->stx_mnt_id;

	if (!(st->stx_mask & STATX_MNT_ID))
		return true;
	return s->n_mount_ids && bsearch(&id, s->mount_ids, s->n_mount_ids, sizeof(id), int_order);
}

bool lx_scan_is_of_ended_lxcfs(const struct lx_scan *s, const struct statx *st)
{
	const struct lx_mounts *t = &s->mounts.tables[0];

	if (s->g->lxcfs.serves && st->stx_dev_major == s->g->lxcfs.major &&
	    st->stx_dev_minor == s->g->lxcfs.minor)
		return false;
	for (size_t i = 0; i < t->n; i++)
		if (t->m[i].major == st->stx_dev_major && t->m[i].minor == st->stx_dev_minor &&
		    lx_streq(t->m[i].fstype, LX_LXCFS_FSTYPE))
			return true;
	return false;
}

static int found_unshareable(void *arg, size_t table, const struct lx_mount *m)
{
	struct lx_scan *s = arg;
	struct lx_verdict v = { .code = "mount-sharing" };
	char point[256];

	/* Those of services are put in order before the dump: quiesce.c. */
	if (table > 0)
		return 0;
	lx_proc_printable(m->point, strlen(m->point), point, sizeof(point));
	snprintf(v.what, sizeof(v.what), "%s shares mounts with another in a way that cannot be made again",
		 point);
	snprintf(v.cure, sizeof(v.cure), "Unmount it inside, or make it private: mount --make-private %s",
		 point);
	return lx_preflight_report_add(&s->report, &v, NULL, NULL);
}

/* Where something is mounted, by the process that is in that table; nothing of the file itself is opened. */
static int open_point(pid_t pid, const char *point)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC,
				.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
	lx_autoclose int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return root < 0 ? -1 : (int)syscall(SYS_openat2, root, point, &how, sizeof(how));
}

/* A tmpfs alone is looked into: another file system may not answer. */
static bool has_files(pid_t pid, const char *point)
{
	lx_autoclose int at = open_point(pid, point);
	struct statfs fs;

	/* Else it is gone, or another one. */
	return at >= 0 && fstatfs(at, &fs) == 0 && (unsigned long)fs.f_type == TMPFS_MAGIC &&
	       lx_dir_is_empty(at) == 0;
}

static int found_rootless(void *arg, size_t table, const struct lx_mount *m)
{
	struct lx_scan *s = arg;
	const struct lx_guest_process *p = lx_guest_process_find(&s->ps, s->mounts.pids[table]);
	struct lx_verdict v = { .code = "mount-rootless" };
	char point[256];

	if (!p || !has_files(p->pid, m->point))
		return 0;
	lx_proc_printable(m->point, strlen(m->point), point, sizeof(point));
	snprintf(v.what, sizeof(v.what), "has files in %s, a part of a tmpfs of which no more is mounted",
		 point);
	snprintf(
		v.cure, sizeof(v.cure),
		"Restart it, or remove the files; or give the unit PrivateTmp=yes in place of disconnected.");
	return lx_scan_report(s, p, &v, NULL);
}

/* CRIU makes sockets after mounts, and finds none to bind then. */
static int look_for_socket(struct lx_scan *s, size_t table, const struct lx_mount *m, struct lx_err *err)
{
	struct lx_verdict v = { .code = "mount-socket" };
	char point[256];
	struct stat st;

	/* Of memory: others' devices and directories are judged as a whole. */
	if (!lx_streq(m->fstype, "tmpfs") || lx_streq(m->root, "/"))
		return 0;
	const struct lx_guest_process *p = lx_guest_process_find(&s->ps, s->mounts.pids[table]);
	lx_autoclose int at = p ? open_point(p->pid, m->point) : -1;

	if (at < 0 || fstat(at, &st) < 0 || !S_ISSOCK(st.st_mode))
		return 0;
	lx_proc_printable(m->point, strlen(m->point), point, sizeof(point));
	snprintf(v.what, sizeof(v.what), "has a socket mounted on %s", point);
	snprintf(v.cure, sizeof(v.cure),
		 "Take it out of the unit's BindPaths= or BindReadOnlyPaths= (systemctl edit), and restart "
		 "that.");
	return lx_scan_report(s, p, &v, err);
}

int lx_scan_mounts(struct lx_scan *s, struct lx_err *err)
{
	struct lx_verdict v;

	if (s->g->lxcfs.silent &&
	    !lx_lxcfs_is_whole(&s->mounts.tables[0], false, s->g->lxcfs.major, s->g->lxcfs.minor)) {
		lx_judge_lxcfs_silent(&v);
		int r = lx_preflight_report_add(&s->report, &v, NULL, err);

		if (r < 0)
			return r;
	}
	for (size_t t = 0; t < s->mounts.n; t++) {
		for (size_t i = 0; i < s->mounts.tables[t].n; i++) {
			lx_judge_mount(&s->mounts.tables[t].m[i], &s->mounts.tables[0], &s->outside, &v);
			int r = lx_preflight_report_add(&s->report, &v, NULL, err);

			if (r == 0 && !v.code)
				r = look_for_socket(s, t, &s->mounts.tables[t].m[i], err);
			if (r < 0)
				return r;
		}
	}
	return lx_mounts_unshareable(s->mounts.tables, s->mounts.n, found_unshareable, s) < 0 ||
			       lx_mounts_rootless(s->mounts.tables, s->mounts.n, found_rootless, s) < 0
		       ? lx_err_oom(err)
		       : 0;
}
