/*
 * The system calls a guest is refused, as liblxc reads them (format 2, deny list): a name,
 * what it answers, and optionally on which arguments.
 *
 * ENOSYS where programs have another way and look for it (io_uring), EPERM where there is
 * none to look for.
 */
#include "profiles/profiles.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>

#include "lib/cleanup.h"
#include "lib/str.h"
#include "profiles/check.h"

static const struct {
	const char *name;
	int answer;
} denied[] = {
	/* The machine's kernel is not the guest's to change. */
	{ "kexec_load", ENOSYS },
	{ "kexec_file_load", ENOSYS },
	{ "init_module", ENOSYS },
	{ "finit_module", ENOSYS },
	{ "delete_module", ENOSYS },
	/* A file handle names any file of the file system below, not just the guest's. */
	{ "open_by_handle_at", ENOSYS },
	/* Rings and loaded programs cannot be taken along in a live move. */
	{ "io_uring_setup", ENOSYS },
	{ "io_uring_enter", ENOSYS },
	{ "io_uring_register", ENOSYS },
	{ "bpf", EPERM },
};

static int put_default(struct lx_buf *out)
{
	int r = 0;

	for (size_t i = 0; i < LX_ARRAY_SIZE(denied) && r == 0; i++)
		r = lx_buf_printf(out, "%s errno %d\n", denied[i].name, denied[i].answer);
	/* A forced unmount can hang other users of a network file system. The value, then the mask. */
	if (r == 0)
		r = lx_buf_printf(out, "umount2 errno %d [1,%d,SCMP_CMP_MASKED_EQ,%d]\n", EACCES, MNT_FORCE,
				  MNT_FORCE);
	return r;
}

static int put_extra(const char *list, struct lx_buf *out)
{
	const char *name;
	size_t n;

	while ((n = lx_syscalls_next(&list, &name)) > 0) {
		int r = lx_buf_printf(out, "%.*s errno %d\n", (int)n, name, EPERM);

		if (r < 0)
			return r;
	}
	return 0;
}

int lx_seccomp_policy(const struct lx_map *config, struct lx_buf *out, struct lx_err *err)
{
	static const char *const names[] = { "security.syscalls.deny_default", "security.syscalls.deny" };
	bool with_default = true;

	for (size_t i = 0; i < LX_ARRAY_SIZE(names); i++) {
		int r = lx_config_check(names[i], lx_config_get(config, names[i]), err);

		if (r < 0)
			return r;
	}
	lx_parse_bool(lx_config_get(config, names[0]), &with_default);

	lx_autobuf struct lx_buf text = { 0 };
	int r = lx_buf_puts(&text, "2\ndenylist\n[all]\n");

	if (r == 0 && with_default)
		r = put_default(&text);
	if (r == 0)
		r = put_extra(lx_config_get(config, names[1]), &text);
	if (r == 0)
		r = lx_buf_append(out, text.data, text.len);
	return r < 0 ? lx_err_oom(err) : 0;
}
