/* The profile "default" that a project is made with: a root disk and a card in the shared network. */
#include "lxmgr/default_profile.h"

#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"
#include "proto/pb.h"

static int device(struct lx_map *devices, const char *name, const char *const (*options)[2], size_t n)
{
	struct lx_map *o = calloc(1, sizeof(*o));
	if (!o)
		return -1;
	lx_map_init(o, free);
	for (size_t i = 0; i < n; i++) {
		char *v = strdup(options[i][1]);
		if (!v || lx_map_set(o, options[i][0], v) < 0) {
			free(v);
			lx_pb_options_free(o);
			return -1;
		}
	}
	if (lx_map_set(devices, name, o) < 0) {
		lx_pb_options_free(o);
		return -1;
	}
	return 0;
}

int lx_default_profile(const char *project, const char *network, Lxmgr__V1__Profile *p)
{
	const char *const root[][2] = { { "type", "disk" }, { "path", "/" } };
	const char *const eth0[][2] = { { "type", "nic" }, { "network", network }, { "name", "eth0" } };
	struct lx_map devices;

	lx_map_init(&devices, lx_pb_options_free);
	int r = device(&devices, "root", root, LX_ARRAY_SIZE(root)) < 0 ||
				(network && device(&devices, "eth0", eth0, LX_ARRAY_SIZE(eth0)) < 0) ||
				lx_pb_devices_from(&lxmgr__v1__profile__devices_entry__descriptor,
						   &p->n_devices, &p->devices, &devices) < 0 ||
				lx_pb_set(&p->name, "default") < 0 || lx_pb_set(&p->project, project) < 0 ||
				lx_pb_set(&p->description,
					  network ? "Root disk and one network card" : "Root disk") < 0
			? -1
			: 0;
	p->revision = 1;
	lx_map_release(&devices);
	return r;
}
