/*
 * bpf(2) by hand: load, attach, and detach those that were attached before. Attached programs all
 * have to agree, so the new one comes first and the old ones go then. The cgroup keeps it.
 *
 * Ways to fail: no v2 hierarchy, a kernel without BPF for cgroups, no permission. Then nothing is
 * started.
 */
#include "agent/worker/instance/device_filter.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "profiles/device_rules.h"

/* Programs found on one cgroup: ours, and what an administrator may have put there. */
#define ATTACHED_MAX 64

static long bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

static int load(const struct lx_device_rule *rules, size_t n, struct lx_err *err)
{
	struct bpf_insn program[LX_DEVICE_PROGRAM_MAX];
	union bpf_attr attr = { 0 };

	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.insn_cnt = (uint32_t)lx_device_program(rules, n, program);
	attr.insns = (uint64_t)(uintptr_t)program;
	attr.license = (uint64_t)(uintptr_t) "Apache-2.0";
	snprintf(attr.prog_name, sizeof(attr.prog_name), "lxmgr_devices");
	int fd = (int)bpf(BPF_PROG_LOAD, &attr);

	return fd < 0 ? lx_err_errno(err, errno, "the kernel refused the device filter") : fd;
}

static size_t attached(int cgroup, uint32_t ids[ATTACHED_MAX])
{
	union bpf_attr attr = { 0 };

	attr.query.target_fd = (uint32_t)cgroup;
	attr.query.attach_type = BPF_CGROUP_DEVICE;
	attr.query.prog_ids = (uint64_t)(uintptr_t)ids;
	attr.query.prog_cnt = ATTACHED_MAX;
	return bpf(BPF_PROG_QUERY, &attr) < 0 ? 0 : attr.query.prog_cnt;
}

static bool is_ours(int prog)
{
	struct bpf_prog_info info = { 0 };
	union bpf_attr attr = { 0 };

	attr.info.bpf_fd = (uint32_t)prog;
	attr.info.info_len = sizeof(info);
	attr.info.info = (uint64_t)(uintptr_t)&info;
	return bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) == 0 && strcmp(info.name, "lxmgr_devices") == 0;
}

static void detach(int cgroup, uint32_t id)
{
	union bpf_attr attr = { 0 };

	attr.prog_id = id;
	lx_autoclose int prog = (int)bpf(BPF_PROG_GET_FD_BY_ID, &attr);

	if (prog < 0 || !is_ours(prog))
		return;
	memset(&attr, 0, sizeof(attr));
	attr.target_fd = (uint32_t)cgroup;
	attr.attach_bpf_fd = (uint32_t)prog;
	attr.attach_type = BPF_CGROUP_DEVICE;
	(void)bpf(BPF_PROG_DETACH, &attr);
}

static int attach(int cgroup, int prog, struct lx_err *err)
{
	uint32_t old[ATTACHED_MAX];
	size_t n = attached(cgroup, old);
	union bpf_attr attr = { 0 };

	attr.target_fd = (uint32_t)cgroup;
	attr.attach_bpf_fd = (uint32_t)prog;
	attr.attach_type = BPF_CGROUP_DEVICE;
	attr.attach_flags = BPF_F_ALLOW_MULTI;
	if (bpf(BPF_PROG_ATTACH, &attr) < 0)
		return lx_err_errno(err, errno, "cannot attach the device filter");
	for (size_t i = 0; i < n; i++)
		detach(cgroup, old[i]);
	return 0;
}

int lx_device_filter_set(const struct lx_job *job, const struct lx_cgroups *cg,
			 const struct lx_devices *devices, bool privileged, struct lx_err *err)
{
	struct lx_device_rule rules[LX_DEVICE_RULES_MAX];
	size_t n = lx_device_rules_default(privileged, rules);
	char path[LX_JOB_PATH_MAX];

	for (size_t i = 0; i < devices->n_rules && n < LX_DEVICE_RULES_MAX; i++)
		rules[n++] = devices->rules[i];
	lx_cgroup_path(cg, cg->v2, job, "", path);
	int r = lx_mkdir_p(path, 0755, err);

	if (r < 0)
		return r;
	lx_autoclose int cgroup = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (cgroup < 0)
		return lx_err_errno(err, errno, "cannot open %s", path);
	lx_autoclose int prog = load(rules, n, err);

	r = prog < 0 ? prog : attach(cgroup, prog, err);
	if (r < 0) {
		(void)rmdir(path);
		lx_err_wrap(err, "cannot guard the devices of %s", job->name);
		lx_err_hint(err, "The kernel needs CONFIG_CGROUP_BPF, and the agent CAP_SYS_ADMIN.");
	}
	return r;
}
