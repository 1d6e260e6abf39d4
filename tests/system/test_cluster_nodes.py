"""Several nodes: each with its agent in a network of its own; some of them away for a while."""

import json
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import testbed  # noqa: E402
from testbed import wait_for  # noqa: E402

AWAY_SECONDS = 15


@pytest.fixture(scope="module")
def whole(able):
    with testbed.Cluster("nodes", nodes=3) as cluster:
        try:
            for i in range(3):
                testbed.ensure_image(cluster, "busybox", node=i)
        except testbed.Unavailable as e:
            pytest.skip(str(e))
        yield cluster


@pytest.fixture
def three(whole):
    """One instance on each of three nodes: c0, c1, c2."""
    for daemon in (whole.manager, *whole.agents):
        daemon.begin_log()
    for i, node in enumerate(whole.node_names):
        whole.ok("launch", "busybox", f"c{i}", "--target", node)
    yield whole
    for i, agent in enumerate(whole.agents):
        whole.mend_manager(i)
        for j in range(i):
            whole.mend(j, i)
        if not agent.pid:
            agent.start()
    if not whole.manager.pid:
        whole.start_manager()
    whole.wait_online()
    whole.remove_instances()
    whole.wait_clean()


def nodes(cluster):
    return {n["name"]: n["status"] for n in json.loads(cluster.ok("node", "list", "--format", "json"))}


def shown(cluster):
    """What is shown of nodes and instances, in the order of their numbers."""
    found, listed = nodes(cluster), cluster.list()
    return [found[n] for n in cluster.node_names], [listed[f"c{i}"]["status"] for i in range(3)]


def pids(cluster):
    return [cluster.instance(f"c{i}").pid for i in range(3)]


WHOLE = ["ONLINE"] * 3, ["RUNNING"] * 3


def without(i):
    """What is shown when node i is away."""
    return ["OFFLINE" if k == i else "ONLINE" for k in range(3)], ["UNKNOWN" if k == i else "RUNNING" for k in range(3)]


def test_each_node_runs_its_own(three):
    assert shown(three) == WHOLE
    assert [i["node"] for i in sorted(three.list().values(), key=lambda i: i["name"])] == three.node_names
    addresses = json.loads(three.ok("node", "list", "--format", "json"))
    assert len({n["address"] for n in addresses}) == 3
    for i, agent in enumerate(three.agents):
        assert three.exec(f"c{i}", "cat", "/proc/1/comm").returncode == 0
        # The guest is a port of a bridge in the node's own network, and not in the machine's.
        bridge = json.loads(three.ns_exec(i, "ip", "-j", "link", "show", "master", three.network, check=True).stdout)
        bridge = [port for port in bridge if not port["ifname"].startswith("lxv")]  # the tunnel to the others
        assert len(bridge) == 1 and bridge[0]["ifname"] == three.instance(f"c{i}").nics[0].host_name
        assert not os.path.exists(f"/sys/class/net/{three.network}")
        assert os.path.isdir(os.path.join(agent.dir, "instances", f"c{i}"))


def test_guests_reach_what_is_outside(three):
    """Out of the node's network by its agent's masquerading, and out of the machine's by that of the underlay."""
    for i in range(3):
        gateway = three.underlay.manager_address
        three.cli("exec", f"c{i}", "--", "ping", "-c", "1", "-W", "5", gateway, check=True)


@pytest.mark.parametrize("how", ["killed", "cut off"])
def test_node_that_is_away(three, how):
    before = pids(three)
    if how == "killed":
        three.agents[1].kill()
    else:
        three.cut_manager(1)
    wait_for(lambda: shown(three) == without(1), AWAY_SECONDS, 0.1, f"{shown(three)}: node 1 shown as away")
    refused = three.exec("c1", "true")
    assert refused.returncode != 0 and three.node_names[1] in refused.stderr
    # The rest works, as if it were all there is.
    assert three.exec("c0", "true").returncode == 0 and three.exec("c2", "true").returncode == 0
    three.ok("restart", "--force", "c2")
    three.ok("launch", "busybox", "more", "--target", three.node_names[2])
    three.ok("delete", "--force", "more")
    assert os.path.exists(f"/proc/{before[1]}")

    if how == "killed":
        three.agents[1].start()
    else:
        three.mend_manager(1)
    wait_for(lambda: shown(three) == WHOLE, AWAY_SECONDS, 0.1, "all back")
    after = pids(three)
    assert after[:2] == before[:2] and after[2] != before[2]
    assert three.exec("c1", "true").returncode == 0


def test_manager_that_is_away(three):
    before = pids(three)
    three.kill("manager")
    three.agents[2].kill()
    assert all(os.path.exists(f"/proc/{pid}") for pid in before)
    three.start_manager()
    wait_for(lambda: shown(three) == without(2), AWAY_SECONDS, 0.1, "two nodes back")
    three.restart(2)
    assert shown(three) == WHOLE and pids(three) == before


def test_link_between_nodes(three):
    """The testbed's own promise: a cut is one of that link only, and can be mended."""
    there = three.underlay.address

    def reach(i, j):
        return three.ns_exec(i, "ping", "-c", "1", "-W", "1", there(j)).returncode == 0

    assert reach(0, 1) and reach(1, 0)
    three.cut(0, 1)
    assert not reach(0, 1) and not reach(1, 0) and reach(0, 2) and reach(1, 2)
    assert shown(three) == WHOLE
    three.mend(0, 1)
    assert reach(0, 1) and reach(1, 0)


def test_address_that_changes(three):
    """A wrong one makes a node go away, never another one of it; the right one brings it back."""
    name, before = three.node_names[1], pids(three)

    def address():
        return json.loads(three.ok("node", "show", name, "--format", "json"))["address"]

    right = address()
    for wrong in ("", "nowhere", "192.0.2.7", "192.0.2.7:0", "192.0.2.7:99999", "0.0.0.0:8444", "[::]:8444", "a b:1"):
        assert three.cli("node", "set-address", name, wrong).returncode == 1, wrong
    assert three.cli("node", "set-address", "nobody", right).returncode == 1
    assert address() == right and shown(three) == WHOLE

    port = three.agent_port
    three.ok("node", "set-address", name, f"{three.underlay.address(2)}:{port}")  # another node answers there
    wait_for(lambda: shown(three) == without(1), AWAY_SECONDS, 0.1, "node 1 away")
    three.kill("manager")
    three.start_manager()
    assert address() == f"{three.underlay.address(2)}:{port}"
    three.ok("node", "set-address", name, right)
    wait_for(lambda: shown(three) == WHOLE, AWAY_SECONDS, 0.1, "all back")
    assert pids(three) == before
