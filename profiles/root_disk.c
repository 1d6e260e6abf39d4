/* See the header. Values have been checked when they were set. */
#include "profiles/root_disk.h"

#include "lib/str.h"
#include "proto/pb.h"

const Lxmgr__V1__Device *lx_root_disk(size_t n, const void *devices)
{
	struct lx_pb_device_entry *const *v = devices;

	for (size_t i = 0; i < n; i++) {
		const Lxmgr__V1__Device *d = v[i]->value;

		if (d && lx_streq(lx_pb_map_get(d->n_options, d->options, "type"), "disk") &&
		    lx_streq(lx_pb_map_get(d->n_options, d->options, "path"), "/"))
			return d;
	}
	return NULL;
}

uint64_t lx_root_disk_size(size_t n, const void *devices)
{
	const Lxmgr__V1__Device *root = lx_root_disk(n, devices);
	const char *size = root ? lx_pb_map_get(root->n_options, root->options, "size") : NULL;
	uint64_t bytes = 0;

	return lx_str_empty(size) || lx_parse_size(size, &bytes) < 0 ? 0 : bytes;
}
