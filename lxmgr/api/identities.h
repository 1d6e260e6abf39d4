/* IdentityService: the methods that are not in identities.c. */
#ifndef LX_LXMGR_API_IDENTITIES_H
#define LX_LXMGR_API_IDENTITIES_H

#include "lxmgr/auth/auth.h"

#define LX_CSR_MAX              16384u /* bytes of a certificate request */
#define LX_IDENTITY_DESCRIPTION 1024u

/* The name is one, free, and the role exists. */
int lx_api_check_identity(struct lx_manager *m, const char *name, Lxmgr__V1__Role role,
			  const char *description, struct lx_err *err);
/* A new one; NULL when out of memory. Released with lx_pb_free(). */
Lxmgr__V1__Identity *lx_api_identity_new(const char *name, Lxmgr__V1__IdentityType type, Lxmgr__V1__Role role,
					 const char *subject, const char *description);
/* Adds its row. 0 or -ENOMEM. */
int lx_api_identity_txn(struct lx_txn *txn, const Lxmgr__V1__Identity *pb);
/* Signs the request for a client and makes its identity. */
int lx_api_identity_sign(struct lx_manager *m, const char *csr_pem, const char *name, Lxmgr__V1__Role role,
			 const char *description, Lxmgr__V1__Identity **ret, char **ret_pem,
			 struct lx_err *err);

/* enrol.c */
void lx_api_identity_create_token(struct lx_call *call, const ProtobufCMessage *msg, void *arg);
void lx_api_identity_list_tokens(struct lx_call *call, const ProtobufCMessage *msg, void *arg);
void lx_api_identity_delete_token(struct lx_call *call, const ProtobufCMessage *msg, void *arg);
void lx_api_identity_enrol(struct lx_call *call, const ProtobufCMessage *msg, void *arg);

#endif
