"""Frames as an attacker would make them, and guests that send and hear them (frames.c).

A claim "this does not get through" is made of two frames on the same way, one after the other: the
attack, and its legitimate twin. When the twin has arrived, the attack would have been there.
"""

import ipaddress
import os
import struct
import subprocess

import testbed

FRAMES = os.path.join(testbed.BUILD, "tests", "frames")
BROADCAST = "ff:ff:ff:ff:ff:ff"
HEAR_SECONDS = 20


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def link_local(hwaddr):
    """The address an interface gives itself (EUI-64)."""
    m = bytearray(mac(hwaddr))
    m[0] ^= 2
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + bytes(m[:3]) + b"\xff\xfe" + bytes(m[3:])))


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ether(to, src, kind, payload):
    return mac(to) + mac(src) + struct.pack("!H", kind) + payload.ljust(46, b"\0")


def vlan(frame, number):
    """The same inside a tag."""
    return frame[:12] + struct.pack("!HH", 0x8100, number) + frame[12:]


def ipv4(src, dst, proto, payload):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, proto, 0,
                       ipaddress.IPv4Address(src).packed, ipaddress.IPv4Address(dst).packed)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def udp(sport, dport, data):
    """Without a checksum, as IPv4 allows; who only listens does not mind in IPv6."""
    return struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data


def ipv6(src, dst, proto, payload, before=b""):
    """`before`: an extension header of kind 60 (destination options), with room for what follows."""
    first = 60 if before else proto
    return struct.pack("!IHBB16s16s", 6 << 28, len(before) + len(payload), first, 255, ipaddress.IPv6Address(src).packed,
                       ipaddress.IPv6Address(dst).packed) + before + payload


def icmpv6(src, dst, kind, body, before=b""):
    pseudo = ipaddress.IPv6Address(src).packed + ipaddress.IPv6Address(dst).packed
    text = struct.pack("!BBH", kind, 0, 0) + body
    total = checksum(pseudo + struct.pack("!II", len(text), 58) + text)
    return ipv6(src, dst, 58, text[:2] + struct.pack("!H", total) + text[4:], before)


def arp(operation, sender_mac, sender_ip, target_mac, target_ip):
    return struct.pack("!HHBBH", 1, 0x800, 6, 4, operation) + mac(sender_mac) + \
        ipaddress.IPv4Address(sender_ip).packed + mac(target_mac) + ipaddress.IPv4Address(target_ip).packed


def advertisement(src, target, hwaddr, mark, before=b""):
    """A neighbour advertisement to all, overriding; the mark is an option nobody knows."""
    option = b"\x02\x01" + mac(hwaddr) + b"\xfd\x01" + mark[:6]
    return icmpv6(src, "ff02::1", 136, struct.pack("!I", 0xA0000000) + ipaddress.IPv6Address(target).packed + option,
                  before)


def router(src, mark, before=b""):
    """A router advertisement: default router for half an hour."""
    return icmpv6(src, "ff02::1", 134, struct.pack("!BBHII", 64, 0, 1800, 0, 0) + b"\xfd\x01" + mark[:6], before)


class Guest:
    """An instance with the program in it, and what its card may say."""

    def __init__(self, cluster, name):
        self.cluster, self.name = cluster, name
        cluster.ok("file", "push", FRAMES, f"{name}/root/frames", "--mode", "0755")
        self.refresh()

    def refresh(self):
        nic = self.cluster.instance(self.name).nics[0]
        self.hwaddr, self.host_name = nic.hwaddr, nic.host_name
        self.v4, self.v6 = nic.ipv4_address.split("/")[0], nic.ipv6_address.split("/")[0]
        self.link_local = link_local(self.hwaddr)

    def send(self, *frames):
        done = self.cluster.exec(self.name, "/root/frames", "send", "eth0", *(f.hex() for f in frames))
        assert done.returncode == 0, done.stderr

    def hear(self, last, *marks):
        """Begins to listen; returns when it does."""
        ear = self.cluster.popen("exec", self.name, "--", "/root/frames", "hear", "eth0", str(HEAR_SECONDS), last.hex(),
                                 *(m.hex() for m in marks), stdout=subprocess.PIPE)
        assert ear.stdout.readline() == "ready\n"
        return ear


def heard(ear, what):
    """The frames it heard, once the last one came."""
    out, _ = ear.communicate(timeout=HEAR_SECONDS + 10)
    assert ear.returncode == 0, f"{what}: its legitimate twin did not get through"
    return [bytes.fromhex(line) for line in out.split()]


def try_it(what, attacker, victim, attack, twin, through=False, twin_from=None):
    """Whether `attack(mark)` reaches the victim; twin(mark) always must, by the attacker unless said."""
    bad, good = os.urandom(8)[:6], os.urandom(8)[:6]
    ear = victim.hear(good, bad)
    try:
        attacker.send(attack(bad))
        (twin_from or attacker).send(twin(good))
        frames = heard(ear, what)
    finally:
        ear.kill()
        ear.wait()
    assert any(bad in f for f in frames) == through, f"{what}: {'did not get' if through else 'got'} through"
