/* CRIU's command lines. */
#include "migration/criu.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "migration/securityfs.h"

/* Where scripts/install-criu puts one. */
#define CRIU_DIR LX_LIBEXECDIR "/criu/sbin"

char *lx_criu_find(const char *libexec_dir)
{
	const char *path = getenv("PATH");
	lx_autofree char *dirs =
		lx_asprintf("%s:%s:%s:%s", libexec_dir, LX_LIBEXECDIR, CRIU_DIR, path ? path : "");
	char *save = NULL;

	for (char *dir = dirs ? strtok_r(dirs, ":", &save) : NULL; dir; dir = strtok_r(NULL, ":", &save)) {
		char *criu = lx_path_join(dir, "criu");

		/* A directory can be "executed" as well, and there is one of that name. */
		if (criu && access(criu, X_OK) == 0 && !lx_is_dir(criu))
			return criu;
		free(criu);
	}
	return NULL;
}

bool lx_criu_version_ok(const char *version)
{
	char *end;
	unsigned long major = strtoul(version, &end, 10),
		      minor = *end == '.' ? strtoul(end + 1, NULL, 10) : 0;

	return major > 4 || (major == 4 && minor >= 2);
}

/* ------------------------------------------------------------------ command lines */

/*
 * On both sides: sockets with their connections; the network namespace's devices are ours
 * (net_save.c); mounts of the machine's /dev nodes found by themselves; nothing but errors in the log.
 * The network is locked by the cards being out of their bridges: a packet filter of CRIU's, on top
 * of that, costs 20 ms a side.
 */
static const char *const common[] = {
	"--empty-ns", "net", "--network-lock", "skip", "-v1",
};

static const char *const dump_only[] = {
	/* Seconds for a process to stop when it is told to. Who does not is in the middle of something
	   (dumpable.h), and all stand still until then; CRIU's own 10 are too many. */
	"--timeout",
	"3",
	"--tcp-established",
	/* The worker kills what it has dumped, or does not: else CRIU would keep what lay unread in
	   terminals. */
	"--leave-stopped",
	"--file-locks",
	"--link-remap",
	"--force-irmap",
	"--skip-in-flight",
	"--manage-cgroups=full",
	"--ext-mount-map",
	"auto",
	"--enable-external-sharing",
	"--enable-external-masters",
	"--enable-fs",
	"hugetlbfs",
	"--enable-fs",
	"tracefs",
};

__attribute__((format(printf, 2, 3))) static void add(struct lx_criu_args *args, const char *fmt, ...)
{
	va_list ap;

	if (args->n == LX_CRIU_ARGS_MAX - 1)
		return;
	va_start(ap, fmt);
	if (vasprintf(&args->v[args->n], fmt, ap) < 0)
		args->v[args->n] = NULL;
	va_end(ap);
	args->n++;
}

static void add_all(struct lx_criu_args *args, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		add(args, "%s", list[i]);
}

static bool complete(const struct lx_criu_args *args)
{
	for (unsigned i = 0; i < args->n; i++)
		if (!args->v[i])
			return false;
	return args->n < LX_CRIU_ARGS_MAX - 1;
}

int lx_criu_dump_args(const struct lx_criu_dump *d, struct lx_criu_args *ret, struct lx_err *err)
{
	*ret = (struct lx_criu_args){ .n = 0 };
	add(ret, "%s", d->criu);
	add(ret, "dump");
	add(ret, "--tree");
	add(ret, "%d", (int)d->init);
	add(ret, "--images-dir");
	add(ret, "%s", d->images);
	add(ret, "--log-file");
	add(ret, LX_CRIU_DUMP_LOG);
	add(ret, "--freeze-cgroup");
	add(ret, "%s", d->freezer);
	add(ret, "--action-script");
	add(ret, "%s", d->hook);
	add(ret, "--ghost-limit");
	add(ret, "%llu", LX_CRIU_GHOST_LIMIT);
	/* Its whole tree, not only what init is in; and what a restore replaces by another one. */
	add(ret, "--cgroup-root");
	add(ret, "%s", d->cgroup);
	add_all(ret, common, LX_ARRAY_SIZE(common));
	add_all(ret, dump_only, LX_ARRAY_SIZE(dump_only));
	if (d->v2_only) {
		add(ret, "--cgroup-dump-controller");
		add(ret, "%s", ""); /* which has no name */
		add(ret, "--cgroup-yard");
		add(ret, "%s", d->v2_only);
	}
	for (size_t i = 0; i < LX_LXCFS_FILES; i++) {
		if (!(d->mounts.lxcfs & 1u << i))
			continue;
		add(ret, "--external");
		add(ret, "mnt[/%s]:%s", lx_lxcfs_files[i], lx_lxcfs_files[i]);
	}
	if (d->mounts.securityfs) {
		add(ret, "--external");
		add(ret, "%s", lx_securityfs_dumped);
	}
	if (d->lazy) {
		add(ret, "--lazy-pages");
		add(ret, "--ps-socket");
		add(ret, "%d", LX_CRIU_PAGES_FD);
	}
	if (complete(ret))
		return 0;
	lx_criu_args_release(ret);
	return lx_err_oom(err);
}

int lx_criu_restore_options(const char *cgroup, const char *yard, bool lazy, struct lx_buf *out,
			    struct lx_err *err)
{
	/* liblxc names the v2 hierarchy by a controller that is not there: this is for all it has not named.
	 */
	if (lx_buf_printf(out, "--cgroup-root\n%s\n", cgroup) < 0)
		return lx_err_oom(err);
	/*
	 * Groups that are there when it begins keep what they have: cgroups.c makes and sets them. CRIU 4.2
	 * cannot write to a subtree_control in which something is enabled: it takes the line's end for part
	 * of the last controller's name.
	 */
	if (lx_buf_puts(out, "--manage-cgroups=soft\n") < 0)
		return lx_err_oom(err);
	if (yard && lx_buf_printf(out, "--cgroup-yard\n%s\n", yard) < 0)
		return lx_err_oom(err);
	if (lazy && lx_buf_puts(out, "--lazy-pages\n") < 0)
		return lx_err_oom(err);
	for (size_t i = 0; i < LX_ARRAY_SIZE(common); i++)
		if (lx_buf_printf(out, "%s\n", common[i]) < 0)
			return lx_err_oom(err);
	return 0;
}

void lx_criu_args_release(struct lx_criu_args *args)
{
	for (unsigned i = 0; i < args->n; i++)
		free(args->v[i]);
	args->n = 0;
}
