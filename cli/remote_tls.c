/* In lxmgr-remote: a channel with TLS. */
#include "cli/remote.h"

#include "cli/connection.h"
#include "lib/fs.h"

#define PEM_MAX (256u << 10)

/* --NAME, else the environment. */
static int read_pem(const struct cli *cli, const char *option, const char *env, struct lx_buf *out,
		    struct lx_err *err)
{
	const char *path = cli_opt(cli, option);

	if (!path)
		path = getenv(env);
	if (lx_str_empty(path)) {
		int r = lx_err_set(err, LX_INVALID_ARGUMENT, "connecting to %s needs --%s", cli->remote,
				   option);
		lx_err_hint(err, "Give --cert, --key and --ca, or set LXMGR_CERT, LXMGR_KEY and LXMGR_CA.");
		return r;
	}
	return lx_read_file(path, PEM_MAX, out, err);
}

static int dial_remote(struct cli *cli, struct lx_err *err)
{
	lx_autobuf struct lx_buf cert = { 0 }, key = { 0 }, ca = { 0 };
	int r = read_pem(cli, "cert", "LXMGR_CERT", &cert, err);

	if (r == 0)
		r = read_pem(cli, "key", "LXMGR_KEY", &key, err);
	if (r == 0)
		r = read_pem(cli, "ca", "LXMGR_CA", &ca, err);
	if (r < 0)
		return r;
	const struct lx_tls_config tls = {
		.cert_pem = lx_buf_str(&cert),
		.key_pem = lx_buf_str(&key),
		.ca_pem = lx_buf_str(&ca),
		.expect_org_unit = "manager",
	};
	const struct lx_channel_options opt = { .tls = &tls, .keepalive = true };
	r = lx_channel_create(cli->loop, cli->remote, &opt, &cli->channel, err);
	if (key.data)
		explicit_bzero(key.data, key.len);
	return r;
}

int cli_remote_begin(struct cli *cli, struct lx_err *err)
{
	cli->dial_remote = dial_remote;
	return 0;
}
