#!/usr/bin/python3
"""Moves a whole Debian with redis there and back, again and again: 200 round trips without a failure.

    tests/bench/roundtrips.py                 prints how it went
    tests/bench/roundtrips.py --trips 20
    tests/bench/roundtrips.py --write         also rewrites the line in docs/performance.md

One TCP connection stays open through all of it, with a message every millisecond (move_load.c), and
redis counts. A failure is a move that is given up, an answer that is missing or out of order, a process
of the guest's that is not there any more, a count that is wrong, or a systemd that is not "running".
The first one ends the run.
"""
import argparse
import os
import signal
import statistics
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import migrate  # noqa: E402
from migrate import FAILURES, Broken, Peer, figures, ms  # noqa: E402
from testbed import Cluster, Unavailable, ensure_image  # noqa: E402

TELL_EVERY = 10


def processes(cluster, name):
    """Numbers and names inside, without those that come and go."""
    listed = cluster.ok("exec", name, "--", "sh", "-c", "for p in /proc/[0-9]*; do echo $(basename $p) $(cat $p/comm); done")
    lasting = ("systemd", "systemd-journal", "systemd-network", "systemd-logind", "dbus-daemon", "redis-server", "move_load")
    return {tuple(line.split(" ", 1)) for line in listed.splitlines() if line.split(" ", 1)[-1] in lasting}


def check(cluster, name, before, count):
    there = processes(cluster, name)
    if there != before:
        raise RuntimeError(f"processes were {sorted(before)} and are {sorted(there)}")
    said = cluster.ok("exec", name, "--", "redis-cli", "incr", "trips").strip()
    if said != str(count):
        raise RuntimeError(f"redis counts {said}, and should {count}")
    state = cluster.exec(name, "systemctl", "is-system-running").stdout.strip()
    if state != "running":
        raise RuntimeError(f"systemd says \"{state}\"")


def run(cluster, name, trips, stalls):
    peer = Peer(cluster, cluster.list()[name]["ipv4"])
    before = processes(cluster, name)
    try:
        peer.ask("g")
        for trip in range(1, trips + 1):
            for _ in range(2):
                peer.ask("r")
                migrate.move(cluster, name, "--live=required")
                stalls.append(ms(peer.stall()))
            check(cluster, name, before, trip)
            if trip % TELL_EVERY == 0:
                recent = stalls[-2 * TELL_EVERY:]
                print(f"{trip} round trips; of the last {TELL_EVERY}: stall {statistics.median(recent):.0f} ms, "
                      f"at most {max(recent):.0f}", flush=True)
    finally:
        peer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trips", type=int, default=200, help="round trips")
    parser.add_argument("--write", action="store_true", help="rewrite the line in docs/performance.md")
    args = parser.parse_args()
    if args.trips < 1:
        parser.error("--trips is at least 1")
    if os.geteuid() != 0:
        sys.exit("bench: needs root")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # cleans up as well
    stalls, began = [], time.monotonic()
    with Cluster("trips", nodes=2) as cluster:
        for image in ("busybox", "debian/12"):
            for i in range(2):
                ensure_image(cluster, image, node=i)
        cluster.ok("launch", "busybox", "peer", "--target", cluster.node_names[0])
        migrate.push(cluster, "peer")
        try:
            name = migrate.prepare_debian(cluster)
            run(cluster, name, args.trips, stalls)
        except Unavailable as e:
            sys.exit(f"bench: {e}")
        except (*FAILURES, Broken) as e:
            sys.exit(f"bench: after {len(stalls)} moves: {e}")
    took = time.monotonic() - began
    said = (f"{args.trips} round trips of a whole Debian with redis and one open connection, {len(stalls)} moves in a row: "
            f"no failure; stall {statistics.median(stalls):.0f} ms, at worst {max(stalls):.0f} ms")
    print(f"{said}; {took / 60:.0f} minutes")
    if args.write:
        figures.write("trips", said + ".", f"{args.trips} round trips")


if __name__ == "__main__":
    main()
