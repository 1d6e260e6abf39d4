/*
 * What is to be done follows from the tables of mounts, read from outside: inside, /proc is
 * the guest's. Then a child enters the namespace: root and directory are the guest's from
 * there on, and every path is looked up there, where the worst it can lead to is another
 * mount of the guest. The child says by its exit status how it went.
 *
 * Nothing here is undone when a move is given up: the guest does not notice.
 */
#include "migration/quiesce.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "migration/guest_processes.h"
#include "migration/mounts.h"

enum task_kind {
	MAKE_PRIVATE,
	DROP_CREDENTIALS, /* unmount */
	KEEP_CREDENTIALS, /* unmount if empty, else put a tmpfs in its place */
	GIVE_ROOT,        /* put a tmpfs in its place if it is empty */
};

struct task {
	enum task_kind kind;
	size_t table;
	const struct lx_mount *mount; /* the table's */
};

struct tasks {
	struct task *t;
	size_t n;
};

static int add(struct tasks *ts, enum task_kind kind, size_t table, const struct lx_mount *mount)
{
	struct task *t = realloc(ts->t, (ts->n + 1) * sizeof(*t));

	if (!t)
		return -ENOMEM;
	ts->t = t;
	t[ts->n++] = (struct task){ kind, table, mount };
	return 0;
}

static int found_unshareable(void *arg, size_t table, const struct lx_mount *m)
{
	/* Init's own mounts stay as they are: preflight reports them. Credentials go anyway. */
	if (table == 0 || lx_mount_is_credentials(m))
		return 0;
	return add(arg, MAKE_PRIVATE, table, m);
}

static int found_rootless(void *arg, size_t table, const struct lx_mount *m)
{
	return add(arg, GIVE_ROOT, table, m);
}

static bool is_running(const struct lx_guest_processes *ps, const char *unit)
{
	for (size_t i = 0; i < ps->n; i++)
		if (lx_streq(ps->p[i].unit, unit))
			return true;
	return false;
}

/*
 * A namespace that gets its mounts from init's loses them when they are unmounted there; so
 * the tables are worked through in order, and what is gone already is no failure.
 */
static int make_list(const struct lx_guest_processes *ps, const struct lx_guest_mounts *mounts, bool frozen,
		     struct tasks *ts)
{
	for (size_t t = 0; t < mounts->n; t++) {
		for (size_t i = 0; i < mounts->tables[t].n; i++) {
			const struct lx_mount *m = &mounts->tables[t].m[i];

			if (!lx_mount_is_credentials(m))
				continue;
			bool keep = is_running(ps, m->point + strlen("/run/credentials/"));
			int r = add(ts, keep ? KEEP_CREDENTIALS : DROP_CREDENTIALS, t, m);

			if (r < 0)
				return r;
		}
	}
	int r = lx_mounts_unshareable(mounts->tables, mounts->n, found_unshareable, ts);

	return r == 0 && frozen ? lx_mounts_rootless(mounts->tables, mounts->n, found_rootless, ts) : r;
}

/* ---- in the child ---- */

static int enter(pid_t pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)pid);
	int ns = open(path, O_RDONLY | O_CLOEXEC);

	snprintf(path, sizeof(path), "/proc/%d/root", (int)pid);
	int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (ns < 0 || root < 0) {
		if (ns >= 0)
			close(ns);
		return -ESRCH;
	}
	if (unshare(CLONE_FS) < 0 || setns(ns, CLONE_NEWNS) < 0 || fchdir(root) < 0 || chroot(".") < 0)
		return -errno;
	close(ns);
	close(root);
	return 0;
}

/* The file systems of credentials have names in one directory only, and small plain files. */
static int copy_one(int from, int to, const char *name, size_t *left)
{
	char buf[16384];
	struct stat st;
	lx_autoclose int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (in < 0 || fstat(in, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return 0;
	lx_autoclose int out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (out < 0)
		return -errno;
	for (;;) {
		ssize_t n = read(in, buf, sizeof(buf));

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		if ((size_t)n > *left)
			return -EFBIG;
		*left -= (size_t)n;
		if (write(out, buf, (size_t)n) != n)
			return -EIO;
	}
	if (fchown(out, st.st_uid, st.st_gid) < 0 || fchmod(out, st.st_mode & 07777) < 0)
		return -errno;
	return 0;
}

/* A new tmpfs, its root like the directory `like`, mounted nowhere. `inodes`: NULL: the kernel's default. */
static int new_tmpfs(int like, const char *size, const char *inodes, unsigned int attributes)
{
	struct stat st;
	char mode[16], uid[16], gid[16];

	if (fstat(like, &st) < 0)
		return -errno;
	snprintf(mode, sizeof(mode), "%o", st.st_mode & 07777);
	snprintf(uid, sizeof(uid), "%u", st.st_uid);
	snprintf(gid, sizeof(gid), "%u", st.st_gid);
	lx_autoclose int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);

	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "mode", mode, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "uid", uid, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "gid", gid, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "size", size, 0) < 0 ||
	    (inodes && fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", inodes, 0) < 0) ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	int tree = fsmount(fs, FSMOUNT_CLOEXEC, attributes);

	return tree < 0 ? -errno : tree;
}

/* A descriptor of a tmpfs with what is in `from`, mounted nowhere; -ENODATA: there is nothing in it. */
static int copy_of(int from)
{
	size_t left = LX_QUIESCE_CREDENTIALS_MAX, n = 0;
	int r = 0;
	lx_autoclose int tree =
		new_tmpfs(from, "2M", NULL, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);

	if (tree < 0)
		return tree;

	int list = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	lx_autoclosedir DIR *d = list >= 0 ? fdopendir(list) : NULL;

	if (!d) {
		r = -errno;
		if (list >= 0)
			close(list);
		return r;
	}
	for (struct dirent *e; r == 0 && (e = readdir(d));) {
		if (lx_streq(e->d_name, ".") || lx_streq(e->d_name, ".."))
			continue;
		r = copy_one(from, tree, e->d_name, &left);
		n++;
	}
	if (r < 0)
		return r;
	return n ? lx_move_fd(tree) : -ENODATA;
}

/* Gone meanwhile, with another namespace's: fine. */
static int unmount(const char *point)
{
	if (umount2(point, MNT_DETACH | UMOUNT_NOFOLLOW) < 0 && errno != EINVAL && errno != ENOENT)
		return -errno;
	return 0;
}

/* Is it still the ramfs? It may be another namespace's copy already, or unmounted. */
static bool is_ramfs(int fd)
{
	struct statfs st;

	return fstatfs(fd, &st) == 0 && (unsigned long)st.f_type == RAMFS_MAGIC;
}

static int keep_credentials(const char *point)
{
	struct mount_attr ro = { .attr_set = MOUNT_ATTR_RDONLY };
	lx_autoclose int old = open(point, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (old < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!is_ramfs(old))
		return 0;
	lx_autoclose int tree = copy_of(old);

	if (tree < 0 && tree != -ENODATA)
		return tree;
	/* What is held open keeps its file system; who opens anew finds the copy. */
	int r = unmount(point);

	if (r < 0 || tree < 0)
		return r;
	if (mount_setattr(tree, "", AT_EMPTY_PATH, &ro, sizeof(ro)) < 0 ||
	    move_mount(tree, "", AT_FDCWD, point, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return -errno;
	return 0;
}

/* "size" of "rw,size=2048k,mode=700", malloc'ed; NULL: it has none. */
static char *option(const char *options, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = options; *p; p += strcspn(p, ","), p += *p == ',')
		if (strncmp(p, name, n) == 0 && p[n] == '=')
			return strndup(p + n + 1, strcspn(p + n + 1, ","));
	return NULL;
}

static unsigned int attributes_of(int fd)
{
	struct statfs st;
	unsigned int a = 0;

	if (fstatfs(fd, &st) < 0)
		return 0;
	a |= st.f_flags & ST_RDONLY ? MOUNT_ATTR_RDONLY : 0;
	a |= st.f_flags & ST_NOSUID ? MOUNT_ATTR_NOSUID : 0;
	a |= st.f_flags & ST_NODEV ? MOUNT_ATTR_NODEV : 0;
	a |= st.f_flags & ST_NOEXEC ? MOUNT_ATTR_NOEXEC : 0;
	return a;
}

/* Is it still the one of the table? */
static bool is_of(int fd, const struct lx_mount *m)
{
	struct stat st;

	return fstat(fd, &st) == 0 && major(st.st_dev) == m->major && minor(st.st_dev) == m->minor;
}

/* One with something in it stays: CRIU says no to it, as preflight has. */
static int give_root(const struct lx_mount *m)
{
	lx_autoclose int old = open(m->point, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	lx_autofree char *size = option(m->options, "size"), *inodes = option(m->options, "nr_inodes");

	if (old < 0 || !is_of(old, m) || lx_dir_is_empty(old) != 1)
		return 0;
	lx_autoclose int tree = new_tmpfs(old, size ? size : "50%", inodes, attributes_of(old));
	int r = tree < 0 ? tree : unmount(m->point);

	if (r < 0)
		return r;
	return move_mount(tree, "", AT_FDCWD, m->point, MOVE_MOUNT_F_EMPTY_PATH) < 0 ? -errno : 0;
}

static int do_task(const struct task *t)
{
	if (t->kind == KEEP_CREDENTIALS)
		return keep_credentials(t->mount->point);
	if (t->kind == DROP_CREDENTIALS)
		return unmount(t->mount->point);
	if (t->kind == GIVE_ROOT)
		return give_root(t->mount);
	if (mount(NULL, t->mount->point, NULL, MS_PRIVATE, NULL) < 0 && errno != EINVAL && errno != ENOENT)
		return -errno;
	return 0;
}

/* Exit status: 0, or the errno of what failed. */
static void child(pid_t pid, const struct task *t, size_t n, size_t table)
{
	int r = enter(pid);

	for (size_t i = 0; r == 0 && i < n; i++)
		if (t[i].table == table)
			r = do_task(&t[i]);
	/* Its process is gone, and the namespace with it. */
	if (r == -ESRCH)
		r = 0;
	_exit(r < 0 ? (-r < 255 ? -r : 255) : 0);
}

/* ---- */

static int run(pid_t pid, const struct tasks *ts, size_t table, struct lx_err *err)
{
	int status;
	pid_t p = fork();

	if (p < 0)
		return lx_err_errno(err, errno, "cannot fork");
	if (p == 0)
		child(pid, ts->t, ts->n, table);
	while (waitpid(p, &status, 0) < 0)
		if (errno != EINTR)
			return lx_err_errno(err, errno, "cannot wait for a child");
	if (WIFSIGNALED(status))
		return lx_err_set(err, LX_INTERNAL, "a child was killed by signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status))
		return lx_err_errno(err, WEXITSTATUS(status), "cannot put the mounts of process %d in order",
				    (int)pid);
	return 0;
}

static bool has_task(const struct tasks *ts, size_t table)
{
	for (size_t i = 0; i < ts->n; i++)
		if (ts->t[i].table == table)
			return true;
	return false;
}

int lx_quiesce(pid_t init, const char *cgroup_dir, bool frozen, struct lx_err *err)
{
	struct lx_guest_processes ps = { 0 };
	struct lx_guest_mounts mounts = { 0 };
	struct tasks ts = { 0 };
	int r = lx_guest_processes_read(init, cgroup_dir, &ps, err);

	if (r == 0)
		r = lx_guest_mounts_read(init, &ps, &mounts, err);
	if (r == 0 && make_list(&ps, &mounts, frozen, &ts) < 0)
		r = lx_err_oom(err);
	for (size_t t = 0; r == 0 && t < mounts.n; t++)
		if (has_task(&ts, t))
			r = run(mounts.pids[t], &ts, t, err);
	free(ts.t);
	lx_guest_mounts_release(&mounts);
	lx_guest_processes_release(&ps);
	return r;
}
