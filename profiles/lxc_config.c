/*
 * The container's configuration file for liblxc.
 *
 * The form is "key = value", one a line; a value ends at the newline and liblxc takes
 * blanks and a pair of quotes off its ends. So every text that goes in is looked at first:
 * one with a control character, blanks at its ends or a leading quote is refused, and no
 * input can add a line of its own. Whatever may begin or end with a blank (the
 * environment) is put in quotes.
 *
 * Most of what is fixed here is fixed for the sake of live migration; the reason stands at
 * each part.
 */
#include "profiles/profiles.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/qname.h"
#include "lib/str.h"
#include "profiles/apparmor_namespace.h"
#include "profiles/capabilities.h"
#include "profiles/intercept_mount.h"
#include "profiles/lxcfs.h"
#include "profiles/privileged.h"
#include "profiles/value.h"

#define PTYS_MAX           1024
#define RLIMIT_PREFIX      "limits.kernel."
#define ENVIRONMENT_PREFIX "environment."

struct gen {
	const struct lx_lxc_input *in;
	struct lx_buf *out;
	struct lx_err *err;
	int r; /* the first failure; after it nothing more is written */
};

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Whether liblxc reads the text back as it is. */
static bool fits_line(const char *s)
{
	size_t n = strlen(s);

	return n > 0 && lx_value_one_line(s) && !blank(s[0]) && !blank(s[n - 1]) && s[0] != '"' &&
	       s[0] != '\'';
}

static void fail(struct gen *g, const char *key, const char *what)
{
	if (g->r == 0)
		g->r = lx_err_set(g->err, LX_INVALID_ARGUMENT, "the container's %s %s", key, what);
}

/* One line, when its value can be one. */
static void put(struct gen *g, const char *key, const char *value)
{
	if (g->r < 0)
		return;
	if (!value || !fits_line(value))
		return fail(g, key, "is empty or has characters that cannot stand in a configuration file");
	if (lx_buf_printf(g->out, "%s = %s\n", key, value) < 0)
		g->r = lx_err_oom(g->err);
}

/* The same for a value put together here. */
__attribute__((format(printf, 3, 4))) static void putf(struct gen *g, const char *key, const char *fmt, ...)
{
	struct lx_buf value = { 0 };
	va_list ap;

	va_start(ap, fmt);
	int r = g->r < 0 ? 0 : lx_buf_vprintf(&value, fmt, ap);

	va_end(ap);
	if (r < 0)
		g->r = lx_err_oom(g->err);
	put(g, key, lx_buf_str(&value));
	lx_buf_release(&value);
}

/* A key of type bool; one that cannot be read is an error, never "off". */
static bool is_on(struct gen *g, const char *key)
{
	const char *value = lx_config_get(g->in->config, key);
	bool on = false;

	if (g->r == 0)
		g->r = lx_config_check(key, value, g->err);
	lx_parse_bool(value, &on);
	return on;
}

/* ------------------------------------------------------------------ parts */

/* The file system is mounted already: a restore takes a plain directory and no mount options. */
static void put_identity(struct gen *g)
{
	const struct lx_lxc_input *in = g->in;

	put(g, "lxc.uts.name", in->hostname);
	putf(g, "lxc.rootfs.path", "dir:%s", in->rootfs);
	put(g, "lxc.init.cmd", in->init);
	put(g, "lxc.log.file", in->log_path);
	put(g, "lxc.log.level", "warn");
}

/* What init takes as "shut down" and "restart": systemd's halt.target and reboot.target, or
 * what busybox and its like power off and restart on. */
static void put_signals(struct gen *g)
{
	put(g, "lxc.signal.halt", g->in->systemd ? "SIGRTMIN+3" : "SIGUSR2");
	put(g, "lxc.signal.reboot", g->in->systemd ? "SIGRTMIN+5" : "SIGTERM");
}

/* The monitor's own, which starts init (again, after a reboot inside), may be spared: it is the agent's. */
static void put_memory(struct gen *g)
{
	putf(g, "lxc.proc.oom_score_adj", "%d", g->in->oom_adj);
}

/* No terminals of the host's in the guest: they could not be moved. */
static void put_terminals(struct gen *g)
{
	put(g, "lxc.console.path", "none");
	put(g, "lxc.tty.max", "0");
	putf(g, "lxc.pty.max", "%d", PTYS_MAX);
}

static void put_ids(struct gen *g)
{
	const struct lx_lxc_input *in = g->in;

	if (is_on(g, LX_KEY_PRIVILEGED))
		return;
	if (in->idmap_base == 0 || in->idmap_size == 0 || in->idmap_size > UINT32_MAX - in->idmap_base)
		return fail(g, "id range", "is empty, begins at the host's root or ends beyond 32 bits");
	putf(g, "lxc.idmap", "u 0 %" PRIu32 " %" PRIu32, in->idmap_base, in->idmap_size);
	putf(g, "lxc.idmap", "g 0 %" PRIu32 " %" PRIu32, in->idmap_base, in->idmap_size);
}

/*
 * For containers inside the guest: the kernel lets a user namespace mount proc and sysfs only
 * while it can see an unmasked one of each. Nobody has to look into these two.
 */
static void put_nesting(struct gen *g)
{
	put(g, "lxc.mount.entry", "proc dev/.lxmgr/proc proc nosuid,nodev,noexec,create=dir 0 0");
	put(g, "lxc.mount.entry", "sysfs dev/.lxmgr/sys sysfs nosuid,nodev,noexec,create=dir 0 0");
}

/*
 * Where profiles are loaded: a user namespace cannot mount it itself. What there is of AppArmor's in it
 * the kernel shows to each by the namespace that it is in; the rest the node's profile covers.
 */
static void put_policy(struct gen *g)
{
	put(g, "lxc.mount.entry",
	    LX_SECURITYFS " " LX_SECURITYFS_IN_GUEST " none bind,nosuid,nodev,noexec,optional 0 0");
}

/*
 * A guest that mounts nothing itself: what its init would mount is there, and what is not for it is
 * covered. "optional": not every kernel has all of it, nor every image the places.
 */
static void put_privileged(struct gen *g)
{
	static const char *const own[] = {
		"tmpfs dev/shm tmpfs nosuid,nodev,mode=1777,create=dir 0 0",
		"mqueue dev/mqueue mqueue nosuid,nodev,noexec,create=dir,optional 0 0",
	};

	static const char *const run[] = {
		"tmpfs run tmpfs nosuid,nodev,mode=755 0 0",
		"tmpfs run/lock tmpfs nosuid,nodev,noexec,mode=1777,size=5m,create=dir 0 0",
	};

	for (size_t i = 0; i < LX_ARRAY_SIZE(own); i++)
		put(g, "lxc.mount.entry", own[i]);
	for (size_t i = 0; i < LX_ARRAY_SIZE(run) && g->in->has_run; i++)
		put(g, "lxc.mount.entry", run[i]);
	for (const char *const *dir = lx_privileged_covered_dirs; *dir; dir++)
		putf(g, "lxc.mount.entry",
		     "tmpfs %s tmpfs ro,nosuid,nodev,noexec,size=4k,mode=555,optional 0 0", *dir);
	for (const char *const *file = lx_privileged_covered_files; *file; file++)
		putf(g, "lxc.mount.entry", "/dev/null %s none bind,ro,nosuid,nodev,noexec,optional 0 0",
		     *file);
}

/* As in fstab(5): a blank would end the field. What has been printable stays so. */
static void append_field(struct gen *g, struct lx_buf *to, const char *s)
{
	for (; *s && g->r == 0; s++)
		if ((*s == ' ' || *s == '\\' ? lx_buf_printf(to, "\\%03o", (unsigned)*s)
					     : lx_buf_append(to, s, 1)) < 0)
			g->r = lx_err_oom(g->err);
}

/*
 * /dev is made anew at each start, and so are the places of mounts in it; elsewhere they are there
 * (agent/worker/instance/mount_point.c).
 */
static void put_mount(struct gen *g, const struct lx_lxc_mount *m)
{
	struct lx_buf source = { 0 }, path = { 0 };

	append_field(g, &source, m->source ? m->source : "tmpfs");
	append_field(g, &path, m->path + 1);
	if (g->r == 0)
		putf(g, "lxc.mount.entry", "%s %s %s %s%s 0 0", lx_buf_str(&source), lx_buf_str(&path),
		     m->source ? "none" : "tmpfs", m->options,
		     !lx_starts_with(m->path, "/dev/") ? ""
		     : m->file                         ? ",create=file"
						       : ",create=dir");
	lx_buf_release(&source);
	lx_buf_release(&path);
}

/*
 * Over the same files of its own /proc and /sys. One that is killed in this moment is no reason not to
 * start, where it need not be there at all.
 */
static void put_lxcfs(struct gen *g)
{
	const char *more = lx_lxcfs_mode(g->in->config) == LX_LXCFS_ON ? "" : ",optional";

	for (size_t i = 0; i < LX_LXCFS_FILES; i++) {
		struct lx_buf source = { 0 };

		if (!(g->in->lxcfs & 1u << i))
			continue;
		append_field(g, &source, g->in->lxcfs_dir);
		if (g->r == 0)
			putf(g, "lxc.mount.entry", "%s/%s %s none bind,ro,nosuid,nodev,noexec%s 0 0",
			     lx_buf_str(&source), lx_lxcfs_files[i], lx_lxcfs_files[i], more);
		lx_buf_release(&source);
	}
}

/* The guest sees one pure v2 tree, also where the host's controllers are v1: those cannot be
 * restored. */
static void put_mounts(struct gen *g)
{
	bool privileged = is_on(g, LX_KEY_PRIVILEGED);

	put(g, "lxc.mount.auto",
	    privileged || is_on(g, "security.sysfs.readonly") ? "proc:mixed sys:ro" : "proc:mixed sys:rw");
	put(g, "lxc.mount.entry", "none sys/fs/cgroup cgroup2 rw,nosuid,nodev,noexec,relatime 0 0");
	if (is_on(g, "security.nesting"))
		put_nesting(g);
	if (g->in->apparmor_namespace)
		put_policy(g);
	/* Some of it is covered again for a privileged one. */
	put_lxcfs(g);
	if (privileged)
		put_privileged(g);
	for (size_t i = 0; i < g->in->n_mounts; i++)
		put_mount(g, &g->in->mounts[i]);
}

/* Named by us: liblxc would put a number behind a name it finds taken, and a restore needs the
 * names of before. */
static void put_cgroups(struct gen *g)
{
	const struct lx_lxc_input *in = g->in;

	putf(g, "lxc.cgroup.dir.container", "%s/%s/payload", in->cgroup_root, in->name);
	/* The limits are files of the machine's root, and so of this guest's: it sees one group further in.
	 */
	if (is_on(g, LX_KEY_PRIVILEGED))
		put(g, "lxc.cgroup.dir.container.inner", "guest");
	putf(g, "lxc.cgroup.dir.monitor", "%s/%s/monitor", in->cgroup_root, in->name);
	/* Where a monitor ends its days; no instance can have that name. */
	putf(g, "lxc.cgroup.dir.monitor.pivot", "%s/_pivot", in->cgroup_root);
	for (size_t i = 0; i < in->n_knobs; i++) {
		const struct lx_knob *k = &in->knobs[i];
		char key[sizeof(k->file) + 16];

		if (k->lifts)
			continue;
		snprintf(key, sizeof(key), "%s.%s", k->layout == LX_CGROUP_V1 ? "lxc.cgroup" : "lxc.cgroup2",
			 k->file);
		put(g, key, k->value);
	}
}

static void put_capabilities(struct gen *g)
{
	static const char *const keys[] = { "security.capabilities.keep", "security.capabilities.drop" };
	struct lx_buf names = { 0 };
	const char *key = NULL;

	for (size_t i = 0; i < LX_ARRAY_SIZE(keys) && g->r == 0; i++)
		g->r = lx_config_check(keys[i], lx_config_get(g->in->config, keys[i]), g->err);
	if (g->r < 0)
		return;
	if (lx_capabilities_line(g->in->config, &key, &names) < 0)
		g->r = lx_err_oom(g->err);
	else
		put(g, key, lx_buf_str(&names));
	lx_buf_release(&names);
}

/* On a host without AppArmor its key would make a restore fail. */
static void put_security(struct gen *g)
{
	const struct lx_lxc_input *in = g->in;

	put_capabilities(g);
	/* Of its own, so that no key of the node's or of another instance is in reach. */
	put(g, "lxc.keyring.session", "1");
	if (is_on(g, "security.no_new_privileges"))
		put(g, "lxc.no_new_privs", "1");
	if (in->seccomp_path) {
		put(g, "lxc.seccomp.profile", in->seccomp_path);
		/* Without it liblxc leaves the policy out, silently, where its caller has a filter already.
		 */
		put(g, "lxc.seccomp.allow_nesting", "1");
	}
	if (in->apparmor)
		put(g, "lxc.apparmor.profile", in->apparmor_label ? in->apparmor_label : "unconfined");
	if (in->selinux_context)
		put(g, "lxc.selinux.context", in->selinux_context);
}

/* ------------------------------------------------------------------ from the configuration */

/* In quotes: the value may begin or end with blanks. The check lets no newline pass. */
static void put_environment(struct gen *g, const char *key, const char *value)
{
	g->r = lx_config_check(key, value, g->err);
	if (g->r == 0 && lx_buf_printf(g->out, "lxc.environment = \"%s=%s\"\n",
				       key + strlen(ENVIRONMENT_PREFIX), value) < 0)
		g->r = lx_err_oom(g->err);
}

static void put_rlimit(struct gen *g, const char *key, const char *value)
{
	char name[64];

	g->r = lx_config_check(key, value, g->err);
	snprintf(name, sizeof(name), "lxc.prlimit.%s", key + strlen(RLIMIT_PREFIX));
	put(g, name, value);
}

static void put_config(struct gen *g)
{
	/* systemd (254 and newer) would watch its cgroup's memory pressure, which does not survive a
	 * move. */
	if (g->in->systemd)
		put(g, "lxc.environment", "MEMORY_PRESSURE_WATCH=/dev/null");
	for (struct lx_map_entry *e = lx_map_first(g->in->config); e && g->r == 0; e = lx_map_next(e)) {
		const char *key = lx_map_key(e), *value = lx_map_value(e);

		if (lx_str_empty(value))
			continue;
		if (lx_starts_with(key, ENVIRONMENT_PREFIX))
			put_environment(g, key, value);
		else if (lx_starts_with(key, RLIMIT_PREFIX))
			put_rlimit(g, key, value);
	}
}

/* ------------------------------------------------------------------ networks */

/* "10.88.0.7/16" and its broadcast address, which liblxc would get wrong. */
static void put_ipv4(struct gen *g, size_t i, const char *cidr)
{
	const char *slash = strchr(cidr, '/');
	char address[INET_ADDRSTRLEN], broadcast[INET_ADDRSTRLEN], key[48];
	struct in_addr a;
	uint64_t prefix;

	snprintf(address, sizeof(address), "%.*s", slash ? (int)(slash - cidr) : 0, cidr);
	if (!slash || inet_pton(AF_INET, address, &a) != 1 || lx_parse_u64(slash + 1, &prefix) < 0 ||
	    prefix < 1 || prefix > 32)
		return fail(g, "IPv4 address", "is not an address with a prefix length");
	snprintf(key, sizeof(key), "lxc.net.%zu.ipv4.address", i);
	if (prefix >= 31) /* point to point, no broadcast */
		return put(g, key, cidr);
	a.s_addr |= htonl(UINT32_MAX >> prefix);
	inet_ntop(AF_INET, &a, broadcast, sizeof(broadcast));
	putf(g, key, "%s %s", cidr, broadcast);
}

static void put_nic(struct gen *g, size_t i, const struct lx_lxc_nic *nic)
{
	const struct {
		const char *key, *value;
	} optional[] = {
		{ "hwaddr", nic->hwaddr },
		{ "ipv4.gateway", nic->ipv4_gateway },
		{ "ipv6.address", nic->ipv6 },
		{ "ipv6.gateway", nic->ipv6_gateway },
	};
	char key[48];

	if (!lx_value_ifname(nic->name) || !lx_value_ifname(nic->bridge) || !lx_value_ifname(nic->host_name))
		return fail(g, "network card", "has a name, bridge or host end that cannot be an interface");
	snprintf(key, sizeof(key), "lxc.net.%zu.type", i); /* must come first */
	put(g, key, "veth");
	snprintf(key, sizeof(key), "lxc.net.%zu.name", i);
	put(g, key, nic->name);
	snprintf(key, sizeof(key), "lxc.net.%zu.link", i);
	put(g, key, nic->bridge);
	snprintf(key, sizeof(key), "lxc.net.%zu.veth.pair", i);
	put(g, key, nic->host_name);
	snprintf(key, sizeof(key), "lxc.net.%zu.flags", i);
	put(g, key, "up");
	if (nic->mtu) {
		snprintf(key, sizeof(key), "lxc.net.%zu.mtu", i);
		putf(g, key, "%" PRIu32, nic->mtu);
	}
	if (!lx_str_empty(nic->ipv4))
		put_ipv4(g, i, nic->ipv4);
	for (size_t o = 0; o < sizeof(optional) / sizeof(optional[0]); o++) {
		if (lx_str_empty(optional[o].value))
			continue;
		snprintf(key, sizeof(key), "lxc.net.%zu.%s", i, optional[o].key);
		put(g, key, optional[o].value);
	}
}

/* Without any line the container would get the host's network. */
static void put_networks(struct gen *g)
{
	for (size_t i = 0; i < g->in->n_nics; i++)
		put_nic(g, i, &g->in->nics[i]);
	if (g->in->n_nics == 0)
		put(g, "lxc.net.0.type", "empty");
}

int lx_lxc_config(const struct lx_lxc_input *in, struct lx_buf *out, struct lx_err *err)
{
	struct lx_buf text = { 0 };
	struct gen g = { .in = in, .out = &text, .err = err };

	/* It becomes part of paths. */
	g.r = lx_qname_check("instance", in->name, err);
	if (g.r == 0)
		g.r = lx_privileged_check(in->config, err);
	if (g.r == 0)
		g.r = lx_mount_check_keys(in->config, err);
	if (g.r == 0)
		g.r = lx_apparmor_namespace_check(in->config, err);
	put_identity(&g);
	put_signals(&g);
	put_memory(&g);
	put_terminals(&g);
	put_ids(&g);
	put_mounts(&g);
	put_cgroups(&g);
	put_security(&g);
	put_config(&g);
	put_networks(&g);
	if (g.r == 0 && lx_buf_append(out, text.data, text.len) < 0)
		g.r = lx_err_oom(err);
	lx_buf_release(&text);
	return g.r;
}
