/*
 * The read-only layer between a systemd image and the instance's own files: drop-ins that
 * switch off the few things a live move cannot carry, and what only makes noise in a guest.
 * They lie below /usr/lib, where the guest's administrator can cover them from /etc.
 */
#include "profiles/profiles.h"

#include <stdlib.h>
#include <string.h>

#include "lib/cleanup.h"

#define UNITS "/usr/lib/systemd/system/"

/*
 * A drop-in of one unit hides one of the same name that is for all of them: so each has a
 * name of its own.
 */
/* clang-format off */
static const struct {
	const char *path, *text;
} layer[] = {
	/* Nested namespaces of services: mount and network ones can be moved, these cannot. */
	{ UNITS "service.d/10-lxmgr.conf",
	  "[Service]\n"
	  "ProtectHostname=no\n"
	  "PrivateUsers=no\n"
	  "PrivateIPC=no\n" },

	/*
	 * Memory pressure watches: they are triggers in the kernel, and lost on the way. Off for all
	 * units at once, which systemd before 254 does not know and says so once, not once a service;
	 * then for the managers of users and capsules, which have a word of their own on it.
	 */
	{ "/usr/lib/systemd/system.conf.d/10-lxmgr.conf",
	  "[Manager]\n"
	  "DefaultMemoryPressureWatch=off\n" },
	{ "/usr/lib/systemd/user.conf.d/10-lxmgr.conf",
	  "[Manager]\n"
	  "DefaultMemoryPressureWatch=off\n" },
	{ UNITS "user@.service.d/10-lxmgr-pressure.conf",
	  "[Service]\n"
	  "MemoryPressureWatch=off\n" },
	{ UNITS "capsule@.service.d/10-lxmgr-pressure.conf",
	  "[Service]\n"
	  "MemoryPressureWatch=off\n" },

	/*
	 * A writable /sys makes networkd wait for udev to announce each interface. In an image
	 * without udev nobody does; seen read-only, it does not wait.
	 */
	{ UNITS "systemd-networkd.service.d/10-lxmgr-sys.conf",
	  "[Service]\n"
	  "BindReadOnlyPaths=/sys\n" },

	/*
	 * Announcing the machine's devices again is neither possible nor wanted in a guest: hundreds
	 * of refused writes at each boot. Its own interfaces are all there is to announce.
	 */
	{ UNITS "systemd-udev-trigger.service.d/10-lxmgr-net.conf",
	  "[Service]\n"
	  "ExecStart=\n"
	  "ExecStart=-udevadm trigger --type=devices --action=add --subsystem-match=net\n" },
};
/* clang-format on */

_Static_assert(LX_ARRAY_SIZE(layer) <= LX_GUEST_FILES_MAX, "the layer has too many files");

int lx_guest_layer(struct lx_guest_file files[LX_GUEST_FILES_MAX], struct lx_err *err)
{
	for (size_t i = 0; i < LX_ARRAY_SIZE(layer); i++) {
		files[i] = (struct lx_guest_file){ .path = strdup(layer[i].path),
						   .mode = 0644,
						   .text = strdup(layer[i].text) };
		if (!files[i].path || !files[i].text) {
			lx_guest_files_release(files, i + 1);
			return lx_err_oom(err);
		}
	}
	return LX_ARRAY_SIZE(layer);
}
