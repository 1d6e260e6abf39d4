/* Who may set which devices and keys; see the header. What a node's is, profiles/ says. */
#include "lxmgr/api/device_role.h"

#include "lib/str.h"
#include "lxmgr/auth/auth.h"
#include "profiles/host_device.h"
#include "profiles/profiles.h"
#include "proto/pb.h"

static const Lxmgr__V1__Device *find(size_t n, const void *entries, const char *name)
{
	struct lx_pb_device_entry *const *v = entries;

	for (size_t i = 0; i < n; i++)
		if (lx_streq(v[i]->key, name))
			return v[i]->value;
	return NULL;
}

/* Empty options count as not given, and are counted so when the device is read. */
static bool has_all(const Lxmgr__V1__Device *a, const Lxmgr__V1__Device *b)
{
	for (size_t i = 0; i < a->n_options; i++) {
		const char *value = lx_pb_map_get(b->n_options, b->options, a->options[i]->key);

		if (!lx_streq(a->options[i]->value, value ? value : ""))
			return false;
	}
	return true;
}

static int is_privileged(const Lxmgr__V1__Device *d)
{
	struct lx_map options;
	int r = 0;

	lx_map_init(&options, NULL);
	for (size_t i = 0; d && i < d->n_options && r == 0; i++)
		r = lx_map_set(&options, d->options[i]->key, d->options[i]->value);
	if (r == 0)
		r = lx_host_device_is_privileged(&options);
	lx_map_release(&options);
	return r;
}

static int refuse(const struct lx_manager *m, struct lx_call *call, const char *kind, const char *name,
		  const char *does, enum lx_role role, struct lx_err *err)
{
	char user[128];

	lx_gate_user(m, lx_call_peer(call), user, sizeof(user));
	int r = lx_err_set(err, LX_PERMISSION_DENIED, "%s%s %s: %s needs the role %s for it, and has %s",
			   kind, name, does, user, lx_role_name(LX_ROLE_ADMIN), lx_role_name(role));

	lx_err_hint(err, "An administrator can set it, here or in a profile that others may use.");
	return r;
}

int lx_api_check_device_role(const struct lx_manager *m, struct lx_call *call, size_t n, const void *entries,
			     size_t n_before, const void *before, struct lx_err *err)
{
	struct lx_pb_device_entry *const *v = entries;
	enum lx_role role = lx_gate_role(m, lx_call_peer(call), NULL, NULL); /* in all projects */

	if (role >= LX_ROLE_ADMIN)
		return 0;
	for (size_t i = 0; i < n; i++) {
		const Lxmgr__V1__Device *was = find(n_before, before, v[i]->key);
		int privileged = is_privileged(v[i]->value);

		if (privileged < 0)
			return lx_err_oom(err);
		if (!privileged || (was && has_all(v[i]->value, was) && has_all(was, v[i]->value)))
			continue;
		return refuse(m, call, "device ", v[i]->key, "brings what is a node's into a guest", role,
			      err);
	}
	return 0;
}

int lx_api_check_config_role(const struct lx_manager *m, struct lx_call *call, size_t n, const void *entries,
			     size_t n_before, const void *before, struct lx_err *err)
{
	struct lx_pb_entry *const *v = entries;
	enum lx_role role = lx_gate_role(m, lx_call_peer(call), NULL, NULL);

	for (size_t i = 0; i < n && role < LX_ROLE_ADMIN; i++) {
		const struct lx_config_key *key = lx_config_key_find(LX_KEY_INSTANCE, v[i]->key);

		if (key && key->admin && *v[i]->value &&
		    !lx_streq(lx_pb_map_get(n_before, before, v[i]->key), v[i]->value))
			return refuse(m, call, "", v[i]->key, "has the node work for a guest", role, err);
	}
	return 0;
}
