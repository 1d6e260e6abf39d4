#!/usr/bin/python3
"""Measures moves between two nodes and, in the same run, CRIU alone on the same containers.

    make bench                            prints the table, writes build/migrate.json
    tests/bench/migrate.py --write        also rewrites docs/performance.md's table of moves
    tests/bench/migrate.py --cases busybox,debian --rounds 3

An instance goes back and forth between two agents in network namespaces (tests/testbed) while a
peer, a process in another container, has one TCP connection to an echo server in it and sends a
message every millisecond (move_load.c). Its stall is the longest it has waited between two
answers, in a move and until all answers are in. Its answers must come in order and complete: a
connection that breaks is a failed move.

The floor of a round, taken between two moves:
  dump     a plain `criu dump --leave-running` of the frozen instance into a tmpfs, with the
           options of migration/criu.c, CRIU's start included
  restore  CRIU's restore within the move before, out of the phases of its report, with what
           lxmgr does at CRIU's steps: only liblxc can have it restore one of these containers
"""
import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "testbed"))
import figures  # noqa: E402
from testbed import BUILD, Cluster, Unavailable, ensure_image, machine, wait_for  # noqa: E402

PORT = 7777
LOAD = os.path.join(BUILD, "tests", "move_load")
QUIESCE = os.path.join(BUILD, "tests", "preflight-driver")
INSIDE = "/usr/local/bin/move_load"
MOVE_SECONDS = 300
CATCH_UP_SECONDS = 60
REWRITTEN = 10  # percent of a busy heap, every second
# From the dump's being there to the guest's running on, without what waits for the other node.
RESTORE_PHASES = ("criu-start", "restore-namespaces", "restore-network", "restore", "resume")
# As migration/criu.c has them.
DUMP_OPTIONS = ("--empty-ns", "net", "--network-lock", "skip", "-v1", "--tcp-established", "--file-locks",
                "--link-remap", "--force-irmap", "--skip-in-flight", "--manage-cgroups=full", "--cgroup-dump-controller", "",
                "--ext-mount-map", "auto",
                "--enable-external-sharing", "--enable-external-masters", "--enable-fs", "hugetlbfs", "--enable-fs",
                "tracefs", "--ghost-limit", str(1 << 30))

CASES = {
    "busybox": ("busybox", ""),
    "debian": ("Debian 12, systemd, redis", "stall 250 ms"),
    "heap": (f"the same, 512 MiB heap, {REWRITTEN} % of it rewritten every second", "stall 350 ms"),
    "postcopy": ("the same heap, half of it rewritten every second, --postcopy", ""),
    "idle": ("the same, 2 GiB heap, idle", "1.5x of the small one"),
    "shared": (f"the same, 512 MiB that processes share, {REWRITTEN} % of it rewritten every second", ""),
    "tmpfs": ("the same, a file of 256 MiB in /dev/shm", ""),
    "stopped": ("Debian 12, stopped, its image on the target", "150 ms"),
}
HEAPS = {"heap": ("heap", 512, REWRITTEN), "postcopy": ("heap", 512, 50), "idle": ("heap", 2048, 0),
         "shared": ("shared", 512, REWRITTEN), "tmpfs": ("tmpfs", 256, 0)}  # kind, MiB, percent
OPTIONS = {"postcopy": ("--postcopy",)}
SAMPLES = ("downtime", "peer_downtime", "stall", "total", "dump", "restore", "floor", "frozen_bytes")
FAILURES = (RuntimeError, TimeoutError, subprocess.SubprocessError)


def ms(ns):
    return ns / 1e6


def find_criu():
    libexec = "/usr/local/libexec/lxmgr"
    places = (os.path.join(BUILD, "libexec"), libexec, os.path.join(libexec, "criu", "sbin"), os.environ["PATH"])
    return shutil.which("criu", path=":".join(places))


# ---------------------------------------------------------------- the peer


class Broken(Exception):
    """The connection did not survive, or said something wrong."""


class Peer:
    """A connection from the instance `peer` to the echo server in another one."""

    def __init__(self, cluster, address):
        self.process = cluster.popen("exec", "peer", "--", INSIDE, "peer", address, str(PORT), stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def ask(self, letter):
        try:
            self.process.stdin.write(letter)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # its last words say why
        said = self.process.stdout.readline()
        answer = json.loads(said) if said else {"error": self.process.stderr.read().strip() or "the peer is gone"}
        if "error" in answer:
            raise Broken(answer["error"])
        return answer

    def stall(self):
        """The longest since it was last told to forget, when it has caught up; in nanoseconds."""
        end = time.monotonic() + CATCH_UP_SECONDS
        while True:
            time.sleep(0.2)
            answer = self.ask("s")
            if answer["waiting"] < 100:
                return answer["stall_ns"]
            if time.monotonic() > end:
                raise Broken(f"no answers {CATCH_UP_SECONDS} s after the move")

    def close(self):
        with contextlib.suppress(BrokenPipeError):  # it has gone already
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


# ---------------------------------------------------------------- the floor


class Floor:
    """CRIU's dump of an instance, by hand."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.criu = find_criu()
        self.tmpfs = os.path.join(cluster.dir, "floor")
        os.mkdir(self.tmpfs, 0o700)
        machine.run("mount", "-t", "tmpfs", "-o", "mode=0700", "tmpfs", self.tmpfs, check=True)
        with open("/proc/self/mountinfo", encoding="ascii", errors="replace") as f:
            self.cgroups = next(line.split()[4] for line in f if " - cgroup2 " in line)

    def dump(self, name):
        """How long it takes, in nanoseconds. The instance is as before afterwards."""
        shown = self.cluster.list()[name]
        agent = next(a for a in self.cluster.agents if a.node == shown["node"])
        cgroup = f"/{agent.cgroup_root}/{name}/payload"
        freezer = self.cgroups + cgroup
        images = os.path.join(self.tmpfs, "images")
        os.mkdir(images)
        argv = (*agent.inside, self.criu, "dump", "--leave-running", "--tree",
                str(shown["pid"]), "--images-dir", images, "--log-file", "dump.log", "--freeze-cgroup", freezer,
                "--cgroup-root", cgroup, *DUMP_OPTIONS)
        try:
            self.freeze(freezer, True)
            machine.run(QUIESCE, "quiesce", str(shown["pid"]), freezer, check=True)
            start = time.perf_counter_ns()
            done = machine.run(*argv, timeout=MOVE_SECONDS)
            took = time.perf_counter_ns() - start
            if done.returncode != 0:
                raise RuntimeError(f"CRIU cannot dump {name}: {self.why(images) or done.stderr}")
            return took
        finally:
            self.freeze(freezer, False)
            shutil.rmtree(images)

    def freeze(self, freezer, on):
        with open(os.path.join(freezer, "cgroup.freeze"), "w", encoding="ascii") as f:
            f.write("1" if on else "0")
        with open(os.path.join(freezer, "cgroup.events"), encoding="ascii") as f:
            wait_for(lambda: f.seek(0) == 0 and f"frozen {int(on)}" in f.read(), 10, 0.002)

    @staticmethod
    def why(images):
        try:
            with open(os.path.join(images, "dump.log"), encoding="utf-8", errors="replace") as f:
                return next((line.strip() for line in reversed(f.readlines()) if "Error" in line), None)
        except OSError:
            return None

    def remove(self):
        machine.run("umount", "-l", self.tmpfs)


# ---------------------------------------------------------------- instances


def boot_debian(cluster, name):
    cluster.ok("launch", "debian/12", name, "--target", cluster.node_names[0])
    ask = ("systemctl", "is-system-running", "--wait")
    state = wait_for(lambda: cluster.exec(name, *ask, timeout=120).stdout.strip(), 60, 0.1)
    if state != "running":
        raise RuntimeError(f"{name} is {state}:\n{cluster.exec(name, 'systemctl', '--failed', '--no-pager').stdout}")


def push(cluster, name):
    cluster.ok("exec", name, "--", "mkdir", "-p", os.path.dirname(INSIDE))
    cluster.ok("file", "push", "--mode", "0755", LOAD, name + INSIDE)


def unit(cluster, name, called, *args):
    cluster.ok("exec", name, "--", "systemd-run", "-q", "--unit", called, INSIDE, *args)


def prepare_busybox(cluster):
    cluster.ok("launch", "busybox", "small", "--target", cluster.node_names[0])
    push(cluster, "small")
    cluster.ok("exec", "small", "--", "sh", "-c", f"setsid {INSIDE} echo {PORT} </dev/null >/dev/null 2>&1 &")
    return "small"


def prepare_debian(cluster):
    """One instance for all cases with redis. Raises Unavailable when there is no redis to install."""
    if "deb" in cluster.list():
        return "deb"
    boot_debian(cluster, "deb")
    get = "apt-get update -qq && apt-get install -y -qq redis-server >/dev/null"
    done = cluster.cli("exec", "deb", "--env", "DEBIAN_FRONTEND=noninteractive", "--", "sh", "-c", get, timeout=300)
    if done.returncode != 0:
        cluster.ok("delete", "--force", "deb")
        raise Unavailable(f"redis-server cannot be installed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    wait_for(lambda: cluster.exec("deb", "redis-cli", "ping").stdout.strip() == "PONG", 20, 0.1, "redis answers")
    push(cluster, "deb")
    unit(cluster, "deb", "echo-server", "echo", str(PORT))
    return "deb"


@contextlib.contextmanager
def with_heap(cluster, name, kind, mib, percent):
    ready = "/run/heap.ready"
    unit(cluster, name, "heap", kind, str(mib), str(percent), ready)
    try:
        wait_for(lambda: cluster.exec(name, "test", "-e", ready).returncode == 0, 120, 0.2, "the heap is full")
        yield
    finally:
        cluster.cli("exec", name, "--", "sh", "-c", f"systemctl stop heap; rm -f {ready} /dev/shm/move-load")


# ---------------------------------------------------------------- measuring


def move(cluster, name, *options):
    """To the other node; returns the report, and how long the command took. A failure raises with what was said."""
    here = cluster.list()[name]["node"]
    target = next(n for n in cluster.node_names if n != here)
    start = time.perf_counter_ns()
    cluster.ok("move", name, "--target", target, "-q", *options, timeout=MOVE_SECONDS)
    took = time.perf_counter_ns() - start
    return json.loads(cluster.ok("info", name, "--format", "json"))["last_move"], took


def note_report(out, report, took):
    phases = report["phases_ns"]
    out["downtime"].append(ms(report["downtime_ns"]))
    out["peer_downtime"].append(ms(report["peer_downtime_ns"]))
    out["total"].append(ms(took))
    out["restore"].append(ms(sum(phases.get(p, 0) for p in RESTORE_PHASES)))
    out["frozen_bytes"].append(report["memory_frozen_bytes"] + report["file_frozen_bytes"])
    out["phases"].append({name: ms(ns) for name, ns in phases.items()})
    out["memory"] = report["memory"]


def measure_live(cluster, name, floor, rounds, out, options=()):
    address = cluster.list()[name]["ipv4"]
    peer = Peer(cluster, address)
    try:
        peer.ask("g")  # it has connected
        for i in range(rounds):
            try:
                peer.ask("r")
                note_report(out, *move(cluster, name, "--live=required", *options))
                out["stall"].append(ms(peer.stall()))
                measure_floor(name, peer, floor, out)
            except Broken as e:
                note_failure(out, i, f"the connection: {e}")
                peer.close()
                peer = Peer(cluster, address)
            except FAILURES as e:  # it stays where it was
                note_failure(out, i, e)
    finally:
        peer.close()


def measure_floor(name, peer, floor, out):
    peer.ask("p")  # nothing is under way that CRIU would have to keep out
    try:
        out["dump"].append(ms(floor.dump(name)))
        out["floor"].append(out["dump"][-1] + out["restore"][-1])
    except FAILURES as e:
        print(f"  no floor: {e}", flush=True)
    peer.ask("g")


def measure_stopped(cluster, rounds, out):
    name = "still"
    cluster.ok("create", "debian/12", name, "--target", cluster.node_names[0])
    for i in range(rounds):
        try:
            out["total"].append(ms(move(cluster, name)[1]))
        except FAILURES as e:
            note_failure(out, i, e)
    cluster.ok("delete", name)


def note_failure(out, i, why):
    out["failed"].append(str(why))
    print(f"  move {i + 1} failed: {why}" if i is not None else f"  failed: {why}", flush=True)


def check_debian(cluster, name, out):
    """Whether the moves have left it as it was."""
    state = cluster.exec(name, "systemctl", "is-system-running").stdout.strip()
    redis = cluster.exec(name, "redis-cli", "ping").stdout.strip()
    if (state, redis) != ("running", "PONG"):
        note_failure(out, None, f"afterwards systemd says \"{state}\" and redis \"{redis}\"")


def measure(cluster, case, floor, rounds, out):
    if case == "stopped":
        measure_stopped(cluster, rounds, out)
    elif case == "busybox":
        measure_live(cluster, prepare_busybox(cluster), floor, rounds, out)
    else:
        name = prepare_debian(cluster)
        with with_heap(cluster, name, *HEAPS[case]) if case in HEAPS else contextlib.nullcontext():
            measure_live(cluster, name, floor, rounds, out, OPTIONS.get(case, ()))
        check_debian(cluster, name, out)


def run_all(cases, rounds):
    results = {}
    with Cluster("bench-move", nodes=2) as cluster:
        images = {"busybox"} | ({"debian/12"} if set(cases) - {"busybox"} else set())
        for image in sorted(images):
            for i in range(2):
                ensure_image(cluster, image, node=i)
        cluster.ok("launch", "busybox", "peer", "--target", cluster.node_names[0])
        push(cluster, "peer")
        floor = Floor(cluster)
        try:
            for case in cases:
                print(f"{CASES[case][0]} ...", flush=True)
                out = {s: [] for s in (*SAMPLES, "phases", "failed")}
                results[case] = out
                try:
                    measure(cluster, case, floor, rounds, out)
                except Unavailable as e:
                    out["skipped"] = str(e)
                    print(f"  skipped: {e}", flush=True)
                except (*FAILURES, Broken) as e:
                    note_failure(out, None, e)
                print("  " + "; ".join(f"{h}: {c}" for h, c in zip(HEAD[1:], row(case, out)[1:]) if c), flush=True)
        finally:
            floor.remove()
    return results


# ---------------------------------------------------------------- showing


def spread(values, unit="ms", digits=0):
    """Median and worst."""
    return f"{statistics.median(values):.{digits}f} {unit} ({max(values):.{digits}f})" if values else ""


def row(case, out):
    what, goal = CASES[case]
    if "skipped" in out:
        return (what, "skipped: " + out["skipped"], "", "", "", "", "", goal)
    live = case != "stopped"
    floor = spread(out["floor"])
    if floor:
        floor += f": {statistics.median(out['dump']):.0f} + {statistics.median(out['restore']):.0f}"
    return (what, spread(out["downtime"]) if live else "", spread(out["stall"]), spread(out["total"]), floor,
            spread([b / (1 << 20) for b in out["frozen_bytes"]], "MiB", 1), str(len(out["failed"])), goal)


HEAD = ("median (worst)", "downtime, report", "stall, peer", "command, whole", "floor: CRIU's dump + restore",
        "sent while frozen", "failed", "goal")


def write_docs(rows, rounds):
    lines = ["| " + " | ".join(r) + " |" for r in (HEAD, ("---",) * len(HEAD), *rows)]
    figures.write("migrate", "\n".join(lines), f"{rounds} moves each")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="moves of each case")
    parser.add_argument("--cases", default=",".join(CASES), help="of " + ",".join(CASES))
    parser.add_argument("--write", action="store_true", help="rewrite the table of moves in docs/performance.md")
    args = parser.parse_args()
    cases = args.cases.split(",")
    if args.rounds < 1 or set(cases) - set(CASES):
        parser.error("--rounds is at least 1, --cases are of " + ",".join(CASES))
    if os.geteuid() != 0:
        sys.exit("bench: needs root")
    if not find_criu():
        sys.exit("bench: there is no CRIU; scripts/install-criu gets one")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # cleans up as well
    results = run_all(cases, args.rounds)
    with open(os.path.join(BUILD, "migrate.json"), "w", encoding="ascii") as f:
        json.dump(results, f, indent=1)
    rows = [row(case, out) for case, out in results.items()]
    widths = [max(len(r[i]) for r in (HEAD, *rows)) for i in range(len(HEAD))]
    for r in (HEAD, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(r, widths)).rstrip())
    if args.write:
        write_docs(rows, args.rounds)
    sys.exit(1 if any(out["failed"] for out in results.values()) else 0)


if __name__ == "__main__":
    main()
