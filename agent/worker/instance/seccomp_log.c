/*
 * security.syscalls.log: the kernel tells of each call that the instance's filter refuses.
 *
 * It does so for filters that were loaded with a flag for it, and neither liblxc's policies nor
 * its API have that flag. So liblxc's call into libseccomp ends here first: a program's own
 * function comes before a library's of the same name. What CRIU dumps and restores has the flag.
 */
#include <dlfcn.h>
#include <errno.h>
#include <seccomp.h>

#include "agent/worker/instance/instance.h"
#include "lib/str.h"
#include "profiles/profiles.h"

typedef int (*load_function)(const scmp_filter_ctx filter);

static bool wanted;

int seccomp_load(const scmp_filter_ctx filter)
{
	load_function load = (load_function)dlsym(RTLD_NEXT, "seccomp_load");

	if (!load)
		return -ENOSYS;
	/* A kernel before 4.14 has it not: the filter matters more. */
	if (wanted)
		(void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_LOG, 1);
	return load(filter);
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
