/*
 * Reading from instances: files, and what the guest said while booting. The worker writes,
 * the download passes it on (agent/download.c).
 */
#include "agent/download.h"
#include "agent/instance/instance.h"
#include "agent/instance/streams.h"
#include "lxmgr/v1/stream.pb-c.h"

static int send_chunk(struct lx_call *call, const uint8_t *data, size_t len)
{
	Lxmgr__V1__DataChunk chunk = LXMGR__V1__DATA_CHUNK__INIT;

	chunk.data.data = (uint8_t *)(uintptr_t)data;
	chunk.data.len = len;
	return lx_call_send(call, &chunk.base);
}

static const struct lx_download_kind log_kind = { .send = send_chunk };
static const struct lx_download_kind pull_kind = { .send = NULL };

/* Logs can be read of an instance that does not run. */
void lx_console_log_call(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__ConsoleLogRequest *req = (const void *)msg;
	struct lx_agent *a = arg;
	struct lx_err err = LX_ERR_INIT;
	struct lx_instance *inst = lx_instance_find(a, req->instance, 0, &err);

	if (!inst) {
		lx_call_fail(call, &err);
		return;
	}
	lx_download(a, call, LX_JOB_SESSION,
		    lx_job_message(inst->spec, LXMGR__V1__WORKER_JOB__JOB_CONSOLE_LOG, msg), &log_kind);
}

void lx_pull_call(struct lx_call *call, const ProtobufCMessage *msg, void *arg)
{
	const Lxmgr__V1__PullFileRequest *req = (const void *)msg;
	struct lx_agent *a = arg;
	struct lx_err err = LX_ERR_INIT;
	struct lx_instance *inst = lx_instance_find(a, req->instance, 0, &err);

	if (!inst || lx_instance_need_running(inst, &err) < 0) {
		lx_call_fail(call, &err);
		return;
	}
	lx_download(a, call, LX_JOB_SESSION, lx_job_message(inst->spec, LXMGR__V1__WORKER_JOB__JOB_PULL, msg),
		    &pull_kind);
}
