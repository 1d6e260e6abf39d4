/*
 * Before a dump: puts in order what stands in its way and can be undone, or does not matter
 * to the guest. In each mount namespace of its processes
 *
 *   - credentials of units (ramfs in /run/credentials, whose content no dump holds): those
 *     of units that have finished, and empty ones, are unmounted; those in use become a
 *     tmpfs with the same content,
 *   - mounts of services whose propagation could not be made again (/run/systemd/incoming
 *     as soon as there are two sandboxed services) are made private: what is mounted in
 *     the instance from then on does not show up there,
 *   - directories of a tmpfs whose root is mounted nowhere (PrivateTmp=disconnected) become a tmpfs
 *     each, where they are empty; once all stand still, so that they stay so meanwhile.
 *
 * Called ahead of the freeze, and once more while frozen, for what came meanwhile: then it
 * mostly finds nothing to do, and only reads one table of mounts for each namespace.
 */
#ifndef LX_MIGRATION_QUIESCE_H
#define LX_MIGRATION_QUIESCE_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/err.h"

/* Credentials of one unit that are carried: systemd itself allows 1 MiB. */
#define LX_QUIESCE_CREDENTIALS_MAX (2u * 1024 * 1024)

/*
 * Forks a child for each namespace in which there is something to do, and waits for it. `frozen`: nothing of
 * the guest runs.
 */
int lx_quiesce(pid_t init, const char *cgroup_dir, bool frozen, struct lx_err *err);

#endif
