/*
 * A privileged instance: one without a user namespace, whose root is the machine's. What confines it
 * instead is decided here, and cannot be taken away by other keys.
 *
 * The first rule is that it has no capability over what is not its own. Without CAP_SYS_ADMIN
 * the kernel lets it change no mount, so that what is mounted read-only in its /proc and /sys stays
 * so, and no other file system comes in; the way to get that capability back, a user namespace of
 * its own, is closed by its system calls. Pure.
 */
#ifndef LX_PROFILES_PRIVILEGED_H
#define LX_PROFILES_PRIVILEGED_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/err.h"
#include "lib/map.h"
#include "profiles/capabilities.h"
#include "profiles/syscalls.h"

#define LX_KEY_PRIVILEGED "security.privileged"

/* Does an expanded configuration ask for it? */
bool lx_is_privileged(const struct lx_map *config);
/* The same of the key's value alone; NULL: it is not set. */
bool lx_privileged_is_on(const char *value);

/* Keys that cannot be had together with it. LX_INVALID_ARGUMENT with a hint. */
int lx_privileged_check(const struct lx_map *config, struct lx_err *err);

/* What it never has, also where security.capabilities.keep says so. */
lx_capabilities lx_privileged_dropped(void);

/* What it may never call, whatever security.syscalls.* say; the name NULL at the end. */
extern const struct lx_syscall_answer lx_privileged_syscalls[];
/* Of these only what makes no user namespace: its flag is in the first argument. NULL at the end. */
extern const char *const lx_privileged_userns_calls[];

/*
 * What of /proc and /sys the machine's root may read or write, and a guest's must not: directories
 * are covered, files replaced by one that cannot be opened. Relative to the guest's root; NULL at
 * the end.
 */
extern const char *const lx_privileged_covered_dirs[];
extern const char *const lx_privileged_covered_files[];

#endif
