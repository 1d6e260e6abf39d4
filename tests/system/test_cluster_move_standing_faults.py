"""Never lost, never twice, for moves of what stands still: cold ones, and near-live ones.

As test_cluster_move_faults.py, with a file that takes a while to send. Afterwards one node has the
instance and the manager knows which; a cold one has not been started and boots where it is; a
near-live one runs, there once, and has all of its file either way.
"""

import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import moving  # noqa: E402
from striking import END_SECONDS, STRIKES, Moment, begin_logs, brief, mend_all, put_in_order, slow_down, states, strike, unsettled  # noqa: E402
from testbed import wait_for  # noqa: E402

MEGABYTES = 16
LATER = ["phase:last files", "destination:READY", "source:COMMITTED", "destination:COMMITTED"]
MOMENTS = {"cold": LATER, "near-live": ["phase:files", "phase:stop", *LATER]}
# There is no CRIU.
HERE = [s for s in STRIKES if not s.endswith("criu")]


CLUSTER = "standing"


@pytest.fixture(scope="module")
def slow(whole):
    slow_down(whole)
    return whole


@pytest.fixture
def two(slow):
    begin_logs(slow)
    slow.ok("launch", "busybox", "m1", "--target", slow.node_names[0])
    yield slow
    mend_all(slow)
    slow.remove_instances()
    moving.wait_clean(slow)


def fill(cluster, megabytes=MEGABYTES):
    script = f"dd if=/dev/urandom of=/root/noise bs=1M count={megabytes} 2>/dev/null; sync; sha256sum /root/noise"
    return cluster.exec("m1", "sh", "-c", script).stdout


def same(cluster, noise):
    return cluster.exec("m1", "sha256sum", "/root/noise").stdout == noise


def homes(cluster):
    """Numbers of the nodes that have it on disk."""
    return [i for i, agent in enumerate(cluster.agents) if os.path.exists(f"{agent.dir}/instances/m1/spec.pb")]


def check_cold(cluster, noise, where):
    assert cluster.status("m1") == "STOPPED", where
    cluster.ok("start", "m1")
    assert same(cluster, noise), where
    cluster.ok("stop", "m1", "--force")


def check_running(cluster, noise, where):
    wait_for(lambda: cluster.status("m1") == "RUNNING", 20, 0.1, f"{where}: it runs, {cluster.instance('m1')}")
    # The payload's own processes, on both nodes.
    guests = [moving.processes(cluster, "m1", i) for i in range(2)]
    home = cluster.node_names.index(cluster.instance("m1").node)
    assert guests[home] and not guests[1 - home], where
    assert same(cluster, noise), where


def case(cluster, how, noise, what, moment):
    source = cluster.node_names.index(cluster.instance("m1").node)
    where = f"{how}: {what} at {moment}"
    live = cluster.api.pb.LIVE_MODE_OFF if how == "near-live" else cluster.api.pb.LIVE_MODE_UNSPECIFIED
    ident = cluster.api.instances.Move(moving.request(cluster, "m1", 1 - source, live=live)).id
    struck = Moment(moment).watch(cluster, ident, source) and strike(cluster, what, source)
    if struck:
        put_in_order(cluster, what)
    op = moving.ended(cluster, ident, END_SECONDS)
    moved = op.status == cluster.api.pb.OPERATION_STATUS_SUCCESS
    wait_for(lambda: not unsettled(cluster), 20, 0.1, f"{where}: both journals have ended, {states(cluster, 0)} {states(cluster, 1)}; {brief(op)}")
    home = cluster.node_names.index(cluster.instance("m1").node)
    assert moved == (home != source) and (moved or op.error), f"{where}: home is {home}, {brief(op)}"
    wait_for(lambda: homes(cluster) == [home], 20, 0.1, f"{where}: it lies on {homes(cluster)}, home is {home}; {brief(op)}")
    (check_cold if how == "cold" else check_running)(cluster, noise, where)
    moving.wait_clean(cluster, but=["m1"])
    return f"{where}: {'struck' if struck else 'missed'}, {'moved' if moved else f'stayed ({op.error})'}"


@pytest.mark.limit(300)
@pytest.mark.parametrize("what", HERE)
@pytest.mark.parametrize("how", MOMENTS)
def test_struck(two, how, what):
    noise = fill(two)
    if how == "cold":
        two.ok("stop", "m1", "--force")
    for moment in MOMENTS[how]:
        print(case(two, how, noise, what, moment))


def test_source_and_manager_are_gone_at_once(two):
    """A double fault: the target alone knows that it has committed, and says so when somebody is back to ask."""
    noise = fill(two)
    ident = two.api.instances.Move(moving.request(two, "m1", 1, live=two.api.pb.LIVE_MODE_OFF)).id
    assert Moment("source:COMMITTED").watch(two, ident, 0)
    two.kill(0)
    two.kill("manager")
    put_in_order(two, "both")
    op = moving.ended(two, ident, END_SECONDS)
    assert op.status == two.api.pb.OPERATION_STATUS_SUCCESS, op.error
    wait_for(lambda: homes(two) == [1], 20, 0.1, "it lies at the target alone")
    check_running(two, noise, "double fault")


def test_link_is_cut_for_long_after_the_commit(two):
    """A partition between COMMIT and its acknowledgement: nothing runs twice meanwhile, and it ends by itself."""
    noise = fill(two)
    ident = two.api.instances.Move(moving.request(two, "m1", 1, live=two.api.pb.LIVE_MODE_OFF)).id
    assert Moment("source:COMMITTED").watch(two, ident, 0)
    two.cut(0, 1)
    assert not moving.processes(two, "m1", 0), "it runs at the source, which has given it away"
    wait_for(lambda: moving.processes(two, "m1", 1) or "READY" in states(two, 1), 30, 0.2, "the target has it, or waits for the word")
    two.mend(0, 1)
    op = moving.ended(two, ident, END_SECONDS)
    assert op.status == two.api.pb.OPERATION_STATUS_SUCCESS, op.error
    wait_for(lambda: homes(two) == [1] and not unsettled(two), 20, 0.1, "both have settled")
    check_running(two, noise, "long partition")


def test_bytes_are_told_as_they_go(two):
    """Not only at the end of a step: of one that takes a second it is seen how far it is."""
    noise = fill(two, 64)
    ident = two.api.instances.Move(moving.request(two, "m1", 1, live=two.api.pb.LIVE_MODE_OFF)).id
    seen = {op.progress_done for op in two.api.operations.Watch(two.api.pb.OperationRequest(id=ident), timeout=END_SECONDS)
            if op.phase == "files"}
    assert len([n for n in seen if 1 << 20 < n < 64 << 20]) > 1, seen
    assert moving.ended(two, ident, END_SECONDS).status == two.api.pb.OPERATION_STATUS_SUCCESS
    check_running(two, noise, "as they go")
