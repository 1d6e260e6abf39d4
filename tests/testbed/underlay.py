"""The network between the nodes of a test cluster: what a switch and its cables are to machines.

    the machine itself                         network namespace PREFIX-node1
      manager                                    agent of node 1, its bridges and guests
      PREFIXu0, bridge, .1  ---- PREFIXu1 ====== eth0, .2, default route to .1
                            ---- PREFIXu2 ====== ... node 2, .3

Packets for elsewhere are masqueraded by the machine, so that guests reach package mirrors. A
link is cut by dropping what comes from the other end and what goes there, on both sides; the
connections over it see a silence, as with a pulled cable.
"""

import json
import os

import machine

DEVICE = "eth0"  # a node's end
MANAGER = -1  # its index, where nodes have theirs from 0
DEFAULT_MTU = 1500

# What a node is but for its network, done once in a mount namespace of its own, which all daemons and workers of the
# node share as on a machine: /sys has to show the devices of its network namespace (liblxc looks there whether
# something is a bridge), with all that is mounted below it. $0 is an empty directory.
ENTER = """set -e
below=$(awk '$2 ~ "^/sys/" { print $2 }' /proc/self/mounts)
mount --rbind /sys "$0"
mount -t sysfs sysfs /sys
for at in $below; do mount --bind "$0/${at#/sys/}" "$at"; done
umount -l "$0"
"""


def _ip(*args):
    machine.run("ip", *args, check=True)


def _nft(script, inside=()):
    done = machine.run(*inside, "nft", script)
    if done.returncode != 0:
        raise RuntimeError(f"nft: {done.stderr}")


def uplink_mtu():
    """Of the device that leads out: packets that pass must fit there."""
    for route in json.loads(machine.run("ip", "-j", "route", "show", "default").stdout or "[]"):
        link = json.loads(machine.run("ip", "-j", "link", "show", route.get("dev", "lo")).stdout or "[]")
        if link:
            return link[0]["mtu"]
    return DEFAULT_MTU


class Underlay:
    def __init__(self, directory, prefix, subnet, nodes):
        self.stage = os.path.join(directory, "sys")
        self.mounts = os.path.join(directory, "mnt")  # mount namespaces, one a node
        self.prefix, self.subnet, self.nodes = prefix, subnet, nodes
        self.bridge, self.table = f"{prefix}u0", f"lxmgr_{prefix}u0"
        self.cuts = set()
        self.own = set()  # devices of a namespace that nobody has worked in yet

    def namespace(self, i):
        return f"{self.prefix}-node{i + 1}"

    def address(self, i):
        return str(self.subnet[i + 2])

    @property
    def manager_address(self):
        return self.address(MANAGER)

    def inside(self, i):
        """What to put before a command that is to see node i's network."""
        return ["nsenter", f"--net={machine.NAMESPACES}/{self.namespace(i)}", "--"]

    def enter(self, i):
        """What to put before a daemon of node i: as above, with its own /sys. The process id stays."""
        return [*self.inside(i)[:-1], f"--mount={self.mounts}/{i + 1}", "--"]

    def create(self):
        os.makedirs(self.stage, exist_ok=True)
        mtu = str(uplink_mtu())
        # With an address of its own: what it takes from its ports changes with them, and the nodes would not know.
        mac = "02:00:" + os.urandom(4).hex(":")
        _ip("link", "add", self.bridge, "address", mac, "mtu", mtu, "type", "bridge")
        _ip("address", "add", f"{self.manager_address}/{self.subnet.prefixlen}", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")
        with open("/proc/sys/net/ipv4/ip_forward", "r+", encoding="ascii") as f:
            if f.read().strip() == "0":
                f.write("1")
        _nft(f"""table ip {self.table} {{
            chain postrouting {{
                type nat hook postrouting priority srcnat;
                ip saddr {self.subnet} ip daddr != {self.subnet} masquerade
            }}
        }}""")
        os.makedirs(self.mounts, exist_ok=True)
        machine.run("mount", "--bind", self.mounts, self.mounts, check=True)
        machine.run("mount", "--make-private", self.mounts, check=True)  # or they could not lie in it
        for i in range(self.nodes):
            self._plug(i, mtu)
            where = f"{self.mounts}/{i + 1}"
            with open(where, "ab"):
                pass
            machine.run(*self.inside(i), "unshare", f"--mount={where}", "--propagation", "slave", "sh", "-c", ENTER,
                        self.stage, check=True)

    def _plug(self, i, mtu):
        name, cable = self.namespace(i), f"{self.prefix}u{i + 1}"
        _ip("netns", "add", name)
        _ip("link", "add", cable, "mtu", mtu, "type", "veth", "peer", "name", DEVICE, "mtu", mtu, "netns", name)
        _ip("link", "set", cable, "master", self.bridge, "up")
        _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", name, "address", "add", f"{self.address(i)}/{self.subnet.prefixlen}", "dev", DEVICE)
        _ip("-n", name, "link", "set", DEVICE, "up")
        _ip("-n", name, "route", "add", "default", "via", self.manager_address)
        self.own = self.devices(i)

    # ------------------------------------------------------------ cutting

    def _ends(self, i, j):
        """(node, peer) for the ends that are in a namespace: the machine's own rules are left alone."""
        return [(a, b) for a, b in ((i, j), (j, i)) if a != MANAGER]

    def cut(self, i, j):
        if frozenset((i, j)) in self.cuts:
            return
        self.cuts.add(frozenset((i, j)))
        for node, peer in self._ends(i, j):
            there = self.address(peer)
            _nft(f"""table ip cut{peer + 1} {{
                chain input {{ type filter hook input priority raw; ip saddr {there} drop; }}
                chain output {{ type filter hook output priority raw; ip daddr {there} drop; }}
            }}""", self.inside(node))

    def mend(self, i, j):
        if frozenset((i, j)) not in self.cuts:
            return
        self.cuts.remove(frozenset((i, j)))
        for node, peer in self._ends(i, j):
            _nft(f"delete table ip cut{peer + 1}", self.inside(node))

    # ------------------------------------------------------------ what is in there

    def devices(self, i):
        return {x["ifname"] for x in json.loads(machine.run(*self.inside(i), "ip", "-j", "link").stdout or "[]")}

    def leftovers(self, i):
        """What a node's daemons have left in its namespace."""
        if self.namespace(i) not in machine.namespaces(self.prefix):
            return []
        at, inside = f" in {self.namespace(i)}", self.inside(i)
        return [
            *(f"interface {n}{at}" for n in sorted(self.devices(i) - self.own)),
            *(f"nftables table {family} {name}{at}" for family, name in machine.tables(self.prefix, inside)),
        ]

    def remove(self):
        for i in range(self.nodes):
            machine.run("umount", f"{self.mounts}/{i + 1}")
            machine.run("ip", "link", "delete", f"{self.prefix}u{i + 1}")
            machine.run("ip", "netns", "delete", self.namespace(i))
        machine.run("umount", self.mounts)
        machine.run("ip", "link", "delete", self.bridge)
        machine.run("nft", "delete", "table", "ip", self.table)
        self.cuts.clear()
