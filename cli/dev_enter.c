/*
 * Becoming a process of a node: its network namespace, and what the file system says of it.
 *
 * liblxc asks /sys/class/net whether a link is a bridge, so /sys has to be the namespace's
 * own; what is mounted below (control groups, for one) is put back on top of it. When the
 * machine's resolver listens on its loopback only (systemd-resolved), the name servers that
 * it asks are put in its place. All of that is in a mount namespace that ends with the
 * process and its children; mounts that the machine makes later still arrive there.
 *
 * Ways to fail: no such namespace, no right to. Then the process is of no more use.
 */
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#include "cli/dev.h"
#include "lib/fs.h"

#define SYS           "/sys"
#define RESOLV        "/etc/resolv.conf"
#define RESOLV_BEHIND "/run/systemd/resolve/resolv.conf" /* systemd-resolved: what it asks itself */
#define RESOLV_MAX    65536                              /* bytes of either */
#define BELOW_SYS_MAX 64                                 /* mounts below /sys */

/* ------------------------------------------------------------------ name servers */

static bool has_server(const char *path)
{
	lx_autobuf struct lx_buf text = { 0 };
	char *line, *rest;

	if (lx_read_file(path, RESOLV_MAX, &text, NULL) < 0 || !text.len)
		return false;
	rest = (char *)text.data;
	while ((line = strsep(&rest, "\n"))) {
		char address[64];
		if (sscanf(line, " nameserver %63s", address) == 1 && !lx_starts_with(address, "127.") &&
		    !lx_streq(address, "::1"))
			return true;
	}
	return false;
}

bool cli_dev_names_resolve(void)
{
	return has_server(RESOLV) || has_server(RESOLV_BEHIND);
}

static int replace_resolver(void)
{
	if (has_server(RESOLV) || !has_server(RESOLV_BEHIND))
		return 0;
	return mount(RESOLV_BEHIND, RESOLV, NULL, MS_BIND, NULL) < 0 ? -errno : 0;
}

/* ------------------------------------------------------------------ /sys */

struct below {
	char *path[BELOW_SYS_MAX];
	int tree[BELOW_SYS_MAX];
	size_t n;
};

static void below_release(struct below *b)
{
	for (size_t i = 0; i < b->n; i++) {
		free(b->path[i]);
		if (b->tree[i] >= 0)
			close(b->tree[i]);
	}
}

/* Takes hold of each mount below /sys, in the order in which they were made. */
static int collect(struct below *b)
{
	lx_autofclose FILE *mounts = fopen("/proc/self/mountinfo", "re");
	lx_autofree char *line = NULL;
	char path[PATH_MAX];
	size_t size = 0;

	if (!mounts)
		return -errno;
	while (getline(&line, &size, mounts) > 0) {
		if (sscanf(line, "%*s %*s %*s %*s %4095s", path) != 1 || !lx_starts_with(path, SYS "/"))
			continue;
		if (b->n == BELOW_SYS_MAX)
			return -E2BIG;
		b->path[b->n] = strdup(path);
		b->tree[b->n] = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
		if (!b->path[b->n++])
			return -ENOMEM;
	}
	return 0;
}

static int put_back(const struct below *b)
{
	for (size_t i = 0; i < b->n; i++)
		/* What could not be looked at, or has no place in the new one, stays away. */
		if (b->tree[i] >= 0 &&
		    move_mount(b->tree[i], "", AT_FDCWD, b->path[i], MOVE_MOUNT_F_EMPTY_PATH) < 0 &&
		    errno != ENOENT)
			return -errno;
	return 0;
}

static int replace_sys(void)
{
	struct below b = { .n = 0 };
	struct statvfs now;
	unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
	int r = collect(&b);

	if (statvfs(SYS, &now) == 0 && now.f_flag & ST_RDONLY)
		flags |= MS_RDONLY;
	if (r == 0 && mount("sysfs", SYS, "sysfs", flags, NULL) < 0)
		r = -errno;
	if (r == 0)
		r = put_back(&b);
	below_release(&b);
	return r;
}

/* ------------------------------------------------------------------ both */

static int enter_network(const char *netns, bool or_empty)
{
	lx_autofree char *path = lx_path_join(CLI_NETNS_DIR, netns);

	if (!path)
		return -ENOMEM;
	lx_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT && or_empty)
		return unshare(CLONE_NEWNET) < 0 ? -errno : 0;
	return fd < 0 || setns(fd, CLONE_NEWNET) < 0 ? -errno : 0;
}

int cli_dev_enter(const char *netns, bool or_empty)
{
	int r = enter_network(netns, or_empty);

	if (r == 0 && (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0))
		r = -errno;
	if (r == 0)
		r = replace_sys();
	return r < 0 ? r : replace_resolver();
}
