/*
 * The order of things.
 *
 *   start   directories and lock, facts, orphaned workers, joining, images, networks,
 *           a look at what runs, serving, autostart
 *   end     no more serving (open calls fail), then jobs, networks and the rest;
 *           containers, bridges and what workers have begun go on
 *
 * Whatever fails before serving ends the agent with a reason, except networks: those have
 * a status of their own, which the manager shows.
 */
#include "agent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "agent/denial/denials.h"
#include "agent/identity.h"
#include "agent/image/images.h"
#include "agent/instance/autostart.h"
#include "agent/instance/instance.h"
#include "agent/instance/usage.h"
#include "agent/join.h"
#include "agent/lxcfs.h"
#include "agent/move/move.h"
#include "agent/orphans.h"
#include "agent/peers.h"
#include "agent/spawn.h"
#include "lib/cleanup.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "proto/pb.h"

#define LOCK_TRIES    20
#define LOCK_PAUSE_US 50000

/* ------------------------------------------------------------------ directories */

/* Made if need be, and the one name by which it is known from now on. */
static int own_dir(const char *path, mode_t mode, char **ret, struct lx_err *err)
{
	int r = lx_mkdir_p(path, mode, err);

	if (r < 0)
		return r;
	*ret = realpath(path, NULL);
	return *ret ? 0 : lx_err_errno(err, errno, "cannot use %s", path);
}

static int sub_dir(const char *parent, const char *leaf, mode_t mode, char **ret, struct lx_err *err)
{
	*ret = lx_path_join(parent, leaf);
	return *ret ? lx_mkdir_p(*ret, mode, err) : lx_err_oom(err);
}

static int make_dirs(struct lx_agent *a, struct lx_err *err)
{
	int r;

	/* Others must be able to pass: guests to their file systems, dnsmasq to its files. */
	if ((r = own_dir(a->opt.state_dir, 0711, &a->state_dir, err)) < 0 ||
	    (r = own_dir(a->opt.run_dir, 0755, &a->run_dir, err)) < 0 ||
	    (r = sub_dir(a->state_dir, "instances", 0711, &a->instances_dir, err)) < 0)
		return r;
	a->images_dir = lx_path_join(a->state_dir, "images");
	a->incoming_dir = lx_path_join(a->state_dir, "images/incoming");
	return a->images_dir && a->incoming_dir ? 0 : lx_err_oom(err);
}

/* An agent that was just killed may leave a child that holds the lock until its exec. */
static int lock_soon(int fd)
{
	for (int tries = 0;; tries++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK || tries == LOCK_TRIES)
			return -errno;
		usleep(LOCK_PAUSE_US);
	}
}

static int take_lock(struct lx_agent *a, struct lx_err *err)
{
	lx_autofree char *path = lx_path_join(a->state_dir, "lock");

	if (!path)
		return lx_err_oom(err);
	a->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (a->lock < 0)
		return lx_err_errno(err, errno, "cannot open %s", path);
	int r = lock_soon(a->lock);

	if (r == 0)
		return 0;
	if (r != -EWOULDBLOCK)
		return lx_err_errno(err, r, "cannot lock %s", path);
	lx_err_set(err, LX_FAILED_PRECONDITION, "another agent works in %s", a->state_dir);
	lx_err_hint(err, "Stop it first, or use another --state-dir, --run-dir, --cgroup-root and --listen.");
	return -EBUSY;
}

/* ------------------------------------------------------------------ parts */

static void facts_changed(void *arg)
{
	struct lx_agent *a = arg;

	if (!a->stopping)
		lx_watch_facts(a);
}

static int open_facts(struct lx_agent *a, struct lx_err *err)
{
	const struct lx_facts_options opt = { .state_dir = a->state_dir,
					      .libexec_dir = a->libexec_dir,
					      .cgroups = &a->cgroups,
					      .changed = facts_changed,
					      .arg = a };

	return lx_facts_open(a->loop, &opt, &a->facts, err);
}

static int become_member(struct lx_agent *a, struct lx_err *err)
{
	struct lx_identity id;
	bool member = lx_identity_exists(a->state_dir);
	int r = 0;

	if (!member && lx_str_empty(a->opt.token)) {
		lx_err_set(err, LX_FAILED_PRECONDITION, "this machine is not part of a cluster");
		lx_err_hint(
			err,
			"Get a token on a manager (lxmgr node token) and start lxagentd with --join TOKEN.");
		return -ENOENT;
	}
	if (!member)
		r = lx_join(a, err);
	else if (!lx_str_empty(a->opt.token))
		lx_info("this machine is part of a cluster already, the token is not used", "");
	if (r < 0)
		return r;
	r = lx_identity_load(a->state_dir, &id, err);
	if (r < 0)
		return r;
	a->node = lx_move_ptr(id.node);
	lx_identity_release(&id);
	return 0;
}

static int open_jobs(struct lx_agent *a, struct lx_err *err)
{
	const struct lx_jobs_options opt = { .libexec_dir = a->libexec_dir,
					     .state_dir = a->state_dir,
					     .run_dir = a->run_dir,
					     .cgroup_root = a->opt.cgroup_root,
					     .lxc_path = a->instances_dir,
					     .lxcfs_dir = a->opt.lxcfs_dir };

	return lx_jobs_open(a->loop, &opt, &a->jobs, err);
}

static void networks_loaded(const Lxmgr__V1__ApplyNetworksResponse *status, const struct lx_err *err,
			    void *arg)
{
	bool *loaded = arg;

	*loaded = true;
	if (!status)
		lx_error("cannot bring up networks", "error=\"%s\"", err->msg);
	for (size_t i = 0; status && i < status->n_status; i++)
		if (*status->status[i]->value)
			lx_warn("a network is not up", "network=%s error=\"%s\"", status->status[i]->key,
				status->status[i]->value);
}

static int open_networks(struct lx_agent *a, struct lx_err *err)
{
	bool loaded = false;
	int r = lx_network_open(a->loop, a->state_dir, a->run_dir, &a->network, err);

	if (r == 0)
		r = lx_network_load(a->network, networks_loaded, &loaded, err);
	while (r == 0 && !loaded)
		uv_run(a->loop, UV_RUN_ONCE);
	return r;
}

int lx_agent_open(struct lx_agent *a, uv_loop_t *loop, const struct lx_agent_options *opt, struct lx_err *err)
{
	int r;

	*a = (struct lx_agent){ .loop = loop, .opt = *opt, .lock = -1 };
	lx_map_init(&a->instances, lx_instance_free);
	lx_map_init(&a->images, lx_pb_free);
	lx_map_init(&a->images_leaving, NULL);
	lx_map_init(&a->fetches, NULL);
	lx_watch_init(&a->watch);
	r = lx_cgroups_init(&a->cgroups, opt->cgroup_root);
	if (r < 0)
		return lx_err_errno(err, r, "cannot find out about cgroups");
	if ((r = make_dirs(a, err)) < 0 || (r = take_lock(a, err)) < 0 ||
	    (r = lx_spawn_find(&a->libexec_dir, err)) < 0 || (r = open_facts(a, err)) < 0 ||
	    (r = lx_lxcfs_open(a, err)) < 0 || (r = become_member(a, err)) < 0)
		return r;
	lx_orphans_end(a->state_dir);
	a->rebooted = lx_autostart_due(a);
	if ((r = lx_peers_load(a, err)) < 0 || (r = lx_images_load(a, err)) < 0 ||
	    (r = open_networks(a, err)) < 0 || (r = open_jobs(a, err)) < 0 ||
	    (r = lx_usage_open(a, err)) < 0 || (r = lx_denials_open(a, err)) < 0 ||
	    (r = lx_moves_load(a, err)) < 0 || (r = lx_instances_load(a, err)) < 0 ||
	    (r = lx_agent_serve(a, err)) < 0)
		return r;
	lx_autostart_run(a);
	return 0;
}

/* ------------------------------------------------------------------ the end */

static void server_closed(void *arg)
{
	struct lx_agent *a = arg;

	lx_jobs_close(a->jobs);
	a->jobs = NULL;
	lx_usage_close(a);
	lx_denials_close(a);
	lx_network_close(a->network, NULL, NULL);
	a->network = NULL;
	lx_lxcfs_close(a);
	lx_facts_close(a->facts);
	a->facts = NULL;
	lx_moves_close(a);
	/* What the instances watch closes with them. */
	lx_map_release(&a->instances);
}

void lx_agent_close(struct lx_agent *a)
{
	if (a->stopping)
		return;
	a->stopping = true;
	if (a->server)
		lx_server_close(a->server, server_closed, a);
	else
		server_closed(a);
	a->server = NULL;
}

void lx_agent_release(struct lx_agent *a)
{
	lx_map_release(&a->images);
	lx_map_release(&a->images_leaving);
	lx_map_release(&a->fetches);
	lx_pb_free(a->peers);
	if (a->lock >= 0)
		close(a->lock);
	free(a->state_dir);
	free(a->run_dir);
	free(a->instances_dir);
	free(a->images_dir);
	free(a->incoming_dir);
	free(a->libexec_dir);
	free(a->node);
}
