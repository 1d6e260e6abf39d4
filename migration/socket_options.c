/* Ways to fail: no right to the descriptors; no memory. An option that this kernel has not is passed over. */
#include "migration/socket_options.h"

#include <errno.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/map.h"
#include "lib/str.h"
#include "migration/descriptors.h"
#include "migration/guest_processes.h"
#include "migration/memberships.h"
#include "proto/pb.h"

/* Newer than the C library's headers: asm-generic/socket.h, linux/in.h, linux/in6.h. */
#define PASSPIDFD          76
#define PASSRIGHTS         83
#define RECVFRAGSIZE       25
#define RECVERR_RFC4884    26
#define V6_RECVFRAGSIZE    77
#define V6_RECVERR_RFC4884 31

static const struct option {
	int level, name;
} options[] = {
	{ SOL_SOCKET, SO_REUSEADDR }, /* of others than IP sockets */
	{ SOL_SOCKET, SO_TIMESTAMP },
	{ SOL_SOCKET, SO_TIMESTAMPNS },
	{ SOL_SOCKET, SO_TIMESTAMPING },
	{ SOL_SOCKET, SO_RXQ_OVFL },
	{ SOL_SOCKET, SO_PEEK_OFF },
	{ SOL_SOCKET, PASSPIDFD },
	{ SOL_SOCKET, PASSRIGHTS },
	{ SOL_NETLINK, NETLINK_PKTINFO },
	{ SOL_NETLINK, NETLINK_BROADCAST_ERROR },
	{ SOL_NETLINK, NETLINK_NO_ENOBUFS },
	{ SOL_NETLINK, NETLINK_LISTEN_ALL_NSID },
	{ SOL_NETLINK, NETLINK_CAP_ACK },
	{ SOL_NETLINK, NETLINK_EXT_ACK },
	{ SOL_NETLINK, NETLINK_GET_STRICT_CHK },
	{ IPPROTO_IP, IP_RECVOPTS },
	{ IPPROTO_IP, IP_RETOPTS },
	{ IPPROTO_IP, IP_MTU_DISCOVER },
	{ IPPROTO_IP, IP_RECVERR },
	{ IPPROTO_IP, IP_RECVTTL },
	{ IPPROTO_IP, IP_RECVTOS },
	{ IPPROTO_IP, IP_PASSSEC },
	{ IPPROTO_IP, IP_TRANSPARENT },
	{ IPPROTO_IP, IP_RECVORIGDSTADDR },
	{ IPPROTO_IP, IP_MINTTL },
	{ IPPROTO_IP, IP_CHECKSUM },
	{ IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT },
	{ IPPROTO_IP, RECVFRAGSIZE },
	{ IPPROTO_IP, RECVERR_RFC4884 },
	{ IPPROTO_IP, IP_MULTICAST_TTL },
	{ IPPROTO_IP, IP_MULTICAST_LOOP },
	{ IPPROTO_IP, IP_MULTICAST_ALL },
	{ IPPROTO_IP, IP_UNICAST_IF },
	{ IPPROTO_IPV6, IPV6_UNICAST_HOPS },
	{ IPPROTO_IPV6, IPV6_MULTICAST_IF },
	{ IPPROTO_IPV6, IPV6_MULTICAST_HOPS },
	{ IPPROTO_IPV6, IPV6_MULTICAST_LOOP },
	{ IPPROTO_IPV6, IPV6_MTU_DISCOVER },
	{ IPPROTO_IPV6, IPV6_RECVERR },
	{ IPPROTO_IPV6, IPV6_MULTICAST_ALL },
	{ IPPROTO_IPV6, V6_RECVERR_RFC4884 },
	{ IPPROTO_IPV6, IPV6_RECVPKTINFO },
	{ IPPROTO_IPV6, IPV6_RECVHOPLIMIT },
	{ IPPROTO_IPV6, IPV6_RECVHOPOPTS },
	{ IPPROTO_IPV6, IPV6_RECVRTHDR },
	{ IPPROTO_IPV6, IPV6_RECVDSTOPTS },
	{ IPPROTO_IPV6, IPV6_RECVPATHMTU },
	{ IPPROTO_IPV6, IPV6_DONTFRAG },
	{ IPPROTO_IPV6, IPV6_RECVTCLASS },
	{ IPPROTO_IPV6, IPV6_TCLASS },
	{ IPPROTO_IPV6, IPV6_ADDR_PREFERENCES },
	{ IPPROTO_IPV6, IPV6_MINHOPCOUNT },
	{ IPPROTO_IPV6, IPV6_RECVORIGDSTADDR },
	{ IPPROTO_IPV6, IPV6_TRANSPARENT },
	{ IPPROTO_IPV6, IPV6_UNICAST_IF },
	{ IPPROTO_IPV6, V6_RECVFRAGSIZE },
	{ IPPROTO_IPV6, IPV6_FREEBIND },
	{ IPPROTO_TCP, TCP_SYNCNT },
	{ IPPROTO_TCP, TCP_LINGER2 },
	{ IPPROTO_TCP, TCP_DEFER_ACCEPT },
	{ IPPROTO_TCP, TCP_USER_TIMEOUT },
	{ IPPROTO_TCP, TCP_FASTOPEN },
	{ IPPROTO_TCP, TCP_NOTSENT_LOWAT },
};

#define OPTIONS LX_ARRAY_SIZE(options)

static bool is_socket(const char *target, void *arg)
{
	return lx_starts_with(target, "socket:[");
}

/* A socket of that kind answers to its own levels alone. */
static bool read_option(int fd, const struct option *o, int *ret)
{
	socklen_t n = sizeof(*ret);

	*ret = 0;
	return getsockopt(fd, o->level, o->name, ret, &n) == 0;
}

/* ------------------------------------------------------------------ saving */

/* What options of a new socket are. */
struct kind {
	int domain, type, protocol;
	int values[OPTIONS];
};

struct saving {
	Lxmgr__V1__GuestState *out;
	struct lx_map seen; /* "socket:[inode]" */
	struct lx_groups groups;
	struct kind *kinds;
	size_t n_kinds;
	pid_t process; /* in the guest's numbers */
};

static int int_option(int fd, int name)
{
	int value = 0;
	socklen_t n = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &n) == 0 ? value : -1;
}

/* NULL: no memory. Where no such socket can be made, zeros. */
static const struct kind *kind_of(struct saving *s, int fd)
{
	struct kind k = { .domain = int_option(fd, SO_DOMAIN),
			  .type = int_option(fd, SO_TYPE),
			  .protocol = int_option(fd, SO_PROTOCOL) };

	for (size_t i = 0; i < s->n_kinds; i++)
		if (s->kinds[i].domain == k.domain && s->kinds[i].type == k.type &&
		    s->kinds[i].protocol == k.protocol)
			return &s->kinds[i];
	struct kind *grown = realloc(s->kinds, (s->n_kinds + 1) * sizeof(*grown));

	if (!grown)
		return NULL;
	s->kinds = grown;
	lx_autoclose int fresh = socket(k.domain, k.type | SOCK_CLOEXEC, k.protocol);

	for (size_t i = 0; fresh >= 0 && i < OPTIONS; i++)
		(void)read_option(fresh, &options[i], &k.values[i]);
	grown[s->n_kinds] = k;
	return &grown[s->n_kinds++];
}

static int add_option(Lxmgr__V1__GuestSocket *to, const struct option *o, int value)
{
	Lxmgr__V1__GuestSocketOption *one = malloc(sizeof(*one));
	Lxmgr__V1__GuestSocketOption **grown = realloc(to->options, (to->n_options + 1) * sizeof(*grown));

	if (grown)
		to->options = grown;
	if (!one || !grown) {
		free(one);
		return -ENOMEM;
	}
	lxmgr__v1__guest_socket_option__init(one);
	one->level = o->level;
	one->name = o->name;
	one->value = value;
	to->options[to->n_options++] = one;
	return 0;
}

static int save_options(int fd, const struct kind *k, Lxmgr__V1__GuestSocket *of)
{
	int value, r = 0;

	for (size_t i = 0; r == 0 && i < OPTIONS; i++)
		if (read_option(fd, &options[i], &value) && value != k->values[i])
			r = add_option(of, &options[i], value);
	return r;
}

/* Takes it over; one of which there is nothing to say is let go. */
static int add_socket(Lxmgr__V1__GuestState *out, Lxmgr__V1__GuestSocket *one)
{
	bool plain = one->n_options == 0 && one->n_memberships == 0;
	Lxmgr__V1__GuestSocket **grown =
		plain ? NULL : realloc(out->sockets, (out->n_sockets + 1) * sizeof(*grown));

	if (!grown) {
		lx_pb_free(one);
		return plain ? 0 : -ENOMEM;
	}
	out->sockets = grown;
	out->sockets[out->n_sockets++] = one;
	return 0;
}

static int save_socket(struct saving *s, int fd, int number, const struct kind *k)
{
	Lxmgr__V1__GuestSocket *one = malloc(sizeof(*one));

	if (!one)
		return -ENOMEM;
	lxmgr__v1__guest_socket__init(one);
	one->process = (uint32_t)s->process;
	one->descriptor = (uint32_t)number;
	int r = save_options(fd, k, one);

	if (r == 0)
		r = lx_memberships_save(fd, &s->groups, one);
	if (r == 0)
		return add_socket(s->out, one);
	lx_pb_free(one);
	return r;
}

static int save(int fd, int number, const char *name, void *arg, struct lx_err *err)
{
	struct saving *s = arg;

	if (s->out->n_sockets == LX_GUEST_SOCKETS_MAX || lx_map_has(&s->seen, name))
		return 0;
	const struct kind *k = lx_map_set(&s->seen, name, s) < 0 ? NULL : kind_of(s, fd);

	return !k || save_socket(s, fd, number, k) < 0 ? lx_err_oom(err) : 0;
}

int lx_socket_options_save(pid_t init, const pid_t *pids, size_t n, Lxmgr__V1__GuestState *out,
			   struct lx_err *err)
{
	struct saving s = { .out = out };
	const struct lx_descriptors d = { .wanted = is_socket, .each = save, .arg = &s };
	int r = 0;

	lx_map_init(&s.seen, NULL);
	lx_groups_read(init, &s.groups);
	for (size_t i = 0; r == 0 && i < n; i++) {
		s.process = lx_guest_number(pids[i]);
		if (s.process > 0)
			r = lx_descriptors_each(pids[i], &d, err);
	}
	lx_map_release(&s.seen);
	lx_groups_release(&s.groups);
	free(s.kinds);
	return r;
}

/* ------------------------------------------------------------------ loading */

static bool is_known(const Lxmgr__V1__GuestSocketOption *o)
{
	for (size_t i = 0; i < OPTIONS; i++)
		if (options[i].level == o->level && options[i].name == o->name)
			return true;
	return false;
}

static unsigned load(int fd, const Lxmgr__V1__GuestSocket *s)
{
	unsigned done = 0;

	for (size_t i = 0; i < s->n_options; i++) {
		const Lxmgr__V1__GuestSocketOption *o = s->options[i];
		const struct option which = { o->level, o->name };
		int now = 0;

		if (is_known(o) && read_option(fd, &which, &now) && now != o->value &&
		    setsockopt(fd, o->level, o->name, &o->value, sizeof(o->value)) == 0)
			done++;
	}
	return done + lx_memberships_load(fd, s);
}

/* The guest's numbers of these processes. malloc'ed */
static uint32_t *numbers_of(const pid_t *pids, size_t n)
{
	uint32_t *numbers = calloc(n ? n : 1, sizeof(*numbers));

	for (size_t i = 0; numbers && i < n; i++)
		numbers[i] = (uint32_t)lx_guest_number(pids[i]);
	return numbers;
}

static int open_process(const pid_t *pids, const uint32_t *numbers, size_t n, uint32_t number)
{
	for (size_t i = 0; i < n; i++)
		if (numbers[i] == number)
			return (int)syscall(SYS_pidfd_open, pids[i], 0);
	return -1;
}

unsigned lx_socket_options_load(const pid_t *pids, size_t n, const Lxmgr__V1__GuestState *state)
{
	lx_autofree uint32_t *numbers = state->n_sockets > 0 ? numbers_of(pids, n) : NULL;
	lx_autoclose int pidfd = -1;
	uint32_t process = 0;
	unsigned done = 0;

	/* Those of one process follow each other. */
	for (size_t i = 0; numbers && i < state->n_sockets && i < LX_GUEST_SOCKETS_MAX; i++) {
		const Lxmgr__V1__GuestSocket *s = state->sockets[i];

		if (s->process != process) {
			if (pidfd >= 0)
				close(pidfd);
			pidfd = open_process(pids, numbers, n, s->process);
			process = s->process;
		}
		lx_autoclose int fd =
			pidfd < 0 ? -1 : (int)syscall(SYS_pidfd_getfd, pidfd, (int)s->descriptor, 0);

		if (fd >= 0)
			done += load(fd, s);
	}
	return done;
}
