"""A machine that was taken out of the cluster keeps its key and its certificate, and tries with them."""

import os
import sys

import pytest

from manager.accesslab import pki_file
from manager.managerlab import Code, grpc, refused

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import testbed  # noqa: E402
from testbed import wait_for  # noqa: E402


@pytest.fixture(scope="module")
def three(able):
    with testbed.Cluster("strangers", nodes=3) as cluster:
        yield cluster


def pem(agent, leaf):
    with open(os.path.join(agent.dir, "pki", leaf), "rb") as f:
        return f.read()


class Impostor:
    """Calls node `to` as the agent `as_` does, from that one's own network, in a process of its own."""

    SCRIPT = """
import sys
sys.path[:0] = sys.argv[1].split(":")
import api, grpc
build, address, name, cert, key, ca = sys.argv[2:]
read = lambda p: open(p, "rb").read()
channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(read(ca), read(key), read(cert)),
                              [("grpc.ssl_target_name_override", name)])
a = api.Api(build, None, channel)
from lxmgr.v1 import agent_pb2_grpc, migration_pb2
stub = agent_pb2_grpc.AgentServiceStub(channel)
try:
    stub.AskOutcome(migration_pb2.MoveOutcomeRequest(), timeout=10)
    print("OK")
except grpc.RpcError as error:
    print(error.code().name, error.details())
"""

    def __init__(self, cluster, agent, number):
        self.cluster, self.number = cluster, number
        self.files = [os.path.join(agent.dir, "pki", leaf) for leaf in ("agent.crt", "agent.key", "ca.crt")]

    def ask(self, to):
        cluster = self.cluster
        paths = os.path.join(testbed.TOP, "tests", "testbed")
        address = f"{cluster.underlay.address(to)}:{cluster.agent_port}"
        done = cluster.ns_exec(self.number, sys.executable, "-c", self.SCRIPT, paths, testbed.BUILD, address,
                               cluster.node_names[to], *self.files)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def test_removed_node_is_nobody(three):
    last = three.agents[2]
    impostor = Impostor(three, last, 2)
    # As one of the cluster it is let in, and told that there is no such move.
    assert not impostor.ask(0).startswith("PERMISSION_DENIED")
    last.end()
    three.ok("node", "remove", last.node, "--force")
    wait_for(lambda: impostor.ask(0).startswith("PERMISSION_DENIED"), 20, 0.2, "the others' knowledge of it")
    assert "no longer, part of the cluster" in impostor.ask(1)

    # Neither after a restart of the others, nor from the manager's side when it comes back.
    three.restart(0)
    assert impostor.ask(0).startswith("PERMISSION_DENIED")
    last.start()
    assert three.node_names[2] not in three.ok("node", "list")
    last.end()

    # Those who stayed know each other.
    assert not Impostor(three, three.agents[0], 0).ask(1).startswith("PERMISSION_DENIED")


def test_agents_certificate_at_the_manager(three):
    agent = three.agents[0]
    channel = grpc.secure_channel(f"{three.underlay.manager_address}:{three.manager_port}",
                                  grpc.ssl_channel_credentials(pki_file(three, "ca.crt"), pem(agent, "agent.key"),
                                                               pem(agent, "agent.crt")),
                                  [("grpc.ssl_target_name_override", "manager")])
    import api as testbed_api

    api = testbed_api.Api(testbed.BUILD, None, channel)
    with refused(Code.PERMISSION_DENIED, agent.node):
        api.instances.List(api.pb.ListInstancesRequest(), timeout=10)
    with refused(Code.PERMISSION_DENIED, agent.node):
        api.identities.CreateToken(api.pb.CreateIdentityTokenRequest(name="me", role=3), timeout=10)
    api.close()
