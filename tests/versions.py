#!/usr/bin/python3
"""Versions one apart work together: clusters of what is built here and of another revision.

    make check-versions
    make check-versions VERSIONS_REVISION=v1.2
    tests/versions.py [--keep] [REVISION]

The other revision is the newest tag before this commit, else the parent of the last change of proto/. It is built
in a worktree below build/versions, which is removed at the end (--keep: it stays, and the next run is quicker). Two
clusters of two nodes each are run, with the command line of this version:

    the other's manager, agents of this version
    this version's manager, one agent of each

in which instances are launched, moved in both directions, kept in snapshots, evacuated and deleted. What a side
cannot do yet it has to refuse with an error that says so. What moves may change in a guest is for the older agent's
own tests to say: where there is one, the passenger (tests/testbed/moving.py) is theirs. Exit codes: 0 all went well, 1 something did not, 77 it
cannot run here.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import traceback

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests", "testbed"))
import moving  # noqa: E402
from moving import Echo, Guest  # noqa: E402
from testbed import BIN, BUILD, Cluster, Unavailable, ensure_image, missing  # noqa: E402

BUILD_SECONDS = 3600
EVACUATE_SECONDS = 150
CANNOT = 77


class CannotRun(Exception):
    """Not on this machine, or not with this revision; says why."""


# ---------------------------------------------------------------- the other revision


def git(*args):
    done = subprocess.run(["git", "-C", TOP, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CannotRun(f"git {args[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def default_revision():
    with contextlib.suppress(CannotRun):
        return git("describe", "--tags", "--abbrev=0", "HEAD^")
    return git("log", "-1", "--format=%H", "--", "proto") + "^"


def make(directory):
    """Its programs, and the guest of its tests, as a make of its own has them."""
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "BUILD")}
    log = f"{directory}.log"
    with open(log, "wb") as f:
        done = subprocess.run(["make", "-C", directory, "BUILD=build", "all", "build/tests/passenger"], stdin=subprocess.DEVNULL, stdout=f, stderr=f,
                              env=env, timeout=BUILD_SECONDS, check=False)
    if done.returncode != 0:
        raise CannotRun(f"it cannot be built here; {log} says why")
    os.unlink(log)
    return os.path.join(directory, "build")


@contextlib.contextmanager
def built(revision, keep):
    """Its build directory."""
    commit = git("rev-parse", "--verify", f"{revision}^{{commit}}")
    directory = os.path.join(BUILD, "versions", commit[:12])
    print(f"The other version: {git('show', '-s', '--format=%h of %cs, %s', commit)}", flush=True)
    try:
        if not os.path.isdir(directory):
            git("worktree", "add", "--detach", "--force", directory, commit)
        yield make(directory)
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
            git("worktree", "prune")


# ---------------------------------------------------------------- what is done


def refused(done, *words):
    """Why it was; what refuses says so and says something, whichever side it is."""
    said = done.stderr.strip()
    assert done.returncode == 1 and said.startswith("Error: ") and any(w in said.lower() for w in words), \
        f"exit code {done.returncode}: {done.stdout}{said}"
    return " ".join(line.removeprefix("Error: ").removeprefix("Hint: ") for line in said.splitlines())


def home_is(guest, i):
    assert guest.home() == i and guest.init(i) and not guest.init(1 - i), f"{guest.name} is not on node {i} alone"


def succeeded(cluster, op, mode):
    assert op.status == cluster.api.pb.OPERATION_STATUS_SUCCESS, f"{op.error} {op.hint}"
    said = cluster.api.pb.MoveMode.Name(op.move.mode)
    assert said == f"MOVE_MODE_{mode}", f"it went {said}, because {op.move.reason}"
    return op


class Site:
    """A cluster, and the guest that is moved about in it."""

    def __init__(self, cluster, programs, tests):
        self.cluster, self.programs, self.tests, self.guest = cluster, programs, tests, None
        self.nodes = cluster.node_names

    def launch(self):
        """By daemons that are what they are said to be."""
        for daemon, where in zip((self.cluster.manager, *self.cluster.agents), self.programs):
            assert os.path.dirname(os.readlink(f"/proc/{daemon.pid}/exe")) == os.path.realpath(where)
        self.guest = Guest(self.cluster, "m1", megabytes=48, tests=self.tests)
        self.cluster.ok("launch", "busybox", "other", "--target", self.nodes[1])

    def list(self):
        found = self.cluster.list()
        assert {n: (i["status"], i["node"]) for n, i in found.items()} == \
            {"m1": ("RUNNING", self.nodes[0]), "other": ("RUNNING", self.nodes[1])}, found
        nodes = {n["name"]: n["status"] for n in json.loads(self.cluster.ok("node", "list", "--format", "json"))}
        assert nodes == dict.fromkeys(self.nodes, "ONLINE"), nodes
        assert self.guest.address in self.cluster.ok("info", "m1")

    def exec(self):
        assert self.cluster.exec("m1", "hostname").stdout == "m1\n"
        done = self.cluster.exec("m1", "sh", "-c", "cat; exit 3", input="through\n")
        assert (done.returncode, done.stdout) == (3, "through\n"), done
        assert self.cluster.exec("other", "ping", "-c", "1", "-w", "10", self.guest.address).returncode == 0

    def live(self, *targets):
        """Whether a report tells all depends on who has sent it: what it has must be right."""
        echo = Echo.from_node(self.cluster, 0, self.guest.address)
        try:
            for target in targets or (1, 0, 1, 0):
                op = succeeded(self.cluster, moving.move(self.cluster, "m1", target), "LIVE")
                assert 0 < op.move.downtime_ns <= op.move.total_ns and not op.move.booted, str(op.move)
                assert op.move.peer_downtime_ns == 0 or op.move.peer_downtime_ns >= op.move.downtime_ns, str(op.move)
                home_is(self.guest, target)
                self.guest.check_files()
                self.guest.check_passenger()
                echo.check()
        finally:
            echo.close()
        moving.wait_clean(self.cluster, but=["m1", "other"])

    def near_live(self):
        for target in (1, 0):
            succeeded(self.cluster, moving.move(self.cluster, "m1", target, live=self.cluster.api.pb.LIVE_MODE_OFF), "NEAR_LIVE")
            home_is(self.guest, target)
            self.guest.check_files()
        self.guest.board()

    def cold(self):
        self.cluster.ok("stop", "--force", "m1")
        for target in (1, 0):
            succeeded(self.cluster, moving.move(self.cluster, "m1", target, live=self.cluster.api.pb.LIVE_MODE_UNSPECIFIED), "COLD")
            assert self.guest.home() == target and self.cluster.status("m1") == "STOPPED"
        self.cluster.ok("start", "m1")
        self.guest.check_files()
        self.guest.board()

    def snapshots(self):
        """Of an instance on each node, and along with a move; or whoever cannot says so."""
        said = {"m1": self.snapshot("m1"), "other": self.snapshot("other")}
        kept = [name for name in said if not said[name]]
        if len(kept) == 2:
            self.live(1, 0)
        elif kept:  # the other node has not got what would take it in
            there = self.nodes[kept == ["m1"]]
            said["move"] = refused(self.cluster.cli("move", kept[0], "--target", there, "--live=required"), "version")
        for name in kept:
            self.cluster.ok("snapshot", "delete", name, "before")
        return "; ".join(dict.fromkeys(s for s in said.values() if s))

    def snapshot(self, name):
        done = self.cluster.cli("snapshot", "create", name, "before")
        if done.returncode != 0:
            return refused(done, "version")
        self.cluster.ok("exec", name, "--", "sh", "-c", "echo after > /root/after")
        listed = json.loads(self.cluster.ok("snapshot", "list", name, "--format", "json"))
        assert [s["name"] for s in listed] == ["before"], listed
        self.cluster.ok("snapshot", "restore", name, "before")
        assert self.cluster.exec(name, "test", "-e", "/root/after").returncode == 1
        if name == "m1":
            self.guest.check_files()
            self.guest.board()
        return ""

    def evacuate(self):
        for i in (0, 1):
            before = self.guest.home()
            self.cluster.ok("node", "evacuate", self.nodes[i], timeout=EVACUATE_SECONDS)
            assert {x["node"] for x in self.cluster.list().values()} == {self.nodes[1 - i]}
            self.guest.check_passenger()
            self.cluster.ok("node", "restore", self.nodes[i], timeout=EVACUATE_SECONDS)
            home_is(self.guest, before)
            self.guest.check_passenger()

    def daemons(self):
        """Started again they find each other, and what they have stored. The guest is where it began."""
        self.cluster.restart("manager")
        for i in (0, 1):
            self.cluster.restart(i)
        self.list()
        self.guest.check_passenger()

    def stop(self):
        self.cluster.ok("stop", "m1")
        assert self.cluster.status("m1") == "STOPPED"
        self.cluster.ok("delete", "m1")
        self.cluster.ok("delete", "--force", "other")
        moving.wait_clean(self.cluster)


STEPS = {
    "launch": Site.launch,
    "list": Site.list,
    "exec": Site.exec,
    "live moves": Site.live,
    "near-live moves": Site.near_live,
    "cold moves": Site.cold,
    "snapshots": Site.snapshots,
    "evacuations": Site.evacuate,
    "restarted daemons": Site.daemons,
    "stop and delete": Site.stop,
}


def run_steps(cluster, programs, tests):
    """What went wrong, if anything has. What comes after it would tell nothing."""
    for i in range(2):
        ensure_image(cluster, "busybox", node=i)
    site = Site(cluster, programs, tests)
    for what, step in STEPS.items():
        try:
            said = step(site)
        except Exception:  # of any kind: it is shown
            print(f"  {what}: FAILED\n{traceback.format_exc()}", flush=True)
            for daemon in (cluster.manager, *cluster.agents):
                print(f"  {daemon.argv[0]} said:\n{daemon.said()}", flush=True)
            return what
        print(f"  {what}: {'refused: ' + said if said else 'well'}", flush=True)
    return None


def run_all(other):
    wrong, its = [], os.path.join(other, "bin")
    for what, programs, build in (
        ("its manager, agents of this version", (its, BIN, BIN), BUILD),
        ("this version's manager, an agent of each", (BIN, BIN, its), other),
    ):
        print(f"{what}:", flush=True)
        try:
            with Cluster("versions", nodes=2, manager_bin=programs[0], agent_bins=programs[1:]) as cluster:
                failed = run_steps(cluster, programs, os.path.join(build, "tests"))
        except (AssertionError, RuntimeError, TimeoutError) as e:  # it does not begin, or leaves something
            failed = str(e)
            print(f"  {failed}", flush=True)
        wrong += [f"{what}: {failed}"] if failed else []
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", nargs="?", metavar="REVISION")
    parser.add_argument("--keep", action="store_true", help="keep what is built of it")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # cleans up as well
    try:
        why = missing()
        if why:
            raise CannotRun(why)
        with built(args.revision or default_revision(), args.keep) as other:
            wrong = run_all(other)
    except (CannotRun, Unavailable) as e:
        print(f"check-versions: cannot run here: {e}", file=sys.stderr)
        sys.exit(CANNOT)
    print("\n".join(f"FAILED {w}" for w in wrong) if wrong else "Both work together.")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
