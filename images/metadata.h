/*
 * metadata.yaml, the description that comes with every image. Pure: text to struct and
 * back, no file is touched.
 *
 *   architecture: x86_64
 *   creation_date: 1700000000
 *   expiry_date: 1800000000     (optional)
 *   properties:
 *     os: Debian
 *     ...
 *   templates: ...              (ignored here; the file itself is kept as it came)
 */
#ifndef LX_IMAGES_METADATA_H
#define LX_IMAGES_METADATA_H

#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/map.h"

#define LX_METADATA_MAX_BYTES      (256 * 1024)
#define LX_METADATA_MAX_PROPERTIES 256
#define LX_METADATA_MAX_KEY        128
#define LX_METADATA_MAX_VALUE      4096
#define LX_METADATA_MAX_DEPTH      32

struct lx_metadata {
	char *architecture;       /* as the kernel names it */
	int64_t creation_date;    /* seconds since the epoch; 0: not said */
	int64_t expiry_date;      /* 0: never */
	struct lx_map properties; /* key -> char * (owned) */
};

/*
 * Fills `ret` (release it also after a failure). LX_INVALID_ARGUMENT with line and column
 * for what is no YAML, misses the architecture, or is past a limit.
 */
int lx_metadata_parse(const void *text, size_t len, struct lx_metadata *ret, struct lx_err *err);
void lx_metadata_release(struct lx_metadata *m);

/* "" when there is no such property. Borrowed. */
const char *lx_metadata_get(const struct lx_metadata *m, const char *key);
/* Copies the value. 0 or -ENOMEM. */
int lx_metadata_set(struct lx_metadata *m, const char *key, const char *value);

/* A key and value that every image may carry: not empty, not too long, no control characters, UTF-8. */
int lx_property_check(const char *key, const char *value, struct lx_err *err);

/* Appends the text that lx_metadata_parse() reads back. 0 or -ENOMEM. */
int lx_metadata_format(const struct lx_metadata *m, struct lx_buf *out);

#endif
