/* Certificates for tests, made on the spot. */
#ifndef LX_TESTS_RPC_CERTS_H
#define LX_TESTS_RPC_CERTS_H

struct rpc_identity {
	char *cert; /* PEM; the CA's follows the own one */
	char *key;
};

/* One CA, and one more that nobody trusts. */
struct rpc_certs {
	struct rpc_identity ca, other_ca;
	struct rpc_identity server, client; /* CN "server", OU "manager"; CN "client", OU "admin" */
	char *ca_fingerprint;
};

struct rpc_certs *rpc_certs_make(void);
void rpc_certs_free(struct rpc_certs *c);

/* A certificate signed by `ca` that is valid from `from` to `to` seconds from now. */
struct rpc_identity rpc_identity_make(const struct rpc_identity *ca, const char *cn, const char *ou,
				      long from, long to);
void rpc_identity_free(struct rpc_identity *id);

#endif
