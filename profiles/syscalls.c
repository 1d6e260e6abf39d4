/*
 * Lists and names of system calls, see the header. libseccomp knows the names; it answers for
 * each architecture by itself, and with a negative number for a call that the architecture
 * lacks, which for us is none.
 */
#include "profiles/syscalls.h"

#include <seccomp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/str.h"

#define SEPARATORS " \t\r\n,"

/* Numbers looked through for names: those of the architectures below all lie under it. */
#define NUMBERS_MAX 1024

static const uint32_t architectures[] = { SCMP_ARCH_X86_64, SCMP_ARCH_X86, SCMP_ARCH_X32, SCMP_ARCH_AARCH64,
					  SCMP_ARCH_ARM };

size_t lx_syscalls_next(const char **list, const char **name)
{
	*name = *list + strspn(*list, SEPARATORS);
	size_t n = strcspn(*name, SEPARATORS);

	*list = *name + n;
	return n;
}

bool lx_syscalls_has(const char *list, const char *name)
{
	size_t len = strlen(name), n;
	const char *found;

	while ((n = lx_syscalls_next(&list, &found)) > 0)
		if (n == len && memcmp(found, name, n) == 0)
			return true;
	return false;
}

bool lx_syscall_exists(const char *name)
{
	for (size_t i = 0; i < LX_ARRAY_SIZE(architectures); i++)
		if (seccomp_syscall_resolve_name_arch(architectures[i], name) >= 0)
			return true;
	return false;
}

char *lx_syscall_nearest(const char *name)
{
	char *names[2 * NUMBERS_MAX];
	size_t n = 0;

	/* The first two have what the others have. */
	for (size_t a = 0; a < 2; a++)
		for (int i = 0; i < NUMBERS_MAX; i++) {
			names[n] = seccomp_syscall_resolve_num_arch(architectures[a], i);
			if (names[n])
				n++;
		}
	const char *nearest = lx_nearest(name, (const char *const *)names, n);
	char *found = nearest ? strdup(nearest) : NULL;

	for (size_t i = 0; i < n; i++)
		free(names[i]);
	return found;
}
