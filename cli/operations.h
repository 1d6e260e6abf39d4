/*
 * Asking for operations and waiting for them, one or many, over one connection.
 *
 *   ASKING ----> WATCHING ----> OVER
 *     |           |    ^          ^
 *     |           +----+ retry    |     the manager went away for a moment
 *     +---------------------------+     refused, or ended at once
 */
#ifndef LX_CLI_OPERATIONS_H
#define LX_CLI_OPERATIONS_H

#include "cli/connection.h"
#include "lxmgr/v1/operation.pb-c.h"

#define CLI_OPS_AT_ONCE 128 /* asked for and not over */

struct cli_op {
	/* Set before: */
	const char *subject;         /* for messages; may be "" */
	const ProtobufCMessage *req; /* what to ask for; or NULL with ... */
	const char *id;              /* ... the id of an operation that is there already */
	/* Filled by cli_ops_run: */
	struct lx_err err;          /* LX_OK: succeeded (with --no-wait: was accepted) */
	Lxmgr__V1__Operation *last; /* as last seen, or NULL */
};

struct cli_ops {
	const char *doing; /* "Stopping" */
	const ProtobufCServiceDescriptor *service;
	const char *method;
	bool no_wait; /* say the ids and leave */
	struct cli_op *ops;
	size_t n;
};

#define CLI_NO_WAIT_OPTION                                                                                   \
	{ "no-wait", 0, NULL, "do not wait: print the operation's id (also --async)", 0 },                   \
	{                                                                                                    \
		"async", 0, NULL, "the same as --no-wait", 0                                                 \
	}
bool cli_no_wait(const struct cli *cli);

/*
 * Runs them all. One: its error comes back. Many: each error is reported as it comes and
 * a summary comes back. The first Ctrl-C stops the waiting, not the work, and says how
 * to follow it.
 */
int cli_ops_run(struct cli *cli, const struct cli_ops *ops, struct lx_err *err);
/* Frees what cli_ops_run filled. */
void cli_ops_release(struct cli_op *ops, size_t n);

/* The same for one, when only success matters. *ret_last may be NULL. */
int cli_op_run(struct cli *cli, const char *doing, const char *subject,
	       const ProtobufCServiceDescriptor *service, const char *method, const void *req,
	       Lxmgr__V1__Operation **ret_last, struct lx_err *err);

/* A fresh request id for a message's request_id field: a retry with it is harmless. */
int cli_request_id(char **field, struct lx_err *err);

/* Words for people. */
const char *cli_operation_status(Lxmgr__V1__OperationStatus status);
bool cli_operation_is_over(const Lxmgr__V1__Operation *op);
/* The error an operation that failed ended with. */
void cli_operation_error(const Lxmgr__V1__Operation *op, struct lx_err *err);

#endif
