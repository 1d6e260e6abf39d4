/* The service of tests/proto/echo.proto, for tests, fuzzing and measuring. */
#ifndef LX_TESTS_ECHO_SERVICE_H
#define LX_TESTS_ECHO_SERVICE_H

#include "rpc/rpc.h"

/* What the service saw, for tests to look at. */
struct echo_stats {
	unsigned open;      /* calls its handlers hold */
	unsigned cancelled; /* ended other than by a status */
	uint64_t sent;      /* bytes of data in replies of streams so far */
	struct lx_err last; /* of the last call that ended */
};

int echo_service_add(struct lx_server *s, uv_loop_t *loop, struct echo_stats *stats, struct lx_err *err);

#endif
