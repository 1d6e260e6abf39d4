/* The root disk among an instance's devices, as they are on the wire. Pure. */
#ifndef LX_PROFILES_ROOT_DISK_H
#define LX_PROFILES_ROOT_DISK_H

#include <stddef.h>
#include <stdint.h>

#include "lxmgr/v1/instance.pb-c.h"

/* Less holds nothing of what a guest writes while it boots. */
#define LX_ROOT_SIZE_MIN (UINT64_C(16) << 20)

/* The disk with path=/; NULL: there is none. `devices`: a map<string, Device>. */
const Lxmgr__V1__Device *lx_root_disk(size_t n, const void *devices);
/* The most that an instance's own files may take, in bytes; 0: no limit. */
uint64_t lx_root_disk_size(size_t n, const void *devices);

#endif
