/*
 * Drives migration/preflight.h and quiesce.h for tests:
 *
 *   preflight-driver scan INIT CGROUP      one line an obstacle: code, blocks, cause, cure
 *   preflight-driver quiesce INIT CGROUP
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "migration/preflight.h"
#include "migration/quiesce.h"

static int print(void *arg, const Lxmgr__V1__MoveObstacle *o, struct lx_err *err)
{
	return printf("%s\t%s\t%s\t%s\n", o->code, o->blocks ? "blocks" : "passes", o->cause, o->cure) < 0
		       ? -1
		       : 0;
}

int main(int argc, char **argv)
{
	struct lx_err err = LX_ERR_INIT;
	int r = -1;

	if (argc != 4) {
		fprintf(stderr, "usage: preflight-driver scan|quiesce INIT CGROUP\n");
		return 2;
	}
	struct lx_preflight_guest g = { .init = (pid_t)strtol(argv[2], NULL, 10), .cgroup = argv[3] };

	if (strcmp(argv[1], "scan") == 0)
		r = lx_preflight_scan(&g, print, NULL, &err);
	else if (strcmp(argv[1], "quiesce") == 0)
		r = lx_quiesce(g.init, g.cgroup, true, &err);
	if (r < 0)
		fprintf(stderr, "%s\n", err.msg);
	return r < 0;
}
