/*
 * Sockets are many-named: each inode is looked at once.
 *
 * Leaving repair mode with a window probe (TCP_REPAIR 0) makes the other end say where it is, so
 * that what was lost meanwhile is sent again at once. The kernel forgets SO_REUSEADDR on the
 * way, whatever it was: it is set, since without it a server could not take its own port
 * again while old connections last, and on a socket that did not have it, it allows nothing by itself.
 *
 * Ways to fail: no right to the descriptors; the kernel refuses.
 */
#include "migration/sockets.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "lib/cleanup.h"
#include "lib/map.h"
#include "lib/str.h"
#include "migration/descriptors.h"

#define REPAIR_OFF 0 /* TCP_REPAIR_OFF of linux/tcp.h, which does not go with netinet/tcp.h */

struct mend {
	struct lx_map seen; /* "socket:[inode]" */
	unsigned mended;
};

/* ------------------------------------------------------------------ one socket */

static bool is_tcp(int fd)
{
	int domain = 0, protocol = 0;
	socklen_t n = sizeof(domain), m = sizeof(protocol);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) == 0 &&
	       getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &m) == 0 &&
	       (domain == AF_INET || domain == AF_INET6) && protocol == IPPROTO_TCP;
}

static int mend_socket(int fd, int number, const char *name, void *arg, struct lx_err *err)
{
	struct mend *m = arg;
	int repair = 0, off = REPAIR_OFF, on = 1;
	socklen_t n = sizeof(repair);

	if (lx_map_has(&m->seen, name))
		return 0;
	if (lx_map_set(&m->seen, name, m) < 0)
		return lx_err_oom(err);

	if (!is_tcp(fd) || getsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &repair, &n) < 0 || repair == 0)
		return 0;
	if (setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &off, sizeof(off)) < 0)
		return lx_err_errno(err, errno, "cannot take TCP %s out of repair mode", name);
	m->mended++;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return lx_err_errno(err, errno, "cannot set SO_REUSEADDR of TCP %s", name);
	return 0;
}

/* "socket:[4026]" */
static bool is_socket(const char *target, void *arg)
{
	return lx_starts_with(target, "socket:[");
}

int lx_sockets_mend(const pid_t *pids, size_t n, unsigned *ret_mended, struct lx_err *err)
{
	struct mend m = { .mended = 0 };
	const struct lx_descriptors d = { .wanted = is_socket, .each = mend_socket, .arg = &m };
	int r = 0;

	lx_map_init(&m.seen, NULL);
	for (size_t i = 0; i < n; i++) {
		int s = lx_descriptors_each(pids[i], &d, r == 0 ? err : NULL);

		r = r == 0 ? s : r;
	}
	lx_map_release(&m.seen);
	if (ret_mended)
		*ret_mended = m.mended;
	return r;
}

/* ------------------------------------------------------------------ unread */

/* Newer than the C library's headers: asm-generic/socket.h. */
#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif

static bool is_on(int fd, int option)
{
	int on = 0;
	socklen_t n = sizeof(on);

	return getsockopt(fd, SOL_SOCKET, option, &on, &n) == 0 && on;
}

static bool is_told_more(int fd)
{
	static const int options[] = { SO_PASSCRED, SO_PASSSEC, SO_PASSPIDFD, SO_TIMESTAMP, SO_TIMESTAMPNS };

	for (size_t i = 0; i < LX_ARRAY_SIZE(options); i++)
		if (is_on(fd, options[i]))
			return true;
	return false;
}

/* Not by MSG_PEEK: that moves on where a reader is that peeks itself (SO_PEEK_OFF). */
static unsigned bytes_in(int fd)
{
	int bytes = 0;

	return ioctl(fd, SIOCINQ, &bytes) == 0 && bytes > 0 ? (unsigned)bytes : 0;
}

static bool has_message(int fd)
{
	char byte;

	return recv(fd, &byte, sizeof(byte), MSG_PEEK | MSG_DONTWAIT) >= 0;
}

/* 0: nothing that matters. */
static unsigned unread(int fd)
{
	int domain = 0;
	socklen_t n = sizeof(domain);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) < 0)
		return 0;
	if (domain == AF_NETLINK)
		return has_message(fd);
	unsigned bytes = domain == AF_UNIX ? bytes_in(fd) : 0;

	return bytes > 0 && is_told_more(fd) ? bytes : 0;
}

static int look_for_unread(int fd, int number, const char *name, void *arg, struct lx_err *err)
{
	bool *found = arg;

	*found = *found || unread(fd);
	return 0;
}

int lx_sockets_unread(const pid_t *pids, size_t n, bool *ret, struct lx_err *err)
{
	const struct lx_descriptors d = { .wanted = is_socket, .each = look_for_unread, .arg = ret };
	int r = 0;

	*ret = false;
	for (size_t i = 0; r == 0 && i < n && !*ret; i++)
		r = lx_descriptors_each(pids[i], &d, err);
	return r;
}

static int add_unread(int fd, int number, const char *name, void *arg, struct lx_err *err)
{
	*(uint64_t *)arg += unread(fd);
	return 0;
}

int lx_sockets_unread_bytes(const pid_t *pids, size_t n, uint64_t *ret, struct lx_err *err)
{
	const struct lx_descriptors d = { .wanted = is_socket, .each = add_unread, .arg = ret };
	int r = 0;

	*ret = 0;
	for (size_t i = 0; r == 0 && i < n; i++)
		r = lx_descriptors_each(pids[i], &d, err);
	return r;
}

struct naming {
	struct lx_map *names;
	int n;
};

static int name_unread(int fd, int number, const char *name, void *arg, struct lx_err *err)
{
	struct naming *to = arg;

	if (!unread(fd))
		return 0;
	to->n++;
	return lx_map_set(to->names, name, NULL) < 0 ? lx_err_oom(err) : 0;
}

int lx_sockets_unread_names(pid_t pid, struct lx_map *names, struct lx_err *err)
{
	struct naming to = { .names = names };
	const struct lx_descriptors d = { .wanted = is_socket, .each = name_unread, .arg = &to };
	int r = lx_descriptors_each(pid, &d, err);

	return r < 0 ? r : to.n;
}

/* ------------------------------------------------------------------ counting */

/* Lines of /proc/net/tcp: "  0: 0100007F:1F90 0100007F:C350 01 ...", the state in hexadecimal. */
static bool is_established(const char *line)
{
	unsigned state;

	/* NOLINTNEXTLINE(cert-err34-c): two digits of the kernel's */
	return sscanf(line, "%*s %*s %*s %2x", &state) == 1 && state == TCP_ESTABLISHED;
}

static int count(pid_t pid, const char *file, unsigned *n, struct lx_err *err)
{
	lx_autofclose FILE *f = NULL;
	lx_autofree char *line = NULL;
	size_t size = 0;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/net/%s", (int)pid, file);
	f = fopen(path, "re");
	if (!f) /* tcp6 is not there without IPv6 */
		return errno == ENOENT && lx_streq(file, "tcp6")
			       ? 0
			       : lx_err_errno(err, errno, "cannot open %s", path);
	while (getline(&line, &size, f) >= 0)
		*n += is_established(line);
	return ferror(f) ? lx_err_errno(err, EIO, "cannot read %s", path) : 0;
}

int lx_sockets_count(pid_t pid, unsigned *ret_established, struct lx_err *err)
{
	unsigned n = 0;
	int r = count(pid, "tcp", &n, err);

	if (r == 0)
		r = count(pid, "tcp6", &n, err);
	if (r == 0)
		*ret_established = n;
	return r;
}
