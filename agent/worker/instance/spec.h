/* The instance's specification on disk: spec.pb, whose presence means that the instance exists. */
#ifndef LX_WORKER_SPEC_H
#define LX_WORKER_SPEC_H

#include "agent/worker/instance/job.h"
#include "lib/map.h"

typedef Lxmgr__V1__InstanceSpec lx_spec;

#define LX_SPEC_MAX LX_WORKER_DATAGRAM_MAX

bool lx_spec_exists(const struct lx_job *job);
/* The stored one; free it with lx_spec_free(). NOT_FOUND when the instance does not exist. */
int lx_spec_load(const struct lx_job *job, lx_spec **ret, struct lx_err *err);
/* Atomically; does nothing when exactly this is stored already. */
int lx_spec_save(const struct lx_job *job, const lx_spec *spec, struct lx_err *err);
bool lx_spec_equal(const lx_spec *a, const lx_spec *b);
void lx_spec_free(lx_spec *spec);

/* Image, id range and whether it is privileged are for life: INVALID_ARGUMENT when `new` has others than the
 * stored one. */
int lx_spec_check_fixed(const struct lx_job *job, const lx_spec *stored, const lx_spec *new,
			struct lx_err *err);
/*
 * Names what differs and cannot act on a running guest: "limits.kernel.nofile", "device eth0"; with
 * `size_later` the root disk too.
 * The caller frees the list and its texts, also on failure.
 */
int lx_spec_changes(const lx_spec *old, const lx_spec *new, bool size_later, char ***ret_keys, size_t *ret_n,
		    struct lx_err *err);

/* The specification that came with the job, checked: an image's name, an id range. */
int lx_spec_of_job(const struct lx_job *job, const lx_spec **ret, struct lx_err *err);
/* Has it no user namespace? */
bool lx_spec_is_privileged(const lx_spec *spec);
/* The host id of its root. */
uint32_t lx_spec_id_base(const lx_spec *spec);
/* Its configuration as a map; the values stay the specification's. */
int lx_spec_config(const lx_spec *spec, struct lx_map *ret, struct lx_err *err);

#define lx_autospec __attribute__((cleanup(lx_spec_cleanup)))
static inline void lx_spec_cleanup(lx_spec **spec)
{
	lx_spec_free(*spec);
}

#endif
