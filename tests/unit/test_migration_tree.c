/*
 * Carrying a tree: after each pass both sides are the same, also when it changes meanwhile. Needs root for
 * owners, trusted attributes and device nodes, and skips without it.
 */
#include "tree_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "migration/tree_blocks.h"

/* ------------------------------------------------------------------ all kinds */

static const uint8_t capability[] = { /* v3: cap_net_raw+ep, of the user namespace of root OWNER */
				      1, 0, 0, 3, 0, 0x20, 0, 0, 0,    0,    0, 0,
				      0, 0, 0, 0, 0, 0,    0, 0, 0xa0, 0x86, 1, 0
};

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

/* What is walked beside something else may be walked again, for names that came meanwhile. */
static void the_end_is_said_apart(void **state)
{
	struct pair p;

	needs_root();
	begin(&p);
	make_kinds(p.from);
	pass(&p, false);
	put_text(p.from, "late", "late");
	assert_int_equal(lx_tree_send_walk(p.sender, true, &p.err), 0);
	assert_int_equal(linkat(p.from, "late", p.from, "sub/link_remap", 0), 0);
	pass(&p, true);
	same(&p);
	end(&p);

	begin(&p);
	make_kinds(p.from);
	assert_int_equal(lx_tree_send_walk(p.sender, true, &p.err), 0);
	assert_int_equal(lx_tree_send_end(p.sender, &p.err), 0);
	same(&p);
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

/* Below 256 MiB, where the kernel's two ways to name a mapping differ. */
#define LOW ((void *)0x8000000)

static void sees_stores_through_mappings(void **state)
{
	struct timespec later = { .tv_sec = 1, .tv_nsec = 200 * 1000 * 1000 };

	/* A memory file system, where a store changes no time. */
	for (int i = 0; i < 3; i++) {
		struct pair p;
		pid_t self = getpid();
		bool by_path = i == 1, low = i == 2;

		if (!by_path)
			needs_root();
		begin_in(&p, "/dev/shm");
		connect_pair(&p, -1, -1);
		put_noise(p.from, "mapped", 3 * LX_TREE_BLOCK + 5);
		lx_autoclose int fd = openat(p.from, "mapped", O_RDWR | O_CLOEXEC);
		char *map = mmap(low ? LOW : NULL, 3 * LX_TREE_BLOCK, PROT_READ | PROT_WRITE,
				 MAP_SHARED | (low ? MAP_FIXED_NOREPLACE : 0), fd, 0);

		assert_ptr_not_equal(map, MAP_FAILED);
		/* The first store to a page sets the file's time; none after it does. */
		map[0] = 'a';
		map[LX_TREE_BLOCK + 3] = 'a';
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(carries_all_kinds),
		cmocka_unit_test(sends_only_what_changed),
		cmocka_unit_test(the_end_is_said_apart),
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
	};

	umask(0);
	return cmocka_run_group_tests(tests, NULL, remove_tops);
}
