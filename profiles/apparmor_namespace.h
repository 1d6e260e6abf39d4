/*
 * An AppArmor policy namespace of an instance's own: profiles that the guest's root loads lie in it,
 * and are seen nowhere else. Its processes run under two profiles at once, the node's and the guest's
 * ("stacked", apparmor.d(5) and aa-stack(8)): what either denies is denied. Who asks for it, its name and
 * the label. Pure; making and removing it is agent/worker/apparmor_namespace.c.
 */
#ifndef LX_PROFILES_APPARMOR_NAMESPACE_H
#define LX_PROFILES_APPARMOR_NAMESPACE_H

#include <stdbool.h>

#include "lib/err.h"
#include "lib/map.h"
#include "profiles/apparmor.h"

#define LX_KEY_APPARMOR_NAMESPACE "security.apparmor.namespace"

#define LX_APPARMOR_NAMESPACE_MAX (LX_APPARMOR_NAME_MAX + 8)
/* The two and what is between and behind them. */
#define LX_APPARMOR_LABEL_MAX (LX_APPARMOR_NAME_MAX + LX_APPARMOR_NAMESPACE_MAX + 32)

/* What is shown to a guest that has one, so that it can load them; its place without the first slash. */
#define LX_SECURITYFS          "/sys/kernel/security"
#define LX_SECURITYFS_IN_GUEST "sys/kernel/security"

/* Whether a node has them: a feature in its facts, "yes" or "no". */
#define LX_FEATURE_APPARMOR_NAMESPACES "apparmor-namespaces"

/* Below this directory the kernel has one for each namespace, made by mkdir and removed by rmdir. */
#define LX_APPARMOR_NAMESPACES LX_SECURITYFS "/apparmor/policy/namespaces"

/* Does an expanded configuration ask for one? The value alone: NULL: it is not set. */
bool lx_apparmor_namespace_wanted(const struct lx_map *config);
bool lx_apparmor_namespace_is_on(const char *value);

/* Keys that it cannot be had together with, or not without. LX_INVALID_ARGUMENT with a hint. */
int lx_apparmor_namespace_check(const struct lx_map *config, struct lx_err *err);

/*
 * Its name: "lxc-lxmgr-web1", of lx_apparmor_name(). Distributions load their profiles at boot in a
 * container only where the namespace's name begins so (/lib/apparmor/rc.apparmor.functions).
 */
void lx_apparmor_namespace_name(const char *cgroup_root, const char *instance,
				char out[LX_APPARMOR_NAMESPACE_MAX]);

/* What is between the two in a label. */
#define LX_APPARMOR_STACKED "//&:"
/* Of this profile, and of nothing yet in the namespace: "lxmgr-web1//&:lxc-lxmgr-web1:unconfined". */
void lx_apparmor_stack(const char *profile, const char *namespace, char out[LX_APPARMOR_LABEL_MAX]);

#endif
