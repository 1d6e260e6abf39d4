/* What is loaded into CRIU (preload/policy.c) has to know of AppArmor namespaces. */
#ifndef LX_MIGRATION_POLICY_NAMESPACE_H
#define LX_MIGRATION_POLICY_NAMESPACE_H

/* In its environment at a restore: the name of the only one that it may make and load policy into. */
#define LX_POLICY_NAMESPACE "LXMGR_POLICY_NAMESPACE"

#endif
