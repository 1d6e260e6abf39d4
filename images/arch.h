/*
 * Names of processor architectures. The kernel, Debian and the publishers of images call
 * the same machine by different names; images here carry the kernel's. Pure.
 */
#ifndef LX_IMAGES_ARCH_H
#define LX_IMAGES_ARCH_H

#include <stdbool.h>

/* "amd64" -> "x86_64"; NULL for a name nobody uses. */
const char *lx_arch_canonical(const char *name);
/* The machine this runs on, as uname(2) names it, in the same spelling. Static storage. */
const char *lx_arch_host(void);
/* Can a machine of architecture `host` run programs of `image`? Both canonical. */
bool lx_arch_runs(const char *host, const char *image);

#endif
