/*
 * What tests/bench/migrate.py runs in containers. Static: the same file is pushed into all of them.
 *
 *   move_load echo PORT              sends back what it gets, one connection after the other
 *   move_load heap MIB PERCENT FILE  fills a heap with noise, makes FILE, then rewrites PERCENT of
 *                                    it every second, page by page from one end to the other
 *   move_load shared MIB PERCENT FILE  the same of memory that processes share
 *   move_load tmpfs MIB PERCENT FILE   the same of a file in /dev/shm
 *   move_load peer ADDRESS PORT      one connection, a message every millisecond; says how long
 *                                    it has waited for answers at most
 *
 * The peer's messages are numbers that count up, and so must the answers: a byte lost, doubled or
 * swapped ends it with an error. It is asked through its standard input, a letter each:
 *
 *   r   forget what was            answers {}
 *   s   show                       answers {"stall_ns": N, "waiting": N, "messages": N}
 *   p   be silent                  answers {} when nothing is under way any more
 *   g   go on                      answers {}
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS  1000000000ull
#define PERIOD_NS  1000000ull
#define PAGE       4096u
#define SLICES     100u /* of a second of rewriting */
#define CONNECT_NS (10 * SECOND_NS)

__attribute__((noreturn)) static void die(const char *what)
{
	printf("{\"error\": \"%s: %s\"}\n", what, strerror(errno));
	fflush(stdout);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

static void send_at_once(int fd)
{
	int on = 1;

	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* ------------------------------------------------------------------ echo */

static void serve(int fd)
{
	char buf[65536];

	for (;;) {
		ssize_t n = read(fd, buf, sizeof(buf));

		if (n <= 0)
			return;
		for (ssize_t at = 0, w; at < n; at += w) {
			w = write(fd, buf + at, (size_t)(n - at));
			if (w < 0)
				return;
		}
	}
}

static int echo(uint16_t port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 8) < 0)
		die("cannot listen");
	for (;;) {
		int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (conn < 0)
			continue;
		send_at_once(conn);
		serve(conn);
		close(conn);
	}
}

/* ------------------------------------------------------------------ heap */

/* Noise: what compression or a comparison of pages would make nothing of, is nothing here. */
static void fill(uint64_t *page, uint64_t *seed)
{
	for (size_t i = 0; i < PAGE / sizeof(*page); i++) {
		*seed ^= *seed << 13;
		*seed ^= *seed >> 7;
		*seed ^= *seed << 17;
		page[i] = *seed;
	}
}

static char *get_memory(const char *kind, size_t bytes)
{
	bool shared = strcmp(kind, "shared") == 0, file = strcmp(kind, "tmpfs") == 0;
	int fd = file ? open("/dev/shm/move-load", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;

	if (file && (fd < 0 || ftruncate(fd, (off_t)bytes) < 0))
		die("no file");
	char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       (shared || file ? MAP_SHARED : MAP_PRIVATE) | (file ? 0 : MAP_ANONYMOUS), fd, 0);

	if (p == MAP_FAILED)
		die("no memory");
	return p;
}

static int heap(const char *kind, size_t mib, unsigned percent, const char *ready)
{
	size_t pages = mib * (1048576 / PAGE), slice = pages * percent / 100 / SLICES;
	const struct timespec rest = { .tv_nsec = SECOND_NS / SLICES };
	uint64_t seed = 88172645463325252ull;
	char *p = get_memory(kind, pages * PAGE);

	for (size_t i = 0; i < pages; i++)
		fill((uint64_t *)(void *)(p + i * PAGE), &seed);
	int fd = open(ready, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		die(ready);
	close(fd);
	for (size_t at = 0;;) {
		for (size_t i = 0; i < slice; i++, at = (at + 1) % pages)
			fill((uint64_t *)(void *)(p + at * PAGE), &seed);
		nanosleep(&rest, NULL);
	}
}

/* ------------------------------------------------------------------ peer */

struct peer {
	int fd;
	bool silent, asked_silence;
	uint64_t sent, got;
	char part[sizeof(uint64_t)]; /* of the next answer */
	size_t have;
	uint64_t next_ns; /* when the next message is due */
	uint64_t last_ns; /* the last answer's arrival, or when waiting began */
	uint64_t stall_ns;
};

static int dial(const char *address, uint16_t port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	const struct timespec rest = { .tv_nsec = 20000000 };

	if (inet_pton(AF_INET, address, &to.sin_addr) != 1)
		die("no address");
	for (uint64_t end = now_ns() + CONNECT_NS;;) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
			return fd;
		if (now_ns() > end)
			die("cannot connect");
		if (fd >= 0)
			close(fd);
		nanosleep(&rest, NULL);
	}
}

static void note_wait(struct peer *p, uint64_t now)
{
	if (p->sent > p->got && now - p->last_ns > p->stall_ns)
		p->stall_ns = now - p->last_ns;
}

static void receive(struct peer *p)
{
	char buf[65536];
	ssize_t n = recv(p->fd, buf, sizeof(buf), MSG_DONTWAIT);
	uint64_t now = now_ns();

	if (n < 0 && errno == EAGAIN)
		return;
	if (n == 0)
		errno = EPIPE;
	if (n <= 0)
		die("the connection is gone");
	note_wait(p, now);
	p->last_ns = now;
	for (ssize_t i = 0; i < n; i++) {
		uint64_t number;

		p->part[p->have++] = buf[i];
		if (p->have < sizeof(p->part))
			continue;
		memcpy(&number, p->part, sizeof(number));
		p->have = 0;
		errno = EBADMSG;
		if (number != p->got++)
			die("an answer is wrong");
	}
}

/* While the other side stands still messages queue up; with a full queue a turn is left out. */
static void transmit(struct peer *p, uint64_t now)
{
	p->next_ns = p->next_ns + PERIOD_NS > now ? p->next_ns + PERIOD_NS : now + PERIOD_NS;
	ssize_t n = send(p->fd, &p->sent, sizeof(p->sent), MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n != sizeof(p->sent))
		die("cannot send");
	if (p->sent++ == p->got)
		p->last_ns = now;
}

static void answer_silence(struct peer *p)
{
	if (!p->asked_silence || p->sent > p->got)
		return;
	p->asked_silence = false;
	puts("{}");
}

static void obey(struct peer *p, char letter)
{
	switch (letter) {
	case 'r':
		p->stall_ns = 0;
		puts("{}");
		break;
	case 's':
		note_wait(p, now_ns());
		printf("{\"stall_ns\": %llu, \"waiting\": %llu, \"messages\": %llu}\n",
		       (unsigned long long)p->stall_ns, (unsigned long long)(p->sent - p->got),
		       (unsigned long long)p->got);
		break;
	case 'p':
		p->silent = p->asked_silence = true;
		break;
	case 'g':
		p->silent = false;
		p->next_ns = now_ns();
		puts("{}");
		break;
	default:
		break;
	}
}

static int talk(const char *address, uint16_t port)
{
	struct peer p = { .fd = dial(address, port) };

	setvbuf(stdout, NULL, _IOLBF, 0);
	send_at_once(p.fd);
	p.next_ns = p.last_ns = now_ns();
	for (;;) {
		struct pollfd fds[] = { { .fd = p.fd, .events = POLLIN },
					{ .fd = STDIN_FILENO, .events = POLLIN } };
		uint64_t now = now_ns(), left = p.next_ns > now ? p.next_ns - now : 0;
		struct timespec wait = { .tv_nsec = (long)left };
		char letter;

		if (ppoll(fds, 2, p.silent ? NULL : &wait, NULL) < 0 && errno != EINTR)
			die("poll");
		if (fds[0].revents)
			receive(&p);
		if (fds[1].revents) {
			if (read(STDIN_FILENO, &letter, 1) != 1)
				return 0;
			obey(&p, letter);
		}
		now = now_ns();
		if (!p.silent && now >= p.next_ns)
			transmit(&p, now);
		answer_silence(&p);
	}
}

/* ------------------------------------------------------------------ */

static unsigned number(const char *text, unsigned long max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	errno = ERANGE;
	if (*text == '\0' || *end || n > max)
		die(text);
	return (unsigned)n;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "echo") == 0)
		return echo((uint16_t)number(argv[2], UINT16_MAX));
	if (argc == 5 &&
	    (strcmp(argv[1], "heap") == 0 || strcmp(argv[1], "shared") == 0 || strcmp(argv[1], "tmpfs") == 0))
		return heap(argv[1], number(argv[2], 1048576), number(argv[3], 100), argv[4]);
	if (argc == 4 && strcmp(argv[1], "peer") == 0)
		return talk(argv[2], (uint16_t)number(argv[3], UINT16_MAX));
	fprintf(stderr,
		"usage: move_load echo PORT | heap|shared|tmpfs MIB PERCENT FILE | peer ADDRESS PORT\n");
	return 2;
}
