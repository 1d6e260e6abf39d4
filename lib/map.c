/*
 * The string map on uthash, which keeps insertion order in a list of its own. An entry
 * and its key are one allocation. Running out of memory is reported, not fatal: uthash
 * is told to leave the entry out, and we notice.
 */
#include "lib/map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "lib/str.h"

struct lx_map_entry {
	UT_hash_handle hh;
	void *value;
	char key[];
};

void lx_map_init(struct lx_map *m, void (*free_value)(void *value))
{
	*m = (struct lx_map){ .free_value = free_value };
}

/* Unlinks the entry and hands out its value. */
static void *detach(struct lx_map *m, struct lx_map_entry *e)
{
	void *value = e->value;

	HASH_DELETE(hh, m->head, e);
	free(e);
	return value;
}

static void destroy(const struct lx_map *m, void *value)
{
	if (m->free_value && value)
		m->free_value(value);
}

void lx_map_release(struct lx_map *m)
{
	if (!m)
		return;
	while (m->head)
		destroy(m, detach(m, m->head));
}

size_t lx_map_count(const struct lx_map *m)
{
	return HASH_COUNT(m->head);
}

static struct lx_map_entry *find(const struct lx_map *m, const char *key)
{
	struct lx_map_entry *e;

	HASH_FIND_STR(m->head, key, e);
	return e;
}

void *lx_map_get(const struct lx_map *m, const char *key)
{
	struct lx_map_entry *e = find(m, key);

	return e ? e->value : NULL;
}

bool lx_map_has(const struct lx_map *m, const char *key)
{
	return find(m, key) != NULL;
}

int lx_map_set(struct lx_map *m, const char *key, void *value)
{
	struct lx_map_entry *e = find(m, key);

	if (e) {
		void *old = e->value;

		e->value = value;
		if (old != value)
			destroy(m, old);
		return 0;
	}

	size_t len = strlen(key);

	e = malloc(sizeof(*e) + len + 1);
	if (!e)
		return -ENOMEM;
	e->value = value;
	memcpy(e->key, key, len + 1);
	HASH_ADD_KEYPTR(hh, m->head, e->key, len, e);
	/* With HASH_NONFATAL_OOM an entry that found no room has no table. */
	if (!e->hh.tbl) {
		free(e);
		return -ENOMEM;
	}
	return 0;
}

bool lx_map_del(struct lx_map *m, const char *key)
{
	struct lx_map_entry *e = find(m, key);

	if (!e)
		return false;
	destroy(m, detach(m, e));
	return true;
}

void *lx_map_take(struct lx_map *m, const char *key)
{
	struct lx_map_entry *e = find(m, key);

	return e ? detach(m, e) : NULL;
}

struct lx_map_entry *lx_map_first(const struct lx_map *m)
{
	return m->head;
}

struct lx_map_entry *lx_map_next(const struct lx_map_entry *e)
{
	return e->hh.next;
}

const char *lx_map_key(const struct lx_map_entry *e)
{
	return e->key;
}

void *lx_map_value(const struct lx_map_entry *e)
{
	return e->value;
}

bool lx_map_same_strings(const struct lx_map *a, const struct lx_map *b)
{
	if (lx_map_count(a) != lx_map_count(b))
		return false;
	for (struct lx_map_entry *e = lx_map_first(a); e; e = lx_map_next(e))
		if (!lx_map_has(b, lx_map_key(e)) || !lx_streq(lx_map_value(e), lx_map_get(b, lx_map_key(e))))
			return false;
	return true;
}
