/*
 * One packet socket a card. Its filter takes nothing at first, and then what comes from the guest. Frames are
 * looked at when somebody asks: the first in the queue is there however much comes after it and finds no
 * room.
 */
#include "migration/voice.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/str.h"
#include "migration/packet_filter.h"

/* The kernel counts a frame as a kilobyte at least: so many acknowledgements may come before a word. */
#define QUEUE_BYTES (4 << 20)
#define FRAMES_MAX  65536u /* that are looked at; a guest may send faster than this reads */

/* ------------------------------------------------------------------ what is said */

/* `data`: bytes after the header of the layer below, as that has it; a part of them is here. */
static bool tcp_says(const uint8_t *segment, size_t len, size_t data)
{
	struct tcphdr h;

	if (len < sizeof(h))
		return false;
	memcpy(&h, segment, sizeof(h));
	return data > (size_t)h.doff * 4 || h.fin || (h.syn && !h.ack);
}

static bool ipv4_says(const uint8_t *packet, size_t len)
{
	struct iphdr h;

	if (len < sizeof(h))
		return false;
	memcpy(&h, packet, sizeof(h));
	size_t head = (size_t)h.ihl * 4;
	/* 0: more than fits into the field; its segments are still to be made. */
	size_t whole = h.tot_len ? ntohs(h.tot_len) : SIZE_MAX;

	if (head < sizeof(h) || head >= len || head > whole)
		return false;
	switch (h.protocol) {
	case IPPROTO_TCP:
		return tcp_says(packet + head, len - head, whole - head);
	case IPPROTO_ICMP:
		return packet[head] == ICMP_ECHO;
	case IPPROTO_IGMP:
		return false;
	default:
		return true;
	}
}

static bool ipv6_says(const uint8_t *packet, size_t len)
{
	struct ip6_hdr h;

	if (len <= sizeof(h))
		return false;
	memcpy(&h, packet, sizeof(h));
	size_t data = h.ip6_plen ? ntohs(h.ip6_plen) : SIZE_MAX;

	switch (h.ip6_nxt) {
	case IPPROTO_TCP:
		return tcp_says(packet + sizeof(h), len - sizeof(h), data);
	case IPPROTO_ICMPV6:
		return packet[sizeof(h)] == ICMP6_ECHO_REQUEST;
	case IPPROTO_HOPOPTS: /* of group membership; also of more than fits into the field */
		return len > sizeof(h) + 8 && packet[sizeof(h)] == IPPROTO_TCP;
	default:
		return true;
	}
}

bool lx_voice_is_said(const uint8_t *frame, size_t len)
{
	struct ether_header h;

	if (len < sizeof(h))
		return false;
	memcpy(&h, frame, sizeof(h));
	switch (ntohs(h.ether_type)) {
	case ETHERTYPE_IP:
		return ipv4_says(frame + sizeof(h), len - sizeof(h));
	case ETHERTYPE_IPV6:
		return ipv6_says(frame + sizeof(h), len - sizeof(h));
	default:
		return false;
	}
}

/* ------------------------------------------------------------------ sockets */

/* Protocol 0: it receives nothing before it is bound to one. */
static int open_one(void)
{
	lx_autoclose int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1, queue = QUEUE_BYTES;

	if (fd < 0 || lx_packet_take_nothing(fd) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)) < 0)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &queue, sizeof(queue));
	return lx_move_fd(fd);
}

void lx_voice_open(size_t n_nics, struct lx_voice *ret)
{
	*ret = LX_VOICE_NONE;
	while (ret->n < n_nics && ret->n < LX_VOICE_CARDS_MAX)
		ret->fds[ret->n++] = open_one();
}

void lx_voice_bind(const struct lx_voice *v, size_t n_nics, Lxmgr__V1__Nic *const *nics)
{
	for (unsigned i = 0; i < v->n && i < n_nics; i++) {
		const struct sockaddr_ll where = { .sll_family = AF_PACKET,
						   .sll_protocol = htons(ETH_P_ALL),
						   .sll_ifindex = (int)if_nametoindex(nics[i]->host_name) };

		/* Without an index it would hear all of the machine. */
		if (v->fds[i] >= 0 && where.sll_ifindex > 0)
			(void)bind(v->fds[i], (const struct sockaddr *)&where, sizeof(where));
	}
}

void lx_voice_listen(const struct lx_voice *v)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, LX_VOICE_FRAME),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};

	for (unsigned i = 0; i < v->n; i++)
		if (v->fds[i] >= 0)
			(void)lx_packet_filter(v->fds[i], code, LX_ARRAY_SIZE(code));
}

/* When the next frame there came, and whether it says something; 0: there is none. */
static int64_t next_frame(int fd, bool *ret_said)
{
	union {
		char room[CMSG_SPACE(sizeof(struct timespec))];
		struct cmsghdr align;
	} control;
	uint8_t frame[LX_VOICE_FRAME];
	struct iovec part = { .iov_base = frame, .iov_len = sizeof(frame) };
	struct msghdr msg = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	ssize_t n = recvmsg(fd, &msg, 0);

	if (n < 0)
		return 0;
	*ret_said = lx_voice_is_said(frame, (size_t)n);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		struct timespec at;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS)
			continue;
		memcpy(&at, CMSG_DATA(c), sizeof(at));
		return (int64_t)at.tv_sec * (int64_t)LX_NSEC_PER_SEC + at.tv_nsec;
	}
	return 0;
}

static int64_t first_word(int fd)
{
	for (unsigned i = 0; fd >= 0 && i < FRAMES_MAX; i++) {
		bool said = false;
		int64_t at = next_frame(fd, &said);

		if (at == 0 || said)
			return at;
	}
	return 0;
}

int64_t lx_voice_heard_at_ns(const struct lx_voice *v)
{
	int64_t first = 0;

	for (unsigned i = 0; i < v->n; i++) {
		int64_t at = first_word(v->fds[i]);

		if (at && (first == 0 || at < first))
			first = at;
	}
	return first;
}

void lx_voice_release(struct lx_voice *v)
{
	for (unsigned i = 0; i < v->n; i++)
		if (v->fds[i] >= 0)
			close(v->fds[i]);
	*v = LX_VOICE_NONE;
}
