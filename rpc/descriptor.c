/* Reading file descriptors; see descriptor.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/descriptor.h"
#include "rpc/wire.h"

/* Numbers of google/protobuf/descriptor.proto. */
enum { SET_FILE = 1, FILE_NAME = 1, FILE_PACKAGE = 2, FILE_DEPENDENCY = 3, DECL_NAME = 1 };

/* What can be declared, and in which field of what. */
enum kind { KIND_FILE, KIND_MESSAGE, KIND_ENUM, KIND_SERVICE, KIND_LEAF };

static const struct {
	enum kind in;
	uint32_t field;
	enum kind kind;
} declarations[] = {
	{ KIND_FILE, 4, KIND_MESSAGE }, { KIND_FILE, 5, KIND_ENUM },    { KIND_FILE, 6, KIND_SERVICE },
	{ KIND_FILE, 7, KIND_LEAF },    { KIND_MESSAGE, 2, KIND_LEAF }, { KIND_MESSAGE, 3, KIND_MESSAGE },
	{ KIND_MESSAGE, 4, KIND_ENUM }, { KIND_MESSAGE, 6, KIND_LEAF }, { KIND_MESSAGE, 8, KIND_LEAF },
	{ KIND_ENUM, 2, KIND_LEAF },    { KIND_SERVICE, 2, KIND_LEAF },
};

/* The first field of that number, empty when absent. */
static struct lx_bytes find_field(struct lx_bytes in, uint32_t number)
{
	struct lx_wire_field f;

	while (lx_wire_next(&in, &f) == 1)
		if (f.number == number)
			return f.content;
	return (struct lx_bytes){ 0 };
}

static bool is_text(struct lx_bytes b, const char *s, size_t len)
{
	return b.len == len && (len == 0 || memcmp(b.data, s, len) == 0);
}

/* ------------------------------------------------------------------ the set */

int lx_descriptor_set_parse(struct lx_descriptor_set *set, struct lx_bytes bytes, struct lx_err *err)
{
	struct lx_bytes in = bytes, *more;
	struct lx_wire_field f;
	int r;

	*set = (struct lx_descriptor_set){ 0 };
	while ((r = lx_wire_next(&in, &f)) == 1) {
		if (f.number != SET_FILE)
			continue;
		more = realloc(set->files, (set->n + 1) * sizeof(*more));
		if (!more) {
			lx_descriptor_set_release(set);
			return lx_err_oom(err);
		}
		set->files = more;
		set->files[set->n++] = f.content;
	}
	if (r == 0 && set->n)
		return 0;
	lx_descriptor_set_release(set);
	return lx_err_set(err, LX_INVALID_ARGUMENT, "%zu bytes are not a FileDescriptorSet", bytes.len);
}

void lx_descriptor_set_release(struct lx_descriptor_set *set)
{
	free(set->files);
	*set = (struct lx_descriptor_set){ 0 };
}

static ssize_t by_name(const struct lx_descriptor_set *set, const char *name, size_t len)
{
	size_t i;

	for (i = 0; i < set->n; i++)
		if (is_text(find_field(set->files[i], FILE_NAME), name, len))
			return (ssize_t)i;
	return -1;
}

ssize_t lx_descriptor_by_name(const struct lx_descriptor_set *set, const char *name)
{
	return by_name(set, name, strlen(name));
}

/* Does `decl` declare `path` ("Message.Inner.field") within itself? */
static bool declares(struct lx_bytes decl, enum kind kind, const char *path)
{
	size_t len = strcspn(path, "."), i;
	struct lx_wire_field f;

	while (lx_wire_next(&decl, &f) == 1) {
		for (i = 0; i < sizeof(declarations) / sizeof(declarations[0]); i++) {
			if (declarations[i].in != kind || declarations[i].field != f.number ||
			    !is_text(find_field(f.content, DECL_NAME), path, len))
				continue;
			/* As deep as the symbol has dots. */
			if (!path[len] || declares(f.content, declarations[i].kind, path + len + 1))
				return true;
		}
	}
	return false;
}

ssize_t lx_descriptor_by_symbol(const struct lx_descriptor_set *set, const char *symbol)
{
	size_t i, len = strlen(symbol);

	for (i = 0; i < set->n; i++) {
		struct lx_bytes package = find_field(set->files[i], FILE_PACKAGE);
		const char *rest = symbol;

		if (package.len) {
			if (len <= package.len || memcmp(symbol, package.data, package.len) != 0 ||
			    symbol[package.len] != '.')
				continue;
			rest += package.len + 1;
		}
		if (declares(set->files[i], KIND_FILE, rest))
			return (ssize_t)i;
	}
	return -1;
}

static bool has(const size_t *list, size_t n, size_t value)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (list[i] == value)
			return true;
	return false;
}

size_t lx_descriptor_closure(const struct lx_descriptor_set *set, size_t file, size_t *out)
{
	size_t n = 1, done;
	struct lx_wire_field f;

	out[0] = file;
	for (done = 0; done < n; done++) {
		struct lx_bytes in = set->files[out[done]];

		while (lx_wire_next(&in, &f) == 1) {
			ssize_t at;

			if (f.number != FILE_DEPENDENCY)
				continue;
			at = by_name(set, (const char *)f.content.data, f.content.len);
			if (at >= 0 && n < LX_DESCRIPTOR_MAX_FILES && !has(out, n, (size_t)at))
				out[n++] = (size_t)at;
		}
	}
	return n;
}
