/*
 * Debian as a container: the least that boots under systemd, gets its network from
 * networkd, and can install the rest with apt. On top of what apt was told to install:
 *
 *   - nothing of the machine it was built on: no host name, resolver, machine id, keys
 *   - networkd is on and asks for addresses by DHCP where nothing else is configured
 *   - no unit that looks after disks, none that prepares /etc and /var at the first boot:
 *     packages have done that when they were installed
 *   - apt's sources name the mirror it was built from
 *
 * The epoch is today's midnight (UTC): built twice a day from the same packages, it is the
 * same image.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "images/apt_sources.h"
#include "images/build_internal.h"
#include "images/child.h"
#include "images/describe.h"
#include "images/tree.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fs.h"
#include "lib/str.h"

#define DEFAULT_ARCHIVE  "http://deb.debian.org/debian"
#define DEFAULT_SECURITY "http://deb.debian.org/debian-security"
#define APT_FILE_MAX     (256 * 1024)
#define APT_DUMP_MAX     (1024 * 1024)
#define SECONDS_PER_DAY  86400
/* Newer than any /usr, and still a date for every file system. */
#define FAR_FUTURE 2145830400 /* 2037-12-31 */

/* init and its bus; a network; certificates for https; what one types first. */
static const char base_packages[] =
	"systemd,systemd-sysv,dbus,iproute2,netbase,ca-certificates,iputils-ping,less,procps";

/* ------------------------------------------------------------------ the node's apt */

struct node_apt {
	struct lx_apt_mirrors mirrors;
	struct lx_buf fetch, guest_fetch;
};

static void node_apt_release(struct node_apt *a)
{
	lx_apt_mirrors_release(&a->mirrors);
	lx_buf_release(&a->fetch);
	lx_buf_release(&a->guest_fetch);
}

/* One sources file; one that cannot be read tells nothing. */
static int read_sources(const char *path, struct lx_apt_mirrors *m, struct lx_err *err)
{
	lx_autobuf struct lx_buf text = { 0 };

	if (lx_read_file(path, APT_FILE_MAX, &text, NULL) < 0)
		return 0;
	int r = lx_ends_with(path, ".sources") ? lx_apt_sources_deb822(lx_buf_str(&text), m)
					       : lx_apt_sources_list(lx_buf_str(&text), m);

	return r < 0 ? lx_err_oom(err) : 0;
}

static int is_sources_file(const struct dirent *e)
{
	return lx_ends_with(e->d_name, ".list") || lx_ends_with(e->d_name, ".sources");
}

static int read_all_sources(struct lx_apt_mirrors *m, struct lx_err *err)
{
	struct dirent **files = NULL;
	int r = read_sources("/etc/apt/sources.list", m, err);
	int n = scandir("/etc/apt/sources.list.d", &files, is_sources_file, alphasort);

	for (int i = 0; i < n; i++) {
		lx_autofree char *path = lx_path_join("/etc/apt/sources.list.d", files[i]->d_name);

		if (!path)
			r = lx_err_oom(err);
		if (r == 0)
			r = read_sources(path, m, err);
		free(files[i]);
	}
	free(files);
	return r;
}

static int read_fetch_settings(struct node_apt *a, struct lx_err *err)
{
	lx_autofree char *program = lx_find_program("apt-config");
	lx_autobuf struct lx_buf dump = { 0 };

	/* Not a Debian machine, perhaps: mmdebstrap will say so if it matters. */
	if (!program)
		return 0;
	const char *argv[] = { program, "dump", NULL };
	int r = lx_child_output(argv, APT_DUMP_MAX, &dump, err);

	if (r < 0)
		return r;
	if (lx_apt_fetch_settings(lx_buf_str(&dump), false, &a->fetch) < 0 ||
	    lx_apt_fetch_settings(lx_buf_str(&dump), true, &a->guest_fetch) < 0)
		return lx_err_oom(err);
	return 0;
}

static int replace(char **slot, const char *value, struct lx_err *err)
{
	char *copy = strdup(value);

	if (!copy)
		return lx_err_oom(err);
	free(*slot);
	*slot = copy;
	return 0;
}

/* The request's mirror, else the node's, else Debian's; security updates as the node gets them. */
static int choose_mirrors(struct lx_build *b, struct node_apt *a, struct lx_err *err)
{
	struct lx_apt_mirrors *m = &a->mirrors;
	const char *named = b->request->mirror;
	int r = read_all_sources(m, err);

	if (r == 0 && !m->archive && !*named && !m->security)
		r = replace(&m->security, DEFAULT_SECURITY, err);
	if (r == 0 && *named)
		r = replace(&m->archive, named, err);
	else if (r == 0 && !m->archive)
		r = replace(&m->archive, DEFAULT_ARCHIVE, err);
	return r;
}

/* ------------------------------------------------------------------ finishing the tree */

static int write_sources(struct lx_build *b, const struct lx_apt_mirrors *m, bool security,
			 struct lx_err *err)
{
	const char *suite = b->template->release;
	bool sid = lx_streq(suite, "sid");
	lx_autobuf struct lx_buf text = { 0 };
	int r = lx_buf_printf(&text, "Types: deb\nURIs: %s\nSuites: %s", m->archive, suite);

	if (r == 0 && !sid)
		r = lx_buf_printf(&text, " %s-updates", suite);
	if (r == 0)
		r = lx_buf_printf(&text, "\nComponents: main\nSigned-By: %s\n", LX_DEBIAN_KEYRING);
	if (r == 0 && security)
		r = lx_buf_printf(
			&text,
			"\nTypes: deb\nURIs: %s\nSuites: %s-security\nComponents: main\nSigned-By: %s\n",
			m->security, suite, LX_DEBIAN_KEYRING);
	if (r < 0)
		return lx_err_oom(err);
	r = lx_tree_remove(b->root, "etc/apt/sources.list", err);
	return r < 0 ? r
		     : lx_tree_text(b->root, "etc/apt/sources.list.d/debian.sources", 0644, lx_buf_str(&text),
				    err);
}

static int write_fetch_settings(struct lx_build *b, const struct node_apt *a, struct lx_err *err)
{
	lx_autobuf struct lx_buf text = { 0 };

	if (a->guest_fetch.len == 0)
		return 0;
	if (lx_buf_printf(&text, "// How the node this image was built on reaches the archive.\n%s",
			  lx_buf_str(&a->guest_fetch)) < 0)
		return lx_err_oom(err);
	return lx_tree_text(b->root, "etc/apt/apt.conf.d/80node", 0644, lx_buf_str(&text), err);
}

/* Traces of the build and of the machine it ran on. */
static int clean(struct lx_build *b, struct lx_err *err)
{
	static const char *const empty[] = { "dev",        "run",           "tmp",
					     "var/tmp",    "var/cache/apt", "var/lib/apt/lists",
					     "var/log/apt" };
	static const char *const gone[] = {
		"debootstrap",
		"etc/.pwd.lock",
		"etc/apt/apt.conf.d/99mmdebstrap",
		"etc/dpkg/dpkg.cfg.d/99mmdebstrap",
		"etc/fstab", /* nothing is mounted by the guest itself; with the file systemd remounts the
				root */
		"etc/group-",
		"etc/gshadow-",
		"etc/hostname",
		"etc/passwd-",
		"etc/resolv.conf",
		"etc/shadow-",
		"etc/subgid-",
		"etc/subuid-",
		"var/cache/debconf/config.dat-old",
		"var/cache/debconf/templates.dat-old",
		"var/cache/ldconfig/aux-cache",
		"var/lib/dbus/machine-id",
		"var/lib/dpkg/status-old",
		"var/lib/dpkg/diversions-old",
		"var/lib/dpkg/statoverride-old",
		"var/lib/systemd/random-seed",
		"var/log/alternatives.log",
		"var/log/bootstrap.log",
		"var/log/dpkg.log",
		"var/log/faillog",
		"var/log/lastlog",
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < LX_ARRAY_SIZE(empty); i++)
		r = lx_tree_empty(b->root, empty[i], err);
	for (size_t i = 0; r == 0 && i < LX_ARRAY_SIZE(gone); i++)
		r = lx_tree_remove(b->root, gone[i], err);
	/* apt wants its directories to be there. */
	if (r == 0)
		r = lx_tree_dir(b->root, "var/cache/apt/archives/partial", 0700, err);
	if (r == 0)
		r = lx_tree_dir(b->root, "var/lib/apt/lists/partial", 0700, err);
	return r;
}

/*
 * A server's keys would be the same in all containers of the image. Each makes its own when
 * it starts first, which Debian's package does only when it is installed.
 */
static int renew_ssh_keys(struct lx_build *b, struct lx_err *err)
{
	static const char *const types[] = { "rsa", "dsa", "ecdsa", "ed25519" };
	static const char unit[] = "[Unit]\n"
				   "Description=Make this machine's SSH keys\n"
				   "ConditionPathExists=!/etc/ssh/ssh_host_ed25519_key\n"
				   "Before=ssh.service ssh.socket\n"
				   "\n"
				   "[Service]\n"
				   "Type=oneshot\n"
				   "ExecStart=/usr/bin/ssh-keygen -A\n"
				   "\n"
				   "[Install]\n"
				   "WantedBy=multi-user.target\n";
	int r = 0;

	if (faccessat(b->root, "etc/ssh/sshd_config", F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return 0;
	for (size_t i = 0; r == 0 && i < LX_ARRAY_SIZE(types); i++) {
		char path[64];

		snprintf(path, sizeof(path), "etc/ssh/ssh_host_%s_key", types[i]);
		r = lx_tree_remove(b->root, path, err);
		snprintf(path, sizeof(path), "etc/ssh/ssh_host_%s_key.pub", types[i]);
		if (r == 0)
			r = lx_tree_remove(b->root, path, err);
	}
	if (r == 0)
		r = lx_tree_text(b->root, "etc/systemd/system/ssh-host-keys.service", 0644, unit, err);
	if (r == 0)
		r = lx_tree_link(b->root, "etc/systemd/system/multi-user.target.wants/ssh-host-keys.service",
				 "../ssh-host-keys.service", err);
	return r;
}

static int configure(struct lx_build *b, struct lx_err *err)
{
	static const struct {
		const char *path, *target;
	} links[] = {
		{ "etc/systemd/system/default.target", "/usr/lib/systemd/system/multi-user.target" },
		{ "etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
		  "/usr/lib/systemd/system/systemd-networkd.service" },
		{ "etc/systemd/system/sockets.target.wants/systemd-networkd.socket",
		  "/usr/lib/systemd/system/systemd-networkd.socket" },
		{ "etc/systemd/system/dbus-org.freedesktop.network1.service",
		  "/usr/lib/systemd/system/systemd-networkd.service" },
		/* They look after file systems on disks of one's own. */
		{ "etc/systemd/system/e2scrub_all.timer", "/dev/null" },
		{ "etc/systemd/system/e2scrub_reap.service", "/dev/null" },
	};
	/* An address that is configured by a file whose name sorts before this one wins. */
	static const char network[] = "[Match]\nName=eth*\n\n[Network]\nDHCP=yes\n";
	int r = lx_tree_text(b->root, "etc/systemd/network/90-dhcp.network", 0644, network, err);

	if (r == 0)
		r = lx_tree_text(b->root, "etc/default/locale", 0644, "LANG=C.UTF-8\n", err);
	for (size_t i = 0; r == 0 && i < LX_ARRAY_SIZE(links); i++)
		r = lx_tree_link(b->root, links[i].path, links[i].target, err);
	/* There and empty: not the first boot of a machine without a configuration, and no identity. */
	if (r == 0)
		r = lx_tree_text(b->root, "etc/machine-id", 0444, "", err);
	return r;
}

/*
 * systemd compares these stamps with /usr and else runs ldconfig, sysusers, catalog updates
 * and more at the first boot of each container. dpkg has done all that.
 */
static const char *const stamps[] = { "etc/.updated", "var/.updated" };

static int set_times(struct lx_build *b, struct lx_err *err)
{
	struct timespec times[2] = { { .tv_sec = FAR_FUTURE }, { .tv_sec = FAR_FUTURE } };
	int r = 0;

	for (size_t i = 0; r == 0 && i < LX_ARRAY_SIZE(stamps); i++)
		r = lx_tree_text(b->root, stamps[i], 0644, "", err);
	if (r == 0)
		r = lx_tree_clamp_times(b->root, b->epoch, err);
	for (size_t i = 0; r == 0 && i < LX_ARRAY_SIZE(stamps); i++)
		if (utimensat(b->root, stamps[i], times, AT_SYMLINK_NOFOLLOW) < 0)
			r = lx_err_errno(err, errno, "cannot set the time of %s", stamps[i]);
	return r;
}

/* ------------------------------------------------------------------ the whole */

static int all_packages(struct lx_build *b, struct lx_buf *out, struct lx_err *err)
{
	int r = lx_buf_puts(out, base_packages);

	for (size_t i = 0; r == 0 && i < b->request->n_packages; i++)
		r = lx_buf_printf(out, ",%s", b->request->packages[i]);
	return r < 0 ? lx_err_oom(err) : 0;
}

static int build(struct lx_build *b, struct node_apt *a, struct lx_err *err)
{
	lx_autobuf struct lx_buf packages = { 0 };
	int r = choose_mirrors(b, a, err);

	if (r == 0)
		r = read_fetch_settings(a, err);
	if (r == 0)
		r = all_packages(b, &packages, err);
	if (r < 0)
		return r;
	bool security = a->mirrors.security && !lx_streq(b->template->release, "sid");
	struct lx_bootstrap what = {
		.suite = b->template->release,
		.archive = a->mirrors.archive,
		.security = security ? a->mirrors.security : NULL,
		.packages = lx_buf_str(&packages),
		.apt_settings = lx_buf_str(&a->fetch),
	};

	r = lx_bootstrap(b, &what, err);
	if (r == 0)
		r = clean(b, err);
	if (r == 0)
		r = renew_ssh_keys(b, err);
	if (r == 0)
		r = write_sources(b, &a->mirrors, security, err);
	if (r == 0)
		r = write_fetch_settings(b, a, err);
	if (r == 0)
		r = configure(b, err);
	if (r == 0)
		r = set_times(b, err);
	if (r == 0 && lx_metadata_set(&b->meta, LX_PROPERTY_INIT, "systemd") < 0)
		r = lx_err_oom(err);
	return r;
}

int lx_build_debian(struct lx_build *b, struct lx_err *err)
{
	struct node_apt a = { 0 };
	int64_t now = (int64_t)(lx_now_realtime_ns() / LX_NSEC_PER_SEC);

	b->epoch = now - now % SECONDS_PER_DAY;
	int r = build(b, &a, err);

	node_apt_release(&a);
	return r;
}
