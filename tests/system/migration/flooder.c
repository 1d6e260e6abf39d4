/*
 * A log that is written to without a pause, and read slowly: its socket is never empty.
 *
 *   flooder FILE
 *
 * It leaves two processes behind, one that writes numbered messages and one that takes them, which has the
 * number of who sends them with each, and writes into FILE, every now and then:
 *
 *   <its pid> <messages taken> <what is wrong, or "well">
 *
 * Linked statically: the guest has another libc, or none.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_US 300
#define SAY_AT  64 /* messages */

static void check(long r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "flooder: %s: %s\n", what, strerror(errno));
	exit(1);
}

static pid_t start(void)
{
	pid_t child = fork();

	check(child, "fork");
	if (child == 0)
		setsid();
	return child;
}

static void say(const char *file, uint64_t taken, const char *wrong)
{
	char path[256];

	snprintf(path, sizeof(path), "%s.new", file);
	FILE *f = fopen(path, "we");

	if (!f || fprintf(f, "%d %llu %s\n", (int)getpid(), (unsigned long long)taken, wrong) < 0 ||
	    fclose(f) != 0)
		exit(1);
	check(rename(path, file), "rename");
}

__attribute__((noreturn)) static void flood(int fd)
{
	for (uint64_t n = 1;; n++)
		check(send(fd, &n, sizeof(n), 0), "send");
}

/* Who sends it comes with it. */
static ssize_t take(int fd, uint64_t *n, pid_t *from)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct iovec part = { n, sizeof(*n) };
	struct msghdr msg = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	ssize_t r = recvmsg(fd, &msg, 0);
	const struct cmsghdr *c = r < 0 ? NULL : CMSG_FIRSTHDR(&msg);
	struct ucred cred = { .pid = 0 };

	if (c && c->cmsg_type == SCM_CREDENTIALS)
		memcpy(&cred, CMSG_DATA(c), sizeof(cred));
	*from = cred.pid;
	return r;
}

__attribute__((noreturn)) static void take_all(int fd, pid_t writer, const char *file)
{
	const char *wrong = "well";

	for (uint64_t last = 0, n = 0;; last = n) {
		pid_t from;

		if (take(fd, &n, &from) != sizeof(n))
			wrong = "what it takes is no message";
		else if (n != last + 1)
			wrong = n > last ? "messages are lost" : "a message has come again";
		else if (from != writer)
			wrong = "it is not told who has sent it";
		if (n % SAY_AT == 0)
			say(file, n, wrong);
		usleep(READ_US);
	}
}

int main(int argc, char **argv)
{
	int ends[2], on = 1;

	if (argc != 2)
		return 2;
	check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair");
	check(setsockopt(ends[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), "SO_PASSCRED");
	pid_t writer = start();

	if (writer == 0) {
		close(ends[0]);
		flood(ends[1]);
	}
	close(ends[1]);
	if (start() == 0)
		take_all(ends[0], writer, argv[1]);
	return 0;
}
