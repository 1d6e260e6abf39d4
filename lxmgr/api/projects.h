/* ProjectService: what is not in projects.c, and what its files share. */
#ifndef LX_LXMGR_API_PROJECTS_H
#define LX_LXMGR_API_PROJECTS_H

#include "lxmgr/manager.h"
#include "lxmgr/v1/project.pb-c.h"

/* projects.c */

/* One that a new project may have: fit for all that is made of it, and free. */
int lx_api_project_check_name(struct lx_manager *m, const char *name, struct lx_err *err);
/* Answers with the project and what it uses, or with the error; `pb` may be NULL then. */
void lx_api_project_answer(struct lx_manager *m, struct lx_call *call, const Lxmgr__V1__Project *pb,
			   const struct lx_err *err);

/* project_delete.c */

/* Refuses when it owns something, or an operation is under way in it; `profiles`: those count, too. */
int lx_api_project_check_empty(struct lx_manager *m, const char *project, bool profiles, struct lx_err *err);
void lx_api_project_delete(struct lx_call *call, const ProtobufCMessage *msg, void *manager);

/* project_rename.c */
void lx_api_project_rename(struct lx_call *call, const ProtobufCMessage *msg, void *manager);

#endif
