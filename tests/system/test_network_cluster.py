"""One network over several machines (agent/network/overlay.c and what it uses).

Machines are network namespaces on one wire; see network/netsite.py.
"""

import os
import re
import subprocess
import sys
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "network"))
import netlab as net  # noqa: E402
from netlab import wait_for  # noqa: E402
from netsite import BR, SUBNET4, SUBNET6, Site  # noqa: E402

WHY_NOT = net.missing()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

GATEWAY4, GATEWAY6 = SUBNET4 + "1", SUBNET6 + "1"


@pytest.fixture(scope="session")
def pb(tmp_path_factory):
    return net.load_protos(str(tmp_path_factory.mktemp("protos")))


@pytest.fixture(params=["underlay4"])
def site(pb, request):
    site = Site(pb, v6=request.param == "underlay6")
    try:
        yield site
    finally:
        site.close()


@pytest.fixture
def pair(site):
    """Two machines with an instance each."""
    a, b = site.build(2)
    one, two = site.card(5, a), site.card(6, b)
    site.apply()
    one.plug()
    two.plug()
    yield site, a, b, one, two
    for machine in (a, b):
        machine.a.close()


def resolved(card, address):
    """The hardware address a card has learned for an address."""
    return dict(card.neighbours()).get(address)


# ---------------------------------------------------------------- instances of two machines


@pytest.mark.parametrize("site", ["underlay4", "underlay6"], indirect=True)
def test_instances_reach_each_other(pair):
    site, a, b, one, two = pair
    assert one.ping(two.v4) and two.ping(one.v4)
    assert one.ping(two.v6) and two.ping(one.v6)
    assert resolved(one, two.v4) == two.hwaddr and resolved(two, one.v6) == one.hwaddr


def test_mtu_leaves_room_for_the_tunnel(pair):
    site, a, b, one, two = pair
    assert a.a.ask(f"mtu {BR}").number == 1450
    assert a.link_value("lxv1024", "mtu") == a.link_value("lxh1024", "mtu") == "1450"
    one.do("ip", "link", "set", "eth0", "mtu", "1450")
    two.do("ip", "link", "set", "eth0", "mtu", "1450")
    assert one.do("ping", "-c", "1", "-W", "2", "-M", "do", "-s", "1422", two.v4, check=False).returncode == 0
    site.apply(config={"bridge.mtu": "1400"})
    assert a.link_value(BR, "mtu") == a.link_value("lxv1024", "mtu") == "1400"


@pytest.mark.parametrize("site", ["underlay6"], indirect=True)
def test_mtu_with_an_ipv6_underlay(pair):
    assert pair[1].a.ask(f"mtu {BR}").number == 1430


def test_gateway_is_local_and_looks_the_same(pair):
    site, a, b, one, two = pair
    for card in (one, two):
        assert card.ping(GATEWAY4) and card.ping(GATEWAY6)
    assert a.link_value(BR, "link/ether") == b.link_value(BR, "link/ether") == resolved(one, GATEWAY4)
    assert resolved(one, GATEWAY4) == resolved(two, GATEWAY4) == resolved(one, GATEWAY6) == resolved(two, GATEWAY6)
    # Each answers its own: with the wire cut nothing changes.
    b.at(b.router, "ip", "link", "set", "up0", "down")
    assert one.ping(GATEWAY4) and two.ping(GATEWAY4)


def listen(site, machine, what):
    """Frames of a kind that leave a machine through the tunnel."""
    count = machine.router_out("nft", "list", "table", "netdev", "lxtest")
    return int(re.search(what + r" counter packets (\d+)", count).group(1))


def test_gateway_traffic_does_not_cross(pair):
    site, a, b, one, two = pair
    gateway = a.link_value(BR, "link/ether")
    for machine in (a, b):
        machine.at(machine.router, "nft", "-f", "-", input=f"""
            table netdev lxtest {{
              chain in {{
                type filter hook ingress device "lxv1024" priority -500;
                ether saddr {gateway} counter
                arp daddr ip {GATEWAY4} counter
                udp dport 67 counter
              }}
            }}""")
    for card in (one, two):
        card.do("ip", "neigh", "flush", "dev", "eth0")
        assert card.ping(GATEWAY4) and card.ping(GATEWAY6)
    told = [m.dhcp(card.ns) for m, card in ((a, one), (b, two))]
    assert [t["ip"] for t in told] == [one.v4, two.v4]
    assert {t["mtu"] for t in told} == {"1450"}
    assert one.ping(two.v4)
    for machine in (a, b):
        for what in (f"ether saddr {gateway}", f"arp daddr ip {GATEWAY4}", "udp dport 67"):
            assert listen(site, machine, what) == 0, machine.router_out("nft", "list", "ruleset")


def test_dhcp_and_dns_on_either_machine(pair):
    site, a, b, one, two = pair
    assert a.dhcp(one.ns)["ip"] == one.v4 and b.dhcp(two.ns)["ip"] == two.v4
    for card, other in ((one, two), (two, one)):
        assert a.resolve(card.ns, f"{other.instance}.lxmgr", GATEWAY4) == [other.v4, other.v6]


# ---------------------------------------------------------------- the machines themselves


def seen_source(machine, card, address):
    """Whom an instance sees when a process of the machine connects to it."""
    serve = f"""
import socket
s = socket.create_server(("{address}", 7777), family=socket.AF_INET6 if ":" in "{address}" else socket.AF_INET)
print("ready", flush=True)
c, a = s.accept(); c.sendall(a[0].encode()); c.close()
"""
    child = subprocess.Popen(["ip", "netns", "exec", card.ns, net.PYTHON, "-c", serve], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "ready\n"
        connect = f'import socket; c = socket.create_connection(("{address}", 7777), 3); print(c.recv(100).decode())'
        return machine.at(machine.router, net.PYTHON, "-c", connect, check=False).stdout.strip()
    finally:
        child.kill()
        child.wait()


def test_machine_reaches_instances_everywhere(pair):
    site, a, b, one, two = pair
    for machine in (a, b):
        for card in (one, two):
            assert seen_source(machine, card, card.v4) == machine.host4
            assert seen_source(machine, card, card.v6) == machine.host6


def test_instance_reaches_every_machine(pair):
    site, a, b, one, two = pair
    gateway = a.link_value(BR, "link/ether")
    for card in (one, two):
        for machine in (a, b):
            assert card.ping(machine.host4) and card.ping(machine.host6)
            assert resolved(card, machine.host4) == resolved(card, machine.host6) == gateway


def test_machines_reach_each_other(pair):
    site, a, b, one, two = pair
    assert a.at(a.router, "ping", "-c", "1", "-W", "2", b.host4, check=False).returncode == 0
    assert a.at(a.router, "ping", "-c", "1", "-W", "2", b.host6, check=False).returncode == 0


# ---------------------------------------------------------------- moving

ECHO = """
import socket
s = socket.create_server(("::", 7778), family=socket.AF_INET6, dualstack_ipv6=True)
print("ready", flush=True)
c, a = s.accept()
while True:
    c.sendall(c.recv(100))
"""
ASK = """
import socket, sys, time
c = socket.create_connection((sys.argv[1], 7778), 3)
c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
c.settimeout(10)
print("ready", flush=True)
end = time.monotonic() + float(sys.argv[2])
n = 0
worst = 0
while time.monotonic() < end:
    t = time.monotonic()
    c.sendall(b"%d" % n)
    assert c.recv(100) == b"%d" % n
    worst = max(worst, time.monotonic() - t)
    n += 1
    time.sleep(0.002)
print(f"{n} answers, the slowest after {worst * 1000:.0f} ms", flush=True)
"""


def move(site, card, to, told=True):
    """What a migration does: gone there, plugged in here, told. The manager's word comes last, if ever."""
    old = card.at
    card.unplug()
    card.plug_at(to)
    to.here(card)
    if told:
        old.away(card, to)
    site.apply()


def start(namespace, *argv):
    return subprocess.Popen(["ip", "netns", "exec", namespace, *argv], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def children():
    started = []
    yield lambda *argv: started.append(start(*argv)) or started[-1]
    for child in started:
        child.kill()
        child.wait()


def lost(ping):
    said, _ = ping.communicate(timeout=60)
    sent, received = re.search(r"(\d+) packets transmitted, (\d+) received", said).groups()
    return int(sent) - int(received)


def talk(children, server, client_ns, address, seconds):
    echo = children(server.ns, net.PYTHON, "-c", ECHO)
    assert echo.stdout.readline() == "ready\n"
    ask = children(client_ns, net.PYTHON, "-c", ASK, address, str(seconds))
    assert ask.stdout.readline() == "ready\n"
    return ask


@pytest.mark.parametrize("v6", [False, True], ids=["ipv4", "ipv6"])
def test_move_while_everybody_talks_to_it(pair, children, v6):
    """There and back, seen from an instance of either machine and from both machines."""
    site, a, b, one, two = pair
    three = site.card(7, a)
    site.apply()
    three.plug()
    address = one.v6 if v6 else one.v4
    watchers = [two.ns, three.ns, a.router, b.router]
    for ns in watchers:  # everyone knows everyone
        assert net.run("ip", "netns", "exec", ns, "ping", "-c", "1", "-W", "2", address, check=False).returncode == 0
    pings = [children(ns, "ping", "-i", "0.02", "-c", "200", "-W", "1", address) for ns in watchers]
    for to in (b, a, b):
        time.sleep(0.8)
        move(site, one, to)
    missing = [lost(p) for p in pings]
    assert max(missing) < 60, f"three moves, and of 200 pings were lost: {missing}"
    assert one.ping(GATEWAY4) and one.ping(two.v4) and one.ping(three.v6)


@pytest.mark.parametrize("who", ["instance", "source", "target"])
def test_connections_survive_a_move(pair, children, who):
    site, a, b, one, two = pair
    client = {"instance": two.ns, "source": a.router, "target": b.router}[who]
    ask = talk(children, one, client, one.v4, 2.5)
    time.sleep(0.5)
    move(site, one, b)
    time.sleep(0.5)
    move(site, one, a)
    said = ask.communicate(timeout=30)[0]
    assert ask.returncode == 0 and "answers" in said
    print(who, said)


def test_move_without_the_managers_word(pair):
    """The agents alone: leases that still say the old place do not undo it, and neither does a repair."""
    site, a, b, one, two = pair
    assert two.ping(one.v4)
    one.unplug()
    one.plug_at(b)
    b.here(one)
    a.away(one, b)
    one.at = a  # what the manager believes
    site.apply()
    one.at = b
    assert one.ping(two.v4) and two.ping(one.v4) and one.ping(GATEWAY4)
    assert one.hwaddr not in b.fdb("lxv1024")
    for machine in (a, b):
        machine.at(machine.router, "nft", "flush", "ruleset")
        assert wait_for(lambda m=machine: "lxv1024" in m.rules())
        assert machine.at(machine.router, "ping", "-c", "1", "-W", "2", one.v4, check=False).returncode == 0
    site.apply()
    # Now the manager is believed again.
    one.unplug()
    one.plug_at(a)
    site.apply()
    assert one.ping(two.v4) and one.hwaddr not in a.fdb("lxv1024") and one.hwaddr in b.fdb("lxv1024")


def test_third_machine_follows(site):
    a, b, c = site.build(3)
    one, two = site.card(5, a), site.card(6, c)
    site.apply()
    one.plug()
    two.plug()
    assert two.ping(one.v4)
    move(site, one, b)
    assert two.ping(one.v4) and one.ping(two.v6)
    entry = [line for line in c.fdb("lxv1024").splitlines() if one.hwaddr in line and "self" in line]
    assert len(entry) == 1 and f"dst {b.address} " in entry[0]
    assert c.at(c.router, "ping", "-c", "1", "-W", "2", one.v4, check=False).returncode == 0


# ---------------------------------------------------------------- members come and go


def test_second_machine_joins_what_runs(site):
    a, b = site.build(2)
    one, two = site.card(5, a), site.card(6, b)
    site.cards.remove(two)
    site.apply(a, machines=[a])
    one.plug()
    before = a.link_value(BR, "mtu"), a.addresses(BR), a.link_value(BR, "link/ether"), a.dnsmasq(BR)
    assert before[0] == "1450" and f"{a.host4}/32" in before[1] and "lxv1024" not in a.links()
    site.cards.append(two)
    site.apply()
    two.plug()
    assert one.ping(two.v4)
    assert (a.link_value(BR, "mtu"), a.addresses(BR), a.link_value(BR, "link/ether"), a.dnsmasq(BR)) == before
    # And it leaves again.
    site.cards.remove(two)
    site.apply(a, machines=[a])
    assert "vxlan" not in a.links() and "lxv1024" not in a.links() and "lxh1024" not in a.links()
    assert a.host4 in a.router_out("ip", "route", "get", one.v4) and one.ping(GATEWAY4)
    assert b.host4 not in a.router_out("ip", "neigh", "show", "proxy")


def test_applying_again_changes_nothing(pair):
    site, a, b, one, two = pair

    def state():
        return (a.links(), a.router_out("ip", "route"), a.router_out("ip", "-6", "route"), a.rules(), a.addresses(BR),
                sorted(line for line in a.fdb("lxv1024").splitlines() if "offload" not in line))

    assert one.ping(two.v4)
    before = state()
    site.apply()
    assert state() == before


def test_restarted_agent_adopts_the_tunnel(pair):
    site, a, b, one, two = pair
    links = a.links()
    a.a.kill()
    a.a = a.agent()
    assert a.a.ask("load").status == {BR: ""}
    assert a.links() == links and one.ping(two.v4)
    assert a.at(a.router, "ping", "-c", "1", "-W", "2", two.v4, check=False).returncode == 0
    move(site, one, b)
    assert one.ping(two.v4)


def test_deleted_tunnel_comes_back(pair):
    site, a, b, one, two = pair
    for dev in ("lxv1024", "lxh1024", BR):
        a.at(a.router, "ip", "link", "delete", dev)
        assert wait_for(lambda: "lxv1024" in a.links() and "lxh1024" in a.links())
        if dev == BR:
            assert wait_for(lambda: f" {BR}: " in a.links())
            a.at(a.router, "ip", "link", "set", one.port, "master", BR, "up")
        assert wait_for(lambda: one.ping(two.v4, wait=1)), dev
        assert wait_for(lambda: a.at(a.router, "ping", "-c", "1", "-W", "1", two.v4, check=False).returncode == 0)


def test_foreign_interface_of_that_name_is_left_alone(site):
    a, b = site.build(2)
    a.at(a.router, "ip", "link", "add", "lxv1024", "type", "bridge")
    site.revision = 1
    answer = a.apply([], [a, b])
    assert "interface lxv1024 exists and was not made for network" in answer.status[BR]
    a.a.ask("teardown")
    assert "lxv1024" in a.links() and BR not in a.links()


@pytest.mark.parametrize("address, why", [
    ("node2.example.org", "needs? IP addresses"),
    ("", "needs? IP addresses"),
    ("192.0.2.999", "needs? IP addresses"),
    ("2001:db8::2", "no tunnel can join them"),
])
def test_unusable_peer_is_named_and_the_others_count(site, address, why):
    a, b, c = site.build(3)
    one, two = site.card(5, a), site.card(6, b)
    site.apply()
    one.plug()
    two.plug()
    c.address = address
    site.revision += 1
    answer = a.apply(site.cards, site.machines)
    assert "node3" in answer.status[BR] and re.search(why, answer.status[BR]), answer.status
    assert one.ping(two.v4)


def test_teardown_leaves_nothing(pair):
    site, a, b, one, two = pair
    assert one.ping(two.v4)
    one.unplug()
    a.a.kill()
    cleaner = a.agent()  # loads nothing
    assert cleaner.ask("teardown").error is None
    cleaner.close()
    assert not re.search("lxv|lxh|" + BR, a.links())
    assert a.rules() == "" and a.router_out("ip", "neigh", "show", "proxy") == ""
    assert SUBNET4 not in a.router_out("ip", "route") and SUBNET6 not in a.router_out("ip", "-6", "route")
