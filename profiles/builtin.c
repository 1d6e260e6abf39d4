/* The built-in profiles; docs/security.md explains them to users. */
#include "profiles/builtin.h"

#include "lib/cleanup.h"

/*
 * What systemd, its network, names and logins, a package manager and ordinary servers need in a
 * guest. sys_admin is there for mounts, net_broadcast because networkd asks for it.
 */
#define SMALLEST_CAPABILITIES                                                                                \
	"audit_write,chown,dac_override,dac_read_search,fowner,fsetid,kill,net_admin,net_bind_service,"      \
	"net_broadcast,net_raw,setgid,setpcap,setuid,sys_admin,sys_boot,sys_chroot"

static const struct lx_builtin_key hardened[] = {
	{ "security.apparmor", "enforce" },
	{ "security.capabilities.keep", SMALLEST_CAPABILITIES },
	{ "security.no_new_privileges", "true" },
	{ "security.syscalls.allow", "@guest" },
	{ "security.syscalls.deny_compat", "true" },
	{ "security.sysfs.readonly", "true" },
	{ NULL, NULL },
};

/* Docker and its like load profiles of their own where they see AppArmor. */
static const struct lx_builtin_key nesting[] = {
	{ "security.apparmor", "unconfined" },
	{ "security.nesting", "true" },
	{ NULL, NULL },
};

static const struct lx_builtin_key privileged[] = {
	{ "security.apparmor", "auto" },
	{ "security.privileged", "true" },
	{ NULL, NULL },
};

const struct lx_builtin_profile lx_builtin_profiles[] = {
	{ "hardened", "As little as a guest can do with", hardened },
	{ "nesting", "Containers inside: Docker, podman, LXC", nesting },
	{ "privileged", "With the machine's own ids, bounded without a user namespace", privileged },
};
const size_t lx_n_builtin_profiles = LX_ARRAY_SIZE(lx_builtin_profiles);
