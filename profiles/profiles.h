/*
 * What a container may do: configuration keys, profile expansion, and what the
 * expanded configuration means to the kernel and to liblxc. Everything here is
 * pure: no file, socket, clock or global is touched, so it is tested without root.
 */
#ifndef LX_PROFILES_PROFILES_H
#define LX_PROFILES_PROFILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/map.h"
#include "profiles/lxcfs.h"

/* ------------------------------------------------------------------ keys */

enum lx_key_scope { LX_KEY_LIVE, LX_KEY_RESTART };

enum lx_key_subject {
	LX_KEY_INSTANCE,
	LX_KEY_PROJECT,
	LX_KEY_DISK,
	LX_KEY_NIC,
	LX_KEY_UNIX_CHAR,
	LX_KEY_UNIX_BLOCK,
	LX_KEY_PROXY,
};

/* By subject: "instance", "project", "device disk", "device nic" ... */
extern const char *const lx_key_subject_names[];
extern const size_t lx_n_key_subjects;

#define LX_KEY_SNAPSHOTS_MAX "snapshots.max"

/* One row of the table from which checks, help, completion and the man page come. */
struct lx_config_key {
	const char *name; /* "limits.memory"; a trailing '*' stands for a family: "user.*" */
	const char *type; /* "bool", "integer", "size", "duration", "string", "cpus", ... */
	const char *def;  /* default as text, "" for none */
	enum lx_key_subject subject;
	enum lx_key_scope scope;
	const char *help; /* one line */
	/* `name` is the full name as given, which for a family says more than the row. */
	int (*check)(const struct lx_config_key *key, const char *name, const char *value,
		     struct lx_err *err);
	const char *const *values; /* enumerated values, NULL-terminated, or NULL */
	uint64_t min, max;         /* numbers, sizes, seconds: what is allowed; 0, 0: not of that kind */
	bool required;             /* devices: must be given */
	bool admin;                /* the role admin's to set */
};

const struct lx_config_key *lx_config_keys(size_t *n);
/* NULL when there is no such key. */
const struct lx_config_key *lx_config_key_find(enum lx_key_subject subject, const char *name);

/* What a key may be, in words: "true, false", "1 to 86400", "4MiB or more"; "" when its type says it. */
#define LX_KEY_RANGE_MAX 96

struct lx_key_range {
	char text[LX_KEY_RANGE_MAX];
};

const char *lx_config_key_range(const struct lx_config_key *key, struct lx_key_range *r);

/* Limits on what users may send. */
#define LX_CONFIG_MAX_KEYS    512
#define LX_CONFIG_MAX_VALUE   65536
#define LX_CONFIG_MAX_DEVICES 64

/*
 * Checks one key and value. LX_INVALID_ARGUMENT with the nearest key or the allowed range as
 * hint. The empty value is good for every key: it unsets it.
 */
int lx_config_check(const char *key, const char *value, struct lx_err *err);
/* The same for a key of a project. */
int lx_project_config_check(const char *key, const char *value, struct lx_err *err);
/* Checks a device: name, type, its options, required ones present. `options`: text to text. */
int lx_device_check(const char *name, const struct lx_map *options, struct lx_err *err);

/* ------------------------------------------------------------------ expansion */

/* One layer of the stack: a profile, or the instance itself (the last one). */
struct lx_layer {
	const char *origin;           /* "profile default", "instance" */
	const struct lx_map *config;  /* key -> char * */
	const struct lx_map *devices; /* name -> struct lx_map * of options */
};

struct lx_expanded {
	struct lx_map config;  /* key -> char * (owned) */
	struct lx_map devices; /* name -> struct lx_map * (owned) */
	struct lx_map origin;  /* key or "device NAME" -> char * (owned) */
};

/* Later layers win; a device of type "none" removes the one it covers; an empty value unsets
 * the key. Merges whole devices, not their options. */
int lx_expand(const struct lx_layer *layers, size_t n, struct lx_expanded *ret, struct lx_err *err);
void lx_expanded_release(struct lx_expanded *e);

/* Effective value: the expanded one or the key's default. Never NULL for a known key. */
const char *lx_config_get(const struct lx_map *config, const char *key);

/* ------------------------------------------------------------------ limits */

enum lx_cgroup_layout { LX_CGROUP_V1, LX_CGROUP_V2 };

struct lx_host_facts {
	uint64_t memory_bytes;
	unsigned cpus;
	/* Where each controller lives: on a hybrid host memory may be v1 while pids is v2. */
	enum lx_cgroup_layout memory, cpu, cpuset, pids, io;
	bool swap_accounting; /* memory.memsw.* (v1) or memory.swap.* (v2) exists */
	const char *cpu_set;  /* CPUs there are for containers, "0-3"; NULL: 0 to cpus - 1 */
};

/* One file to write below the payload cgroup of `controller`. */
struct lx_knob {
	char controller[16]; /* "memory", "pids", ... : which hierarchy on v1; ignored on v2 */
	enum lx_cgroup_layout layout;
	char file[48]; /* "memory.max", "memory.limit_in_bytes" */
	char value[128];
	bool lifts; /* "no limit": what a new cgroup has anyway, only a running one needs it */
};

#define LX_KNOBS_MAX 32

#define LX_NIC_PRIORITY_MAX 10 /* of a card's limits.priority */

/* Limits that are good each, but not together, as far as no host need be known. LX_INVALID_ARGUMENT. */
int lx_limits_check(const struct lx_map *config, struct lx_err *err);

/*
 * What the limits.* keys of an expanded configuration mean on this host, in the order to
 * write them: it holds whatever limits are in force, nothing needs to be tried twice. Unset
 * limits give the kernel's "no limit" value, so that applying the result to a running
 * container also removes old limits. Returns the number of knobs.
 */
int lx_limits_plan(const struct lx_map *config, const struct lx_host_facts *host,
		   struct lx_knob knobs[LX_KNOBS_MAX], struct lx_err *err);

/* ------------------------------------------------------------------ liblxc's configuration */

struct lx_lxc_nic {
	const char *name, *bridge, *host_name, *hwaddr;
	const char *ipv4, *ipv4_gateway, *ipv6, *ipv6_gateway; /* with prefix length; "" for none */
	uint32_t mtu;                                          /* 0: leave */
};

/* A file system in the guest besides those every guest has. */
struct lx_lxc_mount {
	const char *source;  /* what is bound there; NULL: a new tmpfs */
	const char *path;    /* in the guest, absolute */
	const char *options; /* "bind", "nosuid,nodev,size=1048576" */
	bool file;           /* the source is no directory */
};

struct lx_lxc_input {
	const char *name;
	const char *rootfs;      /* the mounted overlay */
	const char *cgroup_root; /* "lxmgr" */
	const char *hostname;
	const char *init;         /* "/sbin/init" */
	const char *seccomp_path; /* file with the policy text, or NULL */
	const char *log_path;
	uint32_t idmap_base, idmap_size;
	const struct lx_map *config; /* expanded */
	const struct lx_lxc_nic *nics;
	size_t n_nics;
	const struct lx_lxc_mount *mounts;
	size_t n_mounts;
	const char *lxcfs_dir;       /* where the node's lxcfs is mounted */
	lx_lxcfs_set lxcfs;          /* its files that the guest gets; 0: none */
	const struct lx_knob *knobs; /* limits to be set before init runs */
	size_t n_knobs;
	bool apparmor; /* the host has it (and so must the container name a label) */
	const char
		*apparmor_label; /* of what is loaded; NULL: unconfined, the user namespace alone bounds it */
	bool apparmor_namespace; /* part of that is for its root to load profiles into */
	const char *selinux_context; /* NULL: none */
	int oom_adj;                 /* of its init (oom_score_adj): how much the kernel spares it */
	bool systemd;                /* the guest's init is systemd */
	bool has_run;                /* its /run is a directory, and no link to one */
};

/*
 * The container's liblxc configuration, with what live migration needs from the start:
 * no console and ttys from the host, a plain directory as root file system, fixed names
 * for cgroups and veths, a pure cgroup v2 view (lxc_config.c says why each).
 */
int lx_lxc_config(const struct lx_lxc_input *in, struct lx_buf *out, struct lx_err *err);

/* The deny list of the instance in liblxc's format 2: the default one and security.syscalls.deny. */
int lx_seccomp_policy(const struct lx_map *config, struct lx_buf *out, struct lx_err *err);
/* The same for what enters it later: without calls that stop (intercept.h). */
int lx_seccomp_policy_inside(const struct lx_map *config, struct lx_buf *out, struct lx_err *err);

/* ------------------------------------------------------------------ guest files */

/* What the image offers for configuring a network, found out by looking at its tree. */
struct lx_guest_probe {
	bool systemd;  /* /lib/systemd/systemd */
	bool networkd; /* systemd-networkd is there and /etc/systemd/network exists */
	bool ifupdown; /* /etc/network/interfaces */
	bool resolved; /* /etc/resolv.conf is resolved's link */
};

/* A file to put into the instance's own layer before its first start. */
struct lx_guest_file {
	char *path; /* "/etc/hostname"; owned */
	unsigned mode;
	char *text; /* owned */
};

/* One a network card, and a handful. */
#define LX_GUEST_FILES_MAX (LX_CONFIG_MAX_DEVICES + 8)

struct lx_guest_net {
	struct lx_lxc_nic nic;
	const char *const *dns; /* NULL-terminated */
	const char *dns_domain;
};

/* Host name, hosts, resolv.conf and a static network configuration for whatever tool the
 * image brings. Returns the number of files, or negative errno. */
int lx_guest_files(const char *hostname, const struct lx_guest_probe *probe, const struct lx_guest_net *nets,
		   size_t n_nets, struct lx_guest_file files[LX_GUEST_FILES_MAX], struct lx_err *err);
void lx_guest_files_release(struct lx_guest_file *files, size_t n);

/*
 * The read-only layer every systemd guest gets between its image and its own files:
 * drop-ins that switch off what cannot be moved (nested uts/ipc/user namespaces of
 * services, memory pressure watches). Same shape as above.
 */
int lx_guest_layer(struct lx_guest_file files[LX_GUEST_FILES_MAX], struct lx_err *err);

#endif
