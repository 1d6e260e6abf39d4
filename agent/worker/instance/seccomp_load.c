/*
 * liblxc's loading of a filter, with what its policies have no words for. Its call into libseccomp ends
 * here first: a program's own function comes before a library's of the same name.
 *
 * security.syscalls.log: the kernel tells of each call that the instance's filter refuses. It does so for
 * filters that were loaded with a flag for it. What CRIU dumps and restores has the flag.
 *
 * And a filter beside it, loaded before (intercept_attach.c); or another one that is the same, because it
 * was made for an earlier start (filter_cache.h).
 */
#include <dlfcn.h>
#include <errno.h>
#include <seccomp.h>

#include "agent/worker/instance/filter_cache.h"
#include "agent/worker/instance/instance.h"
#include "lib/str.h"
#include "profiles/profiles.h"

typedef int (*load_function)(const scmp_filter_ctx filter);

static bool wanted;
static int (*before)(void);

int lx_seccomp_load(void *filter)
{
	load_function load = (load_function)dlsym(RTLD_NEXT, "seccomp_load");

	return load ? load(filter) : -ENOSYS;
}

int seccomp_load(const scmp_filter_ctx filter)
{
	int r = before ? before() : 0;

	if (r < 0)
		return r;
	/* A kernel before 4.14 has it not: the filter matters more. */
	if (wanted)
		(void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_LOG, 1);
	r = lx_filter_cache_load(filter, wanted);
	return r < 0 ? r : r > 0 ? 0 : lx_seccomp_load(filter);
}

void lx_seccomp_before(int (*load)(void))
{
	before = load;
}

int lx_seccomp_log(const lx_spec *spec, struct lx_err *err)
{
	struct lx_map config;
	int r = lx_spec_config(spec, &config, err);

	if (r < 0)
		return r;
	wanted = false;
	lx_parse_bool(lx_config_get(&config, "security.syscalls.log"), &wanted);
	lx_map_release(&config);
	return 0;
}
