/* The pieces of a sparse file. */
#include "migration/tar/entry.h"

#include <errno.h>
#include <stdlib.h>

int lx_tarball_add_piece(struct lx_tarball_entry *e, uint64_t at, uint64_t len)
{
	if (e->n_pieces == e->cap_pieces) {
		size_t cap = e->cap_pieces ? e->cap_pieces * 2 : 16;
		void *grown = realloc(e->pieces, cap * sizeof(*e->pieces));

		if (!grown)
			return -ENOMEM;
		e->pieces = grown;
		e->cap_pieces = cap;
	}
	e->pieces[e->n_pieces++] = (struct lx_tarball_piece){ .at = at, .len = len };
	return 0;
}
