/*
 * The kernel's audit messages, from a group of netlink's (AUDIT_NLGRP_READLOG) that any number
 * of readers may join beside an audit daemon. The kernel sends them into the machine's own
 * network namespace alone, and since 3.16; where they cannot be had so they are read from
 * /dev/kmsg, where those go that no daemon takes, a few a second.
 *
 *   WAITING --readable--> a few are read --more than a second's worth--> RESTING
 *      ^                                                                    |
 *      +---------------------- the second is over --------------------------+
 *
 * What comes meanwhile waits in the socket's buffer; what finds no room there the kernel drops
 * and says so (ENOBUFS), but not how many.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/denial/denials.h"
#include "agent/loop.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"

#define AT_ONCE    64u /* messages in one turn of the loop */
#define WINDOW_MS  1000u
#define RCVBUF     (512 << 10)
#define KMSG       "/dev/kmsg"
#define KMSG_BYTES 8192

struct lx_audit {
	struct lx_agent *agent;
	int fd;
	bool kmsg;
	struct lx_fdwatch *watch;
	struct lx_timer *rest;
	uint64_t window_ns; /* monotonic; when this second began */
	unsigned read;      /* since then */
};

/* ------------------------------------------------------------------ a record */

static void note(struct lx_agent *a, const struct lx_audit_record *r)
{
	char instance[LX_NAME_MAX + 1] = "", call[64];
	const char *const of_call[] = { "architecture", lx_audit_arch(r->arch), NULL };
	const char *const of_apparmor[] = {
		"capability", r->capability, "family",  r->family, "sock_type",
		r->sock_type, "peer",        r->peer,   "profile", *r->peer ? r->profile : NULL,
		"fstype",     r->fstype,     "source",  r->source, "flags",
		r->flags,     "signal",      r->signal, "cut",     r->cut ? "true" : NULL,
		NULL,
	};
	const struct lx_denial denial = {
		.instance = instance,
		.kind = r->seccomp ? "syscall" : "apparmor",
		.operation = r->seccomp ? lx_audit_syscall(r, call, sizeof(call)) : r->operation,
		.path = r->name,
		.mask = r->mask,
		.program = r->program,
		.allowed = r->allowed,
		.count = 1,
		.details = r->seccomp ? of_call : of_apparmor,
	};

	if (lx_audit_attribute(a, r, instance) != LX_AUDIT_OF_NOBODY)
		lx_denials_note(a, &denial);
}

/* ------------------------------------------------------------------ reading */

/* 1: one was read; 0: there is none; negative errno. */
static int read_netlink(struct lx_audit *s)
{
	union {
		struct nlmsghdr head;
		char bytes[NLMSG_SPACE(LX_AUDIT_TEXT_MAX)];
	} in;
	struct sockaddr_nl from = { 0 };
	socklen_t len = sizeof(from);
	struct lx_audit_record record;
	ssize_t n = recvfrom(s->fd, &in, sizeof(in), MSG_DONTWAIT, (struct sockaddr *)&from, &len);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	/*
	 * From the kernel alone. Its messages to this group have a length that leaves their head out,
	 * or not (before and since 5.x): what was received counts.
	 */
	if (from.nl_pid == 0 && n >= (ssize_t)NLMSG_HDRLEN &&
	    lx_audit_parse(in.head.nlmsg_type, in.bytes + NLMSG_HDRLEN, (size_t)n - NLMSG_HDRLEN, &record) ==
		    0)
		note(s->agent, &record);
	return 1;
}

static int read_kmsg(struct lx_audit *s)
{
	char text[KMSG_BYTES];
	struct lx_audit_record record;
	ssize_t n = read(s->fd, text, sizeof(text));

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n > 0 && lx_audit_parse_kmsg(text, (size_t)n, &record) == 0)
		note(s->agent, &record);
	return n > 0;
}

static void on_rested(void *arg)
{
	struct lx_audit *s = arg;

	lx_timer_drop(&s->rest);
	s->read = 0;
	s->window_ns = lx_now_monotonic_ns();
	lx_fdwatch_set(s->watch, UV_READABLE);
}

static void rest(struct lx_audit *s)
{
	uint64_t gone_ms = (lx_now_monotonic_ns() - s->window_ns) / LX_NSEC_PER_MSEC;

	/* Without memory for a timer it goes on: the loop is held up no longer than a turn. */
	if (lx_timer_start(s->agent->loop, gone_ms < WINDOW_MS ? WINDOW_MS - gone_ms : 1, 0, on_rested, s,
			   &s->rest, NULL) == 0)
		lx_fdwatch_set(s->watch, 0);
}

static void on_readable(void *arg, int events)
{
	struct lx_audit *s = arg;
	uint64_t now = lx_now_monotonic_ns();

	if (now - s->window_ns >= WINDOW_MS * LX_NSEC_PER_MSEC) {
		s->window_ns = now;
		s->read = 0;
	}
	/* That some were dropped is an error of the socket, and that ends the watching. */
	lx_fdwatch_set(s->watch, UV_READABLE);
	for (unsigned i = 0; i < AT_ONCE; i++) {
		int r = s->kmsg ? read_kmsg(s) : read_netlink(s);

		/* ENOBUFS, EPIPE: some were dropped before they could be read. */
		if (r == -ENOBUFS || r == -EPIPE) {
			lx_denials_omit(s->agent, "", 1);
		} else if (r < 0) {
			lx_warn("denials are not read any more", "error=\"%s\"", strerror(-r));
			lx_fdwatch_drop(&s->watch);
			return;
		} else if (r == 0) {
			return;
		}
		s->read++;
	}
	if (s->read >= LX_AUDIT_A_SECOND)
		rest(s);
}

/* ------------------------------------------------------------------ life */

/*
 * Whether we are in another network namespace than the machine's own, in which the kernel's
 * threads are. False also where it cannot be told.
 */
static bool is_elsewhere(void)
{
	struct stat own, kernel;
	char comm[32];

	return lx_read_line("/proc/2/comm", comm, sizeof(comm)) == 0 && lx_streq(comm, "kthreadd") &&
	       stat("/proc/self/ns/net", &own) == 0 && stat("/proc/2/ns/net", &kernel) == 0 &&
	       own.st_ino != kernel.st_ino;
}

static int open_netlink(void)
{
	struct sockaddr_nl group = { .nl_family = AF_NETLINK, .nl_groups = 1u << (AUDIT_NLGRP_READLOG - 1) };
	const int size = RCVBUF;
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_AUDIT);

	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&group, sizeof(group)) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	return fd;
}

static int open_kmsg(void)
{
	int fd = open(KMSG, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	/* What was there before is told already, or somebody else's. */
	if (fd >= 0)
		(void)lseek(fd, 0, SEEK_END);
	return fd < 0 ? -errno : fd;
}

int lx_audit_open(struct lx_agent *a, struct lx_audit **ret, struct lx_err *err)
{
	int fd = is_elsewhere() ? -EXDEV : open_netlink(), why = fd;
	struct lx_audit *s;
	bool kmsg = fd < 0;

	*ret = NULL;
	if (kmsg)
		fd = open_kmsg();
	if (fd < 0) {
		lx_warn("denials by AppArmor and of system calls are not seen",
			"audit=\"%s\" " KMSG "=\"%s\"", strerror(-why), strerror(-fd));
		return 0;
	}
	s = calloc(1, sizeof(*s));
	if (!s) {
		close(fd);
		return lx_err_oom(err);
	}
	*s = (struct lx_audit){ .agent = a, .fd = fd, .kmsg = kmsg };
	int r = lx_fdwatch_start(a->loop, fd, UV_READABLE, on_readable, s, &s->watch, err);

	if (r < 0) {
		close(fd);
		free(s);
		return r;
	}
	if (kmsg)
		lx_info("denials are read from " KMSG ", which has a few a second only", "audit=\"%s\"",
			strerror(-why));
	*ret = s;
	return 0;
}

void lx_audit_close(struct lx_audit *s)
{
	if (!s)
		return;
	lx_fdwatch_stop(s->watch);
	lx_timer_stop(s->rest);
	close(s->fd);
	free(s);
}
