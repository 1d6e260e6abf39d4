/* What a broken or hostile other node sends. */
#include "tree_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "migration/tree_blocks.h"
#include "migration/tree_entry.h"
#include "migration/tree_xattr.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_bad_entries),
		cmocka_unit_test(refuses_bad_attributes),
		cmocka_unit_test(refuses_bad_content),
		cmocka_unit_test(follows_no_link),
	};

	umask(0);
	return cmocka_run_group_tests(tests, NULL, remove_tops);
}
