/* Doing one thing to many instances; `lxmgr delete` and `lxmgr dev down` use it too. */
#ifndef LX_CLI_POWER_H
#define LX_CLI_POWER_H

#include "cli/cli.h"
#include "lxmgr/v1/instance.pb-c.h"

struct cli_action {
	const char *doing;  /* "Stopping" */
	const char *method; /* of InstanceService */
	bool force;
	uint32_t timeout; /* seconds; 0: the instance's own */
	bool no_wait;
	bool (*applies)(Lxmgr__V1__InstanceStatus status); /* what --all means; may be NULL */
};

int cli_act_on(struct cli *cli, const struct cli_action *action, char *const *names, size_t n,
	       struct lx_err *err);

/* Has processes: a stop makes sense. */
bool cli_instance_is_up(Lxmgr__V1__InstanceStatus status);

#endif
