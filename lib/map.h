/*
 * A hash map from strings to pointers. Keys are copied; values are borrowed
 * unless a destructor is given. Iteration order is insertion order. Deleting
 * the current entry while iterating is allowed. {0} is a valid empty map.
 */
#ifndef LX_LIB_MAP_H
#define LX_LIB_MAP_H

#include <stdbool.h>
#include <stddef.h>

struct lx_map_entry;

struct lx_map {
	struct lx_map_entry *head;       /* private */
	void (*free_value)(void *value); /* may be NULL */
};

void lx_map_init(struct lx_map *m, void (*free_value)(void *value));
void lx_map_release(struct lx_map *m);
size_t lx_map_count(const struct lx_map *m);
void *lx_map_get(const struct lx_map *m, const char *key);
bool lx_map_has(const struct lx_map *m, const char *key);
/* Of maps whose values are strings: the same keys with the same ones, in any order. */
bool lx_map_same_strings(const struct lx_map *a, const struct lx_map *b);
/* Sets or replaces (destroying the old value). 0 or -ENOMEM (nothing changed). */
int lx_map_set(struct lx_map *m, const char *key, void *value);
/* Removes and destroys the value; false when it was not there. */
bool lx_map_del(struct lx_map *m, const char *key);
/* Removes and hands out the value without destroying it; NULL when absent. */
void *lx_map_take(struct lx_map *m, const char *key);

/* for (struct lx_map_entry *e = lx_map_first(m); e; e = lx_map_next(e)) ... fetch next before a delete */
struct lx_map_entry *lx_map_first(const struct lx_map *m);
struct lx_map_entry *lx_map_next(const struct lx_map_entry *e);
const char *lx_map_key(const struct lx_map_entry *e);
void *lx_map_value(const struct lx_map_entry *e);

#endif
