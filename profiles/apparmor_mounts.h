/*
 * What an instance's AppArmor profile lets its root mount, and where it finds proc and sysfs. Pure.
 */
#ifndef LX_PROFILES_APPARMOR_MOUNTS_H
#define LX_PROFILES_APPARMOR_MOUNTS_H

#include <stdbool.h>

#include "lib/buf.h"

/*
 * Where systemd puts a service's root file system together before it enters it (unit-root: Debian 12's,
 * mount-rootfs: Debian 13's), and with that where proc and sysfs may be: as the beginning of a pattern.
 */
#define LX_APPARMOR_BUILT "/run/systemd/{unit-root,mount-rootfs}/"
#define LX_APPARMOR_ROOTS "/{,run/systemd/{unit-root,mount-rootfs}/}"

/* The rules. `nesting`: containers inside have theirs anywhere. 0 or -ENOMEM. */
int lx_apparmor_put_mounts(struct lx_buf *out, bool nesting);

#endif
