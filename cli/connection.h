/*
 * The connection to the manager and calls over it.
 *
 * A verb that makes one call after the other uses cli_call(). One that streams gets the
 * channel with cli_connect(), starts its calls and runs the loop with cli_run() until its
 * callbacks have set a flag.
 */
#ifndef LX_CLI_CONNECTION_H
#define LX_CLI_CONNECTION_H

#include <uv.h>

#include "cli/cli.h"
#include "rpc/rpc.h"

/* Makes loop and channel (the connection itself is made by the first call). */
int cli_connect(struct cli *cli, struct lx_err *err);
/* Ends all calls and frees the channel; every handle on the loop must be closing. The next
 * call connects again. */
void cli_disconnect(struct cli *cli);
uv_loop_t *cli_loop(const struct cli *cli);
/* Makes the loop alone, for those who dial by themselves. */
int cli_loop_open(struct cli *cli, struct lx_err *err);
/* Runs the loop until *done. */
int cli_run(struct cli *cli, const bool *done, struct lx_err *err);
/*
 * The same for one call that has *closed set when it closes. SIGINT, SIGTERM and SIGHUP cancel
 * the call and make this fail, so that the caller can clean up.
 */
int cli_run_call(struct cli *cli, struct lx_call *call, const bool *closed, struct lx_err *err);

/* One request, one answer. *ret_resp (may be NULL) is released with lx_pb_free(). */
int cli_call(struct cli *cli, const ProtobufCServiceDescriptor *service, const char *method, const void *req,
	     void *ret_resp, struct lx_err *err);

/* What every call goes with: the project it is about. Borrowed until the next call of this. */
const struct lx_call_options *cli_options(const struct cli *cli);

/* When `err` says the manager cannot be reached: finds out why and what to do about it. */
void cli_explain(const struct cli *cli, struct lx_err *err);

#define CLI_INSTANCES  (&lxmgr__v1__instance_service__descriptor)
#define CLI_IMAGES     (&lxmgr__v1__image_service__descriptor)
#define CLI_PROFILES   (&lxmgr__v1__profile_service__descriptor)
#define CLI_NETWORKS   (&lxmgr__v1__network_service__descriptor)
#define CLI_NODES      (&lxmgr__v1__node_service__descriptor)
#define CLI_OPERATIONS (&lxmgr__v1__operation_service__descriptor)
#define CLI_EVENTS     (&lxmgr__v1__event_service__descriptor)
#define CLI_IDENTITIES (&lxmgr__v1__identity_service__descriptor)
#define CLI_AUDIT      (&lxmgr__v1__audit_service__descriptor)
#define CLI_WARNINGS   (&lxmgr__v1__warning_service__descriptor)
#define CLI_DENIALS    (&lxmgr__v1__denial_service__descriptor)
#define CLI_PROJECTS   (&lxmgr__v1__project_service__descriptor)
#define CLI_SNAPSHOTS  (&lxmgr__v1__snapshot_service__descriptor)
#define CLI_SYSTEM     (&lxmgr__v1__system_service__descriptor)

/* An empty message on the heap, for lx_pb_set() and friends; NULL when out of memory. */
void *cli_pb_new(const ProtobufCMessageDescriptor *type);

/* A cleanup attribute for messages on the heap. */
void cli_cleanup_pb(void *p);
#define cli_autopb __attribute__((cleanup(cli_cleanup_pb)))

#endif
