/*
 * Clusters elsewhere that this user has enrolled with, by name: a directory each,
 *
 *   <configuration>/remotes/NAME/{address,client.key,client.crt,ca.crt}
 *
 * and <configuration>/remote, the name of the one that is meant when none is given; and
 * <configuration>/projects/NAME, the project that is meant there ("local": this machine's socket). The
 * configuration is LXMGR_CONFIG_DIR, else lxmgr below XDG_CONFIG_HOME or ~/.config.
 */
#ifndef LX_CLI_REMOTES_H
#define LX_CLI_REMOTES_H

#include "cli/cli.h"
#include "lib/buf.h"

#define CLI_REMOTE_LOCAL "local" /* this machine's socket */

struct cli_remote {
	struct lx_buf address, key, cert, ca;
};

void cli_remote_release(struct cli_remote *r);
#define cli_autoremote __attribute__((cleanup(cli_remote_release)))

int cli_remote_load(const char *name, struct cli_remote *ret, struct lx_err *err);
bool cli_remote_exists(const char *name);
/* Nothing of it is there after a failure. */
int cli_remote_store(const char *name, const struct cli_remote *r, struct lx_err *err);
int cli_remote_remove(const char *name, struct lx_err *err);
/* Calls `each` with every name, in order. */
int cli_remote_each(void (*each)(const char *name, void *arg), void *arg, struct lx_err *err);
/* The project switched to on a remote (NULL: this machine's socket), malloc'ed; NULL: none. */
char *cli_project_default(const char *remote);
int cli_project_set_default(const char *remote, const char *project, struct lx_err *err);
/* The name of the default one, malloc'ed; NULL: this machine's socket. */
char *cli_remote_default(void);
int cli_remote_set_default(const char *name, struct lx_err *err);

#endif
