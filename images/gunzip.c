/*
 * gzip by zlib, one member after the other as pigz and friends write them. Bytes behind the
 * last member that begin no other are passed over, as gzip(1) does.
 */
#include "images/gunzip.h"

#include <stdlib.h>

#include <zlib.h>

#define WINDOW_GZIP (15 + 16)

struct lx_gunzip {
	lx_gunzip_read_fn read;
	void *arg;
	z_stream z;
	bool at_start; /* between members */
	bool any;      /* one member was whole */
	bool ended;
	uint8_t out[LX_GUNZIP_CHUNK];
};

bool lx_gunzip_is(const void *data, size_t len)
{
	const uint8_t *p = data;

	return len >= 2 && p[0] == 0x1f && p[1] == 0x8b;
}

struct lx_gunzip *lx_gunzip_new(lx_gunzip_read_fn read, void *arg)
{
	struct lx_gunzip *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->read = read;
	g->arg = arg;
	g->at_start = true;
	if (inflateInit2(&g->z, WINDOW_GZIP) != Z_OK) {
		free(g);
		return NULL;
	}
	return g;
}

void lx_gunzip_free(struct lx_gunzip *g)
{
	if (!g)
		return;
	inflateEnd(&g->z);
	free(g);
}

/* 1: there is input. 0: none any more. -1: reading failed. */
static int refill(struct lx_gunzip *g)
{
	const void *data = NULL;

	if (g->z.avail_in > 0)
		return 1;
	ptrdiff_t n = g->read(g->arg, &data);

	if (n <= 0)
		return n < 0 ? -1 : 0;
	g->z.next_in = (Bytef *)(uintptr_t)data;
	g->z.avail_in = (uInt)n;
	return 1;
}

/* Reads all that is left and means nothing. */
static ptrdiff_t drain(struct lx_gunzip *g)
{
	int r;

	g->ended = true;
	do {
		g->z.avail_in = 0;
		r = refill(g);
	} while (r > 0);
	return r;
}

ptrdiff_t lx_gunzip_next(struct lx_gunzip *g, const void **data, const char **why)
{
	*why = NULL;
	*data = g->out;
	g->z.next_out = g->out;
	g->z.avail_out = sizeof(g->out);
	while (!g->ended && g->z.avail_out > 0) {
		int r = refill(g);

		if (r < 0)
			return -1;
		if (r == 0 && !g->at_start) {
			*why = "the gzip stream is cut off";
			return -1;
		}
		if (r == 0)
			break;
		/* Magic numbers have two bytes; the second is inflate()'s to look at. */
		if (g->at_start && g->any && *g->z.next_in != 0x1f)
			return drain(g) < 0 ? -1 : (ptrdiff_t)(sizeof(g->out) - g->z.avail_out);
		g->at_start = false;
		r = inflate(&g->z, Z_NO_FLUSH);
		if (r == Z_STREAM_END) {
			g->at_start = g->any = true;
			r = inflateReset(&g->z);
		}
		if (r != Z_OK && r != Z_BUF_ERROR) {
			*why = g->z.msg ? g->z.msg : "the gzip stream is damaged";
			return -1;
		}
	}
	return (ptrdiff_t)(sizeof(g->out) - g->z.avail_out);
}
