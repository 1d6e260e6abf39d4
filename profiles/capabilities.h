/*
 * Capabilities of a guest's processes: what its bounding set keeps. Lists in configuration
 * values are names as in capabilities(7), without or with "cap_", separated by blanks, commas
 * or newlines. Pure.
 */
#ifndef LX_PROFILES_CAPABILITIES_H
#define LX_PROFILES_CAPABILITIES_H

#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/map.h"

/* Bit n is capability n of linux/capability.h. */
typedef uint64_t lx_capabilities;

/* Of security.capabilities.keep: not one. */
#define LX_CAPABILITIES_NONE "none"

/* The number of the one called so (`n` bytes), or -1. */
int lx_capability_find(const char *name, size_t n);
/* All names, by number. */
extern const char *const lx_capability_names[];
extern const size_t lx_n_capability_names;

/* What nothing in a guest has use for, even within its own user namespace; but for mac_admin, with
 * security.apparmor.namespace. */
lx_capabilities lx_capabilities_dropped_default(void);
/* Those of a list that was checked. */
lx_capabilities lx_capabilities_read(const char *list);

/*
 * liblxc's line for the expanded configuration: "lxc.cap.keep" or "lxc.cap.drop" into *ret_key,
 * the names behind it to `out`. 0 or -ENOMEM.
 */
int lx_capabilities_line(const struct lx_map *config, const char **ret_key, struct lx_buf *out);

#endif
