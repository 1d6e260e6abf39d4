#include "proto/pb.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool is_default(const char *s)
{
	return !s || s == (const char *)protobuf_c_empty_string;
}

int lx_pb_set(char **field, const char *value)
{
	char *copy = (char *)protobuf_c_empty_string;
	if (value && *value) {
		copy = strdup(value);
		if (!copy)
			return -ENOMEM;
	}
	if (!is_default(*field))
		free(*field);
	*field = copy;
	return 0;
}

int lx_pb_strv_add(size_t *n, char ***v, const char *value)
{
	char **grown = realloc(*v, (*n + 1) * sizeof(char *));
	if (!grown)
		return -ENOMEM;
	*v = grown;
	grown[*n] = strdup(value);
	if (!grown[*n])
		return -ENOMEM;
	(*n)++;
	return 0;
}

int lx_pb_strv_copy(size_t *n, char ***v, size_t n_src, char *const *src)
{
	size_t n_new = 0;
	char **new = NULL;

	for (size_t i = 0; i < n_src; i++) {
		if (lx_pb_strv_add(&n_new, &new, src[i]) < 0) {
			lx_pb_strv_free(&n_new, &new);
			return -ENOMEM;
		}
	}
	lx_pb_strv_free(n, v);
	*n = n_new;
	*v = new;
	return 0;
}

void lx_pb_strv_free(size_t *n, char ***v)
{
	for (size_t i = 0; i < *n; i++)
		free((*v)[i]);
	free(*v);
	*v = NULL;
	*n = 0;
}

uint8_t *lx_pb_pack(const ProtobufCMessage *msg, size_t *len)
{
	size_t size = protobuf_c_message_get_packed_size(msg);
	uint8_t *out = malloc(size + 1);
	if (!out)
		return NULL;
	*len = protobuf_c_message_pack(msg, out);
	return out;
}

uint64_t lx_pb_spec_digest(const Lxmgr__V1__InstanceSpec *spec)
{
	/* Shares everything with the original but the one field. */
	Lxmgr__V1__InstanceSpec s = *spec;
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	size_t len;

	s.started = false;
	uint8_t *bytes = lx_pb_pack(&s.base, &len);
	if (!bytes)
		return 0;
	for (size_t i = 0; i < len; i++)
		h = (h ^ bytes[i]) * UINT64_C(0x100000001b3);
	free(bytes);
	return h ? h : 1;
}

ProtobufCMessage *lx_pb_dup(const ProtobufCMessage *msg)
{
	size_t len;
	uint8_t *bytes = lx_pb_pack(msg, &len);
	if (!bytes)
		return NULL;
	ProtobufCMessage *copy = protobuf_c_message_unpack(msg->descriptor, NULL, len, bytes);
	free(bytes);
	return copy;
}

void lx_pb_free(void *msg)
{
	if (msg)
		protobuf_c_message_free_unpacked(msg, NULL);
}

/* ------------------------------------------------------------------ map<string, string> */

static struct lx_pb_entry **field_get(void *entries_field)
{
	struct lx_pb_entry **v;
	memcpy(&v, entries_field, sizeof(v));
	return v;
}

static void field_set(void *entries_field, void *v)
{
	memcpy(entries_field, &v, sizeof(v));
}

static ProtobufCMessage *entry_new(const ProtobufCMessageDescriptor *desc)
{
	ProtobufCMessage *e = malloc(desc->sizeof_message);
	if (e)
		protobuf_c_message_init(desc, e);
	return e;
}

/* Appends an entry of the given type with its key set; the caller sets the value. */
static ProtobufCMessage *entry_append(const ProtobufCMessageDescriptor *desc, size_t *n, void *entries_field,
				      const char *key)
{
	void *grown = realloc(field_get(entries_field), (*n + 1) * sizeof(void *));
	if (!grown)
		return NULL;
	field_set(entries_field, grown);
	ProtobufCMessage *e = entry_new(desc);
	if (!e)
		return NULL;
	if (lx_pb_set(&((struct lx_pb_entry *)(void *)e)->key, key) < 0) {
		lx_pb_free(e);
		return NULL;
	}
	((ProtobufCMessage **)grown)[(*n)++] = e;
	return e;
}

const char *lx_pb_map_get(size_t n, const void *entries, const char *key)
{
	struct lx_pb_entry *const *v = entries;
	for (size_t i = 0; i < n; i++)
		if (v[i]->key && strcmp(v[i]->key, key) == 0)
			return v[i]->value ? v[i]->value : "";
	return NULL;
}

int lx_pb_map_set(const ProtobufCMessageDescriptor *desc, size_t *n, void *entries_field, const char *key,
		  const char *value)
{
	struct lx_pb_entry **v = field_get(entries_field);
	for (size_t i = 0; i < *n; i++)
		if (v[i]->key && strcmp(v[i]->key, key) == 0)
			return lx_pb_set(&v[i]->value, value);
	ProtobufCMessage *e = entry_append(desc, n, entries_field, key);
	return e ? lx_pb_set(&((struct lx_pb_entry *)(void *)e)->value, value) : -ENOMEM;
}

void lx_pb_map_del(size_t *n, void *entries_field, const char *key)
{
	struct lx_pb_entry **v = field_get(entries_field);
	for (size_t i = 0; i < *n; i++) {
		if (strcmp(v[i]->key, key) != 0)
			continue;
		lx_pb_free(v[i]);
		memmove(&v[i], &v[i + 1], (*n - i - 1) * sizeof(*v));
		(*n)--;
		return;
	}
}

void lx_pb_map_clear(size_t *n, void *entries_field)
{
	struct lx_pb_entry **v = field_get(entries_field);
	for (size_t i = 0; i < *n; i++)
		lx_pb_free(v[i]);
	free(v);
	field_set(entries_field, NULL);
	*n = 0;
}

int lx_pb_map_to(size_t n, const void *entries, struct lx_map *out)
{
	struct lx_pb_entry *const *v = entries;
	for (size_t i = 0; i < n; i++) {
		char *copy = strdup(v[i]->value ? v[i]->value : "");
		if (!copy || lx_map_set(out, v[i]->key ? v[i]->key : "", copy) < 0) {
			free(copy);
			return -ENOMEM;
		}
	}
	return 0;
}

int lx_pb_map_from(const ProtobufCMessageDescriptor *desc, size_t *n, void *entries_field,
		   const struct lx_map *in)
{
	lx_pb_map_clear(n, entries_field);
	for (struct lx_map_entry *e = lx_map_first(in); e; e = lx_map_next(e))
		if (lx_pb_map_set(desc, n, entries_field, lx_map_key(e), lx_map_value(e)) < 0)
			return -ENOMEM;
	return 0;
}

/* ------------------------------------------------------------------ map<string, Device> */

void lx_pb_options_free(void *options)
{
	if (!options)
		return;
	lx_map_release(options);
	free(options);
}

int lx_pb_devices_to(size_t n, const void *entries, struct lx_map *out)
{
	struct lx_pb_device_entry *const *v = entries;
	for (size_t i = 0; i < n; i++) {
		struct lx_map *options = calloc(1, sizeof(*options));
		if (!options)
			return -ENOMEM;
		lx_map_init(options, free);
		const Lxmgr__V1__Device *d = v[i]->value;
		if ((d && lx_pb_map_to(d->n_options, d->options, options) < 0) ||
		    lx_map_set(out, v[i]->key ? v[i]->key : "", options) < 0) {
			lx_pb_options_free(options);
			return -ENOMEM;
		}
	}
	return 0;
}

int lx_pb_devices_from(const ProtobufCMessageDescriptor *desc, size_t *n, void *entries_field,
		       const struct lx_map *in)
{
	lx_pb_map_clear(n, entries_field);
	for (struct lx_map_entry *e = lx_map_first(in); e; e = lx_map_next(e)) {
		ProtobufCMessage *entry = entry_append(desc, n, entries_field, lx_map_key(e));
		if (!entry)
			return -ENOMEM;
		Lxmgr__V1__Device *d = (Lxmgr__V1__Device *)(void *)entry_new(&lxmgr__v1__device__descriptor);
		if (!d)
			return -ENOMEM;
		((struct lx_pb_device_entry *)(void *)entry)->value = d;
		if (lx_pb_map_from(&lxmgr__v1__device__options_entry__descriptor, &d->n_options, &d->options,
				   lx_map_value(e)) < 0)
			return -ENOMEM;
	}
	return 0;
}
