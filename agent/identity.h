/*
 * Who this agent is in its cluster: state/pki/{agent.key,agent.crt,ca.crt}, for root alone,
 * and state/node.json with the names. Given once, by joining.
 */
#ifndef LX_AGENT_IDENTITY_H
#define LX_AGENT_IDENTITY_H

#include <stdbool.h>

#include "lib/err.h"

struct lx_identity {
	char *key_pem;
	char *cert_pem;
	char *ca_pem;
	char *node; /* the certificate's common name */
};

bool lx_identity_exists(const char *state_dir);
int lx_identity_load(const char *state_dir, struct lx_identity *ret, struct lx_err *err);
/* The key last but one and node.json last: a store that was cut short is not an identity. */
int lx_identity_store(const char *state_dir, const struct lx_identity *id, const char *cluster_id,
		      struct lx_err *err);
void lx_identity_release(struct lx_identity *id);

#endif
