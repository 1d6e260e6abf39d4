/* What limits.* mean on v1, v2 and hybrid hosts. */
#include "test_profiles.h"

static const struct lx_host_facts v2 = { .memory_bytes = UINT64_C(8) << 30,
					 .cpus = 4,
					 .memory = LX_CGROUP_V2,
					 .cpu = LX_CGROUP_V2,
					 .cpuset = LX_CGROUP_V2,
					 .pids = LX_CGROUP_V2,
					 .io = LX_CGROUP_V2,
					 .swap_accounting = true };

static const struct lx_host_facts v1 = { .memory_bytes = UINT64_C(8) << 30,
					 .cpus = 4,
					 .memory = LX_CGROUP_V1,
					 .cpu = LX_CGROUP_V1,
					 .cpuset = LX_CGROUP_V1,
					 .pids = LX_CGROUP_V1,
					 .io = LX_CGROUP_V1,
					 .swap_accounting = true };

/* The plan as text: "controller/file=value", a "-" before those that only lift. */
static void expect(const struct lx_host_facts *host, struct lx_map config, const char *want)
{
	lx_autobuf struct lx_buf got = { 0 };
	struct lx_knob knobs[LX_KNOBS_MAX];
	struct lx_err err = LX_ERR_INIT;
	int n = lx_limits_plan(&config, host, knobs, &err);

	if (n < 0)
		fail_msg("%s", err.msg);
	assert_true(n <= LX_KNOBS_MAX);
	for (int i = 0; i < n; i++)
		lx_buf_printf(&got, "%s%s/%s=%s\n", knobs[i].lifts ? "-" : "", knobs[i].controller,
			      knobs[i].file, lx_streq(knobs[i].value, "\n") ? "(empty)" : knobs[i].value);
	assert_string_equal(lx_buf_str(&got), want);
	lx_map_release(&config);
}

static void refuse(const struct lx_host_facts *host, struct lx_map config, enum lx_code code, const char *msg)
{
	struct lx_knob knobs[LX_KNOBS_MAX];
	struct lx_err err = LX_ERR_INIT;

	assert_true(lx_limits_plan(&config, host, knobs, &err) < 0);
	assert_int_equal(err.code, code);
	assert_string_equal(err.msg, msg);
	assert_true(strlen(err.hint) > 0);
	lx_map_release(&config);
}

static void lifts_everything_when_unset(void **state)
{
	expect(&v2, EMPTY_MAP,
	       "-memory/memory.high=max\n"
	       "-memory/memory.max=max\n"
	       "-memory/memory.swap.max=max\n"
	       "-cpu/cpu.max=max 100000\n"
	       "-cpu/cpu.weight=100\n"
	       "-cpuset/cpuset.cpus=(empty)\n"
	       "-pids/pids.max=max\n");
	expect(&v1, EMPTY_MAP,
	       "-memory/memory.soft_limit_in_bytes=-1\n"
	       "-memory/memory.memsw.limit_in_bytes=-1\n"
	       "-memory/memory.limit_in_bytes=-1\n"
	       "-memory/memory.swappiness=60\n"
	       "-cpu/cpu.cfs_quota_us=-1\n"
	       "-cpu/cpu.cfs_period_us=100000\n"
	       "-cpu/cpu.shares=1024\n"
	       "-cpuset/cpuset.cpus=0-3\n"
	       "-pids/pids.max=max\n");
}

static void plans_everything_at_once(void **state)
{
#define ALL                                                                                                  \
	map_of("limits.memory", "1GiB", "limits.memory.swap", "512MiB", "limits.cpu", "0,2-3",               \
	       "limits.cpu.allowance", "25ms/100ms", "limits.processes", "500", "user.x", "y", NULL)
	expect(&v2, ALL,
	       "-memory/memory.high=max\n"
	       "memory/memory.max=1073741824\n"
	       "memory/memory.swap.max=536870912\n"
	       "cpu/cpu.max=25000 100000\n"
	       "-cpu/cpu.weight=100\n"
	       "cpuset/cpuset.cpus=0,2-3\n"
	       "pids/pids.max=500\n");
	expect(&v1, ALL,
	       "-memory/memory.soft_limit_in_bytes=-1\n"
	       "-memory/memory.memsw.limit_in_bytes=-1\n"
	       "memory/memory.limit_in_bytes=1073741824\n"
	       "memory/memory.memsw.limit_in_bytes=1610612736\n"
	       "-memory/memory.swappiness=60\n"
	       "-cpu/cpu.cfs_quota_us=-1\n"
	       "cpu/cpu.cfs_period_us=100000\n"
	       "cpu/cpu.cfs_quota_us=25000\n"
	       "-cpu/cpu.shares=1024\n"
	       "cpuset/cpuset.cpus=0,2-3\n"
	       "pids/pids.max=500\n");
#undef ALL
}

/* Each controller by where it lives. */
static void plans_hybrid_hosts(void **state)
{
	struct lx_host_facts host = v1;

	host.pids = host.cpu = LX_CGROUP_V2;
	host.cpu_set = "1-3";
	expect(&host, map_of("limits.memory", "50%", "limits.processes", "7", NULL),
	       "-memory/memory.soft_limit_in_bytes=-1\n"
	       "-memory/memory.memsw.limit_in_bytes=-1\n"
	       "memory/memory.limit_in_bytes=4294963200\n"
	       "-memory/memory.swappiness=60\n"
	       "-cpu/cpu.max=max 100000\n"
	       "-cpu/cpu.weight=100\n"
	       "-cpuset/cpuset.cpus=1-3\n"
	       "pids/pids.max=7\n");
}

static void check_one(const struct lx_host_facts *host, struct lx_map config, const char *file,
		      const char *value)
{
	struct lx_knob knobs[LX_KNOBS_MAX];
	const struct lx_knob *last = NULL;
	int n = lx_limits_plan(&config, host, knobs, NULL);

	assert_true(n > 0);
	for (int i = 0; i < n; i++)
		if (lx_streq(knobs[i].file, file))
			last = &knobs[i];
	assert_true((last != NULL) == (value != NULL));
	if (last)
		assert_string_equal(last->value, value);
	lx_map_release(&config);
}

static void reads_cpu_limits(void **state)
{
	/* A count is that many CPUs' time. */
	check_one(&v2, map_of("limits.cpu", "2", NULL), "cpu.max", "200000 100000");
	check_one(&v2, map_of("limits.cpu", "2", NULL), "cpuset.cpus", "\n");
	check_one(&v1, map_of("limits.cpu", "2", NULL), "cpu.cfs_quota_us", "200000");
	check_one(&v1, map_of("limits.cpu", "2", NULL), "cpuset.cpus", "0-3");
	check_one(&v2, map_of("limits.cpu", "3-3", NULL), "cpuset.cpus", "3-3");
	/* With a time per period too, the tighter one holds. */
	check_one(&v2, map_of("limits.cpu", "2", "limits.cpu.allowance", "150ms/100ms", NULL), "cpu.max",
		  "150000 100000");
	check_one(&v2, map_of("limits.cpu", "1", "limits.cpu.allowance", "150ms/100ms", NULL), "cpu.max",
		  "100000 100000");
	check_one(&v2, map_of("limits.cpu", "1", "limits.cpu.allowance", "5ms/10ms", NULL), "cpu.max",
		  "5000 10000");
	/* A percentage is a weight and no bound. */
	check_one(&v2, map_of("limits.cpu.allowance", "50%", NULL), "cpu.weight", "50");
	check_one(&v2, map_of("limits.cpu.allowance", "50%", NULL), "cpu.max", "max 100000");
	check_one(&v1, map_of("limits.cpu.allowance", "50%", NULL), "cpu.shares", "512");
	check_one(&v1, map_of("limits.cpu.allowance", "1%", NULL), "cpu.shares", "10");
}

static void reads_swap_limits(void **state)
{
	struct lx_host_facts blind = v1;

	blind.swap_accounting = false;
	check_one(&v2, map_of("limits.memory.swap", "false", NULL), "memory.swap.max", "0");
	check_one(&v2, map_of("limits.memory.swap", "1GiB", NULL), "memory.swap.max", "1073741824");
	check_one(&v2, map_of("limits.memory.swap", "true", NULL), "memory.swap.max", "max");
	check_one(&v1, map_of("limits.memory", "1GiB", "limits.memory.swap", "false", NULL),
		  "memory.memsw.limit_in_bytes", "1073741824");
	check_one(&v1, map_of("limits.memory", "1GiB", "limits.memory.swap", "false", NULL),
		  "memory.swappiness", "0");
	check_one(&v1, map_of("limits.memory.swap", "false", NULL), "memory.memsw.limit_in_bytes", "-1");
	check_one(&v1, map_of("limits.memory.swap", "false", NULL), "memory.swappiness", "0");
	check_one(&blind, map_of("limits.memory.swap", "false", NULL), "memory.swappiness", "0");
	check_one(&blind, map_of("limits.memory", "1GiB", NULL), "memory.memsw.limit_in_bytes", NULL);
}

static void refuses_what_a_host_cannot(void **state)
{
	struct lx_host_facts blind1 = v1, blind2 = v2, unknown = v2;

	blind1.swap_accounting = blind2.swap_accounting = false;
	unknown.memory_bytes = 0;
	refuse(&v2, map_of("limits.cpu", "0-4", NULL), LX_FAILED_PRECONDITION,
	       "limits.cpu: 0-4 names CPU 4, this machine has 4");
	refuse(&v1, map_of("limits.memory.swap", "1GiB", NULL), LX_FAILED_PRECONDITION,
	       "limits.memory.swap: a size alone cannot be enforced by cgroup v1");
	refuse(&blind1, map_of("limits.memory", "1GiB", "limits.memory.swap", "1GiB", NULL),
	       LX_FAILED_PRECONDITION, "limits.memory.swap: this machine's kernel does not count swap");
	refuse(&blind2, map_of("limits.memory.swap", "false", NULL), LX_FAILED_PRECONDITION,
	       "limits.memory.swap: this machine's kernel does not count swap");
	refuse(&unknown, map_of("limits.memory", "50%", NULL), LX_FAILED_PRECONDITION,
	       "limits.memory: 50% of a machine whose memory is not known");
	/* Stored by another version, or by hand. */
	refuse(&v2, map_of("limits.processes", "-1", NULL), LX_INVALID_ARGUMENT,
	       "limits.processes: \"-1\" is not a whole number");
	refuse(&v2, map_of("limits.cpu", "0-3\n", NULL), LX_INVALID_ARGUMENT,
	       "limits.cpu: \"0-3?\" is neither a number of CPUs nor a set of them");
}

static void check_soft(struct lx_map config, bool good)
{
	struct lx_err err = LX_ERR_INIT;
	int r = lx_limits_check(&config, &err);

	assert_true((r == 0) == good);
	if (!good) {
		assert_int_equal(err.code, LX_INVALID_ARGUMENT);
		assert_non_null(strstr(err.msg, "limits.memory.soft: "));
		assert_non_null(strstr(err.msg, " is more than limits.memory="));
	}
	lx_map_release(&config);
}

/* The soft limit of memory is never above the hard one: found out before a node is asked, where it can be. */
static void soft_memory(void **state)
{
	check_one(&v2, map_of("limits.memory.soft", "1GiB", NULL), "memory.high", "1073741824");
	check_one(&v1, map_of("limits.memory.soft", "1GiB", NULL), "memory.soft_limit_in_bytes",
		  "1073741824");
	check_one(&v2, map_of("limits.memory.soft", "50%", "limits.memory", "50%", NULL), "memory.high",
		  "4294963200");
	check_one(&v2, map_of("limits.memory.soft", "10%", "limits.memory", "1GiB", NULL), "memory.high",
		  "858992640");
	refuse(&v2, map_of("limits.memory.soft", "50%", "limits.memory", "1GiB", NULL),
	       LX_FAILED_PRECONDITION, "limits.memory.soft: 50% is more than limits.memory=1GiB");
	refuse(&v1, map_of("limits.memory.soft", "2GiB", "limits.memory", "1GiB", NULL),
	       LX_FAILED_PRECONDITION, "limits.memory.soft: 2GiB is more than limits.memory=1GiB");
	check_soft(map_of("limits.memory.soft", "1GiB", NULL), true);
	check_soft(map_of("limits.memory", "1GiB", NULL), true);
	check_soft(map_of("limits.memory.soft", "1GiB", "limits.memory", "1024MiB", NULL), true);
	check_soft(map_of("limits.memory.soft", "1GiB", "limits.memory", "1023MiB", NULL), false);
	check_soft(map_of("limits.memory.soft", "51%", "limits.memory", "50%", NULL), false);
	check_soft(map_of("limits.memory.soft", "50%", "limits.memory", "4MiB", NULL), true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lifts_everything_when_unset),
		cmocka_unit_test(plans_everything_at_once),
		cmocka_unit_test(soft_memory),
		cmocka_unit_test(plans_hybrid_hosts),
		cmocka_unit_test(reads_cpu_limits),
		cmocka_unit_test(reads_swap_limits),
		cmocka_unit_test(refuses_what_a_host_cannot),
	};

	return cmocka_run_group_tests_name("profiles: limits", tests, NULL, NULL);
}
