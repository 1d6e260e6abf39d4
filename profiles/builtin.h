/*
 * Profiles that every cluster has and nobody can change: how strictly an instance is confined,
 * to be put on top of others ("default,hardened"). Pure.
 */
#ifndef LX_PROFILES_BUILTIN_H
#define LX_PROFILES_BUILTIN_H

#include <stddef.h>

struct lx_builtin_key {
	const char *name, *value; /* NULL at the end */
};

struct lx_builtin_profile {
	const char *name, *description;
	const struct lx_builtin_key *config;
};

extern const struct lx_builtin_profile lx_builtin_profiles[];
extern const size_t lx_n_builtin_profiles;

#endif
