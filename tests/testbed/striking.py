"""Strikes at a move: waiting for a moment of it, killing something or cutting the link, and mending that.

What is asserted afterwards is the tests': see test_cluster_move_faults.py.
"""

import glob
import os
import sys
import time

import grpc

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import machine  # noqa: E402

# A node sends no faster: a dump of that size is on its way long enough to be struck at.
SLOW = """table ip slow {
    chain output {
        type filter hook output priority 0;
        oifname eth0 limit rate over 40 mbytes/second burst 1 mbytes drop;
    }
}"""
CUT_SECONDS = 2
END_SECONDS = 90
# A moment that does not come before the end of the move is missed.
POLL_SECONDS = 0.002


def slow_down(cluster):
    for i in range(len(cluster.agents)):
        cluster.ns_exec(i, "nft", SLOW, check=True)


def begin_logs(cluster):
    """What was said before is of no interest to the next test."""
    for daemon in (cluster.manager, *cluster.agents):
        daemon.begin_log()


def mend_all(cluster):
    cluster.mend(0, 1)
    for agent in cluster.agents:
        if not agent.pid:
            agent.start()
    if not cluster.manager.pid:
        cluster.start_manager()
    cluster.wait_online()


def mend_managers(cluster):
    """All nodes are there again, and the manager comes to them."""
    for i, agent in enumerate(cluster.agents):
        cluster.mend_manager(i)
        if not agent.pid:
            agent.start()
    cluster.wait_online()


# ---------------------------------------------------------------- moments


def states(cluster, i, ident=""):
    """States of the moves in node i's journal; of one operation (and its further tries), or all."""
    found = []
    for path in glob.glob(f"{cluster.agents[i].dir}/moves/*.pb"):
        try:
            with open(path, "rb") as f:
                rec = cluster.api.pb.MoveRecord.FromString(f.read())
        except OSError:
            continue
        if rec.operation.startswith(ident):
            found.append(cluster.api.pb.MoveState.Name(rec.state).removeprefix("MOVE_STATE_"))
    return found


class Moment:
    """Comes true when the operation has reached a phase, or a node's journal a state."""

    def __init__(self, name):
        self.name = name

    def watch(self, cluster, ident, source):
        """Waits for it; False when the move has ended before."""
        kind, _, what = self.name.partition(":")
        end = time.monotonic() + END_SECONDS
        if kind == "phase":
            return self._watch_phase(cluster, ident, what)
        node = source if kind == "source" else 1 - source
        while time.monotonic() < end:
            there = states(cluster, node, ident)
            if what in there:
                return True
            if "DONE" in there or "ABORTED" in there:
                return False
            time.sleep(POLL_SECONDS)
        return False

    @staticmethod
    def _watch_phase(cluster, ident, what):
        try:
            for op in cluster.api.operations.Watch(cluster.api.pb.OperationRequest(id=ident), timeout=END_SECONDS):
                if op.phase == what:
                    return True
        except grpc.RpcError:
            pass
        return False


# ---------------------------------------------------------------- strikes


def arguments(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read().decode(errors="replace").split("\0")
    except OSError:
        return [""]


def find(wanted):
    return [int(p) for p in os.listdir("/proc") if p.isdigit() and wanted(arguments(p))]


def strike_worker(cluster, i):
    agent = cluster.agents[i]
    # A worker that waits for work does not matter. One that it has forked for a moment is another process.
    found = find(lambda a: a[0] == "lx-move-worker" and a[1:2] == [agent.dir])
    for pid in [p for p in found if machine.parent(p) not in found]:
        machine.kill(pid)
    return bool(found)


def strike_criu(cluster, i):
    moves = f"{cluster.agents[i].run_dir}/moves/"
    found = find(lambda a: a[0].endswith("/criu") and any(moves in x for x in a))
    for pid in found:
        machine.kill(pid)
    return bool(found)


def strike(cluster, what, source):
    """Returns whether there was something to strike at."""
    if what == "manager":
        cluster.kill("manager")
    elif what == "link":
        cluster.cut(0, 1)
    else:
        side, _, part = what.partition(" ")
        i = source if side == "source" else 1 - source
        if part == "worker":
            return strike_worker(cluster, i)
        if part == "criu":
            return strike_criu(cluster, i)
        cluster.kill(i)
    return True


STRIKES = ["manager", "source agent", "destination agent", "source worker", "destination worker", "source criu",
           "destination criu", "link"]


def put_in_order(cluster, what):
    if what == "link":
        time.sleep(CUT_SECONDS)
    mend_all(cluster)


def brief(op):
    return f"{op.status} {op.phase} {op.error}"


def unsettled(cluster):
    return [s for i in range(2) for s in states(cluster, i) if s not in ("DONE", "ABORTED")]
