/*
 * What bounds a root disk: the arithmetic, and each back end on a real file system of its own kind. Those
 * need root, loop devices and a kernel that has them: Debian's has all (tests/vm), others may skip.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/worker/disk_quota.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"

#define MIB   (UINT64_C(1) << 20)
#define FIRST 1000000u
#define RANGE 65536u

/* ------------------------------------------------------------------ arithmetic */

static void files_in_proportion(void **state)
{
	/* A tenth of the disk: a tenth of its files. */
	assert_int_equal(lx_quota_files(100 * MIB, 1000 * MIB, 100000), 10000);
	assert_int_equal(lx_quota_files(0, 1000 * MIB, 100000), 0);
	assert_int_equal(lx_quota_files(100 * MIB, 1000 * MIB, 0), 0);
	assert_int_equal(lx_quota_files(100 * MIB, 0, 100), 0);
	/* Few files on a large disk, and more asked for than there is. */
	assert_int_equal(lx_quota_files(MIB, 1000 * MIB, 1000), 4096);
	assert_int_equal(lx_quota_files(UINT64_C(1) << 60, MIB, UINT32_MAX), UINT32_MAX);
}

/* ------------------------------------------------------------------ a file system */

struct disk {
	char base[64], image[96], at[96], dir[128];
};

static int run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int run(const char *fmt, ...)
{
	char command[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	return system(command); /* NOLINT(cert-env33-c): a test's own words */
}

/* The one of the test that runs: it goes also when the test fails. */
static struct disk disk;

static int unmake(void **state)
{
	if (*disk.at)
		(void)umount2(disk.at, MNT_DETACH);
	if (*disk.base)
		(void)lx_rm_rf(disk.base, NULL);
	disk = (struct disk){ 0 };
	return 0;
}

/* Skips, and says why, where it cannot be made. */
static struct disk *make(const char *mkfs, const char *options, const char *then)
{
	static const char template[] = "/var/tmp/lx-quota-XXXXXX";
	struct disk *d = &disk;

	memcpy(d->base, template, sizeof(template));
	assert_non_null(mkdtemp(d->base));
	snprintf(d->image, sizeof(d->image), "%s/image", d->base);
	snprintf(d->at, sizeof(d->at), "%s/at", d->base);
	snprintf(d->dir, sizeof(d->dir), "%s/at/web1", d->base);
	if (geteuid() != 0 || mkdir(d->at, 0755) < 0 || run("truncate -s 512M %s", d->image) != 0 ||
	    run("%s %s >/dev/null 2>&1", mkfs, d->image) != 0 ||
	    run("mount -o loop,%s %s %s 2>/dev/null", options, d->image, d->at) != 0 ||
	    (*then && run("%s %s >/dev/null 2>&1", then, d->at) != 0)) {
		print_message("           no \"%s\" mounted with %s here\n", mkfs, options);
		skip();
	}
	return d;
}

static void make_instance(const char *dir)
{
	char own[LX_QUOTA_PATH_MAX], path[LX_QUOTA_PATH_MAX + 8];

	assert_int_equal(mkdir(dir, 0755), 0);
	assert_int_equal(lx_quota_make(dir, NULL), 0);
	lx_quota_own_dir(dir, own, sizeof(own));
	snprintf(path, sizeof(path), "%s/upper", own);
	assert_int_equal(mkdir(path, 0755), 0);
	snprintf(path, sizeof(path), "%s/work", own);
	assert_int_equal(mkdir(path, 0755), 0);
}

/* Of the instance's own files, as somebody who has no special rights over disks. Megabytes written. */
static unsigned fill(const char *dir, const char *name, unsigned megabytes)
{
	static char block[MIB];
	char own[LX_QUOTA_PATH_MAX], path[LX_QUOTA_PATH_MAX + 64];
	unsigned n = 0;

	lx_quota_own_dir(dir, own, sizeof(own));
	snprintf(path, sizeof(path), "%s/upper/%s", own, name);
	lx_autoclose int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		return 0;
	memset(block, 'x', sizeof(block));
	assert_int_equal(seteuid(65534), 0);
	while (n < megabytes && lx_write_full(fd, block, sizeof(block)) == sizeof(block) && fsync(fd) == 0)
		n++;
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(syncfs(fd), 0);
	return n;
}

/* Pages of a mapped file are taken when they are first written to, not by write(2). */
static int fill_mapped(const char *dir, size_t megabytes)
{
	char own[LX_QUOTA_PATH_MAX], path[LX_QUOTA_PATH_MAX + 64];
	int status = -1;

	lx_quota_own_dir(dir, own, sizeof(own));
	snprintf(path, sizeof(path), "%s/upper/mapped", own);
	pid_t child = fork();

	if (child == 0) {
		int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		size_t size = megabytes * MIB;
		char *at = ftruncate(fd, (off_t)size) == 0
				   ? mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
				   : MAP_FAILED;

		(void)signal(SIGBUS, SIG_DFL);
		if (at == MAP_FAILED || seteuid(65534) < 0)
			_exit(1);
		for (size_t i = 0; i < size; i += 4096)
			at[i] = 'x';
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	(void)unlink(path);
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
	assert_int_equal(run("sync -f %s", own), 0);
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void is_counted_and_bounded(struct disk *d)
{
	struct lx_err err = LX_ERR_INIT;
	struct lx_quota_can can;
	struct lx_quota_room room;
	char other[160];

	lx_quota_probe(d->at, &can);
	assert_true(can.counts && can.bounds);
	assert_string_equal(can.cause, "");
	make_instance(d->dir);
	snprintf(other, sizeof(other), "%s/at/web2", d->base);
	make_instance(other);
	assert_in_range(lx_quota_count(d->dir, FIRST, RANGE, NULL), 0, 1);
	assert_int_equal(lx_quota_count(d->dir, FIRST, RANGE, NULL), 1);
	assert_in_range(lx_quota_count(other, FIRST, RANGE, NULL), 0, 1); /* the same range: another number */

	/* Counted without a limit. */
	assert_int_equal(fill(d->dir, "a", 30), 30);
	assert_int_equal(lx_quota_read(d->dir, &room), 0);
	assert_in_range(room.used, 30 * MIB, 33 * MIB);
	assert_int_equal(room.limit, 0);
	assert_int_equal(lx_quota_read(other, &room), 0);
	assert_in_range(room.used, 0, MIB);

	/* Less than there is, and just enough. */
	assert_true(lx_quota_check(d->dir, "web1", 20 * MIB, true, &err) < 0);
	assert_non_null(strstr(err.msg, "web1 has 30"));
	assert_non_null(strstr(err.msg, "a size of 20MiB is less"));
	assert_int_equal(lx_quota_check(d->dir, "web1", 60 * MIB, false, NULL), 0);

	assert_int_equal(lx_quota_bound(d->dir, 60 * MIB, NULL), 0);
	assert_int_equal(fill_mapped(d->dir, 100), SIGBUS);
	assert_in_range(fill(d->dir, "b", 100), 20, 30);
	assert_int_equal(lx_quota_read(d->dir, &room), 0);
	assert_int_equal(room.limit, 60 * MIB);
	assert_in_range(room.used, 50 * MIB, 60 * MIB);
	/* The neighbour is none the worse. */
	assert_int_equal(fill(other, "c", 100), 100);
	assert_int_equal(lx_quota_bound(d->dir, 0, NULL), 0);
	assert_int_equal(fill(d->dir, "d", 60), 60);

	assert_int_equal(lx_quota_bound(d->dir, 200 * MIB, NULL), 0);
	lx_quota_release(d->dir);
	assert_int_equal(lx_rm_rf(d->dir, NULL), 0);
	lx_quota_release(d->dir); /* once more: nothing is there */
	lx_quota_release(other);
	assert_int_equal(lx_rm_rf(other, NULL), 0);
}

/* ------------------------------------------------------------------ projects */

static uint32_t project_of(const char *dir, const char *leaf)
{
	char path[192];
	struct fsxattr x = { 0 };

	snprintf(path, sizeof(path), "%s/%s", dir, leaf);
	lx_autoclose int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, FS_IOC_FSGETXATTR, &x), 0);
	return x.fsx_projid;
}

static void set_project(const char *dir, const char *leaf, uint32_t project)
{
	char path[192];
	struct fsxattr x = { 0 };

	snprintf(path, sizeof(path), "%s/%s", dir, leaf);
	lx_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_int_equal(ioctl(fd, FS_IOC_FSGETXATTR, &x), 0);
	x.fsx_projid = project;
	assert_int_equal(ioctl(fd, FS_IOC_FSSETXATTR, &x), 0);
}

/* The account of the number that an instance would get first. */
static void nothing_is_kept(struct disk *d, uint32_t project)
{
	struct lx_quota_room room;

	make_instance(d->dir);
	assert_int_equal(lx_quota_count(d->dir, project, 1, NULL), 0);
	assert_int_equal(lx_quota_read(d->dir, &room), 0);
	assert_int_equal(room.limit, 0);
	assert_int_equal(room.files, 2);
	lx_quota_release(d->dir);
	assert_int_equal(lx_rm_rf(d->dir, NULL), 0);
}

static void number_is_free_and_inherited(struct disk *d)
{
	char foreign[160];

	/* Somebody else has the first one. */
	snprintf(foreign, sizeof(foreign), "%s/at/foreign", d->base);
	assert_int_equal(mkdir(foreign, 0755), 0);
	set_project(d->at, "foreign", FIRST);
	make_instance(d->dir);
	assert_int_equal(lx_quota_count(d->dir, FIRST, RANGE, NULL), 0);
	assert_int_equal(project_of(d->dir, "upper"), FIRST + 1);
	assert_int_equal(project_of(d->dir, "work"), FIRST + 1);
	/* As overlayfs goes about it: made in its own directory, then moved and linked. */
	assert_int_equal(run("cd %s && mkdir -p upper/a/b work/work && touch upper/a/b/c && cd work/work && "
			     "mv ../../upper/a/b/c . && ln c ../../upper/a/l",
			     d->dir),
			 0);
	assert_int_equal(project_of(d->dir, "upper/a/b"), FIRST + 1);
	assert_int_equal(project_of(d->dir, "upper/a/l"), FIRST + 1);
	lx_quota_release(d->dir);
	assert_int_equal(lx_rm_rf(d->dir, NULL), 0);
	assert_int_equal(rmdir(foreign), 0);

	/* A range that is all taken. */
	snprintf(foreign, sizeof(foreign), "%s/at/foreign", d->base);
	assert_int_equal(mkdir(foreign, 0755), 0);
	set_project(d->at, "foreign", FIRST);
	make_instance(d->dir);
	struct lx_err err = LX_ERR_INIT;

	assert_true(lx_quota_count(d->dir, FIRST, 1, &err) < 0);
	assert_non_null(strstr(err.msg, "free project number"));
	assert_int_equal(lx_rm_rf(d->dir, NULL), 0);
	assert_int_equal(rmdir(foreign), 0);
}

static void set_inherited(const char *dir, uint32_t project, bool inherited)
{
	lx_autoclose int fd = open(dir, O_RDONLY | O_CLOEXEC);
	struct fsxattr x = { 0 };

	assert_int_equal(ioctl(fd, FS_IOC_FSGETXATTR, &x), 0);
	x.fsx_projid = project;
	x.fsx_xflags = inherited ? x.fsx_xflags | FS_XFLAG_PROJINHERIT
				 : x.fsx_xflags & ~(unsigned)FS_XFLAG_PROJINHERIT;
	assert_int_equal(ioctl(fd, FS_IOC_FSSETXATTR, &x), 0);
}

/* A project that the administrator has given to a directory above is none of ours. */
static void one_from_above_is_left_alone(struct disk *d)
{
	struct lx_quota_room room;

	set_inherited(d->at, 7, true);
	make_instance(d->dir);
	assert_int_equal(project_of(d->dir, "upper"), 7);
	assert_int_equal(lx_quota_read(d->dir, &room), -ENODATA);
	assert_true(lx_quota_bound(d->dir, 100 * MIB, NULL) < 0);
	assert_int_equal(lx_quota_count(d->dir, FIRST, RANGE, NULL), 0);
	assert_int_equal(project_of(d->dir, "upper"), FIRST);
	assert_int_equal(lx_quota_read(d->dir, &room), 0);
	lx_quota_release(d->dir);
	assert_int_equal(lx_rm_rf(d->dir, NULL), 0);
	set_inherited(d->at, 0, false);
}

/* What was made before: all of it is counted, whatever it is. */
static void what_is_there_is_counted(struct disk *d)
{
	struct lx_quota_room room;

	make_instance(d->dir);
	assert_int_equal(fill(d->dir, "old", 10), 10);
	assert_int_equal(
		run("cd %s/upper && mkdir -p x/y && cp old x/y/z && ln old x/again && mkfifo x/pipe && "
		    "ln -s /nowhere x/link && mknod x/null c 1 3",
		    d->dir),
		0);
	assert_int_equal(lx_quota_read(d->dir, &room), -ENODATA);
	assert_int_equal(lx_quota_check(d->dir, "web1", 100 * MIB, true, NULL), 0);
	struct lx_err err = LX_ERR_INIT;

	assert_true(lx_quota_check(d->dir, "web1", 100 * MIB, false, &err) < 0);
	assert_non_null(strstr(err.hint, "lxmgr restart web1"));
	assert_int_equal(lx_quota_count(d->dir, FIRST, RANGE, NULL), 0);
	assert_int_equal(run("sync -f %s", d->at), 0);
	assert_int_equal(lx_quota_read(d->dir, &room), 0);
	assert_in_range(room.used, 20 * MIB, 21 * MIB);
	assert_int_equal(room.files, 6); /* two directories above, x, y, old, z */
	lx_quota_release(d->dir);
	assert_int_equal(lx_rm_rf(d->dir, NULL), 0);
}

/* As many as in proportion, not one more. */
static void files_are_bounded(struct disk *d)
{
	struct lx_quota_room room;

	make_instance(d->dir);
	assert_int_equal(lx_quota_count(d->dir, FIRST, RANGE, NULL), 0);
	assert_int_equal(lx_quota_bound(d->dir, 16 * MIB, NULL), 0);
	assert_int_equal(lx_quota_read(d->dir, &room), 0);
	assert_in_range(room.files_limit, 4096, 100000);
	assert_int_equal(
		run("cd %s/upper && chmod 777 . && setpriv --reuid 65534 --regid 65534 --clear-groups sh -c "
		    "'for i in 1 2 3 4 5 6 7 8 9; do seq -f \"f$i-%%g\" 10000 | xargs touch || exit 0; done; "
		    "exit 1' "
		    "2>/dev/null",
		    d->dir),
		0);
	assert_int_equal(lx_quota_read(d->dir, &room), 0);
	assert_int_equal(room.files, room.files_limit);
	lx_quota_release(d->dir);
	assert_int_equal(lx_rm_rf(d->dir, NULL), 0);
}

static void projects(const char *mkfs)
{
	struct disk *d = make(mkfs, "prjquota", "");

	is_counted_and_bounded(d);
	nothing_is_kept(d, FIRST);
	number_is_free_and_inherited(d);
	one_from_above_is_left_alone(d);
	what_is_there_is_counted(d);
	files_are_bounded(d);
}

static void on_ext4(void **state)
{
	projects("mkfs.ext4 -q -F -O quota,project -E quotatype=prjquota");
}

static void on_xfs(void **state)
{
	projects("mkfs.xfs -q -f");
}

/* ------------------------------------------------------------------ qgroups */

static void on_btrfs(void **state)
{
	struct disk *d = make("mkfs.btrfs -q -f", "noatime", "btrfs quota enable");
	char path[192];

	is_counted_and_bounded(d);
	/* Made before quotas were: a directory, which no subvolume can be made of. */
	assert_int_equal(mkdir(d->dir, 0755), 0);
	snprintf(path, sizeof(path), "%s/upper", d->dir);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(lx_quota_count(d->dir, FIRST, RANGE, NULL), -ENODATA);
	struct lx_err err = LX_ERR_INIT;

	assert_true(lx_quota_check(d->dir, "web1", 100 * MIB, true, &err) < 0);
	assert_non_null(strstr(err.hint, "lxmgr move web1"));
}

/* ------------------------------------------------------------------ none */

static void without(void **state, const char *mkfs, const char *options, const char *cause, const char *cure)
{
	struct disk *d = make(mkfs, options, "");
	struct lx_quota_can can;
	struct lx_quota_room room;
	struct lx_err err = LX_ERR_INIT;

	lx_quota_probe(d->at, &can);
	assert_false(can.bounds);
	assert_non_null(strstr(can.cause, cause));
	assert_non_null(strstr(can.cure, cure));
	make_instance(d->dir);
	assert_int_equal(lx_quota_read(d->dir, &room), -ENODATA);
	assert_true(lx_quota_check(d->dir, "web1", 100 * MIB, true, &err) < 0);
	assert_non_null(strstr(err.msg, cause));
	assert_non_null(strstr(err.hint, cure));
	assert_int_equal(lx_quota_check(d->dir, "web1", 0, true, NULL), 0);
	lx_quota_release(d->dir);
}

static void ext4_without(void **state)
{
	without(state, "mkfs.ext4 -q -F", "noatime", "no project quotas", "tune2fs -O project");
}

static void xfs_without(void **state)
{
	without(state, "mkfs.xfs -q -f", "noatime", "not mounted with prjquota", "rootflags=prjquota");
}

static void btrfs_without(void **state)
{
	without(state, "mkfs.btrfs -q -f", "noatime", "no quotas switched on", "btrfs quota enable");
}

static void nowhere(void **state)
{
	struct lx_quota_can can;

	lx_quota_probe("/dev/shm", &can);
	assert_false(can.counts || can.bounds);
	lx_quota_probe("/nonexistent", &can);
	assert_false(can.counts || can.bounds);
	assert_string_not_equal(can.cause, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_in_proportion),
		cmocka_unit_test_teardown(on_ext4, unmake),
		cmocka_unit_test_teardown(on_xfs, unmake),
		cmocka_unit_test_teardown(on_btrfs, unmake),
		cmocka_unit_test_teardown(ext4_without, unmake),
		cmocka_unit_test_teardown(xfs_without, unmake),
		cmocka_unit_test_teardown(btrfs_without, unmake),
		cmocka_unit_test(nowhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
