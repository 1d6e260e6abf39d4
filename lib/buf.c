/*
 * The growable buffer. Capacity doubles, so appending n bytes one by one costs O(n);
 * it fails only when memory does, and then the buffer is what it was before.
 */
#include "lib/buf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_MIN 64

void lx_buf_release(struct lx_buf *b)
{
	if (!b)
		return;
	free(b->data);
	*b = (struct lx_buf){ 0 };
}

int lx_buf_reserve(struct lx_buf *b, size_t more)
{
	/* One byte on top for the NUL; no object is larger than PTRDIFF_MAX. */
	if (more >= PTRDIFF_MAX - b->len)
		return -ENOMEM;
	size_t need = b->len + more + 1;

	if (need <= b->cap)
		return 0;
	size_t cap = b->cap * 2;

	if (cap < BUF_MIN)
		cap = BUF_MIN;
	if (cap < need)
		cap = need;
	uint8_t *data = realloc(b->data, cap);

	if (!data)
		return -ENOMEM;
	b->data = data;
	b->cap = cap;
	b->data[b->len] = '\0';
	return 0;
}

int lx_buf_append(struct lx_buf *b, const void *data, size_t len)
{
	int r = lx_buf_reserve(b, len);

	if (r < 0)
		return r;
	if (len > 0)
		memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
	return 0;
}

int lx_buf_puts(struct lx_buf *b, const char *s)
{
	return lx_buf_append(b, s, strlen(s));
}

int lx_buf_printf(struct lx_buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int r = lx_buf_vprintf(b, fmt, ap);

	va_end(ap);
	return r;
}

int lx_buf_vprintf(struct lx_buf *b, const char *fmt, va_list ap)
{
	va_list again;

	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, again);

	va_end(again);
	/* Short of an unusable format, printing to nowhere fails only beyond INT_MAX bytes. */
	if (n < 0)
		return -ENOMEM;
	int r = lx_buf_reserve(b, (size_t)n);

	if (r < 0)
		return r;
	vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, ap);
	b->len += (size_t)n;
	return 0;
}

void lx_buf_consume(struct lx_buf *b, size_t len)
{
	if (len > b->len)
		len = b->len;
	if (len == 0)
		return;
	b->len -= len;
	memmove(b->data, b->data + len, b->len);
	b->data[b->len] = '\0';
}

const char *lx_buf_str(const struct lx_buf *b)
{
	return b->data ? (const char *)b->data : "";
}

char *lx_buf_steal(struct lx_buf *b)
{
	/* An empty buffer still hands out "", so that NULL means out of memory alone. */
	if (lx_buf_reserve(b, 0) < 0)
		return NULL;
	char *data = (char *)b->data;

	*b = (struct lx_buf){ 0 };
	return data;
}
