/*
 * Carrying the upper directory of a real overlay, whose other names of a file lie in its index, and
 * what a full disk says. Needs root, and skips without it.
 */
#include "tree_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/str.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* They leave the mount namespace. */
		cmocka_unit_test(hidden_names_come_along),
		cmocka_unit_test(index_alone_has_it),
		cmocka_unit_test(full_disk_is_said),
	};

	umask(0);
	return cmocka_run_group_tests(tests, NULL, remove_tops);
}
