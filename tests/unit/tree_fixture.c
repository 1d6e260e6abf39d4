/* See tree_fixture.h. */
#include "tree_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "migration/tree_entry.h"
#include "migration/tree_xattr.h"
#include "proto/pb.h"

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

const uint8_t acl[ACL_SIZE] = { 2,    0,    0,    0,    1,    0, 7, 0, 0xff, 0xff, 0xff, 0xff, 2,    0, 4, 0,
				0xa1, 0x86, 1,    0,    4,    0, 5, 0, 0xff, 0xff, 0xff, 0xff, 0x10, 0, 5, 0,
				0xff, 0xff, 0xff, 0xff, 0x20, 0, 5, 0, 0xff, 0xff, 0xff, 0xff };

/* What a test that failed has left. */
static char tops[32][64];
static size_t n_tops;

void make_top(struct pair *p, const char *where)
{
	*p = (struct pair){ .from = -1, .to = -1 };
	snprintf(p->top, sizeof(p->top), "%s/lx-tree-XXXXXX", where);
	assert_non_null(mkdtemp(p->top));
	assert_true(n_tops < LX_ARRAY_SIZE(tops));
	memcpy(tops[n_tops++], p->top, sizeof(p->top));
}

int remove_tops(void **state)
{
	for (size_t i = 0; i < n_tops; i++) {
		if (!lx_path_exists(tops[i]))
			continue;
		(void)umount2(tops[i], MNT_DETACH);
		(void)lx_rm_rf(tops[i], NULL);
	}
	return 0;
}

int open_at(int dir, const char *path)
{
	int fd = openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

void begin_in(struct pair *p, const char *where)
{
	make_top(p, where);
	lx_autoclose int top = open_at(AT_FDCWD, p->top);

	assert_int_equal(mkdirat(top, "from", 0755), 0);
	assert_int_equal(mkdirat(top, "to", 0755), 0);
	p->from = open_at(top, "from");
	p->to = open_at(top, "to");
}

void connect_pair(struct pair *p, int lower, int index)
{
	struct lx_tree_source source = { .upper = p->from, .lower = lower, .index = index, .id_base = OWNER };
	struct lx_move_out out = { .send = carry, .arg = p };

	assert_int_equal(lx_tree_sender_open(&source, &out, &p->sender, &p->err), 0);
	assert_int_equal(lx_tree_receiver_open(p->to, &p->receiver, &p->err), 0);
}

void begin(struct pair *p)
{
	begin_in(p, "/tmp");
	connect_pair(p, -1, -1);
}

void end(struct pair *p)
{
	lx_tree_sender_free(p->sender);
	lx_tree_receiver_free(p->receiver);
	close(p->from);
	close(p->to);
	assert_int_equal(lx_rm_rf(p->top, NULL), 0);
}

int try_pass(struct pair *p, bool last)
{
	p->entries = p->in_place = p->links = p->removed = 0;
	p->bytes = 0;
	p->err = LX_ERR_INIT;
	return lx_tree_send(p->sender, last, &p->err);
}

void pass(struct pair *p, bool last)
{
	int r = try_pass(p, last);

	if (r < 0)
		fail_msg("%s", p->err.msg);
}

void needs_root(void)
{
	if (geteuid() != 0) {
		print_message("needs root: owners, trusted attributes, device nodes\n");
		skip();
	}
}

/* ------------------------------------------------------------------ making trees */

void put(int dir, const char *path, const void *data, size_t len)
{
	lx_autoclose int fd = openat(dir, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(lx_write_full(fd, data, len), (ssize_t)len);
}

void put_text(int dir, const char *path, const char *text)
{
	put(dir, path, text, strlen(text));
}

void put_at(int dir, const char *path, uint64_t offset, const char *text)
{
	lx_autoclose int fd = openat(dir, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, text, strlen(text), (off_t)offset), (ssize_t)strlen(text));
}

void put_noise(int dir, const char *path, size_t len)
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

void make_dir(int dir, const char *path)
{
	assert_int_equal(mkdirat(dir, path, 0755), 0);
}

void set_attr(int dir, const char *path, const char *name, const void *value, size_t len)
{
	char proc[256];

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d/%s", dir, path);
	assert_int_equal(lsetxattr(proc, name, value, len, 0), 0);
}

ssize_t get_attr(int dir, const char *path, const char *name, char buf[256])
{
	char proc[256];

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d/%s", dir, path);
	return lgetxattr(proc, name, buf, 256);
}

bool has_attr(int dir, const char *path, const char *name)
{
	char proc[256];

	snprintf(proc, sizeof(proc), "/proc/self/fd/%d/%s", dir, path);
	return lgetxattr(proc, name, NULL, 0) >= 0;
}

struct stat stat_of(int dir, const char *path)
{
	struct stat st;

	assert_int_equal(fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW), 0);
	return st;
}

bool exists(int dir, const char *path)
{
	return faccessat(dir, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

char *text_of(int dir, const char *path, char buf[256])
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

void same(struct pair *p)
{
	same_dir(p->from, p->to);
}
