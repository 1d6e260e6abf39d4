/* Roles as words, shared by the verbs of identities and their tokens. */
#ifndef LX_CLI_IDENTITY_H
#define LX_CLI_IDENTITY_H

#include "cli/connection.h"
#include "lxmgr/v1/identity.pb-c.h"

const char *cli_role_name(Lxmgr__V1__Role role);
/* Usage error for what is none, NULL among it. */
int cli_role(struct cli *cli, const char *text, Lxmgr__V1__Role *ret, struct lx_err *err);

#endif
