/*
 * Profile expansion: the layers of an instance laid over each other into one
 * configuration. Later layers win key by key and device by device; where each value came
 * from is kept, so that `lxmgr info` can tell.
 *
 * What can go wrong: more keys or devices than allowed, and devices that are good each but
 * not together (two root disks, two cards of one name, a disk inside another). Keys and devices are not
 * checked again one by one: that was done when they were stored, and an instance made by another version must
 * still expand.
 */
#include "profiles/profiles.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "profiles/host_device.h"
#include "profiles/proxy.h"

static void free_options(void *value)
{
	struct lx_map *options = value;

	lx_map_release(options);
	free(options);
}

/* Sets a copy of the text. */
static int set_text(struct lx_map *m, const char *key, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	int r = lx_map_set(m, key, copy);

	if (r < 0)
		free(copy);
	return r;
}

static int merge_config(struct lx_expanded *into, const struct lx_layer *layer)
{
	if (!layer->config)
		return 0;
	for (struct lx_map_entry *e = lx_map_first(layer->config); e; e = lx_map_next(e)) {
		const char *key = lx_map_key(e), *value = lx_map_value(e);

		if (lx_str_empty(value)) {
			lx_map_del(&into->config, key);
			lx_map_del(&into->origin, key);
			continue;
		}
		int r = set_text(&into->config, key, value);

		if (r == 0)
			r = set_text(&into->origin, key, layer->origin);
		if (r < 0)
			return r;
	}
	return 0;
}

static struct lx_map *copy_options(const struct lx_map *options)
{
	struct lx_map *copy = malloc(sizeof(*copy));

	if (!copy)
		return NULL;
	lx_map_init(copy, free);
	for (struct lx_map_entry *e = lx_map_first(options); e; e = lx_map_next(e)) {
		if (lx_str_empty(lx_map_value(e)))
			continue;
		if (set_text(copy, lx_map_key(e), lx_map_value(e)) < 0) {
			free_options(copy);
			return NULL;
		}
	}
	return copy;
}

static int merge_device(struct lx_expanded *into, const char *origin, const char *name,
			const struct lx_map *options)
{
	lx_autofree char *origin_key = lx_asprintf("device %s", name);

	if (!origin_key)
		return -ENOMEM;
	if (lx_streq(lx_map_get(options, "type"), "none")) {
		lx_map_del(&into->devices, name);
		lx_map_del(&into->origin, origin_key);
		return 0;
	}
	struct lx_map *copy = copy_options(options);

	if (!copy)
		return -ENOMEM;
	int r = lx_map_set(&into->devices, name, copy);

	if (r < 0) {
		free_options(copy);
		return r;
	}
	return set_text(&into->origin, origin_key, origin);
}

static int merge_devices(struct lx_expanded *into, const struct lx_layer *layer)
{
	if (!layer->devices)
		return 0;
	for (struct lx_map_entry *e = lx_map_first(layer->devices); e; e = lx_map_next(e)) {
		int r = merge_device(into, layer->origin, lx_map_key(e), lx_map_value(e));

		if (r < 0)
			return r;
	}
	return 0;
}

static int check_counts(size_t keys, size_t devices, struct lx_err *err)
{
	if (keys > LX_CONFIG_MAX_KEYS)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%zu configuration keys are more than %d", keys,
				  LX_CONFIG_MAX_KEYS);
	if (devices > LX_CONFIG_MAX_DEVICES)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%zu devices are more than %d", devices,
				  LX_CONFIG_MAX_DEVICES);
	return 0;
}

/* What a device takes that only one can have: "eth0" or "/"; NULL: nothing. */
static const char *claim_of(const char *name, const struct lx_map *options)
{
	const char *type = lx_map_get(options, "type");

	if (!lx_streq(type, "nic"))
		return lx_host_device_path(options);
	const char *guest_name = lx_map_get(options, "name");

	return guest_name ? guest_name : name;
}

/* Disks and nics claim different things: paths start with a slash, interfaces cannot. */
static int check_claims(const struct lx_expanded *e, struct lx_err *err)
{
	__attribute__((cleanup(lx_map_release))) struct lx_map claims;

	lx_map_init(&claims, NULL);
	for (struct lx_map_entry *d = lx_map_first(&e->devices); d; d = lx_map_next(d)) {
		const char *name = lx_map_key(d);
		const char *claim = claim_of(name, lx_map_value(d));

		if (!claim)
			continue;
		const char *other = lx_map_get(&claims, claim);

		if (other) {
			int r = lx_err_set(err, LX_INVALID_ARGUMENT,
					   "devices %s and %s are both %s in the guest", other, name, claim);

			lx_err_hint(err, "Remove one of them; %s=none covers one that comes from a profile.",
				    other);
			return r;
		}
		if (lx_map_set(&claims, claim, (char *)(uintptr_t)name) < 0)
			return lx_err_oom(err);
	}
	return 0;
}

int lx_expand(const struct lx_layer *layers, size_t n, struct lx_expanded *ret, struct lx_err *err)
{
	struct lx_expanded e;
	int r = 0;

	lx_map_init(&e.config, free);
	lx_map_init(&e.devices, free_options);
	lx_map_init(&e.origin, free);
	for (size_t i = 0; i < n && r == 0; i++) {
		r = check_counts(layers[i].config ? lx_map_count(layers[i].config) : 0,
				 layers[i].devices ? lx_map_count(layers[i].devices) : 0, err);
		if (r < 0) {
			lx_err_wrap(err, "%s", layers[i].origin);
			break;
		}
		r = merge_config(&e, &layers[i]);
		if (r == 0)
			r = merge_devices(&e, &layers[i]);
		if (r < 0)
			lx_err_oom(err);
	}
	if (r == 0)
		r = check_counts(lx_map_count(&e.config), lx_map_count(&e.devices), err);
	if (r == 0)
		r = check_claims(&e, err);
	if (r == 0)
		r = lx_host_devices_check_places(&e.devices, err);
	if (r == 0)
		r = lx_proxies_check(&e.devices, err);
	if (r < 0)
		lx_expanded_release(&e);
	else
		*ret = e;
	return r;
}

void lx_expanded_release(struct lx_expanded *e)
{
	if (!e)
		return;
	lx_map_release(&e->config);
	lx_map_release(&e->devices);
	lx_map_release(&e->origin);
}
