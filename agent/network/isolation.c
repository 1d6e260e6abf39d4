/*
 * From the manager's leases to the text of the table; see isolation.h. Like nft.c, it is declared,
 * emptied of rules and given them again in one transaction. Its sets are parts of the rules, so that
 * emptying takes them away as well. Chains are numbered: those of projects that are gone stay empty.
 */
#include "agent/network/isolation.h"

#include <errno.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/network/tunnel.h"
#include "lib/cleanup.h"
#include "lib/map.h"
#include "lib/qname.h"

#define TABLE "bridge " LX_ISOLATION_TABLE_PREFIX "%s"

#define NOBODY SIZE_MAX /* the number of no project */

/* A card of any of the networks. */
struct card {
	size_t project;
	bool here; /* in the network that this is about */
	char port[IFNAMSIZ];
	struct lx_lease lease;
};

struct cards {
	struct card *v;
	size_t n, n_projects;
	struct lx_map projects; /* name -> index + 1 */
	bool *on_bridge;        /* by project: has a card in the network */
};

static void cards_release(struct cards *c)
{
	free(c->v);
	free(c->on_bridge);
	lx_map_release(&c->projects);
}

/* A name that needs no quoting, and the kernel can have. */
static bool is_port(const char *name)
{
	return name && *name && strlen(name) < IFNAMSIZ &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789") == strlen(name);
}

static int take(struct cards *c, const struct lx_network_config *config, const Lxmgr__V1__LeaseSpec *lease,
		bool here)
{
	struct card *card = &c->v[c->n];
	char project[LX_QNAME_SCOPE_MAX + 1];

	/* One that is none is in nobody's way: it is refused everywhere else, too. */
	if (lx_lease_parse(config, lease, &card->lease, NULL) < 0 || !is_port(lease->card))
		return 0;
	lx_qname_scope(lease->instance, project);
	uintptr_t number = (uintptr_t)lx_map_get(&c->projects, project);

	if (number == 0) {
		number = ++c->n_projects;
		if (lx_map_set(&c->projects, project, (void *)number) < 0)
			return -ENOMEM;
	}
	card->project = number - 1;
	card->here = here;
	memcpy(card->port, lease->card, strlen(lease->card) + 1);
	c->n++;
	return 0;
}

static int collect(struct cards *c, const Lxmgr__V1__ApplyNetworksRequest *req,
		   const Lxmgr__V1__NetworkSpec *spec)
{
	size_t room = 1;
	int r = 0;

	for (size_t i = 0; i < req->n_networks; i++)
		room += req->networks[i]->n_leases;
	c->v = calloc(room, sizeof(*c->v));
	if (!c->v)
		return -ENOMEM;
	for (size_t i = 0; i < req->n_networks && r == 0; i++) {
		const Lxmgr__V1__NetworkSpec *s = req->networks[i];
		struct lx_network_config config;

		if (lx_network_config_parse(s, &config, NULL) < 0)
			continue;
		for (size_t k = 0; k < s->n_leases && r == 0; k++)
			r = take(c, &config, s->leases[k], s == spec);
	}
	c->on_bridge = calloc(c->n_projects + 1, sizeof(*c->on_bridge));
	for (size_t i = 0; c->on_bridge && i < c->n; i++)
		c->on_bridge[c->v[i].project] |= c->v[i].here;
	return r == 0 && !c->on_bridge ? -ENOMEM : r;
}

/* ------------------------------------------------------------------ sets */

/* What of a card stands in a set; false: it has none of it. */
typedef bool (*word_fn)(const struct card *card, char out[LX_SUBNET_TEXT + 2]);

static bool word_port(const struct card *card, char out[LX_SUBNET_TEXT + 2])
{
	return card->here && snprintf(out, LX_SUBNET_TEXT + 2, "\"%s\"", card->port) > 0;
}

static bool word_mac(const struct card *card, char out[LX_SUBNET_TEXT + 2])
{
	return card->here && snprintf(out, LX_SUBNET_TEXT + 2, "%s", card->lease.hwaddr) > 0;
}

static bool word_v4(const struct card *card, char out[LX_SUBNET_TEXT + 2])
{
	return card->lease.v4.family != 0 && lx_subnet_format_host(&card->lease.v4, out);
}

static bool word_v6(const struct card *card, char out[LX_SUBNET_TEXT + 2])
{
	return card->lease.v6.family != 0 && lx_subnet_format_host(&card->lease.v6, out);
}

/*
 * "{ a, b }" of those of the project, or with `others` of all but it. With `verdict` a map to the
 * chains that begin so, of every project. Writes nothing when it would be empty: *any says so.
 */
static int set(struct lx_buf *out, const struct cards *c, word_fn word, size_t project, bool others,
	       const char *verdict, bool *any)
{
	char text[LX_SUBNET_TEXT + 2];
	int r = 0;

	*any = false;
	for (size_t i = 0; i < c->n && r == 0; i++) {
		const struct card *card = &c->v[i];

		if ((!verdict && (card->project == project) == others) || !word(card, text))
			continue;
		r = lx_buf_printf(out, "%s%s", *any ? ", " : "{ ", text);
		if (r == 0 && verdict)
			r = lx_buf_printf(out, " : goto %s%zu", verdict, card->project);
		*any = true;
	}
	return r == 0 && *any ? lx_buf_puts(out, " }") : r;
}

/* A rule with such a set between two texts; none when the set would be empty. */
static int rule(struct lx_buf *out, const struct cards *c, const char *network, const char *chain,
		const char *before, word_fn word, size_t project, bool others, const char *verdict,
		const char *after)
{
	lx_autobuf struct lx_buf text = { 0 };
	bool any;
	int r = set(&text, c, word, project, others, verdict, &any);

	if (r < 0 || !any)
		return r;
	return lx_buf_printf(out, "add rule " TABLE " %s %s %s%s\n", network, chain, before,
			     lx_buf_str(&text), after);
}

/* ------------------------------------------------------------------ the table */

static int declare(struct lx_buf *out, const struct cards *c, const char *network)
{
	int r = lx_buf_printf(out, "table " TABLE " {\n", network);

	for (size_t i = 0; i < c->n_projects && r == 0; i++)
		r = lx_buf_printf(out, "\tchain p%zu { }\n\tchain g%zu { }\n", i, i);
	if (r == 0)
		r = lx_buf_printf(
			out,
			"\tchain across { type filter hook forward priority filter; policy accept; }\n"
			"\tchain gate { type filter hook input priority filter; policy accept; }\n"
			"}\nflush table " TABLE "\n",
			network);
	return r;
}

static int project_rules(struct lx_buf *out, const struct cards *c, const struct lx_network_config *config,
			 size_t project)
{
	char across[24], gate[24], tunnel[IFNAMSIZ];
	int r;

	snprintf(across, sizeof(across), "p%zu", project);
	snprintf(gate, sizeof(gate), "g%zu", project);
	/* A card that is freed of the check of its address may say that it is another project's. */
	r = rule(out, c, config->name, across, "ether saddr", word_mac, project, true, NULL, " counter drop");
	if (r == 0)
		r = rule(out, c, config->name, across, "oifname", word_port, project, false, NULL, " accept");
	if (r == 0 && config->vxlan_id != 0)
		r = lx_buf_printf(out, "add rule " TABLE " %s oifname \"%s\" accept\n", config->name, across,
				  lx_tunnel_guests_name(config->vxlan_id, tunnel));
	if (r == 0)
		r = lx_buf_printf(out, "add rule " TABLE " %s counter drop\n", config->name, across);
	if (r == 0)
		r = rule(out, c, config->name, gate, "ip daddr", word_v4, project, true, NULL,
			 " counter drop");
	if (r == 0)
		r = rule(out, c, config->name, gate, "ip6 daddr", word_v6, project, true, NULL,
			 " counter drop");
	return r;
}

static int rules(struct lx_buf *out, const struct cards *c, const struct lx_network_config *config)
{
	char tunnel[IFNAMSIZ], from[64];
	int r = declare(out, c, config->name);

	for (size_t i = 0; i < c->n_projects && r == 0; i++)
		if (c->on_bridge[i])
			r = project_rules(out, c, config, i);
	if (r == 0)
		r = rule(out, c, config->name, "across", "iifname vmap", word_port, 0, false, "p", "");
	if (r == 0 && config->vxlan_id != 0) {
		snprintf(from, sizeof(from), "iifname \"%s\" ether saddr vmap",
			 lx_tunnel_guests_name(config->vxlan_id, tunnel));
		r = rule(out, c, config->name, "across", from, word_mac, 0, false, "p", "");
	}
	if (r == 0 && config->vxlan_id != 0)
		r = lx_buf_printf(out, "add rule " TABLE " across iifname \"%s\" counter drop\n",
				  config->name, lx_tunnel_guests_name(config->vxlan_id, tunnel));
	/* From a port nobody knows. What is on other bridges goes its way. */
	if (r == 0)
		r = rule(out, c, config->name, "across", "oifname", word_port, NOBODY, true, NULL,
			 " counter drop");
	return r < 0 ? r : rule(out, c, config->name, "gate", "iifname vmap", word_port, 0, false, "g", "");
}

int lx_isolation_table(struct lx_buf *out, const struct lx_network_config *config,
		       const Lxmgr__V1__ApplyNetworksRequest *req, const Lxmgr__V1__NetworkSpec *spec)
{
	struct cards c = { 0 };
	bool any = false;
	int r = config->isolation ? collect(&c, req, spec) : 0;

	for (size_t i = 0; i < c.n_projects && c.on_bridge; i++)
		any |= c.on_bridge[i];
	if (r == 0 && any && c.n_projects > 1 && c.n_projects <= LX_ISOLATION_PROJECTS_MAX)
		r = rules(out, &c, config);
	cards_release(&c);
	return r;
}

int lx_isolation_remove(struct lx_buf *out, const char *network)
{
	/* Declared first, so that deleting what is not there is no failure. */
	return lx_buf_printf(out, "table " TABLE "\ndelete table " TABLE "\n", network, network);
}
