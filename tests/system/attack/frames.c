/*
 * Speaks and listens on layer 2 from inside a guest, for tests that attack:
 *
 *   frames send IFACE HEX...          each as it is, source address and all
 *   frames flood IFACE COUNT HEX      the same one many times, as fast as it goes
 *   frames hear IFACE SECONDS LAST MARK...
 *       says "ready", then in hex each frame that holds one of the marks (hex), in promiscuous
 *       mode; ends with the first one that holds LAST, or when the time is over (status 3)
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <linux/if_ether.h>
#include <linux/if_packet.h>

#define FRAME_MAX 2048

static int fail(const char *what)
{
	fprintf(stderr, "frames: %s: %s\n", what, strerror(errno));
	return 1;
}

static size_t unhex(const char *text, uint8_t out[FRAME_MAX])
{
	size_t n = 0;

	for (; n < FRAME_MAX && text[2 * n] && text[2 * n + 1]; n++) {
		char byte[3] = { text[2 * n], text[2 * n + 1], '\0' };

		out[n] = (uint8_t)strtoul(byte, NULL, 16);
	}
	return n;
}

static int open_on(const char *iface, uint16_t protocol)
{
	struct sockaddr_ll at = { .sll_family = AF_PACKET,
				  .sll_protocol = htons(protocol),
				  .sll_ifindex = (int)if_nametoindex(iface) };
	int fd = socket(AF_PACKET, SOCK_RAW, htons(protocol));

	return fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0 ? fd : -1;
}

static int send_all(const char *iface, long count, int n, char **frames)
{
	uint8_t frame[FRAME_MAX];
	int fd = open_on(iface, 0);

	if (fd < 0)
		return fail(iface);
	for (int i = 0; i < n; i++) {
		size_t len = unhex(frames[i], frame);

		for (long k = 0; k < count; k++)
			if (send(fd, frame, len, 0) < 0 && errno != ENOBUFS)
				return fail("send");
	}
	return 0;
}

static int hear(const char *iface, long seconds, int n, char **marks)
{
	struct packet_mreq all = { .mr_ifindex = (int)if_nametoindex(iface), .mr_type = PACKET_MR_PROMISC };
	int fd = open_on(iface, ETH_P_ALL);
	time_t end = time(NULL) + seconds;

	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof(all)) < 0)
		return fail(iface);
	puts("ready");
	fflush(stdout);
	while (time(NULL) < end) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		struct sockaddr_ll from;
		socklen_t from_len = sizeof(from);
		uint8_t frame[FRAME_MAX], mark[FRAME_MAX];

		if (poll(&p, 1, 200) <= 0)
			continue;
		ssize_t len = recvfrom(fd, frame, sizeof(frame), 0, (struct sockaddr *)&from, &from_len);

		for (int i = 0; i < n && len > 0 && from.sll_pkttype != PACKET_OUTGOING; i++) {
			if (!memmem(frame, (size_t)len, mark, unhex(marks[i], mark)))
				continue;
			for (ssize_t k = 0; k < len; k++)
				printf("%02x", frame[k]);
			puts("");
			fflush(stdout);
			if (i == 0)
				return 0;
		}
	}
	return 3;
}

int main(int argc, char **argv)
{
	if (argc > 3 && strcmp(argv[1], "send") == 0)
		return send_all(argv[2], 1, argc - 3, argv + 3);
	if (argc == 5 && strcmp(argv[1], "flood") == 0)
		return send_all(argv[2], strtol(argv[3], NULL, 10), 1, argv + 4);
	if (argc > 4 && strcmp(argv[1], "hear") == 0)
		return hear(argv[2], strtol(argv[3], NULL, 10), argc - 4, argv + 4);
	fputs("usage: frames send|flood|hear IFACE ...\n", stderr);
	return 2;
}
