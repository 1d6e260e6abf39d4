/*
 * The guest's own cgroups: every directory below the payload's in the v2 hierarchy, with owners,
 * modes and knobs. CRIU brings back only those that hold processes, and by the names of
 * the source's tree. In v1 hierarchies a guest has the payload's directory alone.
 *
 * Loading is done in two steps: the directories before CRIU puts processes into them, the knobs
 * after (those of a controller exist once the parent has enabled it for its children).
 */
#ifndef LX_MIGRATION_CGROUPS_H
#define LX_MIGRATION_CGROUPS_H

#include "lib/err.h"
#include "lxmgr/v1/migration.pb-c.h"

#define LX_GUEST_CGROUPS_MAX 4096u

/* `payload`: the directory in the v2 hierarchy. Adds to out->cgroups. */
int lx_cgroups_save(const char *payload, Lxmgr__V1__GuestState *out, struct lx_err *err);
/* Parents come before their children; what exists is adjusted. */
int lx_cgroups_load(const char *payload, const Lxmgr__V1__GuestState *state, struct lx_err *err);
/* Those of the guest that can be set now: memory.max, pids.max, subtree_control ... */
int lx_cgroups_load_knobs(const char *payload, const Lxmgr__V1__GuestState *state, struct lx_err *err);

#endif
