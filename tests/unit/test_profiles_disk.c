/* The rates of a root disk, as both layouts of cgroups write them. */
#include "tests/unit/test_profiles.h"

#include "profiles/disk_limits.h"
#include "profiles/value.h"

static int plan(struct lx_map options, enum lx_cgroup_layout layout, const char *disk,
		struct lx_knob knobs[LX_DISK_KNOBS_MAX], struct lx_err *err)
{
	int r = lx_disk_limits_plan(&options, layout, disk, knobs, err);

	lx_map_release(&options);
	return r;
}

static void v1_has_a_file_for_each(void **state)
{
	struct lx_knob k[LX_DISK_KNOBS_MAX];

	assert_int_equal(plan(map_of("limits.read", "20MB", "limits.write", "500iops", NULL), LX_CGROUP_V1,
			      "254:0", k, NULL),
			 4);
	assert_string_equal(k[0].file, "blkio.throttle.read_bps_device");
	assert_string_equal(k[0].value, "254:0 20000000");
	assert_false(k[0].lifts);
	assert_string_equal(k[3].file, "blkio.throttle.write_iops_device");
	assert_string_equal(k[3].value, "254:0 500");
	/* What is not bounded is lifted: the same plan takes back an old bound. */
	assert_true(k[1].lifts && k[2].lifts);
	assert_string_equal(k[2].value, "254:0 0");
}

static void v2_has_one_line(void **state)
{
	struct lx_knob k[LX_DISK_KNOBS_MAX];

	assert_int_equal(plan(map_of("limits.max", "1MiB", "limits.write", "2MiB", NULL), LX_CGROUP_V2,
			      "8:16", k, NULL),
			 1);
	assert_string_equal(k[0].file, "io.max");
	assert_string_equal(k[0].value, "8:16 rbps=1048576 wbps=2097152 riops=max wiops=max");
	assert_false(k[0].lifts);
	assert_int_equal(plan(EMPTY_MAP, LX_CGROUP_V2, "8:16", k, NULL), 1);
	assert_true(k[0].lifts);
}

static void without_a_disk(void **state)
{
	struct lx_err err = LX_ERR_INIT;
	struct lx_knob k[LX_DISK_KNOBS_MAX];

	assert_int_equal(plan(map_of("path", "/", NULL), LX_CGROUP_V1, NULL, k, &err), 0);
	assert_true(plan(map_of("limits.read", "1MiB", NULL), LX_CGROUP_V1, NULL, k, &err) < 0);
	assert_int_equal(err.code, LX_FAILED_PRECONDITION);
	assert_non_null(strstr(err.hint, "limits.read"));
}

static void rates(void **state)
{
	static const char *const bad[] = { "",     "0",          "0iops",          "iops",
					   "-1MB", "1.5MB iops", "4294967295iops", "fast" };
	uint64_t v = 0;
	bool iops = false;

	assert_int_equal(lx_value_disk_rate("1MiB", &iops, &v), 0);
	assert_true(!iops && v == 1 << 20);
	assert_int_equal(lx_value_disk_rate("500iops", &iops, &v), 0);
	assert_true(iops && v == 500);
	for (size_t i = 0; i < LX_ARRAY_SIZE(bad); i++)
		assert_true(lx_value_disk_rate(bad[i], &iops, &v) < 0);
	assert_int_equal(lx_value_rate("100Mbit", &v), 0);
	assert_int_equal(v, 12500000);
	assert_int_equal(lx_value_rate("8Kibit", &v), 0);
	assert_int_equal(v, 1024);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(v1_has_a_file_for_each),
		cmocka_unit_test(v2_has_one_line),
		cmocka_unit_test(without_a_disk),
		cmocka_unit_test(rates),
	};

	return cmocka_run_group_tests_name("profiles: disk", tests, NULL, NULL);
}
