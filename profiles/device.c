/*
 * Checking devices: a name, a type, and for each type the options of its rows in the key
 * table, with the required ones there. A device of type none has no options: it is there
 * to cover one of the same name from a profile.
 */
#include "profiles/profiles.h"

#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "profiles/check.h"
#include "profiles/host_device.h"
#include "profiles/proxy.h"
#include "profiles/value.h"

#define OPTIONS_MAX 32

static const struct {
	const char *type;
	enum lx_key_subject subject;
} types[] = {
	{ "disk", LX_KEY_DISK },           { "nic", LX_KEY_NIC },
	{ "unix-char", LX_KEY_UNIX_CHAR }, { "unix-block", LX_KEY_UNIX_BLOCK },
	{ LX_PROXY_TYPE, LX_KEY_PROXY },
};

static int unknown_type(const char *name, const char *type, struct lx_err *err)
{
	struct lx_shown s;
	int r;

	if (lx_str_empty(type))
		r = lx_err_set(err, LX_INVALID_ARGUMENT, "device %s has no type", name);
	else
		r = lx_err_set(err, LX_INVALID_ARGUMENT, "device %s: there is no device type %s", name,
			       lx_value_show(&s, type));
	lx_err_hint(err,
		    "Use type=disk, type=nic, type=unix-char, type=unix-block, type=proxy or type=none.");
	return r;
}

static int unknown_option(const char *name, enum lx_key_subject subject, const char *type, const char *option,
			  struct lx_err *err)
{
	struct lx_shown shown;
	size_t n, m = 0;
	const struct lx_config_key *keys = lx_config_keys(&n);
	const char *names[OPTIONS_MAX];
	char all[512] = "";
	int r = lx_err_set(err, LX_INVALID_ARGUMENT, "device %s: a %s has no option %s", name, type,
			   lx_value_show(&shown, option));

	for (size_t i = 0, at = 0; i < n && m < LX_ARRAY_SIZE(names); i++) {
		if (keys[i].subject != subject)
			continue;
		if (at < sizeof(all))
			at += (size_t)snprintf(all + at, sizeof(all) - at, "%s%s", m ? ", " : "",
					       keys[i].name);
		names[m++] = keys[i].name;
	}
	const char *nearest = lx_nearest(option, names, m);

	if (nearest)
		lx_err_hint(err, "Did you mean %s?", nearest);
	else
		lx_err_hint(err, "It has %s.", all);
	return r;
}

static int missing_option(const char *name, const char *type, const struct lx_config_key *key,
			  struct lx_err *err)
{
	int r = lx_err_set(err, LX_INVALID_ARGUMENT, "device %s: a %s needs the option %s", name, type,
			   key->name);

	lx_err_hint(err, "%s: %s.", key->name, key->help);
	return r;
}

static int check_options(const char *name, enum lx_key_subject subject, const char *type,
			 const struct lx_map *options, struct lx_err *err)
{
	size_t n;
	const struct lx_config_key *keys = lx_config_keys(&n);

	for (struct lx_map_entry *e = lx_map_first(options); e; e = lx_map_next(e)) {
		const struct lx_config_key *key = lx_config_key_find(subject, lx_map_key(e));

		if (!key)
			return unknown_option(name, subject, type, lx_map_key(e), err);
		int r = lx_check_value(key, key->name, lx_map_value(e), err);

		if (r < 0) {
			lx_err_wrap(err, "device %s", name);
			return r;
		}
	}
	for (size_t i = 0; i < n; i++)
		if (keys[i].subject == subject && keys[i].required &&
		    lx_str_empty(lx_map_get(options, keys[i].name)))
			return missing_option(name, type, &keys[i], err);
	return 0;
}

/* Without a name of its own a nic is called as its device is. */
static int check_nic_name(const char *name, const struct lx_map *options, struct lx_err *err)
{
	if (!lx_str_empty(lx_map_get(options, "name")) || lx_value_ifname(name))
		return 0;
	int r = lx_err_set(err, LX_INVALID_ARGUMENT,
			   "device %s: its name cannot be the name of a network interface", name);

	lx_err_hint(err, "Say how the guest shall call it: name=eth0.");
	return r;
}

/* What the options of each kind must be like together. */
static int check_together(const char *name, enum lx_key_subject subject, const struct lx_map *options,
			  struct lx_err *err)
{
	switch (subject) {
	case LX_KEY_NIC:
		return check_nic_name(name, options, err);
	case LX_KEY_DISK:
		return lx_host_device_check_disk(name, options, err);
	case LX_KEY_UNIX_CHAR:
	case LX_KEY_UNIX_BLOCK:
		return lx_host_device_check_node(name, options, err);
	case LX_KEY_PROXY:
		return lx_proxy_check(name, options, err);
	default:
		return 0;
	}
}

int lx_device_check(const char *name, const struct lx_map *options, struct lx_err *err)
{
	int r = lx_name_check("device", name, err);

	if (r < 0)
		return r;
	const char *type = lx_map_get(options, "type");

	if (lx_streq(type, "none")) {
		if (lx_map_count(options) == 1)
			return 0;
		return lx_err_set(err, LX_INVALID_ARGUMENT, "device %s: type none has no options", name);
	}
	for (size_t i = 0; type && i < LX_ARRAY_SIZE(types); i++) {
		if (strcmp(type, types[i].type) != 0)
			continue;
		r = check_options(name, types[i].subject, type, options, err);
		return r < 0 ? r : check_together(name, types[i].subject, options, err);
	}
	return unknown_type(name, type, err);
}
