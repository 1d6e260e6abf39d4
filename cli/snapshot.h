/* Snapshots in words: what snapshot and info show of them. */
#ifndef LX_CLI_SNAPSHOT_H
#define LX_CLI_SNAPSHOT_H

#include "cli/doc.h"
#include "lxmgr/v1/snapshot.pb-c.h"

/* The oldest first. Released with lx_pb_free(). */
int cli_snapshots_get(struct cli *cli, const char *instance, Lxmgr__V1__ListSnapshotsResponse **ret,
		      struct lx_err *err);
void cli_snapshot_doc(struct cli_doc *d, json_t *to, const Lxmgr__V1__Snapshot *s);

#endif
