/* The codings of headers, and addresses: what goes in comes out, whatever it is. */
#include <stdlib.h>
#include <string.h>

#include "rpc/address.h"
#include "rpc/metadata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void check_timeout(const char *text, size_t len)
{
	char again[LX_TIMEOUT_TEXT];
	uint64_t ns, ns2;

	if (lx_timeout_parse(text, len, &ns) < 0)
		return;
	lx_timeout_format(ns, again);
	must(lx_timeout_parse(again, strlen(again), &ns2) == 0);
	/* Rounded up at most, never down. */
	must(ns2 >= ns);
}

static void check_percent(const char *text, size_t len)
{
	lx_autobuf struct lx_buf coded = { 0 };
	char *out = malloc(len + 1), *back;
	size_t i;

	lx_percent_decode(text, len, out, len + 1);
	for (i = 0; out[i]; i++)
		must((unsigned char)out[i] >= 0x20 && out[i] != 0x7f);
	/* Clean text survives the way there and back. */
	must(lx_percent_encode(out, &coded) == 0);
	must(lx_rpc_metadata_check("x", lx_buf_str(&coded), NULL) == 0);
	back = malloc(coded.len + 1);
	lx_percent_decode(lx_buf_str(&coded), coded.len, back, coded.len + 1);
	must(strcmp(out, back) == 0);
	if (len > 4)
		lx_percent_decode(text, len, out, len / 2);
	free(out);
	free(back);
}

static void check_list(const char *text, size_t len)
{
	struct lx_metadata md = { 0 };
	size_t half = len / 2;

	must(lx_rpc_metadata_add(&md, text, half, text + half, len - half) == 0);
	must(md.count == 1);
	must(lx_rpc_metadata_get(&md, md.first->name) == md.first->value);
	(void)lx_rpc_metadata_check(md.first->name, md.first->value, NULL);
	lx_rpc_metadata_release(&md);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct lx_address a;

	memcpy(text, data, size);
	text[size] = '\0';
	check_timeout(text, size);
	check_percent(text, size);
	check_list(text, size);
	if (lx_address_parse(text, &a, NULL) == 0)
		must(a.host[0] && a.service[0]);
	free(text);
	return 0;
}
