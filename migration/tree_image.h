/* The names in an image of files that have several. */
#ifndef LX_MIGRATION_TREE_IMAGE_H
#define LX_MIGRATION_TREE_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

struct lx_tree_image_name {
	uint64_t ino;
	char *path; /* below the image */
};

/* Ascending by inode, then by path. {0} is empty. */
struct lx_tree_image {
	struct lx_tree_image_name *v;
	size_t n, cap;
};

void lx_tree_image_release(struct lx_tree_image *image);
/* Walks all of the image that `dir` is the top of. */
int lx_tree_image_read(int dir, struct lx_tree_image *image, struct lx_err *err);
/* Those of one inode. Borrowed. */
const struct lx_tree_image_name *lx_tree_image_names(const struct lx_tree_image *image, uint64_t ino,
						     size_t *n);

#endif
