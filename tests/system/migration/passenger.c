/*
 * A process of a guest that notices when a move changes something:
 *
 *   passenger FILE PORT MEGABYTES [CHANGES]
 *
 * It becomes an orphan (so a child of the guest's init) and holds what a move has to carry: a
 * number in memory, as many megabytes without a pattern that it goes on changing, a file that is deleted, a
 * processor of its choice, a pair of unix sockets, two terminals in which something lies unread, timers, a
 * watch on a directory, and a TCP server that echoes. Again and again it looks at all of it and writes into
 * FILE:
 *
 *   <pid> <count> <what is wrong, or "well">
 *
 * Linked statically: the guest has another libc, or none.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS     20
#define CLIENTS_MAX 16
#define CHANGES     200 /* of words in memory, a tick; on slow machines fewer leave something alone */
#define VAULT       (1024 * 1024)
#define PAGE        4096
#define HELD        "deleted, but held\n"
#define SILENT_MS   5000 /* nothing is so long away, */
#define SILENT      8    /* or is missed so often: of a watch, what was not read is not carried */

static struct {
	int pair[2], file, server;
	struct {
		int pty, tty;
	} raw, lines;
	struct heard {
		int fd;
		unsigned missed;
		uint64_t ms;
	} timers[3], watch;
	int once;
	struct pollfd clients[CLIENTS_MAX];
	cpu_set_t cpu;
	uint8_t *memory;
	size_t size, changes;
	uint64_t sum;
} own;

static void check(long r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "passenger: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t sum_up(void)
{
	uint64_t sum = 0;

	for (size_t i = 0; i + sizeof(sum) <= own.size; i += sizeof(sum)) {
		uint64_t word;

		memcpy(&word, own.memory + i, sizeof(word));
		sum += word * (2 * i + 1);
	}
	return sum;
}

/* Written to each time, and closed to everybody in between, as garbage collectors do. */
static const char *open_vault(uint64_t count)
{
	static uint8_t *vault;
	static uint64_t last;

	if (own.size == 0)
		return NULL;
	if (!vault) {
		vault = mmap(NULL, VAULT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		check(vault == MAP_FAILED ? -1 : 0, "mmap");
		memset(vault, (int)(last % 251), VAULT);
	}
	check(mprotect(vault, VAULT, PROT_READ | PROT_WRITE), "mprotect");
	for (size_t i = 0; i < VAULT; i += PAGE)
		if (vault[i] != last % 251)
			return "memory that nobody may read";
	last = count;
	for (size_t i = 0; i < VAULT; i += PAGE)
		vault[i] = (uint8_t)(last % 251);
	check(mprotect(vault, VAULT, PROT_NONE), "mprotect");
	return NULL;
}

/* Other pages each time, also while they are being copied. The sum goes along. */
static void change(uint64_t count)
{
	static uint64_t random = 88172645463325252u;

	for (size_t n = 0; n < own.changes && own.size > 0; n++) {
		uint64_t old, word = count + n;

		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		size_t i = random % (own.size / sizeof(old)) * sizeof(old);

		memcpy(&old, own.memory + i, sizeof(old));
		memcpy(own.memory + i, &word, sizeof(word));
		own.sum += (word - old) * (2 * i + 1);
	}
}

static void make_memory(size_t megabytes)
{
	own.size = megabytes << 20;
	if (own.size == 0)
		return;
	own.memory = mmap(NULL, own.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(own.memory == MAP_FAILED ? -1 : 0, "mmap");
	for (size_t at = 0; at < own.size;) {
		ssize_t n = getrandom(own.memory + at, own.size - at, 0);

		check(n, "getrandom");
		at += (size_t)n;
	}
	own.sum = sum_up();
}

static void make_file(const char *near)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s.held", near);
	own.file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	check(own.file, path);
	check(write(own.file, HELD, strlen(HELD)), "write");
	check(unlink(path), "unlink");
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int make_timer(clockid_t clock, int flags, long first_ms, long every_ms)
{
	struct itimerspec t = { .it_interval = { .tv_nsec = every_ms * 1000000 },
				.it_value = { .tv_nsec = first_ms * 1000000 } };
	int fd = timerfd_create(clock, TFD_NONBLOCK);

	check(fd, "timerfd_create");
	check(timerfd_settime(fd, flags, &t, NULL), "timerfd_settime");
	return fd;
}

/* Periodic ones, of which some expire while it stands still; and one that was over long before. */
static void make_timers(void)
{
	static const struct {
		clockid_t clock;
		long ms;
	} t[] = { { CLOCK_MONOTONIC, 20 }, { CLOCK_REALTIME, 20 }, { CLOCK_MONOTONIC, 900 } };
	struct pollfd over = { .events = POLLIN };
	uint64_t ticks;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		own.timers[i].fd = make_timer(t[i].clock, 0, t[i].ms, t[i].ms);
		own.timers[i].ms = now_ms();
	}
	own.once = make_timer(CLOCK_MONOTONIC, TFD_TIMER_ABSTIME, 1, 0);
	/* Even what is over already the kernel has to be interrupted for. */
	over.fd = own.once;
	check(poll(&over, 1, SILENT_MS), "wait for a timer");
	check(read(own.once, &ticks, sizeof(ticks)), "read a timer");
}

/* It sees what it tells itself. */
static void make_watch(const char *near)
{
	char dir[4096];

	snprintf(dir, sizeof(dir), "%s", near);
	check(strrchr(dir, '/') ? 0 : -1, near);
	*strrchr(dir, '/') = '\0';
	own.watch.fd = inotify_init1(IN_NONBLOCK);
	check(own.watch.fd, "inotify_init1");
	check(inotify_add_watch(own.watch.fd, *dir ? dir : "/", IN_MOVED_TO), "inotify_add_watch");
	own.watch.ms = now_ms();
}

static void make_pty(int *pty, int *tty)
{
	*pty = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
	check(*pty, "posix_openpt");
	check(unlockpt(*pty), "unlockpt");
	*tty = open(ptsname(*pty), O_RDWR | O_NOCTTY | O_NONBLOCK);
	check(*tty, "open a terminal");
}

static void put(int to, const void *data, size_t n)
{
	check(write(to, data, n) == (ssize_t)n ? 0 : -1, "write to a terminal");
}

/* The kernel echoes a little later: what is said comes after that. */
static void leave_lines(void)
{
	int echoed = 0;

	put(own.lines.pty, "whole\nha", 8);
	while (ioctl(own.lines.pty, FIONREAD, &echoed) == 0 && echoed < (int)strlen("whole\r\nha"))
		usleep(100);
	put(own.lines.tty, "said\n", 5);
}

/* In one a number is under way in each direction; in the other half a line is typed, and answers wait. */
static void make_terminals(void)
{
	static const uint64_t first = 0;
	struct termios t;

	make_pty(&own.raw.pty, &own.raw.tty);
	check(tcgetattr(own.raw.tty, &t), "tcgetattr");
	cfmakeraw(&t);
	check(tcsetattr(own.raw.tty, TCSANOW, &t), "tcsetattr");
	put(own.raw.pty, &first, sizeof(first));
	put(own.raw.tty, &first, sizeof(first));

	make_pty(&own.lines.pty, &own.lines.tty);
	leave_lines();
}

/* The last of those that it may run on. */
static void choose_cpu(void)
{
	cpu_set_t all;
	int last = 0;

	check(sched_getaffinity(0, sizeof(all), &all), "sched_getaffinity");
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &all))
			last = i;
	CPU_ZERO(&own.cpu);
	CPU_SET(last, &own.cpu);
	check(sched_setaffinity(0, sizeof(own.cpu), &own.cpu), "sched_setaffinity");
}

static void make_server(uint16_t port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
	int on = 1;

	own.server = socket(AF_INET, SOCK_STREAM, 0);
	check(own.server, "socket");
	check(setsockopt(own.server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), "SO_REUSEADDR");
	check(bind(own.server, (struct sockaddr *)&at, sizeof(at)), "bind");
	check(listen(own.server, CLIENTS_MAX), "listen");
	own.clients[0] = (struct pollfd){ .fd = own.server, .events = POLLIN };
	for (int i = 1; i < CLIENTS_MAX; i++)
		own.clients[i] = (struct pollfd){ .fd = -1, .events = POLLIN };
}

/* ------------------------------------------------------------------ again and again */

static void take_client(void)
{
	int fd = accept(own.server, NULL, NULL), on = 1;

	for (int i = 1; i < CLIENTS_MAX && fd >= 0; i++)
		if (own.clients[i].fd < 0) {
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
			own.clients[i].fd = fd;
			return;
		}
	close(fd);
}

static void echo(void)
{
	char buf[4096];

	if (poll(own.clients, CLIENTS_MAX, TICK_MS) <= 0)
		return;
	if (own.clients[0].revents)
		take_client();
	for (int i = 1; i < CLIENTS_MAX; i++) {
		if (own.clients[i].fd < 0 || !own.clients[i].revents)
			continue;
		ssize_t n = read(own.clients[i].fd, buf, sizeof(buf));

		if (n > 0 && write(own.clients[i].fd, buf, (size_t)n) == n)
			continue;
		close(own.clients[i].fd);
		own.clients[i].fd = -1;
	}
}

static int passes(int from, int to, uint64_t count)
{
	uint64_t got = 0;

	return write(from, &count, sizeof(count)) == sizeof(count) &&
	       read(to, &got, sizeof(got)) == sizeof(got) && got == count;
}

/* What was sent the time before arrives, and the next is sent. */
static int has_passed(int from, int to, uint64_t count)
{
	uint64_t got = 0;

	return read(to, &got, sizeof(got)) == sizeof(got) && got == count - 1 &&
	       write(from, &count, sizeof(count)) == sizeof(count);
}

static int reads(int from, const char *what)
{
	char got[64] = "";
	size_t want = strlen(what), n = 0;

	/* The kernel hands on what was written a little later, and a line at a time. */
	for (int i = 0; n < want && i < 50; i++) {
		ssize_t r = read(from, got + n, sizeof(got) - 1 - n);

		if (r > 0)
			n += (size_t)r;
		else
			usleep(1000);
	}
	return strcmp(got, what) == 0;
}

/* Of what was typed is echoed, and of what is said is made, what a terminal makes of it: once. */
static int has_lines(void)
{
	if (!reads(own.lines.pty, "whole\r\nhasaid\r\n") || !reads(own.lines.tty, "whole\n"))
		return 0;
	put(own.lines.pty, "lf\n", 3);
	if (!reads(own.lines.tty, "half\n") || !reads(own.lines.pty, "lf\r\n"))
		return 0;
	leave_lines();
	return 1;
}

static int keeps_cpu(void)
{
	cpu_set_t now;

	return sched_getaffinity(0, sizeof(now), &now) == 0 && CPU_EQUAL(&now, &own.cpu);
}

/* Whether there has been something to read of late. */
static int is_heard(struct heard *h)
{
	char got[4096];
	uint64_t now = now_ms();

	h->missed++;
	while (read(h->fd, got, sizeof(got)) > 0) {
		h->ms = now;
		h->missed = 0;
	}
	return now - h->ms < SILENT_MS || h->missed < SILENT;
}

static const char *hear(void)
{
	uint64_t ticks;

	for (size_t i = 0; i < sizeof(own.timers) / sizeof(own.timers[0]); i++)
		if (!is_heard(&own.timers[i]))
			return "a timer, which does not expire any more";
	if (read(own.once, &ticks, sizeof(ticks)) >= 0)
		return "a timer, which expires again";
	return is_heard(&own.watch) ? NULL : "the watch on a directory";
}

static const char *look(uint64_t count)
{
	char text[sizeof(HELD)] = "";
	const char *vault = open_vault(count), *silent = hear();

	if (vault || silent)
		return vault ? vault : silent;
	if (!keeps_cpu())
		return "the processor";
	if (!passes(own.pair[0], own.pair[1], count))
		return "the socket pair";
	if (!has_passed(own.raw.pty, own.raw.tty, count) || !has_passed(own.raw.tty, own.raw.pty, count))
		return "the terminal";
	if (!has_lines())
		return "the terminal with lines";
	if (pread(own.file, text, strlen(HELD), 0) != (ssize_t)strlen(HELD) || strcmp(text, HELD) != 0)
		return "the deleted file";
	/* Slow, so not always. */
	if (count % 16 == 0 && sum_up() != own.sum)
		return "memory";
	return "well";
}

static void tell(const char *path, uint64_t count, const char *what)
{
	char text[256], fresh[4096];
	int n = snprintf(text, sizeof(text), "%d %llu %s\n", (int)getpid(), (unsigned long long)count, what);

	snprintf(fresh, sizeof(fresh), "%s.new", path);
	int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || write(fd, text, (size_t)n) != n || rename(fresh, path) < 0)
		exit(1);
	close(fd);
}

int main(int argc, char **argv)
{
	const char *wrong = "well";

	if (argc != 4 && argc != 5)
		return 2;
	own.changes = argc == 5 ? strtoul(argv[4], NULL, 10) : CHANGES;
	signal(SIGPIPE, SIG_IGN);
	check(socketpair(AF_UNIX, SOCK_STREAM, 0, own.pair), "socketpair");
	make_file(argv[1]);
	make_terminals();
	choose_cpu();
	make_timers();
	make_watch(argv[1]);
	make_server((uint16_t)strtoul(argv[2], NULL, 10));
	if (fork() != 0)
		return 0;
	setsid();
	for (int fd = 0; fd <= 2; fd++)
		dup2(own.file, fd);
	make_memory(strtoul(argv[3], NULL, 10));
	for (uint64_t count = 1;; count++) {
		echo();
		change(count);
		if (strcmp(wrong, "well") == 0)
			wrong = look(count);
		tell(argv[1], count, wrong);
	}
}
