/*
 * A process of a guest that is slow to take what was sent to it: CRIU dumps nobody in whose sockets
 * something of certain kinds waits (criu/sk-netlink.c, criu/sk-queue.c).
 *
 *   hoarder netlink|log FILE WORD
 *
 * It becomes an orphan and has a netlink socket with answers of the kernel's in it, or a unix socket like a
 * log's with a message. When there is a file WORD it takes them, and removes that file. It
 * writes into FILE:
 *
 *   <pid> <taken, in bytes; 0: not yet> <what is wrong, or "well">
 *
 * Wrong is also that an option of that socket is not as it has set it. And it has memory as few programs have
 * it: more addresses than any machine has memory, as MariaDB reserves them, and below all else code that it
 * shares, as PHP compiles it, which it calls all the time.
 *
 * Linked statically: the guest has another libc, or none.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define TICK_MS 20

static void check(long r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "hoarder: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void say(const char *file, size_t taken, const char *wrong)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s.new", file);
	f = fopen(path, "we");
	if (!f || fprintf(f, "%d %zu %s\n", (int)getpid(), taken, wrong) < 0 || fclose(f) != 0)
		exit(1);
	check(rename(path, file), "rename");
}

/* All links: the answer waits at once. */
static int ask_kernel(void)
{
	struct {
		struct nlmsghdr head;
		struct ifinfomsg link;
	} ask = { .head = { .nlmsg_len = sizeof(ask),
			    .nlmsg_type = RTM_GETLINK,
			    .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP } };
	const struct sockaddr_nl own = { .nl_family = AF_NETLINK };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), on = 1;

	check(fd, "socket");
	check(setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on)), "NETLINK_GET_STRICT_CHK");
	check(bind(fd, (const struct sockaddr *)&own, sizeof(own)), "bind");
	check(send(fd, &ask, sizeof(ask), 0), "send");
	return fd;
}

/* What a log has: a socket whose messages come with the time and with who has sent them. */
static int hoard_messages(void)
{
	int ends[2], on = 1;

	check(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends), "socketpair");
	check(setsockopt(ends[0], SOL_SOCKET, SO_TIMESTAMP, &on, sizeof(on)), "SO_TIMESTAMP");
	check(setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), "SO_PASSCRED");
	check(send(ends[1], "a line", 6, 0), "send");
	return ends[0];
}

#if defined(__x86_64__)
static const unsigned char code[] = { 0xb8, 42, 0, 0, 0, 0xc3 }; /* mov $42, %eax; ret */
#elif defined(__aarch64__)
static const unsigned int code[] = { 0x52800540, 0xd65f03c0 }; /* mov w0, #42; ret */
#endif

#define RESERVED  (8ul << 40)
#define CODE_AT   0x200000ul /* a static program begins at 4 MiB */
#define CODE_SIZE 65536ul

static void take_memory(void)
{
	void *low = mmap((void *)CODE_AT, CODE_SIZE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	check(low == MAP_FAILED ? -1 : 0, "code");
	memcpy(low, code, sizeof(code));
	check(mprotect(low, CODE_SIZE, PROT_READ | PROT_EXEC), "mprotect");
	void *all = mmap(NULL, RESERVED, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check(all == MAP_FAILED ? -1 : 0, "reserve");
	check(mprotect(all, CODE_SIZE, PROT_READ | PROT_WRITE), "mprotect");
	memset(all, 1, CODE_SIZE);
}

static int call_code(void)
{
	int (*call)(void);
	const void *at = (const void *)CODE_AT;

	memcpy(&call, &at, sizeof(call)); /* NOLINT: a function is there */
	return call();
}

static int is_on(int fd, int level, int option)
{
	int on = 0;
	socklen_t n = sizeof(on);

	return getsockopt(fd, level, option, &on, &n) == 0 && on;
}

/* Of what it has set, NULL: nothing. */
static const char *is_lost(int fd, int log)
{
	if (log && !is_on(fd, SOL_SOCKET, SO_TIMESTAMP))
		return "SO_TIMESTAMP is lost";
	if (log && !is_on(fd, SOL_SOCKET, SO_PASSCRED))
		return "SO_PASSCRED is lost";
	if (!log && !is_on(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK))
		return "NETLINK_GET_STRICT_CHK is lost";
	return NULL;
}

static size_t take_all(int fd)
{
	static char buf[65536];
	size_t taken = 0;
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		taken += (size_t)n;
	return taken;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	int log = strcmp(argv[1], "netlink") != 0, fd = log ? hoard_messages() : ask_kernel();
	const char *lost;
	pid_t child = fork();

	check(child, "fork");
	if (child > 0)
		return 0;
	setsid();
	take_memory();
	say(argv[2], 0, "well");
	for (;;) {
		if (call_code() != 42)
			say(argv[2], 1, "its code is another one");
		if (access(argv[3], F_OK) == 0) {
			size_t taken = take_all(fd);

			lost = is_lost(fd, log);
			say(argv[2], taken, lost ? lost : taken > 0 ? "well" : "what was sent to it is lost");
			unlink(argv[3]);
		}
		usleep(TICK_MS * 1000);
	}
}
