/*
 * Reading liblxc's log after a failed start.
 *
 *	lxc web1 20260131120000.123 ERROR    conf - ../src/lxc/conf.c:run:42 - No such file ... - Failed to
 *...
 *
 * The first error of a start is the cause, what follows are its consequences. Causes that
 * are known get words of their own and a cure; others are passed on as liblxc put them.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "agent/worker/instance/instance.h"
#include "lib/cleanup.h"

#define LINE_MAX_LEN 512

static const struct {
	const char *pattern[2]; /* both must be in one line; NULL: any */
	enum lx_code code;
	const char *message;
	const char *hint;
} causes[] = {
	{ { "newuidmap", NULL },
	  LX_FAILED_PRECONDITION,
	  "its ids cannot be mapped",
	  "lxagentd must run as root to map ids without newuidmap." },
	{ { "idmap", NULL },
	  LX_FAILED_PRECONDITION,
	  "its ids cannot be mapped",
	  "Check that user namespaces are allowed: sysctl user.max_user_namespaces" },
	{ { "No space left on device", "clone" },
	  LX_RESOURCE_EXHAUSTED,
	  "the kernel's limit on namespaces is reached",
	  "Raise it: sysctl user.max_user_namespaces, user.max_net_namespaces and the others of that kind." },
	{ { "Failed to exec", "init" },
	  LX_FAILED_PRECONDITION,
	  "its /sbin/init cannot be run",
	  "It must be a program for this machine's architecture, with its libraries." },
	{ { "bridge", "Failed to attach" },
	  LX_FAILED_PRECONDITION,
	  "its network card cannot be plugged into the bridge",
	  "A Linux bridge takes at most 1023 ports; lxmgr network show tells what is wrong otherwise." },
	{ { "veth", "File exists" },
	  LX_FAILED_PRECONDITION,
	  "the name of its network card is in use on the node",
	  "ip link shows which interface has it; remove or rename that one." },
	{ { "apparmor", NULL },
	  LX_FAILED_PRECONDITION,
	  "its AppArmor profile cannot be applied",
	  "Check that the profile is loaded: aa-status" },
	{ { "seccomp", NULL },
	  LX_FAILED_PRECONDITION,
	  "its system call filter cannot be applied",
	  "Check security.syscalls.deny: each must be a system call this kernel and libseccomp know." },
	{ { "cgroup", "No space left on device" },
	  LX_RESOURCE_EXHAUSTED,
	  "the node cannot make another cgroup",
	  "The kernel removes old cgroups only when memory is needed: echo 2 > /proc/sys/vm/drop_caches" },
	{ { "cgroup", NULL },
	  LX_FAILED_PRECONDITION,
	  "its cgroups cannot be set up",
	  "All controllers must be mounted below /sys/fs/cgroup and free to use for the agent." },
	{ { "limit", "Failed to set" },
	  LX_FAILED_PRECONDITION,
	  "one of its limits cannot be applied",
	  "Compare its limits.* with what the node has: lxmgr node show" },
	{ { "Permission denied", "rootfs" },
	  LX_PERMISSION_DENIED,
	  "it cannot reach its root file system",
	  "Every directory above the agent's state directory must let others pass (chmod o+x)." },
};

/* The text behind "ERROR <category> - <file>:<function>:<line> - ", or NULL when it is no error. */
static const char *error_text(const char *line)
{
	static const char level[] = " ERROR ";
	const char *at = strstr(line, level);

	for (int dashes = 0; at && dashes < 2; dashes++) {
		at = strstr(at, " - ");
		if (at)
			at += 3;
	}
	return at;
}

static int tell(const char *text, struct lx_err *err)
{
	for (size_t i = 0; i < LX_ARRAY_SIZE(causes); i++) {
		const char *const *p = causes[i].pattern;

		if (!strstr(text, p[0]) || (p[1] && !strstr(text, p[1])))
			continue;
		int r = lx_err_set(err, causes[i].code, "%s (%s)", causes[i].message, text);

		lx_err_hint(err, "%s", causes[i].hint);
		return r;
	}
	return lx_err_set(err, LX_INTERNAL, "%s", text);
}

int lx_lxc_log_explain(const char *name, const char *log, struct lx_err *err)
{
	for (const char *line = log; *line;) {
		size_t n = strcspn(line, "\n");
		char copy[LINE_MAX_LEN];

		snprintf(copy, sizeof(copy), "%.*s", (int)(n < sizeof(copy) ? n : sizeof(copy) - 1), line);
		const char *text = error_text(copy);

		if (text && *text)
			return tell(text, err);
		line += n + (line[n] == '\n');
	}
	int r = lx_err_set(err, LX_INTERNAL, "it stopped right away without saying why");

	lx_err_hint(err, "Its own log may tell: lxmgr console %s --show-log", name);
	return r;
}
