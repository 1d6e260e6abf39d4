/* Exporting: load what is known of the image, open its directory, pack it (see pack.c). */
#include "images/export.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "images/pack.h"
#include "images/store.h"
#include "lib/cleanup.h"
#include "proto/pb.h"

int lx_image_export(const char *state_dir, const char *fingerprint, const char *compression, int fd,
		    const struct lx_progress *progress, struct lx_err *err)
{
	enum lx_compression how;
	Lxmgr__V1__Image *image = NULL;
	int r = lx_compression_parse(compression, &how, err);

	if (r == 0)
		r = lx_image_load(state_dir, fingerprint, &image, err);
	if (r != 0)
		return r;
	uint64_t total = image->unpacked_bytes;

	lx_pb_free(image);
	lx_autofree char *path = lx_image_path(state_dir, fingerprint);

	if (!path)
		return lx_err_oom(err);
	lx_autoclose int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (dir < 0)
		return lx_err_errno(err, errno, "cannot open %s", path);
	return lx_pack(dir, how, fd, total, progress, err);
}
