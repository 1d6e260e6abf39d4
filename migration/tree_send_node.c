/*
 * One entry: whether it may have changed since it was carried, what it is now, and what of that
 * the receiver does not have.
 *
 * It goes by an O_PATH descriptor from the first look to the last, so that everything said of an
 * entry is true of one inode; only a regular file is ever opened, by way of that descriptor:
 * opening a device node of the guest's could do anything.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "migration/tree_entry.h"
#include "migration/tree_send.h"

static int64_t ns_of(struct timespec t)
{
	return (int64_t)t.tv_sec * (int64_t)LX_NSEC_PER_SEC + t.tv_nsec;
}

/* What must differ when the entry was changed; 0: it may change and be the same. */
static uint64_t stamp_of(const struct lx_tree_sender *s, const struct stat *st)
{
	uint64_t all[] = { st->st_dev,
			   st->st_ino,
			   (uint64_t)ns_of(st->st_ctim),
			   (uint64_t)ns_of(st->st_mtim),
			   (uint64_t)st->st_size,
			   st->st_mode | (uint64_t)st->st_uid << 32,
			   st->st_gid,
			   st->st_rdev };

	if (ns_of(st->st_ctim) >= s->racy_ns)
		return 0;
	uint64_t stamp = lx_tree_hash64(all, sizeof(all), s->map.seed);

	return stamp ? stamp : 1;
}

static bool is_mapped(const struct lx_tree_sender *s, const struct stat *st)
{
	return S_ISREG(st->st_mode) && (lx_tree_set_has(&s->mapped_inodes, st->st_ino) ||
					lx_tree_set_has(&s->mapped_sizes, (uint64_t)st->st_size));
}

static bool is_same(const struct lx_tree_sender *s, const struct lx_tree_node *node, const struct stat *st)
{
	if (!(node->flags & LX_TREE_KNOWN) || node->flags & LX_TREE_LINK || node->stamp == 0)
		return false;
	/* Not stamp_of(): what was old when it was carried and is the same now has not changed. */
	return stamp_of(s, st) == node->stamp && !is_mapped(s, st);
}

/* ------------------------------------------------------------------ what it is */

static int read_xattrs(struct lx_tree_sender *s, int fd, uint32_t shift, Lxmgr__V1__TreeEntry *e,
		       struct lx_err *err)
{
	int r = lx_tree_xattrs_read(fd, &s->xattrs);

	if (r == 0 && shift)
		lx_tree_xattrs_shift(&s->xattrs, shift);
	e->n_xattrs = s->xattrs.n;
	e->xattrs = s->xattrs.v;
	if (r == -E2BIG) {
		r = lx_err_set(err, LX_FAILED_PRECONDITION,
			       "the extended attributes of \"%.200s\" are too large to be moved", s->path);
		lx_err_hint(err,
			    "At most %u KiB each and %u KiB together: see setfattr(1) inside the instance.",
			    LX_TREE_XATTR_MAX / 1024, LX_TREE_XATTRS_MAX / 1024);
	} else if (r < 0) {
		r = lx_err_errno(err, r, "cannot read the extended attributes of \"%.200s\"", s->path);
	}
	return r;
}

static int read_target(struct lx_tree_sender *s, int fd, Lxmgr__V1__TreeEntry *e, struct lx_err *err)
{
	ssize_t n = readlinkat(fd, "", s->target, sizeof(s->target));

	if (n < 0)
		return lx_err_errno(err, errno, "cannot read the symbolic link \"%.200s\"", s->path);
	e->target.data = (uint8_t *)s->target;
	e->target.len = (size_t)n;
	return 0;
}

static int describe(struct lx_tree_sender *s, int fd, const struct stat *st, uint32_t shift,
		    Lxmgr__V1__TreeEntry *e, struct lx_err *err)
{
	lxmgr__v1__tree_entry__init(e);
	e->path = s->path;
	e->mode = st->st_mode;
	e->uid = st->st_uid + shift;
	e->gid = st->st_gid + shift;
	/* All whiteouts of an overlay may be one inode: nothing but being there is said of each. */
	if (lx_tree_is_whiteout(st->st_mode, st->st_rdev))
		return 0;
	if (S_ISREG(st->st_mode))
		e->size = (uint64_t)st->st_size;
	e->atime_ns = ns_of(st->st_atim);
	e->mtime_ns = ns_of(st->st_mtim);
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		e->rdev = st->st_rdev;
	int r = S_ISLNK(st->st_mode) ? read_target(s, fd, e, err) : 0;

	return r < 0 ? r : read_xattrs(s, fd, shift, e, err);
}

/* ------------------------------------------------------------------ what differs */

static int hash_of(struct lx_tree_sender *s, const Lxmgr__V1__TreeEntry *e, const struct lx_tree_block *v,
		   size_t n, struct lx_tree_hash *ret, struct lx_err *err)
{
	struct lx_tree_hash entry = { 0 };

	if (lx_tree_entry_hash(e, &s->scratch, &entry) < 0)
		return lx_err_oom(err);
	*ret = S_ISREG((mode_t)e->mode) ? lx_tree_whole_hash(entry, lx_tree_content_hash(v, n)) : entry;
	return 0;
}

static bool is_known_as(const struct lx_tree_node *node, struct lx_tree_hash hash)
{
	return node->flags & LX_TREE_KNOWN && node->hash.lo == hash.lo && node->hash.hi == hash.hi;
}

/* The receiver has the entry as it is now. */
static void remember(struct lx_tree_sender *s, uint32_t id, mode_t mode, struct lx_tree_hash hash, bool anew)
{
	struct lx_tree_node *node = lx_tree_map_node(&s->map, id);

	if (!S_ISDIR(mode))
		lx_tree_map_forget_below(&s->map, id);
	node->flags &= (uint16_t) ~(LX_TREE_DIR | LX_TREE_REG);
	node->flags |= S_ISDIR(mode) ? LX_TREE_DIR : S_ISREG(mode) ? LX_TREE_REG : 0;
	if (anew)
		node->flags &= (uint16_t)~LX_TREE_LINKED;
	lx_tree_map_set_hash(&s->map, id, hash);
}

/* Anything but a regular file. */
static int send_special(struct lx_tree_sender *s, uint32_t id, Lxmgr__V1__TreeEntry *e, struct lx_err *err)
{
	struct lx_tree_node *node = lx_tree_map_node(&s->map, id);
	struct lx_tree_blocks none = { 0 };
	struct lx_tree_hash hash = { 0 };
	int r = hash_of(s, e, NULL, 0, &hash, err);

	if (r < 0)
		return r;
	if (is_known_as(node, hash) && !(node->flags & LX_TREE_LINK))
		return LX_TREE_SAME;
	r = lx_tree_send_frame_entry(s, e, err);
	if (r < 0)
		return r;
	(void)lx_tree_map_set_blocks(&s->map, id, &none);
	remember(s, id, (mode_t)e->mode, hash, true);
	return LX_TREE_ANEW;
}

/*
 * Whether the receiver's inode under this name may be changed into what is here now. One with
 * several names only if it is the same here: the others may be another file by now.
 */
static bool may_update(const struct lx_tree_node *node, uint64_t ino)
{
	uint16_t f = node->flags;

	return f & LX_TREE_KNOWN && f & LX_TREE_REG && !(f & LX_TREE_LINK) &&
	       (!(f & LX_TREE_LINKED) || node->ino == ino);
}

static int send_regular(struct lx_tree_sender *s, uint32_t id, int fd, uint64_t ino, Lxmgr__V1__TreeEntry *e,
			struct lx_err *err)
{
	struct lx_tree_node *node = lx_tree_map_node(&s->map, id);
	struct lx_tree_blocks now = { 0 };
	struct lx_tree_block one;
	struct lx_tree_hash hash = { 0 };
	const struct lx_tree_block *old = NULL;
	size_t n_old = 0;
	bool announced = false;

	e->in_place = may_update(node, ino);
	if (e->in_place)
		old = lx_tree_map_blocks(node, &one, &n_old);
	int r = lx_tree_send_content(s, fd, e, old, n_old, &now, &announced, err);

	if (r == 0)
		r = hash_of(s, e, now.v, now.n, &hash, err);
	/* Only metadata: the entry alone. */
	if (r == 0 && !announced && !is_known_as(node, hash)) {
		announced = true;
		r = lx_tree_send_frame_entry(s, e, err);
	}
	if (r == 0 && announced) {
		r = lx_tree_map_set_blocks(&s->map, id, &now);
		if (r < 0)
			r = lx_err_errno(err, r, "cannot remember the content of \"%.200s\"", s->path);
	}
	lx_tree_blocks_release(&now);
	if (r < 0)
		return r;
	if (!announced)
		return LX_TREE_SAME;
	remember(s, id, (mode_t)e->mode, hash, !e->in_place);
	return e->in_place ? LX_TREE_UPDATED : LX_TREE_ANEW;
}

/* ------------------------------------------------------------------ entries */

int lx_tree_send_dir(struct lx_tree_sender *s, uint32_t id, int fd, const struct stat *st, uint32_t shift,
		     struct lx_err *err)
{
	struct lx_tree_node *node = lx_tree_map_node(&s->map, id);
	Lxmgr__V1__TreeEntry e;

	if (is_same(s, node, st))
		return LX_TREE_SAME;
	int r = describe(s, fd, st, shift, &e, err);

	if (r == 0)
		r = send_special(s, id, &e, err);
	if (r < 0)
		return r;
	node->flags &= (uint16_t)~LX_TREE_OPAQUE;
	const Lxmgr__V1__TreeXattr *opaque = lx_tree_xattrs_get(&s->xattrs, LX_TREE_XATTR_OPAQUE);

	/* "x" only says that there are whiteouts made of attributes. */
	if (opaque && opaque->value.len == 1 && opaque->value.data[0] == 'y')
		node->flags |= LX_TREE_OPAQUE;
	if (lx_tree_xattrs_get(&s->xattrs, LX_TREE_XATTR_REDIRECT))
		s->redirects = true;
	node->stamp = stamp_of(s, st);
	node->ino = st->st_ino;
	return r;
}

/* Nothing runs any more: what was read is one state of the file, or somebody outside writes to it. */
static int check_still(struct lx_tree_sender *s, int fd, const struct stat *before, struct lx_err *err)
{
	struct stat now;

	if (fstat(fd, &now) < 0)
		return lx_err_errno(err, errno, "cannot look at \"%.200s\"", s->path);
	if (ns_of(now.st_ctim) == ns_of(before->st_ctim) && now.st_size == before->st_size)
		return 0;
	return lx_tree_send_gone(s, s->path, err);
}

static int open_regular(int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int file = open(path, O_RDONLY | O_NOATIME | O_NONBLOCK | O_CLOEXEC);

	/* O_NOATIME is for the owner and root. */
	if (file < 0 && errno == EPERM)
		file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return file < 0 ? -errno : file;
}

int lx_tree_send_node(struct lx_tree_sender *s, uint32_t id, int dirfd, const char *name,
		      const struct stat *st, uint32_t shift, struct lx_err *err)
{
	struct lx_tree_node *node = lx_tree_map_node(&s->map, id);
	struct stat now;
	Lxmgr__V1__TreeEntry e;

	if (is_same(s, node, st))
		return LX_TREE_SAME;
	lx_autoclose int fd = openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0 && errno != ENOENT)
		return lx_err_errno(err, errno, "cannot open \"%.200s\"", s->path);
	if (fd < 0)
		return lx_tree_send_gone(s, s->path, err);
	if (fstat(fd, &now) < 0)
		return lx_err_errno(err, errno, "cannot look at \"%.200s\"", s->path);
	/* A directory by now. */
	if (S_ISDIR(now.st_mode))
		return lx_tree_send_gone(s, s->path, err);
	int r = describe(s, fd, &now, shift, &e, err);

	if (r == 0 && S_ISREG(now.st_mode)) {
		lx_autoclose int file = open_regular(fd);

		r = file < 0 ? lx_err_errno(err, file, "cannot open \"%.200s\"", s->path)
			     : send_regular(s, id, file, now.st_ino, &e, err);
		if (r >= 0 && s->last) {
			int x = check_still(s, file, &now, err);

			r = x < 0 ? x : r;
		}
	} else if (r == 0) {
		r = send_special(s, id, &e, err);
	}
	if (r < 0)
		return r;
	/* Of the first look, before anything was read. */
	node->stamp = stamp_of(s, &now);
	node->ino = now.st_ino;
	return r;
}

int lx_tree_send_link(struct lx_tree_sender *s, uint32_t id, uint32_t primary, bool anew, struct lx_err *err)
{
	struct lx_tree_node *node = lx_tree_map_node(&s->map, id), *to = lx_tree_map_node(&s->map, primary);
	Lxmgr__V1__TreeEntry e = LXMGR__V1__TREE_ENTRY__INIT;
	struct lx_tree_hash hash = { 0 };

	if (!anew && node->flags & LX_TREE_KNOWN && node->flags & LX_TREE_LINK && node->link == primary)
		return LX_TREE_SAME;
	if (lx_tree_map_path(&s->map, primary, s->target) < 0)
		return lx_tree_send_path(s, primary, err);
	e.path = s->path;
	e.link_to = s->target;
	if (lx_tree_entry_hash(&e, &s->scratch, &hash) < 0)
		return lx_err_oom(err);
	int r = lx_tree_send_frame_entry(s, &e, err);

	if (r < 0)
		return r;
	lx_tree_map_set_link(&s->map, id, primary);
	remember(s, id, S_IFLNK, hash, true);
	node->stamp = 0;
	to->flags |= LX_TREE_LINKED;
	return LX_TREE_ANEW;
}
