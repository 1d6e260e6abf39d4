/*
 * One packet socket a card. Its filter takes nothing at first and then what is addressed to the card:
 * changing a filter is one call, making a socket promiscuous is not.
 *
 * Ways to fail: no bridge of that name, no right, no memory. The caller goes on without.
 */
#include "migration/traffic.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "migration/packet_filter.h"
#include "proto/pb.h"

#define QUEUE_BYTES (4 << 20) /* the kernel counts its own overhead */
/* The largest frame with segments still to be made, and the header before it. */
#define FRAME_MAX (65536 + ETH_HLEN + (int)sizeof(struct virtio_net_hdr))

/* ------------------------------------------------------------------ sockets */

static int take_those_to(int fd, const uint8_t mac[ETH_ALEN])
{
	const uint32_t high =
		(uint32_t)mac[0] << 24 | (uint32_t)mac[1] << 16 | (uint32_t)mac[2] << 8 | mac[3];
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, high, 0, 3),
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 4),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)mac[4] << 8 | mac[5], 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};

	return lx_packet_filter(fd, code, LX_ARRAY_SIZE(code));
}

/* On `ifname`, with the header. Protocol 0: it receives nothing before it is bound to one. */
static int open_on(const char *ifname, int *ret_index)
{
	lx_autoclose int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1, index = (int)if_nametoindex(ifname);

	if (fd < 0 || index == 0 || setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)) < 0)
		return -errno;
	*ret_index = index;
	return lx_move_fd(fd);
}

static int open_listener(const char *bridge)
{
	int index = 0, queue = QUEUE_BYTES;
	lx_autoclose int fd = open_on(bridge, &index);
	const struct sockaddr_ll where = { .sll_family = AF_PACKET,
					   .sll_protocol = htons(ETH_P_ALL),
					   .sll_ifindex = index };
	const struct packet_mreq all = { .mr_ifindex = index, .mr_type = PACKET_MR_PROMISC };

	if (fd < 0)
		return fd;
	int r = lx_packet_take_nothing(fd);

	if (r < 0)
		return r;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &queue, sizeof(queue)) < 0 ||
	    bind(fd, (const struct sockaddr *)&where, sizeof(where)) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof(all)) < 0)
		return -errno;
	return lx_move_fd(fd);
}

/* ------------------------------------------------------------------ the source */

int lx_traffic_open(size_t n_nics, Lxmgr__V1__Nic *const *nics, struct lx_traffic *ret, struct lx_err *err)
{
	*ret = LX_TRAFFIC_NONE;
	for (size_t i = 0; i < n_nics && i < LX_TRAFFIC_CARDS_MAX; i++) {
		int fd = lx_str_empty(nics[i]->bridge) ? -1 : open_listener(nics[i]->bridge);

		ret->fds[ret->n++] = fd < 0 ? -1 : fd;
		if (fd < 0 && !lx_str_empty(nics[i]->bridge))
			return lx_err_errno(err, fd, "cannot listen on %s", nics[i]->bridge);
	}
	return 0;
}

int lx_traffic_hold(const struct lx_traffic *t, size_t n_nics, Lxmgr__V1__Nic *const *nics,
		    struct lx_err *err)
{
	for (unsigned i = 0; i < t->n && i < n_nics; i++) {
		struct ether_addr mac;

		if (t->fds[i] < 0)
			continue;
		if (!ether_aton_r(nics[i]->hwaddr, &mac))
			return lx_err_set(err, LX_INVALID_ARGUMENT, "\"%s\" is no hardware address",
					  nics[i]->hwaddr);
		int r = take_those_to(t->fds[i], mac.ether_addr_octet);

		if (r < 0)
			return lx_err_errno(err, r, "cannot set a filter");
	}
	return 0;
}

static int add_frame(Lxmgr__V1__MoveCommit *out, unsigned card, const uint8_t *data, size_t len)
{
	Lxmgr__V1__HeldFrame **grown = realloc(out->held, (out->n_held + 1) * sizeof(*grown));
	Lxmgr__V1__HeldFrame *f = malloc(sizeof(*f));
	uint8_t *copy = malloc(len);

	if (grown)
		out->held = grown;
	if (!grown || !f || !copy) {
		free(f);
		free(copy);
		return -ENOMEM;
	}
	lxmgr__v1__held_frame__init(f);
	memcpy(copy, data, len);
	f->card = card;
	f->data.data = copy;
	f->data.len = len;
	out->held[out->n_held++] = f;
	return 0;
}

int lx_traffic_take(const struct lx_traffic *t, Lxmgr__V1__MoveCommit *out, struct lx_err *err)
{
	lx_autofree uint8_t *buf = malloc(FRAME_MAX);
	size_t bytes = 0;

	if (!buf)
		return lx_err_oom(err);
	for (unsigned i = 0; i < t->n; i++) {
		for (;;) {
			ssize_t n = t->fds[i] < 0 ? -1 : recv(t->fds[i], buf, FRAME_MAX, MSG_TRUNC);

			if (n < 0 && (t->fds[i] < 0 || errno != EINVAL))
				break;
			/* EINVAL: a frame of a kind that the header has no words for; it is used up. */
			if (n < 0 || n > FRAME_MAX || bytes + (size_t)n > LX_TRAFFIC_MAX)
				continue;
			bytes += (size_t)n;
			if (add_frame(out, i, buf, (size_t)n) < 0)
				return lx_err_oom(err);
		}
	}
	return 0;
}

Lxmgr__V1__MoveCommit *lx_traffic_end(const struct lx_traffic *t)
{
	Lxmgr__V1__MoveCommit *held = t->n > 0 ? malloc(sizeof(*held)) : NULL;

	if (!held)
		return NULL;
	lxmgr__v1__move_commit__init(held);
	/* First: taking out what is there is not done at once. */
	for (unsigned i = 0; i < t->n; i++)
		if (t->fds[i] >= 0)
			(void)lx_packet_take_nothing(t->fds[i]);
	(void)lx_traffic_take(t, held, NULL);
	return held;
}

void lx_traffic_release(struct lx_traffic *t)
{
	for (unsigned i = 0; i < t->n; i++)
		if (t->fds[i] >= 0)
			close(t->fds[i]);
	*t = LX_TRAFFIC_NONE;
}

/* ------------------------------------------------------------------ the destination */

static int deliver_card(unsigned card, const Lxmgr__V1__Nic *nic, const Lxmgr__V1__MoveCommit *held,
			struct lx_err *err)
{
	int index = 0;
	lx_autoclose int fd = open_on(nic->host_name, &index);
	const struct sockaddr_ll where = { .sll_family = AF_PACKET, .sll_ifindex = index };

	if (fd < 0)
		return lx_err_errno(err, fd, "cannot reach %s through %s", nic->name, nic->host_name);
	for (size_t i = 0; i < held->n_held; i++) {
		const Lxmgr__V1__HeldFrame *f = held->held[i];

		if (f->card == card)
			(void)!sendto(fd, f->data.data, f->data.len, 0, (const struct sockaddr *)&where,
				      sizeof(where));
	}
	return 0;
}

int lx_traffic_deliver(size_t n_nics, Lxmgr__V1__Nic *const *nics, const Lxmgr__V1__MoveCommit *held,
		       struct lx_err *err)
{
	int r = 0;

	for (unsigned i = 0; i < n_nics && i < LX_TRAFFIC_CARDS_MAX && held->n_held > 0; i++) {
		int s = deliver_card(i, nics[i], held, r == 0 ? err : NULL);

		r = r == 0 ? s : r;
	}
	return r;
}
