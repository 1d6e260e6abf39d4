/*
 * The network between the nodes of one machine: what a switch and its cables are to others.
 *
 *    this machine, node 1                      network namespace ROOT-node2
 *      manager, first agent                      agent of node 2, its bridges and guests
 *      ROOTu0, bridge, .1 ------ ROOTu2 ======== eth0, .2, default route to .1
 *                         ------ ROOTu3 ======== ... node 3, .3
 *
 * What leaves the subnet is masqueraded here, so that guests anywhere reach package mirrors.
 *
 * Everything can be done again: what is there and ours stays, what is missing is made. The
 * bridge and cables are known to be ours by their alias, which names the state directory; a
 * namespace by its inode number in <run>/nodeN.netns, which is 0 while it is being made.
 *
 * Ways to fail: not root, no tools, a subnet or a name that somebody else has.
 */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <sys/stat.h>

#include "cli/dev.h"
#include "cli/dev_subnet.h"
#include "lib/fs.h"

#define NET_CLASS   "/sys/class/net"
#define IP_FORWARD  "/proc/sys/net/ipv4/ip_forward"
#define UPLINK_NAME "eth0" /* in a namespace */
#define MTU_DEFAULT "1500"
#define ALIAS_MAX   256 /* the kernel's limit, with the NUL */

/* ------------------------------------------------------------------ names */

struct names {
	char bridge[IFNAMSIZ], cable[IFNAMSIZ], table[IFNAMSIZ + 8], alias[ALIAS_MAX];
	/* The bridge's. One that it takes from its ports changes with them, and the nodes would not know. */
	char mac[sizeof("02:00:00:00:00:00")];
};

static uint32_t hash(const char *text)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * 16777619u;
	return h;
}

/* Of the bridge and of one node's cable. A root too long for a link's name is replaced by a number made of
 * it. */
static void name_all(const struct cli_dev *d, unsigned number, struct names *n)
{
	const char *root = cli_dev_root(d);
	char stem[IFNAMSIZ];

	if (strlen(root) > IFNAMSIZ - sizeof("u32"))
		snprintf(stem, sizeof(stem), "lx%08x", hash(root));
	else
		snprintf(stem, sizeof(stem), "%s", root);
	snprintf(n->bridge, sizeof(n->bridge), "%.12su0", stem);
	snprintf(n->cable, sizeof(n->cable), "%.12su%u", stem, number % 100);
	snprintf(n->table, sizeof(n->table), "lxmgr_%s", n->bridge);
	snprintf(n->alias, sizeof(n->alias), "lxmgr dev %s", d->state_dir);
	uint32_t h = hash(n->alias);
	snprintf(n->mac, sizeof(n->mac), "02:00:%02x:%02x:%02x:%02x", h >> 24, h >> 16 & 0xff, h >> 8 & 0xff,
		 h & 0xff);
}

static int check_root(const struct cli_dev *d, struct lx_err *err)
{
	const char *root = cli_dev_root(d);

	if (*root && *root != '.' && *root != '-' &&
	    strspn(root, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == strlen(root))
		return 0;
	return lx_err_set(err, LX_INVALID_ARGUMENT,
			  "--cgroup-root %s cannot begin the names of network namespaces too: use letters, "
			  "digits and hyphens",
			  root);
}

static int taken(const char *what, const char *name, struct lx_err *err)
{
	int r = lx_err_set(err, LX_ALREADY_EXISTS, "%s %s is there and not of this cluster", what, name);

	lx_err_hint(err, "Remove it, or choose other names with --cgroup-root.");
	return r;
}

static bool link_file(const char *link, const char *file, char *buf, size_t n)
{
	char path[128];

	snprintf(path, sizeof(path), NET_CLASS "/%s/%s", link, file);
	*buf = '\0';
	return lx_read_line(path, buf, n) == 0;
}

static int put_alias(const char *link, const char *alias, struct lx_err *err)
{
	char path[128];

	snprintf(path, sizeof(path), NET_CLASS "/%s/ifalias", link);
	int r = lx_write_knob(path, alias);
	return r < 0 ? lx_err_errno(err, r, "cannot mark network link %s", link) : 0;
}

/* ------------------------------------------------------------------ subnet */

static int settle_subnet(struct cli_dev *d, const char *bridge, struct cli_subnet *s, struct lx_err *err)
{
	char through[IFNAMSIZ];
	int r = 0;

	if (!d->setting[CLI_DEV_UNDERLAY])
		r = cli_subnet_choose(bridge, &d->setting[CLI_DEV_UNDERLAY], err);
	if (r == 0)
		r = cli_subnet_parse(d->setting[CLI_DEV_UNDERLAY], s, err);
	if (r < 0 || !cli_subnet_in_use(s, bridge, through))
		return r;
	r = lx_err_set(err, LX_FAILED_PRECONDITION,
		       "the nodes' subnet %s is in use: there is a route through %s",
		       d->setting[CLI_DEV_UNDERLAY], through);
	lx_err_hint(err, "Give another one: --underlay CIDR");
	return r;
}

int cli_underlay_address(const struct cli_dev *d, unsigned number, char ret[INET_ADDRSTRLEN],
			 struct lx_err *err)
{
	struct cli_subnet s;
	int r = cli_subnet_parse(d->setting[CLI_DEV_UNDERLAY], &s, err);

	if (r == 0)
		cli_subnet_address(&s, number, ret);
	return r;
}

/* Of what the default route goes through: packets of the nodes have to fit there. */
static void uplink_mtu(char *ret, size_t n)
{
	char link[IFNAMSIZ];

	if (!cli_uplink(link) || !link_file(link, "mtu", ret, n))
		snprintf(ret, n, MTU_DEFAULT);
}

/* ------------------------------------------------------------------ the switch */

/* A bridge without ports: so is ours when somebody has killed us before it had its alias. */
static bool is_bare_bridge(const char *link)
{
	char path[128];
	struct dirent *e;

	snprintf(path, sizeof(path), NET_CLASS "/%s/brif", link);
	lx_autoclosedir DIR *ports = opendir(path);
	while (ports && (e = readdir(ports)))
		if (*e->d_name != '.')
			return false;
	return ports != NULL;
}

static int own_bridge(const struct names *n, bool *exists, struct lx_err *err)
{
	char alias[ALIAS_MAX + 1];

	*exists = if_nametoindex(n->bridge) != 0;
	if (!*exists)
		return 0;
	(void)link_file(n->bridge, "ifalias", alias, sizeof(alias));
	if (lx_streq(alias, n->alias) || (!*alias && is_bare_bridge(n->bridge)))
		return 0;
	return taken("network link", n->bridge, err);
}

/* The nodes have their addresses: they do not change while it is up. */
static int check_same(const struct names *n, const struct cli_subnet *s, struct lx_err *err)
{
	struct ifaddrs *all = NULL;
	int r = 0;

	if (getifaddrs(&all) < 0)
		return lx_err_errno(err, errno, "cannot list the machine's addresses");
	for (const struct ifaddrs *a = all; a && r == 0; a = a->ifa_next) {
		if (!a->ifa_addr || a->ifa_addr->sa_family != AF_INET || strcmp(a->ifa_name, n->bridge) != 0)
			continue;
		const struct sockaddr_in *in = (const void *)a->ifa_addr;
		if (ntohl(in->sin_addr.s_addr) == s->base + 1)
			continue;
		r = lx_err_set(err, LX_FAILED_PRECONDITION, "the nodes' network is up with another subnet");
		lx_err_hint(err, "Stop the cluster before it gets new addresses: lxmgr dev down");
	}
	freeifaddrs(all);
	return r;
}

static int make_bridge(const struct names *n, const struct cli_subnet *s, const char *mtu, struct lx_err *err)
{
	const char *const add[] = {
		"ip", "link", "add", n->bridge, "address", n->mac, "type", "bridge", NULL
	};
	const char *const batch[] = { "ip", "-batch", "-", NULL };
	char gateway[INET_ADDRSTRLEN];
	lx_autobuf struct lx_buf text = { 0 };
	bool exists;
	int r = own_bridge(n, &exists, err);

	if (r == 0 && !exists)
		r = cli_tool_run(add, NULL, err);
	if (r < 0)
		return r;
	r = put_alias(n->bridge, n->alias, err);
	if (r < 0)
		return r;
	cli_subnet_address(s, 1, gateway);
	if (lx_buf_printf(&text,
			  "address replace %s/%u dev %s\n"
			  "link set dev %s mtu %s up\n",
			  gateway, s->prefix, n->bridge, n->bridge, mtu) < 0)
		return lx_err_oom(err);
	return cli_tool_run(batch, lx_buf_str(&text), err);
}

static int make_rules(const struct names *n, const char *subnet, struct lx_err *err)
{
	const char *const argv[] = { "nft", "-f", "-", NULL };
	lx_autobuf struct lx_buf text = { 0 };
	char forward[8];

	if (lx_read_line(IP_FORWARD, forward, sizeof(forward)) < 0 || *forward != '1') {
		int r = lx_write_knob(IP_FORWARD, "1");
		if (r < 0)
			return lx_err_errno(err, r, "cannot switch on %s for the nodes", IP_FORWARD);
	}
	/* The first two lines: whether it is there or not, it is made anew, in one step. */
	if (lx_buf_printf(&text,
			  "table ip %s\ndelete table ip %s\n"
			  "table ip %s {\n"
			  "\tchain postrouting {\n"
			  "\t\ttype nat hook postrouting priority srcnat\n"
			  "\t\tip saddr %s ip daddr != %s masquerade\n"
			  "\t}\n}\n",
			  n->table, n->table, n->table, subnet, subnet) < 0)
		return lx_err_oom(err);
	return cli_tool_run(argv, lx_buf_str(&text), err);
}

/* ------------------------------------------------------------------ one namespace */

static char *mark_path(const struct cli_dev *d, unsigned number)
{
	lx_autofree char *name = lx_asprintf("node%u.netns", number);

	return name ? cli_dev_run_path(d, name) : NULL;
}

static int mark(const struct cli_dev *d, unsigned number, ino_t inode, struct lx_err *err)
{
	lx_autofree char *path = mark_path(d, number);
	char text[32];

	snprintf(text, sizeof(text), "%llu\n", (unsigned long long)inode);
	return path ? lx_write_file_atomic(path, text, strlen(text), 0644, err) : lx_err_oom(err);
}

static bool is_marked(const struct cli_dev *d, unsigned number, ino_t inode)
{
	lx_autofree char *path = mark_path(d, number);
	char text[32];
	uint64_t marked;

	return path && lx_read_line(path, text, sizeof(text)) == 0 && lx_parse_u64(text, &marked) == 0 &&
	       (!marked || marked == inode);
}

/* *ret: whether it exists; an error when it is somebody else's. */
static int own_namespace(const struct cli_dev *d, const struct cli_dev_node *n, bool *ret, struct lx_err *err)
{
	char path[256];
	struct stat st;

	snprintf(path, sizeof(path), CLI_NETNS_DIR "/%s", n->netns);
	*ret = stat(path, &st) == 0;
	return *ret && !is_marked(d, n->number, st.st_ino) ? taken("network namespace", n->netns, err) : 0;
}

/* Its name may be gone while its agent lives in it: then it gets the name back. */
static int make_namespace(const struct cli_dev *d, const struct cli_dev_node *n, struct lx_err *err)
{
	char pid[16], path[256];
	const char *const add[] = { "ip", "netns", "add", n->netns, NULL };
	const char *const attach[] = { "ip", "netns", "attach", n->netns, pid, NULL };
	struct stat st;
	bool exists;
	int r = own_namespace(d, n, &exists, err);

	snprintf(pid, sizeof(pid), "%ld", (long)n->agent.pid);
	if (r == 0 && !exists)
		r = mark(d, n->number, 0, err);
	if (r == 0 && !exists)
		r = cli_tool_run(n->agent.pid ? attach : add, NULL, err);
	if (r < 0)
		return r;
	snprintf(path, sizeof(path), CLI_NETNS_DIR "/%s", n->netns);
	if (stat(path, &st) < 0)
		return lx_err_errno(err, errno, "cannot find network namespace %s", n->netns);
	return mark(d, n->number, st.st_ino, err);
}

/* *ret: whether the cable is there. It is ours by its alias, or, before it has that, by where it is plugged
 * in. */
static int own_cable(const struct names *n, bool *ret, struct lx_err *err)
{
	char path[128], master[256] = "", alias[ALIAS_MAX + 1];

	*ret = if_nametoindex(n->cable) != 0;
	if (!*ret || (link_file(n->cable, "ifalias", alias, sizeof(alias)) && lx_streq(alias, n->alias)))
		return 0;
	snprintf(path, sizeof(path), NET_CLASS "/%s/master", n->cable);
	(void)!readlink(path, master, sizeof(master) - 1);
	const char *name = strrchr(master, '/');
	return name && lx_streq(name + 1, n->bridge) ? 0 : taken("network link", n->cable, err);
}

static int plug(const struct names *n, const char *netns, const char *mtu, struct lx_err *err)
{
	const char *const add[] = { "ip",        "link",    "add",  n->cable, "mtu",  mtu,
				    "master",    n->bridge, "type", "veth",   "peer", "name",
				    UPLINK_NAME, "mtu",     mtu,    "netns",  netns,  NULL };
	const char *const up[] = { "ip", "link",   "set",     "dev", n->cable, "mtu",
				   mtu,  "master", n->bridge, "up",  NULL };
	bool exists;
	int r = own_cable(n, &exists, err);

	if (r == 0 && !exists)
		r = cli_tool_run(add, NULL, err);
	if (r == 0)
		r = put_alias(n->cable, n->alias, err);
	return r < 0 ? r : cli_tool_run(up, NULL, err);
}

static int set_up(const char *netns, const struct cli_subnet *s, unsigned number, const char *mtu,
		  struct lx_err *err)
{
	const char *const batch[] = { "ip", "-netns", netns, "-batch", "-", NULL };
	char address[INET_ADDRSTRLEN], gateway[INET_ADDRSTRLEN];
	lx_autobuf struct lx_buf text = { 0 };

	cli_subnet_address(s, number, address);
	cli_subnet_address(s, 1, gateway);
	if (lx_buf_printf(&text,
			  "link set dev lo up\n"
			  "address replace %s/%u dev " UPLINK_NAME "\n"
			  "link set dev " UPLINK_NAME " mtu %s up\n"
			  "route replace default via %s dev " UPLINK_NAME "\n",
			  address, s->prefix, mtu, gateway) < 0)
		return lx_err_oom(err);
	return cli_tool_run(batch, lx_buf_str(&text), err);
}

static int connect_node(const struct cli_dev *d, unsigned number, const struct cli_subnet *s, const char *mtu,
			struct lx_err *err)
{
	struct names names;
	cli_autonode n;
	int r = cli_dev_node_init(d, number, &n, err);

	name_all(d, number, &names);
	if (r == 0)
		r = make_namespace(d, &n, err);
	if (r == 0)
		r = plug(&names, n.netns, mtu, err);
	if (r == 0)
		r = set_up(n.netns, s, number, mtu, err);
	if (r < 0)
		lx_err_wrap(err, "cannot connect node %u", number);
	return r;
}

/* ------------------------------------------------------------------ all of it */

int cli_underlay_choose(struct cli_dev *d, struct lx_err *err)
{
	struct names names;
	struct cli_subnet s = { 0 };
	bool exists;

	if (geteuid() != 0) {
		int r = lx_err_set(err, LX_PERMISSION_DENIED, "only root can connect several nodes");
		lx_err_hint(err, "Run it again with sudo.");
		return r;
	}
	name_all(d, 1, &names);
	int r = check_root(d, err);
	if (r == 0)
		r = own_bridge(&names, &exists, err);
	if (r == 0)
		r = settle_subnet(d, names.bridge, &s, err);
	return r < 0 || !exists ? r : check_same(&names, &s, err);
}

int cli_underlay_up(const struct cli_dev *d, struct lx_err *err)
{
	char mtu[16];
	struct names names;
	struct cli_subnet s;
	int r = cli_subnet_parse(d->setting[CLI_DEV_UNDERLAY], &s, err);

	if (r < 0)
		return r;
	name_all(d, 1, &names);
	uplink_mtu(mtu, sizeof(mtu));
	r = make_bridge(&names, &s, mtu, err);
	if (r == 0)
		r = make_rules(&names, d->setting[CLI_DEV_UNDERLAY], err);
	for (unsigned i = 2; r == 0 && i <= d->nodes; i++)
		r = connect_node(d, i, &s, mtu, err);
	return r;
}

static int disconnect_node(const struct cli_dev *d, unsigned number, struct lx_err *err)
{
	lx_autofree char *path = mark_path(d, number);
	struct lx_err foreign = LX_ERR_INIT;
	struct names names;
	cli_autonode n;
	bool exists;
	int r = cli_dev_node_init(d, number, &n, err);

	name_all(d, number, &names);
	if (r < 0 || !path)
		return r < 0 ? r : lx_err_oom(err);
	const char *const cut[] = { "ip", "link", "delete", "dev", names.cable, NULL };
	const char *const del[] = { "ip", "netns", "delete", n.netns, NULL };
	/* What is somebody else's stays. */
	if (own_cable(&names, &exists, &foreign) == 0 && exists)
		r = cli_tool_run(cut, NULL, err);
	if (r == 0 && own_namespace(d, &n, &exists, &foreign) == 0 && exists)
		r = cli_tool_run(del, NULL, err);
	if (r == 0 && unlink(path) < 0 && errno != ENOENT)
		r = lx_err_errno(err, errno, "cannot remove %s", path);
	return r;
}

int cli_underlay_down(const struct cli_dev *d, struct lx_err *err)
{
	struct lx_err foreign = LX_ERR_INIT;
	lx_autofree char *rules = NULL;
	struct names names;
	bool exists;
	int r = 0;

	if (!d->setting[CLI_DEV_UNDERLAY])
		return 0;
	name_all(d, 1, &names);
	for (unsigned i = 2; r == 0 && i <= d->nodes; i++)
		r = disconnect_node(d, i, err);
	if (r < 0 || own_bridge(&names, &exists, &foreign) < 0)
		return r;
	const char *const cut[] = { "ip", "link", "delete", "dev", names.bridge, NULL };
	const char *const nft[] = { "nft", "-f", "-", NULL };
	rules = lx_asprintf("table ip %s\ndelete table ip %s\n", names.table, names.table);
	if (!rules)
		return lx_err_oom(err);
	r = cli_tool_run(nft, rules, err);
	return r < 0 || !exists ? r : cli_tool_run(cut, NULL, err);
}
