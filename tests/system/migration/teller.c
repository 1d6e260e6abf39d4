/*
 * Numbered datagrams, to see whether any is lost while one end of their way moves:
 *
 *   teller tell ADDRESS PORT [COUNT]   sends 1, 2, 3 ... to it, some thousands a second
 *   teller hear PORT FILE [GROUP]      takes them in from everybody, and with GROUP what is sent to that
 *                                      multicast group, and writes into FILE, every now and then, a
 *                                      line for each sender:
 *
 *        <sender's address> <first number> <last> <how many between have not come> <how many came again>
 *
 * Linked statically: a guest has another libc, or none.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVERY_NS    250000L
#define SENDERS_MAX 8
#define NUMBERS_MAX (1u << 22)
#define LOOK_MS     50
#define QUEUE_BYTES (8 << 20)

static struct sender {
	struct in_addr address;
	uint32_t first, last, came, again;
	uint8_t heard[NUMBERS_MAX / 8];
} senders[SENDERS_MAX];

static void check(long r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "teller: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint16_t number_of(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end != '\0' || n == 0 || n > UINT16_MAX) {
		fprintf(stderr, "teller: %s is no number from 1 to 65535\n", text);
		exit(2);
	}
	return (uint16_t)n;
}

static int tell(const char *address, const char *port, uint32_t count)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(number_of(port)) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	check(fd, "socket");
	check(inet_pton(AF_INET, address, &to.sin_addr) - 1, "address");
	check(connect(fd, (struct sockaddr *)&to, sizeof(to)), "connect");
	for (uint32_t n = 1; n <= count; n++) {
		/* Nobody hears yet, or any more: ICMP says so at the next one. */
		while (send(fd, &n, sizeof(n), 0) < 0 && errno == ECONNREFUSED)
			;
		nanosleep(&(struct timespec){ .tv_nsec = EVERY_NS }, NULL);
	}
	return 0;
}

static struct sender *find(struct in_addr address)
{
	size_t i = 0;

	while (i < SENDERS_MAX - 1 && senders[i].first && senders[i].address.s_addr != address.s_addr)
		i++;
	senders[i].address = address;
	return &senders[i];
}

static void note(struct sender *s, uint32_t n)
{
	if (n == 0 || n >= NUMBERS_MAX)
		return;
	if (!s->first)
		s->first = n;
	if (n < s->first)
		return;
	if (s->heard[n / 8] & 1u << n % 8) {
		s->again++;
		return;
	}
	s->heard[n / 8] |= (uint8_t)(1u << n % 8);
	s->came++;
	if (n > s->last)
		s->last = n;
}

static void write_down(const char *path)
{
	char temp[4096];

	snprintf(temp, sizeof(temp), "%s.new", path);
	FILE *f = fopen(temp, "we");

	check(f ? 0 : -1, temp);
	for (size_t i = 0; i < SENDERS_MAX && senders[i].first; i++)
		fprintf(f, "%s %u %u %u %u\n", inet_ntoa(senders[i].address), senders[i].first,
			senders[i].last, senders[i].last - senders[i].first + 1 - senders[i].came,
			senders[i].again);
	check(fclose(f), path);
	check(rename(temp, path), path);
}

/* Where there is no interface given, the kernel takes that of the route. */
static void join(int fd, const char *group)
{
	struct group_req req = { 0 };
	struct sockaddr_in in = { .sin_family = AF_INET };

	check(inet_pton(AF_INET, group, &in.sin_addr) - 1, "group");
	memcpy(&req.gr_group, &in, sizeof(in));
	check(setsockopt(fd, IPPROTO_IP, MCAST_JOIN_GROUP, &req, sizeof(req)), "MCAST_JOIN_GROUP");
}

__attribute__((noreturn)) static void hear(const char *port, const char *path, const char *group)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(number_of(port)) }, from;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), queue = QUEUE_BYTES;
	struct timespec wrote = { 0 }, now;
	uint32_t n;

	check(fd, "socket");
	/* A guest's root may not; what the system allows has to do then. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &queue, sizeof(queue)) < 0)
		check(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &queue, sizeof(queue)), "SO_RCVBUF");
	check(bind(fd, (struct sockaddr *)&at, sizeof(at)), "bind");
	if (group)
		join(fd, group);
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		socklen_t len = sizeof(from);

		(void)poll(&p, 1, LOOK_MS);
		while (recvfrom(fd, &n, sizeof(n), MSG_DONTWAIT, (struct sockaddr *)&from, &len) == sizeof(n))
			note(find(from.sin_addr), n);
		clock_gettime(CLOCK_MONOTONIC, &now);
		if ((now.tv_sec - wrote.tv_sec) * 1000 + (now.tv_nsec - wrote.tv_nsec) / 1000000 >= LOOK_MS) {
			write_down(path);
			wrote = now;
		}
	}
}

int main(int argc, char **argv)
{
	if ((argc == 4 || argc == 5) && strcmp(argv[1], "tell") == 0)
		return tell(argv[2], argv[3], argc == 5 ? number_of(argv[4]) : UINT32_MAX);
	if ((argc == 4 || argc == 5) && strcmp(argv[1], "hear") == 0)
		hear(argv[2], argv[3], argc == 5 ? argv[4] : NULL);
	fprintf(stderr, "teller: tell ADDRESS PORT [COUNT], or hear PORT FILE [GROUP]\n");
	return 2;
}
