/* One connection, one message, one answer. What goes wrong is said on stderr, which CRIU keeps. */
#include "migration/hook_ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MESSAGE_MAX 128

static int complain(const char *what)
{
	fprintf(stderr, "lxmgr: %s: %s\n", what, errno ? strerror(errno) : "the worker has gone");
	return LX_HOOK_REFUSED;
}

int lx_hook_ask(const char *action, const char *pid)
{
	const char *path = getenv("LXMGR_HOOK");
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	char message[MESSAGE_MAX];
	unsigned char answer;
	int len = snprintf(message, sizeof(message), "%s%c%s", action, '\0', pid);

	errno = EINVAL;
	if (!path || strlen(path) >= sizeof(to.sun_path) || len < 0 || (size_t)len >= sizeof(message))
		return complain("no socket in LXMGR_HOOK, or too long an action");
	memcpy(to.sun_path, path, strlen(path) + 1);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		return complain(path);
	errno = 0;
	if (send(fd, message, (size_t)len, MSG_NOSIGNAL) != len || recv(fd, &answer, 1, 0) != 1)
		return complain("no answer");
	close(fd);
	return answer;
}
