/* See the header. */
#include "tests/unit/tar_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "images/walk.h"
#include "lib/cleanup.h"
#include "tests/unit/tar_fixture.h"

#define GIB (1024ll * TAR_MIB)

/* Whether what is mounted here is seen nowhere else. */
static bool has_own_mounts;

/* Before a directory is opened: that one would still be where it was. */
int tar_setup_mounts(void **state)
{
	has_own_mounts = unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
	if (!has_own_mounts)
		print_message("cannot mount anything: mount points are left out\n");
	return tar_setup(state);
}

/* ------------------------------------------------------------------ the tree */

static void put(int dir, const char *name, const void *data, size_t len, off_t at)
{
	lx_autoclose int fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, data, len, at), len);
}

void tar_put_text(int dir, const char *name, const char *text)
{
	put(dir, name, text, strlen(text), 0);
}

void tar_set_time(int dir, const char *name, time_t s, long ns)
{
	struct timespec t[] = { { .tv_sec = s - 100, .tv_nsec = 987654321 }, { .tv_sec = s, .tv_nsec = ns } };

	assert_int_equal(utimensat(dir, name, t, AT_SYMLINK_NOFOLLOW), 0);
}

static void put_files(int dir)
{
	static uint8_t noise[3 * TAR_MIB + 17];

	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)(i * 2654435761u >> 13);
	put(dir, "noise", noise, sizeof(noise), 0);
	put(dir, "block", noise, 512, 0);
	tar_put_text(dir, "empty", "");
	tar_put_text(dir, "one", "1");
	assert_int_equal(linkat(dir, "one", dir, "other", 0), 0);
	assert_int_equal(linkat(dir, "one", dir, "third", 0), 0);
	tar_put_text(dir, "root's", "setuid");
	assert_int_equal(fchownat(dir, "root's", 12345, 54321, 0), 0);
	assert_int_equal(fchmodat(dir, "root's", 06711, 0), 0);
	tar_put_text(dir, "far", "an owner beyond seven octal digits");
	assert_int_equal(fchownat(dir, "far", 4000000000u, 3000000, 0), 0);
	tar_put_text(dir, "a name\nof \x01\xff\\two = lines", "odd");
	tar_put_text(dir, "nobody's", "no one may");
	assert_int_equal(fchmodat(dir, "nobody's", 0, 0), 0);
	tar_set_time(dir, "one", -2, 250000000);
	tar_set_time(dir, "far", 0x1ffffffffll, 0);
	tar_set_time(dir, "root's", 1500000000, 123456789);
	lx_autoclose int fd = openat(dir, "block", O_RDONLY | O_CLOEXEC);

	/* Not carried, and no error. */
	assert_int_equal(fsetxattr(fd, "trusted.test", "x", 1, 0), 0);
}

static void stretch(int dir, const char *name, off_t size)
{
	lx_autoclose int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);

	assert_int_equal(ftruncate(fd, size), 0);
}

static void put_sparse(int dir)
{
	/* More than fit into a header of GNU's, and into one block behind it. */
	for (int i = 0; i < 60; i++)
		put(dir, "pieces", "piece", 5, i * (off_t)TAR_MIB + (i & 1) * 4096);
	put(dir, "hole", "end", 3, GIB - 3);
	put(dir, "hole in the middle", "start", 5, 0);
	put(dir, "hole in the middle", "end", 3, 5 * TAR_MIB);
	tar_put_text(dir, "hole at the end", "start");
	stretch(dir, "hole at the end", 7 * TAR_MIB);
	tar_put_text(dir, "nothing but a hole", "");
	stretch(dir, "nothing but a hole", 9 * TAR_MIB);
	put(dir,
	    "hole with a name of its own that is longer than what there is room for in the header of "
	    "an archive, so that a record must hold it",
	    "x", 1, TAR_MIB);
}

static void put_others(int dir)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	lx_autoclose int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char target[301];

	snprintf(name.sun_path, sizeof(name.sun_path), "/proc/self/fd/%d/socket", dir);
	assert_int_equal(bind(sock, (struct sockaddr *)&name, sizeof(name)), 0);
	memset(target, 't', sizeof(target) - 1);
	target[sizeof(target) - 1] = '\0';
	assert_int_equal(symlinkat("../../etc/passwd", dir, "link"), 0);
	assert_int_equal(symlinkat(target, dir, "long link"), 0);
	assert_int_equal(linkat(dir, "link", dir, "same link", 0), 0);
	assert_int_equal(fchownat(dir, "link", 7, 8, AT_SYMLINK_NOFOLLOW), 0);
	tar_set_time(dir, "link", 1400000000, 42);
	assert_int_equal(mknodat(dir, "fifo", S_IFIFO | 0620, 0), 0);
	assert_int_equal(mknodat(dir, "null", S_IFCHR | 0666, makedev(1, 3)), 0);
	assert_int_equal(mknodat(dir, "disk", S_IFBLK | 0660, makedev(259, 1048575)), 0);
	tar_set_time(dir, "fifo", 1300000000, 1);
}

int tar_put_dir(int dir, const char *name, mode_t mode)
{
	assert_int_equal(mkdirat(dir, name, 0755), 0);
	assert_int_equal(fchmodat(dir, name, mode, 0), 0);
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* After each test, however it ended. */
int tar_unmount(void **state)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/tree/mounted", tar_top);
	(void)umount2(path, MNT_DETACH);
	return 0;
}

/* With what is not to be looked at mounted in it, when that can be done. */
int tar_make_tree(void)
{
	int dir = tar_dir("tree");
	lx_autoclose int sticky = tar_put_dir(dir, "sticky", 01777), closed = tar_put_dir(dir, "closed", 0);
	lx_autoclose int empty = tar_put_dir(dir, "empty dir", 02750);
	char path[64];

	close(tar_put_dir(dir, "mounted", 0755));
	put_files(dir);
	put_sparse(dir);
	put_others(dir);
	tar_put_text(sticky, "file", "in it");
	assert_int_equal(linkat(dir, "one", sticky, "one more", 0), 0);
	tar_put_text(closed, "file", "in it");
	assert_int_equal(fchown(empty, 1000, 1001), 0);
	snprintf(path, sizeof(path), "%s/tree/mounted", tar_top);
	if (has_own_mounts && mount("test", path, "tmpfs", 0, "mode=0700") == 0) {
		lx_autoclose int inside = openat(dir, "mounted", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		tar_put_text(inside, "elsewhere", "not to be carried");
		tar_set_time(dir, "mounted", 1200000000, 5);
	}
	tar_set_time(dir, "sticky", 1100000000, 999999999);
	tar_set_time(dir, ".", 1000000000, 111111111);
	return dir;
}

/* ------------------------------------------------------------------ comparing */

struct comparison {
	int there;
	enum tar_exact exact;
	unsigned n;
};

void tar_same_content(int a_dir, const char *a, int b_dir, const char *b, off_t size)
{
	static char x[64 * 1024], y[sizeof(x)];
	lx_autoclose int fa = openat(a_dir, a, O_RDONLY | O_NOATIME | O_CLOEXEC);
	lx_autoclose int fb = openat(b_dir, b, O_RDONLY | O_NOATIME | O_CLOEXEC);

	assert_true(fa >= 0 && fb >= 0);
	/* In one that is nearly nothing but holes, only what is not. */
	for (off_t at = lseek(fa, 0, SEEK_DATA); at >= 0 && at < size; at = lseek(fa, at, SEEK_DATA)) {
		ssize_t n = pread(fa, x, sizeof(x), at);

		assert_true(n > 0);
		assert_int_equal(pread(fb, y, sizeof(y), at), n);
		assert_memory_equal(x, y, (size_t)n);
		at += n;
	}
}

static void same_target(int a_dir, const char *a, int b_dir, const char *b)
{
	char x[512] = { 0 }, y[512] = { 0 };

	assert_true(readlinkat(a_dir, a, x, sizeof(x) - 1) > 0 && readlinkat(b_dir, b, y, sizeof(y) - 1) > 0);
	assert_string_equal(x, y);
}

static void same_stat(const char *path, const struct stat *a, const struct stat *b, enum tar_exact exact)
{
	/* Said beside what differs. */
	if (a->st_mode != b->st_mode || (!S_ISDIR(a->st_mode) && a->st_nlink != b->st_nlink))
		print_message("%s\n", path);
	assert_int_equal(a->st_mode, b->st_mode);
	assert_int_equal(a->st_uid, b->st_uid);
	assert_int_equal(a->st_gid, b->st_gid);
	assert_int_equal(a->st_rdev, b->st_rdev);
	assert_int_equal(a->st_mtim.tv_sec, b->st_mtim.tv_sec);
	assert_int_equal(exact == TAR_SECONDS ? 0 : a->st_mtim.tv_nsec, b->st_mtim.tv_nsec);
	if (S_ISDIR(a->st_mode))
		return;
	assert_int_equal(a->st_size, b->st_size);
	assert_int_equal(a->st_nlink, b->st_nlink);
	/* Holes are holes. */
	assert_true(b->st_blocks <= a->st_blocks);
}

static int compare(void *arg, const struct lx_walk_entry *e, struct lx_err *err)
{
	struct comparison *c = arg;
	struct stat st;

	if (S_ISSOCK(e->st->st_mode))
		return 0;
	c->n++;
	if (fstatat(c->there, e->path, &st, AT_SYMLINK_NOFOLLOW) < 0)
		fail_msg("%s: %s", e->path, strerror(errno));
	same_stat(e->path, e->st, &st, c->exact);
	if (S_ISREG(st.st_mode))
		tar_same_content(e->dir, e->name, c->there, e->path, st.st_size);
	if (S_ISLNK(st.st_mode))
		same_target(e->dir, e->name, c->there, e->path);
	return 0;
}

static int count(void *arg, const struct lx_walk_entry *e, struct lx_err *err)
{
	++*(unsigned *)arg;
	return 0;
}

ino_t tar_inode(int dir, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st.st_ino;
}

unsigned tar_compare(int here, int there, enum tar_exact exact)
{
	struct comparison c = { .there = there, .exact = exact };
	unsigned n = 0;
	struct stat a, b;

	assert_int_equal(fstat(here, &a), 0);
	assert_int_equal(fstat(there, &b), 0);
	same_stat(".", &a, &b, exact);
	assert_int_equal(lx_walk(here, compare, &c, NULL), 0);
	assert_int_equal(lx_walk(there, count, &n, NULL), 0);
	assert_int_equal(n, c.n);
	return n;
}
