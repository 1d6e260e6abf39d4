/*
 * A manager elsewhere, over TLS. OpenSSL takes as long to load as a command that talks to a socket
 * of this machine takes to run, so the command line is linked twice: lxmgr has remote_exec.c, and
 * becomes lxmgr-remote when a remote is named, which has remote_tls.c in its place.
 */
#ifndef LX_CLI_REMOTE_H
#define LX_CLI_REMOTE_H

#include "cli/cli.h"

/* `cli->remote` was given: from now on calls go there. Before anything is read or printed. */
int cli_remote_begin(struct cli *cli, struct lx_err *err);

#endif
