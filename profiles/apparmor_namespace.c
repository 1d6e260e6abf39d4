/* A policy namespace of an instance's own, see the header. */
#include "profiles/apparmor_namespace.h"

#include <stdio.h>

#include "lib/str.h"
#include "profiles/privileged.h"
#include "profiles/profiles.h"

bool lx_apparmor_namespace_is_on(const char *value)
{
	bool on = false;

	return value && lx_parse_bool(value, &on) == 0 && on;
}

bool lx_apparmor_namespace_wanted(const struct lx_map *config)
{
	return lx_apparmor_namespace_is_on(lx_config_get(config, LX_KEY_APPARMOR_NAMESPACE));
}

int lx_apparmor_namespace_check(const struct lx_map *config, struct lx_err *err)
{
	if (!lx_apparmor_namespace_wanted(config))
		return 0;
	if (lx_is_privileged(config)) {
		int r = lx_err_set(err, LX_INVALID_ARGUMENT,
				   LX_KEY_APPARMOR_NAMESPACE " and " LX_KEY_PRIVILEGED
							     " do not go together: without a user "
							     "namespace its root would load profiles "
							     "of the machine's");

		lx_err_hint(err, "Leave one of them away.");
		return r;
	}
	if (lx_apparmor_mode(config) != LX_APPARMOR_UNCONFINED)
		return 0;
	int r = lx_err_set(err, LX_INVALID_ARGUMENT,
			   LX_KEY_APPARMOR_NAMESPACE
			   " needs a profile of the node's around it, and security.apparmor is unconfined");

	lx_err_hint(err, "Set security.apparmor as well: auto (where the node has AppArmor) or enforce.");
	return r;
}

void lx_apparmor_namespace_name(const char *cgroup_root, const char *instance,
				char out[LX_APPARMOR_NAMESPACE_MAX])
{
	char profile[LX_APPARMOR_NAME_MAX];

	lx_apparmor_name(cgroup_root, instance, profile);
	snprintf(out, LX_APPARMOR_NAMESPACE_MAX, "lxc-%s", profile);
}

void lx_apparmor_stack(const char *profile, const char *namespace, char out[LX_APPARMOR_LABEL_MAX])
{
	snprintf(out, LX_APPARMOR_LABEL_MAX, "%s" LX_APPARMOR_STACKED "%s:unconfined", profile, namespace);
}
