/*
 * The security module's part of an instance's confinement: what its configuration asks for,
 * against what this node's kernel has. Of AppArmor the instance's own profile is compiled and
 * loaded here, and the namespace for profiles from inside made, before every start and before a
 * restore.
 */
#ifndef LX_WORKER_LSM_H
#define LX_WORKER_LSM_H

#include "agent/worker/instance/job.h"
#include "lib/map.h"
#include "profiles/apparmor_namespace.h"

struct lx_lsm {
	bool apparmor;                     /* the kernel has it: liblxc must be told a label */
	char label[LX_APPARMOR_LABEL_MAX]; /* of what is loaded; "" for unconfined */
	bool own_namespace;                /* its root loads profiles of its own */
	const char *selinux;               /* context, the configuration's; NULL: none */
};

/*
 * FAILED_PRECONDITION, with the cure, when the node lacks what is demanded; INVALID_ARGUMENT when
 * the profile does not compile. Never less confinement than asked. `image`: its fingerprint.
 */
int lx_lsm_prepare(const struct lx_job *job, const char *image, const struct lx_map *config,
		   struct lx_lsm *ret, struct lx_err *err);
/*
 * selinux.c: may processes in `context` use what the instance is stored in, its own directory and its
 * image's? FAILED_PRECONDITION with the cure, or a line in the log where SELinux does not enforce.
 */
int lx_selinux_check_storage(const struct lx_job *job, const char *context, const char *const paths[2],
			     bool enforcing, struct lx_err *err);
/* Nothing of it runs any more: its profile and its namespace leave the kernel. */
void lx_lsm_forget(const struct lx_job *job);

/*
 * apparmor_compile.c: compiles `text`, which has to be the profile `name` and nothing else, to the file
 * `binary`, or only checks it when that is NULL.
 */
int lx_apparmor_compile(const struct lx_buf *text, const char *name, const char *dir, const char *binary,
			struct lx_err *err);
bool lx_apparmor_can_compile(void);

#endif
