/*
 * Nodes lie in chunks, so that they never move; a hash table with chains finds them by parent
 * and name. Its seed is random: names are a guest's choice.
 */
#include "migration/tree_map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define TABLE_MIN 1024u

static uint32_t slot_of(const struct lx_tree_map *m, uint32_t parent, const char *name, size_t len)
{
	return (uint32_t)lx_tree_hash64(name, len, m->seed + parent) & (m->table_size - 1);
}

static int grow_table(struct lx_tree_map *m)
{
	uint32_t size = m->table_size ? m->table_size * 2 : TABLE_MIN;
	uint32_t *table = malloc(size * sizeof(*table));

	if (!table)
		return -ENOMEM;
	free(m->table);
	m->table = table;
	m->table_size = size;
	for (uint32_t i = 0; i < size; i++)
		table[i] = LX_TREE_NONE;
	for (uint32_t id = 1; id < m->n; id++) {
		struct lx_tree_node *node = lx_tree_map_node(m, id);

		if (node->flags & LX_TREE_FREE)
			continue;
		const char *name = lx_tree_map_name(m, id);
		uint32_t slot = slot_of(m, node->parent, name, strlen(name));

		node->chain = table[slot];
		table[slot] = id;
	}
	return 0;
}

static int new_node(struct lx_tree_map *m, uint32_t *ret)
{
	uint32_t chunk = m->n / LX_TREE_CHUNK_NODES;

	if (m->n % LX_TREE_CHUNK_NODES == 0) {
		struct lx_tree_node **grown = realloc(m->chunks, (chunk + 1) * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		m->chunks = grown;
		grown[chunk] = malloc(LX_TREE_CHUNK_NODES * sizeof(**grown));
		if (!grown[chunk])
			return -ENOMEM;
	}
	*ret = m->n++;
	*lx_tree_map_node(m, *ret) = (struct lx_tree_node){ .parent = LX_TREE_NONE,
							    .child = LX_TREE_NONE,
							    .next = LX_TREE_NONE,
							    .prev = LX_TREE_NONE,
							    .chain = LX_TREE_NONE };
	m->live++;
	return 0;
}

int lx_tree_map_init(struct lx_tree_map *m, struct lx_err *err)
{
	uint32_t root;

	*m = (struct lx_tree_map){ 0 };
	if (getrandom(&m->seed, sizeof(m->seed), 0) != (ssize_t)sizeof(m->seed))
		return lx_err_errno(err, errno, "cannot get random bytes");
	/* The root's name: the empty one at 0. */
	if (new_node(m, &root) < 0 || lx_buf_append(&m->names, "", 1) < 0 || grow_table(m) < 0) {
		lx_tree_map_release(m);
		return lx_err_oom(err);
	}
	return 0;
}

static void drop_blocks(struct lx_tree_node *node)
{
	if (!(node->flags & (LX_TREE_FREE | LX_TREE_LINK | LX_TREE_ONE_BLOCK)))
		free(node->blocks);
	node->blocks = NULL;
	node->n_blocks = 0;
	node->flags &= (uint16_t)~LX_TREE_ONE_BLOCK;
}

void lx_tree_map_release(struct lx_tree_map *m)
{
	for (uint32_t id = 0; id < m->n; id++)
		drop_blocks(lx_tree_map_node(m, id));
	for (uint32_t i = 0; i * LX_TREE_CHUNK_NODES < m->n; i++)
		free(m->chunks[i]);
	free(m->chunks);
	free(m->table);
	lx_buf_release(&m->names);
	*m = (struct lx_tree_map){ 0 };
}

const char *lx_tree_map_name(const struct lx_tree_map *m, uint32_t id)
{
	return (const char *)m->names.data + lx_tree_map_node(m, id)->name;
}

uint32_t lx_tree_map_find(const struct lx_tree_map *m, uint32_t parent, const char *name, size_t len)
{
	uint32_t id = m->table[slot_of(m, parent, name, len)];

	while (id != LX_TREE_NONE) {
		const struct lx_tree_node *node = lx_tree_map_node(m, id);
		const char *its = (const char *)m->names.data + node->name;

		/* strncmp stops at its end; a name holds no NUL. */
		if (node->parent == parent && strncmp(its, name, len) == 0 && its[len] == '\0')
			break;
		id = node->chain;
	}
	return id;
}

uint32_t lx_tree_map_lookup(const struct lx_tree_map *m, const char *path)
{
	uint32_t id = LX_TREE_ROOT;

	while (*path && id != LX_TREE_NONE) {
		size_t len = strcspn(path, "/");

		id = lx_tree_map_find(m, id, path, len);
		path += len + (path[len] == '/');
	}
	return id;
}

int lx_tree_map_add(struct lx_tree_map *m, uint32_t parent, const char *name, size_t len, uint32_t *ret,
		    struct lx_err *err)
{
	size_t at = m->names.len;

	if (m->live >= LX_TREE_ENTRIES_MAX || m->n == LX_TREE_NONE || at + len + 1 > UINT32_MAX)
		return lx_err_set(err, LX_RESOURCE_EXHAUSTED, "more than %u files cannot be moved",
				  LX_TREE_ENTRIES_MAX);
	if (m->n >= m->table_size && grow_table(m) < 0)
		return lx_err_oom(err);
	if (lx_buf_reserve(&m->names, len + 1) < 0 || new_node(m, ret) < 0)
		return lx_err_oom(err);
	(void)lx_buf_append(&m->names, name, len);
	(void)lx_buf_append(&m->names, "", 1);

	struct lx_tree_node *node = lx_tree_map_node(m, *ret), *up = lx_tree_map_node(m, parent);
	uint32_t slot = slot_of(m, parent, name, len);

	node->name = (uint32_t)at;
	node->parent = parent;
	node->next = up->child;
	if (up->child != LX_TREE_NONE)
		lx_tree_map_node(m, up->child)->prev = *ret;
	up->child = *ret;
	node->chain = m->table[slot];
	m->table[slot] = *ret;
	return 0;
}

/* No text of its own: a piece of a longer one. */
static char *put_before(char *at, const void *text, size_t len)
{
	return memcpy(at - len, text, len);
}

int lx_tree_map_path(const struct lx_tree_map *m, uint32_t id, char out[LX_TREE_PATH_MAX])
{
	char *end = out + LX_TREE_PATH_MAX - 1, *at = end;

	*end = '\0';
	for (; id != LX_TREE_ROOT; id = lx_tree_map_node(m, id)->parent) {
		const char *name = lx_tree_map_name(m, id);
		size_t len = strlen(name), slash = at != end;

		if ((size_t)(at - out) < len + slash)
			return -ENAMETOOLONG;
		if (slash)
			*--at = '/';
		at = put_before(at, name, len);
	}
	size_t n = (size_t)(end - at);

	memmove(out, at, n + 1);
	return (int)n;
}

/* ------------------------------------------------------------------ what is known */

static void uncount(struct lx_tree_map *m, struct lx_tree_node *node)
{
	if (!(node->flags & LX_TREE_KNOWN))
		return;
	node->flags &= (uint16_t)~LX_TREE_KNOWN;
	m->sum.lo -= node->hash.lo;
	m->sum.hi -= node->hash.hi;
	m->known--;
}

void lx_tree_map_set_hash(struct lx_tree_map *m, uint32_t id, struct lx_tree_hash hash)
{
	struct lx_tree_node *node = lx_tree_map_node(m, id);

	uncount(m, node);
	node->flags |= LX_TREE_KNOWN;
	node->hash = hash;
	m->sum.lo += hash.lo;
	m->sum.hi += hash.hi;
	m->known++;
}

int lx_tree_map_set_blocks(struct lx_tree_map *m, uint32_t id, struct lx_tree_blocks *b)
{
	struct lx_tree_node *node = lx_tree_map_node(m, id);
	bool one = b->n == 1 && b->v[0].index == 0;
	struct lx_tree_block *v = NULL;

	if (b->n > UINT32_MAX)
		return -EFBIG;
	if (b->n && !one) {
		/* Gives back what growing took too much. */
		v = realloc(b->v, b->n * sizeof(*v));
		if (!v)
			return -ENOMEM;
		b->v = v;
	}
	drop_blocks(node);
	node->flags &= (uint16_t)~LX_TREE_LINK;
	node->n_blocks = (uint32_t)b->n;
	if (one) {
		node->flags |= LX_TREE_ONE_BLOCK;
		node->one_hash = b->v[0].hash;
	} else {
		node->blocks = v;
	}
	if (v)
		b->v = NULL;
	lx_tree_blocks_release(b);
	return 0;
}

void lx_tree_map_set_link(struct lx_tree_map *m, uint32_t id, uint32_t to)
{
	struct lx_tree_node *node = lx_tree_map_node(m, id);

	drop_blocks(node);
	node->flags |= LX_TREE_LINK;
	node->link = to;
}

const struct lx_tree_block *lx_tree_map_blocks(const struct lx_tree_node *node, struct lx_tree_block *one,
					       size_t *n)
{
	*n = node->n_blocks;
	if (!(node->flags & LX_TREE_ONE_BLOCK))
		return node->flags & LX_TREE_LINK ? NULL : node->blocks;
	*one = (struct lx_tree_block){ .index = 0, .hash = node->one_hash };
	return one;
}

void lx_tree_map_digest(const struct lx_tree_map *m, uint8_t out[LX_TREE_DIGEST_LEN])
{
	uint64_t words[] = { m->sum.lo, m->sum.hi, m->known };

	for (size_t i = 0; i < LX_TREE_DIGEST_LEN; i++)
		out[i] = (uint8_t)(words[i / 8] >> (i % 8 * 8));
}

/* ------------------------------------------------------------------ forgetting */

/* One without children. */
static void forget_one(struct lx_tree_map *m, uint32_t id)
{
	struct lx_tree_node *node = lx_tree_map_node(m, id);
	const char *name = lx_tree_map_name(m, id);
	uint32_t *at = &m->table[slot_of(m, node->parent, name, strlen(name))];

	uncount(m, node);
	drop_blocks(node);
	while (*at != id)
		at = &lx_tree_map_node(m, *at)->chain;
	*at = node->chain;
	if (node->prev != LX_TREE_NONE)
		lx_tree_map_node(m, node->prev)->next = node->next;
	else
		lx_tree_map_node(m, node->parent)->child = node->next;
	if (node->next != LX_TREE_NONE)
		lx_tree_map_node(m, node->next)->prev = node->prev;
	node->flags = LX_TREE_FREE;
	m->live--;
}

void lx_tree_map_forget_below(struct lx_tree_map *m, uint32_t top)
{
	uint32_t id = top;

	for (;;) {
		uint32_t child = lx_tree_map_node(m, id)->child;

		if (child != LX_TREE_NONE) {
			id = child;
		} else if (id == top) {
			return;
		} else {
			uint32_t parent = lx_tree_map_node(m, id)->parent;

			forget_one(m, id);
			id = parent;
		}
	}
}

void lx_tree_map_forget(struct lx_tree_map *m, uint32_t id)
{
	lx_tree_map_forget_below(m, id);
	if (id != LX_TREE_ROOT)
		forget_one(m, id);
}
