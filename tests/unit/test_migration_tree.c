/*
 * Carrying a tree: a sender wired straight to a receiver, on real directories. After each pass
 * the two trees are compared, entry by entry. Needs root for owners, trusted attributes and
 * device nodes, and skips without it; what a broken or hostile other node sends, and the
 * arithmetic, is tested in any case.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "migration/tree.h"
#include "migration/tree_entry.h"
#include "migration/tree_map.h"
#include "migration/tree_xattr.h"
#include "proto/pb.h"

#define OWNER 100000u
#define MIB   (1024u * 1024)

/* ------------------------------------------------------------------ both sides */

struct pair {
	char top[64];
	int from, to;
	struct lx_tree_sender *sender;
	struct lx_tree_receiver *receiver;
	unsigned entries, in_place, links, removed; /* frames of the last pass */
	uint64_t bytes;
	/* called once, at the first entry below the top */
	void (*meanwhile)(struct pair *p);
	bool spoil; /* change a byte on the way */
	struct lx_err err;
};

static int carry(void *arg, const Lxmgr__V1__MoveFrame *f, struct lx_err *err)
{
	struct pair *p = arg;
	size_t len;
	lx_autofree uint8_t *wire = lx_pb_pack(&f->base, &len);
	Lxmgr__V1__MoveFrame *got = lxmgr__v1__move_frame__unpack(NULL, len, wire);
	int r;

	assert_non_null(got);
	if (p->meanwhile && got->what_case == LXMGR__V1__MOVE_FRAME__WHAT_ENTRY && *got->entry->path) {
		void (*fn)(struct pair *) = p->meanwhile;

		p->meanwhile = NULL;
		fn(p);
	}
	if (got->what_case == LXMGR__V1__MOVE_FRAME__WHAT_TREE_END) {
		r = lx_tree_receive_end(p->receiver, got->tree_end, err);
	} else {
		if (got->what_case == LXMGR__V1__MOVE_FRAME__WHAT_ENTRY) {
			p->entries++;
			p->in_place += got->entry->in_place != 0;
			p->links += *got->entry->link_to != '\0';
		} else if (got->what_case == LXMGR__V1__MOVE_FRAME__WHAT_TREE_REMOVE) {
			p->removed++;
		} else {
			p->bytes += got->tree_data->data.len;
			if (p->spoil && got->tree_data->data.len)
				got->tree_data->data.data[0] ^= 1;
		}
		r = lx_tree_receive(p->receiver, got, err);
	}
	lxmgr__v1__move_frame__free_unpacked(got, NULL);
	return r;
}

/* What a test that failed has left. */
static char tops[32][64];
static size_t n_tops;

static void make_top(struct pair *p, const char *where)
{
	*p = (struct pair){ .from = -1, .to = -1 };
	snprintf(p->top, sizeof(p->top), "%s/lx-tree-XXXXXX", where);
	assert_non_null(mkdtemp(p->top));
	assert_true(n_tops < LX_ARRAY_SIZE(tops));
	memcpy(tops[n_tops++], p->top, sizeof(p->top));
}

static int remove_tops(void **state)
{
	for (size_t i = 0; i < n_tops; i++) {
		if (!lx_path_exists(tops[i]))
			continue;
		(void)umount2(tops[i], MNT_DETACH);
		(void)lx_rm_rf(tops[i], NULL);
	}
	return 0;
}

static int open_at(int dir, const char *path)
{
	int fd = openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void begin_in(struct pair *p, const char *where)
{
	make_top(p, where);
	lx_autoclose int top = open_at(AT_FDCWD, p->top);

	assert_int_equal(mkdirat(top, "from", 0755), 0);
	assert_int_equal(mkdirat(top, "to", 0755), 0);
	p->from = open_at(top, "from");
	p->to = open_at(top, "to");
}

static void connect_pair(struct pair *p, int lower, int index)
{
	struct lx_tree_source source = { .upper = p->from, .lower = lower, .index = index, .id_base = OWNER };
	struct lx_move_out out = { .send = carry, .arg = p };

	assert_int_equal(lx_tree_sender_open(&source, &out, &p->sender, &p->err), 0);
	assert_int_equal(lx_tree_receiver_open(p->to, &p->receiver, &p->err), 0);
}

static void begin(struct pair *p)
{
	begin_in(p, "/tmp");
	connect_pair(p, -1, -1);
}

static void end(struct pair *p)
{
	lx_tree_sender_free(p->sender);
	lx_tree_receiver_free(p->receiver);
	close(p->from);
	close(p->to);
	assert_int_equal(lx_rm_rf(p->top, NULL), 0);
}

static int try_pass(struct pair *p, bool last)
{
	p->entries = p->in_place = p->links = p->removed = 0;
	p->bytes = 0;
	p->err = LX_ERR_INIT;
	return lx_tree_send(p->sender, last, &p->err);
}

static void pass(struct pair *p, bool last)
{
	int r = try_pass(p, last);

	if (r < 0)
		fail_msg("%s", p->err.msg);
}

static void needs_root(void)
{
	if (geteuid() != 0) {
		print_message("needs root: owners, trusted attributes, device nodes\n");
		skip();
	}
}

/* ------------------------------------------------------------------ making trees */

static void put(int dir, const char *path, const void *data, size_t len)
{
	lx_autoclose int fd = openat(dir, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(lx_write_full(fd, data, len), (ssize_t)len);
}

static void put_text(int dir, const char *path, const char *text)
{
	put(dir, path, text, strlen(text));
}

static void put_at(int dir, const char *path, uint64_t offset, const char *text)
{
	lx_autoclose int fd = openat(dir, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, text, strlen(text), (off_t)offset), (ssize_t)strlen(text));
}

static void put_noise(int dir, const char *path, size_t len)
{
	lx_autofree uint8_t *data = malloc(len);
	uint32_t x = 1;

	assert_non_null(data);
	for (size_t i = 0; i < len; i++) {
		x = x * 1664525u + 1013904223u;
		data[i] = (uint8_t)(x >> 24) | 1;
	}
	put(dir, path, data, len);
}

static void make_dir(int dir, const char *path)
{
	assert_int_equal(mkdirat(dir, path, 0755), 0);
}

static void set_attr(int dir, const char *path, const char *name, const void *value, size_t len)
{
	char proc[256];

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d/%s", dir, path);
	assert_int_equal(lsetxattr(proc, name, value, len, 0), 0);
}

static ssize_t get_attr(int dir, const char *path, const char *name, char buf[256])
{
	char proc[256];

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d/%s", dir, path);
	return lgetxattr(proc, name, buf, 256);
}

static bool has_attr(int dir, const char *path, const char *name)
{
	char proc[256];

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d/%s", dir, path);
	return lgetxattr(proc, name, NULL, 0) >= 0;
}

static struct stat stat_of(int dir, const char *path)
{
	struct stat st;

	assert_int_equal(fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st;
}

static bool exists(int dir, const char *path)
{
	return faccessat(dir, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static char *text_of(int dir, const char *path, char buf[256])
{
	lx_autoclose int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	ssize_t n = lx_read_full(fd, buf, 255);

	assert_true(n >= 0);
	buf[n] = '\0';
	return buf;
}

/* ------------------------------------------------------------------ comparing them */

static void same_bytes(int a, int b, const char *name, off_t size)
{
	lx_autoclose int x = openat(a, name, O_RDONLY | O_CLOEXEC), y = openat(b, name, O_RDONLY | O_CLOEXEC);
	char p[65536], q[65536];

	assert_true(x >= 0 && y >= 0);
	/* Only where there is something: some are of terabytes. */
	for (off_t at = 0; (at = lseek(x, at, SEEK_DATA)) >= 0 && at < size;) {
		ssize_t n = pread(x, p, sizeof(p), at);

		assert_true(n > 0);
		assert_int_equal(pread(y, q, sizeof(q), at), n);
		assert_memory_equal(p, q, (size_t)n);
		at += n;
	}
	for (off_t at = 0; (at = lseek(y, at, SEEK_DATA)) >= 0 && at < size;) {
		ssize_t n = pread(y, p, sizeof(p), at);

		assert_true(n > 0);
		assert_int_equal(pread(x, q, sizeof(q), at), n);
		assert_memory_equal(p, q, (size_t)n);
		at += n;
	}
}

static void same_attrs(int a, int b, const char *name)
{
	struct lx_tree_xattrs x = { 0 }, y = { 0 };
	lx_autoclose int p = openat(a, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	lx_autoclose int q = openat(b, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	assert_int_equal(lx_tree_xattrs_read(p, &x), 0);
	assert_int_equal(lx_tree_xattrs_read(q, &y), 0);
	assert_int_equal(x.n, y.n);
	for (size_t i = 0; i < x.n; i++) {
		assert_string_equal(x.v[i]->name, y.v[i]->name);
		assert_int_equal(x.v[i]->value.len, y.v[i]->value.len);
		assert_memory_equal(x.v[i]->value.data, y.v[i]->value.data, x.v[i]->value.len);
	}
	lx_tree_xattrs_release(&x);
	lx_tree_xattrs_release(&y);
}

static void same_entry(int a, int b, const char *name)
{
	struct stat x = stat_of(a, name), y = stat_of(b, name);
	char p[PATH_MAX] = "", q[PATH_MAX] = "";

	assert_int_equal(x.st_mode, y.st_mode);
	assert_int_equal(x.st_uid, y.st_uid);
	assert_int_equal(x.st_gid, y.st_gid);
	assert_int_equal(x.st_rdev, y.st_rdev);
	if (lx_tree_is_whiteout(x.st_mode, x.st_rdev))
		return;
	assert_int_equal(x.st_mtim.tv_sec, y.st_mtim.tv_sec);
	assert_int_equal(x.st_mtim.tv_nsec, y.st_mtim.tv_nsec);
	if (!S_ISDIR(x.st_mode)) {
		assert_int_equal(x.st_nlink, y.st_nlink);
		assert_int_equal(x.st_size, y.st_size);
	}
	if (S_ISREG(x.st_mode))
		same_bytes(a, b, name, x.st_size);
	if (S_ISLNK(x.st_mode)) {
		assert_true(readlinkat(a, name, p, sizeof(p) - 1) > 0);
		assert_true(readlinkat(b, name, q, sizeof(q) - 1) > 0);
		assert_string_equal(p, q);
	}
	same_attrs(a, b, name);
}

static unsigned same_dir(int a, int b)
{
	unsigned n = 0, others = 0;
	DIR *d = fdopendir(openat(a, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	DIR *o = fdopendir(openat(b, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));

	assert_true(d && o);
	same_entry(a, b, ".");
	while (readdir(o))
		others++;
	for (struct dirent *e; (e = readdir(d));) {
		n++;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		same_entry(a, b, e->d_name);
		if (e->d_type == DT_DIR) {
			lx_autoclose int x = open_at(a, e->d_name), y = open_at(b, e->d_name);

			same_dir(x, y);
		}
	}
	assert_int_equal(n, others);
	closedir(d);
	closedir(o);
	return n;
}

static void same(struct pair *p)
{
	same_dir(p->from, p->to);
}

/* ------------------------------------------------------------------ all kinds */

static const uint8_t capability[] = { /* v3: cap_net_raw+ep, of the user namespace of root OWNER */
				      1, 0, 0, 3, 0, 0x20, 0, 0, 0,    0,    0, 0,
				      0, 0, 0, 0, 0, 0,    0, 0, 0xa0, 0x86, 1, 0
};
static const uint8_t acl[] = { 2,    0,    0,    0,    1,    0, 7, 0, 0xff, 0xff, 0xff, 0xff, 2,    0, 4, 0,
			       0xa1, 0x86, 1,    0,    4,    0, 5, 0, 0xff, 0xff, 0xff, 0xff, 0x10, 0, 5, 0,
			       0xff, 0xff, 0xff, 0xff, 0x20, 0, 5, 0, 0xff, 0xff, 0xff, 0xff };

static void make_kinds(int d)
{
	struct timespec old[] = { { .tv_sec = -5, .tv_nsec = 7 }, { .tv_sec = -3, .tv_nsec = 123456789 } };

	put_text(d, "text", "hello");
	put_text(d, "name\nwith\nlines \xff\xfe", "strange");
	put_text(d, "empty", "");
	put_text(d, "suid", "program");
	assert_int_equal(fchownat(d, "suid", OWNER + 7, OWNER + 8, 0), 0);
	assert_int_equal(fchmodat(d, "suid", 06755, 0), 0);
	put_text(d, "capable", "program");
	assert_int_equal(fchownat(d, "capable", OWNER, OWNER, 0), 0);
	set_attr(d, "capable", "security.capability", capability, sizeof(capability));
	put_text(d, "ancient", "before the epoch");
	assert_int_equal(utimensat(d, "ancient", old, 0), 0);
	make_dir(d, "sub");
	assert_int_equal(fchmodat(d, "sub", 03777, 0), 0);
	put_text(d, "sub/of acl", "no acl of its own");
	set_attr(d, "sub", "system.posix_acl_default", acl, sizeof(acl));
	set_attr(d, "sub", "user.note", "x", 1);
	set_attr(d, "sub", "trusted.overlay.opaque", "y", 1);
	set_attr(d, "sub", "trusted.overlay.impure", "y", 1);
	set_attr(d, "sub", "trusted.overlay.origin", "abc", 3);
	set_attr(d, "text", "trusted.overlay.overlay.opaque", "y", 1);
	set_attr(d, "text", "user.empty", "", 0);
	set_attr(d, "text", "system.posix_acl_access", acl, sizeof(acl));
	make_dir(d, "sub/deeper");
	assert_int_equal(utimensat(d, "sub/deeper", old, 0), 0);
	assert_int_equal(symlinkat("../nowhere", d, "link"), 0);
	assert_int_equal(fchownat(d, "link", OWNER, OWNER, AT_SYMLINK_NOFOLLOW), 0);
	set_attr(d, "link", "trusted.of-link", "1", 1);
	assert_int_equal(mkfifoat(d, "fifo", 0640), 0);
	assert_int_equal(mknodat(d, "socket", S_IFSOCK | 0700, 0), 0);
	assert_int_equal(mknodat(d, "null", S_IFCHR | 0666, makedev(1, 3)), 0);
	assert_int_equal(mknodat(d, "block", S_IFBLK | 0600, makedev(7, 9)), 0);
	assert_int_equal(mknodat(d, "whiteout", S_IFCHR, 0), 0);
	assert_int_equal(linkat(d, "whiteout", d, "sub/whiteout too", 0), 0);
	assert_int_equal(fchown(d, OWNER, OWNER), 0);
}

static void carries_all_kinds(void **state)
{
	struct pair p;

	needs_root();
	begin(&p);
	make_kinds(p.from);
	pass(&p, false);
	assert_false(has_attr(p.to, "sub", "trusted.overlay.impure"));
	assert_false(has_attr(p.to, "sub", "trusted.overlay.origin"));
	assert_true(has_attr(p.to, "sub", "trusted.overlay.opaque"));
	/* The two whiteouts need not be one inode. */
	same(&p);
	pass(&p, true);
	assert_int_equal(p.entries, 0);
	same(&p);
	end(&p);
}

/* ------------------------------------------------------------------ passes */

static void sends_only_what_changed(void **state)
{
	struct pair p;
	struct timespec later = { .tv_sec = 1, .tv_nsec = 200 * 1000 * 1000 };

	needs_root();
	begin(&p);
	make_kinds(p.from);
	put_noise(p.from, "large", 3 * MIB);
	put_text(p.from, "small", "small");
	/* Beyond LX_TREE_RACY_NS, so that stamps count. */
	nanosleep(&later, NULL);
	pass(&p, false);
	pass(&p, false);
	assert_int_equal(p.entries + p.removed, 0);

	put_at(p.from, "large", 2 * MIB + 5, "changed");
	assert_int_equal(fchmodat(p.from, "text", 0600, 0), 0);
	assert_int_equal(unlinkat(p.from, "fifo", 0), 0);
	assert_int_equal(renameat(p.from, "sub", p.from, "bus"), 0);
	set_attr(p.from, "small", "user.new", "v", 1);
	pass(&p, true);
	assert_int_equal(p.removed, 2);
	assert_int_equal(p.bytes, LX_TREE_BLOCK + strlen("no acl of its own"));
	same(&p);
	assert_int_equal(lx_tree_sender_stats(p.sender)->entries, 18);
	end(&p);
}

static void types_change(void **state)
{
	struct pair p;

	needs_root();
	begin(&p);
	put_text(p.from, "a", "file");
	make_dir(p.from, "b");
	make_dir(p.from, "b/c");
	put_text(p.from, "b/c/d", "deep");
	assert_int_equal(symlinkat("b", p.from, "l"), 0);
	pass(&p, false);
	same(&p);
	assert_int_equal(unlinkat(p.from, "a", 0), 0);
	make_dir(p.from, "a");
	put_text(p.from, "a/x", "x");
	assert_int_equal(unlinkat(p.from, "b/c/d", 0), 0);
	assert_int_equal(unlinkat(p.from, "b/c", AT_REMOVEDIR), 0);
	assert_int_equal(unlinkat(p.from, "b", AT_REMOVEDIR), 0);
	put_text(p.from, "b", "file now");
	assert_int_equal(unlinkat(p.from, "l", 0), 0);
	make_dir(p.from, "l");
	pass(&p, false);
	same(&p);
	assert_int_equal(unlinkat(p.from, "b", 0), 0);
	make_dir(p.from, "b");
	put_text(p.from, "b/c", "again");
	pass(&p, true);
	same(&p);
	end(&p);
}

static void sizes_change(void **state)
{
	static const uint64_t sizes[] = { 5 * MIB, 2 * MIB + 77, 100, 0, 16384, 16385, 4 * MIB, 1 };
	struct pair p;

	begin(&p);
	for (size_t i = 0; i < LX_ARRAY_SIZE(sizes); i++) {
		if (i == 0)
			put_noise(p.from, "f", (size_t)sizes[0]);
		lx_autoclose int fd = openat(p.from, "f", O_RDWR | O_CLOEXEC);

		assert_int_equal(ftruncate(fd, (off_t)sizes[i]), 0);
		if (sizes[i])
			assert_int_equal(pwrite(fd, "end", 1, (off_t)sizes[i] - 1), 1);
		pass(&p, i + 1 == LX_ARRAY_SIZE(sizes));
		same(&p);
	}
	end(&p);
}

static void holes_stay(void **state)
{
	struct pair p;
	const uint64_t far = (uint64_t)3 << 40;

	begin(&p);
	put_at(p.from, "sparse", 0, "begin");
	put_at(p.from, "sparse", 1000 * MIB, "middle");
	put_at(p.from, "sparse", far, "end");
	put_noise(p.from, "solid", MIB);
	pass(&p, false);
	same(&p);
	assert_true(p.bytes < 2 * MIB);
	assert_true(stat_of(p.to, "sparse").st_blocks <= stat_of(p.from, "sparse").st_blocks);

	/* Holes made, and filled, later. */
	lx_autoclose int fd = openat(p.from, "solid", O_RDWR | O_CLOEXEC);

	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 20000, MIB - 50000), 0);
	lx_autoclose int other = openat(p.from, "sparse", O_RDWR | O_CLOEXEC);

	assert_int_equal(fallocate(other, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
	put_at(p.from, "sparse", 500 * MIB + 3, "between");
	pass(&p, true);
	same(&p);
	assert_true(p.bytes <= 4 * LX_TREE_BLOCK);
	assert_true(stat_of(p.to, "solid").st_blocks <= 16 * 8);
	end(&p);
}

static void links_stay(void **state)
{
	struct pair p;
	char name[64];

	begin(&p);
	make_dir(p.from, "d");
	put_noise(p.from, "one", 100000);
	for (unsigned i = 0; i < 2000; i++) {
		snprintf(name, sizeof(name), "%s%u", i % 2 ? "d/" : "", i);
		assert_int_equal(linkat(p.from, "one", p.from, name, 0), 0);
	}
	put_text(p.from, "pair", "pair");
	assert_int_equal(linkat(p.from, "pair", p.from, "d/pair", 0), 0);
	pass(&p, false);
	same(&p);
	assert_int_equal(p.links, 2001);
	assert_int_equal(stat_of(p.to, "one").st_ino, stat_of(p.to, "d/1999").st_ino);

	/* The content goes on through all names; one name becomes a file of its own. */
	put_at(p.from, "d/17", 50000, "changed");
	assert_int_equal(unlinkat(p.from, "d/pair", 0), 0);
	put_text(p.from, "d/pair", "alone");
	pass(&p, false);
	same(&p);
	assert_int_equal(p.bytes, LX_TREE_BLOCK + strlen("alone"));
	assert_int_equal(p.links, 0);

	/* The name that carried it goes; two files change their roles. */
	for (unsigned i = 0; i < 1990; i++) {
		snprintf(name, sizeof(name), "%s%u", i % 2 ? "d/" : "", i);
		assert_int_equal(unlinkat(p.from, name, 0), 0);
	}
	assert_int_equal(unlinkat(p.from, "one", 0), 0);
	assert_int_equal(linkat(p.from, "pair", p.from, "one", 0), 0);
	pass(&p, true);
	same(&p);
	assert_int_equal(stat_of(p.to, "one").st_ino, stat_of(p.to, "pair").st_ino);
	end(&p);
}

static void link_is_replaced_in_place(void **state)
{
	struct pair p;

	/* A name of two is renamed over: its other name must not change with it. */
	begin(&p);
	put_text(p.from, "a", "old");
	assert_int_equal(linkat(p.from, "a", p.from, "b", 0), 0);
	pass(&p, false);
	put_text(p.from, "new", "new");
	assert_int_equal(renameat(p.from, "new", p.from, "a"), 0);
	pass(&p, false);
	same(&p);
	put_text(p.from, "new", "newer");
	assert_int_equal(linkat(p.from, "a", p.from, "c", 0), 0);
	assert_int_equal(renameat(p.from, "new", p.from, "b"), 0);
	pass(&p, true);
	same(&p);
	end(&p);
}

static void deep_and_wide(void **state)
{
	struct pair p;
	char name[64];
	lx_autoclose int at = -1;

	begin(&p);
	at = open_at(p.from, ".");
	for (unsigned i = 0; i < 500; i++) {
		put_text(at, "x", "x");
		make_dir(at, "d");
		make_dir(at, "z");
		int below = open_at(at, "d");

		close(at);
		at = below;
	}
	make_dir(p.from, "wide");
	for (unsigned i = 0; i < 5000; i++) {
		snprintf(name, sizeof(name), "wide/%u", i);
		put_text(p.from, name, "");
	}
	pass(&p, false);
	same(&p);
	pass(&p, true);
	/* The root, and of each level x, d and z. */
	assert_int_equal(lx_tree_sender_stats(p.sender)->entries, 1 + 1500 + 5001);
	assert_int_equal(p.entries, 0);

	/* Deeper than any path. */
	for (unsigned i = 0; i < 20; i++) {
		char longest[256];

		memset(longest, 'n', 255);
		longest[255] = '\0';
		make_dir(at, longest);
		int below = open_at(at, longest);

		close(at);
		at = below;
	}
	assert_int_equal(try_pass(&p, false), -EBUSY);
	assert_int_equal(p.err.code, LX_FAILED_PRECONDITION);
	assert_true(p.err.hint[0]);
	end(&p);
}

/* ------------------------------------------------------------------ while it runs */

static void shuffle(struct pair *p)
{
	/* The walk has read their names. */
	assert_int_equal(unlinkat(p->from, "gone", 0), 0);
	assert_int_equal(unlinkat(p->from, "dir/in", 0), 0);
	assert_int_equal(unlinkat(p->from, "dir", AT_REMOVEDIR), 0);
	assert_int_equal(symlinkat("/etc", p->from, "dir"), 0);
	assert_int_equal(unlinkat(p->from, "file", 0), 0);
	make_dir(p->from, "file");
	put_text(p->from, "file/in", "new");
}

static void changes_meanwhile(void **state)
{
	for (int last = 0; last < 2; last++) {
		struct pair p;

		begin(&p);
		put_text(p.from, "gone", "1");
		put_text(p.from, "file", "2");
		make_dir(p.from, "dir");
		put_text(p.from, "dir/in", "3");
		p.meanwhile = shuffle;
		if (last) {
			assert_true(try_pass(&p, true) < 0);
			assert_int_equal(p.err.code, LX_FAILED_PRECONDITION);
		} else {
			pass(&p, false);
			pass(&p, true);
			same(&p);
		}
		end(&p);
	}
}

static void append(struct pair *p)
{
	put_at(p->from, "f", 3 * MIB, "more");
}

static void grows_meanwhile(void **state)
{
	struct pair p;

	begin(&p);
	put_noise(p.from, "f", 2 * MIB);
	p.meanwhile = append;
	pass(&p, false);
	pass(&p, false);
	same(&p);
	put_at(p.from, "f", 5, "x");
	p.meanwhile = append;
	assert_true(try_pass(&p, true) < 0);
	assert_int_equal(p.err.code, LX_FAILED_PRECONDITION);
	end(&p);
}

static void looks_again_at_young_files(void **state)
{
	struct pair p;
	char text[256];

	begin(&p);
	put_text(p.from, "f", "first!");
	struct stat st = stat_of(p.from, "f");
	struct timespec times[] = { st.st_atim, st.st_mtim };

	pass(&p, false);
	put_at(p.from, "f", 0, "second");
	assert_int_equal(utimensat(p.from, "f", times, 0), 0);
	pass(&p, true);
	assert_string_equal(text_of(p.to, "f", text), "second");
	end(&p);
}

static void sees_stores_through_mappings(void **state)
{
	struct timespec later = { .tv_sec = 1, .tv_nsec = 200 * 1000 * 1000 };

	/* A memory file system, where a store changes no time. */
	for (int by_path = 0; by_path < 2; by_path++) {
		struct pair p;
		pid_t self = getpid();

		if (!by_path)
			needs_root();
		begin_in(&p, "/dev/shm");
		connect_pair(&p, -1, -1);
		put_noise(p.from, "mapped", 3 * LX_TREE_BLOCK + 5);
		lx_autoclose int fd = openat(p.from, "mapped", O_RDWR | O_CLOEXEC);
		char *map = mmap(NULL, 3 * LX_TREE_BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		assert_ptr_not_equal(map, MAP_FAILED);
		map[0] = 'a';
		nanosleep(&later, NULL);
		pass(&p, false);
		same(&p);
		map[LX_TREE_BLOCK + 3] = 'b';
		if (by_path) {
			assert_int_equal(lx_tree_sender_mapped(p.sender, "mapped", &p.err), 0);
			assert_int_equal(lx_tree_sender_mapped(p.sender, "not there", &p.err), 0);
			assert_int_equal(lx_tree_sender_mapped(p.sender, "../x", &p.err), -EINVAL);
		} else {
			assert_int_equal(lx_tree_sender_mapped_by(p.sender, &self, 1, &p.err), 0);
		}
		pass(&p, true);
		same(&p);
		assert_int_equal(p.bytes, LX_TREE_BLOCK);
		munmap(map, 3 * LX_TREE_BLOCK);
		end(&p);
	}
}

static void digest_finds_a_changed_byte(void **state)
{
	struct pair p;

	begin(&p);
	put_text(p.from, "f", "content");
	p.spoil = true;
	assert_true(try_pass(&p, true) < 0);
	assert_int_equal(p.err.code, LX_DATA_LOSS);
	assert_true(p.err.hint[0]);
	end(&p);
}

/* ------------------------------------------------------------------ a real overlay */

/* The same for user 1 of the image as `acl` is for user 1 of the instance. */
static const uint8_t image_acl[] = { 2,    0,    0,    0,    1,    0,    7,    0,    0xff, 0xff, 0xff,
				     0xff, 2,    0,    4,    0,    1,    0,    0,    0,    4,    0,
				     5,    0,    0xff, 0xff, 0xff, 0xff, 0x10, 0,    5,    0,    0xff,
				     0xff, 0xff, 0xff, 0x20, 0,    5,    0,    0xff, 0xff, 0xff, 0xff };

static void make_image(int d)
{
	make_dir(d, "usr");
	make_dir(d, "usr/lib");
	make_dir(d, "opt");
	make_dir(d, "etc");
	assert_int_equal(fchmodat(d, "usr/lib", 0711, 0), 0);
	put_text(d, "etc/plain", "plain");
	put_text(d, "h1", "of the image");
	assert_int_equal(linkat(d, "h1", d, "usr/lib/h2", 0), 0);
	assert_int_equal(linkat(d, "h1", d, "etc/h3", 0), 0);
	assert_int_equal(linkat(d, "h1", d, "opt/h4", 0), 0);
	put_text(d, "g1", "another");
	assert_int_equal(linkat(d, "g1", d, "usr/g2", 0), 0);
	put_text(d, "same1", "never changed");
	assert_int_equal(linkat(d, "same1", d, "usr/same2", 0), 0);
}

static void mount_overlay(const char *top, const char *lower, const char *upper, const char *work,
			  const char *at)
{
	char options[1024];

	snprintf(options, sizeof(options),
		 "lowerdir=%s/%s,upperdir=%s/%s,workdir=%s/%s,index=on,nfs_export=on,redirect_dir=off", top,
		 lower, top, upper, top, work);
	if (mount("lx-test", at, "overlay", MS_NODEV, options) < 0)
		fail_msg("mount of overlay: %s", strerror(errno));
}

static bool lone_overlay(struct pair *p)
{
	static const char *const dirs[] = { "image", "copy", "work", "work2", "m", "m2" };

	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return false;
	make_top(p, "/tmp");
	assert_int_equal(mount("lx-test", p->top, "tmpfs", 0, NULL), 0);
	lx_autoclose int top = open_at(AT_FDCWD, p->top);

	make_dir(top, "from");
	make_dir(top, "to");
	for (size_t i = 0; i < LX_ARRAY_SIZE(dirs); i++)
		make_dir(top, dirs[i]);
	p->from = open_at(top, "from");
	p->to = open_at(top, "to");
	return true;
}

static void hidden_names_come_along(void **state)
{
	struct pair p;
	char m[96], m2[96], text[256];

	if (!lone_overlay(&p)) {
		print_message("needs root and a mount namespace: an overlay is mounted\n");
		skip();
	}
	lx_autoclose int top = open_at(AT_FDCWD, p.top);
	lx_autoclose int image = open_at(top, "image"), copy = open_at(top, "copy");

	make_image(image);
	make_image(copy);
	set_attr(image, "usr/lib", "system.posix_acl_default", image_acl, sizeof(image_acl));
	snprintf(m, sizeof(m), "%s/m", p.top);
	snprintf(m2, sizeof(m2), "%s/m2", p.top);
	mount_overlay(p.top, "image", "from", "work", m);
	int guest = open_at(AT_FDCWD, m);
	lx_autoclose int index = open_at(top, "work/index");

	connect_pair(&p, image, index);
	pass(&p, false);
	assert_int_equal(p.entries, 1);

	/* Changed through one name of four, of which one is covered by a directory anew. */
	put_at(guest, "h1", 0, "of the guest");
	put_text(guest, "etc/plain", "changed plain");
	pass(&p, false);
	assert_int_equal(p.links, 3);
	assert_string_equal(text_of(p.to, "usr/lib/h2", text), "of the guest");
	assert_int_equal(stat_of(p.to, "usr/lib").st_uid, OWNER);
	assert_int_equal(stat_of(p.to, "usr/lib").st_mode, S_IFDIR | 0711);
	assert_int_equal(get_attr(p.to, "usr/lib", "system.posix_acl_default", text), sizeof(acl));
	assert_memory_equal(text, acl, sizeof(acl));

	assert_int_equal(unlinkat(guest, "opt/h4", 0), 0);
	assert_int_equal(unlinkat(guest, "opt", AT_REMOVEDIR), 0);
	make_dir(guest, "opt");
	assert_int_equal(unlinkat(guest, "etc/h3", 0), 0);
	put_text(guest, "etc/h3", "a file of its own");
	pass(&p, false);

	/* The name that it was changed through goes: it lives on in the index alone. */
	assert_int_equal(unlinkat(guest, "h1", 0), 0);
	put_at(guest, "g1", 0, "ANOTHER");
	put_at(guest, "usr/g2", 0, "an");
	put_at(guest, "usr/lib/h2", 0, "OF");
	assert_int_equal(unlinkat(guest, "usr/lib/h2", 0), 0);
	assert_int_equal(linkat(guest, "g1", guest, "g3", 0), 0);
	pass(&p, false);
	pass(&p, true);

	mount_overlay(p.top, "copy", "to", "work2", m2);
	lx_autoclose int there = open_at(AT_FDCWD, m2);

	static const char *const names[] = {
		"etc/h3", "etc/plain", "g1", "usr/g2", "g3", "same1", "usr/same2"
	};

	for (size_t i = 0; i < LX_ARRAY_SIZE(names); i++) {
		char other[256];

		assert_string_equal(text_of(there, names[i], text), text_of(guest, names[i], other));
	}
	static const char *const gone[] = { "h1", "usr/lib/h2", "opt/h4" };

	for (size_t i = 0; i < LX_ARRAY_SIZE(gone); i++) {
		assert_false(exists(guest, gone[i]));
		assert_false(exists(there, gone[i]));
	}
	close(guest);
	assert_int_equal(umount2(m, MNT_DETACH), 0);
	assert_int_equal(umount2(m2, MNT_DETACH), 0);
	lx_tree_sender_free(p.sender);
	lx_tree_receiver_free(p.receiver);
	close(p.from);
	close(p.to);
	assert_int_equal(umount2(p.top, MNT_DETACH), 0);
	assert_int_equal(rmdir(p.top), 0);
}

static void index_alone_has_it(void **state)
{
	struct pair p;
	char m[96], m2[96], text[256];

	if (!lone_overlay(&p)) {
		print_message("needs root and a mount namespace: an overlay is mounted\n");
		skip();
	}
	lx_autoclose int top = open_at(AT_FDCWD, p.top);
	lx_autoclose int image = open_at(top, "image"), copy = open_at(top, "copy");

	make_image(image);
	make_image(copy);
	snprintf(m, sizeof(m), "%s/m", p.top);
	snprintf(m2, sizeof(m2), "%s/m2", p.top);
	mount_overlay(p.top, "image", "from", "work", m);
	int guest = open_at(AT_FDCWD, m);
	lx_autoclose int index = open_at(top, "work/index");

	connect_pair(&p, image, index);
	put_at(guest, "h1", 0, "of the guest");
	assert_int_equal(unlinkat(guest, "h1", 0), 0);
	assert_string_equal(text_of(guest, "usr/lib/h2", text), "of the guest");
	pass(&p, false);
	assert_int_equal(p.links, 2);
	/* And changes once more without a name in the upper directory, then with one. */
	put_at(guest, "opt/h4", 0, "OF");
	pass(&p, true);
	mount_overlay(p.top, "copy", "to", "work2", m2);
	lx_autoclose int there = open_at(AT_FDCWD, m2);

	assert_string_equal(text_of(there, "usr/lib/h2", text), "OF the guest");
	assert_string_equal(text_of(there, "etc/h3", text), "OF the guest");
	assert_string_equal(text_of(there, "opt/h4", text), "OF the guest");
	assert_false(exists(there, "h1"));
	close(guest);
	assert_int_equal(umount2(m, MNT_DETACH), 0);
	assert_int_equal(umount2(m2, MNT_DETACH), 0);
	lx_tree_sender_free(p.sender);
	lx_tree_receiver_free(p.receiver);
	close(p.from);
	close(p.to);
	assert_int_equal(umount2(p.top, MNT_DETACH), 0);
	assert_int_equal(rmdir(p.top), 0);
}

static void full_disk_is_said(void **state)
{
	struct pair p = { .from = -1, .to = -1 };

	if (!lone_overlay(&p)) {
		print_message("needs root and a mount namespace: a small file system is mounted\n");
		skip();
	}
	close(p.to);
	char to[96];

	snprintf(to, sizeof(to), "%s/to", p.top);
	assert_int_equal(mount("lx-test", to, "tmpfs", 0, "size=256k"), 0);
	p.to = open_at(AT_FDCWD, to);
	connect_pair(&p, -1, -1);
	put_noise(p.from, "f", MIB);
	assert_int_equal(try_pass(&p, false), -ENOSPC);
	assert_int_equal(p.err.code, LX_RESOURCE_EXHAUSTED);
	assert_true(p.err.hint[0]);
	lx_tree_sender_free(p.sender);
	lx_tree_receiver_free(p.receiver);
	close(p.from);
	close(p.to);
	assert_int_equal(umount2(to, MNT_DETACH), 0);
	assert_int_equal(umount2(p.top, MNT_DETACH), 0);
	assert_int_equal(rmdir(p.top), 0);
}

/* ------------------------------------------------------------------ a hostile sender */

static Lxmgr__V1__TreeEntry entry_of(const char *path, mode_t mode)
{
	Lxmgr__V1__TreeEntry e = LXMGR__V1__TREE_ENTRY__INIT;

	e.path = (char *)path;
	e.mode = mode;
	e.uid = geteuid();
	e.gid = getegid();
	return e;
}

static int give(struct pair *p, Lxmgr__V1__TreeEntry *e)
{
	Lxmgr__V1__MoveFrame f = LXMGR__V1__MOVE_FRAME__INIT;

	f.what_case = LXMGR__V1__MOVE_FRAME__WHAT_ENTRY;
	f.entry = e;
	p->err = LX_ERR_INIT;
	return lx_tree_receive(p->receiver, &f, &p->err);
}

static int give_data(struct pair *p, uint64_t offset, size_t len)
{
	static uint8_t bytes[LX_MOVE_CHUNK + LX_TREE_BLOCK];
	Lxmgr__V1__MoveFrame f = LXMGR__V1__MOVE_FRAME__INIT;
	Lxmgr__V1__TreeData d = LXMGR__V1__TREE_DATA__INIT;

	d.offset = offset;
	d.data.data = bytes;
	d.data.len = len;
	f.what_case = LXMGR__V1__MOVE_FRAME__WHAT_TREE_DATA;
	f.tree_data = &d;
	p->err = LX_ERR_INIT;
	return lx_tree_receive(p->receiver, &f, &p->err);
}

static int give_remove(struct pair *p, const char *path)
{
	Lxmgr__V1__MoveFrame f = LXMGR__V1__MOVE_FRAME__INIT;

	f.what_case = LXMGR__V1__MOVE_FRAME__WHAT_TREE_REMOVE;
	f.tree_remove = (char *)path;
	p->err = LX_ERR_INIT;
	return lx_tree_receive(p->receiver, &f, &p->err);
}

static void refused(struct pair *p, int r)
{
	assert_int_equal(r, -EINVAL);
	assert_int_equal(p->err.code, LX_INVALID_ARGUMENT);
	assert_true(p->err.msg[0]);
}

static void refuses_bad_entries(void **state)
{
	static const char *const paths[] = { "..", "../x", "/x",   "a/../x", "./x", ".",
					     "x/", "a//b", "no/x", "l/x",    "f/x", "a/b/../../.." };
	struct pair p;
	Lxmgr__V1__TreeEntry e;
	char huge[LX_TREE_PATH_MAX + 1];

	begin(&p);
	e = entry_of("", S_IFDIR | 0755);
	assert_int_equal(give(&p, &e), 0);
	e = entry_of("a", S_IFDIR | 0755);
	assert_int_equal(give(&p, &e), 0);
	e = entry_of("l", S_IFLNK | 0777);
	e.target = (ProtobufCBinaryData){ 1, (uint8_t *)"/" };
	assert_int_equal(give(&p, &e), 0);
	e = entry_of("f", S_IFREG | 0644);
	e.size = 10;
	assert_int_equal(give(&p, &e), 0);

	for (size_t i = 0; i < LX_ARRAY_SIZE(paths); i++) {
		e = entry_of(paths[i], S_IFDIR | 0755);
		refused(&p, give(&p, &e));
		refused(&p, give_remove(&p, paths[i]));
		e = entry_of("new", 0);
		e.link_to = (char *)paths[i];
		refused(&p, give(&p, &e));
	}
	memset(huge, 'a', sizeof(huge) - 1);
	huge[sizeof(huge) - 1] = '\0';
	e = entry_of(huge, S_IFREG);
	refused(&p, give(&p, &e));
	huge[256] = '\0';
	refused(&p, give(&p, &e));
	refused(&p, give_remove(&p, ""));
	refused(&p, give_remove(&p, "never"));

	e = entry_of("", S_IFREG | 0644);
	refused(&p, give(&p, &e));
	e = entry_of("x", 0);
	refused(&p, give(&p, &e));
	e = entry_of("x", S_IFREG | 0200000);
	refused(&p, give(&p, &e));
	e = entry_of("x", S_IFREG);
	e.uid = UINT32_MAX;
	refused(&p, give(&p, &e));
	e = entry_of("x", S_IFREG);
	e.size = UINT64_MAX;
	refused(&p, give(&p, &e));
	e = entry_of("x", S_IFREG);
	e.in_place = true;
	refused(&p, give(&p, &e));
	e = entry_of("a", S_IFDIR);
	e.in_place = true;
	refused(&p, give(&p, &e));
	e = entry_of("x", S_IFLNK);
	refused(&p, give(&p, &e));
	e.target = (ProtobufCBinaryData){ 3, (uint8_t *)"a\0b" };
	refused(&p, give(&p, &e));
	e = entry_of("f", 0);
	e.link_to = (char *)"f";
	refused(&p, give(&p, &e));
	e = entry_of("x", 0);
	e.link_to = (char *)"a";
	refused(&p, give(&p, &e));
	assert_false(exists(p.to, "x"));
	assert_false(exists(p.to, "new"));
	end(&p);
}

static void refuses_bad_attributes(void **state)
{
	static const char *const names[] = { "",
					     "user.",
					     "trusted.overlay.origin",
					     "trusted.overlay.upper",
					     "security.selinux",
					     "system.x",
					     "trusted.overlay.nlink" };
	static uint8_t big[LX_TREE_XATTR_MAX + 1];
	Lxmgr__V1__TreeXattr x = LXMGR__V1__TREE_XATTR__INIT, y = LXMGR__V1__TREE_XATTR__INIT;
	Lxmgr__V1__TreeXattr *both[] = { &x, &y };
	Lxmgr__V1__TreeEntry e = entry_of("", S_IFDIR | 0755);
	struct pair p;

	begin(&p);
	e.xattrs = both;
	e.n_xattrs = 1;
	for (size_t i = 0; i < LX_ARRAY_SIZE(names); i++) {
		x.name = (char *)names[i];
		refused(&p, give(&p, &e));
	}
	x.name = (char *)"user.big";
	x.value = (ProtobufCBinaryData){ sizeof(big), big };
	refused(&p, give(&p, &e));
	x.value.len = 0;
	y.name = (char *)"user.a";
	e.n_xattrs = 2;
	refused(&p, give(&p, &e));
	y.name = (char *)"user.big";
	refused(&p, give(&p, &e));
	end(&p);
}

static void refuses_bad_content(void **state)
{
	struct pair p;
	Lxmgr__V1__TreeEntry e = entry_of("", S_IFDIR | 0755);

	begin(&p);
	assert_int_equal(give(&p, &e), 0);
	refused(&p, give_data(&p, 0, 5));
	e = entry_of("f", S_IFREG | 0644);
	e.size = 3 * LX_TREE_BLOCK + 100;
	assert_int_equal(give(&p, &e), 0);
	refused(&p, give_data(&p, 1, 5));
	refused(&p, give_data(&p, 0, 5));
	refused(&p, give_data(&p, 3 * LX_TREE_BLOCK, 101));
	refused(&p, give_data(&p, 4 * LX_TREE_BLOCK, 1));
	refused(&p, give_data(&p, UINT64_MAX - LX_TREE_BLOCK + 1, LX_TREE_BLOCK));
	refused(&p, give_data(&p, 0, LX_MOVE_CHUNK + LX_TREE_BLOCK));
	assert_int_equal(give_data(&p, LX_TREE_BLOCK, LX_TREE_BLOCK), 0);
	refused(&p, give_data(&p, LX_TREE_BLOCK, LX_TREE_BLOCK));
	refused(&p, give_data(&p, 0, LX_TREE_BLOCK));
	assert_int_equal(give_data(&p, 3 * LX_TREE_BLOCK, 100), 0);
	refused(&p, give_data(&p, 3 * LX_TREE_BLOCK, 100));
	assert_int_equal(stat_of(p.to, "f").st_size, 3 * LX_TREE_BLOCK + 100);
	end(&p);
}

/* Somebody beside us swaps a directory for a link: the kernel is asked not to follow it. */
static void follows_no_link(void **state)
{
	struct pair p;
	Lxmgr__V1__TreeEntry e = entry_of("", S_IFDIR | 0755);

	begin(&p);
	assert_int_equal(give(&p, &e), 0);
	e = entry_of("a", S_IFDIR | 0755);
	assert_int_equal(give(&p, &e), 0);
	e = entry_of("a/b", S_IFDIR | 0755);
	assert_int_equal(give(&p, &e), 0);
	assert_int_equal(renameat(p.to, "a", p.to, "moved"), 0);
	assert_int_equal(symlinkat("moved", p.to, "a"), 0);
	e = entry_of("a/b/c", S_IFDIR | 0755);
	assert_true(give(&p, &e) < 0);
	assert_false(exists(p.to, "moved/b/c"));
	end(&p);
}

/* ------------------------------------------------------------------ arithmetic */

static void map_finds_and_forgets(void **state)
{
	struct lx_tree_map m;
	uint8_t before[LX_TREE_DIGEST_LEN], after[LX_TREE_DIGEST_LEN];
	char name[32], path[LX_TREE_PATH_MAX];
	uint32_t dir, id;

	assert_int_equal(lx_tree_map_init(&m, NULL), 0);
	lx_tree_map_digest(&m, before);
	assert_int_equal(lx_tree_map_add(&m, LX_TREE_ROOT, "dir", 3, &dir, NULL), 0);
	for (unsigned i = 0; i < 20000; i++) {
		int n = snprintf(name, sizeof(name), "n%u", i);

		assert_int_equal(lx_tree_map_add(&m, dir, name, (size_t)n, &id, NULL), 0);
		lx_tree_map_set_hash(&m, id, (struct lx_tree_hash){ i, ~(uint64_t)i });
	}
	assert_int_equal(lx_tree_map_lookup(&m, "dir/n19999"), id);
	assert_int_equal(lx_tree_map_path(&m, id, path), 10);
	assert_string_equal(path, "dir/n19999");
	assert_int_equal(lx_tree_map_lookup(&m, "n1"), LX_TREE_NONE);
	assert_int_equal(lx_tree_map_lookup(&m, "dir/n20000"), LX_TREE_NONE);
	assert_int_equal(lx_tree_map_lookup(&m, ""), LX_TREE_ROOT);
	lx_tree_map_forget(&m, id);
	assert_int_equal(lx_tree_map_lookup(&m, "dir/n19999"), LX_TREE_NONE);
	lx_tree_map_forget(&m, dir);
	assert_int_equal(lx_tree_map_lookup(&m, "dir/n7"), LX_TREE_NONE);
	lx_tree_map_digest(&m, after);
	assert_memory_equal(before, after, sizeof(before));
	assert_int_equal(m.live, 1);
	lx_tree_map_release(&m);
}

static void paths_are_judged(void **state)
{
	static const char *const good[] = { "", "a", "a/b", "...", ".a", "..a", "a/...", "a\nb" };
	static const char *const bad[] = {
		"/", "/a", "a/", "a//b", ".", "..", "a/.", "a/..", "../a", "a/./b"
	};

	for (size_t i = 0; i < LX_ARRAY_SIZE(good); i++)
		assert_true(lx_tree_path_ok(good[i]));
	for (size_t i = 0; i < LX_ARRAY_SIZE(bad); i++)
		assert_false(lx_tree_path_ok(bad[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(carries_all_kinds),
		cmocka_unit_test(sends_only_what_changed),
		cmocka_unit_test(types_change),
		cmocka_unit_test(sizes_change),
		cmocka_unit_test(holes_stay),
		cmocka_unit_test(links_stay),
		cmocka_unit_test(link_is_replaced_in_place),
		cmocka_unit_test(deep_and_wide),
		cmocka_unit_test(changes_meanwhile),
		cmocka_unit_test(grows_meanwhile),
		cmocka_unit_test(looks_again_at_young_files),
		cmocka_unit_test(sees_stores_through_mappings),
		cmocka_unit_test(digest_finds_a_changed_byte),
		cmocka_unit_test(refuses_bad_entries),
		cmocka_unit_test(refuses_bad_attributes),
		cmocka_unit_test(refuses_bad_content),
		cmocka_unit_test(follows_no_link),
		cmocka_unit_test(map_finds_and_forgets),
		cmocka_unit_test(paths_are_judged),
		/* Last: they leave the mount namespace. */
		cmocka_unit_test(hidden_names_come_along),
		cmocka_unit_test(index_alone_has_it),
		cmocka_unit_test(full_disk_is_said),
	};

	umask(0);
	return cmocka_run_group_tests(tests, NULL, remove_tops);
}
