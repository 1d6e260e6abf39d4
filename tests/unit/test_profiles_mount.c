/* What a node mounts for a guest, and how: types, flags, options. */
#include "test_profiles.h"

#include <linux/mount.h>
#include <sys/mount.h>

#include "profiles/intercept_mount.h"

#define KEY LX_KEY_MOUNT

static bool has(const struct lx_mount_plan *p, const char *name, const char *value)
{
	for (size_t i = 0; i < p->n_options; i++)
		if (strcmp(p->options[i].name, name) == 0 &&
		    (value ? p->options[i].value && strcmp(p->options[i].value, value) == 0
			   : !p->options[i].value))
			return true;
	return false;
}

static int plan(const char *type, uint64_t flags, const char *data, struct lx_mount_plan *p)
{
	static char text[LX_MOUNT_TEXT_MAX];
	const char *fault = NULL;

	snprintf(text, sizeof(text), "%s", data);
	int r = lx_mount_plan(type, flags, text, p, &fault);

	assert_true(r == 0 || (r == -EPERM && fault));
	return r;
}

static void types(void **state)
{
	for (size_t i = 0; i < lx_n_mount_types; i++) {
		struct lx_mount_plan p;

		assert_int_equal(plan(lx_mount_types[i], 0, "", &p), 0);
		assert_true(lx_mount_is_allowed("ext4, xfs vfat\tsquashfs", lx_mount_types[i]));
		assert_false(lx_mount_is_allowed("", lx_mount_types[i]));
	}
	assert_null(lx_mount_types[lx_n_mount_types]);
	assert_false(lx_mount_is_allowed("ext4", "xfs"));
	assert_false(lx_mount_is_allowed("ext4", "ext"));
	assert_false(lx_mount_is_allowed("ext4", "ext4,"));
	/* However it has come into the list. */
	assert_false(lx_mount_is_allowed("ext4 btrfs", "btrfs"));
}

static void what_is_forced(void **state)
{
	struct lx_mount_plan p;

	assert_int_equal(plan("ext4", 0, "errors=continue", &p), 0);
	assert_string_equal(p.options[0].name, "errors");
	assert_string_equal(p.options[0].value, "remount-ro");
	assert_true(has(&p, "errors", "continue"));
	assert_int_equal(plan("xfs", 0, "", &p), 0);
	assert_true(has(&p, "nouuid", NULL));
	assert_int_equal(p.attributes, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
}

static void flags(void **state)
{
	static const uint64_t wrong[] = { MS_BIND,   MS_REMOUNT,        MS_MOVE,
					  MS_SHARED, MS_POSIXACL,       1U << 23 /* i_version */,
					  1U << 30,  UINT64_C(1) << 40, 1U << 31 };
	struct lx_mount_plan p;

	assert_int_equal(plan("ext4", MS_RDONLY | MS_NOEXEC | MS_SYNCHRONOUS | MS_RELATIME, "", &p), 0);
	assert_true(has(&p, "ro", NULL) && has(&p, "sync", NULL) && !has(&p, "dirsync", NULL));
	assert_int_equal(p.attributes,
			 MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC);
	/* One rule for access times. */
	assert_int_equal(plan("ext4", MS_NOATIME | MS_STRICTATIME, "", &p), 0);
	assert_int_equal(p.attributes & MOUNT_ATTR__ATIME, MOUNT_ATTR_STRICTATIME);
	/* As programs of another age have it. */
	assert_int_equal(plan("ext4", MS_MGC_VAL | MS_RDONLY, "", &p), 0);
	for (size_t i = 0; i < LX_ARRAY_SIZE(wrong); i++)
		assert_int_equal(plan("ext4", wrong[i], "", &p), -EPERM);
}

static void options(void **state)
{
	static const char *const wrong[] = {
		"errors=panic",
		"errors=",
		"errors",
		"errors=|",
		"errors=continue|remount-ro",
		"commit",
		"commit=",
		"commit=-1",
		"commit=0x5",
		"commit=99999999999",
		"acl=1",
		"source",
		"source=/dev/x",
		"journal_dev=7",
		"nodiscard,loop",
		"usrquota",
		"=",
		"=x",
		"Discard",
	};
	struct lx_mount_plan p;
	char many[LX_MOUNT_TEXT_MAX];
	size_t at = 0;

	assert_int_equal(plan("ext4", 0, ",,commit=30,,data=journal,nodiscard,", &p), 0);
	assert_true(has(&p, "commit", "30") && has(&p, "data", "journal") && has(&p, "nodiscard", NULL));
	assert_int_equal(p.n_options, 4);
	for (size_t i = 0; i < LX_ARRAY_SIZE(wrong); i++)
		assert_int_equal(plan("ext4", 0, wrong[i], &p), -EPERM);
	assert_int_equal(plan("vfat", 0, "uid=1000,umask=022,shortname=mixed", &p), 0);
	assert_int_equal(plan("vfat", 0, "iocharset=evil", &p), -EPERM);
	assert_int_equal(plan("xfs", 0, "logdev=/dev/x", &p), -EPERM);
	assert_int_equal(plan("squashfs", 0, "errors=panic", &p), -EPERM);
	for (unsigned i = 0; i < LX_MOUNT_OPTIONS_MAX; i++)
		at += (size_t)snprintf(many + at, sizeof(many) - at, "discard,");
	assert_int_equal(plan("ext4", 0, many, &p), -EPERM);
}

static void keys(void **state)
{
	struct lx_map alone = map_of(KEY, "true", NULL),
		      blank = map_of(KEY, "true", KEY ".allowed", " , ", NULL),
		      off = map_of(KEY, "false", NULL),
		      both = map_of(KEY, "true", KEY ".allowed", "xfs", NULL);
	struct lx_err err = LX_ERR_INIT;

	assert_int_equal(lx_mount_check_keys(&alone, &err), -EINVAL);
	assert_non_null(strstr(err.hint, KEY ".allowed"));
	assert_int_equal(lx_mount_check_keys(&blank, NULL), -EINVAL);
	assert_int_equal(lx_mount_check_keys(&off, NULL), 0);
	assert_int_equal(lx_mount_check_keys(&both, NULL), 0);
	assert_int_equal(lx_config_check(KEY ".allowed", "ext4 xfs,vfat", NULL), 0);
	assert_int_equal(lx_config_check(KEY ".allowed", "ext5", &err), -EINVAL);
	assert_non_null(strstr(err.hint, "Did you mean ext4?"));
	assert_int_equal(lx_config_check(KEY ".allowed", "btrfs", &err), -EINVAL);
	lx_map_release(&alone);
	lx_map_release(&blank);
	lx_map_release(&off);
	lx_map_release(&both);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(types),   cmocka_unit_test(what_is_forced), cmocka_unit_test(flags),
		cmocka_unit_test(options), cmocka_unit_test(keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
