/*
 * Making one entry: something new under its name, or another face for what is there.
 *
 * In the order that keeps what the step before set: owner (takes away suid bits and
 * capabilities), attributes (an ACL changes the mode), mode, times. A regular file is dressed when
 * its content is complete, a directory's times are set at the end of the pass.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "migration/tree_receive.h"
#include "migration/tree_xattr.h"
#include "proto/pb.h"

static struct timespec time_of(int64_t ns)
{
	int64_t s = ns / (int64_t)LX_NSEC_PER_SEC, rest = ns % (int64_t)LX_NSEC_PER_SEC;

	/* Before the epoch. */
	if (rest < 0) {
		s--;
		rest += (int64_t)LX_NSEC_PER_SEC;
	}
	return (struct timespec){ .tv_sec = s, .tv_nsec = rest };
}

int lx_tree_receive_times(int fd, int64_t atime_ns, int64_t mtime_ns)
{
	struct timespec times[] = { time_of(atime_ns), time_of(mtime_ns) };

	return utimensat(fd, "", times, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

static int set_mode(int fd, mode_t mode)
{
	char path[32];

	/* Links have none of their own. */
	if (S_ISLNK(mode))
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return chmod(path, mode & 07777) < 0 ? -errno : 0;
}

int lx_tree_receive_dress(int fd, const Lxmgr__V1__TreeEntry *e, struct lx_err *err)
{
	if (fchownat(fd, "", e->uid, e->gid, AT_EMPTY_PATH) < 0)
		return lx_err_errno(err, errno, "cannot give \"%.200s\" to its owner %u:%u", e->path, e->uid,
				    e->gid);
	int x = lx_tree_xattrs_apply(fd, e);

	if (x < 0)
		return lx_err_errno(err, x, "cannot set the extended attributes of \"%.200s\"", e->path);
	x = set_mode(fd, (mode_t)e->mode);
	if (x < 0)
		return lx_err_errno(err, x, "cannot set the mode of \"%.200s\"", e->path);
	x = lx_tree_receive_times(fd, e->atime_ns, e->mtime_ns);
	return x < 0 ? lx_err_errno(err, x, "cannot set the times of \"%.200s\"", e->path) : 0;
}

/* ------------------------------------------------------------------ something new */

static int make(int dir, const char *name, const Lxmgr__V1__TreeEntry *e)
{
	mode_t mode = (mode_t)e->mode;
	char target[LX_TREE_TARGET_MAX + 1];

	if (S_ISDIR(mode))
		return mkdirat(dir, name, 0700);
	if (!S_ISLNK(mode))
		return mknodat(dir, name, (mode & S_IFMT) | 0600, (dev_t)e->rdev);
	snprintf(target, sizeof(target), "%.*s", (int)e->target.len, (const char *)e->target.data);
	return symlinkat(target, dir, name);
}

/* What is there goes, unless it is a directory and stays one. */
static int make_room(struct lx_tree_receiver *r, uint32_t id, const Lxmgr__V1__TreeEntry *e, bool *stays,
		     struct lx_err *err)
{
	uint16_t flags = lx_tree_map_node(&r->map, id)->flags;

	*stays = flags & LX_TREE_DIR && S_ISDIR((mode_t)e->mode);
	if (id == LX_TREE_ROOT || *stays || !(flags & LX_TREE_KNOWN))
		return 0;
	return lx_tree_receive_clear(r, id, err);
}

static void set_kind(struct lx_tree_receiver *r, uint32_t id, mode_t mode)
{
	struct lx_tree_node *node = lx_tree_map_node(&r->map, id);

	node->flags &= (uint16_t) ~(LX_TREE_DIR | LX_TREE_REG);
	if (!S_ISDIR(mode))
		node->flags &= (uint16_t)~LX_TREE_TOUCHED;
	node->flags |= S_ISDIR(mode) ? LX_TREE_DIR : S_ISREG(mode) ? LX_TREE_REG : 0;
}

static int remember(struct lx_tree_receiver *r, uint32_t id, const Lxmgr__V1__TreeEntry *e,
		    struct lx_err *err)
{
	struct lx_tree_blocks none = { 0 };
	struct lx_tree_hash hash = { 0 };

	if (lx_tree_entry_hash(e, &r->scratch, &hash) < 0)
		return lx_err_oom(err);
	(void)lx_tree_map_set_blocks(&r->map, id, &none);
	lx_tree_map_set_hash(&r->map, id, hash);
	return 0;
}

/* Anything but a regular file; new, or a directory that stays. */
static int make_special(struct lx_tree_receiver *r, uint32_t id, int dir, const Lxmgr__V1__TreeEntry *e,
			bool stays, struct lx_err *err)
{
	const char *name = id == LX_TREE_ROOT ? "." : lx_tree_map_name(&r->map, id);
	struct lx_tree_node *node = lx_tree_map_node(&r->map, id);

	if (!stays && make(dir, name, e) < 0)
		return lx_err_errno(err, errno, "cannot make \"%.200s\"", e->path);
	set_kind(r, id, (mode_t)e->mode);
	lx_autoclose int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return lx_err_errno(err, errno, "cannot open \"%.200s\"", e->path);
	int x = lx_tree_receive_dress(fd, e, err);

	if (x == 0 && S_ISDIR((mode_t)e->mode)) {
		node->ino = (uint64_t)e->atime_ns;
		node->stamp = (uint64_t)e->mtime_ns;
		x = lx_tree_receive_touch(r, id, err);
	}
	return x < 0 ? x : remember(r, id, e, err);
}

/* ------------------------------------------------------------------ regular files */

static int begin_file(struct lx_tree_receiver *r, uint32_t id, int dir, const Lxmgr__V1__TreeEntry *e,
		      struct lx_err *err)
{
	const char *name = lx_tree_map_name(&r->map, id);
	int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | (e->in_place ? 0 : O_CREAT | O_EXCL);
	lx_autoclose int fd = openat(dir, name, flags, 0600);

	if (fd < 0)
		return lx_err_errno(err, errno, "cannot open \"%.200s\"", e->path);
	if (!e->in_place) {
		struct lx_tree_blocks none = { 0 };

		set_kind(r, id, S_IFREG);
		(void)lx_tree_map_set_blocks(&r->map, id, &none);
	}
	if (ftruncate(fd, (off_t)e->size) < 0)
		return lx_err_errno(err, errno, "cannot make \"%.200s\" %llu bytes long", e->path,
				    (unsigned long long)e->size);
	r->file =
		(struct lx_tree_incoming){ .entry = LX_PB_DUP(Lxmgr__V1__TreeEntry, e), .id = id, .fd = -1 };
	if (!r->file.entry)
		return lx_err_oom(err);
	r->file.fd = lx_move_fd(fd);
	return 0;
}

/* ------------------------------------------------------------------ entries */

int lx_tree_receive_make(struct lx_tree_receiver *r, uint32_t id, const Lxmgr__V1__TreeEntry *e,
			 struct lx_err *err)
{
	bool stays = true;
	int x = 0, dir = r->dir;

	if (!e->in_place)
		x = make_room(r, id, e, &stays, err);
	if (x == 0 && id != LX_TREE_ROOT) {
		dir = lx_tree_receive_parent(r, id, err);
		x = dir < 0 ? dir : 0;
	}
	if (x == 0 && !stays)
		x = lx_tree_receive_touch(r, lx_tree_map_node(&r->map, id)->parent, err);
	if (x < 0)
		return x;
	if (S_ISREG((mode_t)e->mode))
		return begin_file(r, id, dir, e, err);
	return make_special(r, id, dir, e, stays || id == LX_TREE_ROOT, err);
}

int lx_tree_receive_link(struct lx_tree_receiver *r, uint32_t id, uint32_t to, const Lxmgr__V1__TreeEntry *e,
			 struct lx_err *err)
{
	char name_of_fd[32];
	struct lx_tree_hash hash = { 0 };
	bool stays;

	if (lx_tree_entry_hash(e, &r->scratch, &hash) < 0)
		return lx_err_oom(err);
	/* Held open: its directory and that of the new name may be two. */
	int dir = lx_tree_receive_parent(r, to, err);

	if (dir < 0)
		return dir;
	lx_autoclose int fd = openat(dir, lx_tree_map_name(&r->map, to), O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return lx_err_errno(err, errno, "cannot open \"%.200s\"", e->link_to);
	int x = make_room(r, id, e, &stays, err);

	if (x < 0)
		return x;
	dir = lx_tree_receive_parent(r, id, err);
	if (dir < 0)
		return dir;
	snprintf(name_of_fd, sizeof(name_of_fd), "/proc/self/fd/%d", fd);
	if (linkat(AT_FDCWD, name_of_fd, dir, lx_tree_map_name(&r->map, id), AT_SYMLINK_FOLLOW) < 0)
		return lx_err_errno(err, errno, "cannot make \"%.200s\" a further name of \"%.200s\"",
				    e->path, e->link_to);
	set_kind(r, id, S_IFLNK);
	lx_tree_map_set_link(&r->map, id, to);
	lx_tree_map_set_hash(&r->map, id, hash);
	return lx_tree_receive_touch(r, lx_tree_map_node(&r->map, id)->parent, err);
}
