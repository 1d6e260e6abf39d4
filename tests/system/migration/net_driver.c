/*
 * migration/net.h for tests: one command, what it has to say on standard output.
 *
 *   save PID FILE NIC...    load PID FILE NIC...
 *   check PID NIC...        one line an obstacle: CODE<TAB>BLOCKS<TAB>CAUSE<TAB>CURE
 *   plug | unplug | silence NIC...
 *   mend PID...             prints how many sockets were mended
 *   unlock PID              count PID
 *
 * A NIC is NAME=HOST_NAME=BRIDGE. FILE holds a GuestNetwork as bytes. "save" and "load" print how
 * long each step took, in nanoseconds. An error goes to standard error as "CODE<TAB>MESSAGE<TAB>HINT".
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fs.h"
#include "lib/log.h"
#include "lib/str.h"
#include "migration/net.h"
#include "migration/sockets.h"
#include "proto/pb.h"

#define FILE_MAX (64u << 20)
#define NICS_MAX 16

static Lxmgr__V1__Nic nics[NICS_MAX], *nic_list[NICS_MAX];
static size_t n_nics;

static void add_nic(char *text)
{
	Lxmgr__V1__Nic *nic = &nics[n_nics];

	lxmgr__v1__nic__init(nic);
	nic->name = strsep(&text, "=");
	nic->host_name = text ? strsep(&text, "=") : nic->host_name;
	nic->bridge = text ? text : nic->bridge;
	nic_list[n_nics++] = nic;
}

static void say(const char *step, uint64_t since)
{
	printf("%s %llu\n", step, (unsigned long long)(lx_now_monotonic_ns() - since));
}

static int save(pid_t pid, const char *path, struct lx_err *err)
{
	Lxmgr__V1__GuestNetwork *net = malloc(sizeof(*net));
	uint64_t start = lx_now_monotonic_ns();
	lx_autofree uint8_t *bytes = NULL;
	size_t len = 0;
	int r;

	lxmgr__v1__guest_network__init(net);
	r = lx_net_save_ahead(pid, net, err);
	say("ahead", start);
	start = lx_now_monotonic_ns();
	if (r == 0)
		r = lx_net_save(pid, n_nics, nic_list, net, err);
	say("save", start);
	printf("sysctls %zu\n", net->n_sysctls);
	if (r == 0) {
		bytes = lx_pb_pack(&net->base, &len);
		r = lx_write_file_atomic(path, bytes, len, 0600, err);
	}
	lx_pb_free(net);
	return r;
}

static int load(pid_t pid, const char *path, struct lx_err *err)
{
	lx_autobuf struct lx_buf bytes = { 0 };
	Lxmgr__V1__GuestNetwork *net, *fresh = malloc(sizeof(*fresh));
	uint64_t start;
	int r = lx_read_file(path, FILE_MAX, &bytes, err);

	if (r < 0)
		return r;
	net = lxmgr__v1__guest_network__unpack(NULL, bytes.len, bytes.data);
	if (!net)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "%s is no GuestNetwork", path);
	lxmgr__v1__guest_network__init(fresh);
	start = lx_now_monotonic_ns();
	r = lx_net_load_ahead(fresh, err);
	say("ahead", start);
	start = lx_now_monotonic_ns();
	if (r == 0)
		r = lx_net_load_prune(net, fresh, err);
	say("prune", start);
	printf("sysctls %zu\n", net->n_sysctls);
	lx_pb_free(fresh);
	start = lx_now_monotonic_ns();
	if (r == 0)
		r = lx_net_load(pid, net, n_nics, nic_list, err);
	say("load", start);
	lx_pb_free(net);
	return r;
}

static int print_obstacle(void *arg, const Lxmgr__V1__MoveObstacle *o, struct lx_err *err)
{
	printf("%s\t%d\t%s\t%s\n", o->code, o->blocks, o->cause, o->cure);
	return 0;
}

static int sockets(int argc, char **argv, pid_t pid, struct lx_err *err)
{
	pid_t pids[NICS_MAX];
	unsigned n = 0;
	int r;

	if (lx_streq(argv[1], "unlock"))
		return lx_net_unlock(pid, err);
	if (lx_streq(argv[1], "count")) {
		r = lx_sockets_count(pid, &n, err);
	} else {
		for (int i = 2; i < argc && i - 2 < NICS_MAX; i++)
			pids[i - 2] = (pid_t)strtol(argv[i], NULL, 10);
		r = lx_sockets_mend(pids, (size_t)argc - 2, &n, err);
	}
	printf("%u\n", n);
	return r;
}

static int run(int argc, char **argv, struct lx_err *err)
{
	bool on_file = lx_streq(argv[1], "save") || lx_streq(argv[1], "load");
	bool on_pid = lx_streq(argv[1], "check");
	pid_t pid = argc > 2 ? (pid_t)strtol(argv[2], NULL, 10) : 0;

	if (lx_streq(argv[1], "mend") || lx_streq(argv[1], "unlock") || lx_streq(argv[1], "count"))
		return sockets(argc, argv, pid, err);
	for (int i = on_file ? 4 : on_pid ? 3 : 2; i < argc && n_nics < NICS_MAX; i++)
		add_nic(argv[i]);
	if (lx_streq(argv[1], "save") && argc > 3)
		return save(pid, argv[3], err);
	if (lx_streq(argv[1], "load") && argc > 3)
		return load(pid, argv[3], err);
	if (on_pid)
		return lx_net_check(pid, n_nics, nic_list, print_obstacle, NULL, err);
	if (lx_streq(argv[1], "plug"))
		return lx_net_plug(n_nics, nic_list, err);
	if (lx_streq(argv[1], "unplug"))
		return lx_net_unplug(n_nics, nic_list, err);
	if (lx_streq(argv[1], "silence"))
		return lx_net_silence(n_nics, nic_list, err);
	return lx_err_set(err, LX_INVALID_ARGUMENT, "unknown command %s", argv[1]);
}

int main(int argc, char **argv)
{
	struct lx_err err = LX_ERR_INIT;

	lx_log_init("move-net-driver", LX_LOG_DEBUG);
	if (argc < 2 || run(argc, argv, &err) < 0) {
		fprintf(stderr, "%s\t%s\t%s\n", lx_code_name(err.code), err.msg, err.hint);
		return 1;
	}
	return 0;
}
