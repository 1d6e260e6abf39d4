/* What is loaded into CRIU (preload/policy.c) has to know of AppArmor namespaces. */
#ifndef LX_MIGRATION_POLICY_NAMESPACE_H
#define LX_MIGRATION_POLICY_NAMESPACE_H

/* In its environment at a restore: the name of the only one that it may make and load policy into. */
#define LX_POLICY_NAMESPACE "LXMGR_POLICY_NAMESPACE"

/*
 * At a dump: a directory with the kernel's copies of what a guest has loaded, a file a profile, in which each
 * '/' of its name is a '.'. It may be that there is none.
 *
 *   used/  of which a process is under: something else is put in its place for the time of the dump, and this
 *          is what comes back after it, also when CRIU is no more
 *   idle/  which nobody is under
 */
#define LX_POLICY_KEPT      "LXMGR_POLICY_KEPT"
#define LX_POLICY_KEPT_USED "used"
#define LX_POLICY_KEPT_IDLE "idle"

#endif
