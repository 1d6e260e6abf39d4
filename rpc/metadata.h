/*
 * What travels in headers and trailers: a list of names and values, and the codings
 * gRPC uses in them (percent coding of messages, grpc-timeout). Pure.
 */
#ifndef LX_RPC_METADATA_H
#define LX_RPC_METADATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"

struct lx_header {
	struct lx_header *next;
	const char *name;  /* lower case */
	const char *value; /* NUL-terminated, as it travelled */
};

/* {0} is an empty list. Order is kept; addresses stay until the release. */
struct lx_metadata {
	struct lx_header *first, *last;
	size_t count;
};

void lx_rpc_metadata_release(struct lx_metadata *md);
int lx_rpc_metadata_add(struct lx_metadata *md, const char *name, size_t name_len, const char *value,
			size_t value_len);
/* First value of that name, or NULL. */
const char *lx_rpc_metadata_get(const struct lx_metadata *md, const char *name);

/* Names users may set: lower case, not one that HTTP/2 or gRPC gives a meaning to. */
int lx_rpc_metadata_check(const char *name, const char *value, struct lx_err *err);

/* Everything but printable ASCII, and '%', as %XX. */
int lx_percent_encode(const char *text, struct lx_buf *out);
/*
 * The opposite, into n bytes with the NUL, cut at a character boundary. What is not a
 * valid %XX stays as it is. Control characters become spaces: the text is for people.
 */
void lx_percent_decode(const char *text, size_t len, char *out, size_t n);

/* "1500m": at most eight digits and a unit. A timeout that does not fit is rounded up. */
#define LX_TIMEOUT_TEXT 16
void lx_timeout_format(uint64_t ns, char out[LX_TIMEOUT_TEXT]);
/* -EINVAL for what is not a timeout. Centuries saturate. */
int lx_timeout_parse(const char *text, size_t len, uint64_t *ns);

#endif
