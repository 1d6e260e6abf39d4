/*
 * Knobs are read before they are written: a host that is set up already (or that mounts
 * /proc/sys read-only, set up from outside) needs nothing from us.
 */
#include "agent/network/sysctl.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/str.h"

#define V4_FORWARD "/proc/sys/net/ipv4/ip_forward"
#define V6_CONF    "/proc/sys/net/ipv6/conf"
#define V6_FORWARD V6_CONF "/all/forwarding"
#define V4_NEIGH   "/proc/sys/net/ipv4/neigh"
#define V6_NEIGH   "/proc/sys/net/ipv6/neigh"

static int ensure(const char *path, const char *value, struct lx_err *err)
{
	char now[32];
	int r = lx_read_line(path, now, sizeof(now));

	if (r == 0 && lx_streq(now, value))
		return 0;
	r = lx_write_knob(path, value);
	if (r == -EROFS || r == -EACCES || r == -EPERM) {
		r = lx_err_errno(err, r, "cannot write %s to %s", value, path);
		lx_err_hint(
			err,
			"Set it from where the machine is configured, or let the agent write to /proc/sys.");
		return r;
	}
	return r < 0 ? lx_err_errno(err, r, "cannot write %s to %s", value, path) : 0;
}

int lx_sysctl_forward_v4(struct lx_err *err)
{
	return ensure(V4_FORWARD, "1", err);
}

/* accept_ra: 0 never, 1 unless forwarding, 2 always. */
static int keep_advertisements(struct lx_err *err)
{
	lx_autoclosedir DIR *dir = opendir(V6_CONF);
	struct dirent *e;

	if (!dir)
		return lx_err_errno(err, errno, "cannot list %s", V6_CONF);
	while ((e = readdir(dir))) {
		char now[8];

		if (e->d_name[0] == '.' || lx_streq(e->d_name, "all") || lx_streq(e->d_name, "default"))
			continue;
		lx_autofree char *knob = lx_asprintf("%s/%s/accept_ra", V6_CONF, e->d_name);

		if (!knob)
			return lx_err_oom(err);
		if (lx_read_line(knob, now, sizeof(now)) < 0 || !lx_streq(now, "1"))
			continue; /* gone meanwhile, or not listening */
		int r = lx_write_knob(knob, "2");

		if (r < 0 && r != -ENOENT)
			return lx_err_errno(err, r, "cannot write 2 to %s", knob);
	}
	return 0;
}

int lx_sysctl_forward_v6(struct lx_err *err)
{
	char now[32];

	if (!lx_path_exists(V6_CONF)) {
		int r = lx_err_set(err, LX_FAILED_PRECONDITION, "this machine's kernel has no IPv6");

		lx_err_hint(err, "Set ipv6.address=none, or boot without ipv6.disable=1.");
		return r;
	}
	if (lx_read_line(V6_FORWARD, now, sizeof(now)) == 0 && lx_streq(now, "1"))
		return 0;
	int r = keep_advertisements(err);

	return r < 0 ? r : ensure(V6_FORWARD, "1", err);
}

int lx_sysctl_bridge(const char *bridge, bool v6, struct lx_err *err)
{
	lx_autofree char *disable = lx_asprintf("%s/%s/disable_ipv6", V6_CONF, bridge);
	lx_autofree char *accept_ra = lx_asprintf("%s/%s/accept_ra", V6_CONF, bridge);

	if (!disable || !accept_ra)
		return lx_err_oom(err);
	if (!lx_path_exists(V6_CONF))
		return 0; /* lx_sysctl_forward_v6 says so where it matters */
	int r = ensure(accept_ra, "0", err);

	return r < 0 ? r : ensure(disable, v6 ? "0" : "1", err);
}

int lx_sysctl_answer_for(const char *bridge, bool v4, bool v6, struct lx_err *err)
{
	lx_autofree char *delay4 = lx_asprintf("%s/%s/proxy_delay", V4_NEIGH, bridge);
	lx_autofree char *delay6 = lx_asprintf("%s/%s/proxy_delay", V6_NEIGH, bridge);
	lx_autofree char *proxy6 = lx_asprintf("%s/%s/proxy_ndp", V6_CONF, bridge);
	int r = delay4 && delay6 && proxy6 ? 0 : lx_err_oom(err);

	/* By default the kernel waits up to 0.8 s, in case the real one answers: here nobody else does. */
	if (r == 0 && v4)
		r = ensure(delay4, "0", err);
	if (r == 0 && v6)
		r = ensure(delay6, "0", err);
	if (r == 0 && v6)
		r = ensure(proxy6, "1", err);
	return r;
}
