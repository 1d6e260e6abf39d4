/*
 * Protobuf messages as plain data: setting strings, copying, and moving between
 * map<string, string> fields and struct lx_map.
 *
 * Messages used with these functions are owned as protobuf-c owns them: every pointer
 * from malloc, released by protobuf_c_message_free_unpacked(msg, NULL).
 */
#ifndef LX_PROTO_PB_H
#define LX_PROTO_PB_H

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "lib/map.h"
#include "lxmgr/v1/agent.pb-c.h"
#include "lxmgr/v1/instance.pb-c.h"

/* Replaces a string field; NULL counts as "". 0 or -ENOMEM (the old value stays). */
int lx_pb_set(char **field, const char *value);

/* Appends to / replaces a repeated string. 0 or -ENOMEM. */
int lx_pb_strv_add(size_t *n, char ***v, const char *value);
int lx_pb_strv_copy(size_t *n, char ***v, size_t n_src, char *const *src);
void lx_pb_strv_free(size_t *n, char ***v);

/* malloc'ed deep copy; NULL when out of memory. */
ProtobufCMessage *lx_pb_dup(const ProtobufCMessage *msg);
void lx_pb_free(void *msg); /* any message, NULL is fine */
#define LX_PB_DUP(type, msg) ((type *)(void *)lx_pb_dup(&(msg)->base))

/* Packs into malloc'ed memory; NULL when out of memory. */
uint8_t *lx_pb_pack(const ProtobufCMessage *msg, size_t *len);

/* InstanceReport.spec_digest. 0 when out of memory. */
uint64_t lx_pb_spec_digest(const Lxmgr__V1__InstanceSpec *spec);

/* What protoc-c makes of every map<string, string>. */
struct lx_pb_entry {
	ProtobufCMessage base;
	char *key;
	char *value;
};

/*
 * A map<string, string> field is named by its address pair: n_config, config. `desc` is the
 * entry type's descriptor (lxmgr__v1__instance__config_entry__descriptor).
 * `entries` is the field itself, a pointer to an array of entry pointers, as void *.
 */
const char *lx_pb_map_get(size_t n, const void *entries, const char *key);
/* 0 or -ENOMEM. */
int lx_pb_map_set(const ProtobufCMessageDescriptor *desc, size_t *n, void *entries_field, const char *key,
		  const char *value);
void lx_pb_map_del(size_t *n, void *entries_field, const char *key);
void lx_pb_map_clear(size_t *n, void *entries_field);
/* Adds all entries to a map whose values are malloc'ed strings (free_value = free). */
int lx_pb_map_to(size_t n, const void *entries, struct lx_map *out);
/* Replaces the field with the map's content (values char *). */
int lx_pb_map_from(const ProtobufCMessageDescriptor *desc, size_t *n, void *entries_field,
		   const struct lx_map *in);

/* Devices: map<string, Device> against a map of name -> struct lx_map * (owned). */
struct lx_pb_device_entry {
	ProtobufCMessage base;
	char *key;
	Lxmgr__V1__Device *value;
};
int lx_pb_devices_to(size_t n, const void *entries, struct lx_map *out);
int lx_pb_devices_from(const ProtobufCMessageDescriptor *desc, size_t *n, void *entries_field,
		       const struct lx_map *in);
/* For maps of devices: destroys one struct lx_map * value. */
void lx_pb_options_free(void *options);

#endif
