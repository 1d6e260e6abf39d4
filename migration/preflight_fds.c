/* Descriptors and memory of a process, see preflight_scan.h. Nothing is opened but files of /proc itself. */
#include "migration/preflight_scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "migration/lxcfs_mounts.h"

/* Bytes of /proc/<pid>/maps: 65530 mappings with long paths, and some more. */
#define MAPS_TEXT_MAX (64u * 1024 * 1024)
/* Bytes of a fdinfo: an epoll or inotify descriptor has a line for each file it watches. */
#define FDINFO_TEXT_MAX (64u * 1024 * 1024)

/* ---- deleted files ---- */

static void count_ghost(struct lx_scan *s, const struct statx *st)
{
	uint64_t dev = (uint64_t)st->stx_dev_major << 32 | st->stx_dev_minor;

	if (!S_ISREG(st->stx_mode) || st->stx_nlink || s->n_ghosts == LX_SCAN_GHOSTS_MAX)
		return;
	for (size_t i = 0; i < s->n_ghosts; i++)
		if (s->ghosts[i].dev == dev && s->ghosts[i].ino == st->stx_ino)
			return;
	s->ghosts[s->n_ghosts++] = (struct lx_scan_ghost){ dev, st->stx_ino };
	s->ghost_bytes += st->stx_blocks * 512;
}

int lx_scan_ghosts(struct lx_scan *s, struct lx_err *err)
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

/* ---- descriptors ---- */

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
static bool is_process_known(const struct lx_scan *s, pid_t pid, const char *fd)
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
static int look_at_dead_fd(struct lx_scan *s, const struct lx_guest_process *p, struct lx_judge_fd *fd,
			   int error, struct lx_err *err)
{
	struct lx_verdict v;

	if (p->outside || (error != ENOTCONN && error != ECONNABORTED) || lx_lxcfs_file_at(fd->link) < 0)
		return 0;
	fd->lxcfs_ended = true;
	lx_judge_fd(fd, &v);
	return lx_scan_report(s, p, &v, err);
}

static int look_at_fd(struct lx_scan *s, const struct lx_guest_process *p, int dir, const char *name,
		      struct lx_err *err)
{
	char link[PATH_MAX + 1], protocol[64];
	struct statx st;
	struct lx_verdict v;
	struct lx_judge_fd fd = { .fd = (int)strtol(name, NULL, 10), .link = link, .process_known = true };

	if (lx_scan_link(dir, name, link, sizeof(link)) < 0)
		return 0;
	if (statx(dir, name, AT_STATX_DONT_SYNC, STATX_BASIC_STATS | STATX_MNT_ID, &st) < 0)
		return look_at_dead_fd(s, p, &fd, errno, err);
	fd.mode = st.stx_mode;
	fd.major = st.stx_rdev_major;
	fd.minor = st.stx_rdev_minor;
	fd.nlink = st.stx_nlink;
	fd.bytes = st.stx_blocks * 512;
	fd.lxcfs_ended = *link == '/' && lx_scan_is_of_ended_lxcfs(s, &st);
	fd.mount_known = *link == '/' ? lx_scan_knows_mount(s, &st) : lx_map_has(&s->namespaces, link);
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
	return lx_scan_report(s, p, &v, err);
}

int lx_scan_fds(struct lx_scan *s, const struct lx_guest_process *p, struct lx_err *err)
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

static int look_at_map(struct lx_scan *s, const struct lx_guest_process *p, const struct lx_proc_map *map,
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
		return lx_scan_report(s, p, &v, err);

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
	return lx_scan_report(s, p, &v, err);
}

int lx_scan_maps(struct lx_scan *s, const struct lx_guest_process *p, struct lx_err *err)
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
