/*
 * Either end of a proxy, for guests that have no tools for it:
 *
 *	peer echo ADDRESS		answers what it is sent, until it is killed; says "ready" first
 *	peer ask ADDRESS TEXT		sends the text, prints the answer
 *
 * ADDRESS: tcp:IPV4:PORT, udp:IPV4:PORT, unix:/PATH or unix:@NAME.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* As many as a test has at once: no connection is to depend on SYN cookies. */
#define BACKLOG 1024

struct address {
	int type;
	socklen_t len;
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_un un;
	};
};

static int die(const char *what)
{
	fprintf(stderr, "peer: %s: %s\n", what, strerror(errno));
	return 1;
}

static struct address read_address(char *text)
{
	struct address a = { .type = strncmp(text, "udp:", 4) == 0 ? SOCK_DGRAM : SOCK_STREAM };
	char *rest = strchr(text, ':') + 1;

	if (strncmp(text, "unix:", 5) == 0) {
		a.un.sun_family = AF_UNIX;
		memcpy(a.un.sun_path, rest, strlen(rest));
		a.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(rest));
		if (*rest == '@')
			a.un.sun_path[0] = '\0';
		else
			a.len++;
		return a;
	}
	char *port = strrchr(rest, ':');

	*port++ = '\0';
	a.in.sin_family = AF_INET;
	a.in.sin_port = htons((uint16_t)strtoul(port, NULL, 10));
	inet_pton(AF_INET, rest, &a.in.sin_addr);
	a.len = sizeof(a.in);
	return a;
}

static void echo_stream(int fd)
{
	char buf[16384];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		for (ssize_t at = 0, w; at < n; at += w)
			if ((w = write(fd, buf + at, (size_t)(n - at))) < 0)
				return;
}

static void echo_datagrams(int fd)
{
	for (;;) {
		char buf[65536];
		struct sockaddr_storage from;
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len);

		if (n >= 0)
			(void)sendto(fd, buf, (size_t)n, 0, (struct sockaddr *)&from, len);
	}
}

static void serve(int fd)
{
	for (;;) {
		int c = accept(fd, NULL, NULL);
		pid_t child = c < 0 ? -1 : fork();

		if (child == 0) {
			echo_stream(c);
			_exit(0);
		}
		if (child < 0)
			die("connection"); /* nobody answers it */
		close(c);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
}

static int echo(struct address a)
{
	int fd = socket(a.any.sa_family, a.type, 0), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, &a.any, a.len) < 0 || (a.type == SOCK_STREAM && listen(fd, BACKLOG) < 0))
		return die("listen");
	puts("ready");
	fflush(stdout);
	if (a.type == SOCK_DGRAM)
		echo_datagrams(fd);
	serve(fd);
	return 0;
}

static int ask(struct address a, const char *text)
{
	int fd = socket(a.any.sa_family, a.type, 0);
	struct timeval limit = { .tv_sec = 10 };
	char buf[4096];
	ssize_t n;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(fd, &a.any, a.len) < 0 || write(fd, text, strlen(text)) < 0)
		return die("connect");
	if (a.type == SOCK_STREAM)
		shutdown(fd, SHUT_WR);
	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		fwrite(buf, 1, (size_t)n, stdout);
		if (a.type == SOCK_DGRAM)
			break;
	}
	return n < 0 ? die("read") : 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "echo") == 0)
		return echo(read_address(argv[2]));
	if (argc == 4 && strcmp(argv[1], "ask") == 0)
		return ask(read_address(argv[2]), argv[3]);
	return 2;
}
