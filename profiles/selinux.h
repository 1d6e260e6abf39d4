/*
 * SELinux' labels as texts: may processes in an instance's context use what its storage is labelled with?
 * The rule is the one that container tools label by (sVirt): a type that the policy lets containers have for
 * their files, and the categories of the processes, or none. Pure; the kernel's policy has the last word.
 */
#ifndef LX_PROFILES_SELINUX_H
#define LX_PROFILES_SELINUX_H

#include <stdbool.h>
#include <stddef.h>

/* Whether a kernel that has SELinux denies by it, or only tells: a feature in a node's facts, "enforcing" or
 * "permissive". */
#define LX_FEATURE_SELINUX "selinux"
#define LX_SELINUX_ENFORCE "/sys/fs/selinux/enforce"

/* What container tools label files with. */
#define LX_SELINUX_FILE_TYPE "container_file_t"

#define LX_SELINUX_LEVEL_MAX 128

/* `context`: USER:ROLE:TYPE[:LEVEL], as lx_check_selinux() takes it. `label`: of a file; anything. */
bool lx_selinux_may_use(const char *context, const char *label);

/* The level that such files are to have: "s0:c1,c2"; of files of several instances without categories. "":
 * the context has none. */
void lx_selinux_level(const char *context, bool shared, char out[LX_SELINUX_LEVEL_MAX]);

#endif
