/* "host:port", "192.0.2.7:443", "[2001:db8::7]:443". */
#ifndef LX_RPC_ADDRESS_H
#define LX_RPC_ADDRESS_H

#include <stdint.h>

#include "lib/err.h"

#define LX_HOST_MAX 254 /* a DNS name and the NUL */

struct lx_address {
	char host[LX_HOST_MAX]; /* without brackets */
	uint16_t port;
	char service[6]; /* the port as text, as getaddrinfo() wants it */
};

int lx_address_parse(const char *text, struct lx_address *ret, struct lx_err *err);

#endif
