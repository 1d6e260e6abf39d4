#!/usr/bin/python3
"""What a neighbour feels while one guest misbehaves.

    make bench                              prints the tables, writes build/neighbour.json
    tests/bench/neighbour.py --write        also rewrites docs/performance.md's table of neighbours

A cluster of its own, with three guests: one attacks, one is attacked, one only answers. The
machine pings that one before each attack and while it lasts; every round is such a pair. Attacks
are bounded in count, size and time, and stay in the guests' namespaces.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "testbed"), os.path.join(HERE, "..", "system", "attack")]
import figures  # noqa: E402
import testbed  # noqa: E402
import wire  # noqa: E402
from machine import run  # noqa: E402

PINGS, GAP = 150, 0.02
GOAL = 2.0


def pings(address):
    """Round trips in milliseconds; a lost one counts as the second it was waited for."""
    out = run("ping", "-n", "-c", str(PINGS), "-i", str(GAP), "-W", "1", address, timeout=120).stdout
    times = [float(t) for t in re.findall(r"time=([0-9.]+) ms", out)]
    return times + [1000.0] * (PINGS - len(times))


def p(times, share):
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


class Attack:
    def __init__(self, cluster, guests):
        self.cluster = cluster
        self.mallory, self.victim = guests["mallory"], guests["victim"]

    def flood(self, size):
        frame = wire.ether(self.victim.hwaddr, self.mallory.hwaddr, 0x800,
                           wire.ipv4(self.mallory.v4, self.victim.v4, 17, wire.udp(9, 9, bytes(size))))
        return [("/root/frames", "flood", "eth0", "3000000", frame.hex())] * 2

    def spoofed(self):
        frame = wire.ether(wire.BROADCAST, self.mallory.hwaddr, 0x800,
                           wire.ipv4("10.255.255.1", "255.255.255.255", 17, wire.udp(9, 9, bytes(18))))
        return [("/root/frames", "flood", "eth0", "3000000", frame.hex())] * 2

    def commands(self):
        bomb = "b() { b | b & }; b; sleep 20"
        hog = "while :; do dd if=/dev/zero of=/dev/null bs=400M count=1 2>/dev/null; done"
        fill = "while :; do dd if=/dev/zero of=/root/full bs=1M count=256 conv=fsync 2>/dev/null; done"
        return {
            "packet flood, smallest frames": self.flood(18),
            "packet flood, largest frames": self.flood(1200),
            "flood of spoofed broadcasts": self.spoofed(),
            "fork bomb (limits.processes=200)": [("sh", "-c", bomb)],
            "memory hog (limits.memory=128MiB)": [("sh", "-c", hog)],
            "disk filler (256 MiB, written again and again)": [("sh", "-c", fill)],
        }

    def stop(self):
        self.cluster.ok("restart", "mallory", "--force")
        self.mallory.refresh()


def neighbours(cluster, guests, rounds):
    rows = []
    attack = Attack(cluster, guests)
    address = guests["neighbour"].v4
    for what, commands in attack.commands().items():
        quiet, noisy = [], []
        for _ in range(rounds):
            quiet += pings(address)
            procs = [cluster.popen("exec", "mallory", "--", *c, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                     for c in commands]
            time.sleep(0.3)
            noisy += pings(address)
            over = [c for c, proc in zip(commands, procs) if proc.poll() is not None]
            attack.stop()
            for proc in procs:
                proc.wait(30)
            if over:
                raise RuntimeError(f"{what}: it was over before it was measured")
        rows.append({"what": what, "before": [p(quiet, .5), p(quiet, .95)], "while": [p(noisy, .5), p(noisy, .95)],
                     "lost": sum(t >= 1000 for t in noisy) / len(noisy)})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def table(rows):
    lines = ["| in one guest | a neighbour's ping before, median (95 %) | while | factor of the median (95 %) | lost |",
             "| --- | --- | --- | --- | --- |"]
    for r in rows:
        b, w = r["before"], r["while"]
        lines.append(f"| {r['what']} | {b[0]:.3f} ms ({b[1]:.3f}) | {w[0]:.3f} ms ({w[1]:.3f}) | "
                     f"{w[0] / b[0]:.1f}x ({w[1] / b[1]:.1f}x) | {100 * r['lost']:.1f} % |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description="Measure what neighbours of a bad guest feel.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="rewrite the table of neighbours in docs/performance.md")
    args = parser.parse_args()
    why = testbed.missing()
    if why:
        print(f"skipped: {why}")
        return 0
    with testbed.Cluster("neighbour") as cluster:
        testbed.ensure_image(cluster, "busybox")
        cluster.ok("launch", "busybox", "mallory", "-c", "limits.processes=200", "-c", "limits.memory=128MiB",
                   "-c", "limits.memory.swap=false")
        for name in ("victim", "neighbour"):
            cluster.ok("launch", "busybox", name)
        guests = {name: wire.Guest(cluster, name) for name in ("mallory", "victim", "neighbour")}
        rows = neighbours(cluster, guests, args.rounds)
    with open(os.path.join(testbed.BUILD, "neighbour.json"), "w", encoding="utf-8") as f:
        json.dump(rows, f, indent=1)
    text = table(rows)
    print(text)
    if args.write:
        figures.write("neighbours", text, f"{args.rounds} rounds of {PINGS} pings")
    return 0


if __name__ == "__main__":
    sys.exit(main())
