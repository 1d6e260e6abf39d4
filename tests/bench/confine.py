#!/usr/bin/python3
"""What confinement adds to a start, and how long its policies take to write.

    make bench                              prints the table
    tests/bench/confine.py --write          also rewrites docs/performance.md's table of confinement

Instances of the busybox image that differ only in their confinement are started and stopped in
turn, command line to Running; the difference to the least confined one is taken within each round.
A first start, which writes and compiles the policies, is not counted. AppArmor is part of it where
the kernel has it.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "testbed"))
import figures  # noqa: E402
import testbed  # noqa: E402

OPEN_CARD = ("-d", "eth0,security.mac_filtering=false", "-d", "eth0,security.ipv4_filtering=false",
             "-d", "eth0,security.ipv6_filtering=false")
CASES = {
    "none": ("no seccomp, no filter on the card",
             ("-c", "security.syscalls.deny_default=false", "-c", "security.apparmor=unconfined", *OPEN_CARD)),
    "default": ("as by default", ()),
    "hardened": ("profile hardened", ("-p", "default", "-p", "hardened")),
}
GOAL = "at most 15 ms"


def has_apparmor():
    return os.path.exists("/sys/kernel/security/apparmor/profiles")


def started(cluster, name):
    start = time.perf_counter()
    cluster.ok("start", name, "-q")
    took = (time.perf_counter() - start) * 1e3
    cluster.ok("stop", name, "--force", "-q")
    return took


def measure(cluster, rounds):
    for name, (_, options) in CASES.items():
        more = ("-c", "security.apparmor=unconfined") if name == "hardened" and not has_apparmor() else ()
        cluster.ok("create", "busybox", name, *options, *more)
        started(cluster, name)
    took = {name: [] for name in CASES}
    for _ in range(rounds):
        for name, times in took.items():
            times.append(started(cluster, name))
    return took


def table(took, policies):
    lines = ["| confinement | start, median | added to none, median | AppArmor's text | seccomp's text | goal |",
             "| --- | --- | --- | --- | --- | --- |"]
    for name, (what, _) in CASES.items():
        added = statistics.median(a - b for a, b in zip(took[name], took["none"]))
        p = policies.get(name)
        texts = f"{p['apparmor_us'] / 1e3:.2f} ms | {p['seccomp_us'] / 1e3:.2f} ms" if p else " | "
        lines.append(f"| {what} | {statistics.median(took[name]):.1f} ms | "
                     f"{'' if name == 'none' else f'{added:.1f} ms'} | {texts} | {'' if name == 'none' else f'{GOAL}; texts 1 ms'} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description="Measure what confinement adds to a start.")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--write", action="store_true", help="rewrite the table of confinement in docs/performance.md")
    args = parser.parse_args()
    why = testbed.missing()
    if why:
        print(f"skipped: {why}")
        return 0
    done = subprocess.run((os.path.join(testbed.BUILD, "tests", "policy_bench"),), check=True, capture_output=True)
    with testbed.Cluster("confine") as cluster:
        testbed.ensure_image(cluster, "busybox")
        took = measure(cluster, args.rounds)
    text = table(took, json.loads(done.stdout))
    print(text)
    if args.write:
        figures.write("confinement", text, f"{args.rounds} starts each, {'with' if has_apparmor() else 'without'} AppArmor")
    return 0


if __name__ == "__main__":
    sys.exit(main())
