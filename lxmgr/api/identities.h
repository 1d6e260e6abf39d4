/* IdentityService: the methods that are not in identities.c. */
#ifndef LX_LXMGR_API_IDENTITIES_H
#define LX_LXMGR_API_IDENTITIES_H

#include "lxmgr/auth/auth.h"

#define LX_CSR_MAX              16384u /* bytes of a certificate request */
#define LX_IDENTITY_DESCRIPTION 1024u

#define LX_IDENTITY_PROJECTS 256u /* in which one may have a role */

/* What an identity may do, as a request or a token says it: in all projects, and in some. Borrowed. */
struct lx_rights {
	Lxmgr__V1__Role role;
	size_t n;
	Lxmgr__V1__ProjectRole *const *projects;
};

/* The name is one, free, and there is a role; of projects that are there. */
int lx_api_check_identity(struct lx_manager *m, const char *name, const struct lx_rights *rights,
			  const char *description, struct lx_err *err);
/* Gives, changes or (UNSPECIFIED) takes back one in a project. 0 or -ENOMEM. */
int lx_api_set_project_role(Lxmgr__V1__Identity *pb, const char *project, Lxmgr__V1__Role role);
/* A new one; NULL when out of memory. Released with lx_pb_free(). */
Lxmgr__V1__Identity *lx_api_identity_new(const char *name, Lxmgr__V1__IdentityType type,
					 const struct lx_rights *rights, const char *subject,
					 const char *description);
/* Adds its row. 0 or -ENOMEM. */
int lx_api_identity_txn(struct lx_txn *txn, const Lxmgr__V1__Identity *pb);
/* Signs the request for a client and makes its identity. */
int lx_api_identity_sign(struct lx_manager *m, const char *csr_pem, const char *name,
			 const struct lx_rights *rights, const char *description, Lxmgr__V1__Identity **ret,
			 char **ret_pem, struct lx_err *err);

/* enrol.c */
void lx_api_identity_create_token(struct lx_call *call, const ProtobufCMessage *msg, void *arg);
void lx_api_identity_list_tokens(struct lx_call *call, const ProtobufCMessage *msg, void *arg);
void lx_api_identity_delete_token(struct lx_call *call, const ProtobufCMessage *msg, void *arg);
void lx_api_identity_enrol(struct lx_call *call, const ProtobufCMessage *msg, void *arg);

#endif
