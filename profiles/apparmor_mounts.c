/*
 * What an instance's AppArmor profile lets its root mount.
 *
 * Its other rules go by paths: so proc and sysfs stay where these look for them. Neither is mounted, bound or
 * moved anywhere but to its own place at the root, or to the same place of a tree that systemd puts together
 * for a service; and a part of one is bound onto itself only, as systemd does to make it read-only.
 */
#include "profiles/apparmor_mounts.h"

#include <stddef.h>

#include "lib/cleanup.h"

/* At the root and in a tree of systemd's. */
#define ROOTS LX_APPARMOR_ROOTS
#define BUILT LX_APPARMOR_BUILT

/* What has neither proc nor sysfs in it, at whatever depth. Of /run/systemd all but the trees. */
#define ELSEWHERE                                                                                            \
	"/{[^prs]**,p[^r]**,s[^y]**,r[^u]**,run/[^s]**,run/s[^y]**,"                                         \
	"run/systemd/[^um]**,run/systemd/u[^n]**,run/systemd/units/{,**},"                                   \
	"run/systemd/m[^o]**}"

static const char mounts[] =
	"\n  # File systems, from a list; proc and sysfs where a guest and its services have theirs.\n"
	"  umount,\n"
	"  pivot_root,\n"
	"  mount fstype=(tmpfs, ramfs, devpts, mqueue, overlay, fuse, fuseblk),\n"
	"  mount fstype=fuse.*,\n"
	"  mount fstype=proc -> " ROOTS "proc/,\n"
	"  mount fstype=sysfs -> " ROOTS "sys/,\n"
	"  mount fstype=cgroup2 -> " ROOTS "sys/fs/cgroup/{,**},\n"
	"  mount fstype=binfmt_misc -> /proc/sys/fs/binfmt_misc/,\n"
	"\n  # Parts of the tree elsewhere, but not of /proc and /sys: rules below go by their paths.\n"
	"  mount options=(remount) options in "
	"(bind,ro,rw,nosuid,nodev,noexec,sync,dirsync,noatime,nodiratime,"
	"relatime,strictatime,silent) -> /{,**},\n"
	"  mount options=(rw,move) " ELSEWHERE " -> /{,**},\n"
	"  mount options=(rw,move) " BUILT " -> /,\n"
	"  mount options=(rw,bind) /{,run/,run/systemd/} -> /**,\n";

static const char nested_mounts[] =
	"\n  # Containers inside: their root file systems lie anywhere, and each has its own proc and "
	"sysfs.\n"
	"  mount fstype=(proc, sysfs, cgroup2) -> /**,\n"
	"  deny /dev/.lxmgr/{proc,sys}/** rwklx,\n";

/* Where Debian 13's systemd tries a new one first. Refused, it binds the one there is: nobody need hear of
 * it. */
static const char unnested_mounts[] = "  deny mount fstype=(proc, sysfs) -> /run/systemd/namespace-*/,\n";

struct bind {
	const char *source, *target;
};

/* Which parts may be seen where. What is in a tree of systemd's stays in there. */
static const struct bind binds[] = {
	{ ELSEWHERE, "/**" },
	{ "/", BUILT },
	{ "/run/", BUILT "run/" },
	{ BUILT "{,[^ps]**,p[^r]**,s[^y]**}", BUILT "{,**}" },
	{ ROOTS "sys/fs/cgroup/**", ROOTS "sys/fs/cgroup/**" },
};

static const struct bind nested_bind = { "/{,**}", "/**" };

/*
 * Bound onto themselves: what systemd's ProtectKernelTunables, ProtectKernelLogs, ProtectHostname and
 * ProtectControlGroups name. With each more the compiler takes longer.
 */
static const char *const own_place[] = {
	"proc",
	"proc/acpi",
	"proc/apm",
	"proc/asound",
	"proc/bus",
	"proc/fs",
	"proc/irq",
	"proc/kallsyms",
	"proc/kcore",
	"proc/kmsg",
	"proc/latency_stats",
	"proc/mtrr",
	"proc/scsi",
	"proc/sys",
	"proc/sys/kernel/domainname",
	"proc/sys/kernel/hostname",
	"proc/sysrq-trigger",
	"proc/timer_stats",
	"sys",
	"sys/fs/bpf",
	"sys/fs/cgroup",
	"sys/fs/selinux",
	"sys/kernel/debug",
	"sys/kernel/tracing",
};

static int put_bind(struct lx_buf *out, const struct bind *bind)
{
	return lx_buf_printf(out,
			     "  mount options=(rw,bind) %s -> %s,\n"
			     "  mount options=(rw,rbind) %s -> %s,\n",
			     bind->source, bind->target, bind->source, bind->target);
}

static int put_own_places(struct lx_buf *out)
{
	int r = lx_buf_puts(out, "\n  # These onto themselves, as services do to make them read-only.\n");

	for (size_t i = 0; i < LX_ARRAY_SIZE(own_place) && r == 0; i++)
		r = lx_buf_printf(out,
				  "  mount options=(rw,bind) " ROOTS "%s{,/} -> " ROOTS "%s{,/},\n"
				  "  mount options=(rw,rbind) " ROOTS "%s{,/} -> " ROOTS "%s{,/},\n",
				  own_place[i], own_place[i], own_place[i], own_place[i]);
	return r;
}

static int put_propagation(struct lx_buf *out)
{
	static const char *const kinds[] = { "private", "slave", "shared", "unbindable" };
	int r = 0;

	for (size_t i = 0; i < 4 * LX_ARRAY_SIZE(kinds) && r == 0; i++)
		r = lx_buf_printf(out, "  mount options=(rw%s,make-%s%s) -> /{,**},\n",
				  i & 1 ? ",silent" : "", i & 2 ? "r" : "", kinds[i / 4]);
	return r;
}

/*
 * What is no new mount has its flags said exactly: "options in" allows as well that there are none of them,
 * and with that any new mount. The kernel looks at no other flags of a bind, a move, a change of propagation.
 * After "options=(remount)" it says what may come along; so it is understood by the compiler of Debian 12
 * too, which lets nothing be remounted by the rule "remount".
 */
int lx_apparmor_put_mounts(struct lx_buf *out, bool nesting)
{
	int r = lx_buf_puts(out, mounts);

	for (size_t i = 0; i < LX_ARRAY_SIZE(binds) && r == 0; i++)
		r = put_bind(out, &binds[i]);
	if (r == 0 && nesting)
		r = put_bind(out, &nested_bind);
	if (r == 0)
		r = put_own_places(out);
	if (r == 0)
		r = put_propagation(out);
	return r == 0 ? lx_buf_puts(out, nesting ? nested_mounts : unnested_mounts) : r;
}
