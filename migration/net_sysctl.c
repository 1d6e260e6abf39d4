/*
 * /proc/sys/net shows the namespace of who looks it up, so both ways happen inside. Opening for
 * reading and writing sorts out counters, triggers and what belongs to the whole machine in
 * one call; nothing is written while saving.
 *
 * Only what differs from a new namespace's own is written: most of a thousand knobs
 * never do. Ways to fail: no way in. A knob that the destination does not know or refuses is
 * logged and left, as its guest would find it after a reboot there.
 */
#include "migration/net_sysctl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/log.h"
#include "lib/map.h"
#include "lib/str.h"
#include "migration/netlink.h"
#include "proto/pb.h"

#define SYSCTL_DIR   "/proc/sys/net"
#define NAME_MAX_LEN 255
#define DEPTH_MAX    8
#define KNOBS_MAX    65536
/* Nearly all fit into the first; lists of ports need the second. */
#define VALUE_SMALL 4096
#define VALUE_MAX   (64 * 1024)

/* ------------------------------------------------------------------ values */

/* Without the last newline; malloc'ed. NULL with errno when it cannot be read. */
static char *read_value(int fd)
{
	char small[VALUE_SMALL];
	ssize_t n = pread(fd, small, sizeof(small) - 1, 0);
	lx_autofree char *big = NULL;
	char *v = small;

	if (n < 0)
		return NULL;
	if (n == (ssize_t)sizeof(small) - 1) {
		big = malloc(VALUE_MAX);
		n = big ? pread(fd, big, VALUE_MAX - 1, 0) : -1;
		if (n < 0)
			return NULL;
		v = big;
	}
	if (n > 0 && v[n - 1] == '\n')
		n--;
	return strndup(v, (size_t)n);
}

/* ------------------------------------------------------------------ saving */

struct walk {
	Lxmgr__V1__GuestNetwork *out;
	size_t cap;
	char name[NAME_MAX_LEN + 1]; /* of where it is, below SYSCTL_DIR */
	struct lx_err *err;
};

static int append(struct walk *w, char *value)
{
	Lxmgr__V1__GuestNetwork__SysctlsEntry *e = malloc(sizeof(*e));
	char *key = strdup(w->name);

	if (w->out->n_sysctls == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 512;
		void *more = realloc(w->out->sysctls, cap * sizeof(*w->out->sysctls));

		if (more) {
			w->out->sysctls = more;
			w->cap = cap;
		}
	}
	if (!e || !key || w->out->n_sysctls == w->cap) {
		free(e);
		free(key);
		free(value);
		return lx_err_oom(w->err);
	}
	lxmgr__v1__guest_network__sysctls_entry__init(e);
	e->key = key;
	e->value = value;
	w->out->sysctls[w->out->n_sysctls++] = e;
	return 0;
}

static int take_knob(struct walk *w, int dir, const char *name)
{
	lx_autoclose int fd = openat(dir, name, O_RDWR | O_CLOEXEC);
	char *value = fd >= 0 ? read_value(fd) : NULL;

	if (!value) /* a counter, a trigger, the machine's, never set: nothing to carry */
		return fd >= 0 && errno == ENOMEM ? lx_err_oom(w->err) : 0;
	return append(w, value);
}

/* NOLINTNEXTLINE(misc-no-recursion): as deep as DEPTH_MAX */
static int take_dir(struct walk *w, int parent, const char *path, unsigned depth)
{
	int fd = openat(parent, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	lx_autoclosedir DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	size_t len = strlen(w->name);
	struct dirent *e;

	if (!dir) {
		r = errno;
		if (fd >= 0)
			close(fd);
		/* An interface may go while the guest still runs. */
		return r == ENOENT && depth > 0
			       ? 0
			       : lx_err_errno(w->err, r, "cannot list " SYSCTL_DIR "/%s", w->name);
	}
	while (r == 0 && (e = readdir(dir))) {
		int n = snprintf(w->name + len, sizeof(w->name) - len, "%s%s", len ? "/" : "", e->d_name);

		if (e->d_name[0] == '.' || n < 0 || (size_t)n >= sizeof(w->name) - len)
			continue;
		if (e->d_type == DT_DIR && depth < DEPTH_MAX)
			r = take_dir(w, dirfd(dir), e->d_name, depth + 1);
		else if (e->d_type == DT_REG)
			r = take_knob(w, dirfd(dir), e->d_name);
	}
	w->name[len] = '\0';
	return r;
}

int lx_net_sysctl_save(int netns, Lxmgr__V1__GuestNetwork *out, struct lx_err *err)
{
	struct walk w = { .out = out, .err = err };
	int back, r;

	lx_pb_map_clear(&out->n_sysctls, &out->sysctls);
	r = lx_netns_enter(netns, &back, err);
	if (r < 0)
		return r;
	r = take_dir(&w, AT_FDCWD, SYSCTL_DIR, 0);
	lx_netns_leave(back);
	return r;
}

/* ------------------------------------------------------------------ the order of loading */

static bool is_plain(const char *name)
{
	const char *end;

	if (strlen(name) > NAME_MAX_LEN)
		return false;
	for (;; name = end + 1) {
		end = strchrnul(name, '/');
		if (end == name || name[0] == '.')
			return false;
		if (*end == '\0')
			return true;
	}
}

static bool is_part(const char *s, size_t len, const char *word)
{
	return strlen(word) == len && memcmp(s, word, len) == 0;
}

enum lx_sysctl_turn lx_net_sysctl_turn(const char *name, const char **ret_link, size_t *ret_len)
{
	static const char *const spread[] = { "forwarding", "disable_ipv6", "mc_forwarding" };
	const char *p, *knob;
	size_t len;

	if (!is_plain(name))
		return LX_SYSCTL_NEVER;
	if (lx_streq(name, "ipv4/ip_forward"))
		return LX_SYSCTL_SPREADS;
	p = strstr(name, "/conf/") ? strstr(name, "/conf/") + 6 : NULL;
	if (!p && strstr(name, "/neigh/"))
		p = strstr(name, "/neigh/") + 7;
	knob = p ? strchr(p, '/') : NULL;
	if (!knob)
		return LX_SYSCTL_NAMESPACE;
	len = (size_t)(knob++ - p);
	if (is_part(p, len, "default"))
		return LX_SYSCTL_DEFAULT;
	if (is_part(p, len, "all")) {
		for (size_t i = 0; i < LX_ARRAY_SIZE(spread); i++)
			if (lx_streq(knob, spread[i]))
				return LX_SYSCTL_SPREADS;
		return LX_SYSCTL_NAMESPACE;
	}
	if (lx_streq(knob, "addr_gen_mode"))
		return LX_SYSCTL_NEVER;
	*ret_link = p;
	*ret_len = len;
	return LX_SYSCTL_LINK;
}

/* ------------------------------------------------------------------ what a new namespace has anyway */

/* The value that `name` has in a new namespace; for an interface's knob that of "default". NULL: not known.
 */
static const char *fresh_value(const struct lx_map *fresh, const char *name)
{
	char of_default[NAME_MAX_LEN + sizeof("default")];
	const char *link = NULL, *value = lx_map_get(fresh, name);
	size_t len = 0;

	if (value || lx_net_sysctl_turn(name, &link, &len) != LX_SYSCTL_LINK)
		return value;
	snprintf(of_default, sizeof(of_default), "%.*sdefault%s", (int)(link - name), name, link + len);
	return lx_map_get(fresh, of_default);
}

/* Whether one that others follow differs. */
static bool spreads_differ(const Lxmgr__V1__GuestNetwork *net, const struct lx_map *fresh)
{
	for (size_t i = 0; i < net->n_sysctls; i++) {
		const char *link;
		size_t len;
		enum lx_sysctl_turn turn = lx_net_sysctl_turn(net->sysctls[i]->key, &link, &len);
		bool follows = turn == LX_SYSCTL_SPREADS || turn == LX_SYSCTL_DEFAULT ||
			       strstr(net->sysctls[i]->key, "/conf/all/");

		if (follows && !lx_streq(net->sysctls[i]->value, lx_map_get(fresh, net->sysctls[i]->key)))
			return true;
	}
	return false;
}

int lx_net_sysctl_prune(Lxmgr__V1__GuestNetwork *net, const Lxmgr__V1__GuestNetwork *fresh)
{
	struct lx_map known = { 0 };
	const char *link;
	size_t kept = 0, len;
	bool alone;

	lx_map_init(&known, NULL);
	for (size_t i = 0; i < fresh->n_sysctls; i++)
		if (lx_map_set(&known, fresh->sysctls[i]->key, fresh->sysctls[i]->value) < 0) {
			lx_map_release(&known);
			return -ENOMEM;
		}
	alone = !spreads_differ(net, &known);
	for (size_t i = 0; i < net->n_sysctls; i++) {
		Lxmgr__V1__GuestNetwork__SysctlsEntry *e = net->sysctls[i];
		enum lx_sysctl_turn turn = lx_net_sysctl_turn(e->key, &link, &len);
		/* Asked for by name later (lx_net_sysctl_addr_gen_mode). */
		bool keep = turn == LX_SYSCTL_NEVER || (turn == LX_SYSCTL_LINK && !alone) ||
			    !lx_streq(e->value, fresh_value(&known, e->key));

		if (keep)
			net->sysctls[kept++] = e;
		else
			lx_pb_free(e);
	}
	net->n_sysctls = kept;
	lx_map_release(&known);
	return 0;
}

/* ------------------------------------------------------------------ loading */

/* 0, also when it is so already; a negative errno. */
static int set(int dir, const char *name, const char *value)
{
	lx_autoclose int fd = openat(dir, name, O_RDWR | O_CLOEXEC);
	lx_autofree char *now = fd >= 0 ? read_value(fd) : NULL;

	if (fd < 0)
		return -errno;
	if (now && lx_streq(now, value))
		return 0;
	return pwrite(fd, value, strlen(value), 0) < 0 ? -errno : 0;
}

/* All of a turn, those of one link when `link`. What failed is tried again, as ranges depend on each other.
 */
static void set_turn(int dir, const Lxmgr__V1__GuestNetwork *net, enum lx_sysctl_turn turn, const char *link)
{
	for (int last = 0, failed = 1; failed && last < 2; last++) {
		failed = 0;
		for (size_t i = 0; i < net->n_sysctls; i++) {
			const Lxmgr__V1__GuestNetwork__SysctlsEntry *e = net->sysctls[i];
			const char *of = "";
			size_t len = 0;
			int r;

			if (lx_net_sysctl_turn(e->key, &of, &len) != turn ||
			    (link && !is_part(of, len, link)))
				continue;
			r = set(dir, e->key, e->value);
			failed += r < 0;
			if (r < 0 && last)
				lx_warn("a network setting of the guest could not be carried",
					"sysctl=net/%s value=%s error=%s", e->key, e->value, strerror(-r));
		}
	}
}

static int load(int netns, const Lxmgr__V1__GuestNetwork *net, const enum lx_sysctl_turn *turns, size_t n,
		const char *link, struct lx_err *err)
{
	int back, dir, r = 0;

	if (net->n_sysctls > KNOBS_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%zu network settings are more than %d",
				  net->n_sysctls, KNOBS_MAX);
	r = lx_netns_enter(netns, &back, err);
	if (r < 0)
		return r;
	dir = open(SYSCTL_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		r = lx_err_errno(err, errno, "cannot open " SYSCTL_DIR);
	for (size_t i = 0; r == 0 && i < n; i++)
		set_turn(dir, net, turns[i], link);
	if (dir >= 0)
		close(dir);
	lx_netns_leave(back);
	return r;
}

int lx_net_sysctl_load(int netns, const Lxmgr__V1__GuestNetwork *net, struct lx_err *err)
{
	static const enum lx_sysctl_turn turns[] = { LX_SYSCTL_SPREADS, LX_SYSCTL_NAMESPACE,
						     LX_SYSCTL_DEFAULT };

	return load(netns, net, turns, LX_ARRAY_SIZE(turns), NULL, err);
}

int lx_net_sysctl_load_link(int netns, const Lxmgr__V1__GuestNetwork *net, const char *link,
			    struct lx_err *err)
{
	static const enum lx_sysctl_turn turns[] = { LX_SYSCTL_LINK };

	return load(netns, net, turns, LX_ARRAY_SIZE(turns), link, err);
}

unsigned lx_net_sysctl_addr_gen_mode(const Lxmgr__V1__GuestNetwork *net, const char *link)
{
	char name[NAME_MAX_LEN + 1];
	uint64_t mode;

	snprintf(name, sizeof(name), "ipv6/conf/%s/addr_gen_mode", link);
	for (size_t i = 0; i < net->n_sysctls; i++)
		if (lx_streq(net->sysctls[i]->key, name) &&
		    lx_parse_u64(net->sysctls[i]->value, &mode) == 0 && mode <= UINT8_MAX)
			return (unsigned)mode;
	return 0;
}
