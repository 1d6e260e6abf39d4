/*
 * A card's addresses come from its lease (Nic), its options from its device, which has the same
 * name in the guest. Options are checked by the manager; one that cannot be read here counts as
 * the stricter one.
 */
#include "agent/instance/cards.h"

#include <errno.h>

#include "agent/network/network.h"
#include "lib/log.h"
#include "lib/str.h"
#include "profiles/profiles.h"
#include "profiles/value.h"
#include "proto/pb.h"

static const char *option(const Lxmgr__V1__Device *dev, const char *key)
{
	const char *value = dev ? lx_pb_map_get(dev->n_options, dev->options, key) : NULL;

	return value ? value : "";
}

static const Lxmgr__V1__Device *device_of(const Lxmgr__V1__InstanceSpec *spec, const Lxmgr__V1__Nic *nic)
{
	for (size_t i = 0; i < spec->n_devices; i++) {
		const Lxmgr__V1__Device *dev = spec->devices[i]->value;
		const char *name = option(dev, "name");

		if (lx_streq(option(dev, "type"), "nic") &&
		    lx_streq(*name ? name : spec->devices[i]->key, nic->name))
			return dev;
	}
	return NULL;
}

static bool is(const Lxmgr__V1__Device *dev, const char *key, bool wanted)
{
	bool value;

	return lx_parse_bool(option(dev, key), &value) == 0 && value == wanted;
}

/* Bytes a second: the tighter one of the direction's own bound and of that for both. */
static uint64_t rate(const Lxmgr__V1__Device *dev, const char *key)
{
	uint64_t own = 0, both = 0;

	if (lx_value_rate(option(dev, key), &own) < 0)
		own = 0;
	if (lx_value_rate(option(dev, "limits.max"), &both) < 0)
		both = 0;
	return own == 0 || (both != 0 && both < own) ? both : own;
}

static uint32_t priority(const Lxmgr__V1__Device *dev)
{
	uint64_t value;

	return lx_parse_u64(option(dev, "limits.priority"), &value) == 0 && value <= LX_NIC_PRIORITY_MAX
		       ? (uint32_t)value
		       : 0;
}

static int guard(struct lx_instance *inst, const Lxmgr__V1__Nic *nic, struct lx_err *err)
{
	const Lxmgr__V1__Device *dev = device_of(inst->spec, nic);
	char v4[64], v6[64];
	const struct lx_network_port port = {
		.network = nic->bridge,
		.instance = inst->name,
		.host_name = nic->host_name,
		.hwaddr = nic->hwaddr,
		.ipv4 = lx_address_part(nic->ipv4_address, v4, sizeof(v4)),
		.ipv6 = lx_address_part(nic->ipv6_address, v6, sizeof(v6)),
		.options = { .free_mac = is(dev, "security.mac_filtering", false),
			     .free_v4 = is(dev, "security.ipv4_filtering", false),
			     .free_v6 = is(dev, "security.ipv6_filtering", false),
			     .isolated = is(dev, "security.port_isolation", true),
			     .ingress = rate(dev, "limits.ingress"),
			     .egress = rate(dev, "limits.egress"),
			     .priority = priority(dev) },
	};

	return lx_network_guard(inst->agent->network, &port, err);
}

/* ------------------------------------------------------------------ what it runs with */

static bool runs_with(const struct lx_instance *inst, const Lxmgr__V1__Nic *nic)
{
	for (size_t i = 0; i < inst->n_cards; i++)
		if (lx_streq(inst->cards[i], nic->host_name))
			return true;
	return !inst->knows_cards;
}

static void forget(struct lx_instance *inst)
{
	lx_pb_strv_free(&inst->n_cards, &inst->cards);
	inst->knows_cards = false;
}

static int run_with_these(struct lx_instance *inst, struct lx_err *err)
{
	forget(inst);
	for (size_t i = 0; i < inst->spec->n_nics; i++)
		if (lx_pb_strv_add(&inst->n_cards, &inst->cards, inst->spec->nics[i]->host_name) < 0) {
			forget(inst);
			return lx_err_oom(err);
		}
	inst->knows_cards = true;
	return 0;
}

void lx_cards_seen(struct lx_instance *inst, size_t n, char *const *host_names)
{
	forget(inst);
	inst->knows_cards = n > 0 && lx_pb_strv_copy(&inst->n_cards, &inst->cards, n, host_names) == 0;
	if (!inst->knows_cards)
		forget(inst);
}

bool lx_cards_settled(const struct lx_instance *inst)
{
	for (size_t i = 0; i < inst->spec->n_held_nics; i++)
		if (runs_with(inst, inst->spec->held_nics[i]))
			return false;
	return true;
}

const Lxmgr__V1__Nic *lx_cards_find(const struct lx_instance *inst, const char *host_name)
{
	const Lxmgr__V1__InstanceSpec *spec = inst->spec;

	for (size_t i = 0; i < spec->n_nics; i++)
		if (lx_streq(spec->nics[i]->host_name, host_name))
			return spec->nics[i];
	for (size_t i = 0; i < spec->n_held_nics; i++)
		if (lx_streq(spec->held_nics[i]->host_name, host_name))
			return spec->held_nics[i];
	return NULL;
}

/* ------------------------------------------------------------------ guarding it */

int lx_cards_guard(struct lx_instance *inst, struct lx_err *err)
{
	int r = run_with_these(inst, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < inst->spec->n_held_nics; i++)
		lx_network_unguard_card(inst->agent->network, inst->spec->held_nics[i]->host_name);
	for (size_t i = 0; i < inst->spec->n_nics; i++) {
		const Lxmgr__V1__Nic *nic = inst->spec->nics[i];

		r = guard(inst, nic, err);
		if (r < 0 && err->code == LX_NOT_FOUND) {
			*err = LX_ERR_INIT;
		} else if (r < 0) {
			lx_err_wrap(err, "cannot guard network card %s of %s", nic->name, inst->name);
			return r;
		}
	}
	return 0;
}

static void adopt(struct lx_instance *inst, const Lxmgr__V1__Nic *nic)
{
	struct lx_err err = LX_ERR_INIT;

	if (!runs_with(inst, nic))
		return;
	if (guard(inst, nic, &err) < 0 && err.code != LX_NOT_FOUND)
		lx_error("a running instance is not guarded", "instance=%s card=%s error=\"%s\"", inst->name,
			 nic->name, err.msg);
}

static void plugged(const struct lx_instance *inst, const Lxmgr__V1__Nic *nic)
{
	struct lx_err err = LX_ERR_INIT;

	if (lx_network_plugged(inst->agent->network, nic->host_name, &err) < 0)
		lx_error("a network card is not set up", "instance=%s card=%s error=\"%s\"", inst->name,
			 nic->name, err.msg);
}

void lx_cards_adopt(struct lx_instance *inst)
{
	for (size_t i = 0; i < inst->spec->n_nics; i++)
		adopt(inst, inst->spec->nics[i]);
	for (size_t i = 0; i < inst->spec->n_held_nics; i++)
		adopt(inst, inst->spec->held_nics[i]);
	lx_cards_plugged(inst);
}

void lx_cards_plugged(struct lx_instance *inst)
{
	for (size_t i = 0; i < inst->spec->n_nics; i++)
		plugged(inst, inst->spec->nics[i]);
	for (size_t i = 0; i < inst->spec->n_held_nics; i++)
		plugged(inst, inst->spec->held_nics[i]);
}

static int update(struct lx_instance *inst, const Lxmgr__V1__Nic *nic, struct lx_err *err)
{
	int r;

	if (!lx_network_guards(inst->agent->network, nic->host_name))
		return 0; /* plugged at the next start */
	r = guard(inst, nic, err);
	if (r == 0)
		r = lx_network_plugged(inst->agent->network, nic->host_name, err);
	if (r < 0)
		lx_err_wrap(err, "cannot change network card %s of %s", nic->name, inst->name);
	return r;
}

int lx_cards_update(struct lx_instance *inst, struct lx_err *err)
{
	int r = 0;

	for (size_t i = 0; i < inst->spec->n_nics && r == 0; i++)
		r = update(inst, inst->spec->nics[i], err);
	/* A held one has the options of the device that has its name now; without one, those it had. */
	for (size_t i = 0; i < inst->spec->n_held_nics && r == 0; i++)
		if (device_of(inst->spec, inst->spec->held_nics[i]))
			r = update(inst, inst->spec->held_nics[i], err);
	return r;
}

void lx_cards_gone(struct lx_instance *inst)
{
	lx_network_unguard(inst->agent->network, inst->name);
	forget(inst);
	inst->knows_cards = true;
}
