/* Where an instance would go, shown before it is made: --explain and --dry-run. */
#ifndef LX_CLI_PLACEMENT_H
#define LX_CLI_PLACEMENT_H

#include "cli/cli.h"
#include "lxmgr/v1/instance.pb-c.h"

/*
 * Asks the manager and shows the answer as --explain and --dry-run want it. On success the
 * request names the node (target) that was shown, so that it goes there and nowhere else. An
 * error when no node fits.
 */
int cli_placement(struct cli *cli, Lxmgr__V1__CreateInstanceRequest *req, struct lx_err *err);

#endif
