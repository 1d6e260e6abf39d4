/*
 * lx-criu-hook: what CRIU and liblxc run while an instance is dumped or restored.
 *
 * Under the name "criu", first in liblxc's PATH, it stands in for CRIU: asked to restore, it
 * waits until the images are complete (so that liblxc, its monitor and its configuration are
 * ready before the source is frozen), then becomes CRIU, with the options that liblxc does not
 * know and without those that a move does not want.
 *
 * Under any other name it is CRIU's action script. Each step is told to the worker that
 * listens on $LXMGR_HOOK, which does the work and answers with the exit code:
 *
 *      <action> NUL <pid of init, or 0>        ---->
 *                                              <----   one byte
 *
 * A worker that has gone, or goes while it is waited for, means "no": CRIU then takes back
 * what it has done. Nothing but libc is linked: it is started at every step while the guest
 * stands still.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define REFUSED     1
#define MESSAGE_MAX 128
#define ARGS_MAX    256

static int complain(const char *what)
{
	fprintf(stderr, "lx-criu-hook: %s: %s\n", what, strerror(errno));
	return REFUSED;
}

/* Tells the worker and waits for its word. */
static int ask(const char *action, const char *pid)
{
	const char *path = getenv("LXMGR_HOOK");
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	char message[MESSAGE_MAX];
	unsigned char answer;
	int len = snprintf(message, sizeof(message), "%s%c%s", action, '\0', pid);

	if (!path || strlen(path) >= sizeof(to.sun_path) || len < 0 || (size_t)len >= sizeof(message)) {
		errno = EINVAL;
		return complain("no socket in LXMGR_HOOK, or too long an action");
	}
	strcpy(to.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		return complain(path);
	if (send(fd, message, (size_t)len, MSG_NOSIGNAL) != len || recv(fd, &answer, 1, 0) != 1) {
		if (errno == 0)
			errno = ECONNRESET;
		return complain("the worker did not answer");
	}
	close(fd);
	return answer;
}

/* Options of liblxc's that are replaced: "--external veth[...]" and its network's. */
static int is_dropped(char *const *arg)
{
	return arg[1] && strcmp(arg[0], "--external") == 0 &&
	       (strncmp(arg[1], "veth[", 5) == 0 || strncmp(arg[1], "macvlan[", 8) == 0);
}

/* The worker names them in $LXMGR_CRIU_ARGS, separated by newlines. */
static int add_own(char **argv, int n)
{
	char *own = getenv("LXMGR_CRIU_ARGS"), *save = NULL;

	for (char *arg = own ? strtok_r(own, "\n", &save) : NULL; arg; arg = strtok_r(NULL, "\n", &save)) {
		if (n == ARGS_MAX - 1)
			return -1;
		argv[n++] = arg;
	}
	return n;
}

static int stand_in(int argc, char **argv)
{
	const char *criu = getenv("LXMGR_CRIU");
	char *args[ARGS_MAX];
	int n = 0;

	if (!criu) {
		errno = EINVAL;
		return complain("no program in LXMGR_CRIU");
	}
	for (int i = 0; i < argc && n < ARGS_MAX - 1; i++) {
		if (is_dropped(&argv[i]))
			i++;
		else
			args[n++] = argv[i];
	}
	if (argc > 1 && strcmp(argv[1], "restore") == 0) {
		int r = ask("stand-in", "0");

		if (r != 0)
			return r;
		n = add_own(args, n);
		if (n < 0) {
			errno = E2BIG;
			return complain("LXMGR_CRIU_ARGS");
		}
	}
	args[n] = NULL;
	execv(criu, args);
	return complain(criu);
}

int main(int argc, char **argv)
{
	const char *slash = strrchr(argv[0], '/');
	const char *action = getenv("CRTOOLS_SCRIPT_ACTION"), *pid = getenv("CRTOOLS_INIT_PID");

	if (strcmp(slash ? slash + 1 : argv[0], "criu") == 0)
		return stand_in(argc, argv);
	errno = 0;
	return action ? ask(action, pid ? pid : "0") : complain("this program is run by CRIU");
}
