/* Giving up privileges, see the header. */
#include "lxmgr/confine.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lxmgr/manager.h"
#include "rpc/address.h"

#define FIRST_FREE_PORT 1024
#define BIT(cap)        (UINT64_C(1) << (cap))

gid_t lx_socket_gid(const struct lx_manager_options *opt)
{
	struct group gr, *found = NULL;
	char buf[4096];

	if (getgrnam_r(opt->socket_group, &gr, buf, sizeof(buf), &found) == 0 && found)
		return found->gr_gid;
	return (gid_t)-1;
}

char *lx_socket_dir(const struct lx_manager_options *opt)
{
	const char *path = opt->socket_path, *slash = strrchr(path, '/');

	if (!slash)
		return strdup(".");
	return strndup(path, slash > path ? (size_t)(slash - path) : 1);
}

/* ------------------------------------------------------------------ capabilities */

/* The kernel's second and third version have two words of each set. */
struct sets {
	struct __user_cap_header_struct header;
	struct __user_cap_data_struct words[2];
};

static uint64_t permitted(void)
{
	struct sets s = { .header = { .version = _LINUX_CAPABILITY_VERSION_3 } };

	if (syscall(SYS_capget, &s.header, s.words) < 0)
		return 0;
	return (uint64_t)s.words[1].permitted << 32 | s.words[0].permitted;
}

static int keep_only(uint64_t set, struct lx_err *err)
{
	struct sets s = { .header = { .version = _LINUX_CAPABILITY_VERSION_3 } };

	set &= permitted();
	for (size_t i = 0; i < LX_ARRAY_SIZE(s.words); i++)
		s.words[i].permitted = s.words[i].effective = (uint32_t)(set >> 32 * i);
	if (syscall(SYS_capset, &s.header, s.words) < 0)
		return lx_err_errno(err, errno, "cannot give up capabilities");
	return 0;
}

/* Who has no right to empty the bounding set has no capability to gain from it: no_new_privs. */
static void empty_bounding_set(void)
{
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		(void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
}

/* What binds a port of the machine's own; the socket is made after this, and once. */
static uint64_t needed(const struct lx_manager_options *opt)
{
	struct lx_address a;
	bool low = lx_address_parse(opt->listen, &a, NULL) == 0 && a.port > 0 && a.port < FIRST_FREE_PORT;

	return low ? BIT(CAP_NET_BIND_SERVICE) : 0;
}

/* ------------------------------------------------------------------ the user */

/* /run is empty after a boot, and only root makes something in it. */
static int make_socket_dir(const struct lx_manager_options *opt, const struct stat *owner, struct lx_err *err)
{
	lx_autofree char *dir = lx_socket_dir(opt);

	if (!dir)
		return lx_err_oom(err);
	if (lx_path_exists(dir))
		return 0;
	int r = lx_mkdir_p(dir, 0755, err);

	if (r == 0 && chown(dir, owner->st_uid, owner->st_gid) < 0)
		r = lx_err_errno(err, errno, "cannot give %s to user %u", dir, (unsigned)owner->st_uid);
	return r;
}

static int become(const struct stat *owner, struct lx_err *err)
{
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) == 0 &&
	    setresgid(owner->st_gid, owner->st_gid, owner->st_gid) == 0 &&
	    setresuid(owner->st_uid, owner->st_uid, owner->st_uid) == 0)
		return 0;
	return lx_err_errno(err, errno, "cannot become user %u, who owns the state directory",
			    (unsigned)owner->st_uid);
}

static int leave_root(const struct lx_manager_options *opt, struct lx_err *err)
{
	gid_t gid = lx_socket_gid(opt);
	struct stat owner;
	bool other = stat(opt->state_dir, &owner) == 0 && owner.st_uid != 0;
	int r = other ? make_socket_dir(opt, &owner, err) : 0;

	if (r < 0)
		return r;
	/* Without the right to it root stays in the groups it has. */
	if (setgroups(gid == (gid_t)-1 ? 0 : 1, &gid) < 0 && (other || errno != EPERM))
		return lx_err_errno(err, errno, "cannot leave root's groups");
	return other ? become(&owner, err) : 0;
}

/* ------------------------------------------------------------------ all of it */

static int close_process(struct lx_err *err)
{
	const struct rlimit none = { 0, 0 };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return lx_err_errno(err, errno, "cannot give up gaining privileges");
	if (setrlimit(RLIMIT_CORE, &none) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return lx_err_errno(err, errno, "cannot keep memory to itself");
	return 0;
}

int lx_confine(const struct lx_manager_options *opt, struct lx_err *err)
{
	int r;

	empty_bounding_set();
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if ((geteuid() == 0 && (r = leave_root(opt, err)) < 0) || (r = keep_only(needed(opt), err)) < 0 ||
	    (r = close_process(err)) < 0 || (r = lx_confine_files(opt, err)) < 0)
		return r;
	return lx_confine_calls(err);
}
