/*
 * A manager elsewhere, over TLS. OpenSSL takes as long to load as a command that talks to a socket
 * of this machine takes to run, so the command line is linked twice: lxmgr has remote_exec.c, and
 * becomes lxmgr-remote when a remote is named or to be enrolled with, which has remote_tls.c and
 * remote_enrol.c in its place.
 */
#ifndef LX_CLI_REMOTE_H
#define LX_CLI_REMOTE_H

#include "cli/cli.h"
#include "cli/remotes.h"
#include "lxmgr/v1/identity.pb-c.h"
#include "rpc/token.h"

/* `cli->remote` was given: from now on calls go there. Before anything is read or printed. */
int cli_remote_begin(struct cli *cli, struct lx_err *err);

/*
 * Has the manager that the token names certify a new key, and fills `remote` with all that is kept
 * of it. *ret is what it is called there (lx_pb_free).
 */
int cli_remote_enrol(struct cli *cli, const struct lx_token *token, struct cli_remote *remote,
		     Lxmgr__V1__Identity **ret, struct lx_err *err);

#endif
