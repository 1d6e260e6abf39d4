"""What clusters on one machine must not share: addresses, ports and host ids.

A slot is a number that a test program holds while it lives, through a socket in the abstract
namespace: the kernel lets go of it whatever happens to the program. Ranges follow from it.
"""

import ipaddress
import json
import socket
import subprocess

SLOTS = 60
IDS_FIRST = 2_000_000_000  # far from where real clusters begin
RANGES_PER_SLOT = 512  # of 65536 ids: that many instances


class Slot:
    def __init__(self):
        for number in range(SLOTS):
            held = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                held.bind(f"\0lxmgr-test-slot-{number}")
            except OSError:
                held.close()
                continue
            if overlaps(self.network_of(number)) or overlaps(self.underlay_of(number)):
                held.close()
                continue
            self.number, self.held = number, held
            self.network = self.network_of(number)
            self.underlay = self.underlay_of(number)
            self.idmap_base = IDS_FIRST + number * RANGES_PER_SLOT * 65536
            return
        raise RuntimeError("no slot for a test cluster is free: are old ones lying about? testbed.py sweep removes them")

    @staticmethod
    def network_of(number):
        return ipaddress.ip_network(f"10.{160 + number}.0.0/22")

    @staticmethod
    def underlay_of(number):
        """Where the nodes of a cluster of several have their addresses."""
        return ipaddress.ip_network(f"10.{160 + number}.4.0/24")

    def release(self):
        self.held.close()


def overlaps(network):
    """Whether the machine has a route into the network."""
    out = subprocess.run(("ip", "-j", "-4", "route", "show", "table", "all"), capture_output=True, text=True, check=True)
    for route in json.loads(out.stdout or "[]"):
        where = route.get("dst", "default")
        if where != "default" and ipaddress.ip_network(where, strict=False).overlaps(network):
            return True
    return False


def free_port():
    """A loopback port that nothing listens on, outside the range that the kernel picks from."""
    for port in range(20000, 30000):
        taken = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            taken.bind(f"\0lxmgr-test-port-{port}")
        except OSError:
            taken.close()
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                taken.close()
                continue
        return port, taken
    raise RuntimeError("no loopback port is free")
