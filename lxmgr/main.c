/*
 * lxmgrd: the cluster's manager.
 *
 * Start: give up privileges (confine.h), open and migrate the store, load it, make or read the
 * CA, listen on the unix socket and on TLS, dial every node. Stop (SIGTERM, SIGINT): stop
 * listening, fail what is open with UNAVAILABLE, write what was accepted, exit. Containers run
 * on; so do operations, which the next start takes up again from the journal.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <fcntl.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/notify.h"
#include "lib/str.h"
#include "lxmgr/api/networks.h"
#include "lxmgr/auth/audit.h"
#include "lxmgr/auth/auth.h"
#include "lxmgr/confine.h"
#include "lxmgr/keys_manual.h"
#include "lxmgr/operations/move.h"
#include "lxmgr/operations/operation.h"
#include "lxmgr/project.h"
#include "lxmgr/warnings/warnings.h"
#include "proto/descriptors.h"
#include "proto/pb.h"

#define DEFAULT_STATE_DIR "/var/lib/lxmgr/manager"
#define DEFAULT_SOCKET    "/run/lxmgr/lxmgr.sock"
#define DEFAULT_LISTEN    "127.0.0.1:8443"
#define DEFAULT_NETWORK   "lxbr0"
#define DEFAULT_GROUP     "lxmgr"
/* Above the ranges that login accounts get by default (/etc/subuid starts at 100000). */
#define DEFAULT_IDMAP_BASE  1000000000u
#define DEFAULT_IDMAP_COUNT 16384u
/* Agents are asked for a sign of life a second. */
#define OFFLINE_DEFAULT_S   4u
#define OFFLINE_MIN_S       2u
#define OFFLINE_MAX_S       3600u
#define NODE_WAIT_DEFAULT_S 60u
#define NODE_WAIT_MIN_S     1u
#define NODE_WAIT_MAX_S     86400u

static const char help[] =
	"Usage: lxmgrd [OPTION]...\n"
	"\n"
	"The manager of an lxmgr cluster: keeps the desired state, schedules, and serves the API.\n"
	"Runs in the foreground and logs to standard error. Needs no root.\n"
	"\n"
	"  --state-dir DIR        where its state lives (" DEFAULT_STATE_DIR ")\n"
	"  --socket PATH          API for this machine (" DEFAULT_SOCKET ")\n"
	"  --socket-group GROUP   who may use it beside root (" DEFAULT_GROUP ", when it exists)\n"
	"  --socket-role ROLE     what that group's members may who have no identity of their own:\n"
	"                         none, viewer, operator or admin (admin)\n"
	"  --listen HOST:PORT     API for agents and enrolled clients, over mutual TLS (" DEFAULT_LISTEN ")\n"
	"  --advertise HOST:PORT  how agents reach it, for join tokens (as --listen)\n"
	"  --network NAME         the default network, made on the first start (" DEFAULT_NETWORK ")\n"
	"  --network-subnet CIDR  its IPv4 subnet (a free 10.x.0.0/16)\n"
	"  --idmap-base N         first host id for containers (1000000000)\n"
	"  --idmap-count N        how many ranges of 65536 ids (16384)\n"
	"  --offline-after SEC    a node that is silent for so long counts as away (4)\n"
	"  --node-wait SEC        how long operations wait for a node that is away (60)\n"
	"  --log-level LEVEL      error, warn, info or debug (info)\n"
	"  --version, --help\n"
	"\n"
	"A cluster of one:\n"
	"  lxmgrd &\n"
	"  lxagentd --join \"$(lxmgr node token --quiet)\" &\n"
	"  lxmgr image build debian/12 && lxmgr launch debian/12 web1\n";

enum {
	OPT_STATE = 256,
	OPT_SOCKET,
	OPT_GROUP,
	OPT_ROLE,
	OPT_LISTEN,
	OPT_ADVERTISE,
	OPT_NETWORK,
	OPT_SUBNET,
	OPT_BASE,
	OPT_COUNT,
	OPT_OFFLINE,
	OPT_NODE_WAIT,
	OPT_LEVEL,
	OPT_VERSION,
	OPT_HELP,
	OPT_KEYS_MANUAL
};

static const struct option options[] = {
	{ "state-dir", required_argument, NULL, OPT_STATE },
	{ "socket", required_argument, NULL, OPT_SOCKET },
	{ "socket-group", required_argument, NULL, OPT_GROUP },
	{ "socket-role", required_argument, NULL, OPT_ROLE },
	{ "listen", required_argument, NULL, OPT_LISTEN },
	{ "advertise", required_argument, NULL, OPT_ADVERTISE },
	{ "network", required_argument, NULL, OPT_NETWORK },
	{ "network-subnet", required_argument, NULL, OPT_SUBNET },
	{ "idmap-base", required_argument, NULL, OPT_BASE },
	{ "idmap-count", required_argument, NULL, OPT_COUNT },
	{ "offline-after", required_argument, NULL, OPT_OFFLINE },
	{ "node-wait", required_argument, NULL, OPT_NODE_WAIT },
	{ "log-level", required_argument, NULL, OPT_LEVEL },
	{ "version", no_argument, NULL, OPT_VERSION },
	{ "help", no_argument, NULL, OPT_HELP },
	{ "keys-manual", no_argument, NULL, OPT_KEYS_MANUAL },
	{ 0 },
};

static int usage_error(const char *what)
{
	fprintf(stderr, "lxmgrd: %s\nTry 'lxmgrd --help'.\n", what);
	return 2;
}

/* 0: go on. Else the exit code plus one. */
static int parse(int argc, char **argv, struct lx_manager_options *o)
{
	enum lx_log_level level = LX_LOG_INFO;
	struct lx_err err = LX_ERR_INIT;
	enum lx_role role;
	uint64_t v;
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case OPT_STATE:
			o->state_dir = optarg;
			break;
		case OPT_SOCKET:
			o->socket_path = optarg;
			break;
		case OPT_GROUP:
			o->socket_group = optarg;
			break;
		case OPT_ROLE:
			if (lx_role_parse(optarg, true, &role) < 0)
				return 1 +
				       usage_error("--socket-role is one of none, viewer, operator, admin");
			o->socket_role = role;
			break;
		case OPT_LISTEN:
			o->listen = optarg;
			break;
		case OPT_ADVERTISE:
			o->advertise = optarg;
			break;
		case OPT_NETWORK:
			if (lx_api_check_network_name(optarg, &err) < 0)
				return 1 + usage_error(err.msg);
			o->network = optarg;
			break;
		case OPT_SUBNET:
			o->network_subnet = optarg;
			break;
		case OPT_BASE:
			if (lx_parse_u64(optarg, &v) < 0 || v < 65536 || v > UINT32_MAX - 65536)
				return 1 + usage_error("--idmap-base is not a host id");
			o->idmap_base = (uint32_t)v;
			break;
		case OPT_COUNT:
			if (lx_parse_u64(optarg, &v) < 0 || v < 1 || v > 65535)
				return 1 + usage_error("--idmap-count is not a number from 1 to 65535");
			o->idmap_count = (uint32_t)v;
			break;
		case OPT_OFFLINE:
			if (lx_parse_u64(optarg, &v) < 0 || v < OFFLINE_MIN_S || v > OFFLINE_MAX_S)
				return 1 +
				       usage_error(
					       "--offline-after is not a number of seconds from 2 to 3600");
			o->offline_after_s = (uint32_t)v;
			break;
		case OPT_NODE_WAIT:
			if (lx_parse_u64(optarg, &v) < 0 || v < NODE_WAIT_MIN_S || v > NODE_WAIT_MAX_S)
				return 1 +
				       usage_error("--node-wait is not a number of seconds from 1 to 86400");
			o->node_wait_s = (uint32_t)v;
			break;
		case OPT_LEVEL:
			if (lx_log_parse_level(optarg, &level) < 0)
				return 1 + usage_error("--log-level is one of error, warn, info, debug");
			break;
		case OPT_VERSION:
			puts("lxmgrd " LX_VERSION);
			return 1;
		case OPT_HELP:
		case 'h':
			fputs(help, stdout);
			return 1;
		case OPT_KEYS_MANUAL:
			lx_keys_manual();
			return 1;
		default:
			return 1 + usage_error("unknown option");
		}
	}
	if (optind < argc)
		return 1 + usage_error("it takes no arguments");
	if ((uint64_t)o->idmap_base + (uint64_t)o->idmap_count * 65536 > UINT32_MAX)
		return 1 + usage_error("--idmap-base and --idmap-count go beyond the last id");
	lx_log_init("lxmgrd", level);
	return 0;
}

/* Two managers on one store would each think they are alone. */
static int lock_state(const char *dir, int *ret, struct lx_err *err)
{
	lx_autofree char *path = lx_path_join(dir, "lock");
	if (!path)
		return lx_err_oom(err);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return lx_err_errno(err, errno, "cannot open %s", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		close(fd);
		int r = lx_err_set(err, LX_FAILED_PRECONDITION, "another lxmgrd uses %s", dir);
		lx_err_hint(err, "Stop it first, or give this one its own --state-dir and --socket.");
		return r;
	}
	*ret = fd;
	return 0;
}

static int add_services(struct lx_manager *m, struct lx_err *err)
{
	static const struct lx_service *const services[] = {
		&lx_api_instances,  &lx_api_images,  &lx_api_profiles, &lx_api_networks,   &lx_api_nodes,
		&lx_api_operations, &lx_api_events,  &lx_api_system,   &lx_api_identities, &lx_api_audit,
		&lx_api_warnings,   &lx_api_denials, &lx_api_projects, &lx_api_snapshots,
	};
	size_t len;
	const uint8_t *fds = lx_proto_descriptors(&len);
	int r = lx_server_create(m->loop, &m->server, err);

	for (size_t i = 0; i < LX_ARRAY_SIZE(services) && r == 0; i++)
		r = lx_server_add(m->server, services[i], m, err);
	if (r == 0)
		r = lx_server_add_reflection(m->server, fds, len, err);
	if (r == 0) {
		lx_server_set_gate(m->server, lx_gate, m);
		lx_server_set_witness(m->server, &lx_audit_witness, m);
	}
	return r;
}

static int listen_all(struct lx_manager *m, struct lx_err *err)
{
	const struct lx_tls_config tls = {
		.cert_pem = m->cert_pem,
		.key_pem = m->key_pem,
		.ca_pem = m->ca_pem,
		.peer_cert_optional = true, /* a machine that joins has none yet; the gate decides */
	};
	gid_t gid = lx_socket_gid(&m->opt);
	lx_autofree char *dir = lx_socket_dir(&m->opt);
	int r;

	if (!dir)
		return lx_err_oom(err);
	if ((r = lx_mkdir_p(dir, 0755, err)) < 0)
		return r;
	if ((r = lx_server_listen_tls(m->server, m->opt.listen, &tls, err)) < 0)
		return r;
	/* The port may have been picked by the kernel. */
	const char *said = m->opt.advertise ? m->opt.advertise : m->opt.listen;
	const char *colon = strrchr(said, ':');
	bool picked = colon && lx_streq(colon, ":0");
	m->address = picked ? lx_asprintf("%.*s:%d", (int)(colon - said), said, lx_server_port(m->server))
			    : strdup(said);
	if (!m->address)
		return lx_err_oom(err);
	return lx_server_listen_unix(m->server, m->opt.socket_path, gid == (gid_t)-1 ? 0600 : 0660, gid, err);
}

static void on_server_gone(void *arg)
{
	((struct lx_manager *)arg)->server = NULL;
}

static void stop(struct lx_manager *m)
{
	if (m->stopping)
		return;
	m->stopping = true;
	lx_info("stopping", "");
	for (struct lx_map_entry *e = lx_map_first(&m->nodes); e; e = lx_map_next(e))
		lx_link_stop(lx_map_value(e));
	if (m->server)
		lx_server_close(m->server, on_server_gone, m);
	uv_stop(m->loop);
}

static void on_signal(uv_signal_t *s, int number)
{
	stop(s->data);
}

/* A connection is a descriptor, and there may be thousands. */
static void raise_limits(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
}

static void close_any(uv_handle_t *h, void *arg)
{
	if (!uv_is_closing(h))
		uv_close(h, NULL);
}

static void free_message(void *msg)
{
	lx_pb_free(msg);
}

static void maps_init(struct lx_manager *m)
{
	lx_map_init(&m->nodes, lx_node_free);
	lx_map_init(&m->projects, lx_project_free);
	lx_map_init(&m->instances, lx_inst_free);
	lx_map_init(&m->instances_by_uuid, NULL);
	lx_map_init(&m->images, free_message);
	lx_map_init(&m->aliases, NULL);
	lx_map_init(&m->profiles, free_message);
	lx_map_init(&m->networks, free_message);
	lx_map_init(&m->ops, lx_op_free);
	lx_map_init(&m->ops_by_request, NULL);
	lx_map_init(&m->hwaddrs, NULL);
	lx_moves_init(m);
	TAILQ_INIT(&m->subscribers);
	lx_identities_init(m->identities);
	lx_turn_init(&m->turns);
}

static void maps_release(struct lx_manager *m)
{
	struct lx_map *maps[] = { &m->ops_by_request, &m->ops,     &m->instances_by_uuid, &m->instances,
				  &m->aliases,        &m->images,  &m->profiles,          &m->networks,
				  &m->nodes,          &m->hwaddrs, &m->projects,          &m->forgets };
	for (size_t i = 0; i < LX_ARRAY_SIZE(maps); i++)
		lx_map_release(maps[i]);
	lx_identities_release(m->identities);
	lx_auditor_free(m->auditor);
	lx_leases_free(m->leases);
	char *texts[] = { m->address, m->ca_pem, m->ca_key_pem, m->cert_pem, m->key_pem, m->ca_fingerprint };
	for (size_t i = 0; i < LX_ARRAY_SIZE(texts); i++)
		free(texts[i]);
	free(m->list_cache);
}

static int start(struct lx_manager *m, int *lock, struct lx_err *err)
{
	lx_autofree char *db = lx_path_join(m->opt.state_dir, "store.db");
	int r;

	if (!db)
		return lx_err_oom(err);
	if ((r = lx_mkdir_p(m->opt.state_dir, 0700, err)) < 0 ||
	    (r = lock_state(m->opt.state_dir, lock, err)) < 0 ||
	    (r = lx_store_open(m->loop, db, &lx_manager_schema, &m->store, err)) < 0 ||
	    (r = lx_auditor_create(m, &m->auditor, err)) < 0 || (r = lx_leases_init(m, err)) < 0 ||
	    (r = lx_ca_init(m, err)) < 0 || (r = lx_manager_load(m, err)) < 0 ||
	    (r = lx_warnings_open(m, err)) < 0 || (r = add_services(m, err)) < 0 ||
	    (r = listen_all(m, err)) < 0)
		return r;
	for (struct lx_map_entry *e = lx_map_first(&m->nodes); e; e = lx_map_next(e))
		lx_link_start(lx_map_value(e));
	return 0;
}

int main(int argc, char **argv)
{
	static struct lx_identities identities;
	static struct lx_manager manager = {
		.identities = &identities,
		.opt = {
			.state_dir = DEFAULT_STATE_DIR,
			.socket_path = DEFAULT_SOCKET,
			.socket_group = DEFAULT_GROUP,
			.socket_role = LX_ROLE_ADMIN,
			.listen = DEFAULT_LISTEN,
			.network = DEFAULT_NETWORK,
			.idmap_base = DEFAULT_IDMAP_BASE,
			.idmap_count = DEFAULT_IDMAP_COUNT,
			.offline_after_s = OFFLINE_DEFAULT_S,
			.node_wait_s = NODE_WAIT_DEFAULT_S,
		},
	};
	struct lx_manager *m = &manager;
	struct lx_err err = LX_ERR_INIT;
	uv_loop_t loop;
	uv_signal_t on_term, on_int;
	int lock = -1;

	int r = parse(argc, argv, &m->opt);
	if (r)
		return r - 1;
	signal(SIGPIPE, SIG_IGN);
	raise_limits();
	/* Before anything makes a thread. */
	if (lx_confine(&m->opt, &err) < 0) {
		lx_error("cannot start", "error=\"%s\" hint=\"%s\"", err.msg, err.hint);
		return 1;
	}
	if (uv_loop_init(&loop) < 0) {
		fprintf(stderr, "lxmgrd: no event loop\n");
		return 1;
	}
	m->loop = &loop;
	m->started_at_ns = (int64_t)lx_now_realtime_ns();
	/* Grows over restarts too, so that agents can tell old from new. */
	m->net_revision = lx_now_realtime_ns();
	maps_init(m);

	r = start(m, &lock, &err);
	if (r == 0) {
		uv_signal_init(&loop, &on_term);
		uv_signal_init(&loop, &on_int);
		on_term.data = on_int.data = m;
		uv_signal_start(&on_term, on_signal, SIGTERM);
		uv_signal_start(&on_int, on_signal, SIGINT);
		lx_info("ready", "version=%s socket=%s listen=%s nodes=%zu instances=%zu", LX_VERSION,
			m->opt.socket_path, m->address, lx_map_count(&m->nodes), lx_map_count(&m->instances));
		lx_notify("READY=1");
		uv_run(&loop, UV_RUN_DEFAULT);
	} else {
		lx_error("cannot start", "error=\"%s\" hint=\"%s\"", err.msg, err.hint);
	}

	m->stopping = true;
	while (m->readers)
		uv_run(&loop, UV_RUN_ONCE);
	lx_warnings_close(m);
	lx_store_close(m->store);
	if (m->server && r < 0)
		lx_server_close(m->server, on_server_gone, m);
	while (m->server)
		uv_run(&loop, UV_RUN_ONCE);
	maps_release(m);
	uv_walk(&loop, close_any, NULL);
	while (uv_run(&loop, UV_RUN_ONCE))
		;
	lx_warnings_free(m);
	uv_loop_close(&loop);
	if (lock >= 0)
		close(lock);
	return r < 0 ? 1 : 0;
}
