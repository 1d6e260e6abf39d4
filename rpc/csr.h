/* Keys and requests to certify them, for those who join or enrol. */
#ifndef LX_RPC_CSR_H
#define LX_RPC_CSR_H

#include "lib/err.h"

/* A new EC P-256 key and a request to certify it under that name; both PEM, malloc'ed. */
int lx_csr_make(const char *common_name, char **ret_key_pem, char **ret_csr_pem, struct lx_err *err);

#endif
