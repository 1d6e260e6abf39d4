/*
 * What of a changed specification acts at the next start only: keys of that scope, by their
 * effective value, network cards, which are plugged when the guest starts, and what it has of the
 * node's, which is mounted then.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/worker/instance/spec.h"
#include "lib/str.h"
#include "profiles/host_device.h"
#include "profiles/profiles.h"
#include "profiles/root_disk.h"

struct list {
	char **items;
	size_t n;
};

static int list_add(struct list *l, const char *kind, const char *name)
{
	char **items = realloc(l->items, (l->n + 1) * sizeof(*items));

	if (!items)
		return -ENOMEM;
	l->items = items;
	items[l->n] = lx_asprintf("%s%s", kind, name);
	if (!items[l->n])
		return -ENOMEM;
	l->n++;
	return 0;
}

/* Keys of `a` whose effective value differs in `b`; those of both when `only_missing`: not in `b`. */
static int compare_config(const struct lx_map *a, const struct lx_map *b, bool only_missing, struct list *out)
{
	for (struct lx_map_entry *e = lx_map_first(a); e; e = lx_map_next(e)) {
		const char *key = lx_map_key(e);
		const struct lx_config_key *row = lx_config_key_find(LX_KEY_INSTANCE, key);

		if (!row || row->scope != LX_KEY_RESTART || (only_missing && lx_map_has(b, key)))
			continue;
		if (lx_streq(lx_config_get(a, key), lx_config_get(b, key)))
			continue;
		if (list_add(out, "", key) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int config_changes(const lx_spec *old, const lx_spec *new, struct list *out, struct lx_err *err)
{
	struct lx_map a, b;
	int r = lx_spec_config(old, &a, err);

	if (r < 0)
		return r;
	r = lx_spec_config(new, &b, err);
	if (r == 0 && (compare_config(&b, &a, false, out) < 0 || compare_config(&a, &b, true, out) < 0))
		r = lx_err_oom(err);
	lx_map_release(&a);
	if (r == 0)
		lx_map_release(&b);
	return r;
}

static const Lxmgr__V1__Nic *find_nic(const lx_spec *spec, const char *name)
{
	for (size_t i = 0; i < spec->n_nics; i++)
		if (strcmp(spec->nics[i]->name, name) == 0)
			return spec->nics[i];
	return NULL;
}

static bool nic_equal(const Lxmgr__V1__Nic *a, const Lxmgr__V1__Nic *b)
{
	size_t n = lxmgr__v1__nic__get_packed_size(a);
	uint8_t *pa = malloc(n + 1), *pb = malloc(n + 1);
	bool equal = pa && pb && n == lxmgr__v1__nic__get_packed_size(b);

	if (equal) {
		lxmgr__v1__nic__pack(a, pa);
		lxmgr__v1__nic__pack(b, pb);
		equal = memcmp(pa, pb, n) == 0;
	}
	free(pa);
	free(pb);
	return equal;
}

/* Cards are plugged at a start: new, changed and removed ones alike. */
static int nic_changes(const lx_spec *old, const lx_spec *new, struct list *out)
{
	int r = 0;

	for (size_t i = 0; i < new->n_nics &&r == 0; i++) {
		const Lxmgr__V1__Nic *was = find_nic(old, new->nics[i]->name);

		if (!was || !nic_equal(was, new->nics[i]))
			r = list_add(out, "device ", new->nics[i]->name);
	}
	for (size_t i = 0; i < old->n_nics && r == 0; i++)
		if (!find_nic(new, old->nics[i]->name))
			r = list_add(out, "device ", old->nics[i]->name);
	return r;
}

/* The options of a device that is mounted at a start; 0: there is none of that name. */
static int mounted_device(const lx_spec *spec, const char *name, struct lx_map *ret)
{
	struct lx_host_device d;

	lx_map_init(ret, NULL);
	for (size_t i = 0; i < spec->n_devices; i++) {
		const Lxmgr__V1__Device *dev = spec->devices[i]->value;

		for (size_t k = 0; dev && k < dev->n_options && lx_streq(spec->devices[i]->key, name); k++)
			if (lx_map_set(ret, dev->options[k]->key, dev->options[k]->value) < 0)
				return -ENOMEM;
	}
	return lx_host_device_read(ret, &d);
}

/* Those of `a` that `b` has otherwise; or, with `only_missing`, not at all. */
static int compare_devices(const lx_spec *a, const lx_spec *b, bool only_missing, struct list *out)
{
	int r = 0;

	for (size_t i = 0; i < a->n_devices && r >= 0; i++) {
		const char *name = a->devices[i]->key;
		struct lx_map ours, theirs;
		int here = mounted_device(a, name, &ours), there = mounted_device(b, name, &theirs);

		r = here < 0 ? here : there < 0 ? there : 0;
		if (r == 0 && here && (!there || (!only_missing && !lx_map_same_strings(&ours, &theirs))))
			r = list_add(out, "device ", name);
		lx_map_release(&ours);
		lx_map_release(&theirs);
	}
	return r;
}

static int device_changes(const lx_spec *old, const lx_spec *new, struct list *out)
{
	int r = compare_devices(new, old, false, out);

	return r < 0 ? r : compare_devices(old, new, true, out);
}

static int root_change(const lx_spec *new, struct list *out)
{
	const Lxmgr__V1__Device *root = lx_root_disk(new->n_devices, new->devices);

	for (size_t i = 0; i < new->n_devices; i++)
		if (root && new->devices[i]->value == root)
			return list_add(out, "device ", new->devices[i]->key);
	return 0;
}

int lx_spec_changes(const lx_spec *old, const lx_spec *new, bool size_later, char ***ret_keys, size_t *ret_n,
		    struct lx_err *err)
{
	struct list keys = { 0 };
	int r = config_changes(old, new, &keys, err);

	if (r == 0 && (nic_changes(old, new, &keys) < 0 || device_changes(old, new, &keys) < 0 ||
		       (size_later && root_change(new, &keys) < 0)))
		r = lx_err_oom(err);
	*ret_keys = keys.items;
	*ret_n = keys.n;
	return r;
}
