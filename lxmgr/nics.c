/*
 * An instance's network cards: one for each nic device of its expanded devices, with a MAC
 * address and addresses of its network that nobody else has.
 *
 * When devices change, a card that still fits keeps all it has; another is made anew, and may
 * take over what its predecessor held. Those that are left over are held (held.c): the instance may
 * run with them. A device that fits one of these again gets it back, with its host end. Ways to fail: no such
 * network, an address or a MAC that another instance has, a network without a free address.
 */
#include "lxmgr/leases.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "lxmgr/project.h"
#include "proto/pb.h"

static int pick_hwaddr(struct lx_manager *m, char out[18])
{
	/* 00:16:3e is the prefix set aside for virtual machines that system containers use too. */
	for (int tries = 0; tries < 64; tries++) {
		uint8_t r[3];
		if (getrandom(r, sizeof(r), 0) != sizeof(r))
			return -EIO;
		snprintf(out, 18, "00:16:3e:%02x:%02x:%02x", r[0], r[1], r[2]);
		if (!lx_map_has(&m->hwaddrs, out))
			return 0;
	}
	return -EAGAIN;
}

static int set_addresses(Lxmgr__V1__Nic *nic, const struct lx_pool *p, uint32_t index)
{
	char text[INET6_ADDRSTRLEN + 8], host[INET6_ADDRSTRLEN];
	if (p->has4) {
		uint32_t be = htonl(p->base4 + index);
		inet_ntop(AF_INET, &be, host, sizeof(host));
		snprintf(text, sizeof(text), "%s/%u", host, p->len4);
		if (lx_pb_set(&nic->ipv4_address, text) < 0 || lx_pb_set(&nic->ipv4_gateway, p->gateway4) < 0)
			return -ENOMEM;
	}
	if (p->has6) {
		uint8_t a[16];
		memcpy(a, p->base6, sizeof(a));
		a[14] = (uint8_t)(index >> 8);
		a[15] = (uint8_t)index;
		inet_ntop(AF_INET6, a, host, sizeof(host));
		snprintf(text, sizeof(text), "%s/%u", host, p->len6);
		if (lx_pb_set(&nic->ipv6_address, text) < 0 || lx_pb_set(&nic->ipv6_gateway, p->gateway6) < 0)
			return -ENOMEM;
	}
	/* The bridge's dnsmasq answers on the gateway's address. */
	return lx_pb_strv_add(&nic->n_dns, &nic->dns, p->has4 ? p->gateway4 : p->gateway6);
}

/* The nics an instance has and those it is about to have. */
struct nics {
	Lxmgr__V1__Nic **v;
	size_t n;
};

static const Lxmgr__V1__Nic *find_hwaddr(struct nics nics, const char *hwaddr)
{
	for (size_t i = 0; i < nics.n; i++)
		if (nics.v[i] && strcasecmp(nics.v[i]->hwaddr, hwaddr) == 0)
			return nics.v[i];
	return NULL;
}

static const Lxmgr__V1__Nic *find_host_name(struct nics nics, const char *host_name)
{
	for (size_t i = 0; i < nics.n; i++)
		if (nics.v[i] && lx_streq(nics.v[i]->host_name, host_name))
			return nics.v[i];
	return NULL;
}

static const Lxmgr__V1__Nic *find_index(struct nics nics, const struct lx_pool *p, const char *bridge,
					uint32_t index)
{
	uint32_t has;
	for (size_t i = 0; i < nics.n; i++)
		if (nics.v[i] && lx_streq(nics.v[i]->bridge, bridge) &&
		    lx_pool_index(p, nics.v[i]->ipv4_address, nics.v[i]->ipv6_address, &has) && has == index)
			return nics.v[i];
	return NULL;
}

static void drop(struct lx_manager *m, struct nics of, const Lxmgr__V1__Instance *but)
{
	struct nics keep = { but->nics, but->n_nics }, held = { but->held_nics, but->n_held_nics };

	for (size_t i = 0; i < of.n; i++) {
		const Lxmgr__V1__Nic *nic = of.v[i];
		struct lx_pool *p = lx_pool_find(m, nic->bridge);
		uint32_t index;
		if (p && lx_pool_index(p, nic->ipv4_address, nic->ipv6_address, &index) &&
		    !find_index(keep, p, nic->bridge, index) && !find_index(held, p, nic->bridge, index))
			lx_bitmap_set(&p->used, index, false);
		if (!find_hwaddr(keep, nic->hwaddr) && !find_hwaddr(held, nic->hwaddr))
			lx_map_del(&m->hwaddrs, nic->hwaddr);
	}
}

void lx_leases_drop_nics(struct lx_manager *m, const Lxmgr__V1__Instance *of, const Lxmgr__V1__Instance *but)
{
	drop(m, (struct nics){ of->nics, of->n_nics }, but);
	drop(m, (struct nics){ of->held_nics, of->n_held_nics }, but);
}

void lx_leases_drop_held(struct lx_manager *m, Lxmgr__V1__Instance *pb)
{
	struct nics held = { pb->held_nics, pb->n_held_nics };

	pb->held_nics = NULL;
	pb->n_held_nics = 0;
	drop(m, held, pb);
	for (size_t i = 0; i < held.n; i++)
		lx_pb_free(held.v[i]);
	free(held.v);
}

bool lx_nic_is_held(const Lxmgr__V1__Instance *pb, const Lxmgr__V1__Nic *nic)
{
	for (size_t i = 0; i < pb->n_held_nics; i++) {
		const Lxmgr__V1__Nic *held = pb->held_nics[i];

		if (strcasecmp(held->hwaddr, nic->hwaddr) == 0 ||
		    (lx_streq(held->bridge, nic->bridge) &&
		     ((!lx_str_empty(nic->ipv4_address) && lx_streq(held->ipv4_address, nic->ipv4_address)) ||
		      (!lx_str_empty(nic->ipv6_address) && lx_streq(held->ipv6_address, nic->ipv6_address)))))
			return true;
	}
	return false;
}

/* A nic being made: for whom, from what, and what it may take over from its predecessor. */
struct making {
	struct lx_manager *m;
	const Lxmgr__V1__Instance *pb;
	const char *device;
	const Lxmgr__V1__Network *network;
	const Lxmgr__V1__Device *dev;
	struct lx_pool *pool;
	struct nics old, made;
};

static const char *device_option(const struct making *k, const char *key)
{
	const char *v = lx_pb_map_get(k->dev->n_options, k->dev->options, key);
	return v ? v : "";
}

/* Its name in the guest. */
static const char *guest_name(const struct making *k)
{
	const char *name = device_option(k, "name");
	return *name ? name : k->device;
}

/* The address it is to have: the one that is asked for, else the next free one. */
static int take_index(const struct making *k, uint32_t *ret, struct lx_err *err)
{
	const char *ipv4 = device_option(k, "ipv4.address");
	struct lx_pool *p = k->pool;
	char cidr[INET_ADDRSTRLEN + 4];

	if (!*ipv4) {
		int64_t i = lx_bitmap_take(&p->used);
		if (i >= 0) {
			*ret = (uint32_t)i;
			return 0;
		}
		int r = lx_err_set(err, LX_RESOURCE_EXHAUSTED, "network %s has no free address left for %s",
				   k->network->name, k->pb->name);
		lx_err_hint(err, "Delete instances that are not needed, or make a network with a larger "
				 "subnet: lxmgr network create.");
		return r;
	}
	snprintf(cidr, sizeof(cidr), "%s/32", ipv4);
	if (!p->has4 || !lx_pool_index(p, cidr, NULL, ret))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%s: address %s is not one of network %s",
				  k->pb->name, ipv4, k->network->name);
	if (lx_bitmap_test(&p->used, *ret) && (find_index(k->made, p, k->network->bridge, *ret) ||
					       !find_index(k->old, p, k->network->bridge, *ret))) {
		int r = lx_err_set(err, LX_ALREADY_EXISTS, "%s: address %s of network %s is taken",
				   k->pb->name, ipv4, k->network->name);
		lx_err_hint(err, "lxmgr network list-leases %s shows who has which address.",
			    k->network->name);
		return r;
	}
	lx_bitmap_set(&p->used, *ret, true);
	return 0;
}

static int take_hwaddr(const struct making *k, char out[18], struct lx_err *err)
{
	const char *wanted = device_option(k, "hwaddr");

	if (!*wanted) {
		int r = pick_hwaddr(k->m, out);
		return r < 0 ? lx_err_errno(err, r, "cannot pick a MAC address for %s", k->pb->name) : 0;
	}
	for (size_t i = 0; i < 18; i++) /* as the kernel writes it: a map does not see that A is a */
		out[i] = (char)tolower((unsigned char)wanted[i]);
	if (lx_map_has(&k->m->hwaddrs, out) && (find_hwaddr(k->made, out) || !find_hwaddr(k->old, out)))
		return lx_err_set(err, LX_ALREADY_EXISTS, "device %s of %s: MAC address %s is taken",
				  k->device, k->pb->name, out);
	return 0;
}

/* Interface names are limited to 15 bytes: a prefix, a part of the uuid, and a number that no
 * other nic has, nor one that is still plugged in. */
static void pick_host_name(const struct making *k, char out[16])
{
	unsigned number = 0;
	do
		snprintf(out, 16, "lx%.8sn%u", k->pb->uuid, number++ % 100);
	while (find_host_name(k->old, out) || find_host_name(k->made, out));
}

/* What may change without a new lease. */
static int set_options(const struct making *k, Lxmgr__V1__Nic *nic)
{
	const char *domain = lx_network_key(k->network, "dns.domain");
	lx_autofree char *own = NULL;
	uint64_t mtu;

	nic->mtu = lx_parse_u64(device_option(k, "mtu"), &mtu) == 0 ? (uint32_t)mtu : 0;
	if (!*domain)
		domain = "lxmgr";
	/* In a network of another project its names have a part of the domain to themselves. */
	if (!lx_same_project(k->network->project, k->pb->project)) {
		own = lx_asprintf("%s.%s", k->pb->project, domain);
		if (!own)
			return -ENOMEM;
		domain = own;
	}
	return lx_pb_set(&nic->dns_domain, domain);
}

static int make_nic(const struct making *k, Lxmgr__V1__Nic **ret, struct lx_err *err)
{
	char hwaddr[18], host_name[16];
	uint32_t index;
	int r;

	if ((r = take_hwaddr(k, hwaddr, err)) < 0 || (r = take_index(k, &index, err)) < 0)
		return r;
	pick_host_name(k, host_name);
	Lxmgr__V1__Nic *nic = malloc(sizeof(*nic));
	if (!nic)
		goto oom;
	lxmgr__v1__nic__init(nic);
	if (lx_pb_set(&nic->name, guest_name(k)) < 0 || lx_pb_set(&nic->network, k->network->name) < 0 ||
	    lx_pb_set(&nic->hwaddr, hwaddr) < 0 || lx_pb_set(&nic->host_name, host_name) < 0 ||
	    lx_pb_set(&nic->bridge, k->network->bridge) < 0 || set_addresses(nic, k->pool, index) < 0 ||
	    set_options(k, nic) < 0 || lx_map_set(&k->m->hwaddrs, hwaddr, (void *)1) < 0)
		goto oom;
	*ret = nic;
	return 0;
oom:
	lx_pb_free(nic);
	if (!find_index(k->old, k->pool, k->network->bridge, index))
		lx_bitmap_set(&k->pool->used, index, false);
	return lx_err_oom(err);
}

static bool nic_fits(const struct making *k, const Lxmgr__V1__Nic *nic)
{
	const char *hwaddr = device_option(k, "hwaddr"), *ipv4 = device_option(k, "ipv4.address");
	size_t n4 = strlen(ipv4);
	return lx_streq(nic->bridge, k->network->bridge) && lx_streq(nic->name, guest_name(k)) &&
	       (!*hwaddr || strcasecmp(nic->hwaddr, hwaddr) == 0) &&
	       (!n4 || (strncmp(nic->ipv4_address, ipv4, n4) == 0 && nic->ipv4_address[n4] == '/'));
}

/* The nic for one device: an old one that still fits (which is moved out of k->old), or a new one. */
static int nic_for(struct making *k, Lxmgr__V1__Nic **ret, struct lx_err *err)
{

	k->network = lx_network_find(k->m, k->pb->project, device_option(k, "network"), err);
	k->pool = k->network ? lx_pool_find(k->m, k->network->bridge) : NULL;
	if (!k->pool) {
		lx_err_wrap(err, "device %s of %s", k->device, k->pb->name);
		return -ENOENT;
	}
	for (size_t i = 0; i < k->old.n; i++) {
		if (!k->old.v[i] || !nic_fits(k, k->old.v[i]))
			continue;
		if (set_options(k, k->old.v[i]) < 0)
			return lx_err_oom(err);
		*ret = lx_move_ptr(k->old.v[i]);
		return 0;
	}
	return make_nic(k, ret, err);
}

/* What it had and holds, the ones that it has first: those it keeps before those it gets back. */
static int take_old(Lxmgr__V1__Instance *pb, struct nics *ret)
{
	Lxmgr__V1__Nic **v = calloc(pb->n_nics + pb->n_held_nics + 1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	for (size_t i = 0; i < pb->n_nics; i++)
		v[ret->n++] = pb->nics[i];
	for (size_t i = 0; i < pb->n_held_nics; i++)
		v[ret->n++] = pb->held_nics[i];
	free(pb->nics);
	free(pb->held_nics);
	pb->nics = pb->held_nics = NULL;
	pb->n_nics = pb->n_held_nics = 0;
	ret->v = v;
	return 0;
}

/* Those that no device has got; the longest held, with which it most likely runs, first. */
static int hold_rest(Lxmgr__V1__Instance *pb, struct nics old, size_t n_had, struct lx_err *err)
{
	Lxmgr__V1__Nic **v = calloc(old.n + 1, sizeof(*v));
	size_t n = 0;

	if (!v) {
		for (size_t i = 0; i < old.n; i++)
			lx_pb_free(old.v[i]);
		free(old.v);
		return lx_err_oom(err);
	}
	for (size_t i = 0; i < old.n; i++) {
		Lxmgr__V1__Nic *nic = old.v[(n_had + i) % old.n];

		if (nic)
			v[n++] = nic;
	}
	free(old.v);
	pb->held_nics = v;
	pb->n_held_nics = n;
	if (n <= LX_HELD_NICS_MAX)
		return 0;
	int r = lx_err_set(err, LX_FAILED_PRECONDITION,
			   "instance %s may still run with %zu network cards that it was to have no more",
			   pb->name, n);

	lx_err_hint(err, "Restart it: they are given up then.");
	return r;
}

int lx_leases_update_nics(struct lx_manager *m, Lxmgr__V1__Instance *pb, struct lx_err *err)
{
	struct making k = { .m = m, .pb = pb };
	size_t n_had = pb->n_nics;
	int r = 0;

	k.made.v = calloc(pb->n_expanded_devices + 1, sizeof(*k.made.v));
	if (!k.made.v || take_old(pb, &k.old) < 0) {
		free(k.made.v);
		return lx_err_oom(err);
	}
	for (size_t i = 0; i < pb->n_expanded_devices && r == 0; i++) {
		k.dev = pb->expanded_devices[i]->value;
		k.device = pb->expanded_devices[i]->key;
		if (!k.dev || !lx_streq(device_option(&k, "type"), "nic"))
			continue;
		r = nic_for(&k, &k.made.v[k.made.n], err);
		k.made.n += r == 0;
	}
	pb->nics = k.made.v;
	pb->n_nics = k.made.n;
	int held = hold_rest(pb, k.old, n_had, r == 0 ? err : NULL);

	return r < 0 ? r : held;
}
