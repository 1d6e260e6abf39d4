/* Profiles and instances as things with configuration: reading and changing them. */
#ifndef LX_CLI_PROFILE_H
#define LX_CLI_PROFILE_H

#include "cli/connection.h"
#include "lxmgr/v1/instance.pb-c.h"
#include "lxmgr/v1/profile.pb-c.h"

int cli_profile_get(struct cli *cli, const char *name, Lxmgr__V1__Profile **ret, struct lx_err *err);
/*
 * Reads the profile, lets `change` alter it and writes it back; again when somebody else
 * changed it in between. Says which instances need a restart.
 */
int cli_profile_change(struct cli *cli, const char *name,
		       int (*change)(struct cli *cli, Lxmgr__V1__Profile *p, void *arg, struct lx_err *err),
		       void *arg, struct lx_err *err);

int cli_instance_get(struct cli *cli, const char *name, Lxmgr__V1__Instance **ret, struct lx_err *err);
/* Sends an update; says which keys need a restart. Sets its request id. */
int cli_instance_update(struct cli *cli, Lxmgr__V1__UpdateInstanceRequest *req, struct lx_err *err);

#endif
