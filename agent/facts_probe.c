/*
 * Trying the kernel out instead of guessing from its version: a child process in a mount
 * namespace of its own mounts what instances are made of and writes "name=yes" or
 * "name=why not" lines to a pipe. A child that dies leaves features unknown, nothing else.
 */
#include "agent/facts.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/mount.h>
#include <linux/seccomp.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"

#define PROBE_OUTPUT_MAX 4096

static void say(int out, const char *name, const char *value)
{
	dprintf(out, "%s=%s\n", name, value);
}

static void say_errno(int out, const char *name, const char *doing, int error)
{
	dprintf(out, "%s=%s: %s\n", name, doing, strerror(error));
}

static void probe_overlay(int out, const char *dir)
{
	static const char *const parts[] = { "lower", "upper", "work", "merged" };
	char path[4][PATH_MAX + 8];
	lx_autofree char *options = NULL;

	for (size_t i = 0; i < LX_ARRAY_SIZE(parts); i++) {
		snprintf(path[i], sizeof(path[i]), "%s/%s", dir, parts[i]);
		mkdir(path[i], 0700);
	}
	options = lx_asprintf("lowerdir=%s,upperdir=%s,workdir=%s,index=on,nfs_export=on", path[0], path[1],
			      path[2]);
	if (!options || mount("overlay", path[3], "overlay", 0, options) < 0) {
		say_errno(out, "overlay", "mount", options ? errno : ENOMEM);
		return;
	}
	say(out, "overlay", "yes");
	umount2(path[3], MNT_DETACH);
}

/* A user namespace with one mapped range, held by a child that only waits. */
static int user_namespace(pid_t *ret_child)
{
	static const char map[] = "0 1000000 65536\n";
	static const char *const files[] = { "uid_map", "gid_map" };
	int ready[2];
	char path[64], c;

	if (pipe2(ready, O_CLOEXEC) < 0)
		return -errno;
	pid_t child = fork();

	if (child == 0) {
		if (unshare(CLONE_NEWUSER) < 0)
			_exit(1);
		(void)!write(ready[1], "x", 1);
		pause();
		_exit(0);
	}
	close(ready[1]);
	if (child < 0 || read(ready[0], &c, 1) != 1) {
		close(ready[0]);
		if (child > 0)
			waitpid(child, NULL, 0);
		return -EPERM;
	}
	close(ready[0]);
	*ret_child = child;
	for (size_t i = 0; i < LX_ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "/proc/%d/%s", child, files[i]);
		int r = lx_write_knob(path, map);

		if (r < 0)
			return r;
	}
	snprintf(path, sizeof(path), "/proc/%d/ns/user", child);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static void probe_idmap(int out, const char *dir)
{
	pid_t child = 0;
	lx_autoclose int userns = user_namespace(&child);

	if (userns < 0)
		say_errno(out, "user-namespaces", "map", -userns);
	else
		say(out, "user-namespaces", "yes");
	lx_autoclose int tree =
		(int)syscall(SYS_open_tree, AT_FDCWD, dir, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns };

	if (userns >= 0 &&
	    (tree < 0 || syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0))
		say_errno(out, "idmapped-mounts", "mount_setattr", errno);
	else if (userns >= 0)
		say(out, "idmapped-mounts", "yes");
	if (child > 0) {
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
	}
}

/* Handing out system calls that stop (security.syscalls.intercept.*). */
static void probe_notify(int out, void *lib)
{
	uint32_t action = SECCOMP_RET_USER_NOTIF;
	bool (*has)(const char *extension) = NULL;

	if (lib)
		*(void **)(&has) = dlsym(lib, "lxc_has_api_extension");
	if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0)
		say_errno(out, "seccomp-notify", "the kernel", errno);
	else if (!has || !has("seccomp_notify") || !has("seccomp_notify_fd_active"))
		say(out, "seccomp-notify", "liblxc cannot");
	else
		say(out, "seccomp-notify", "yes");
}

/* The agent itself does without liblxc; here it is only asked for its version. */
static void probe_liblxc(int out)
{
	void *lib = dlopen("liblxc.so.1", RTLD_LAZY | RTLD_LOCAL);
	const char *(*version)(void) = NULL;

	if (lib)
		*(void **)(&version) = dlsym(lib, "lxc_get_version");
	if (version)
		say(out, "lxc-version", version());
	probe_notify(out, lib);
}

static void probe(int out, const char *state_dir)
{
	char dir[PATH_MAX];

	probe_liblxc(out);
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		say_errno(out, "overlay", "unshare", errno);
		return;
	}
	snprintf(dir, sizeof(dir), "%s/.probe-XXXXXX", state_dir);
	if (!mkdtemp(dir)) {
		say_errno(out, "overlay", "mkdtemp", errno);
		return;
	}
	probe_overlay(out, dir);
	probe_idmap(out, dir);
	(void)lx_rm_rf(dir, NULL);
}

int lx_facts_probe(const char *state_dir, void (*fact)(const char *name, const char *value, void *arg),
		   void *arg, struct lx_err *err)
{
	int p[2];
	char text[PROBE_OUTPUT_MAX];

	if (pipe2(p, O_CLOEXEC) < 0)
		return lx_err_errno(err, errno, "cannot probe the kernel");
	pid_t child = fork();

	if (child == 0) {
		probe(p[1], state_dir);
		_exit(0);
	}
	int e = errno;

	close(p[1]);
	if (child < 0) {
		close(p[0]);
		return lx_err_errno(err, e, "cannot probe the kernel");
	}
	ssize_t n = lx_read_full(p[0], text, sizeof(text) - 1);

	close(p[0]);
	waitpid(child, NULL, 0);
	text[n > 0 ? n : 0] = '\0';
	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *eq = strchr(line, '=');

		if (eq) {
			*eq = '\0';
			fact(line, eq + 1, arg);
		}
	}
	return 0;
}
