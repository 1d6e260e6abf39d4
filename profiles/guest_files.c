/*
 * Files put into an instance's own layer before its first start: its name, its resolver,
 * and its addresses in the words of the network tool the image brings. The interface is up
 * and addressed before init runs (liblxc did it), so these describe what is there already:
 * the tool adopts it, nothing flaps. An image without a tool needs none of them.
 */
#include "profiles/profiles.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "profiles/value.h"

#define NAMESERVERS_MAX 3 /* more are ignored by the C library */

struct set {
	struct lx_guest_file *files;
	size_t n;
	struct lx_err *err;
};

/* Adds a file with the buffer's text (taken over, also on failure). */
static int add_file(struct set *s, const char *path, struct lx_buf *text)
{
	lx_autofree char *copy = strdup(path);
	lx_autofree char *content = lx_buf_steal(text);

	lx_buf_release(text);
	if (!copy || !content)
		return lx_err_oom(s->err);
	if (s->n == LX_GUEST_FILES_MAX)
		return lx_err_set(s->err, LX_RESOURCE_EXHAUSTED,
				  "the network needs more than %d files in the guest", LX_GUEST_FILES_MAX);
	s->files[s->n++] = (struct lx_guest_file){ .path = lx_move_ptr(copy),
						   .mode = 0644,
						   .text = lx_move_ptr(content) };
	return 0;
}

/* Appends, and remembers the first failure in *r. */
__attribute__((format(printf, 3, 4))) static void say(struct lx_buf *out, int *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (*r == 0)
		*r = lx_buf_vprintf(out, fmt, ap);
	va_end(ap);
}

/* Adds the file if all of it could be said. */
static int finish(struct set *s, const char *path, struct lx_buf *text, int r)
{
	if (r < 0) {
		lx_buf_release(text);
		return lx_err_oom(s->err);
	}
	return add_file(s, path, text);
}

/* ------------------------------------------------------------------ names */

static const char *domain_of(const struct lx_guest_net *nets, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!lx_str_empty(nets[i].dns_domain))
			return nets[i].dns_domain;
	return NULL;
}

static int add_names(struct set *s, const char *hostname, const char *domain)
{
	struct lx_buf name = { 0 }, hosts = { 0 };
	int r = 0;

	say(&name, &r, "%s\n", hostname);
	r = finish(s, "/etc/hostname", &name, r);
	if (r < 0)
		return r;
	say(&hosts, &r, "127.0.0.1\tlocalhost\n127.0.1.1\t");
	if (domain)
		say(&hosts, &r, "%s.%s ", hostname, domain);
	say(&hosts, &r,
	    "%s\n"
	    "::1\tlocalhost ip6-localhost ip6-loopback\n"
	    "ff02::1\tip6-allnodes\n"
	    "ff02::2\tip6-allrouters\n",
	    hostname);
	return finish(s, "/etc/hosts", &hosts, r);
}

/* ------------------------------------------------------------------ resolver */

/* Every server once, in order, each behind `before`; returns how many. */
static int say_servers(struct lx_buf *out, int *r, const char *before, const char *after,
		       const struct lx_guest_net *nets, size_t n)
{
	const char *said[NAMESERVERS_MAX];
	int count = 0;

	for (size_t i = 0; i < n; i++) {
		for (const char *const *dns = nets[i].dns; dns && *dns && count < NAMESERVERS_MAX; dns++) {
			bool again = false;

			for (int k = 0; k < count; k++)
				again |= strcmp(said[k], *dns) == 0;
			if (again)
				continue;
			say(out, r, "%s%s%s", before, *dns, after);
			said[count++] = *dns;
		}
	}
	return count;
}

/* resolv.conf, or a word to systemd-resolved where that writes it. */
static int add_resolver(struct set *s, const struct lx_guest_probe *probe, const struct lx_guest_net *nets,
			size_t n)
{
	const char *domain = domain_of(nets, n);
	bool resolved = probe->systemd && probe->resolved;
	struct lx_buf text = { 0 };
	int r = 0, servers;

	if (resolved) {
		say(&text, &r, "[Resolve]\n");
		servers = say_servers(&text, &r, "DNS=", "\n", nets, n);
		if (domain)
			say(&text, &r, "Domains=%s\n", domain);
	} else {
		if (domain)
			say(&text, &r, "search %s\n", domain);
		servers = say_servers(&text, &r, "nameserver ", "\n", nets, n);
	}
	if (servers == 0) { /* the image's own is better than none */
		lx_buf_release(&text);
		return r < 0 ? lx_err_oom(s->err) : 0;
	}
	return finish(s, resolved ? "/etc/systemd/resolved.conf.d/10-lxmgr.conf" : "/etc/resolv.conf", &text,
		      r);
}

/* ------------------------------------------------------------------ systemd-networkd */

static int add_networkd(struct set *s, const struct lx_guest_net *net)
{
	const struct lx_lxc_nic *nic = &net->nic;
	bool v4 = !lx_str_empty(nic->ipv4), v6 = !lx_str_empty(nic->ipv6);
	lx_autofree char *path = lx_asprintf("/etc/systemd/network/10-lxmgr-%s.network", nic->name);
	struct lx_buf text = { 0 };
	int r = 0;

	if (!path)
		return lx_err_oom(s->err);
	say(&text, &r, "[Match]\nName=%s\n\n[Link]\n", nic->name);
	if (nic->mtu)
		say(&text, &r, "MTUBytes=%" PRIu32 "\n", nic->mtu);
	/* An interface without an address of ours must not hold up the boot. */
	say(&text, &r, "RequiredForOnline=%s\n\n[Network]\n", v4 || v6 ? "yes" : "no");
	/* What the kernel has from before networkd is the same as below: do not take it away first. */
	say(&text, &r, "KeepConfiguration=static\nDHCP=no\n");
	if (v6)
		say(&text, &r, "IPv6AcceptRA=no\n");
	if (v4)
		say(&text, &r, "Address=%s\n", nic->ipv4);
	if (v6)
		say(&text, &r, "Address=%s\n", nic->ipv6);
	if (!lx_str_empty(nic->ipv4_gateway))
		say(&text, &r, "Gateway=%s\n", nic->ipv4_gateway);
	if (!lx_str_empty(nic->ipv6_gateway))
		say(&text, &r, "Gateway=%s\n", nic->ipv6_gateway);
	say_servers(&text, &r, "DNS=", "\n", net, 1);
	if (!lx_str_empty(net->dns_domain))
		say(&text, &r, "Domains=%s\n", net->dns_domain);
	return finish(s, path, &text, r);
}

/* ------------------------------------------------------------------ ifupdown */

/*
 * Commands instead of "inet static": that method adds the address and fails when it is there.
 * These say how it shall be, so they may run on a configured interface, and again.
 */
static void say_ifupdown_nic(struct lx_buf *out, int *r, const struct lx_lxc_nic *nic)
{
	say(out, r, "\nauto %s\niface %s inet manual\n", nic->name, nic->name);
	if (nic->mtu)
		say(out, r, "\tup ip link set dev $IFACE mtu %" PRIu32 "\n", nic->mtu);
	say(out, r, "\tup ip link set dev $IFACE up\n");
	if (!lx_str_empty(nic->ipv4))
		say(out, r, "\tup ip addr replace %s broadcast + dev $IFACE\n", nic->ipv4);
	if (!lx_str_empty(nic->ipv6))
		say(out, r, "\tup ip -6 addr replace %s dev $IFACE nodad\n", nic->ipv6);
	if (!lx_str_empty(nic->ipv4_gateway))
		say(out, r, "\tup ip route replace default via %s dev $IFACE\n", nic->ipv4_gateway);
	if (!lx_str_empty(nic->ipv6_gateway))
		say(out, r, "\tup ip -6 route replace default via %s dev $IFACE\n", nic->ipv6_gateway);
	say(out, r, "\tdown ip addr flush dev $IFACE\n");
}

/*
 * The main file is replaced: the image's own would ask a DHCP server for the same interface.
 * Ours go where it looks for more, which also makes that directory: busybox's ifup needs it.
 */
static int add_ifupdown(struct set *s, const struct lx_guest_net *nets, size_t n)
{
	struct lx_buf text = { 0 };
	int r = 0;

	say(&text, &r,
	    "auto lo\n"
	    "iface lo inet loopback\n"
	    "\n"
	    "source-directory /etc/network/interfaces.d\n");
	r = finish(s, "/etc/network/interfaces", &text, r);
	if (r < 0)
		return r;
	say(&text, &r, "# Addresses leased by lxmgr.\n");
	for (size_t i = 0; i < n; i++)
		say_ifupdown_nic(&text, &r, &nets[i].nic);
	return finish(s, "/etc/network/interfaces.d/lxmgr", &text, r);
}

/* ------------------------------------------------------------------ all of them */

/* An address of the family (AF_UNSPEC: either), with or without "/prefix". */
static bool is_address(const char *s, int family, bool with_prefix)
{
	char text[INET6_ADDRSTRLEN];
	unsigned char raw[sizeof(struct in6_addr)];
	const char *slash = strchr(s, '/');
	size_t n = slash ? (size_t)(slash - s) : strlen(s);
	uint64_t prefix = 0;

	if (n >= sizeof(text) || with_prefix != (slash != NULL))
		return false;
	memcpy(text, s, n);
	text[n] = '\0';
	if (slash && lx_parse_u64(slash + 1, &prefix) < 0)
		return false;
	return (family != AF_INET6 && inet_pton(AF_INET, text, raw) == 1 && prefix <= 32) ||
	       (family != AF_INET && inet_pton(AF_INET6, text, raw) == 1 && prefix <= 128);
}

/* A DNS domain: labels of letters, digits and hyphens. */
static bool is_domain(const char *s)
{
	return strlen(s) <= 253 &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == strlen(s);
}

/* Nothing goes into a file of the guest's that could say more there than it should. */
static int check_net(const struct lx_guest_net *net, struct lx_err *err)
{
	const struct lx_lxc_nic *nic = &net->nic;
	const struct {
		const char *what, *text;
		int family;
		bool with_prefix;
	} addresses[] = {
		{ "IPv4 address", nic->ipv4, AF_INET, true },
		{ "IPv6 address", nic->ipv6, AF_INET6, true },
		{ "IPv4 gateway", nic->ipv4_gateway, AF_INET, false },
		{ "IPv6 gateway", nic->ipv6_gateway, AF_INET6, false },
	};

	if (!lx_value_ifname(nic->name))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "a network card's name cannot be an interface");
	for (size_t i = 0; i < LX_ARRAY_SIZE(addresses); i++)
		if (!lx_str_empty(addresses[i].text) &&
		    !is_address(addresses[i].text, addresses[i].family, addresses[i].with_prefix))
			return lx_err_set(err, LX_INVALID_ARGUMENT, "%s: the %s is malformed", nic->name,
					  addresses[i].what);
	for (const char *const *dns = net->dns; dns && *dns; dns++)
		if (!is_address(*dns, AF_UNSPEC, false))
			return lx_err_set(err, LX_INVALID_ARGUMENT, "%s: a DNS server is not an address",
					  nic->name);
	if (!lx_str_empty(net->dns_domain) && !is_domain(net->dns_domain))
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%s: the DNS domain is malformed", nic->name);
	return 0;
}

int lx_guest_files(const char *hostname, const struct lx_guest_probe *probe, const struct lx_guest_net *nets,
		   size_t n_nets, struct lx_guest_file files[LX_GUEST_FILES_MAX], struct lx_err *err)
{
	struct set s = { .files = files, .err = err };
	int r = lx_name_check("host", hostname, err);

	for (size_t i = 0; i < n_nets && r == 0; i++)
		r = check_net(&nets[i], err);
	if (r == 0)
		r = add_names(&s, hostname, domain_of(nets, n_nets));
	if (r == 0)
		r = add_resolver(&s, probe, nets, n_nets);
	if (r == 0 && probe->ifupdown)
		r = add_ifupdown(&s, nets, n_nets);
	for (size_t i = 0; i < n_nets && r == 0 && probe->systemd && probe->networkd; i++)
		r = add_networkd(&s, &nets[i]);
	if (r < 0) {
		lx_guest_files_release(files, s.n);
		return r;
	}
	return (int)s.n;
}

void lx_guest_files_release(struct lx_guest_file *files, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(files[i].path);
		free(files[i].text);
		files[i] = (struct lx_guest_file){ 0 };
	}
}
