/*
 * Fuzzing what comes out of a guest or over the wire as text: the input is NUL-separated,
 * a user's name, /etc/passwd, /etc/group, a path, liblxc's log.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "agent/worker/instance/guest_path.h"
#include "agent/worker/instance/guest_user.h"
#include "agent/worker/instance/instance.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PARTS 5

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct lx_guest_user user;
	static struct lx_guest_path path;
	struct lx_err err = LX_ERR_INIT;
	char *text = malloc(size + 1), *end = text + size;
	const char *part[PARTS];

	assert(text);
	memcpy(text, data, size);
	*end = '\0';
	char *p = text;

	for (int i = 0; i < PARTS; i++) {
		part[i] = p;
		if (p < end)
			p += strlen(p) + (p + strlen(p) < end);
	}
	if (lx_guest_user_find(part[1], part[2], part[0], &user, NULL) == 0) {
		assert(user.n_groups <= LX_GUEST_GROUPS_MAX);
		assert(user.home[0] && user.shell[0]);
	}
	if (lx_guest_path_parse(part[3], &path, NULL) == 0)
		assert(path.dir[0] == '/' && !strchr(path.base, '/'));
	(void)lx_guest_entry_ok(part[3]);
	assert(lx_lxc_log_explain("web1", part[4], &err) < 0 && err.code != LX_OK);
	free(text);
	return 0;
}
