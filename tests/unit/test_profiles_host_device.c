/* Devices from outside: what goes together, where they may lie, what they mean. */
#include "test_profiles.h"

#include "profiles/host_device.h"

static void good(struct lx_map options)
{
	struct lx_err err = LX_ERR_INIT;

	if (lx_device_check("dev", &options, &err) < 0)
		fail_msg("%s", err.msg);
	lx_map_release(&options);
}

static void refuse(struct lx_map options, const char *msg, const char *hint)
{
	struct lx_err err = LX_ERR_INIT;

	assert_int_equal(lx_device_check("dev", &options, &err), -EINVAL);
	if (!strstr(err.msg, msg) || !lx_starts_with(err.msg, "device dev: "))
		fail_msg("message \"%s\"", err.msg);
	if (!strstr(err.hint, hint) || !*err.hint)
		fail_msg("hint \"%s\"", err.hint);
	lx_map_release(&options);
}

#define DISK(...) map_of("type", "disk", __VA_ARGS__, NULL)
#define CHAR(...) map_of("type", "unix-char", __VA_ARGS__, NULL)

static void accepts_good_ones(void **state)
{
	good(DISK("source", "/srv/data", "path", "/srv/my data", "readonly", "true", "optional", "yes"));
	good(DISK("source", "/", "path", "/mnt", "recursive", "true"));
	good(DISK("source", "/etc/motd", "path", "/dev/shm"));
	good(DISK("source", "tmpfs:", "path", "/scratch", "size", "64KiB"));
	good(DISK("source", "tmpfs:", "path", "/scratch"));
	good(DISK("path", "/", "limits.read", "20MB"));
	good(DISK("path", "/", "size", "16MiB"));
	good(DISK("path", "/", "size", "4TiB"));
	good(DISK("source", "/a...b/..c", "path", "/..a/.b"));
	good(CHAR("source", "/dev/ttyUSB0"));
	good(CHAR("source", "/dev/zero", "path", "/dev/zero2", "mode", "0600", "uid", "65535"));
	good(CHAR("path", "/srv/node", "major", "1", "minor", "5", "required", "false"));
	good(map_of("type", "unix-block", "source", "/dev/sdb", "mode", "660", NULL));
}

static void refuses_escaping_paths(void **state)
{
	static const char *const bad[] = { "srv",    "./srv",   "../srv",   "/srv/..", "/srv/../etc",
					   "/..",    "/srv//x", "/srv/",    "/srv/.",  "//",
					   "/srv\n", "/a\x7f",  "/./proc/x" };
	static const char *const taken[] = { "/proc",     "/proc/sys/kernel", "/sys",      "/sys/fs/cgroup",
					     "/dev",      "/dev/.lxmgr/proc", "/dev/.lxc", "/dev/pts/0",
					     "/dev/null", "/dev/console",     "/dev/ptmx", "/dev/fd/3" };
	char longest[LX_DEVICE_PATH_MAX + 2];

	for (size_t i = 0; i < LX_ARRAY_SIZE(bad); i++) {
		refuse(DISK("source", "/srv", "path", bad[i]), "path: ", "/srv/data");
		refuse(DISK("source", bad[i], "path", "/srv"), "source: ", "tmpfs:");
		refuse(CHAR("source", bad[i]), "source: ", "/dev/ttyUSB0");
		refuse(CHAR("source", "/dev/zero", "path", bad[i]), "path: ", "/srv/data");
	}
	for (size_t i = 0; i < LX_ARRAY_SIZE(taken); i++) {
		refuse(DISK("source", "/srv", "path", taken[i]), "every guest has", "/dev/NAME");
		refuse(CHAR("source", "/dev/sda", "path", taken[i]), "every guest has", "/dev/NAME");
		refuse(CHAR("source", taken[i]), "every guest has", "path=/dev/NAME");
	}
	memset(longest, 'a', sizeof(longest));
	longest[0] = '/';
	longest[LX_DEVICE_PATH_MAX] = '\0';
	good(DISK("source", "tmpfs:", "path", longest));
	longest[LX_DEVICE_PATH_MAX] = 'a';
	lx_autofree char *longer = lx_asprintf("%.*s", (int)sizeof(longest), longest);

	refuse(DISK("source", "tmpfs:", "path", longer), "is too long", "511");
}

static void refuses_what_does_not_go_together(void **state)
{
	refuse(DISK("path", "/srv"), "needs the option source", "source=/srv/data");
	refuse(DISK("path", "/srv", "source", ""), "needs the option source", "tmpfs:");
	refuse(DISK("path", "/", "source", "/srv"), "source is not for the root file system", "another path");
	refuse(DISK("path", "/", "readonly", "true"), "readonly is not for the root", "another path");
	refuse(DISK("path", "/srv", "source", "/srv", "limits.max", "20MB"), "limits.max is not for",
	       "path=/");
	refuse(DISK("path", "/srv", "source", "/srv", "size", "20MB"), "size is not for a directory",
	       "tmpfs:");
	refuse(DISK("path", "/", "size", "15MiB"), "a root disk of 15MiB is too small", "16MiB");
	refuse(DISK("path", "/", "size", "much"), "is not a size", "64MiB");
	refuse(DISK("path", "/srv", "source", "tmpfs:", "readonly", "true"),
	       "readonly is not for a disk in memory", "empty at each start");
	refuse(DISK("path", "/srv", "source", "tmpfs:", "size", "63KiB"), "out of range", "64KiB");
	refuse(DISK("path", "/srv", "source", "tmpfs:", "size", "50%"), "is not a size", "64MiB");
	refuse(CHAR("path", "/dev/x"), "does not say which device", "major and minor");
	refuse(CHAR("major", "1", "minor", "5"), "does not say which device", "path");
	refuse(CHAR("path", "/dev/x", "major", "1"), "major is given without minor", "both numbers");
	refuse(CHAR("source", "/dev/x", "minor", "1"), "minor is given without major", "both numbers");
	refuse(CHAR("source", "/dev/x", "path", "/"), "every guest has", "/dev/NAME");
	refuse(CHAR("source", "/dev/x", "major", "4096", "minor", "0"), "out of range", "0 to 4095");
	refuse(CHAR("source", "/dev/x", "uid", "65536"), "out of range", "65535");
	for (size_t i = 0; i < 6; i++)
		refuse(CHAR("source", "/dev/x", "mode",
			    ((const char *const[]){ "4660", "66", "0o66", "rw-", "668", "00660" }[i])),
		       "permissions", "660");
}

static void reads_what_they_mean(void **state)
{
	lx_automap struct lx_map disk =
		DISK("source", "/srv/a", "path", "/b", "readonly", "on", "recursive", "false");
	lx_automap struct lx_map memory = DISK("source", "tmpfs:", "path", "/m", "size", "1MiB");
	lx_automap struct lx_map node =
		CHAR("source", "/dev/ttyS0", "mode", "0604", "gid", "5", "required", "no");
	lx_automap struct lx_map numbers =
		map_of("type", "unix-block", "source", "/dev/x", "major", "253", "minor", "7", NULL);
	lx_automap struct lx_map root = DISK("path", "/"), nic = map_of("type", "nic", "network", "n", NULL);
	struct lx_host_device d;

	assert_int_equal(lx_host_device_read(&disk, &d), 1);
	assert_int_equal(d.kind, LX_HOST_DEVICE_DISK);
	assert_string_equal(d.source, "/srv/a");
	assert_string_equal(d.path, "/b");
	assert_true(d.readonly && !d.recursive && !d.optional);
	assert_int_equal(lx_host_device_read(&memory, &d), 1);
	assert_int_equal(d.kind, LX_HOST_DEVICE_TMPFS);
	assert_int_equal(d.size, 1 << 20);
	assert_int_equal(lx_host_device_read(&node, &d), 1);
	assert_int_equal(d.kind, LX_HOST_DEVICE_NODE);
	assert_string_equal(d.path, "/dev/ttyS0");
	assert_true(!d.block && !d.numbered && d.optional && d.mode == 0604 && d.uid == 0 && d.gid == 5);
	assert_int_equal(lx_host_device_read(&numbers, &d), 1);
	assert_true(d.block && d.numbered && !d.optional && !d.source && d.mode == 0660);
	assert_true(d.major == 253 && d.minor == 7);
	assert_int_equal(lx_host_device_read(&root, &d), 0);
	assert_int_equal(lx_host_device_read(&nic, &d), 0);
	assert_true(lx_host_device_is_privileged(&disk) && lx_host_device_is_privileged(&node) &&
		    lx_host_device_is_privileged(&numbers));
	assert_false(lx_host_device_is_privileged(&memory) || lx_host_device_is_privileged(&root) ||
		     lx_host_device_is_privileged(&nic));
}

static int expand(struct lx_map *a, struct lx_map *b, struct lx_err *err)
{
	lx_automap struct lx_map devices;
	struct lx_expanded e;

	lx_map_init(&devices, NULL);
	assert_int_equal(lx_map_set(&devices, "a", a), 0);
	assert_int_equal(lx_map_set(&devices, "b", b), 0);
	const struct lx_layer layer = { "instance", NULL, &devices };
	int r = lx_expand(&layer, 1, &e, err);

	if (r == 0)
		lx_expanded_release(&e);
	return r;
}

static void keeps_places_apart(void **state)
{
	lx_automap struct lx_map root = DISK("path", "/"), srv = DISK("path", "/srv", "source", "/x"),
				 inside = DISK("path", "/srv/in", "source", "tmpfs:"),
				 beside = DISK("path", "/srv2", "source", "tmpfs:"),
				 node = CHAR("source", "/srv/node"),
				 same = CHAR("source", "/dev/x", "path", "/srv");
	struct lx_err err = LX_ERR_INIT;

	assert_int_equal(expand(&root, &srv, &err), 0);
	assert_int_equal(expand(&srv, &beside, &err), 0);
	assert_int_equal(expand(&inside, &srv, &err), -EINVAL);
	assert_string_equal(err.msg, "device a (/srv/in) would lie inside device b (/srv)");
	assert_int_equal(expand(&srv, &node, &err), -EINVAL);
	assert_string_equal(err.msg, "device b (/srv/node) would lie inside device a (/srv)");
	assert_int_equal(expand(&srv, &same, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "are both /srv in the guest"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts_good_ones),
		cmocka_unit_test(refuses_escaping_paths),
		cmocka_unit_test(refuses_what_does_not_go_together),
		cmocka_unit_test(reads_what_they_mean),
		cmocka_unit_test(keeps_places_apart),
	};

	return cmocka_run_group_tests_name("profiles: devices from outside", tests, NULL, NULL);
}
