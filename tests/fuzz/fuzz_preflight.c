/*
 * Fuzzing what a guest writes into /proc: the input is NUL-separated, the texts of status,
 * fdinfo, maps, mountinfo, a cgroup's path, the link of a descriptor, and the rest is an
 * answer of sock_diag.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "migration/mounts.h"
#include "migration/preflight_judge.h"
#include "migration/preflight_socket.h"
#include "migration/proc_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PARTS 6

static int ignore(void *arg, size_t table, const struct lx_mount *m)
{
	assert(m->point && m->root);
	return 0;
}

static void mounts(const char *text)
{
	struct lx_mounts t;
	struct lx_verdict v;

	if (lx_mounts_parse(text, &t, NULL) == 0) {
		for (size_t i = 0; i < t.n; i++)
			lx_judge_mount(&t.m[i], &t, &t, &v);
		(void)lx_mounts_unshareable(&t, 1, ignore, NULL);
	}
	lx_mounts_release(&t);
}

static void diag(const uint8_t *data, size_t size)
{
	static const int families[] = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK };
	struct lx_guest_socket one = { .ino = 1 };
	struct lx_guest_sockets sockets = { .s = &one, .n = 1 };
	struct lx_verdict v;
	uint64_t ino;
	/* Of the size that is said, and aligned. */
	void *msg = malloc(size ? size : 1);

	assert(msg);
	memcpy(msg, data, size);
	for (size_t i = 0; i < 4; i++)
		lx_judge_diag(msg, size, families[i], &sockets, &ino, &v);
	free(msg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *end = text + size, unit[LX_PROC_UNIT_MAX];
	const char *part[PARTS];
	struct lx_proc_status status;
	struct lx_proc_fdinfo info;
	struct lx_proc_map map;
	struct lx_verdict v;

	assert(text);
	memcpy(text, data, size);
	*end = '\0';
	char *p = text;

	for (int i = 0; i < PARTS; i++) {
		part[i] = p;
		if (p < end)
			p += strlen(p) + (p + strlen(p) < end);
	}
	(void)lx_proc_status_parse(part[0], &status);
	lx_proc_fdinfo_parse(part[1], &info);
	for (const char *at = part[2]; (at = lx_proc_map_next(at, &map));)
		assert(map.path_len <= size);
	mounts(part[3]);
	lx_proc_unit(part[4], unit);
	lx_judge_namespace("uts", unit, &v);
	lx_judge_mapping(part[5], &v);
	static const uint32_t modes[] = { 0, 0100000, 0020000, 0060000, 0140000, 0010000 };

	for (size_t i = 0; i < 6; i++) {
		struct lx_judge_fd fd = {
			.link = part[5], .mode = modes[i], .socket = part[4], .mount_known = i & 1
		};

		lx_judge_fd(&fd, &v);
	}
	diag((const uint8_t *)p, (size_t)(end - p));
	free(text);
	return 0;
}
