"""A guest pretends to be another: by MAC address, IPv4, IPv6, ARP, neighbour discovery, as a DHCP
server, as a router. Each attack is sent from inside a real container by its root, raw, to a second
one; none may arrive there, and the honest frame after it must."""

import ipaddress
import json
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "attack"))
import wire  # noqa: E402
from machine import run, wait_for  # noqa: E402

ELSE_MAC = "02:00:00:00:be:ef"


@pytest.fixture
def pair(cluster):
    for name in ("mallory", "victim"):
        cluster.ok("launch", "busybox", name)
    return wire.Guest(cluster, "mallory"), wire.Guest(cluster, "victim")


def gateway(cluster):
    """(hwaddr, ipv4, ipv6) of the bridge, and an address of each of its subnets that nobody has."""
    link = json.loads(cluster.ns_exec(0, "ip", "-j", "addr", "show", "dev", cluster.network, check=True).stdout)[0] \
        if len(cluster.agents) > 1 else json.loads(run("ip", "-j", "addr", "show", "dev", cluster.network).stdout)[0]
    by = {f: next(a["local"] for a in link["addr_info"] if a["family"] == f and a.get("scope") == "global")
          for f in ("inet", "inet6")}
    free = [str(ipaddress.ip_address(by["inet"]) + 250), str(ipaddress.ip_address(by["inet6"]) + 0xdead)]
    return link["address"], by["inet"], by["inet6"], *free


def attacks(m, v, gw):
    """(what it is, the attack, its honest twin): functions of a mark, from mallory to the victim."""
    gw_mac, gw4, gw6, none4, none6 = gw
    u4 = lambda src, dst=v.v4, s=4000, d=4001: lambda mark: wire.ipv4(src, dst, 17, wire.udp(s, d, mark))  # noqa: E731
    u6 = lambda src, dst=v.v6, s=4000, d=4001: lambda mark: wire.ipv6(src, dst, 17, wire.udp(s, d, mark))  # noqa: E731
    skip = bytes([58, 0, 1, 4, 0, 0, 0, 0])  # destination options: padding

    def frame(kind, make, src=m.hwaddr, to=v.hwaddr):
        return lambda mark: wire.ether(to, src, kind, make(mark))

    def arp(op, src_ip, src_mac=m.hwaddr, target=v.v4, frame_src=m.hwaddr):
        # ARP has no room for a mark but behind it, where Ethernet pads.
        return lambda mark: wire.ether(wire.BROADCAST, frame_src, 0x806,
                                       wire.arp(op, src_mac, src_ip, v.hwaddr, target) + mark)

    ok4, ok6, ok_arp = frame(0x800, u4(m.v4)), frame(0x86dd, u6(m.v6)), arp(2, m.v4)
    ok_na = frame(0x86dd, lambda k: wire.advertisement(m.link_local, m.v6, m.hwaddr, k), to="33:33:00:00:00:01")
    all6 = "33:33:00:00:00:01"
    return [
        ("source MAC address nobody has", frame(0x800, u4(m.v4), src=ELSE_MAC), ok4),
        ("source MAC address of the victim", frame(0x800, u4(m.v4), src=v.hwaddr), ok4),
        ("source MAC address of the gateway", frame(0x800, u4(m.v4), src=gw_mac), ok4),
        ("IPv4 source nobody has", frame(0x800, u4(none4)), ok4),
        ("IPv4 source of the gateway", frame(0x800, u4(gw4)), ok4),
        ("IPv4 source of the victim", frame(0x800, u4(v.v4)), ok4),
        ("IPv6 source nobody has", frame(0x86dd, u6(none6)), ok6),
        ("IPv6 source of the gateway", frame(0x86dd, u6(gw6)), ok6),
        ("IPv6 link-local source of the victim", frame(0x86dd, u6(v.link_local)), ok6),
        ("ARP answer for the gateway", arp(2, gw4), ok_arp),
        ("ARP answer for an address nobody has", arp(2, none4), ok_arp),
        ("ARP answer for the own address with another's MAC", arp(2, m.v4, src_mac=gw_mac), ok_arp),
        ("gratuitous ARP for the victim", arp(1, v.v4, target=v.v4), ok_arp),
        ("ARP probe that denies the victim its address", arp(1, "0.0.0.0", target=v.v4), ok_arp),
        ("neighbour advertisement for the gateway",
         frame(0x86dd, lambda k: wire.advertisement(m.link_local, gw6, m.hwaddr, k), to=all6), ok_na),
        ("neighbour advertisement from the gateway's address",
         frame(0x86dd, lambda k: wire.advertisement(gw6, gw6, m.hwaddr, k), to=all6), ok_na),
        ("neighbour advertisement for the victim behind an extension header",
         frame(0x86dd, lambda k: wire.advertisement(m.link_local, v.v6, m.hwaddr, k, skip), to=all6), ok_na),
        ("router advertisement", frame(0x86dd, lambda k: wire.router(m.link_local, k), to=all6), ok_na),
        ("router advertisement behind an extension header",
         frame(0x86dd, lambda k: wire.router(m.link_local, k, skip), to=all6), ok_na),
        ("redirect", frame(0x86dd, lambda k: wire.icmpv6(m.link_local, v.link_local, 137, bytes(36) + k)), ok6),
        ("DHCP server's answer", frame(0x800, u4(m.v4, s=67, d=68)), ok4),
        ("DHCP server's answer from another port", frame(0x800, u4(m.v4, s=4000, d=68)), ok4),
        ("DHCPv6 server's answer from its global address", frame(0x86dd, u6(m.v6, v.v6, 547, 546)), ok6),
        ("DHCPv6 server's answer from another port", frame(0x86dd, u6(m.link_local, v.link_local, 4000, 546)), ok6),
        ("DHCPv6 server's answer", frame(0x86dd, u6(m.link_local, v.link_local, 547, 546)), ok6),
        ("spoofed source inside a VLAN tag", lambda k: wire.vlan(frame(0x800, u4(gw4))(k), 5), ok4),
        ("own source inside a VLAN tag", lambda k: wire.vlan(ok4(k), 5), ok4),
        ("own IPv6 source inside a VLAN tag", lambda k: wire.vlan(ok6(k), 5), ok6),
        ("router advertisement inside a VLAN tag",
         lambda k: wire.vlan(frame(0x86dd, lambda k: wire.router(m.link_local, k), to=all6)(k), 5), ok_na),
        ("protocol that carries others (PPPoE)", frame(0x8864, lambda k: k), ok4),
    ]


def all_fail(cluster, mallory, victim):
    for what, attack, twin in attacks(mallory, victim, gateway(cluster)):
        wire.try_it(what, mallory, victim, attack, twin)


@pytest.mark.limit(300)
def test_nothing_spoofed_gets_through(cluster, pair):
    all_fail(cluster, *pair)


def test_an_agent_that_restarts_leaves_the_guard_in_place(cluster, pair):
    mallory, victim = pair
    what, attack, twin = attacks(mallory, victim, gateway(cluster))[4]
    cluster.kill("agent")
    cluster.restart("agent")
    cluster.wait_online()
    wire.try_it(what, mallory, victim, attack, twin)


def test_a_guard_that_somebody_deletes_comes_back(cluster, pair):
    mallory, victim = pair
    table = f"lxguard_{cluster.network}"
    run("nft", "delete", "table", "bridge", table, check=True)
    wait_for(lambda: mallory.host_name in run("nft", "list", "table", "bridge", table).stdout, 10,
             why="the guard is set again, with its cards")
    what, attack, twin = attacks(mallory, victim, gateway(cluster))[4]
    wire.try_it(what, mallory, victim, attack, twin)


def test_a_reboot_inside_changes_nothing(cluster, pair):
    mallory, victim = pair
    before = cluster.instance("mallory").pid
    cluster.exec("mallory", "reboot")
    wait_for(lambda: cluster.status("mallory") == "RUNNING" and cluster.instance("mallory").pid not in (0, before), 30,
             why="it has rebooted")
    wait_for(lambda: cluster.exec("mallory", "true").returncode == 0, 20)
    for what, attack, twin in attacks(mallory, victim, gateway(cluster))[:6]:
        wire.try_it(what, mallory, victim, attack, twin)


def test_what_is_freed_is_free_at_once_and_no_more(cluster, pair):
    """security.*_filtering=false lets through what it names, live; and set back it does not."""
    mallory, victim = pair
    listed = {what: (attack, twin) for what, attack, twin in attacks(mallory, victim, gateway(cluster))}
    key_of = {"security.mac_filtering": "source MAC address nobody has", "security.ipv4_filtering": "IPv4 source nobody has",
              "security.ipv6_filtering": "IPv6 source nobody has"}
    cluster.ok("config", "device", "override", "mallory", "eth0")
    for key, what in key_of.items():
        cluster.ok("config", "device", "set", "mallory", "eth0", f"{key}=false")
        for k, w in key_of.items():
            wire.try_it(w, mallory, victim, *listed[w], through=k == key)
        cluster.ok("config", "device", "set", "mallory", "eth0", f"{key}=true")
        wire.try_it(what, mallory, victim, *listed[what])


def test_an_instance_that_has_gone_leaves_nothing(cluster, pair):
    mallory, _ = pair
    table = ("nft", "list", "table", "bridge", f"lxguard_{cluster.network}")
    assert mallory.host_name in run(*table, check=True).stdout
    cluster.ok("stop", "mallory", "--force")
    assert mallory.host_name not in run(*table, check=True).stdout
    cluster.ok("start", "mallory")
    assert mallory.host_name in run(*table, check=True).stdout
    cluster.ok("delete", "mallory", "--force")
    assert mallory.host_name not in run(*table, check=True).stdout
