"""Instances of different projects on one bridge: none reaches another's, on its node or on another
one, directly or by way of the gateway; each reaches its own, the gateway and the name server."""

import json
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "attack"))
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import testbed  # noqa: E402
import wire  # noqa: E402
from testbed import wait_for  # noqa: E402

HOMES = {"mallory": ("evil", 0), "friend": ("evil", 0), "far-friend": ("evil", 1), "alice": ("shop", 0), "bob": ("shop", 1),
         "carol": ("default", 0)}
VICTIMS = ("alice", "bob", "carol")
FRIENDS = ("friend", "far-friend")


class Guest(wire.Guest):
    """One in a project."""

    def __init__(self, cluster, name):
        self.project = HOMES[name][0]
        self.cluster, self.name = cluster, name
        self.ok("file", "push", wire.FRAMES, f"{name}/root/frames", "--mode", "0755")
        self.refresh()

    def ok(self, *args):
        return self.cluster.ok("--project", self.project, *args)

    def run(self, *command):
        return self.cluster.cli("--project", self.project, "exec", self.name, "--", *command)

    def refresh(self):
        pb = self.cluster.api.pb
        self.pb = self.cluster.api.instances.Get(pb.GetInstanceRequest(name=self.name),
                                                 metadata=(("lxmgr-project", self.project),))
        nic = self.pb.nics[0]
        self.hwaddr, self.host_name = nic.hwaddr, nic.host_name
        self.v4, self.v6 = nic.ipv4_address.split("/")[0], nic.ipv6_address.split("/")[0]
        self.gateway, self.gateway6 = nic.ipv4_gateway, nic.ipv6_gateway
        self.link_local = wire.link_local(self.hwaddr)

    def send(self, *frames):
        done = self.run("/root/frames", "send", "eth0", *(f.hex() for f in frames))
        assert done.returncode == 0, done.stderr

    def hear(self, last, *marks):
        import subprocess
        ear = self.cluster.popen("--project", self.project, "exec", self.name, "--", "/root/frames", "hear", "eth0",
                                 str(wire.HEAR_SECONDS), last.hex(), *(m.hex() for m in marks), stdout=subprocess.PIPE)
        assert ear.stdout.readline() == "ready\n"
        return ear


@pytest.fixture(scope="module")
def whole(able):
    with testbed.Cluster("apart", nodes=2) as cluster:
        try:
            for i in range(2):
                testbed.ensure_image(cluster, "busybox", node=i)
        except testbed.Unavailable as e:
            pytest.skip(str(e))
        for project in ("evil", "shop"):
            cluster.ok("project", "create", project)
        for name, (project, i) in HOMES.items():
            cluster.ok("--project", project, "launch", "busybox", name, "--target", cluster.node_names[i])
        yield cluster


@pytest.fixture
def all_of_them(whole):
    guests = {name: Guest(whole, name) for name in HOMES}
    wait_for(lambda: all(set_up(whole, i, guests) for i in range(2)), 10, 0.2, "all cards are known on both nodes")
    return guests


def table(cluster, i):
    return cluster.ns_exec(i, "nft", "list", "table", "bridge", f"lxproject_{cluster.network}").stdout


def set_up(cluster, i, guests):
    text = table(cluster, i)
    return all(g.host_name in text and g.hwaddr in text for g in guests.values())


def kinds(a, b):
    """Everything that one guest may say to another, honestly: what -> frame(mark)."""
    return {
        "IPv4": lambda m: wire.ether(b.hwaddr, a.hwaddr, 0x800, wire.ipv4(a.v4, b.v4, 17, wire.udp(7, 7, m))),
        "IPv6": lambda m: wire.ether(b.hwaddr, a.hwaddr, 0x86dd, wire.ipv6(a.v6, b.v6, 17, wire.udp(7, 7, m))),
        "IPv6 link-local": lambda m: wire.ether(b.hwaddr, a.hwaddr, 0x86dd,
                                                wire.ipv6(a.link_local, b.link_local, 17, wire.udp(7, 7, m))),
        "ARP request": lambda m: wire.ether(wire.BROADCAST, a.hwaddr, 0x806,
                                            wire.arp(1, a.hwaddr, a.v4, "00:00:00:00:00:00", b.v4) + m),
        "ARP answer": lambda m: wire.ether(b.hwaddr, a.hwaddr, 0x806, wire.arp(2, a.hwaddr, a.v4, b.hwaddr, b.v4) + m),
        "broadcast": lambda m: wire.ether(wire.BROADCAST, a.hwaddr, 0x800,
                                          wire.ipv4(a.v4, "255.255.255.255", 17, wire.udp(7, 7, m))),
        "multicast": lambda m: wire.ether("33:33:00:00:00:01", a.hwaddr, 0x86dd,
                                          wire.ipv6(a.link_local, "ff02::1", 17, wire.udp(7, 7, m))),
        "neighbour advertisement": lambda m: wire.ether("33:33:00:00:00:01", a.hwaddr, 0x86dd,
                                                        wire.advertisement(a.v6, a.v6, a.hwaddr, m)),
    }


def witness(guests, victim):
    """Somebody of the victim's own project, or the victim's gateway when it is alone."""
    return next((g for g in guests.values() if g.project == victim.project and g is not victim), None)


def assert_apart(cluster, guests, victims=VICTIMS):
    mallory = guests["mallory"]
    for name in victims:
        victim = guests[name]
        friend = guests["friend"]
        # The twin is the same frame to one of its own project, which must arrive. What cannot reach the
        # victim is then looked for there, where the last thing it hears is from its own gateway's ping.
        for what, attack in kinds(mallory, victim).items():
            twin = kinds(mallory, friend)[what]
            wire.try_it(f"{what} to a friend", mallory, friend, twin, twin, through=True)
            other = witness(guests, victim)
            if other:
                wire.try_it(f"{what} to {name}", mallory, victim, attack, kinds(other, victim)[what], twin_from=other)
        for address in (victim.v4, victim.v6):
            assert mallory.run("ping", "-c", "1", "-W", "1", address).returncode != 0, f"{name} answers at {address}"


def test_nothing_gets_across(whole, all_of_them):
    assert_apart(whole, all_of_them)


def test_its_own_are_reached_on_every_node(whole, all_of_them):
    mallory = all_of_them["mallory"]
    for name in FRIENDS:
        friend = all_of_them[name]
        for address in (friend.v4, friend.v6):
            wait_for(lambda a=address: mallory.run("ping", "-c", "1", "-W", "1", a).returncode == 0, 10, 0.3,
                     f"{name} at {address}")
    for address in (mallory.gateway, mallory.gateway6):
        wait_for(lambda a=address: mallory.run("ping", "-c", "1", "-W", "1", a).returncode == 0, 10, 0.3, "the gateway")
    assert all_of_them["far-friend"].v4 in mallory.run("nslookup", "far-friend").stdout
    alice, bob = all_of_them["alice"], all_of_them["bob"]
    wait_for(lambda: alice.run("ping", "-c", "1", "-W", "1", bob.v4).returncode == 0, 10, 0.3, "bob")


def gateway_mac(cluster):
    return json.loads(cluster.ns_exec(0, "ip", "-j", "link", "show", cluster.network, check=True).stdout)[0]["address"]


def test_the_gateway_is_no_way_round(whole, all_of_them):
    """Sent to the gateway's hardware address, which routes: back into the network, or over to the other node."""
    mallory, friend = all_of_them["mallory"], all_of_them["friend"]
    to = gateway_mac(whole)

    def by_gateway(target):
        return lambda m: wire.ether(to, mallory.hwaddr, 0x800, wire.ipv4(mallory.v4, target.v4, 17, wire.udp(7, 7, m)))

    def by_gateway6(target):
        return lambda m: wire.ether(to, mallory.hwaddr, 0x86dd, wire.ipv6(mallory.v6, target.v6, 17, wire.udp(7, 7, m)))

    for name in VICTIMS[:2]:
        victim = all_of_them[name]
        other = witness(all_of_them, victim)
        for what, way in (("IPv4", by_gateway), ("IPv6", by_gateway6)):
            honest = kinds(other, victim)[what]
            wire.try_it(f"{what} by way of the gateway to {name}", mallory, victim, way(victim), honest, twin_from=other)
    # The way itself is there: to a friend it leads.
    honest = kinds(mallory, friend)["IPv4"]
    wire.try_it("by way of the gateway to a friend", mallory, friend, by_gateway(friend), honest, through=True)


def test_no_card_is_freed_of_its_checks(whole, all_of_them):
    """Who may say to be another could at least keep from it what is for it: not in a shared network."""
    for key in ("mac", "ipv4", "ipv6"):
        for how in (("config", "device", "override", "mallory", "eth0", f"security.{key}_filtering=false"),
                    ("profile", "device", "set", "default", "eth0", f"security.{key}_filtering=false")):
            done = whole.cli("--project", "evil", *how)
            assert done.returncode == 1 and "other projects use" in done.stderr, done


def test_it_is_there_after_restarts_and_when_it_was_taken_away(whole, all_of_them):
    quick = {"alice"}
    whole.agents[0].kill()
    assert set_up(whole, 0, all_of_them), "nobody has to be there for it"
    whole.agents[0].start()
    whole.wait_online()
    assert_apart(whole, all_of_them, quick)
    whole.ns_exec(0, "nft", "delete", "table", "bridge", f"lxproject_{whole.network}", check=True)
    wait_for(lambda: set_up(whole, 0, all_of_them), 10, 0.2, "it is set again")
    assert_apart(whole, all_of_them, quick)
    whole.ns_exec(0, "nft", "flush", "ruleset", check=True)
    wait_for(lambda: set_up(whole, 0, all_of_them), 10, 0.2, "it is set again")
    assert_apart(whole, all_of_them, quick)


def test_it_goes_along(whole, all_of_them):
    """After a move, there and back, as before."""
    mallory, friend = all_of_them["mallory"], all_of_them["friend"]
    for i in (1, 0):
        whole.ok("--project", "evil", "move", "mallory", "--target", whole.node_names[i])
        wait_for(lambda: mallory.run("ping", "-c", "1", "-W", "1", friend.v4).returncode == 0, 10, 0.3, "its friend")
        for name in VICTIMS:
            assert mallory.run("ping", "-c", "1", "-W", "1", all_of_them[name].v4).returncode != 0
        wire.try_it("IPv4", mallory, all_of_them["bob"], kinds(mallory, all_of_them["bob"])["IPv4"],
                    kinds(all_of_them["alice"], all_of_them["bob"])["IPv4"], twin_from=all_of_them["alice"])


def test_it_can_be_switched_off(whole, all_of_them):
    mallory, alice = all_of_them["mallory"], all_of_them["alice"]
    whole.ok("network", "set", whole.network, "security.projects.isolation=false")
    try:
        wait_for(lambda: not any(table(whole, i) for i in range(2)), 10, 0.2, "the table is gone")
        wait_for(lambda: mallory.run("ping", "-c", "1", "-W", "1", alice.v4).returncode == 0, 10, 0.3, "alice")
    finally:
        whole.ok("network", "unset", whole.network, "security.projects.isolation")
    wait_for(lambda: all(set_up(whole, i, all_of_them) for i in range(2)), 10, 0.2, "it is back")
    assert mallory.run("ping", "-c", "1", "-W", "1", alice.v4).returncode != 0


def test_who_is_freed_of_its_checks_gets_no_further(whole, all_of_them):
    """One of the default project, which may: as somebody of another project, and as nobody. (The last one here:
    the bridge believes it where somebody is.)"""
    carol, alice, bob = (all_of_them[n] for n in ("carol", "alice", "bob"))
    whole.ok("config", "device", "override", "carol", "eth0", "security.mac_filtering=false",
             "security.ipv4_filtering=false", "security.ipv6_filtering=false")
    for what, attack in kinds(bob, alice).items():
        twin = kinds(bob, alice)[what]
        wire.try_it(f"{what} as bob", carol, alice, attack, twin, twin_from=bob)
        wire.try_it(f"{what} from nowhere", carol, alice,
                    lambda m, a=attack: a(m)[:6] + wire.mac("02:00:00:00:be:ef") + a(m)[12:], twin, twin_from=bob)
    to = gateway_mac(whole)
    wire.try_it("as bob by way of the gateway", carol, alice, lambda m: wire.ether(
        to, carol.hwaddr, 0x800, wire.ipv4(bob.v4, alice.v4, 17, wire.udp(7, 7, m))), kinds(bob, alice)["IPv4"],
        twin_from=bob)


def test_one_project_alone_has_no_such_table(cluster):
    """The fast path: nothing is looked up for who has no projects."""
    from machine import run
    cluster.ok("launch", "busybox", "c1")
    assert "lxproject" not in run("nft", "list", "tables", check=True).stdout
