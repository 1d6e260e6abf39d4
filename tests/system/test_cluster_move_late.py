"""Moves whose source is away when they end: what is said of them until it is back, and then.

A source is struck once the target has its word that it has committed. The target tells the manager that it has the instance, and the
operation ends well; the figures are the source's to tell, or, of what was lost with its worker, the
target's.
"""

import json
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import moving  # noqa: E402
import testbed  # noqa: E402
from striking import END_SECONDS, SLOW, Moment, mend_managers, states, strike_worker  # noqa: E402
from testbed import wait_for  # noqa: E402

MEGABYTES = 8
TRIES = 5  # to be in time: between COMMIT and the end is less than a tenth of a second
MODES = {"live": "LIVE_MODE_REQUIRED", "near-live": "LIVE_MODE_OFF"}


@pytest.fixture(scope="module")
def several(able):
    with testbed.Cluster("late", nodes=3, manager_args=("--offline-after", "2")) as cluster:
        try:
            for i in range(3):
                testbed.ensure_image(cluster, "busybox", node=i)
        except testbed.Unavailable as e:
            pytest.skip(str(e))
        for i in range(3):
            cluster.ns_exec(i, "nft", SLOW, check=True)
        yield cluster


@pytest.fixture
def three(several):
    several.ok("launch", "busybox", "m1", "--target", several.node_names[0])
    several.exec("m1", "sh", "-c", f"dd if=/dev/urandom of=/root/noise bs=1M count={MEGABYTES} 2>/dev/null; sync", check=True)
    moving.talk(several, "m1")
    yield several
    mend_managers(several)
    several.remove_instances()
    moving.wait_clean(several)


def of_operation(cluster, ident):
    return json.loads(cluster.ok("operation", "show", ident, "--format", "json"))["move"]


def of_instance(cluster):
    return json.loads(cluster.ok("info", "m1", "--format", "json"))["last_move"]


def away(cluster, strike, how="near-live"):
    """A move from the first node to the second that ends without its source: the operation's id."""
    source, target = 0, 1
    for _ in range(TRIES):
        mode = getattr(cluster.api.pb, MODES[how])
        ident = cluster.api.instances.Move(moving.request(cluster, "m1", target, live=mode)).id
        # The source's word has gone through its agent; "done" has not come back yet.
        if Moment("destination:COMMITTED").watch(cluster, ident, source):
            strike(source)
        op = moving.ended(cluster, ident, END_SECONDS)
        assert op.status == cluster.api.pb.OPERATION_STATUS_SUCCESS, op.error
        if op.move.awaited:
            return ident
        # The source was quicker.
        cluster.mend_manager(source)
        if not cluster.agents[source].pid:
            cluster.agents[source].start()
        cluster.wait_online()
        moving.move(cluster, "m1", source, live=mode)
    raise AssertionError(f"in {TRIES} moves the source was never struck between COMMIT and its word")


def check_awaited(cluster, ident, mode):
    said = of_operation(cluster, ident)
    assert said["awaited"] and said["operation"] == ident
    assert cluster.node_names[0] in said["incomplete"] and "not told its figures yet" in said["incomplete"]
    assert (said["source"], said["target"]) == tuple(cluster.node_names[:2])
    assert said["mode"] == mode and said["finished_at"]
    assert (said["downtime_ns"], said["total_ns"], said["bytes_sent"]) == (0, 0, 0)
    assert of_instance(cluster) == said
    assert f"Still to come: node {cluster.node_names[0]} was away" in cluster.ok("info", "m1")


def wait_told(cluster, ident):
    wait_for(lambda: not of_operation(cluster, ident)["awaited"], 30, 0.1, "the source has told its figures")
    return of_operation(cluster, ident)


def check_told(cluster, said, ident, mode):
    assert said["incomplete"] == "" and not said["awaited"] and said["operation"] == ident
    assert (said["source"], said["target"], said["mode"]) == (*cluster.node_names[:2], mode)
    assert 0 < said["downtime_ns"] <= said["total_ns"] < END_SECONDS * 10**9
    if mode == "live":
        assert said["downtime_ns"] <= said["peer_downtime_ns"] <= said["total_ns"]
    else:  # it is stopped, and says nothing when it has been started
        assert said["peer_downtime_ns"] == 0
    assert said["files"] >= 1 and said["file_bytes"] >= MEGABYTES << 20 and said["bytes_sent"] >= MEGABYTES << 20
    assert said["finished_at"] and said["phases_ns"]


def check_forgotten(cluster):
    """The agents have been told that nobody will ask any more."""
    wait_for(lambda: not states(cluster, 0) and not states(cluster, 1), 20, 0.1,
             f"both agents forget it: {states(cluster, 0)} {states(cluster, 1)}")


@pytest.mark.parametrize("how", MODES)
@pytest.mark.limit(240)
def test_source_agent_is_killed_and_comes_back(three, how):
    ident = away(three, three.kill, how)
    check_awaited(three, ident, how)
    three.restart(0)
    said = wait_told(three, ident)
    check_told(three, said, ident, how)
    # What was left for the target to tell, which has its own names.
    assert {"commit", "files"} & set(said["phases_ns"])
    assert of_instance(three) == said
    check_forgotten(three)


def test_manager_is_restarted_in_between(three):
    ident = away(three, three.kill)
    check_awaited(three, ident, "near-live")
    three.restart("manager")
    check_awaited(three, ident, "near-live")
    three.restart(0)
    said = wait_told(three, ident)
    check_told(three, said, ident, "near-live")
    assert of_instance(three) == said
    check_forgotten(three)
    three.restart("manager")
    assert of_operation(three, ident) == of_instance(three) == said


def test_link_to_the_source_is_cut_and_mended(three):
    ident = away(three, three.cut_manager)
    check_awaited(three, ident, "near-live")
    three.mend_manager(0)
    said = wait_told(three, ident)
    check_told(three, said, ident, "near-live")
    assert of_instance(three) == said
    check_forgotten(three)


@pytest.mark.parametrize("how", MODES)
def test_worker_of_the_source_is_killed(three, how):
    """The agent has its journal, and asks the target for the rest before it says that it is done."""
    mode = getattr(three.api.pb, MODES[how])
    for _ in range(TRIES):
        ident = three.api.instances.Move(moving.request(three, "m1", 1, live=mode)).id
        assert Moment("source:COMMITTED").watch(three, ident, 0)
        if strike_worker(three, 0):
            break
        moving.ended(three, ident)
        moving.move(three, "m1", 0, live=mode)
    op = moving.ended(three, ident, END_SECONDS)
    assert op.status == three.api.pb.OPERATION_STATUS_SUCCESS, op.error
    said = of_operation(three, ident)
    check_told(three, said, ident, how)
    assert of_instance(three) == said
    check_forgotten(three)


def test_a_later_move_is_the_last_one(three):
    first = away(three, three.kill)
    second = moving.move(three, "m1", 2, live=three.api.pb.LIVE_MODE_OFF)
    assert second.status == three.api.pb.OPERATION_STATUS_SUCCESS, second.error
    last = of_instance(three)
    assert last["operation"] == second.id and not last["awaited"] and last["downtime_ns"] > 0
    three.restart(0)
    check_told(three, wait_told(three, first), first, "near-live")
    assert of_instance(three) == last
    check_forgotten(three)


def test_instance_is_deleted_meanwhile(three):
    ident = away(three, three.kill)
    three.ok("delete", "m1", "--force")
    assert of_operation(three, ident)["awaited"]
    three.restart(0)
    check_told(three, wait_told(three, ident), ident, "near-live")
    check_forgotten(three)
    three.restart("manager")
    assert not of_operation(three, ident)["awaited"]


def test_source_is_removed(able):
    """It will never tell, and that is said."""
    with testbed.Cluster("gone", nodes=2) as two:
        for i in range(2):
            testbed.ensure_image(two, "busybox", node=i)
            two.ns_exec(i, "nft", SLOW, check=True)
        two.ok("launch", "busybox", "m1", "--target", two.node_names[0])
        ident = away(two, two.kill)
        two.ok("node", "remove", two.node_names[0])
        said = wait_told(two, ident)
        assert said["incomplete"] == f"node {two.node_names[0]} was removed from the cluster before it told its figures"
        assert said["downtime_ns"] == 0 and of_instance(two) == said
        assert f"Incomplete: node {two.node_names[0]} was removed" in two.ok("info", "m1")
        wait_for(lambda: not states(two, 1), 20, 0.1, "the target forgets it")
        two.restart("manager")
        assert of_operation(two, ident) == of_instance(two) == said
        two.ok("delete", "m1", "--force")
