/* The profile that every project has from the start. */
#ifndef LX_LXMGR_DEFAULT_PROFILE_H
#define LX_LXMGR_DEFAULT_PROFILE_H

#include "lxmgr/v1/profile.pb-c.h"

/* Fills an initialised message. `network` NULL: without a card. 0, or -1 when out of memory. */
int lx_default_profile(const char *project, const char *network, Lxmgr__V1__Profile *p);

#endif
