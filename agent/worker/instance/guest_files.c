/*
 * Putting the guest's own files into its new file system: what there is to configure is
 * found by looking at the image, profiles/ says what to write, and a child that is the
 * guest's root writes it. So new files get the guest's ids, directories above them keep
 * what the image gave them, and links of the image lead nowhere else.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/worker/instance/guest.h"
#include "agent/worker/instance/instance.h"
#include "agent/worker/instance/rootfs.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/qname.h"

/* More than any instance gets; what the manager leases is far fewer. */
#define NICS_MAX 64

/* ------------------------------------------------------------------ looking */

static bool has(int root, const char *path)
{
	lx_autoclose int fd = lx_open_in_root(root, path);

	return fd >= 0;
}

/* Is /etc/resolv.conf a link to what systemd-resolved writes? */
static bool has_resolved(int root)
{
	lx_autoclose int etc = lx_open_in_root(root, "etc");
	char target[256];
	ssize_t n = etc < 0 ? -1 : readlinkat(etc, "resolv.conf", target, sizeof(target) - 1);

	if (n < 0)
		return false;
	target[n] = '\0';
	return strstr(target, "/systemd/resolve/") != NULL;
}

static struct lx_guest_probe look(int root)
{
	return (struct lx_guest_probe){
		.systemd = lx_tree_has_systemd(root),
		.networkd = (has(root, "usr/lib/systemd/systemd-networkd") ||
			     has(root, "lib/systemd/systemd-networkd")) &&
			    has(root, "etc/systemd/network"),
		.ifupdown = has(root, "etc/network/interfaces"),
		.resolved = has_resolved(root),
	};
}

/* ------------------------------------------------------------------ writing */

struct files {
	const struct lx_guest_file *at;
	size_t n;
};

/* Aside and renamed: a link of the image's by that name is replaced, not followed. */
static int write_one(const struct lx_guest_file *f, int *ret_fd, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX], tmp[LX_JOB_PATH_MAX];

	if ((size_t)snprintf(path, sizeof(path), "%s", f->path) >= sizeof(path) ||
	    (size_t)snprintf(tmp, sizeof(tmp), "%s.lxmgr-new", f->path) >= sizeof(tmp))
		return lx_err_set(err, LX_INTERNAL, "the path %s is too long", f->path);
	*strrchr(path, '/') = '\0';
	int r = *path ? lx_mkdir_p(path, 0755, err) : 0;

	if (r < 0)
		return r;
	*ret_fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (*ret_fd < 0)
		return lx_err_errno(err, errno, "cannot create %s in the guest", f->path);
	ssize_t w = lx_write_full(*ret_fd, f->text, strlen(f->text));

	if (w < 0)
		return lx_err_errno(err, (int)w, "cannot write %s in the guest", f->path);
	if (fchmod(*ret_fd, f->mode) < 0 || rename(tmp, f->path) < 0)
		return lx_err_errno(err, errno, "cannot create %s in the guest", f->path);
	return 0;
}

static int write_all(void *arg, struct lx_err *err)
{
	const struct files *files = arg;
	int fd[LX_GUEST_FILES_MAX];
	int r = 0;

	for (size_t i = 0; i < files->n && r == 0; i++)
		r = write_one(&files->at[i], &fd[i], err);
	/* All written, then all synced: the first takes the others along. The process ends after this. */
	for (size_t i = 0; i < files->n && r == 0; i++)
		if (fsync(fd[i]) < 0)
			r = lx_err_errno(err, errno, "cannot write %s in the guest", files->at[i].path);
	return r;
}

/* ------------------------------------------------------------------ both */

struct lx_lxc_nic lx_spec_nic(const Lxmgr__V1__Nic *nic)
{
	return (struct lx_lxc_nic){
		.name = nic->name,
		.bridge = nic->bridge,
		.host_name = nic->host_name,
		.hwaddr = nic->hwaddr,
		.ipv4 = nic->ipv4_address,
		.ipv4_gateway = nic->ipv4_gateway,
		.ipv6 = nic->ipv6_address,
		.ipv6_gateway = nic->ipv6_gateway,
		.mtu = nic->mtu,
	};
}

/* The list of name servers, with the NULL at its end that profiles/ wants. */
static int fill_net(const Lxmgr__V1__Nic *nic, struct lx_guest_net *net)
{
	const char **dns = calloc(nic->n_dns + 1, sizeof(*dns));

	if (!dns)
		return -ENOMEM;
	for (size_t i = 0; i < nic->n_dns; i++)
		dns[i] = nic->dns[i];
	*net = (struct lx_guest_net){ .nic = lx_spec_nic(nic), .dns = dns, .dns_domain = nic->dns_domain };
	return 0;
}

static int make_files(const lx_spec *spec, int root_fd, struct lx_guest_file *files, struct lx_err *err)
{
	struct lx_guest_net nets[NICS_MAX] = { 0 };
	struct lx_guest_probe probe = look(root_fd);
	size_t n = 0;
	int r = 0;

	if (spec->n_nics > NICS_MAX)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "an instance can have %d network cards, not %zu",
				  NICS_MAX, spec->n_nics);
	while (n < spec->n_nics && r == 0) {
		r = fill_net(spec->nics[n], &nets[n]);
		n++;
	}
	r = r < 0 ? lx_err_oom(err)
		  : lx_guest_files(lx_qname_leaf(spec->name), &probe, nets, spec->n_nics, files, err);
	while (n > 0)
		free((void *)(uintptr_t)nets[--n].dns);
	return r;
}

int lx_guest_files_write(const lx_spec *spec, int root_fd, int userns_fd, struct lx_err *err)
{
	struct lx_guest_file at[LX_GUEST_FILES_MAX];
	int n = make_files(spec, root_fd, at, err);

	if (n < 0)
		return n;
	struct files files = { .at = at, .n = (size_t)n };
	int r = lx_guest_run(root_fd, userns_fd, write_all, &files, err);

	lx_guest_files_release(at, (size_t)n);
	return r;
}
