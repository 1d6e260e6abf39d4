/*
 * security.syscalls.intercept.mount: file systems on block devices, which the kernel mounts for the
 * machine's root alone, and which a node mounts in a guest's place when its administrator trusts them
 * (security.syscalls.intercept.mount.allowed). Here is what is decided without looking at a guest: which
 * there are, and with which options. Pure.
 *
 * There are those that the kernel can show with a guest's ids (mount_setattr(2), MOUNT_ATTR_IDMAP), and
 * whose content, which is the guest's, names nothing outside of their device. Not btrfs: the kernel keeps
 * one register of its devices for the whole machine, by ids that stand on them. Not erofs and f2fs:
 * they name further devices by a path.
 */
#ifndef LX_PROFILES_INTERCEPT_MOUNT_H
#define LX_PROFILES_INTERCEPT_MOUNT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/map.h"

#define LX_KEY_MOUNT         "security.syscalls.intercept.mount"
#define LX_KEY_MOUNT_ALLOWED LX_KEY_MOUNT ".allowed"

/* "ext4"; NULL at the end. */
extern const char *const lx_mount_types[];
extern const size_t lx_n_mount_types;

/* Longest list of names, and longest options of a mount, as the kernel takes them: a page. */
#define LX_MOUNT_TEXT_MAX    4096
#define LX_MOUNT_OPTIONS_MAX 48

/* Is it among those in a list, separated by blanks or commas, and one that there is? */
bool lx_mount_is_allowed(const char *allowed, const char *type);

/* Interception of mounts needs a list of what may be mounted. LX_INVALID_ARGUMENT with a hint. */
int lx_mount_check_keys(const struct lx_map *config, struct lx_err *err);

/* A mount in the words of fsconfig(2) and mount_setattr(2). Texts are the table's and `data`'s. */
struct lx_mount_plan {
	struct {
		const char *name, *value; /* value NULL: a flag */
	} options[LX_MOUNT_OPTIONS_MAX];
	size_t n_options;
	uint64_t attributes; /* MOUNT_ATTR_*, always with those that keep out devices and set-uid programs */
};

/*
 * Reads flags and options as of mount(2). 0, or -EPERM when something of them is not for a guest to
 * choose; then *ret_fault names it: a borrowed text of any length, out of `data` too. `data` is cut up.
 */
int lx_mount_plan(const char *type, uint64_t flags, char *data, struct lx_mount_plan *ret,
		  const char **ret_fault);

/*
 * Flags of mount(2) with which it makes no new mount, but changes or moves one: nothing of ours. Bits that
 * a filter of system calls sees.
 */
#define LX_MOUNT_OTHER_FLAGS 0x1e3020u

#endif
