/* The table of architecture names. */
#include "images/arch.h"

#include <stdio.h>
#include <sys/utsname.h>

#include "lib/cleanup.h"
#include "lib/str.h"

static const struct {
	const char *name, *canonical;
} names[] = {
	{ "x86_64", "x86_64" },       { "amd64", "x86_64" },
	{ "i686", "i686" },           { "i386", "i686" },
	{ "i586", "i686" },           { "x86", "i686" },
	{ "aarch64", "aarch64" },     { "arm64", "aarch64" },
	{ "armv7l", "armv7l" },       { "armhf", "armv7l" },
	{ "armv6l", "armv6l" },       { "armel", "armv6l" },
	{ "armv8l", "armv7l" },       { "ppc64le", "ppc64le" },
	{ "ppc64el", "ppc64le" },     { "s390x", "s390x" },
	{ "riscv64", "riscv64" },     { "mips64", "mips64" },
	{ "mips64el", "mips64" },     { "loongarch64", "loongarch64" },
	{ "loong64", "loongarch64" },
};

static const struct {
	const char *host, *image;
} also_runs[] = {
	{ "x86_64", "i686" },
	{ "aarch64", "armv7l" },
	{ "aarch64", "armv6l" },
	{ "armv7l", "armv6l" },
};

const char *lx_arch_canonical(const char *name)
{
	for (size_t i = 0; i < LX_ARRAY_SIZE(names); i++)
		if (lx_streq(names[i].name, name))
			return names[i].canonical;
	return NULL;
}

const char *lx_arch_host(void)
{
	static struct utsname u;

	if (uname(&u) < 0)
		return "unknown";
	const char *canonical = lx_arch_canonical(u.machine);

	return canonical ? canonical : u.machine;
}

bool lx_arch_runs(const char *host, const char *image)
{
	if (lx_streq(host, image))
		return true;
	for (size_t i = 0; i < LX_ARRAY_SIZE(also_runs); i++)
		if (lx_streq(also_runs[i].host, host) && lx_streq(also_runs[i].image, image))
			return true;
	return false;
}
