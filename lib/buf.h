/*
 * A growable byte buffer. {0} is a valid empty buffer; lx_buf_release() frees it
 * and makes it empty again. `data` is always followed by a NUL that `len` does
 * not count, once anything was appended, so text in it is a C string.
 * Functions that grow return 0 or -ENOMEM and leave the buffer as it was on failure.
 */
#ifndef LX_LIB_BUF_H
#define LX_LIB_BUF_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

struct lx_buf {
	uint8_t *data;
	size_t len;
	size_t cap;
};

void lx_buf_release(struct lx_buf *b);
int lx_buf_reserve(struct lx_buf *b, size_t more);
int lx_buf_append(struct lx_buf *b, const void *data, size_t len);
int lx_buf_puts(struct lx_buf *b, const char *s);
int lx_buf_printf(struct lx_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int lx_buf_vprintf(struct lx_buf *b, const char *fmt, va_list ap);
/* Drops `len` bytes from the front (all of them when there are fewer). */
void lx_buf_consume(struct lx_buf *b, size_t len);
/* The text; "" when empty. Borrowed. */
const char *lx_buf_str(const struct lx_buf *b);
/* Hands out the memory (free() it) and leaves an empty buffer; NULL when out of memory. */
char *lx_buf_steal(struct lx_buf *b);

#define lx_autobuf __attribute__((cleanup(lx_buf_release)))

#endif
