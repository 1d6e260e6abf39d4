"""Addresses, names and the way out, as guests and the host see them.

The bridge's rules and its dnsmasq have tests of their own (test_network.py), in namespaces.
"""

import contextlib
import socket
import subprocess

import pytest

import machine
from machine import wait_for

OUTSIDE = "203.0.113.2"  # reserved for documentation: no real host is hidden by it


def reachable(address, port, seconds=5):
    def connect():
        with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=1):
            return True
        return False

    return wait_for(connect, seconds, 0.05, f"{address}:{port} answers")


def test_guest_answers_at_its_address(cluster):
    cluster.ok("launch", "busybox", "c1")
    address = cluster.list()["c1"]["ipv4"]
    assert machine.run("ping", "-c", "1", "-W", "2", address).returncode == 0
    cluster.exec("c1", "sh", "-c", "mkdir /www; echo hello > /www/index.html; httpd -p 80 -h /www")
    reachable(address, 80)


def test_guest_answers_at_its_ipv6_address(cluster):
    cluster.ok("launch", "busybox", "c1")
    address = cluster.list()["c1"]["ipv6"]
    wait_for(lambda: machine.run("ping", "-6", "-c", "1", "-W", "1", address).returncode == 0, 10)


def test_addresses_are_there_at_the_first_moment(cluster):
    """Configured before init runs: no DHCP client is waited for."""
    cluster.ok("launch", "busybox", "c1")
    said = cluster.exec("c1", "ip", "-4", "addr", "show", "eth0").stdout
    assert cluster.list()["c1"]["ipv4"] + "/" in said
    assert "default via" in cluster.exec("c1", "ip", "route").stdout


def test_guests_see_each_other_by_name(cluster):
    for name in ("c1", "c2"):
        cluster.ok("launch", "busybox", name)
    address = cluster.list()["c2"]["ipv4"]
    for name in ("c2", "c2.lxmgr"):
        wait_for(lambda n=name: address in cluster.exec("c1", "nslookup", n).stdout, 5, 0.2, f"{name} is known")
    assert cluster.exec("c1", "ping", "-c", "1", "-W", "2", address).returncode == 0
    cluster.ok("delete", "--force", "c2")
    wait_for(lambda: address not in cluster.exec("c1", "nslookup", "c2").stdout, 5, 0.2, "c2 is forgotten")


def test_dhcp_gives_the_same_address(cluster):
    cluster.ok("launch", "busybox", "c1")
    address = cluster.list()["c1"]["ipv4"]
    done = cluster.exec("c1", "sh", "-c", "ip addr flush dev eth0; udhcpc -i eth0 -n -q -f -t 5 -s /bin/true")
    assert f"lease of {address} obtained" in done.stdout + done.stderr, done


def test_fixed_address_and_mac(cluster):
    address = str(cluster.slot.network[500])
    cluster.ok("launch", "busybox", "c1", "-d", f"eth0,ipv4.address={address},hwaddr=00:16:3e:12:34:56")
    assert cluster.list()["c1"]["ipv4"] == address
    assert cluster.exec("c1", "cat", "/sys/class/net/eth0/address").stdout == "00:16:3e:12:34:56\n"


def test_addresses_are_kept_and_returned(cluster):
    cluster.ok("launch", "busybox", "c1")
    address = cluster.list()["c1"]["ipv4"]
    cluster.ok("restart", "--force", "c1")
    assert cluster.list()["c1"]["ipv4"] == address
    assert address in cluster.ok("network", "leases", cluster.network)
    cluster.ok("delete", "--force", "c1")
    assert address not in cluster.ok("network", "leases", cluster.network)


def test_no_network_at_all(cluster):
    cluster.ok("launch", "busybox", "c1", "--no-profiles", "-d", "root,type=disk,path=/")
    assert cluster.list()["c1"]["ipv4"] == ""
    assert cluster.exec("c1", "ls", "/sys/class/net").stdout.split() == ["lo"]


def test_mtu_follows_the_bridge(cluster):
    cluster.ok("launch", "busybox", "c1")
    with open(f"/sys/class/net/{cluster.network}/mtu", encoding="ascii") as f:
        bridge = f.read()
    assert cluster.exec("c1", "cat", "/sys/class/net/eth0/mtu").stdout == bridge


@pytest.fixture
def outside(cluster):
    """A machine beyond this one, in a namespace: it has no route back to guests, so only NAT gets answers."""
    ns, host, peer = f"{cluster.prefix}out", f"{cluster.prefix}o0", f"{cluster.prefix}o1"

    def ip(*args):
        machine.run("ip", *args, check=True)

    ip("netns", "add", ns)
    try:
        ip("link", "add", host, "type", "veth", "peer", "name", peer)
        ip("link", "set", peer, "netns", ns)
        ip("addr", "add", "203.0.113.1/30", "dev", host)
        ip("link", "set", host, "up")
        ip("-n", ns, "addr", "add", f"{OUTSIDE}/30", "dev", peer)
        ip("-n", ns, "link", "set", peer, "up")
        ip("-n", ns, "link", "set", "lo", "up")
        yield ns
    finally:
        machine.run("ip", "link", "delete", host)
        machine.run("ip", "netns", "delete", ns)


def test_way_out_through_nat(cluster, outside):
    cluster.ok("launch", "busybox", "c1")
    serve = "import socket\ns = socket.create_server(('203.0.113.2', 8000))\nwhile True:\n c, a = s.accept(); c.sendall(a[0].encode()); c.close()"
    server = subprocess.Popen(["ip", "netns", "exec", outside, "/usr/bin/python3", "-c", serve])
    try:
        reachable(OUTSIDE, 8000)
        assert cluster.exec("c1", "nc", OUTSIDE, "8000", input="").stdout == "203.0.113.1"
    finally:
        server.kill()
        server.wait()


def test_guests_know_the_outside_only(cluster, outside):
    """Nobody outside can open a connection to a guest: there is no route, and the guest's range stays inside."""
    cluster.ok("launch", "busybox", "c1")
    done = machine.run("ip", "netns", "exec", outside, "ping", "-c", "1", "-W", "1", cluster.list()["c1"]["ipv4"])
    assert done.returncode != 0


def test_second_network(cluster):
    name = f"{cluster.prefix}b1"
    cluster.ok("network", "create", name, "ipv4.address=10.223.7.1/24", "ipv6.address=none")
    try:
        wait_for(lambda: machine.interface_exists(name), 5)
        cluster.ok("launch", "busybox", "c1", "-n", name)
        assert cluster.list()["c1"]["ipv4"].startswith("10.223.7.")
        assert cluster.cli("network", "delete", name).returncode == 1, "it is in use"
        cluster.ok("delete", "--force", "c1")
    finally:
        cluster.remove_instances()
        cluster.ok("network", "delete", name)
    wait_for(lambda: not machine.interface_exists(name) and ("inet", f"lxmgr_{name}") not in machine.tables(cluster.prefix), 5)


def test_agent_mends_what_others_break(cluster):
    """dnsmasq killed and rules flushed: both are back without a restart."""
    cluster.ok("launch", "busybox", "c1")
    dns = [p for p, said in machine.processes(cluster.dir, cluster.cgroup_root).items() if said.startswith("dnsmasq")]
    for pid in dns:
        machine.kill(pid)
    family, table = machine.tables(cluster.prefix)[0]
    machine.run("nft", "delete", "table", family, table, check=True)
    wait_for(lambda: machine.tables(cluster.prefix), 15, 0.1, "the rules are back")
    wait_for(lambda: cluster.list()["c1"]["ipv4"] in cluster.exec("c1", "nslookup", "c1").stdout, 15, 0.2, "DNS is back")


def test_network_survives_restarts_of_the_agent(cluster):
    cluster.ok("launch", "busybox", "c1")
    address = cluster.list()["c1"]["ipv4"]
    ping = subprocess.Popen(["ping", "-i", "0.05", "-c", "60", "-W", "1", address], stdout=subprocess.PIPE, text=True)
    cluster.restart("agent")
    cluster.restart("agent", 9)
    said, _ = ping.communicate(timeout=30)
    assert " 0% packet loss" in said, said
