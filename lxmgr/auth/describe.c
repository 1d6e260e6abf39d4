/*
 * A request in one line, for the audit log: every field that is set, by the names of the .proto,
 * from the descriptors alone, so that new messages need nothing here.
 *
 * Left out is what may be a secret: fields that bear such a name, environment variables, and
 * bytes of any kind (a file's content, what is typed into a session). Text is cut, and bytes
 * that are not printable become '?'.
 */
#include "lxmgr/auth/audit.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/buf.h"
#include "lib/cleanup.h"
#include "lib/str.h"
#include "proto/pb.h"

#define VALUE_MAX 96 /* bytes shown of one text */
#define DEPTH_MAX 4

static const char hidden[] = "***";

static bool is_secret_field(const char *name)
{
	static const char *const names[] = { "secret",          "token",    "csr_pem",
					     "certificate_pem", "password", "environment" };

	for (size_t i = 0; i < LX_ARRAY_SIZE(names); i++)
		if (lx_streq(names[i], name))
			return true;
	return false;
}

/* Of map entries: configuration keys. */
static bool is_secret_key(const char *key)
{
	return lx_starts_with(key, "environment.") || lx_starts_with(key, "user.") ||
	       strstr(key, "password") || strstr(key, "secret") || strstr(key, "token");
}

/* How much of a text of n bytes fits into `max`, in whole characters. */
static size_t whole(const char *text, size_t n, size_t max)
{
	size_t end = 0;

	if (n <= max)
		return n;
	for (size_t i = 0; i <= max; i++)
		if (((unsigned char)text[i] & 0xc0) != 0x80)
			end = i; /* one begins here: all before it are whole */
	return end;
}

static void put_text(struct lx_buf *out, const char *text)
{
	size_t n = strlen(text), shown = whole(text, n, VALUE_MAX);

	for (size_t i = 0; i < shown; i++) {
		char c = text[i];

		(void)lx_buf_append(out, (unsigned char)c < 0x20 || c == 0x7f ? "?" : &c, 1);
	}
	if (shown < n)
		(void)lx_buf_append(out, "...", 3);
}

static void put_message(struct lx_buf *out, const ProtobufCMessage *msg, unsigned depth);

static bool is_map_entry(const ProtobufCMessageDescriptor *d)
{
	return d->n_fields == 2 && lx_streq(d->fields[0].name, "key") && lx_streq(d->fields[1].name, "value");
}

static void put_enum(struct lx_buf *out, const ProtobufCFieldDescriptor *f, int value)
{
	const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(f->descriptor, value);

	if (v)
		put_text(out, v->name);
	else
		(void)lx_buf_printf(out, "%d", value);
}

/* One value of a field, at `at`. */
static void put_value(struct lx_buf *out, const ProtobufCFieldDescriptor *f, const void *at, unsigned depth)
{
	if (is_secret_field(f->name)) {
		put_text(out, hidden);
		return;
	}
	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING:
		put_text(out, *(char *const *)at);
		break;
	case PROTOBUF_C_TYPE_BYTES:
		(void)lx_buf_printf(out, "(%zu bytes)", ((const ProtobufCBinaryData *)at)->len);
		break;
	case PROTOBUF_C_TYPE_MESSAGE:
		put_message(out, *(ProtobufCMessage *const *)at, depth + 1);
		break;
	case PROTOBUF_C_TYPE_ENUM:
		put_enum(out, f, *(const int *)at);
		break;
	case PROTOBUF_C_TYPE_BOOL:
		put_text(out, *(const protobuf_c_boolean *)at ? "true" : "false");
		break;
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_SINT32:
	case PROTOBUF_C_TYPE_SFIXED32:
		(void)lx_buf_printf(out, "%" PRId32, *(const int32_t *)at);
		break;
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_FIXED32:
		(void)lx_buf_printf(out, "%" PRIu32, *(const uint32_t *)at);
		break;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
		(void)lx_buf_printf(out, "%" PRId64, *(const int64_t *)at);
		break;
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
		(void)lx_buf_printf(out, "%" PRIu64, *(const uint64_t *)at);
		break;
	case PROTOBUF_C_TYPE_FLOAT:
		(void)lx_buf_printf(out, "%g", (double)*(const float *)at);
		break;
	case PROTOBUF_C_TYPE_DOUBLE:
		(void)lx_buf_printf(out, "%g", *(const double *)at);
		break;
	}
}

static size_t element_size(const ProtobufCFieldDescriptor *f)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return 8;
	default:
		return 4; /* numbers, enums and booleans: protobuf_c_boolean is an int */
	}
}

/* Is it there, and another value than none? */
static bool is_set(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *f, const void *at)
{
	const char *member = (const char *)msg;

	if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		return *(const uint32_t *)(const void *)(member + f->quantifier_offset) == f->id;
	switch (f->type) {
	case PROTOBUF_C_TYPE_STRING:
		return *(char *const *)at && **(char *const *)at;
	case PROTOBUF_C_TYPE_MESSAGE:
		return *(ProtobufCMessage *const *)at != NULL;
	case PROTOBUF_C_TYPE_BYTES:
		return ((const ProtobufCBinaryData *)at)->len > 0;
	default: {
		static const char zero[8];
		return memcmp(at, zero, element_size(f)) != 0;
	}
	}
}

static void put_repeated(struct lx_buf *out, const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *f,
			 unsigned depth)
{
	const char *member = (const char *)msg;
	size_t n = *(const size_t *)(const void *)(member + f->quantifier_offset);
	const char *elements = *(char *const *)(const void *)(member + f->offset);
	bool map = f->type == PROTOBUF_C_TYPE_MESSAGE && is_map_entry(f->descriptor);

	(void)lx_buf_append(out, map ? "{" : "[", 1);
	for (size_t i = 0; i < n && out->len < LX_AUDIT_REQUEST_MAX; i++) {
		if (i)
			(void)lx_buf_append(out, " ", 1);
		put_value(out, f, elements + i * element_size(f), depth);
	}
	(void)lx_buf_append(out, map ? "}" : "]", 1);
}

/* KEY=VALUE of a map<string, ...>. */
static void put_entry(struct lx_buf *out, const ProtobufCMessage *entry, unsigned depth)
{
	const ProtobufCFieldDescriptor *value = &entry->descriptor->fields[1];
	const char *key = ((const struct lx_pb_entry *)(const void *)entry)->key;

	put_text(out, key);
	(void)lx_buf_append(out, "=", 1);
	if (is_secret_key(key))
		put_text(out, hidden);
	else
		put_value(out, value, (const char *)entry + value->offset, depth);
}

static void put_message(struct lx_buf *out, const ProtobufCMessage *msg, unsigned depth)
{
	const ProtobufCMessageDescriptor *d = msg ? msg->descriptor : NULL;
	bool first = true;

	if (!d || depth > DEPTH_MAX)
		return;
	if (depth && is_map_entry(d)) {
		put_entry(out, msg, depth);
		return;
	}
	if (depth)
		(void)lx_buf_append(out, "{", 1);
	for (unsigned i = 0; i < d->n_fields && out->len < LX_AUDIT_REQUEST_MAX; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		const void *at = (const char *)msg + f->offset;
		bool many = f->label == PROTOBUF_C_LABEL_REPEATED;

		if (many ? *(const size_t *)(const void *)((const char *)msg + f->quantifier_offset) == 0
			 : !is_set(msg, f, at))
			continue;
		(void)lx_buf_printf(out, "%s%s=", first ? "" : " ", f->name);
		first = false;
		if (many && !is_secret_field(f->name))
			put_repeated(out, msg, f, depth);
		else if (many)
			put_text(out, hidden);
		else
			put_value(out, f, at, depth);
	}
	if (depth)
		(void)lx_buf_append(out, "}", 1);
}

char *lx_audit_describe(const ProtobufCMessage *msg)
{
	lx_autobuf struct lx_buf out = { 0 };

	put_message(&out, msg, 0);
	if (out.len > LX_AUDIT_REQUEST_MAX) {
		out.len = whole(lx_buf_str(&out), out.len, LX_AUDIT_REQUEST_MAX - 3);
		(void)lx_buf_append(&out, "...", 3);
	}
	return strdup(lx_buf_str(&out));
}

const char *lx_audit_subject(const ProtobufCMessage *msg)
{
	static const char *const names[] = { "name", "instance", "image", "template", "id" };

	for (size_t i = 0; msg && i < LX_ARRAY_SIZE(names); i++) {
		const ProtobufCFieldDescriptor *f =
			protobuf_c_message_descriptor_get_field_by_name(msg->descriptor, names[i]);
		const void *at = f ? (const char *)msg + f->offset : NULL;

		if (f && f->type == PROTOBUF_C_TYPE_STRING && f->label != PROTOBUF_C_LABEL_REPEATED &&
		    is_set(msg, f, at))
			return *(char *const *)at;
	}
	return "";
}
