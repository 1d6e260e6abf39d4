/*
 * How long the texts of a guest's policy take to write: AppArmor and seccomp, by profile.
 *
 *   policy_bench     prints JSON: { "hardened": { "apparmor_us": ..., "seccomp_us": ... }, ... }
 */
#include <stdio.h>
#include <stdlib.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/str.h"
#include "profiles/apparmor.h"
#include "profiles/builtin.h"
#include "profiles/profiles.h"

#define TIMES  1001u
#define MIDDLE 500u

static int apparmor(const struct lx_map *config, struct lx_buf *out, struct lx_err *err)
{
	const struct lx_apparmor_input in = { .name = "lxmgr-web1", .config = config };

	return lx_apparmor_policy(&in, out, err);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Median, in microseconds. */
static double measure(int (*policy)(const struct lx_map *config, struct lx_buf *out, struct lx_err *err),
		      const struct lx_map *config)
{
	static uint64_t took[TIMES];

	for (size_t i = 0; i < TIMES; i++) {
		lx_autobuf struct lx_buf out = { 0 };
		struct lx_err err = LX_ERR_INIT;
		uint64_t start = lx_now_monotonic_ns();

		if (policy(config, &out, &err) < 0) {
			fprintf(stderr, "policy_bench: %s\n", err.msg);
			exit(EXIT_FAILURE);
		}
		took[i] = lx_now_monotonic_ns() - start;
	}
	qsort(took, TIMES, sizeof(*took), compare);
	return (double)took[MIDDLE] / 1e3;
}

static void of_profile(const char *name, const struct lx_builtin_key *keys, bool last)
{
	struct lx_map config;

	lx_map_init(&config, NULL);
	for (const struct lx_builtin_key *k = keys; k && k->name; k++)
		if (lx_map_set(&config, k->name, (void *)(uintptr_t)k->value) < 0)
			exit(EXIT_FAILURE);
	printf("  \"%s\": { \"apparmor_us\": %.1f, \"seccomp_us\": %.1f }%s\n", name,
	       measure(apparmor, &config), measure(lx_seccomp_policy, &config), last ? "" : ",");
	lx_map_release(&config);
}

int main(void)
{
	printf("{\n");
	of_profile("default", NULL, lx_n_builtin_profiles == 0);
	for (size_t i = 0; i < lx_n_builtin_profiles; i++)
		of_profile(lx_builtin_profiles[i].name, lx_builtin_profiles[i].config,
			   i + 1 == lx_n_builtin_profiles);
	printf("}\n");
	return EXIT_SUCCESS;
}
