"""Everything off a node, and home again: what runs, what is stopped, what cannot go, and a
manager that is away for a while.

Whether what runs goes live is the business of the tests of moves; here it may go near-live.
"""

import json
import os
import re
import subprocess
import sys

import grpc
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import testbed  # noqa: E402
from testbed import wait_for  # noqa: E402


@pytest.fixture(scope="module")
def whole(able):
    with testbed.Cluster("evac", nodes=3) as cluster:
        try:
            for i in range(3):
                testbed.ensure_image(cluster, "busybox", node=i)
        except testbed.Unavailable as e:
            pytest.skip(str(e))
        yield cluster


@pytest.fixture
def three(whole):
    for daemon in (whole.manager, *whole.agents):
        daemon.begin_log()
    yield whole
    for agent in whole.agents:
        if not agent.pid:
            agent.start()
    if not whole.manager.pid:
        whole.start_manager()
    whole.wait_online()
    whole.wait_idle()
    whole.remove_instances()
    for node, shown in nodes(whole).items():
        if shown["cordoned"]:
            whole.ok("node", "uncordon", node)
    whole.wait_clean()


def nodes(cluster):
    return {n["name"]: n for n in json.loads(cluster.ok("node", "list", "--format", "json"))}


def where(cluster):
    return {name: i["node"] for name, i in cluster.list().items()}


def info(cluster, name):
    return json.loads(cluster.ok("info", name, "--format", "json"))


def stopped(cluster, node, *names):
    for name in names:
        cluster.ok("create", "busybox", name, "--target", node)


def running(cluster, node, *names):
    for name in names:
        cluster.ok("launch", "busybox", name, "--target", node)


def outcomes(done):
    """By name; `done` is a finished lxmgr with --format json."""
    return {o["name"]: o for o in json.loads(done.stdout)}


def begin(cluster, *args):
    return cluster.popen(*args, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def progress(cluster):
    """How many are done of the evacuation or restoration under way."""
    return max((o.progress_done for o in cluster.operations() if o.kind in ("node.evacuate", "node.restore")), default=0)


def operation(cluster, kind):
    """The last one of that kind."""
    return [o for o in cluster.operations(all=True) if o.kind == kind][-1]


def test_stopped_ones_go_and_come_home(three):
    one = three.node_names[0]
    stopped(three, one, "a", "b", "c")
    done = three.cli("node", "evacuate", one, "--format", "json", timeout=60, check=True)
    found = outcomes(done)
    assert {n: (o["moved"], o["mode"]) for n, o in found.items()} == {n: (True, "cold") for n in "abc"}
    assert nodes(three)[one]["cordoned"] and nodes(three)[one]["instances"] == 0
    assert where(three) == {n: found[n]["to"] for n in "abc"} and one not in where(three).values()
    assert all(info(three, n)["evacuated_from"] == one for n in "abc")
    op = operation(three, "node.evacuate")
    assert op.progress_done == op.progress_total == 3 and op.subject == one and op.user

    # Nothing is left, so it ends at once.
    assert three.cli("node", "evacuate", one, "--format", "json", check=True).stdout.strip() == "[]"

    # Only those come home; and they forget that they were away.
    stopped(three, three.node_names[1], "d")
    home = outcomes(three.cli("node", "restore", one, "--format", "json", timeout=60, check=True))
    assert {n: o["to"] for n, o in home.items()} == {n: one for n in "abc"}
    assert where(three) == {"a": one, "b": one, "c": one, "d": three.node_names[1]}
    assert not nodes(three)[one]["cordoned"] and all(info(three, n)["evacuated_from"] == "" for n in "abcd")
    assert three.cli("node", "restore", one, "--format", "json", check=True).stdout.strip() == "[]"
    three.ok("start", "a")
    assert three.exec("a", "hostname").stdout == "a\n"


def test_home_is_where_the_first_evacuation_found_it(three):
    one, two, rest = three.node_names
    stopped(three, one, "a")
    three.ok("node", "evacuate", one, "--to", two, timeout=60)
    assert where(three) == {"a": two}
    three.ok("node", "evacuate", two, timeout=60)
    assert where(three) == {"a": rest} and info(three, "a")["evacuated_from"] == one
    three.ok("node", "restore", two, timeout=60)
    assert where(three) == {"a": rest}
    # Moved home by hand: that ends it too.
    three.ok("node", "uncordon", one)
    three.ok("move", "a", "--target", one, timeout=60)
    assert info(three, "a")["evacuated_from"] == ""


def test_a_move_by_hand_is_no_evacuation(three):
    one, two, _ = three.node_names
    stopped(three, one, "a")
    three.ok("move", "a", "--target", two, timeout=60)
    assert info(three, "a")["evacuated_from"] == "" and info(three, "a")["last_move"]["mode"] == "cold"


@pytest.mark.limit(240)
@pytest.mark.parametrize("live", ["off", "preferred"])
def test_running_ones_go_and_come_home(three, live):
    one = three.node_names[0]
    running(three, one, "a", "b")
    stopped(three, one, "c")
    three.exec("a", "sh", "-c", "echo here >/root/file")
    found = outcomes(three.cli("node", "evacuate", one, f"--live={live}", "--format", "json", timeout=150, check=True))
    assert {n: o["moved"] for n, o in found.items()} == {"a": True, "b": True, "c": True}
    assert found["c"]["mode"] == "cold" and {found[n]["mode"] for n in "ab"} <= ({"near-live"} if live == "off" else {"live", "near-live"})
    assert all(re.fullmatch(r"[0-9.]+ (ms|s)", found[n]["downtime"]) for n in "ab")
    assert {n: i["status"] for n, i in three.list().items()} == {"a": "RUNNING", "b": "RUNNING", "c": "STOPPED"}
    assert three.exec("a", "cat", "/root/file").stdout == "here\n"
    three.ok("node", "restore", one, f"--live={live}", timeout=150)
    assert set(where(three).values()) == {one}
    assert three.exec("a", "cat", "/root/file").stdout == "here\n"


@pytest.mark.limit(240)
def test_one_that_cannot_go_does_not_stop_the_rest(three):
    one = three.node_names[0]
    stopped(three, one, "a", "b")
    running(three, one, "ice")
    three.ok("freeze", "ice")
    done = three.cli("node", "evacuate", one, "--format", "json", timeout=60)
    assert done.returncode == 1 and "1 of 3 instances could not be moved: ice" in done.stderr
    found = outcomes(done)
    assert found["ice"]["failed"] and "is frozen" in found["ice"]["remark"] and found["a"]["moved"] and found["b"]["moved"]
    assert where(three)["ice"] == one and one not in (where(three)["a"], where(three)["b"])
    assert info(three, "ice")["evacuated_from"] == ""
    op = operation(three, "node.evacuate")
    assert op.status == 4 and set(op.result) == {"a", "b", "ice"}
    three.ok("unfreeze", "ice")


def test_nowhere_to_go(three):
    one, two, rest = three.node_names
    stopped(three, one, "a")
    three.ok("node", "cordon", two, rest)
    done = three.cli("node", "evacuate", one, "--format", "json", timeout=60)
    assert done.returncode == 1 and "cordoned" in outcomes(done)["a"]["remark"]
    assert where(three) == {"a": one} and nodes(three)[one]["cordoned"]


def test_what_is_refused(three):
    one, two, _ = three.node_names
    api, pb = three.api.nodes, three.api.pb
    cases = [
        (dict(name="nowhere"), "NOT_FOUND"),
        (dict(name=one, target="nowhere"), "NOT_FOUND"),
        (dict(name=one, target=one), "INVALID_ARGUMENT"),
        (dict(name=one, parallel=17), "INVALID_ARGUMENT"),
        (dict(name=one, timeout_seconds=86401), "INVALID_ARGUMENT"),
        (dict(name=one, live=7), "INVALID_ARGUMENT"),
    ]
    for fields, code in cases:
        with pytest.raises(grpc.RpcError) as refused:
            api.Evacuate(pb.EvacuateNodeRequest(**fields))
        assert refused.value.code().name == code, (fields, refused.value.details())
        if "target" not in fields:
            with pytest.raises(grpc.RpcError) as refused:
                api.Restore(pb.RestoreNodeRequest(**fields))
            assert refused.value.code().name == code, fields
    assert not nodes(three)[one]["cordoned"]
    stopped(three, one, "a")
    # The same request once more is the same operation; and its id stands for nothing else.
    first = api.Evacuate(pb.EvacuateNodeRequest(name=one, request_id="evac-once"))
    assert api.Evacuate(pb.EvacuateNodeRequest(name=one, request_id="evac-once")).id == first.id
    with pytest.raises(grpc.RpcError) as refused:
        api.Restore(pb.RestoreNodeRequest(name=one, request_id="evac-once"))
    assert refused.value.code().name == "ALREADY_EXISTS"
    three.wait_idle()


def test_an_offline_node_cannot_be_evacuated(three):
    agent, node = three.agents[2], three.node_names[2]
    agent.end()
    wait_for(lambda: nodes(three)[node]["status"] == "OFFLINE", 30, 0.1, "the node to be offline")
    done = three.cli("node", "evacuate", node)
    assert done.returncode == 1 and "is offline" in done.stderr and not nodes(three)[node]["cordoned"]


@pytest.mark.limit(240)
def test_the_manager_is_killed_meanwhile(three):
    """It goes on where it was; what was moved by then is in the result as well."""
    one = three.node_names[0]
    names = [f"c{i}" for i in range(8)]
    stopped(three, one, *names)
    client = begin(three, "node", "evacuate", one, "--parallel", "1", "--format", "json")
    wait_for(lambda: progress(three) >= 2, 30, 0.01, "the first moves")
    three.kill("manager")
    three.start_manager()
    three.wait_online()
    out, said = client.communicate(timeout=120)
    assert client.returncode == 0, said
    found = {o["name"]: o for o in json.loads(out)}
    assert sorted(found) == names and all(o["moved"] for o in found.values()), found
    assert one not in where(three).values()
    assert all(info(three, n)["evacuated_from"] == one for n in names)


@pytest.mark.limit(240)
def test_the_manager_is_killed_on_the_way_home(three):
    """The nodes from which they come are not heard at once; those are tried again."""
    one = three.node_names[0]
    names = [f"c{i}" for i in range(6)]
    stopped(three, one, *names)
    three.ok("node", "evacuate", one, timeout=60)
    client = begin(three, "node", "restore", one, "--parallel", "1", "--format", "json")
    wait_for(lambda: progress(three) >= 1, 30, 0.01, "the first is home")
    three.kill("manager")
    three.start_manager()
    three.wait_online()
    out, said = client.communicate(timeout=120)
    assert client.returncode == 0, said
    assert sorted(o["name"] for o in json.loads(out) if o["moved"]) == names, out
    assert set(where(three).values()) == {one} and not nodes(three)[one]["cordoned"]


@pytest.mark.limit(240)
def test_cancelling_begins_no_more(three):
    one = three.node_names[0]
    names = [f"c{i}" for i in range(10)]
    stopped(three, one, *names)
    client = begin(three, "node", "evacuate", one, "--parallel", "1", "--format", "json")
    wait_for(lambda: progress(three) >= 1, 30, 0.01, "the first moves")
    op = [o for o in three.operations() if o.kind == "node.evacuate"][0]
    three.ok("operation", "cancel", op.id)
    out, said = client.communicate(timeout=120)
    assert client.returncode == 1 and "cancelled when" in said
    moved = {o["name"] for o in json.loads(out) if o["moved"]}
    assert 0 < len(moved) < len(names)
    assert {n for n, node in where(three).items() if node != one} == moved
    three.wait_idle()
    # And on with it.
    three.ok("node", "evacuate", one, "--parallel", "16", timeout=120)
    assert one not in where(three).values()


def test_what_is_busy_is_waited_for(three):
    one = three.node_names[0]
    running(three, one, "slow")
    stopped(three, one, "a")
    # A stop that takes a moment: the evacuation moves the other one and waits for this.
    stop = three.popen("stop", "slow")
    wait_for(lambda: any(o.subject == "slow" and o.kind == "instance.stop" for o in three.operations(all=True)),
             30, 0.01, "the stop began")
    done = three.cli("node", "evacuate", one, "--format", "json", timeout=100, check=True)
    assert stop.wait(60) == 0
    assert {n: o["moved"] for n, o in outcomes(done).items()} == {"slow": True, "a": True}
