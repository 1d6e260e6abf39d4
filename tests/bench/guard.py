#!/usr/bin/python3
"""What the guard against spoofing costs the frames that pass it.

    tests/bench/guard.py                prints the table, writes build/guard.json
    tests/bench/guard.py --write        also rewrites docs/performance.md's table of the guard

A cluster of its own with two guests, of which one sends to the other without a pause: TCP (iperf3,
large frames) and then smallest frames, one at a time (frames.c). Meanwhile the guard's table is
made dormant and woken again, many times a minute, in the order with, without, without, with: two
slices that follow each other are a pair, so that what else the machine does falls on both. A slice
is what the host end of the sender's card has counted in it, without the moments of switching.
What is counted is the time that the kernel and the programs have had a processor for it, not that of
the clock on the wall: a neighbour that takes the processor away costs nothing. Frames are handled
where they are sent, in the sender's time or that of ksoftirqd.
Reported are the median of all pairs, and the interval in which that lies with 95 % certainty, by
order of the pairs: no outlier moves it.
"""

import argparse
import json
import os
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

GOAL = 0.05  # of what iperf3 measures
SETTLE, SLICE = 0.02, 0.08
PORT = 4009
# Somebody listens there, or each frame would be answered; nobody reads, so each is dropped when the first have filled the room.
LISTEN = f"import socket, time; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(('::', {PORT})); time.sleep(600)"


def interval(values):
    """The median, and the bounds that hold it with 95 % certainty: order statistics, by the normal approximation."""
    values = sorted(values)
    n = len(values)
    away = 0.98 * n ** 0.5
    return statistics.median(values), values[max(0, int(n / 2 - away))], values[min(n - 1, int(n / 2 + away))]


class Guard:
    def __init__(self, network):
        self.table = f"bridge lxguard_{network}"

    def switch(self, on):
        """A table that sleeps hangs at no hook, and keeps its sets."""
        text = f"add table {self.table} {{ {'' if on else 'flags dormant;'} }}\n"
        subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


class Card:
    """What the host end of a card has received from its guest, and the processor time that has gone into it."""

    def __init__(self, host_name, *programs):
        self.where = f"/sys/class/net/{host_name}/statistics/"
        # The clock of another process' time: clock_getcpuclockid(3).
        self.clocks = [~pid << 3 | 2 for pid in (*programs, *softirq_threads())]

    def read(self):
        spent = sum(time.clock_gettime(clock) for clock in self.clocks)
        with open(self.where + "rx_packets", encoding="ascii") as p, open(self.where + "rx_bytes", encoding="ascii") as b:
            return spent, int(p.read()), int(b.read())


def softirq_threads():
    names = {int(pid): open(f"/proc/{pid}/comm", encoding="ascii", errors="replace").read() for pid in os.listdir("/proc") if pid.isdigit()}
    return [pid for pid, name in names.items() if name.startswith("ksoftirqd/")]


def slices(guard, card, sender, pairs):
    """[(with, without)]: of each a dict of frames and bytes a second."""
    found = []
    for i in range(pairs):
        pair = {}
        for on in ((True, False), (False, True))[i % 2]:
            guard.switch(on)
            time.sleep(SETTLE)
            t, frames, size = card.read()
            time.sleep(SLICE)
            t2, frames2, size2 = card.read()
            if sender.poll() is not None:
                raise RuntimeError("the sender ended while it was measured")
            if frames2 > frames:  # TCP that has lost something may pause
                pair[on] = {"frames": (frames2 - frames) / (t2 - t), "bytes": (size2 - size) / (t2 - t)}
        if len(pair) == 2:
            found.append((pair[True], pair[False]))
    if len(found) < pairs / 2:
        raise RuntimeError(f"of {pairs} pairs {len(found)} had something sent in both")
    return found


def summary(what, pairs):
    """All of it by frames: what a frame is does not depend on the guard."""
    with_it, without = (statistics.median(p[i]["frames"] for p in pairs) for i in (0, 1))
    return {
        "what": what, "pairs": len(pairs), "with": with_it, "without": without,
        "bits": [statistics.median(8 * p[i]["bytes"] for p in pairs) for i in (0, 1)],
        "bytes": statistics.median(p[0]["bytes"] / p[0]["frames"] for p in pairs),
        "cost": interval(1 - a["bytes"] / b["bytes"] for a, b in pairs),
        "ns": interval(1e9 / a["frames"] - 1e9 / b["frames"] for a, b in pairs),
    }


def into(pid, cpu):
    return "taskset", "-c", str(cpu), "nsenter", "-t", str(pid), "-n"


def measure(guard, host_name, command, what, pairs, *others):
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as sender:
        try:
            time.sleep(1)
            return summary(what, slices(guard, Card(host_name, sender.pid, *others), sender, pairs))
        finally:
            guard.switch(True)
            sender.kill()


def iperf(guard, guests, pids, pairs, what, *options):
    to = guests["receiver"].v4
    seconds = int(10 + 2 * pairs * (SLICE + SETTLE + 0.2))
    with subprocess.Popen([*into(pids["receiver"], 0), "iperf3", "-s", "-1", "-B", to], stdout=subprocess.DEVNULL) as server:
        try:
            time.sleep(0.5)
            command = [*into(pids["sender"], 1), "iperf3", "-c", to, "-t", str(seconds), *options]
            return measure(guard, guests["sender"].host_name, command, what, pairs, server.pid)
        finally:
            server.kill()


def smallest(guard, guests, pids, pairs, version):
    a, b = guests["sender"], guests["receiver"]
    text = wire.udp(PORT, PORT, b"")
    frame = wire.ether(b.hwaddr, a.hwaddr, *((0x800, wire.ipv4(a.v4, b.v4, 17, text)) if version == 4 else
                                             (0x86dd, wire.ipv6(a.v6, b.v6, 17, text))))
    command = [*into(pids["sender"], 1), wire.FRAMES, "flood", "eth0", str(1 << 40), frame.hex()]
    with subprocess.Popen([*into(pids["receiver"], 0), sys.executable, "-c", LISTEN]) as listener:
        try:
            return measure(guard, a.host_name, command, f"smallest frames, UDP over IPv{version}, nothing else done for them", pairs)
        finally:
            listener.kill()


def table(rows):
    lines = ["| what passes, in a second of processor time | with it | without | it costs a frame (95 %) | it costs (95 %) | goal |", "| --- | --- | --- | --- | --- | --- |"]
    for r in rows:
        amounts = [f"{b / 1e9:.1f} Gbit/s" if r["bytes"] > 2000 else f"{f / 1e3:.0f} 000 frames/s"
                   for b, f in zip(r["bits"], (r["with"], r["without"]))]
        ns, cost = r["ns"], [100 * c for c in r["cost"]]
        lines.append(f"| {r['what']} | {amounts[0]} | {amounts[1]} | {ns[0]:.0f} ns ({ns[1]:.0f} to {ns[2]:.0f}) | "
                     f"{cost[0]:.1f} % ({cost[1]:.1f} to {cost[2]:.1f}) | {100 * GOAL:.0f} % |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description="Measure what the guard against spoofing costs.")
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--write", action="store_true", help="rewrite the table of the guard in docs/performance.md")
    args = parser.parse_args()
    why = testbed.missing() or (None if run("which", "iperf3").returncode == 0 else "there is no iperf3")
    if why:
        print(f"skipped: {why}")
        return 0
    with testbed.Cluster("guardcost") as cluster:
        testbed.ensure_image(cluster, "busybox")
        for name in ("sender", "receiver"):
            cluster.ok("launch", "busybox", name)
        guests = {name: wire.Guest(cluster, name) for name in ("sender", "receiver")}
        pids = {name: cluster.instance(name).pid for name in guests}
        guard = Guard(cluster.network)
        rows = [iperf(guard, guests, pids, args.pairs, "TCP (iperf3)"),
                iperf(guard, guests, pids, args.pairs, "UDP, 16 bytes a packet (iperf3)", "-u", "-l", "16", "-b", "0")]
        rows += [smallest(guard, guests, pids, args.pairs, version) for version in (4, 6)]
    with open(os.path.join(testbed.BUILD, "guard.json"), "w", encoding="utf-8") as f:
        json.dump(rows, f, indent=1)
    print(table(rows))
    if args.write:
        figures.write("guard", table(rows), f"{args.pairs} pairs of {1000 * SLICE:.0f} ms each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
