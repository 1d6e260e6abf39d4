/*
 * security.syscalls.intercept.*: system calls that the kernel refuses to a guest, or answers with the
 * machine's figures, and that the node does in its place (agent/worker/intercept/daemon.h). Here is what
 * is decided without looking at a guest: which calls stop, and which of them are harmless. Pure.
 *
 * Whatever is not harmless goes on to the kernel, which decides as if nothing had been in between.
 */
#ifndef LX_PROFILES_INTERCEPT_H
#define LX_PROFILES_INTERCEPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"
#include "lib/map.h"

#define LX_KEY_INTERCEPT "security.syscalls.intercept."

/* S_IFMT and S_IFCHR of stat(2): the type in a mode, and that of character devices. */
#define LX_MODE_TYPE 0170000
#define LX_MODE_CHAR 0020000

enum lx_intercept {
	LX_INTERCEPT_MKNOD,
	LX_INTERCEPT_MOUNT, /* intercept_mount.h */
	LX_INTERCEPT_SETXATTR,
	LX_INTERCEPT_SYSINFO,
	LX_INTERCEPTS
};

/* "mknod", as in the key's name. */
extern const char *const lx_intercept_names[LX_INTERCEPTS];

/* Bits by enum lx_intercept, of an expanded configuration. */
unsigned lx_intercepts(const struct lx_map *config);
/* The same of one key and its value: 0 for another key, or when it is off. */
unsigned lx_intercept_of_key(const char *key, const char *value);

/*
 * A call of the kernel's that stops: always, or with `arg` >= 0 only when the bits `mask` of that argument
 * are `value`, and, with `some` >= 0, that argument is not 0.
 */
struct lx_intercepted {
	const char *name;
	enum lx_intercept what;
	int arg;
	uint32_t mask, value;
	int some;
};
/* The name NULL at the end. */
extern const struct lx_intercepted lx_intercepted_calls[];

/*
 * A device node that a guest may have: null, zero, full, random, urandom and tty, which the filter of
 * its devices lets it open (profiles/device_rules.h), and 0:0. `mode` as of mknod(2), `dev` as the
 * kernel takes it.
 */
bool lx_intercept_device(uint32_t mode, uint32_t dev);
uint32_t lx_intercept_major(uint32_t dev);
uint32_t lx_intercept_minor(uint32_t dev);

#define LX_INTERCEPT_XATTR "trusted.overlay."

/*
 * What of overlayfs's own attributes a guest may set: that a directory hides what is below it. Not
 * where to look instead (redirect, metacopy, origin): that could show files of whoever mounts it.
 */
bool lx_intercept_xattr(const char *name, const void *value, size_t len);

#endif
