/*
 * Labels: what an administrator says of a node ("disk=ssd"), and what an instance asks of the
 * node it is put on ("disk=ssd,gpu"). Pure.
 */
#ifndef LX_PROFILES_LABELS_H
#define LX_PROFILES_LABELS_H

#include <stdbool.h>
#include <stddef.h>

#define LX_LABEL_MAX  63 /* bytes of a key, and of a value */
#define LX_LABELS_MAX 64 /* of one node */

/* Letters, digits and - _ . / (keys only), at the ends a letter or digit. A value may be empty. */
bool lx_label_key_valid(const char *s);
bool lx_label_value_valid(const char *s);

/* One thing asked for: the key alone, or with this value. */
struct lx_label_wish {
	char key[LX_LABEL_MAX + 1];
	char value[LX_LABEL_MAX + 1];
	bool any; /* the key alone: whatever its value */
};

/* Takes the next of a list "KEY=VALUE,KEY,..." from the front of *list. 1, 0 at its end, -EINVAL. */
int lx_label_next(const char **list, struct lx_label_wish *ret);

#endif
