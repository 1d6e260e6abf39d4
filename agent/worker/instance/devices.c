/*
 * Getting an instance's devices from outside ready: see the header.
 *
 *	<instance>/devices/	a tmpfs, in the worker's mount namespace alone
 *		NAME		a disk of the node, with the guest's ids; or a device node
 *
 * The guest is unprivileged and its root file system mounted without device nodes, so nodes are made
 * here, with the owner they are to have in the guest. Which of them open is up to the device
 * filter; the devices controller of cgroup v1 refuses nothing by itself.
 */
#include "agent/worker/instance/devices.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/worker/instance/guest.h"
#include "lib/cleanup.h"
#include "lib/str.h"

#define STAGE         "devices"
#define STAGE_OPTIONS "mode=0711,size=64k"

struct prepare {
	const struct lx_job *job;
	const lx_spec *spec;
	int userns_fd; /* -1: a privileged guest has the machine's ids */
	bool staged;
	struct lx_devices *out;
};

/* Keeps a text for as long as the list; NULL: out of memory. */
static const char *keep(struct lx_devices *d, char *text)
{
	if (text)
		d->texts[d->n_texts++] = text;
	return text;
}

static int add_mount(struct lx_devices *d, const char *source, const char *path, const char *options,
		     bool file, struct lx_err *err)
{
	if (!options)
		return lx_err_oom(err);
	d->mounts[d->n_mounts++] =
		(struct lx_lxc_mount){ .source = source, .path = path, .options = options, .file = file };
	return 0;
}

/* Mounted in the guest by liblxc: its own, so that a move carries it like others of the guest's. */
static int add_tmpfs(struct lx_devices *d, const struct lx_host_device *dev, struct lx_err *err)
{
	const char *options = keep(d, dev->size ? lx_asprintf("nosuid,nodev,size=%" PRIu64, dev->size)
						: strdup("nosuid,nodev"));

	return add_mount(d, NULL, dev->path, options, false, err);
}

/* ------------------------------------------------------------------ on the stage */

static int make_stage(struct prepare *p, struct lx_err *err)
{
	char path[LX_JOB_PATH_MAX];

	if (p->staged)
		return 0;
	lx_job_path(p->job, path, STAGE);
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return lx_err_errno(err, errno, "cannot make %s", path);
	/* The one place without nodev: the nodes in it are the instance's. */
	if (mount(LX_DEVICE_NODES_SOURCE, path, "tmpfs", MS_NOSUID | MS_NOEXEC, STAGE_OPTIONS) < 0)
		return lx_err_errno(err, errno, "cannot mount %s", path);
	p->staged = true;
	return 0;
}

static const char *stage_path(struct prepare *p, const char *name)
{
	return keep(p->out, lx_asprintf("%s/" STAGE "/%s", p->job->dir, name));
}

static int add_disk(struct prepare *p, const char *name, const struct lx_host_device *d, struct lx_err *err)
{
	bool file = false;
	int r = make_stage(p, err);

	if (r < 0)
		return r;
	lx_autoclose int tree = lx_device_disk_open(p->job, name, d, p->userns_fd, &file, err);

	if (tree < 0)
		return tree == -ENOENT && d->optional ? 0 : tree;
	const char *at = stage_path(p, name);

	if (!at)
		return lx_err_oom(err);
	if ((file ? mknod(at, S_IFREG | 0600, 0) : mkdir(at, 0700)) < 0)
		return lx_err_errno(err, errno, "cannot make %s", at);
	if (move_mount(tree, "", AT_FDCWD, at, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return lx_err_errno(err, errno, "cannot mount %s", at);
	return add_mount(p->out, at, d->path, d->recursive ? "rbind" : "bind", file, err);
}

/* Its numbers; -ENOENT without a message when an optional one is missing. */
static int find_numbers(const char *name, const struct lx_host_device *d, dev_t *ret, struct lx_err *err)
{
	struct stat st;

	*ret = makedev(d->major, d->minor);
	if (d->numbered)
		return 0;
	lx_autoclose int fd = lx_device_source_open(name, d, err);

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return lx_err_errno(err, errno, "device %s: cannot look at %s", name, d->source);
	if (d->block ? !S_ISBLK(st.st_mode) : !S_ISCHR(st.st_mode)) {
		int r = lx_err_set(err, LX_FAILED_PRECONDITION, "device %s: %s is no %s device", name,
				   d->source, d->block ? "block" : "character");
		lx_err_hint(err,
			    "ls -l shows what it is: b for type=unix-block, c for type=unix-char, else it is "
			    "a disk.");
		return r;
	}
	*ret = st.st_rdev;
	return 0;
}

static int add_node(struct prepare *p, const char *name, const struct lx_host_device *d, struct lx_err *err)
{
	uint32_t base = lx_spec_id_base(p->spec);
	dev_t dev;
	int r = find_numbers(name, d, &dev, err);

	if (r < 0)
		return r == -ENOENT && d->optional ? 0 : r;
	r = make_stage(p, err);
	if (r < 0)
		return r;
	const char *at = stage_path(p, name);

	if (!at)
		return lx_err_oom(err);
	if (mknod(at, (d->block ? S_IFBLK : S_IFCHR) | 0600, dev) < 0 ||
	    chown(at, base + d->uid, base + d->gid) < 0 || chmod(at, d->mode) < 0)
		return lx_err_errno(err, errno, "cannot make %s", at);
	p->out->rules[p->out->n_rules++] =
		(struct lx_device_rule){ .block = d->block, .major = major(dev), .minor = minor(dev) };
	return add_mount(p->out, at, d->path, "bind", true, err);
}

/* ------------------------------------------------------------------ all of them */

static int read_device(const Lxmgr__V1__InstanceSpec__DevicesEntry *e, struct lx_map *options,
		       struct lx_host_device *ret, struct lx_err *err)
{
	lx_map_init(options, NULL);
	for (size_t i = 0; e->value && i < e->value->n_options; i++)
		if (lx_map_set(options, e->value->options[i]->key, e->value->options[i]->value) < 0)
			return lx_err_oom(err);
	/* Its name becomes part of a path, and its path one of the guest: not taken on trust. */
	int r = lx_host_device_read(options, ret);

	return r == 1 ? (r = lx_device_check(e->key, options, err)) < 0 ? r : 1 : r;
}

/* `p` NULL: only what is no node's. */
static int add_all(struct prepare *p, const lx_spec *spec, struct lx_devices *out, struct lx_err *err)
{
	int r = 0;

	if (spec->n_devices > LX_CONFIG_MAX_DEVICES)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%zu devices are more than %d", spec->n_devices,
				  LX_CONFIG_MAX_DEVICES);
	for (size_t i = 0; i < spec->n_devices && r >= 0; i++) {
		const char *name = spec->devices[i]->key;
		struct lx_map options;
		struct lx_host_device d;

		r = read_device(spec->devices[i], &options, &d, err);
		if (r == 1 && d.kind == LX_HOST_DEVICE_TMPFS)
			r = add_tmpfs(out, &d, err);
		else if (r == 1 && p && d.kind == LX_HOST_DEVICE_DISK)
			r = add_disk(p, name, &d, err);
		else if (r == 1 && p && d.kind == LX_HOST_DEVICE_NODE)
			r = add_node(p, name, &d, err);
		lx_map_release(&options);
	}
	return r < 0 ? r : 0;
}

/* Has it a device that is mounted? The namespace is a process: most instances need none for that. */
static bool needs_ids(const lx_spec *spec)
{
	for (size_t i = 0; i < spec->n_devices; i++) {
		struct lx_map options;
		struct lx_host_device d;
		int r = read_device(spec->devices[i], &options, &d, NULL);

		lx_map_release(&options);
		if (r == 1)
			return true;
	}
	return false;
}

int lx_devices_prepare(const struct lx_job *job, const lx_spec *spec, int root_fd, struct lx_devices *ret,
		       struct lx_err *err)
{
	struct prepare p = { .job = job, .spec = spec, .userns_fd = -1, .out = ret };

	*ret = (struct lx_devices){ 0 };
	int r = needs_ids(spec) ? lx_spec_userns(spec, &p.userns_fd, err) : 0;

	if (r == 0)
		r = lx_devices_lxcfs(job, spec, &ret->lxcfs, err);
	if (r == 0)
		r = add_all(&p, spec, ret, err);
	if (r == 0 && ret->n_mounts > 0)
		r = lx_mount_points(ret, root_fd, p.userns_fd, false, err);
	if (r == 0 && ret->n_mounts > 0)
		r = lx_mount_points(ret, root_fd, p.userns_fd, true, err);
	if (p.userns_fd >= 0)
		close(p.userns_fd);
	return r;
}

int lx_devices_of_restore(const lx_spec *spec, struct lx_devices *ret, struct lx_err *err)
{
	*ret = (struct lx_devices){ 0 };
	return add_all(NULL, spec, ret, err);
}

void lx_devices_release(struct lx_devices *d)
{
	for (size_t i = 0; i < d->n_texts; i++)
		free(d->texts[i]);
	*d = (struct lx_devices){ 0 };
}
