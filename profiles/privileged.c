/* What confines a privileged instance, see the header. */
#include "profiles/privileged.h"

#include <errno.h>
#include <linux/capability.h>

#include "lib/str.h"
#include "profiles/intercept.h"
#include "profiles/profiles.h"

#define BIT(cap) (UINT64_C(1) << CAP_##cap)

bool lx_privileged_is_on(const char *value)
{
	bool on = false;

	return value && lx_parse_bool(value, &on) == 0 && on;
}

bool lx_is_privileged(const struct lx_map *config)
{
	return lx_privileged_is_on(lx_config_get(config, LX_KEY_PRIVILEGED));
}

int lx_privileged_check(const struct lx_map *config, struct lx_err *err)
{
	bool nesting = false;

	if (!lx_is_privileged(config))
		return 0;
	if (lx_intercepts(config)) {
		int r = lx_err_set(err, LX_INVALID_ARGUMENT,
				   LX_KEY_INTERCEPT "* and " LX_KEY_PRIVILEGED
						    " do not go together: nothing is "
						    "done in the place of one that has no user namespace");

		lx_err_hint(err, "Leave one of them away: a privileged instance makes harmless device nodes "
				 "by itself.");
		return r;
	}
	(void)lx_parse_bool(lx_config_get(config, "security.nesting"), &nesting);
	if (!nesting)
		return 0;
	int r = lx_err_set(err, LX_INVALID_ARGUMENT,
			   "security.nesting and " LX_KEY_PRIVILEGED " do not go together: a privileged "
			   "instance mounts nothing, and so starts no container");

	lx_err_hint(err, "Leave one of them away; containers inside need the nesting profile alone.");
	return r;
}

lx_capabilities lx_privileged_dropped(void)
{
	/*
	 * Its card's other end is in the machine's network, which therefore has a number in the guest's:
	 * with this one it could set and add cards over there (IFLA_TARGET_NETNSID, IFLA_LINK_NETNSID).
	 */
	return BIT(NET_ADMIN)
	       /* Mounts, devices' settings, and what else the kernel lets the machine's administrator do. */
	       | BIT(SYS_ADMIN) | BIT(BPF) | BIT(PERFMON) |
	       BIT(CHECKPOINT_RESTORE)
	       /*
		* What the node runs in it holds all the node's capabilities until it becomes the guest's
		* program. Without this one the kernel shows it to nobody who has fewer.
		*/
	       | BIT(SYS_PTRACE)
	       /* Files by their handle: of the node's whole file system. */
	       | BIT(DAC_READ_SEARCH)
	       /* Files that the node's administrator could not delete. */
	       | BIT(LINUX_IMMUTABLE)
	       /* The node's logs. */
	       | BIT(SYSLOG) | BIT(AUDIT_CONTROL) |
	       BIT(AUDIT_READ)
	       /* Its terminals and its sleep. */
	       | BIT(SYS_TTY_CONFIG) | BIT(WAKE_ALARM) |
	       BIT(BLOCK_SUSPEND)
	       /* More of what there is than its share. In a user namespace these count for nothing either. */
	       | BIT(SYS_NICE) | BIT(SYS_RESOURCE) | BIT(IPC_LOCK) | BIT(SYS_PACCT);
}

const struct lx_syscall_answer lx_privileged_syscalls[] = {
	{ "kexec_load", ENOSYS },
	{ "kexec_file_load", ENOSYS },
	{ "init_module", ENOSYS },
	{ "finit_module", ENOSYS },
	{ "delete_module", ENOSYS },
	{ "open_by_handle_at", ENOSYS },
	/* The keys of user 0 are those of the node's root. */
	{ "add_key", ENOSYS },
	{ "keyctl", ENOSYS },
	{ "request_key", ENOSYS },
	/* Its flags are in memory, where no filter sees them; programs go on with clone. */
	{ "clone3", ENOSYS },
	{ NULL, 0 },
};

const char *const lx_privileged_userns_calls[] = { "clone", "unshare", NULL };

const char *const lx_privileged_covered_dirs[] = {
	"proc/acpi",
	"proc/asound",
	"proc/bus",
	"proc/driver",
	"proc/dynamic_debug",
	"proc/fs",
	"proc/irq",
	"proc/scsi",
	"sys/devices/virtual/powercap", /* how much power others use */
	"sys/firmware",
	NULL,
};

const char *const lx_privileged_covered_files[] = {
	"proc/kallsyms",    "proc/kcore",         "proc/key-users",
	"proc/keys",        "proc/kmsg",          "proc/kpagecgroup",
	"proc/kpagecount",  "proc/kpageflags",    "proc/latency_stats",
	"proc/mtrr",        "proc/pagetypeinfo",  "proc/sched_debug",
	"proc/slabinfo",    "proc/sysrq-trigger", "proc/timer_list",
	"proc/vmallocinfo", "proc/vmcore",        NULL,
};
