/*
 * Where the manager writes: its state directory and its socket's, nowhere else.
 *
 * Root without capabilities still owns root's files, and any user its own. Landlock bounds that
 * from inside, whoever it runs as. Kernels before 5.13 and those built or started without it have
 * none, and what surrounds us may refuse it; the manager starts there all the same, as the rest of
 * what confines it does not rest on this. Reading is not bounded: what libc reads to look up names
 * and groups differs from machine to machine.
 */
#include "lxmgr/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lxmgr/manager.h"

/* From the third version on; headers may be older than the kernel. */
#define TRUNCATE         (UINT64_C(1) << 14)
#define TRUNCATE_VERSION 3

/* Regular files, directories, sockets; links and devices are made nowhere. */
#define OF_OURS                                                                                              \
	(LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |    \
	 LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK)
#define OF_NOBODY                                                                                            \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK |         \
	 LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM)

static int allow(int rules, const char *path, uint64_t access, struct lx_err *err)
{
	lx_autoclose int fd = open(path, O_PATH | O_CLOEXEC);
	const struct landlock_path_beneath_attr beneath = { .allowed_access = access, .parent_fd = fd };

	if (fd < 0 || syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) < 0)
		return lx_err_errno(err, errno, "cannot keep %s as a place to write to", path);
	return 0;
}

static int restrict_to(const char *const *dirs, size_t n, long version, struct lx_err *err)
{
	uint64_t more = version >= TRUNCATE_VERSION ? TRUNCATE : 0;
	const struct landlock_ruleset_attr attr = { .handled_access_fs = OF_OURS | OF_NOBODY | more };
	lx_autoclose int rules = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	int r = rules < 0 ? lx_err_errno(err, errno, "cannot give up writing to others' files") : 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = allow(rules, dirs[i], OF_OURS | more, err);
	/* What libraries write to when they want to say nothing. */
	if (r == 0)
		r = allow(rules, "/dev/null", LANDLOCK_ACCESS_FS_WRITE_FILE | more, err);
	if (r == 0 && syscall(SYS_landlock_restrict_self, rules, 0) < 0)
		r = lx_err_errno(err, errno, "cannot give up writing to others' files");
	return r;
}

int lx_confine_files(const struct lx_manager_options *opt, struct lx_err *err)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	lx_autofree char *socket_dir = lx_socket_dir(opt);
	const char *const dirs[] = { opt->state_dir, socket_dir };
	int r;

	if (!socket_dir)
		return lx_err_oom(err);
	if (version < 0) {
		lx_debug("no Landlock here: files are bounded by their owners alone", "errno=%d", errno);
		return 0;
	}
	if ((r = lx_mkdir_p(opt->state_dir, 0700, err)) < 0 || (r = lx_mkdir_p(socket_dir, 0755, err)) < 0)
		return r;
	/* Where SQLite sorts what it has no memory for. */
	if (setenv("SQLITE_TMPDIR", opt->state_dir, 1) < 0)
		return lx_err_oom(err);
	return restrict_to(dirs, LX_ARRAY_SIZE(dirs), version, err);
}
