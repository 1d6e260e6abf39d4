/* Moving instances: what move and the evacuation of nodes share. */
#ifndef LX_CLI_MOVE_H
#define LX_CLI_MOVE_H

#include "cli/cli.h"
#include "lxmgr/v1/instance.pb-c.h"

/* --live; LIVE_MODE_UNSPECIFIED when it was not given. Usage error for another word. */
int cli_live_mode(struct cli *cli, Lxmgr__V1__LiveMode *ret, struct lx_err *err);
/* --timeout in seconds; 0 when it was not given. */
int cli_move_timeout(struct cli *cli, uint32_t *ret, struct lx_err *err);
#define CLI_MOVE_TIMEOUT_OPTION                                                                              \
	{                                                                                                    \
		"timeout", 0, "SECONDS",                                                                     \
			"how long a clean stop may take, where one is needed (else "                         \
			"boot.host_shutdown_timeout)",                                                       \
			0                                                                                    \
	}

/* move_check.c: asks what stands in the way and shows it. The exit code says whether it can be done. */
int cli_move_check(struct cli *cli, const Lxmgr__V1__MoveInstanceRequest *req, struct lx_err *err);

#endif
