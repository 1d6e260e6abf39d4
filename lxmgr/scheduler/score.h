/*
 * Which node an instance should go to: pure arithmetic on what is known of the nodes, so that
 * it can be tested, and explained to people word by word.
 *
 * A node is out of the question when it is away, cordoned, of another architecture, without a
 * label or the security module that is asked for, cannot get the image, or has not enough left of
 * what is asked for.
 * Of the rest the one with the most room left is the best; having the image already counts
 * like a little more room.
 *
 *   asked for     limits.memory, limits.cpu (as a number; a set says where, not how much). What all instances
 * on a node ask for may add up to its memory, and to LX_SCORE_CPU_OVERCOMMIT times its CPUs: a CPU that is
 * not used now can be used by others, memory cannot. not asked     An instance without such a limit is never
 * refused for it, and takes nothing away from those that ask; but it counts as LX_SCORE_CPU_DEFAULT and
 *                 LX_SCORE_MEMORY_DEFAULT when room is compared, so that they spread.
 *   disk          What is really free: images and instances share it, and grow. Sizes of root disks may add
 *                 up to the whole, and are taken only by nodes that can hold instances to them.
 */
#ifndef LX_LXMGR_SCHEDULER_SCORE_H
#define LX_LXMGR_SCHEDULER_SCORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/pb.h"

#define LX_SCORE_CPU_DEFAULT    500u                  /* thousandths of a CPU */
#define LX_SCORE_MEMORY_DEFAULT (UINT64_C(256) << 20) /* bytes */
#define LX_SCORE_CPU_OVERCOMMIT 4u
/* What a node must keep free on its disk, beside the image if it has yet to come. */
#define LX_SCORE_DISK_RESERVE (UINT64_C(256) << 20)
/* Points out of 1000 for having the image. */
#define LX_SCORE_IMAGE_BONUS 50u
#define LX_SCORE_REASON_MAX  160

/* What one instance asks for; 0: nothing. */
struct lx_demand {
	uint64_t cpu;      /* thousandths */
	unsigned min_cpus; /* the node must have so many, because some are named by number */
	uint64_t memory;
	unsigned memory_percent; /* instead: of the node's */
	uint64_t disk;
};

/* What those on a node ask for, and what they count as. */
struct lx_load {
	uint64_t cpu_asked, cpu_counted;
	uint64_t memory_asked, memory_counted;
	uint64_t disk_asked;
	unsigned instances;
};

struct lx_candidate {
	const char *name;
	bool online, cordoned;
	const char *away_reason;
	const char *architecture;
	unsigned cpus;
	uint64_t memory, disk, disk_free;
	bool bounds_disk; /* it can hold an instance to the size of its root disk */
	bool has_image, can_get_image;
	struct lx_load load;
	const char *lsm;      /* "apparmor", "selinux", "none" */
	bool compiles_policy; /* it has what compiles AppArmor profiles */
	bool lxcfs;           /* it serves there */
	bool intercepts;      /* it can make system calls in a guest's place */
	size_t n_labels;
	const struct lx_pb_entry *const *labels; /* map<string, string> */
};

struct lx_wanted {
	struct lx_demand demand;
	const char *architecture; /* NULL or "": any */
	const char *labels;       /* as placement.labels; NULL: none */
	const char *lsm;          /* security module it must run under, as the candidate's; NULL: any */
	bool needs_compiler;      /* and have a profile of its own there */
	bool lxcfs;               /* it must have lxcfs there */
	bool needs_intercepts;    /* security.syscalls.intercept.* */
	uint64_t image_bytes;     /* unpacked; 0: no image is needed */
	bool needs_image;
	const char *target;  /* this node, whatever its room, labels and cordon; NULL: the best one */
	const char *exclude; /* not this one; NULL: any */
};

struct lx_ranked {
	size_t candidate; /* index of it */
	bool fits;
	unsigned score;                   /* 0 to 1000 + bonus, when it fits */
	char reason[LX_SCORE_REASON_MAX]; /* why not, or what speaks for it */
};

/* Adds an instance's demand to the load of its node of `memory` bytes. */
void lx_load_add(struct lx_load *load, const struct lx_demand *d, uint64_t memory);

/* Fills `ret` (as many as candidates), the best first, those that do not fit last. */
void lx_score(const struct lx_wanted *want, const struct lx_candidate *candidates, size_t n,
	      struct lx_ranked *ret);

#endif
