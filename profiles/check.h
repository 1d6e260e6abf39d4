/*
 * One function per kind of value, for the rows of the key table. Each gets the row (for
 * its bounds and enumerated values), the full name and a non-empty value, and answers 0
 * or LX_INVALID_ARGUMENT with what is allowed as the hint.
 */
#ifndef LX_PROFILES_CHECK_H
#define LX_PROFILES_CHECK_H

#include "profiles/profiles.h"

#define LX_CHECK(verb)                                                                                       \
	int lx_check_##verb(const struct lx_config_key *key, const char *name, const char *value,            \
			    struct lx_err *err)

LX_CHECK(bool);
LX_CHECK(enum);             /* one of key->values */
LX_CHECK(autostart);        /* bool or one of key->values */
LX_CHECK(integer);          /* key->min to key->max */
LX_CHECK(duration);         /* the same in seconds */
LX_CHECK(memory);           /* size, at least key->min, or percentage */
LX_CHECK(disk_rate);        /* bytes or operations a second */
LX_CHECK(rate);             /* bits a second */
LX_CHECK(swap);             /* bool or size */
LX_CHECK(cpus);             /* count or set */
LX_CHECK(allowance);        /* percentage or time per period */
LX_CHECK(rlimit);           /* soft[:hard], each at most key->max */
LX_CHECK(text);             /* anything */
LX_CHECK(environment);      /* the name after "environment." too */
LX_CHECK(syscalls);         /* names the kernel knows */
LX_CHECK(syscalls_allowed); /* such, or the group; none that bars a live move */
LX_CHECK(capabilities);
LX_CHECK(apparmor); /* key->values, or the name of a profile */
LX_CHECK(apparmor_rules);
LX_CHECK(selinux);
LX_CHECK(labels); /* "KEY=VALUE,KEY" (labels.h) */
LX_CHECK(name);   /* of a network */
LX_CHECK(names);  /* of networks, separated by commas, or one of key->values */
LX_CHECK(ifname);
LX_CHECK(hwaddr);
LX_CHECK(ipv4); /* an address, or "none" */
LX_CHECK(ipv6);
LX_CHECK(size);        /* key->min to key->max */
LX_CHECK(guest_path);  /* where a device can be in the guest */
LX_CHECK(host_path);   /* any path of the node */
LX_CHECK(disk_source); /* such a path, or memory */
LX_CHECK(mode);        /* octal permissions */
LX_CHECK(proxy_address);
LX_CHECK(file_systems); /* names of those that a node mounts for a guest */

#undef LX_CHECK

/*
 * The check both instance keys and device options go through: length, encoding, then the
 * row's own. The empty value is always good: it unsets.
 */
int lx_check_value(const struct lx_config_key *key, const char *name, const char *value, struct lx_err *err);

#endif
