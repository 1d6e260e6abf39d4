/*
 * Leases to files.
 *
 * Happy path: the wanted files are computed in memory, compared with what was written before,
 * and the difference is written or unlinked; what a guest was given by DHCP and should have no
 * longer is taken back (release.h). Ways to fail: a full or read-only run directory.
 */
#include "agent/network/leases.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/network/paths.h"
#include "agent/network/release.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"

#define FILE_MAX_BYTES 4096

/* ------------------------------------------------------------------ taking in what is there */

static int take_in(struct lx_leases *l, const char *name, struct lx_err *err)
{
	lx_autofree char *path = lx_path_join(l->dir, name);
	lx_autobuf struct lx_buf content = { 0 };
	int r;

	if (!path)
		return lx_err_oom(err);
	r = lx_read_file(path, FILE_MAX_BYTES, &content, NULL);
	if (r == -ENOMEM)
		return lx_err_oom(err);
	/* Unreadable: as if empty, which no wanted file is, so it will be replaced or removed. */
	lx_autofree char *text = strdup(r < 0 ? "" : lx_buf_str(&content));

	if (!text || lx_map_set(&l->files, name, text) < 0)
		return lx_err_oom(err);
	text = NULL;
	return 0;
}

static int take_in_dir(struct lx_leases *l, const char *sub, struct lx_err *err)
{
	lx_autofree char *path = lx_path_join(l->dir, sub);
	struct dirent *e;
	int r;

	if (!path)
		return lx_err_oom(err);
	r = lx_mkdir_p(path, 0755, err);
	if (r < 0)
		return r;
	lx_autoclosedir DIR *dir = opendir(path);

	if (!dir)
		return lx_err_errno(err, errno, "cannot list %s", path);
	while ((e = readdir(dir))) {
		lx_autofree char *name = lx_path_join(sub, e->d_name);

		if (!name)
			return lx_err_oom(err);
		if (lx_streq(e->d_name, ".") || lx_streq(e->d_name, ".."))
			continue;
		r = take_in(l, name, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int lx_leases_open(struct lx_leases *l, const char *dir, struct lx_err *err)
{
	int r;

	*l = (struct lx_leases){ .dir = strdup(dir) };
	lx_map_init(&l->files, free);
	if (!l->dir)
		return lx_err_oom(err);
	r = take_in_dir(l, LX_NETWORK_HOSTS_DIR, err);
	if (r == 0)
		r = take_in_dir(l, LX_NETWORK_NAMES_DIR, err);
	if (r == 0)
		r = take_in(l, LX_NETWORK_OPTS_FILE, err);
	if (r < 0)
		lx_leases_close(l);
	return r;
}

void lx_leases_close(struct lx_leases *l)
{
	lx_map_release(&l->files);
	free(l->dir);
	l->dir = NULL;
}

/* ------------------------------------------------------------------ what is wanted */

static int want(struct lx_map *files, const char *name, const char *text)
{
	char *copy = strdup(text);

	if (!copy || lx_map_set(files, name, copy) < 0) {
		free(copy);
		return -ENOMEM;
	}
	return 0;
}

/* The two files of one lease have the same name, in one directory each. */
static int want_lease(struct lx_map *files, const struct lx_lease *lease)
{
	lx_autofree char *host_file = lx_asprintf("%s/%s", LX_NETWORK_HOSTS_DIR, lease->hwaddr);
	lx_autofree char *names_file = lx_asprintf("%s/%s", LX_NETWORK_NAMES_DIR, lease->hwaddr);
	lx_autobuf struct lx_buf host = { 0 }, names = { 0 };
	char v4[LX_SUBNET_TEXT], v6[LX_SUBNET_TEXT];
	int r = host_file && names_file ? 0 : -ENOMEM;

	lx_subnet_format_host(&lease->v4, v4);
	lx_subnet_format_host(&lease->v6, v6);
	/* DHCP takes no names in parts of its domain. */
	bool whole = strchr(lease->name, '.') != NULL;

	if (r == 0 && lease->v4.family != 0) {
		r = lx_buf_printf(&host, "%s,%s%s%s\n", lease->hwaddr, v4, whole ? "" : ",",
				  whole ? "" : lease->name);
		if (r == 0)
			r = lx_buf_printf(&names, "%s %s\n", v4, lease->name);
		if (r == 0)
			r = want(files, host_file, lx_buf_str(&host));
	}
	if (r == 0 && lease->v6.family != 0)
		r = lx_buf_printf(&names, "%s %s\n", v6, lease->name);
	if (r == 0 && names.len > 0)
		r = want(files, names_file, lx_buf_str(&names));
	return r;
}

/* Refuses a key (an address) that an earlier lease of this request has. */
static int claim(struct lx_map *claimed, const char *key, const struct lx_lease *lease, struct lx_err *err)
{
	const char *other = lx_map_get(claimed, key);

	if (other)
		return lx_err_set(err, LX_ALREADY_EXISTS, "lease of %s: %s is already leased to %s",
				  lease->instance, key, other);
	char *owner = strdup(lease->instance);

	if (!owner || lx_map_set(claimed, key, owner) < 0) {
		free(owner);
		return lx_err_oom(err);
	}
	return 0;
}

static int check_and_want(struct lx_map *files, struct lx_map *claimed,
			  const struct lx_network_config *config, const Lxmgr__V1__LeaseSpec *spec,
			  struct lx_err *err)
{
	char text[LX_SUBNET_TEXT];
	struct lx_lease lease;
	int r = lx_lease_parse(config, spec, &lease, err);

	if (r == 0)
		r = claim(claimed, lease.hwaddr, &lease, err);
	if (r == 0 && lease.v4.family != 0)
		r = claim(claimed, lx_subnet_format_host(&lease.v4, text), &lease, err);
	if (r == 0 && lease.v6.family != 0)
		r = claim(claimed, lx_subnet_format_host(&lease.v6, text), &lease, err);
	if (r == 0 && want_lease(files, &lease) < 0)
		r = lx_err_oom(err);
	return r;
}

static int want_all(struct lx_map *files, const struct lx_network_config *config,
		    const Lxmgr__V1__NetworkSpec *spec, uint32_t mtu, struct lx_err *bad, struct lx_err *err)
{
	struct lx_map claimed;
	char options[64];
	int r;

	snprintf(options, sizeof(options), "option:mtu,%u\n", mtu);
	if (want(files, LX_NETWORK_OPTS_FILE, options) < 0)
		return lx_err_oom(err);
	lx_map_init(&claimed, free);
	for (size_t i = 0; i < spec->n_leases; i++) {
		struct lx_err one = LX_ERR_INIT;

		r = check_and_want(files, &claimed, config, spec->leases[i], &one);
		if (r < 0 && bad->code == LX_OK)
			*bad = one;
	}
	lx_map_release(&claimed);
	return 0;
}

/* ------------------------------------------------------------------ the difference */

/* Whole or not at all, but not flushed to a disk: after a boot all are written anew. */
static int replace_file(const char *dir, const char *path, const char *text)
{
	/* In the network's own directory: dnsmasq would read it in the others. */
	lx_autofree char *temp = lx_path_join(dir, ".new");
	int r = temp ? 0 : -ENOMEM;

	if (r < 0)
		return r;
	lx_autoclose int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	ssize_t n = fd < 0 ? -errno : lx_write_full(fd, text, strlen(text));

	if (n < 0 || fchmod(fd, 0644) < 0 || rename(temp, path) < 0)
		r = n < 0 ? (int)n : -errno;
	return r;
}

static int write_one(struct lx_leases *l, const char *name, const char *text, struct lx_err *err)
{
	lx_autofree char *path = lx_path_join(l->dir, name);
	int r;

	if (!path)
		return lx_err_oom(err);
	r = replace_file(l->dir, path, text);
	if (r < 0)
		return lx_err_errno(err, r, "cannot write %s", path);
	return want(&l->files, name, text) < 0 ? lx_err_oom(err) : 0;
}

static int remove_one(struct lx_leases *l, const char *name, struct lx_err *err)
{
	lx_autofree char *path = lx_path_join(l->dir, name);

	if (!path)
		return lx_err_oom(err);
	if (unlink(path) < 0 && errno != ENOENT)
		return lx_err_errno(err, errno, "cannot remove %s", path);
	lx_map_del(&l->files, name);
	return 0;
}

static void take_back(const struct lx_network_config *config, const char *file, const char *content)
{
	if (lx_starts_with(file, LX_NETWORK_HOSTS_DIR "/"))
		lx_release(config, content);
}

int lx_leases_sync(struct lx_leases *l, const struct lx_network_config *config,
		   const Lxmgr__V1__NetworkSpec *spec, uint32_t mtu, bool *reload, struct lx_err *bad,
		   struct lx_err *err)
{
	struct lx_map wanted;
	int r;

	lx_map_init(&wanted, free);
	r = want_all(&wanted, config, spec, mtu, bad, err);
	for (struct lx_map_entry *next, *e = lx_map_first(&l->files); e && r == 0; e = next) {
		next = lx_map_next(e);
		if (lx_map_has(&wanted, lx_map_key(e)))
			continue;
		*reload = true;
		take_back(config, lx_map_key(e), lx_map_value(e));
		r = remove_one(l, lx_map_key(e), err);
	}
	for (struct lx_map_entry *e = lx_map_first(&wanted); e && r == 0; e = lx_map_next(e)) {
		const char *before = lx_map_get(&l->files, lx_map_key(e));

		if (lx_streq(before, lx_map_value(e)))
			continue;
		if (before) {
			*reload = true;
			take_back(config, lx_map_key(e), before);
		}
		r = write_one(l, lx_map_key(e), lx_map_value(e), err);
	}
	lx_map_release(&wanted);
	return r;
}
