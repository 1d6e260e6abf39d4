"""One network over the nodes of a whole cluster: manager, agents, real instances.

The parts have tests of their own, in namespaces (test_network_cluster.py).
"""

import json
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
from testbed import wait_for  # noqa: E402


CLUSTER = "overlay"  # of two nodes: conftest.py


@pytest.fixture
def two(whole):
    """One instance on each of two nodes: c0, c1."""
    for i, node in enumerate(whole.node_names):
        whole.ok("launch", "busybox", f"c{i}", "--target", node)
    yield whole
    whole.remove_instances()
    whole.wait_clean()


def reaches(cluster, name, address, *how):
    return wait_for(lambda: cluster.exec(name, "ping", *how, "-c", "1", "-W", "1", address).returncode == 0, 10, 0.2,
                    f"{name} reaches {address}")


def network(cluster):
    return json.loads(cluster.ok("network", "show", cluster.network, "--format", "json"))


def test_instances_of_two_nodes_are_on_one_network(two):
    listed = two.list()
    for name, other in (("c0", "c1"), ("c1", "c0")):
        reaches(two, name, listed[other]["ipv4"])
        reaches(two, name, listed[other]["ipv6"], "-6")
        wait_for(lambda n=name, o=other: listed[o]["ipv4"] in two.exec(n, "nslookup", o).stdout, 5, 0.2,
                 f"{name} knows {other} by name")
        assert two.exec(name, "ping", "-c", "1", "-W", "2", other).returncode == 0


def test_every_node_has_the_gateway_and_an_address_of_its_own(two):
    listed, seen = two.list(), set()
    for i in range(2):
        addresses = json.loads(two.ns_exec(i, "ip", "-j", "addr", "show", "dev", two.network, check=True).stdout)[0]
        seen.add(addresses["address"])
        own = [a["local"] for a in addresses["addr_info"] if a["family"] == "inet" and a["prefixlen"] == 32]
        assert len(own) == 1
        for name in ("c0", "c1"):
            reaches(two, name, own[0])
            route = two.ns_exec(i, "ip", "route", "get", listed[name]["ipv4"], check=True).stdout
            assert f"src {own[0]} " in route
            wait_for(lambda n=name: two.ns_exec(i, "ping", "-c", "1", "-W", "1", listed[n]["ipv4"]).returncode == 0, 10)
    assert len(seen) == 1, "the gateway's hardware address is the same everywhere"


def test_instances_have_the_networks_mtu(two):
    for i, name in enumerate(("c0", "c1")):
        bridge = json.loads(two.ns_exec(i, "ip", "-j", "link", "show", two.network, check=True).stdout)[0]["mtu"]
        uplink = json.loads(two.ns_exec(i, "ip", "-j", "link", "show", "eth0", check=True).stdout)[0]["mtu"]
        assert bridge == uplink - 50
        assert two.exec(name, "cat", "/sys/class/net/eth0/mtu").stdout == f"{bridge}\n"


def test_tcp_between_nodes(two):
    two.exec("c1", "sh", "-c", "mkdir -p /www; head -c 5000000 /dev/zero > /www/zeros; httpd -p 80 -h /www", check=True)
    address = two.list()["c1"]["ipv4"]
    got = two.exec("c0", "sh", "-c", f"wget -q -O - http://{address}/zeros | wc -c")
    assert got.stdout.strip() == "5000000", got
    host = two.ns_exec(0, "curl", "-s", "-m", "20", "-o", "/dev/null", "-w", "%{size_download}", f"http://{address}/zeros")
    assert host.stdout in ("5000000", ""), host  # "": no curl here


def test_second_network_gets_its_own_number(two):
    name = f"{two.prefix}b1"
    two.ok("network", "create", name, "ipv4.address=10.223.7.1/24", "ipv6.address=none")
    try:
        def status():
            return two.ns_exec(1, "ip", "-d", "-o", "link", "show", "master", name).stdout

        wait_for(lambda: "vxlan id 1025" in status(), 5, 0.1, "the second network's tunnel")
        two.ok("launch", "busybox", "d0", "-n", name, "--target", two.node_names[0])
        two.ok("launch", "busybox", "d1", "-n", name, "--target", two.node_names[1])
        reaches(two, "d0", two.list()["d1"]["ipv4"])
    finally:
        two.remove_instances()
        two.ok("network", "delete", name)
    wait_for(lambda: "1025" not in two.ns_exec(1, "ip", "-o", "link").stdout, 5)


def test_manager_restart_keeps_the_numbers(two):
    def state(i):
        return two.ns_exec(i, "ip", "-o", "addr", "show", "dev", two.network, check=True).stdout

    before = [state(i) for i in range(2)]
    two.restart("manager")
    two.wait_online()
    reaches(two, "c0", two.list()["c1"]["ipv4"])
    assert [state(i) for i in range(2)] == before
