/* Roles as words, shared by the verbs of identities and their tokens. */
#ifndef LX_CLI_IDENTITY_H
#define LX_CLI_IDENTITY_H

#include "cli/connection.h"
#include "lxmgr/v1/identity.pb-c.h"

const char *cli_role_name(Lxmgr__V1__Role role);
/* Usage error for what is none, NULL among it. */
int cli_role(struct cli *cli, const char *text, Lxmgr__V1__Role *ret, struct lx_err *err);

/*
 * What --role and --project say together: `--role R` in all projects; with `--project P` R in these
 * alone; `--project P:R` a role of its own there. Borrows from the arguments.
 */
#define CLI_PROJECT_ROLES_MAX 64

struct cli_rights {
	Lxmgr__V1__Role role;
	size_t n;
	Lxmgr__V1__ProjectRole roles[CLI_PROJECT_ROLES_MAX], *list[CLI_PROJECT_ROLES_MAX];
	char names[CLI_PROJECT_ROLES_MAX][LX_NAME_MAX + 1];
};

/* `role` may be NULL. `none`: "none" is a role, too: it takes back. */
int cli_rights(struct cli *cli, const char *role, bool none, struct cli_rights *ret, struct lx_err *err);
/* "viewer", "shop:operator", "viewer, shop:operator". malloc'ed; NULL: no memory. */
char *cli_rights_text(Lxmgr__V1__Role role, size_t n, Lxmgr__V1__ProjectRole *const *projects);

#endif
