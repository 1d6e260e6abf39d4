/*
 * Channels to anywhere. Apart from channel.c, so that a program which only ever talks to a unix
 * socket is not linked with OpenSSL: loading that takes longer than such a program runs.
 */
#include "rpc/channel.h"
#include "rpc/tls.h"

int lx_channel_create(uv_loop_t *loop, const char *target, const struct lx_channel_options *opt,
		      struct lx_channel **ret, struct lx_err *err)
{
	struct lx_channel *ch;
	struct lx_tls *tls = NULL;
	int r;

	if (!opt || !opt->tls)
		return lx_channel_create_unix(loop, target, opt, ret, err);
	r = lx_dial_check(target, true, err);
	if (r == 0)
		r = lx_tls_create(opt->tls, false, &tls, err);
	if (r < 0)
		return r;
	r = lx_channel_new(loop, target, target, opt, &ch, err);
	if (r < 0) {
		lx_tls_free(tls);
		return r;
	}
	ch->transport = &lx_transport_tls;
	ch->tls = tls;
	ch->free_tls = lx_tls_free;
	*ret = ch;
	return 0;
}
