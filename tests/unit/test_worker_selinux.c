/*
 * Storage whose label an instance's context may not use. The labels are faked: without SELinux the kernel
 * keeps the attribute as it is written, like any other of "security.", and looks at none. What SELinux itself
 * makes of a label that is right is its policy's.
 */
#include "test_profiles.h"

#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "agent/worker/instance/lsm.h"
#include "lib/cleanup.h"
#include "lib/fs.h"

#define CONTEXT "system_u:system_r:container_t:s0:c1,c2"
#define OWN     "system_u:object_r:container_file_t:s0:c1,c2"
#define SHARED  "system_u:object_r:container_file_t:s0"
#define NODES   "system_u:object_r:var_lib_t:s0"

static char upper[] = "/tmp/lx-selinux-u-XXXXXX", image[] = "/tmp/lx-selinux-i-XXXXXX";

static bool label(const char *upper_label, const char *image_label)
{
	return setxattr(upper, "security.selinux", upper_label, strlen(upper_label) + 1, 0) == 0 &&
	       setxattr(image, "security.selinux", image_label, strlen(image_label) + 1, 0) == 0;
}

static int check(bool enforcing, struct lx_err *err)
{
	struct lx_job job = { .name = "web1" };
	const char *const paths[2] = { upper, image };

	return lx_selinux_check_storage(&job, CONTEXT, paths, enforcing, err);
}

static void refuses_other_labels(void **state)
{
	struct lx_err err = LX_ERR_INIT;

	assert_int_equal(check(true, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "is labelled no label"));
	assert_int_equal(check(false, &err), 0);
	if (!label(OWN, SHARED)) {
		print_message("the attribute cannot be set here\n");
		skip();
	}
	assert_int_equal(check(true, NULL), 0);
	assert_true(label(NODES, SHARED));
	assert_int_equal(check(true, &err), -EBUSY);
	assert_int_equal(err.code, LX_FAILED_PRECONDITION);
	assert_non_null(strstr(err.msg, NODES ", and has to be of type container_file_t, level s0:c1,c2"));
	assert_non_null(strstr(err.hint, "chcon -R -t container_file_t -l s0:c1,c2 /tmp/lx-selinux-u-"));
	assert_int_equal(check(false, NULL), 0);
	/* An image is several instances'. */
	assert_true(label(OWN, NODES));
	assert_int_equal(check(true, &err), -EBUSY);
	assert_non_null(strstr(err.hint, "chcon -R -t container_file_t -l s0 /tmp/lx-selinux-i-"));
}

static int make(void **state)
{
	return mkdtemp(upper) && mkdtemp(image) ? 0 : -1;
}

static int unmake(void **state)
{
	return rmdir(upper) < 0 || rmdir(image) < 0 ? -1 : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_other_labels),
	};

	return cmocka_run_group_tests_name("worker: labels of storage", tests, make, unmake);
}
