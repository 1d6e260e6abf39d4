"""Moves whose operation had to end before anybody could say how they ended: it says so afterwards.

The manager waits a short while only for a node that is away. What the move comes to then is decided by
the agents alone, and told when the one that was away is back, or when it never will be.
"""

import json
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import machine  # noqa: E402
import moving  # noqa: E402
import testbed  # noqa: E402
from striking import END_SECONDS, Moment, mend_managers, slow_down, states  # noqa: E402
from testbed import wait_for  # noqa: E402

MEGABYTES = 24  # of which the target has a part when the strike comes
NODE_WAIT_SECONDS = 2
TRIES = 5


class Lab:
    """Two nodes and an instance on the first one."""

    def __init__(self, name):
        self.cluster = testbed.Cluster(name, nodes=2, manager_args=("--offline-after", "2", "--node-wait", str(NODE_WAIT_SECONDS)))

    def __enter__(self):
        self.cluster.__enter__()
        for i in range(2):
            testbed.ensure_image(self.cluster, "busybox", node=i)
        slow_down(self.cluster)
        return self

    def __exit__(self, *args):
        self.cluster.__exit__(*args)

    def launch(self):
        self.cluster.ok("launch", "busybox", "m1", "--target", self.cluster.node_names[0])
        self.cluster.exec("m1", "sh", "-c", f"dd if=/dev/urandom of=/root/noise bs=1M count={MEGABYTES} 2>/dev/null; sync", check=True)
        self.sum = self.noise()

    def noise(self):
        return self.cluster.exec("m1", "md5sum", "/root/noise", check=True).stdout

    def move(self, **kw):
        kw.setdefault("live", self.cluster.api.pb.LIVE_MODE_OFF)
        return self.cluster.api.instances.Move(moving.request(self.cluster, "m1", 1, **kw)).id

    def shown(self, ident):
        return json.loads(self.cluster.ok("operation", "show", ident, "--format", "json"))

    def check_open(self, ident):
        moving.ended(self.cluster, ident, END_SECONDS)
        said = self.shown(ident)
        assert (said["status"], said["outcome_open"], said["error_code"]) == ("FAILURE", True, "UNAVAILABLE"), said
        assert f"node {self.cluster.node_names[0]} has been away for {NODE_WAIT_SECONDS} seconds" in said["error"]
        assert f"lxmgr operation show {ident[:8]}" in said["hint"]

    def settled(self, ident):
        wait_for(lambda: not self.shown(ident)["outcome_open"], 30, 0.1, "the operation says how it ended")
        return self.shown(ident)

    def check_forgotten(self):
        wait_for(lambda: not states(self.cluster, 0) and not states(self.cluster, 1), 20, 0.1,
                 f"both agents forget it: {states(self.cluster, 0)} {states(self.cluster, 1)}")

    def check_runs(self, node):
        wait_for(lambda: self.cluster.status("m1") == "RUNNING", 20, 0.1, f"it runs: {self.cluster.instance('m1')}")
        assert self.cluster.instance("m1").node == self.cluster.node_names[node]
        assert self.noise() == self.sum


@pytest.fixture(scope="module")
def whole(able):
    try:
        with Lab("open") as lab:
            yield lab
    except testbed.Unavailable as e:
        pytest.skip(str(e))


@pytest.fixture
def lab(whole):
    whole.launch()
    yield whole
    mend_managers(whole.cluster)
    whole.cluster.remove_instances()
    moving.wait_clean(whole.cluster)


@pytest.mark.parametrize("restart", [False, True], ids=["undisturbed", "manager restarted"])
@pytest.mark.limit(180)
def test_source_dies_before_it_has_committed(lab, restart):
    ident = lab.move()
    assert Moment("source:RUNNING").watch(lab.cluster, ident, 0)
    lab.cluster.kill(0)
    lab.check_open(ident)
    if restart:
        lab.cluster.restart("manager")
        assert lab.shown(ident)["outcome_open"]
    lab.cluster.restart(0)
    said = lab.settled(ident)
    assert said["status"] == "FAILURE" and said["error_code"] == "ABORTED", said
    assert said["error"] == f"the agent of node {lab.cluster.node_names[0]} ended while it moved m1"
    lab.check_forgotten()
    lab.check_runs(0)
    lab.cluster.restart("manager")
    assert lab.shown(ident) == said


def open_and_moved(lab):
    """A move that came to its end while the manager could hear nobody: the operation's id."""
    ident = lab.move()
    assert Moment("source:RUNNING").watch(lab.cluster, ident, 0)
    for i in range(2):
        lab.cluster.cut_manager(i)
    lab.check_open(ident)
    wait_for(lambda: states(lab.cluster, 1, ident) == ["DONE"], END_SECONDS, 0.1, "the agents go on by themselves")
    return ident


def check_moved(lab, ident):
    said = lab.settled(ident)
    assert (said["status"], said["error"], said["hint"], said["error_code"]) == ("SUCCESS", "", "", ""), said
    lab.check_runs(1)
    for i in range(2):
        lab.cluster.mend_manager(i)
    wait_for(lambda: not lab.shown(ident)["move"]["awaited"], 30, 0.1, "the source tells its figures")
    report = lab.shown(ident)["move"]
    assert report["incomplete"] == "" and report["file_bytes"] >= MEGABYTES << 20 and report["downtime_ns"] > 0
    assert json.loads(lab.cluster.ok("info", "m1", "--format", "json"))["last_move"] == report
    lab.check_forgotten()


@pytest.mark.parametrize("first", [0, 1], ids=["source", "target"])
@pytest.mark.limit(180)
def test_manager_hears_nobody_while_it_moves(lab, first):
    ident = open_and_moved(lab)
    lab.cluster.mend_manager(first)
    if first == 0:
        # It has sent it away; where it is now, the target says.
        said = lab.settled(ident)
        assert said["status"] == "SUCCESS" and said["error"] == "", said
        lab.cluster.mend_manager(1)
    check_moved(lab, ident)


def burn_down(agent):
    """Nothing of what ran there runs on, nor what a worker was about to start."""
    wrong = []

    def gone():
        found = machine.processes(agent.dir, agent.cgroup_root)
        for pid in found:
            machine.kill(pid)
        wrong[:] = found or agent.tear_down()
        return not wrong

    try:
        wait_for(gone, 30, 0.2, "it burns down")
    except TimeoutError as e:
        raise AssertionError(f"{e}: {wrong}") from None


@pytest.mark.limit(180)
def test_source_is_removed(able):
    with Lab("openrm") as lab:
        lab.launch()
        ident = lab.move()
        assert Moment("source:RUNNING").watch(lab.cluster, ident, 0)
        lab.cluster.kill(0)
        lab.check_open(ident)
        burn_down(lab.cluster.agents[0])
        lab.cluster.ok("node", "remove", "--force", lab.cluster.node_names[0])
        said = lab.settled(ident)
        assert said["status"] == "FAILURE"
        assert said["error"] == f"node {lab.cluster.node_names[0]} was removed from the cluster before it told how the move ended"
        wait_for(lambda: not states(lab.cluster, 1), 20, 0.1, "the target forgets it")
        assert lab.cluster.cli("info", "m1").returncode != 0


def commit_to_the_dead(lab, live):
    """The target dies when the source has committed, and before it has said that it is done."""
    for _ in range(TRIES):
        ident = lab.move(live=live)
        if Moment("source:COMMITTED").watch(lab.cluster, ident, 0):
            lab.cluster.kill(1)
            if states(lab.cluster, 0, ident) == ["COMMITTED"] and states(lab.cluster, 1, ident) != ["DONE"]:
                return ident
            lab.cluster.restart(1)
        moving.ended(lab.cluster, ident, END_SECONDS)
        lab.cluster.wait_online()
        moving.move(lab.cluster, "m1", 0, live=lab.cluster.api.pb.LIVE_MODE_OFF)
    raise AssertionError(f"in {TRIES} moves the target was never struck after COMMIT")


@pytest.mark.parametrize("live", ["LIVE_MODE_REQUIRED", "LIVE_MODE_OFF"])
@pytest.mark.limit(240)
def test_target_is_removed_once_the_source_has_committed(able, live):
    """The only copy left is the source's: it takes it back, and nothing over there ever counts again."""
    with Lab("openback") as lab:
        cluster, (one, two) = lab.cluster, lab.cluster.node_names
        lab.launch()
        old = cluster.instance("m1").generation
        ident = commit_to_the_dead(lab, getattr(cluster.api.pb, live))
        refused = cluster.cli("node", "remove", two)
        assert refused.returncode == 1 and f"m1 is being moved to node {two}" in refused.stderr and "--force" in refused.stderr
        if cluster.is_online(two):
            assert cluster.cli("node", "remove", "--force", two).returncode == 1
        wait_for(lambda: not cluster.is_online(two), 10)
        # What the dead one left must not run on: it is a machine that burnt down.
        burn_down(cluster.agents[1])
        cluster.ok("node", "remove", "--force", two)
        said = lab.settled(ident)
        assert said["status"] == "FAILURE" and said["error_code"] == "ABORTED", said
        assert said["error"] == f"node {two} was removed from the cluster before it had said that it has m1"
        assert f"It is on node {one} again" in said["hint"] and "was started" in said["hint"]
        lab.check_runs(0)
        wait_for(lambda: cluster.instance("m1").generation > old + 1, 10, 0.1, "its generation is above the lost copy's")
        wait_for(lambda: not states(cluster, 0), 20, 0.1, f"the source forgets it: {states(cluster, 0)}")
        cluster.ok("restart", "m1")
        cluster.restart(0)
        lab.check_runs(0)
        cluster.ok("delete", "m1", "--force")
