/* Nodes: what `lxmgr dev up` needs of them too. */
#ifndef LX_CLI_NODE_H
#define LX_CLI_NODE_H

#include "cli/cli.h"
#include "lxmgr/v1/node.pb-c.h"

const char *cli_node_status(Lxmgr__V1__NodeStatus status);
/* `name` may be NULL, `ttl` 0. */
int cli_node_token(struct cli *cli, const char *name, uint32_t ttl, Lxmgr__V1__JoinToken **ret,
		   struct lx_err *err);
int cli_node_set_address(struct cli *cli, const char *name, const char *address, struct lx_err *err);
int cli_node_remove(struct cli *cli, const char *name, bool force, struct lx_err *err);

#endif
