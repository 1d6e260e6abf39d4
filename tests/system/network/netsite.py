"""Several machines (labs of netlab.py) on one wire: a cluster without a manager.

Each machine is a network namespace in which agent/network/ runs; what the manager would send
them is put together here. An instance is a namespace with one end of a veth pair.
"""

import netlab
from netlab import run

BR = "lxtbr0"
SUBNET4, SUBNET6 = "10.88.0.", "fd42:88::"
CONFIG = {"ipv4.address": SUBNET4 + "1/16", "ipv6.address": SUBNET6 + "1/64"}
VXLAN_ID = 1024


class Machine(netlab.Lab):
    def __init__(self, pb, site, number):
        super().__init__(pb, tag=f"m{number}")
        self.name, self.site = f"node{number}", site
        self.host4, self.host6 = f"{SUBNET4}{200 + number}", f"{SUBNET6}c{number}"
        self.address = site.address(number)

    def build(self):
        self.router = self.namespace("r")
        self.site.plug(self)
        self.a = self.agent()

    def peer(self):
        pb = self.pb
        return pb.NetworkPeer(node=self.name, address=self.address,
                              hosts=[pb.NetworkPeerHost(network=BR, ipv4=self.host4, ipv6=self.host6)])

    def apply(self, cards, peers, config=None, vxlan_id=VXLAN_ID):
        leases = [(c.instance, c.hwaddr, c.v4, c.v6) for c in cards]
        request = self.a.request((BR, {**CONFIG, **(config or {})}, leases), revision=self.site.revision)
        request.self_address = self.address
        request.peers.extend(p.peer() for p in peers if p is not self)
        spec = request.networks[0]
        spec.vxlan_id, spec.host_ipv4, spec.host_ipv6 = vxlan_id, self.host4, self.host6
        for lease, card in zip(spec.leases, cards):
            lease.node = card.at.name
        return self.a.ask("apply " + self.a.write_request(request))

    def here(self, card):
        answer = self.a.ask(f"here {BR} {card.hwaddr} {card.v4} {card.v6}")
        assert answer.error is None, answer.error

    def away(self, card, to):
        answer = self.a.ask(f"away {BR} {card.hwaddr} {card.v4} {card.v6} {to.name}")
        assert answer.error is None, answer.error

    def fdb(self, dev):
        return self.router_out("bridge", "fdb", "show", "dev", dev)


class Card:
    """An instance: the namespace it lives in, its addresses, and the machine it is plugged in at."""

    def __init__(self, site, number, at):
        self.site, self.at = site, at
        self.instance, self.hwaddr = f"c{number}", f"02:00:00:00:00:{number:02x}"
        self.v4, self.v6 = f"{SUBNET4}{number}", f"{SUBNET6}{number:x}"
        self.ns = at.namespace(f"i{number}")
        self.port = None

    def plug(self):
        self.port = f"port{self.site.number()}"
        run("ip", "link", "add", self.port, "netns", self.at.router, "type", "veth", "peer", "name", "eth0",
            "address", self.hwaddr, "netns", self.ns)
        self.at.at(self.at.router, "ip", "link", "set", self.port, "master", BR, "up")
        self.do("ip", "link", "set", "eth0", "up")
        self.do("ip", "addr", "add", self.v4 + "/16", "dev", "eth0")
        self.do("ip", "addr", "add", self.v6 + "/64", "dev", "eth0", "nodad")
        self.do("ip", "route", "add", "default", "via", SUBNET4 + "1")
        self.do("ip", "-6", "route", "add", "default", "via", SUBNET6 + "1")
        return self

    def unplug(self):
        """Frozen: what it knows of its neighbours stays with it."""
        self.known = self.neighbours()
        self.at.at(self.at.router, "ip", "link", "set", self.port, "nomaster", "down")

    def plug_at(self, to):
        """Restored there: the same interface in every respect, only its other end is in another bridge."""
        self.at.at(self.at.router, "ip", "link", "set", self.port, "netns", to.router)
        self.at = to
        to.at(to.router, "ip", "link", "set", self.port, "master", BR, "up")
        for who, hwaddr in self.known:
            self.do("ip", "neigh", "replace", who, "lladdr", hwaddr, "nud", "reachable", "dev", "eth0")

    def neighbours(self):
        lines = self.do("ip", "neigh", "show", "dev", "eth0").stdout.splitlines()
        words = [line.split() for line in lines]
        return [(w[0], w[w.index("lladdr") + 1]) for w in words if "lladdr" in w and not w[0].startswith("fe80")]

    def do(self, *argv, **kw):
        return run("ip", "netns", "exec", self.ns, *argv, **kw)

    def ping(self, address, count=1, wait=2):
        return self.do("ping", "-c", str(count), "-W", str(wait), "-i", "0.1", address, check=False).returncode == 0


class Site:
    """The wire between the machines, a bridge in a namespace of its own, and the machines."""

    def __init__(self, pb, v6=False):
        self.pb, self.v6 = pb, v6
        self.count = self.revision = 0
        self.wire = netlab.Lab(pb, tag="w")
        self.machines, self.cards = [], []

    def number(self):
        self.count += 1
        return self.count

    def address(self, number):
        return f"2001:db8:7::{number}" if self.v6 else f"192.0.2.{number}"

    def build(self, n):
        self.ns = self.wire.namespace("s")
        self.wire.at(self.ns, "ip", "link", "add", "wire", "type", "bridge")
        self.wire.at(self.ns, "ip", "link", "set", "wire", "up")
        for i in range(1, n + 1):
            machine = Machine(self.pb, self, i)
            self.machines.append(machine)
            machine.build()
        return self.machines

    def plug(self, machine):
        port = f"w{machine.name}"
        run("ip", "link", "add", "up0", "netns", machine.router, "type", "veth", "peer", "name", port, "netns", self.ns)
        self.wire.at(self.ns, "ip", "link", "set", port, "master", "wire", "up")
        machine.at(machine.router, "ip", "addr", "add", machine.address + ("/64" if self.v6 else "/24"), "dev", "up0",
                   *(["nodad"] if self.v6 else []))
        machine.at(machine.router, "ip", "link", "set", "up0", "up")

    def card(self, number, at):
        card = Card(self, number, at)
        self.cards.append(card)
        return card

    def apply(self, *only, machines=None, **kw):
        """What the manager does after a change: every machine gets all."""
        self.revision += 1
        members = machines or self.machines
        for machine in only or members:
            answer = machine.apply(self.cards, members, **kw)
            assert answer.error is None and answer.status == {BR: ""}, (machine.name, answer.error, answer.status)

    def close(self):
        for lab in [*self.machines, self.wire]:
            lab.close()
