/*
 * Text in messages from outside is UTF-8 without NULs: what is not would be stored here and
 * break other people's clients later, whose protobuf refuses it, and a NUL would let a text
 * mean one thing here (where it ends there) and another elsewhere. Pure.
 */
#ifndef LX_RPC_TEXT_H
#define LX_RPC_TEXT_H

#include "rpc/rpc.h"

bool lx_text_is_utf8(struct lx_bytes text);

/*
 * Every string field of a message and of those within, looked at on the wire: once decoded a
 * text has lost what follows a NUL. `bytes` must be what the decoder accepts. -EINVAL names
 * the first bad field.
 */
int lx_text_check(const ProtobufCMessageDescriptor *type, struct lx_bytes bytes, struct lx_err *err);

#endif
