/* The agent's own certificate is what it shows; the other one's must be the node's, as the manager says. */
#include "agent/peer.h"

#include "agent/identity.h"
#include "agent/peers.h"

int lx_peer_dial(struct lx_agent *a, const char *node, const char *address, struct lx_channel **ret,
		 struct lx_err *err)
{
	struct lx_identity id;
	const char *fingerprint;
	int r = lx_peers_expect(a, node, &fingerprint, err);

	if (r == 0)
		r = lx_identity_load(a->state_dir, &id, err);
	if (r < 0)
		return r;
	const struct lx_tls_config tls = { .cert_pem = id.cert_pem,
					   .key_pem = id.key_pem,
					   .ca_pem = id.ca_pem,
					   .expect_org_unit = "agent",
					   .expect_common_name = node,
					   .expect_peer = fingerprint };
	const struct lx_channel_options opt = { .tls = &tls, .keepalive = true };

	r = lx_channel_create(a->loop, address, &opt, ret, err);
	lx_identity_release(&id);
	return r;
}
