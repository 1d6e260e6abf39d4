/* Ways to fail: no memory. What cannot be read has no groups; one that may not be joined is passed over. */
#include "migration/memberships.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/cleanup.h"
#include "proto/pb.h"

/* ------------------------------------------------------------------ groups of interfaces */

static struct lx_group *add_group(struct lx_groups *g, unsigned interface)
{
	struct lx_group *grown = g->n < LX_GROUPS_MAX ? realloc(g->v, (g->n + 1) * sizeof(*grown)) : NULL;

	if (!grown)
		return NULL;
	g->v = grown;
	grown[g->n] = (struct lx_group){ .interface = interface };
	return &grown[g->n++];
}

static FILE *open_list(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/net/%s", (int)pid, name);
	return fopen(path, "re");
}

/* "2\teth0      :     2      V3", and for each group "\t\t\t\tFB0000E0     1 0:00000000\t\t0". */
static void read_igmp(pid_t pid, struct lx_groups *g)
{
	lx_autofclose FILE *f = open_list(pid, "igmp");
	unsigned interface = 0, address;
	char line[256];

	while (f && fgets(line, sizeof(line), f)) {
		if (line[0] != '\t') {
			interface = 0;
			/* NOLINTNEXTLINE(cert-err34-c): the kernel's digits */
			(void)sscanf(line, "%u", &interface);
			continue;
		}
		/* NOLINTNEXTLINE(cert-err34-c): the kernel's digits */
		if (!interface || sscanf(line, " %8x", &address) != 1)
			continue;
		struct lx_group *one = add_group(g, interface);
		struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = address };

		if (one)
			memcpy(&one->address, &in, sizeof(in));
	}
}

static bool parse_in6(const char *hex, struct in6_addr *ret)
{
	for (size_t i = 0; i < sizeof(ret->s6_addr); i++)
		/* NOLINTNEXTLINE(cert-err34-c): the kernel's digits */
		if (sscanf(hex + 2 * i, "%2hhx", &ret->s6_addr[i]) != 1)
			return false;
	return true;
}

/* "2    eth0            ff0200000000000000000000000000fb     1 00000004 0" */
static void read_igmp6(pid_t pid, struct lx_groups *g)
{
	lx_autofclose FILE *f = open_list(pid, "igmp6");
	char line[256], hex[33];
	unsigned interface;

	while (f && fgets(line, sizeof(line), f)) {
		struct sockaddr_in6 in = { .sin6_family = AF_INET6 };

		/* NOLINTNEXTLINE(cert-err34-c): the kernel's digits */
		if (sscanf(line, "%u %*s %32[0-9a-f]", &interface, hex) != 2 ||
		    !parse_in6(hex, &in.sin6_addr))
			continue;
		struct lx_group *one = add_group(g, interface);

		if (one)
			memcpy(&one->address, &in, sizeof(in));
	}
}

void lx_groups_read(pid_t pid, struct lx_groups *ret)
{
	read_igmp(pid, ret);
	read_igmp6(pid, ret);
}

void lx_groups_release(struct lx_groups *g)
{
	free(g->v);
	*g = (struct lx_groups){ 0 };
}

/* ------------------------------------------------------------------ those of a socket */

/* struct group_filter ends in one source. */
union filter {
	struct group_filter f;
	uint8_t room[GROUP_FILTER_SIZE(LX_MEMBERSHIP_SOURCES_MAX)];
};

static int level_of(int family)
{
	return family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
}

/* Only these join groups, of their own family; one of IPv6 those of IPv4 as well. */
static bool can_join(int fd, int *ret_domain)
{
	socklen_t n = sizeof(int);
	int type = 0;

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, ret_domain, &n) == 0 &&
	       (*ret_domain == AF_INET || *ret_domain == AF_INET6) &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 &&
	       (type == SOCK_DGRAM || type == SOCK_RAW);
}

/* False: it has not joined it. */
static bool ask_filter(int fd, const struct lx_group *group, union filter *ret)
{
	socklen_t n = sizeof(*ret);

	memset(ret, 0, sizeof(*ret));
	ret->f.gf_interface = group->interface;
	ret->f.gf_group = group->address;
	ret->f.gf_numsrc = LX_MEMBERSHIP_SOURCES_MAX;
	return getsockopt(fd, level_of(group->address.ss_family), MCAST_MSFILTER, ret, &n) == 0 &&
	       ret->f.gf_numsrc <= LX_MEMBERSHIP_SOURCES_MAX;
}

static int set_address(ProtobufCBinaryData *to, const struct sockaddr_storage *from)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	bool is_in6 = from->ss_family == AF_INET6;

	memcpy(&in, from, sizeof(in));
	memcpy(&in6, from, sizeof(in6));
	to->len = is_in6 ? sizeof(in6.sin6_addr) : sizeof(in.sin_addr);
	to->data = malloc(to->len);
	if (!to->data)
		return -ENOMEM;
	memcpy(to->data, is_in6 ? (const void *)&in6.sin6_addr : &in.sin_addr, to->len);
	return 0;
}

static int add_membership(const union filter *filter, Lxmgr__V1__GuestSocket *out)
{
	Lxmgr__V1__GuestMembership *one = malloc(sizeof(*one));
	Lxmgr__V1__GuestMembership **grown =
		realloc(out->memberships, (out->n_memberships + 1) * sizeof(*grown));

	if (grown)
		out->memberships = grown;
	if (!one || !grown) {
		free(one);
		return -ENOMEM;
	}
	lxmgr__v1__guest_membership__init(one);
	out->memberships[out->n_memberships++] = one;
	one->interface = filter->f.gf_interface;
	one->include = filter->f.gf_fmode == MCAST_INCLUDE;
	one->sources = calloc(filter->f.gf_numsrc ? filter->f.gf_numsrc : 1, sizeof(*one->sources));
	int r = one->sources ? set_address(&one->group, &filter->f.gf_group) : -ENOMEM;

	for (; r == 0 && one->n_sources < filter->f.gf_numsrc; one->n_sources++)
		r = set_address(&one->sources[one->n_sources], &filter->f.gf_slist[one->n_sources]);
	return r;
}

int lx_memberships_save(int fd, const struct lx_groups *g, Lxmgr__V1__GuestSocket *out)
{
	union filter filter;
	int domain = 0, r = 0;

	if (g->n == 0 || !can_join(fd, &domain))
		return 0;
	for (size_t i = 0; r == 0 && i < g->n && out->n_memberships < LX_MEMBERSHIPS_MAX; i++)
		if ((domain == AF_INET6 || g->v[i].address.ss_family == AF_INET) &&
		    ask_filter(fd, &g->v[i], &filter))
			r = add_membership(&filter, out);
	return r;
}

/* ------------------------------------------------------------------ joining */

static bool get_address(const ProtobufCBinaryData *from, struct sockaddr_storage *to)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };

	memset(to, 0, sizeof(*to));
	if (from->len == sizeof(in.sin_addr)) {
		memcpy(&in.sin_addr, from->data, sizeof(in.sin_addr));
		memcpy(to, &in, sizeof(in));
		return true;
	}
	if (from->len == sizeof(in6.sin6_addr)) {
		memcpy(&in6.sin6_addr, from->data, sizeof(in6.sin6_addr));
		memcpy(to, &in6, sizeof(in6));
		return true;
	}
	return false;
}

static bool join(int fd, const Lxmgr__V1__GuestMembership *m)
{
	struct group_req req = { .gr_interface = m->interface };
	union filter filter = { .f = { .gf_interface = m->interface,
				       .gf_fmode = m->include ? MCAST_INCLUDE : MCAST_EXCLUDE } };

	if (!get_address(&m->group, &req.gr_group) || m->n_sources > LX_MEMBERSHIP_SOURCES_MAX)
		return false;
	int level = level_of(req.gr_group.ss_family);

	if (setsockopt(fd, level, MCAST_JOIN_GROUP, &req, sizeof(req)) < 0)
		return false;
	if (!m->include && m->n_sources == 0)
		return true;
	filter.f.gf_group = req.gr_group;
	for (size_t i = 0; i < m->n_sources; i++)
		if (get_address(&m->sources[i], &filter.f.gf_slist[filter.f.gf_numsrc]))
			filter.f.gf_numsrc++;
	return setsockopt(fd, level, MCAST_MSFILTER, &filter, GROUP_FILTER_SIZE(filter.f.gf_numsrc)) == 0;
}

unsigned lx_memberships_load(int fd, const Lxmgr__V1__GuestSocket *s)
{
	unsigned done = 0;

	for (size_t i = 0; i < s->n_memberships && i < LX_MEMBERSHIPS_MAX; i++)
		done += join(fd, s->memberships[i]);
	return done;
}
