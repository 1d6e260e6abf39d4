/*
 * Describing what was unpacked. The tree is somebody else's: the metadata file is opened
 * without following links, and "which program is /sbin/init" is asked with the kernel
 * resolving links inside the tree only.
 */
#include "images/describe.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "images/arch.h"
#include "images/jail.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/fs.h"
#include "lib/str.h"
#include "proto/pb.h"

static int no_metadata(struct lx_err *err)
{
	int r = lx_err_set(err, LX_INVALID_ARGUMENT, "the archive has no metadata.yaml: it is not an image");

	lx_err_hint(err, "An image's metadata and root file system may also come as two files: "
			 "lxmgr image import METADATA ROOTFS");
	return r;
}

static int read_metadata(int dir, struct lx_metadata *ret, struct lx_err *err)
{
	lx_autobuf struct lx_buf text = { 0 };
	struct lx_jail jail;
	struct stat st;

	lx_jail_init(&jail, dir);
	/* Not blocking: it might be a fifo. */
	lx_autoclose int fd = lx_jail_open(&jail, "metadata.yaml", O_RDONLY | O_NONBLOCK);

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return no_metadata(err);
	if (st.st_size > LX_METADATA_MAX_BYTES)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "metadata.yaml is larger than %d bytes",
				  LX_METADATA_MAX_BYTES);
	if (lx_buf_reserve(&text, (size_t)st.st_size + 1) < 0)
		return lx_err_oom(err);
	ssize_t n = lx_read_full(fd, text.data, (size_t)st.st_size);

	if (n < 0)
		return lx_err_errno(err, (int)n, "cannot read metadata.yaml");
	return lx_metadata_parse(text.data, (size_t)n, ret, err);
}

static int check_rootfs(int rootfs, struct lx_err *err)
{
	/* fdopendir() takes the descriptor over. */
	int fd = openat(rootfs, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	lx_autoclosedir DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	int entries = 0;

	if (!d) {
		int e = errno;

		if (fd >= 0)
			close(fd);
		return lx_err_errno(err, e, "cannot read the image's root file system");
	}
	/* "." and "..", and one that says it is not empty. */
	while (entries < 3 && readdir(d))
		entries++;
	if (entries < 3)
		return lx_err_set(err, LX_INVALID_ARGUMENT, "the image's root file system is empty");
	return 0;
}

/* The name of the program behind /sbin/init: "systemd", "busybox", "init" ...; "" when there is none. */
static void find_init(int rootfs, char name[LX_ENTRY_NAME_MAX + 1])
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC,
				.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };
	char link[64], target[LX_ENTRY_PATH_MAX];
	lx_autoclose int fd = (int)syscall(SYS_openat2, rootfs, "sbin/init", &how, sizeof(how));

	name[0] = '\0';
	if (fd < 0)
		return;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, target, sizeof(target) - 1);

	if (n <= 0)
		return;
	target[n] = '\0';
	const char *slash = strrchr(target, '/');
	const char *base = slash ? slash + 1 : target;

	if (strlen(base) <= LX_ENTRY_NAME_MAX)
		memcpy(name, base, strlen(base) + 1);
}

/* The field that shows a property in lists, or NULL. */
static char **shown_as(Lxmgr__V1__Image *image, const char *key)
{
	const struct {
		const char *key;
		char **field;
	} shown[] = {
		{ "description", &image->description },
		{ "os", &image->os },
		{ "release", &image->release },
		{ "variant", &image->variant },
	};

	for (size_t i = 0; i < LX_ARRAY_SIZE(shown); i++)
		if (lx_streq(shown[i].key, key))
			return shown[i].field;
	return NULL;
}

int lx_image_set_property(Lxmgr__V1__Image *image, const char *key, const char *value, struct lx_err *err)
{
	char **field = shown_as(image, key);
	int r = lx_pb_map_set(&lxmgr__v1__image__properties_entry__descriptor, &image->n_properties,
			      &image->properties, key, value);

	if (r == 0 && field)
		r = lx_pb_set(field, value);
	return r < 0 ? lx_err_oom(err) : 0;
}

static int fill(Lxmgr__V1__Image *image, const struct lx_metadata *m, struct lx_err *err)
{
	if (lx_pb_set(&image->architecture, m->architecture) < 0)
		return lx_err_oom(err);
	for (struct lx_map_entry *p = lx_map_first(&m->properties); p; p = lx_map_next(p)) {
		int r = lx_image_set_property(image, lx_map_key(p), lx_map_value(p), err);

		if (r < 0)
			return r;
	}
	image->created_at_ns = m->creation_date * (int64_t)LX_NSEC_PER_SEC;
	image->imported_at_ns = (int64_t)lx_now_realtime_ns();
	return 0;
}

static int describe(int rootfs, const struct lx_metadata *m, Lxmgr__V1__Image *image, struct lx_err *err)
{
	char init[LX_ENTRY_NAME_MAX + 1];
	int r = fill(image, m, err);

	if (r < 0)
		return r;
	if (!lx_arch_runs(lx_arch_host(), m->architecture)) {
		r = lx_err_set(err, LX_FAILED_PRECONDITION, "the image is for %s, this node is %s",
			       m->architecture, lx_arch_host());
		lx_err_hint(err, "Import it on a node of that architecture: --target NODE");
		return r;
	}
	find_init(rootfs, init);
	if (!*lx_metadata_get(m, LX_PROPERTY_INIT) &&
	    (lx_streq(init, "systemd") || lx_streq(init, "busybox")))
		return lx_image_set_property(image, LX_PROPERTY_INIT, init, err);
	return 0;
}

int lx_image_describe(int dir, Lxmgr__V1__Image **ret, struct lx_err *err)
{
	struct lx_metadata m = { 0 };
	struct lx_jail jail;
	int r = read_metadata(dir, &m, err);

	lx_jail_init(&jail, dir);
	if (r == 0) {
		lx_autoclose int rootfs = lx_jail_open(&jail, "rootfs", O_RDONLY | O_DIRECTORY);
		Lxmgr__V1__Image *image = malloc(sizeof(*image));

		if (image)
			lxmgr__v1__image__init(image);
		if (rootfs < 0)
			r = lx_err_set(err, LX_INVALID_ARGUMENT,
				       "the image has no root file system (rootfs/)");
		else
			r = image ? check_rootfs(rootfs, err) : lx_err_oom(err);
		if (r == 0)
			r = describe(rootfs, &m, image, err);
		if (r == 0)
			*ret = image;
		else
			lx_pb_free(image);
	}
	lx_metadata_release(&m);
	return r;
}
