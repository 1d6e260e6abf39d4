/* Everything dnsmasq is told, in one place: there is no configuration file. Fails for lack of memory only. */
#include "agent/network/dnsmasq_args.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/network/paths.h"
#include "lib/str.h"

#define ARGS_MAX 32
/* Renewed after half of it, so a guest notices a changed name server within the half hour. */
#define LEASE_TIME "1h"

struct args {
	char **v;
	size_t n;
	bool failed;
};

static void add(struct args *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct args *a, const char *fmt, ...)
{
	va_list ap;

	if (a->failed || a->n >= ARGS_MAX) {
		a->failed = true;
		return;
	}
	va_start(ap, fmt);
	a->failed = vasprintf(&a->v[a->n], fmt, ap) < 0;
	va_end(ap);
	if (a->failed)
		a->v[a->n] = NULL;
	else
		a->n++;
}

/* Names below the domain, and addresses of the subnets, are answered here or not at all. */
static void add_names(struct args *a, const struct lx_network_config *c, const char *dir)
{
	char text[LX_SUBNET_TEXT];

	add(a, "--domain=%s", c->domain);
	add(a, "--local=/%s/", c->domain);
	add(a, "--expand-hosts");
	add(a, "--no-hosts");
	add(a, "--hostsdir=%s/%s", dir, LX_NETWORK_NAMES_DIR);
	add(a, "--domain-needed");
	add(a, "--dns-loop-detect"); /* should the machine's own resolver point back at us */
	if (c->v4.family != 0)
		add(a, "--rev-server=%s", lx_subnet_format_network(&c->v4, text));
	if (c->v6.family != 0)
		add(a, "--rev-server=%s", lx_subnet_format_network(&c->v6, text));
}

/* Only the leases of the manager are given out: nobody else gets an address. */
static void add_dhcp(struct args *a, const struct lx_network_config *c, unsigned ifindex, const char *dir)
{
	struct lx_subnet net = lx_subnet_network(&c->v4);
	char base[LX_SUBNET_TEXT], mask[LX_SUBNET_TEXT];

	add(a, "--dhcp-range=set:if%u,%s,static,%s,%s", ifindex, lx_subnet_format_host(&net, base),
	    lx_subnet_format_mask(&net, mask), LEASE_TIME);
	add(a, "--dhcp-hostsdir=%s/%s", dir, LX_NETWORK_HOSTS_DIR);
	add(a, "--dhcp-optsfile=%s/%s", dir, LX_NETWORK_OPTS_FILE);
	/* All addresses are fixed: what it gave to whom need not outlive it. */
	add(a, "--leasefile-ro");
	add(a, "--dhcp-authoritative"); /* answers guests it does not remember, or that remember another
					   network */
	/* What a guest calls itself is no name of the network. */
	add(a, "--dhcp-ignore-names");
	add(a, "--no-ping");
	add(a, "--quiet-dhcp");
}

char **lx_dnsmasq_args(const struct lx_network_config *c, unsigned ifindex, const char *dir, const char *user)
{
	struct args a = { .v = calloc(ARGS_MAX + 1, sizeof(char *)) };

	if (!a.v)
		return NULL;
	add(&a, "dnsmasq");
	add(&a, "--conf-file=/dev/null");
	add(&a, "--pid-file=%s/%s", dir, LX_NETWORK_PID_FILE);
	add(&a, "--user=%s", user);
	/* Waits for addresses and interfaces by itself, and leaves everyone else's port 53 alone. */
	add(&a, "--bind-dynamic");
	add(&a, "--interface=%s", c->name);
	add(&a, "--except-interface=lo");
	add_names(&a, c, dir);
	if (c->v4.family != 0 && c->v4_dhcp)
		add_dhcp(&a, c, ifindex, dir);
	if (!a.failed)
		return a.v;
	lx_dnsmasq_args_free(a.v);
	return NULL;
}

void lx_dnsmasq_args_free(char **args)
{
	for (char **p = args; p && *p; p++)
		free(*p);
	free(args);
}
