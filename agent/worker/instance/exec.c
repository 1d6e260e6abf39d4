/*
 * exec and console: runs a program in the guest, says so, waits for it, tells how it ended.
 *
 * Signals and window sizes are the agent's to send: to the process group of the reported
 * process, and to the terminal's master it was given. An agent that is gone by the time the
 * program has started leaves nobody to talk to: the program is killed.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/worker/instance/attach.h"
#include "agent/worker/instance/spec.h"
#include "lib/cleanup.h"

#define ENVIRONMENT_KEY "environment."

/* "NAME=value"s: of the instance's configuration first, then of the request. */
static int collect_env(const struct lx_job *job, const Lxmgr__V1__ExecStart *start, struct lx_program *p)
{
	lx_autospec lx_spec *spec = NULL;
	size_t of_config = lx_spec_load(job, &spec, NULL) == 0 ? spec->n_config : 0;

	/* One job a process: its end frees them. */
	p->env = calloc(of_config + start->n_environment + 1, sizeof(*p->env));
	if (!p->env)
		return -ENOMEM;
	for (size_t i = 0; i < of_config; i++) {
		if (!lx_starts_with(spec->config[i]->key, ENVIRONMENT_KEY))
			continue;
		p->env[p->n_env] = lx_asprintf("%s=%s", spec->config[i]->key + strlen(ENVIRONMENT_KEY),
					       spec->config[i]->value);
		if (!p->env[p->n_env++])
			return -ENOMEM;
	}
	for (size_t i = 0; i < start->n_environment; i++) {
		p->env[p->n_env] =
			lx_asprintf("%s=%s", start->environment[i]->key, start->environment[i]->value);
		if (!p->env[p->n_env++])
			return -ENOMEM;
	}
	return 0;
}

static int check_env(const Lxmgr__V1__ExecStart *start, struct lx_err *err)
{
	for (size_t i = 0; i < start->n_environment; i++) {
		const char *name = start->environment[i]->key;

		if (!*name || strchr(name, '='))
			return lx_err_set(err, LX_INVALID_ARGUMENT,
					  "\"%s\" cannot be the name of an environment variable", name);
	}
	return 0;
}

static int make_program(const struct lx_job *job, const Lxmgr__V1__ExecStart *start, struct lx_program *p,
			struct lx_err *err)
{
	bool terminal = start->terminal || start->console;

	if (start->n_command == 0 && !start->console)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "there is no command to run");
	if (!terminal && job->fds.n != 3)
		return lx_err_set(err, LX_INVALID_ARGUMENT,
				  "%zu descriptors came for stdin, stdout and stderr", job->fds.n);
	/* With the NULL that exec wants at the end; protobuf-c has none there. */
	char **argv = calloc(start->n_command + 1, sizeof(*argv));

	if (!argv)
		return lx_err_oom(err);
	for (size_t i = 0; i < start->n_command; i++)
		argv[i] = start->command[i];
	*p = (struct lx_program){
		.argv = argv,
		.argc = start->n_command,
		.user = start->user,
		.cwd = start->cwd,
		.console = start->console,
		.terminal = terminal,
		.rows = start->size ? (unsigned short)start->size->rows : 0,
		.cols = start->size ? (unsigned short)start->size->cols : 0,
	};
	if (!terminal)
		memcpy(p->stdio, job->fds.fd, sizeof(p->stdio));
	int r = check_env(start, err);

	if (r < 0)
		return r;
	return collect_env(job, start, p) < 0 ? lx_err_oom(err) : 0;
}

int lx_job_exec(struct lx_job *job, Lxmgr__V1__WorkerResult *result, struct lx_err *err)
{
	static Lxmgr__V1__ExecExit end = LXMGR__V1__EXEC_EXIT__INIT;
	struct lx_program program;
	pid_t pid = -1;
	int pty = -1;
	int r = make_program(job, job->msg->exec, &program, err);

	if (r == 0)
		r = lx_program_start(job, &program, &pid, &pty, err);
	if (r < 0) {
		lx_err_wrap(err, "cannot run a command in %s", job->name);
		return r;
	}
	r = lx_worker_send_started(job->report, pid, pty, err);
	if (r < 0)
		kill(-pid, SIGKILL);
	/* Only the agent's and the program's ends stay open, so that either notices the other's end. */
	lx_worker_fds_close(&job->fds);
	if (pty >= 0)
		close(pty);
	lx_program_wait(pid, &end);
	result->exit = &end;
	return r;
}
