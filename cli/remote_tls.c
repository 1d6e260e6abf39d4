/* In lxmgr-remote: a channel with TLS. */
#include "cli/remote.h"

#include "cli/connection.h"
#include "cli/remotes.h"
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

static int dial(struct cli *cli, const char *address, struct lx_buf *cert, struct lx_buf *key,
		struct lx_buf *ca, struct lx_err *err)
{
	const struct lx_tls_config tls = {
		.cert_pem = lx_buf_str(cert),
		.key_pem = lx_buf_str(key),
		.ca_pem = lx_buf_str(ca),
		.expect_org_unit = "manager",
	};
	const struct lx_channel_options opt = { .tls = &tls, .keepalive = true };
	int r = lx_channel_create(cli->loop, address, &opt, &cli->channel, err);

	if (key->data)
		explicit_bzero(key->data, key->len);
	return r;
}

/* One that this user has enrolled with. */
static int dial_named(struct cli *cli, struct lx_err *err)
{
	cli_autoremote struct cli_remote remote = { 0 };
	int r = cli_remote_load(cli->remote, &remote, err);

	return r < 0 ? r : dial(cli, lx_buf_str(&remote.address), &remote.cert, &remote.key, &remote.ca, err);
}

static int dial_remote(struct cli *cli, struct lx_err *err)
{
	if (!strchr(cli->remote, ':'))
		return dial_named(cli, err);
	lx_autobuf struct lx_buf cert = { 0 }, key = { 0 }, ca = { 0 };
	int r = read_pem(cli, "cert", "LXMGR_CERT", &cert, err);

	if (r == 0)
		r = read_pem(cli, "key", "LXMGR_KEY", &key, err);
	if (r == 0)
		r = read_pem(cli, "ca", "LXMGR_CA", &ca, err);
	return r < 0 ? r : dial(cli, cli->remote, &cert, &key, &ca, err);
}

int cli_remote_begin(struct cli *cli, struct lx_err *err)
{
	if (cli->remote)
		cli->dial_remote = dial_remote;
	return 0;
}
