"""A guest listens to what is not for it: in promiscuous mode, and after trying to have the bridge
forget where others are. And cards that are isolated do not reach each other."""

import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "attack"))
import wire  # noqa: E402
from test_attack_spoofing import gateway  # noqa: E402

NOBODY = "02:00:00:00:be:ef"


@pytest.fixture
def three(cluster):
    for name in ("mallory", "alice", "bob"):
        cluster.ok("launch", "busybox", name)
    return [wire.Guest(cluster, name) for name in ("mallory", "alice", "bob")]


def says(who, to_mac, to_ip):
    return lambda mark: wire.ether(to_mac, who.hwaddr, 0x800, wire.ipv4(who.v4, to_ip, 17, wire.udp(7, 7, mark)))


def test_nobody_hears_what_is_for_others(cluster, three):
    mallory, alice, bob = three
    gw_mac, gw4, *_ = gateway(cluster)
    to_all = says(alice, wire.BROADCAST, "255.255.255.255")
    secrets = {"to another guest": says(alice, bob.hwaddr, bob.v4), "to the gateway": says(alice, gw_mac, gw4),
               "to an address nobody has": says(alice, NOBODY, bob.v4)}

    def all_quiet():
        for what, secret in secrets.items():
            wire.try_it(what, alice, mallory, secret, to_all)
        wire.try_it("to another guest", alice, bob, secrets["to another guest"], to_all, through=True)

    all_quiet()
    # Fill the bridge's table with addresses, the classic way to make it send everything everywhere.
    for i in range(40):
        mallory.send(*(wire.ether(NOBODY, f"02:00:00:{i:02x}:{k:02x}:01", 0x800, bytes(46)) for k in range(50)))
    # And say to be the one that is listened to.
    mallory.send(wire.ether(NOBODY, bob.hwaddr, 0x800, bytes(46)), wire.ether(NOBODY, gw_mac, 0x800, bytes(46)))
    all_quiet()


def test_a_card_that_is_silent_for_long_is_still_found(cluster, three):
    """Where it is was entered by hand: it is never learned, so it is never forgotten."""
    mallory, alice, bob = three
    from machine import run
    for guest in three:
        entries = [line for line in run("bridge", "fdb", "show", "dev", guest.host_name, check=True).stdout.splitlines()
                   if line.startswith(guest.hwaddr)]
        assert any("static" in line for line in entries), entries
        flags = run("bridge", "-d", "link", "show", "dev", guest.host_name, check=True).stdout
        assert "learning off" in flags and "flood off" in flags


def test_isolated_cards_reach_the_gateway_but_not_each_other(cluster, three):
    mallory, alice, bob = three
    gw_mac, gw4, *_ = gateway(cluster)
    cluster.ok("config", "device", "override", "mallory", "eth0")
    cluster.ok("config", "device", "override", "alice", "eth0")

    def attempt(through):
        wire.try_it("isolated to isolated", mallory, alice, says(mallory, alice.hwaddr, alice.v4),
                    says(bob, alice.hwaddr, alice.v4), through=through, twin_from=bob)

    attempt(True)
    for name in ("mallory", "alice"):
        cluster.ok("config", "device", "set", name, "eth0", "security.port_isolation=true")
    attempt(False)
    assert cluster.exec("mallory", "ping", "-c", "1", "-W", "5", gw4).returncode == 0
    assert cluster.exec("mallory", "ping", "-c", "1", "-W", "5", bob.v4).returncode == 0
    cluster.ok("config", "device", "set", "alice", "eth0", "security.port_isolation=false")
    attempt(True)
