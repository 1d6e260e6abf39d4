/*
 * Reading what there is to judge. In this order: the guest's processes, their mounts, then of
 * each process its namespaces, descriptors and memory, then its sockets.
 *
 * Nothing is opened but files of /proc itself: links below fd/ and map_files/ are looked at
 * with statx(2), without asking a file system for news (a FUSE server inside may not answer),
 * and a socket's protocol through a descriptor that only names it (O_PATH). Processes end and
 * descriptors are closed meanwhile; what is gone is no obstacle.
 */
#include "migration/preflight.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/map.h"
#include "lib/str.h"
#include "migration/guest_processes.h"
#include "migration/lxcfs_mounts.h"
#include "migration/preflight_judge.h"
#include "migration/preflight_report.h"
#include "migration/preflight_socket.h"

/* Bytes of /proc/<pid>/maps: 65530 mappings with long paths, and some more. */
#define MAPS_TEXT_MAX (64u * 1024 * 1024)
/* Bytes of a fdinfo: an epoll or inotify descriptor has a line for each file it watches. */
#define FDINFO_TEXT_MAX (64u * 1024 * 1024)
/* Deleted files that are told apart; beyond that their sizes are not added up. */
#define GHOSTS_MAX 4096u

static const char *const kinds[] = {
	"user", "uts", "ipc", "pid", "cgroup", "net", "time", "pid_for_children", "time_for_children"
};

struct ghost {
	uint64_t dev, ino;
};

struct scan {
	const struct lx_preflight_guest *g;
	struct lx_guest_processes ps;
	struct lx_guest_mounts mounts;
	struct lx_mounts outside;
	int *mount_ids; /* sorted */
	size_t n_mount_ids;
	struct lx_map namespaces;           /* "uts:[4026531838]": some process lives in it */
	char own[LX_ARRAY_SIZE(kinds)][64]; /* init's */
	struct lx_map nets;                 /* network namespaces -> process, those to ask about sockets */
	struct lx_guest_sockets sockets;
	struct ghost ghosts[GHOSTS_MAX];
	size_t n_ghosts;
	uint64_t ghost_bytes;
	struct lx_preflight_report report;
};

static int report(struct scan *s, const struct lx_guest_process *p, const struct lx_verdict *v,
		  struct lx_err *err)
{
	struct lx_preflight_process of;

	if (!v->code)
		return 0;
	of = (struct lx_preflight_process){ p->status.inside, p->status.name, p->unit };
	return lx_preflight_report_add(&s->report, v, &of, err);
}

/* ---- processes ---- */

static int read_link(int dir, const char *name, char *out, size_t n)
{
	ssize_t len = readlinkat(dir, name, out, n - 1);

	if (len < 0)
		return -errno;
	out[len] = '\0';
	return 0;
}

static int open_of(pid_t pid, const char *what)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Of all processes first: a descriptor of a namespace is judged by whether one lives there. */
static int collect_namespaces(struct scan *s, const struct lx_guest_process *p, struct lx_err *err)
{
	char link[64];
	lx_autoclose int dir = open_of(p->pid, "ns");

	for (size_t i = 0; dir >= 0 && i < LX_ARRAY_SIZE(kinds); i++)
		if (read_link(dir, kinds[i], link, sizeof(link)) == 0 &&
		    lx_map_set(&s->namespaces, link, (void *)p) < 0)
			return lx_err_oom(err);
	if (dir >= 0 && read_link(dir, "mnt", link, sizeof(link)) == 0 &&
	    lx_map_set(&s->namespaces, link, (void *)p) < 0)
		return lx_err_oom(err);
	return 0;
}

static int look_at_namespaces(struct scan *s, const struct lx_guest_process *p, struct lx_err *err)
{
	char link[64];
	struct lx_verdict v;
	lx_autoclose int dir = open_of(p->pid, "ns");

	for (size_t i = 0; dir >= 0 && i < LX_ARRAY_SIZE(kinds); i++) {
		if (read_link(dir, kinds[i], link, sizeof(link)) < 0)
			continue;
		if (lx_streq(kinds[i], "net") && lx_map_set(&s->nets, link, (void *)p) < 0)
			return lx_err_oom(err);
		if (lx_streq(link, s->own[i]))
			continue;
		lx_judge_namespace(kinds[i], p->unit, &v);
		int r = report(s, p, &v, err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int look_at_status(struct scan *s, const struct lx_guest_process *p, struct lx_err *err)
{
	struct lx_verdict v = { 0 };

	if (p->status.tracer) {
		const struct lx_guest_process *by = lx_guest_process_find(&s->ps, p->status.tracer);

		v.code = "traced";
		snprintf(v.what, sizeof(v.what), "is traced by process %d (%s)",
			 by ? (int)by->status.inside : (int)p->status.tracer,
			 by ? by->status.name : "of the node");
		snprintf(v.cure, sizeof(v.cure), "End the debugger (gdb, strace) first.");
		int r = report(s, p, &v, err);

		if (r < 0)
			return r;
	}
	if (!p->status.session) {
		v.code = "outside-session";
		snprintf(v.what, sizeof(v.what), "belongs to a session of an exec or shell from outside");
		snprintf(v.cure, sizeof(v.cure),
			 "End it, or start it inside as a unit (systemd-run) or in a session of its own "
			 "(setsid).");
		return report(s, p, &v, err);
	}
	return 0;
}

static int look_at_outsider(struct scan *s, const struct lx_guest_process *p, struct lx_err *err)
{
	struct lx_verdict v = { .code = "outside-process", .passes = true };

	if (p->status.state == 'Z' || p->status.state == 'X')
		return 0;
	snprintf(v.what, sizeof(v.what), "was started by exec or shell: it is ended by the move");
	snprintf(v.cure, sizeof(v.cure), "Nothing need be done; exec or shell again after the move.");
	return report(s, p, &v, err);
}

/* ---- descriptors ---- */

static int int_order(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return x < y ? -1 : x > y;
}

static bool is_known_mount(const struct scan *s, const struct statx *st)
{
	int id = (int)st->stx_mnt_id;

	if (!(st->stx_mask & STATX_MNT_ID))
		return true;
	return s->n_mount_ids && bsearch(&id, s->mount_ids, s->n_mount_ids, sizeof(id), int_order);
}

static void count_ghost(struct scan *s, const struct statx *st)
{
	uint64_t dev = (uint64_t)st->stx_dev_major << 32 | st->stx_dev_minor;

	if (!S_ISREG(st->stx_mode) || st->stx_nlink || s->n_ghosts == GHOSTS_MAX)
		return;
	for (size_t i = 0; i < s->n_ghosts; i++)
		if (s->ghosts[i].dev == dev && s->ghosts[i].ino == st->stx_ino)
			return;
	s->ghosts[s->n_ghosts++] = (struct ghost){ dev, st->stx_ino };
	s->ghost_bytes += st->stx_blocks * 512;
}

/* Of lxcfs, and of none that serves on this node? */
static bool is_of_ended_lxcfs(const struct scan *s, const struct statx *st)
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

static bool protocol_of(int dir, const char *name, char *out, size_t n)
{
	char path[64];
	struct stat st;
	lx_autoclose int fd = openat(dir, name, O_PATH | O_CLOEXEC);

	/* It may be another one by now. */
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode))
		return false;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ssize_t len = getxattr(path, "system.sockprotoname", out, n - 1);

	if (len < 0)
		return false;
	out[len] = '\0';
	return true;
}

/* The process that a pidfd stands for is moved along, or is no more. */
static bool is_process_known(const struct scan *s, pid_t pid, const char *fd)
{
	char path[64];
	struct lx_proc_fdinfo info;
	lx_autobuf struct lx_buf text = { 0 };

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%s", (int)pid, fd);
	if (lx_read_file(path, FDINFO_TEXT_MAX, &text, NULL) < 0)
		return true;
	lx_proc_fdinfo_parse(lx_buf_str(&text), &info);
	if (info.pid <= 0)
		return true;
	const struct lx_guest_process *p = lx_guest_process_find(&s->ps, info.pid);

	return p && !p->outside;
}

/* One that cannot be looked at: it is closed by now, or of lxcfs, and that has ended. */
static int look_at_dead_fd(struct scan *s, const struct lx_guest_process *p, struct lx_judge_fd *fd,
			   int error, struct lx_err *err)
{
	struct lx_verdict v;

	if (p->outside || (error != ENOTCONN && error != ECONNABORTED) || lx_lxcfs_file_at(fd->link) < 0)
		return 0;
	fd->lxcfs_ended = true;
	lx_judge_fd(fd, &v);
	return report(s, p, &v, err);
}

static int look_at_fd(struct scan *s, const struct lx_guest_process *p, int dir, const char *name,
		      struct lx_err *err)
{
	char link[PATH_MAX + 1], protocol[64];
	struct statx st;
	struct lx_verdict v;
	struct lx_judge_fd fd = { .fd = (int)strtol(name, NULL, 10), .link = link, .process_known = true };

	if (read_link(dir, name, link, sizeof(link)) < 0)
		return 0;
	if (statx(dir, name, AT_STATX_DONT_SYNC, STATX_BASIC_STATS | STATX_MNT_ID, &st) < 0)
		return look_at_dead_fd(s, p, &fd, errno, err);
	fd.mode = st.stx_mode;
	fd.major = st.stx_rdev_major;
	fd.minor = st.stx_rdev_minor;
	fd.nlink = st.stx_nlink;
	fd.bytes = st.stx_blocks * 512;
	fd.lxcfs_ended = *link == '/' && is_of_ended_lxcfs(s, &st);
	fd.mount_known = *link == '/' ? is_known_mount(s, &st) : lx_map_has(&s->namespaces, link);
	if (S_ISSOCK(st.stx_mode)) {
		if (protocol_of(dir, name, protocol, sizeof(protocol)))
			fd.socket = protocol;
		struct lx_guest_socket socket = { .ino = st.stx_ino,
						  .process = (size_t)(p - s->ps.p),
						  .fd = fd.fd,
						  .is_unix = fd.socket && lx_starts_with(fd.socket, "UNIX") };
		int r = lx_guest_sockets_add(&s->sockets, &socket, err);

		if (r < 0)
			return r;
	}
	/* Of others only the sockets count: who is at the other end of those that move. */
	if (p->outside)
		return 0;
	if (lx_streq(link, "anon_inode:[pidfd]"))
		fd.process_known = is_process_known(s, p->pid, name);
	if (*link == '/' && !lx_starts_with(link, "/memfd:"))
		count_ghost(s, &st);
	lx_judge_fd(&fd, &v);
	return report(s, p, &v, err);
}

static int look_at_fds(struct scan *s, const struct lx_guest_process *p, struct lx_err *err)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)p->pid);
	lx_autoclosedir DIR *d = opendir(path);

	if (!d)
		return errno == ENOMEM ? lx_err_oom(err) : 0;
	for (struct dirent *e; (e = readdir(d));) {
		int r = *e->d_name == '.' ? 0 : look_at_fd(s, p, dirfd(d), e->d_name, err);

		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- memory ---- */

static int look_at_map(struct scan *s, const struct lx_guest_process *p, const struct lx_proc_map *map,
		       struct lx_err *err)
{
	char path[PATH_MAX + 1], link[128];
	struct statx st;
	struct lx_verdict v;

	if (!map->path_len || map->path_len >= sizeof(path))
		return 0;
	memcpy(path, map->path, map->path_len);
	path[map->path_len] = '\0';
	lx_judge_mapping(path, &v);
	if (v.code || *path != '/' || !lx_ends_with(path, " (deleted)") || lx_starts_with(path, "/memfd:") ||
	    lx_starts_with(path, "/SYSV") || lx_starts_with(path, "/dev/zero"))
		return report(s, p, &v, err);

	snprintf(link, sizeof(link), "/proc/%d/map_files/%s", (int)p->pid, map->range);
	if (statx(AT_FDCWD, link, AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &st) < 0)
		return 0;
	count_ghost(s, &st);
	if (S_ISREG(st.stx_mode) && !st.stx_nlink && st.stx_blocks * 512 > LX_MOVE_GHOST_MAX) {
		v.code = "ghost-file";
		snprintf(v.what, sizeof(v.what), "maps a deleted file of more than %llu MiB",
			 LX_MOVE_GHOST_MAX >> 20);
		snprintf(v.cure, sizeof(v.cure), "Restart it.");
	}
	return report(s, p, &v, err);
}

static int look_at_maps(struct scan *s, const struct lx_guest_process *p, struct lx_err *err)
{
	char path[64];
	struct lx_proc_map map;
	lx_autobuf struct lx_buf text = { 0 };

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)p->pid);
	if (lx_read_file(path, MAPS_TEXT_MAX, &text, NULL) < 0)
		return 0;
	for (const char *at = lx_buf_str(&text); (at = lx_proc_map_next(at, &map));) {
		int r = look_at_map(s, p, &map, err);

		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- mounts ---- */

static int found_unshareable(void *arg, size_t table, const struct lx_mount *m)
{
	struct scan *s = arg;
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

static int look_at_mounts(struct scan *s, struct lx_err *err)
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

			if (r < 0)
				return r;
		}
	}
	return lx_mounts_unshareable(s->mounts.tables, s->mounts.n, found_unshareable, s) < 0
		       ? lx_err_oom(err)
		       : 0;
}

static int collect_mounts(struct scan *s, struct lx_err *err)
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

/* ---- all of it ---- */

static int found_socket(void *arg, size_t process, const struct lx_verdict *v, struct lx_err *err)
{
	struct scan *s = arg;
	const struct lx_guest_process *p = &s->ps.p[process];

	return p->outside ? 0 : report(s, p, v, err);
}

/*
 * A unix socket that is in no network namespace of the guest was made outside and handed in.
 * If it was just closed since it was found, it is no more.
 */
static int look_at_unseen(struct scan *s, const struct lx_guest_socket *socket, struct lx_err *err)
{
	const struct lx_guest_process *p = &s->ps.p[socket->process];
	struct lx_verdict v = { .code = "unix-peer" };
	char path[64], link[64], same[64];

	if (!socket->is_unix || socket->seen || p->outside)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)p->pid, socket->fd);
	snprintf(same, sizeof(same), "socket:[%llu]", (unsigned long long)socket->ino);
	if (read_link(AT_FDCWD, path, link, sizeof(link)) < 0 || !lx_streq(link, same))
		return 0;
	snprintf(v.what, sizeof(v.what), "has a unix socket that was made outside (descriptor %d)",
		 socket->fd);
	snprintf(v.cure, sizeof(v.cure), "End the session it was started from, or restart it as a unit.");
	return report(s, p, &v, err);
}

static int look_at_sockets(struct scan *s, struct lx_err *err)
{
	lx_guest_sockets_sort(&s->sockets);
	for (struct lx_map_entry *e = lx_map_first(&s->nets); e; e = lx_map_next(e)) {
		const struct lx_guest_process *p = lx_map_value(e);
		int r = lx_preflight_sockets(p->pid, &s->sockets, found_socket, s, err);

		if (r < 0 && r != -ESRCH)
			return r;
	}
	for (size_t i = 0; i < s->sockets.n; i++) {
		int r = look_at_unseen(s, &s->sockets.s[i], err);

		if (r < 0)
			return r;
	}
	return 0;
}

static int look_at_ghosts(struct scan *s, struct lx_err *err)
{
	struct lx_verdict v = { .code = "ghost-file" };
	char size[LX_SIZE_TEXT_MAX];

	if (s->ghost_bytes <= LX_MOVE_GHOST_TOTAL_MAX)
		return 0;
	snprintf(v.what, sizeof(v.what), "deleted files that are still open have %s altogether",
		 lx_format_size(s->ghost_bytes, size, sizeof(size)));
	snprintf(v.cure, sizeof(v.cure), "Restart what holds them: lsof +L1 inside names it.");
	return lx_preflight_report_add(&s->report, &v, NULL, err);
}

static int look_at_process(struct scan *s, const struct lx_guest_process *p, struct lx_err *err)
{
	int r;

	if (p->outside) {
		r = look_at_outsider(s, p, err);
		return r < 0 ? r : look_at_fds(s, p, err);
	}
	if (p->status.state == 'Z' || p->status.state == 'X')
		return 0;
	r = look_at_status(s, p, err);
	if (r == 0)
		r = look_at_namespaces(s, p, err);
	if (r == 0)
		r = look_at_fds(s, p, err);
	return r < 0 ? r : look_at_maps(s, p, err);
}

static int scan(struct scan *s, struct lx_err *err)
{
	int r = lx_guest_processes_read(s->g->init, s->g->cgroup, &s->ps, err);

	if (r == 0)
		r = collect_mounts(s, err);
	if (r < 0)
		return r;

	lx_autoclose int dir = open_of(s->g->init, "ns");

	for (size_t i = 0; i < LX_ARRAY_SIZE(kinds); i++)
		if (dir < 0 || read_link(dir, kinds[i], s->own[i], sizeof(s->own[i])) < 0)
			s->own[i][0] = '\0';
	for (size_t i = 0; r == 0 && i < s->ps.n; i++)
		if (!s->ps.p[i].outside)
			r = collect_namespaces(s, &s->ps.p[i], err);
	for (size_t i = 0; r == 0 && i < s->ps.n; i++)
		r = look_at_process(s, &s->ps.p[i], err);
	if (r == 0)
		r = look_at_mounts(s, err);
	if (r == 0)
		r = look_at_sockets(s, err);
	return r < 0 ? r : look_at_ghosts(s, err);
}

int lx_preflight_scan(const struct lx_preflight_guest *g, lx_obstacle_fn fn, void *arg, struct lx_err *err)
{
	struct scan *s = calloc(1, sizeof(*s));

	if (!s)
		return lx_err_oom(err);
	s->g = g;
	lx_map_init(&s->namespaces, NULL);
	lx_map_init(&s->nets, NULL);
	lx_preflight_report_init(&s->report);

	int r = scan(s, err);

	if (r < 0)
		lx_err_wrap(err, "cannot look for what stands in the way of a move");
	else
		r = lx_preflight_report_give(&s->report, fn, arg, err);
	lx_preflight_report_release(&s->report);
	lx_map_release(&s->nets);
	lx_map_release(&s->namespaces);
	lx_guest_sockets_release(&s->sockets);
	lx_guest_processes_release(&s->ps);
	lx_guest_mounts_release(&s->mounts);
	lx_mounts_release(&s->outside);
	free(s->mount_ids);
	free(s);
	return r;
}
