/*
 * The AppArmor profile of an instance: what is asked for, under which name, and its text. Pure;
 * compiling and loading is agent/worker/instance/apparmor.c.
 *
 * The text is what apparmor.d(5) describes, of ABI 3.0 (AppArmor 3 and newer).
 */
#ifndef LX_PROFILES_APPARMOR_H
#define LX_PROFILES_APPARMOR_H

#include <stdbool.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/map.h"

enum lx_apparmor_mode {
	LX_APPARMOR_AUTO,       /* as ENFORCE where the node can, else nothing */
	LX_APPARMOR_ENFORCE,    /* the instance's own profile */
	LX_APPARMOR_COMPLAIN,   /* the same, but what it would deny is only told */
	LX_APPARMOR_UNCONFINED, /* none */
	LX_APPARMOR_NAMED,      /* one that the administrator has loaded */
};

/* Of security.apparmor, as expanded: a value that was checked, or NULL or "" where it is not set. */
enum lx_apparmor_mode lx_apparmor_mode_of(const char *value);
enum lx_apparmor_mode lx_apparmor_mode(const struct lx_map *config);
/* Whether a node without AppArmor must refuse it. */
bool lx_apparmor_demanded(enum lx_apparmor_mode mode);

/* What a refusal to start says that is for want of confinement: in its error's text. */
#define LX_REFUSAL_APPARMOR "is to be confined by AppArmor"
#define LX_REFUSAL_SELINUX  "is to run in an SELinux context"

#define LX_APPARMOR_NAME_MAX 128

/*
 * The name of an instance's own profile. It must be the same word in its configuration and at a
 * restore, and another one for each agent on a machine: "lxmgr-web1", after the agent's cgroup.
 */
void lx_apparmor_name(const char *cgroup_root, const char *instance, char out[LX_APPARMOR_NAME_MAX]);

struct lx_apparmor_input {
	const char *name;            /* of the profile */
	bool complain;               /* tell, do not deny */
	const char *own_namespace;   /* that the guest loads profiles into (profiles/apparmor_namespace.h); or
					NULL */
	const struct lx_map *config; /* expanded: security.nesting, raw.apparmor */
};

int lx_apparmor_policy(const struct lx_apparmor_input *in, struct lx_buf *out, struct lx_err *err);

/*
 * Rules that deny `perms` on everything below `dir` but the entries `allowed` and what is below
 * them ("net", "kernel"; "shm*" stands for all that begin so). AppArmor has no "all but": each
 * name that leaves the allowed ones somewhere gets a pattern. `verb`: "deny" or "audit deny".
 * 0 or -ENOMEM.
 */
int lx_apparmor_deny_others(struct lx_buf *out, const char *verb, const char *dir, const char *const *allowed,
			    const char *perms);

#endif
