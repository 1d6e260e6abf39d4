/* Names of capabilities and the guest's bounding set, see the header. */
#include "profiles/capabilities.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <strings.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "profiles/apparmor_namespace.h"
#include "profiles/privileged.h"
#include "profiles/profiles.h"
#include "profiles/syscalls.h"

#define PREFIX   "cap_"
#define BIT(cap) (UINT64_C(1) << CAP_##cap)

/* linux/capability.h, in its order. */
const char *const lx_capability_names[] = {
	"chown",
	"dac_override",
	"dac_read_search",
	"fowner",
	"fsetid",
	"kill",
	"setgid",
	"setuid",
	"setpcap",
	"linux_immutable",
	"net_bind_service",
	"net_broadcast",
	"net_admin",
	"net_raw",
	"ipc_lock",
	"ipc_owner",
	"sys_module",
	"sys_rawio",
	"sys_chroot",
	"sys_ptrace",
	"sys_pacct",
	"sys_admin",
	"sys_boot",
	"sys_nice",
	"sys_resource",
	"sys_time",
	"sys_tty_config",
	"mknod",
	"lease",
	"audit_write",
	"audit_control",
	"setfcap",
	"mac_override",
	"mac_admin",
	"syslog",
	"wake_alarm",
	"block_suspend",
	"audit_read",
	"perfmon",
	"bpf",
	"checkpoint_restore",
};
const size_t lx_n_capability_names = LX_ARRAY_SIZE(lx_capability_names);

_Static_assert(LX_ARRAY_SIZE(lx_capability_names) == CAP_CHECKPOINT_RESTORE + 1,
	       "a name for each number, in order");

int lx_capability_find(const char *name, size_t n)
{
	if (n > strlen(PREFIX) && strncasecmp(name, PREFIX, strlen(PREFIX)) == 0) {
		name += strlen(PREFIX);
		n -= strlen(PREFIX);
	}
	for (size_t i = 0; i < lx_n_capability_names; i++)
		if (strlen(lx_capability_names[i]) == n && strncasecmp(lx_capability_names[i], name, n) == 0)
			return (int)i;
	return -1;
}

lx_capabilities lx_capabilities_dropped_default(void)
{
	return BIT(MAC_ADMIN) | BIT(MAC_OVERRIDE) | BIT(SYS_TIME) | BIT(SYS_MODULE) | BIT(SYS_RAWIO);
}

lx_capabilities lx_capabilities_read(const char *list)
{
	lx_capabilities set = 0;
	const char *name;
	size_t n;

	while ((n = lx_syscalls_next(&list, &name)) > 0) {
		int cap = lx_capability_find(name, n);

		if (cap >= 0)
			set |= UINT64_C(1) << cap;
	}
	return set;
}

static int put_names(lx_capabilities set, struct lx_buf *out)
{
	const char *separator = "";
	int r = set ? 0 : lx_buf_puts(out, LX_CAPABILITIES_NONE);

	for (size_t i = 0; i < lx_n_capability_names && r == 0; i++) {
		if (!(set & UINT64_C(1) << i))
			continue;
		r = lx_buf_printf(out, "%s%s", separator, lx_capability_names[i]);
		separator = " ";
	}
	return r;
}

int lx_capabilities_line(const struct lx_map *config, const char **ret_key, struct lx_buf *out)
{
	const char *keep = lx_config_get(config, "security.capabilities.keep");
	lx_capabilities drop = lx_capabilities_read(lx_config_get(config, "security.capabilities.drop"));
	/* Who loads AppArmor profiles needs this one, in the user namespace that the policy's belongs to. */
	lx_capabilities policy = lx_apparmor_namespace_wanted(config) ? BIT(MAC_ADMIN) : 0;

	if (lx_is_privileged(config))
		drop |= lx_privileged_dropped() | lx_capabilities_dropped_default();
	if (!lx_str_empty(keep)) {
		*ret_key = "lxc.cap.keep";
		return put_names((lx_capabilities_read(keep) | policy) & ~drop, out);
	}
	*ret_key = "lxc.cap.drop";
	return put_names(drop | (lx_capabilities_dropped_default() & ~policy), out);
}
