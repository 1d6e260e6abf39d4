"""lxmgr move, node evacuate and node restore against a gRPC server nobody here wrote: requests,
what is printed in which format, and exit codes.

The server is a TEST DOUBLE of the manager with canned answers: cli/fake_manager.py.
"""

import json
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "cli"))
from clilab import lab, manager, needed  # noqa: E402, F401

pytestmark = needed

T0 = 1_700_000_000_000_000_000
T0_TEXT = "2023-11-14T22:13:20Z"
MS = 1_000_000


def report(pb, **more):
    fields = dict(
        mode=pb.enum("MoveMode", "MOVE_MODE_LIVE"),
        memory=pb.enum("MoveMemory", "MOVE_MEMORY_PRE_COPY"),
        total_ns=2314 * MS,
        downtime_ns=182_400_000,
        peer_downtime_ns=184_600_000,
        rounds=3,
        bytes_raw=120 << 20,
        bytes_sent=34 << 20,
        memory_bytes=100 << 20,
        memory_frozen_bytes=3 << 20,
        file_bytes=20 << 20,
        file_frozen_bytes=120 << 10,
        files=312,
        sockets=5,
        processes=24,
        phases={"dump": 90 * MS, "restore": 81 * MS, "files": 1200 * MS, "\033evil": 1},
        source="node1",
        target="node2",
        finished_at_ns=T0,
    )
    return pb.MoveReport(**{**fields, **more})


def obstacle(pb, **more):
    fields = dict(
        code="nested-namespace",
        cause="process 412 (redis-server, unit redis.service) lives in a UTS namespace of its own",
        cure="set ProtectHostname=no for redis.service",
        blocks=True,
    )
    return pb.MoveObstacle(**{**fields, **more})


@pytest.fixture
def moves(lab):
    """Move ends well, with a report."""
    lab.manager.answers["InstanceService/Move"] = lab.manager.operation(
        kind="instance.move", result={"from": "node1", "to": "node2"}, move=report(lab.pb)
    )
    return lab


# ---------------------------------------------------------------- move


def test_move_reports(moves):
    lines = moves.run("move", "web1", "--target", "node2").splitlines()
    assert lines == [
        "Moved web1 from node1 to node2",
        "  Mode: live (pre-copy)",
        "  Downtime: 182.4 ms",
        "  Downtime for a peer: 184.6 ms",
        "  Total: 2.31 s",
        "  Rounds: 3",
        "  Carried: 120MiB, 34MiB on the wire",
        "  Memory: 100MiB, 3MiB while frozen",
        "  Files: 20MiB in 312 files, 120KiB while frozen",
        "  Connections: 5",
        "  Processes: 24",
    ]
    got = moves.request("InstanceService/Move")
    assert (got.name, got.target, got.live, got.stateless, got.timeout_seconds) == ("web1", "node2", 0, False, 0)
    assert len(got.request_id) == 36


def test_verbose_adds_the_steps_longest_first(moves):
    lines = moves.run("move", "web1", "--target", "node2", "--verbose").splitlines()
    assert lines[-5:] == ["  Phases:", "    files: 1.20 s", "    dump: 90.0 ms", "    restore: 81.0 ms", "    ?evil: 0.0 ms"]


def test_migrate_is_move_and_the_target_is_optional(moves):
    moves.run("migrate", "web1")
    assert moves.request("InstanceService/Move").target == ""


def test_quiet_says_nothing(moves):
    assert moves.run("move", "web1", "-q") == "" and moves.said == ""


def test_no_wait_prints_the_id(moves):
    out = moves.run("move", "web1", "--no-wait").strip()
    assert out in moves.manager.operations and not moves.manager.requests("OperationService/Watch")


@pytest.mark.parametrize("mode", ["required", "preferred", "off"])
def test_live_modes(moves, mode):
    moves.run("move", "web1", f"--live={mode}", "--timeout", "1m30s")
    got = moves.request("InstanceService/Move")
    assert got.live == moves.pb.enum("LiveMode", f"LIVE_MODE_{mode.upper()}") and got.timeout_seconds == 90


def test_stateless(moves):
    moves.run("move", "web1", "--stateless")
    assert moves.request("InstanceService/Move").stateless


@pytest.mark.parametrize(
    "args, why",
    [
        (["--live=perhaps"], "--live is one of"),
        (["--timeout", "soon"], "--timeout needs"),
        (["--timeout", "0"], "--timeout needs"),
        (["--stateless", "--live=required"], "--stateless"),
        (["--check", "--no-wait"], "--check"),
        (["--format", "json"], "--format is for --check"),
        (["node2"], ""),
    ],
)
def test_misuse(moves, args, why):
    moves.run("move", "web1", *args, code=2)
    assert why in moves.said and not moves.manager.seen


def test_near_live_says_why(lab):
    pb = lab.pb
    moved = report(
        pb,
        mode=pb.enum("MoveMode", "MOVE_MODE_NEAR_LIVE"),
        memory=0,
        reason="web1 cannot be moved live to node2: an io_uring\033",
        rounds=0,
        memory_bytes=0,
        sockets=0,
        processes=0,
        downtime_ns=1_204 * MS,
        peer_downtime_ns=0,
        notes=[obstacle(pb, blocks=False, cause="the clock of node2 is 3 s ahead")],
    )
    lab.manager.answers["InstanceService/Move"] = lab.manager.operation(move=moved)
    lines = lab.run("move", "web1", "--live=preferred").splitlines()
    assert lines[:4] == [
        "Moved web1 from node1 to node2",
        "  Mode: near-live",
        "  Reason: web1 cannot be moved live to node2: an io_uring?",
        "  Downtime: 1.20 s",
    ]
    assert "  Files: 20MiB in 312 files, 120KiB while stopped" in lines and lines[-1] == "  Note: the clock of node2 is 3 s ahead"
    assert not any(word in line for line in lines for word in ("peer", "Rounds", "Memory", "Connections", "Processes"))


def test_a_manager_that_is_too_old(lab):
    import grpc
    from fake_manager import Refusal

    def move(request, context):
        raise Refusal(grpc.StatusCode.UNIMPLEMENTED, "there is no service for /lxmgr.v1.InstanceService/Move")

    lab.manager.answers["InstanceService/Move"] = move
    lab.run("move", "web1", code=1)
    assert lab.said.startswith("Error: there is no service for") and "\nHint: The manager, or the node, runs a version" in lab.said


def test_cold_without_a_report(lab):
    lab.manager.answers["InstanceService/Move"] = lab.manager.operation(result={"from": "node1", "to": "node2"})
    assert lab.run("move", "web1") == "Moved web1 from node1 to node2\n"


def test_refusal_offers_the_next_rung(lab):
    lab.manager.answers["InstanceService/Move"] = lab.manager.failing(
        "web1 cannot be moved live to node2: an io_uring", hint="Use --live=preferred"
    )
    assert lab.run("move", "web1", "--target", "node2", code=1) == ""
    assert lab.said == "Error: web1 cannot be moved live to node2: an io_uring\nHint: Use --live=preferred\n"


def test_move_draws_bytes(lab):
    import time

    def slow(request, context):
        running = lab.pb.enum("OperationStatus", "OPERATION_STATUS_RUNNING")
        for phase in ("check", "files"):
            yield lab.pb.Operation(id=request.id, status=running, phase=phase, progress_done=5 << 20, progress_total=10 << 20, progress_unit="bytes")
            time.sleep(1.3)
        yield from lab.manager.watch(request, context)

    lab.manager.answers["InstanceService/Move"] = lab.manager.operation(move=report(lab.pb))
    lab.manager.answers["OperationService/Watch"] = slow
    lab.run("move", "web1")
    assert lab.said.splitlines()[-1].startswith("Moving web1: files 50% 5MiB/10MiB")


# ---------------------------------------------------------------- --check


def test_check_of_what_can_be_done(lab):
    pb = lab.pb
    lab.manager.answers["InstanceService/CheckMove"] = pb.MoveCheck(
        possible=True,
        mode=pb.enum("MoveMode", "MOVE_MODE_LIVE"),
        memory=pb.enum("MoveMemory", "MOVE_MEMORY_SOFT_DIRTY"),
        memory_reason="the kernel is old",
        target="node2",
    )
    assert lab.run("move", "web1", "--check", "--target", "node2", "--live=preferred") == ""
    assert lab.said == "web1 can be moved to node2: live (soft-dirty pre-copy)\nMemory so because: the kernel is old\n"
    got = lab.request("InstanceService/CheckMove")
    assert (got.name, got.target, got.live) == ("web1", "node2", pb.enum("LiveMode", "LIVE_MODE_PREFERRED"))
    assert not lab.manager.requests("InstanceService/Move")


@pytest.fixture
def blocked(lab):
    pb = lab.pb
    lab.manager.answers["InstanceService/CheckMove"] = pb.MoveCheck(
        mode=pb.enum("MoveMode", "MOVE_MODE_NEAR_LIVE"),
        target="node2",
        next="With --live=preferred it is moved near-live.",
        obstacles=[obstacle(pb, code="clock", cause="the clock is behind", cure="set it", blocks=False, node="node2"), obstacle(pb)],
    )
    return lab


def test_check_names_what_blocks_first(blocked):
    lines = blocked.run("move", "web1", "--check", "-f", "compact", code=1).splitlines()
    assert lines[0].split() == ["CODE", "CAUSE", "CURE", "NODE", "BLOCKS"]
    assert lines[1].startswith("nested-namespace") and lines[1].rstrip().endswith("yes") and "redis.service" in lines[1]
    assert lines[2].split()[0] == "clock" and lines[2].split()[-2:] == ["node2", "no"]
    assert blocked.said == "web1 cannot be moved to node2 as asked for. With --live=preferred it is moved near-live.\n"
    assert blocked.run("move", "web1", "--check", "-q", code=1) and blocked.said == ""


def test_check_for_scripts(blocked):
    doc = json.loads(blocked.run("move", "web1", "--check", "--format", "json", code=1))
    assert doc["possible"] is False and doc["mode"] == "near-live" and doc["name"] == "web1" and doc["target"] == "node2"
    assert [(o["code"], o["blocks"]) for o in doc["obstacles"]] == [("clock", False), ("nested-namespace", True)]
    assert blocked.said == ""
    yaml = pytest.importorskip("yaml")
    assert yaml.safe_load(blocked.run("move", "web1", "--check", "-f", "yaml", code=1)) == doc


def test_check_of_what_is_not_there(lab):
    import grpc
    from fake_manager import Refusal

    def check(request, context):
        raise Refusal(grpc.StatusCode.NOT_FOUND, "there is no instance web1")

    lab.manager.answers["InstanceService/CheckMove"] = check
    lab.run("move", "web1", "--check", code=1)
    assert lab.said == "Error: there is no instance web1\n"


# ---------------------------------------------------------------- what is kept of it


def expected(doc):
    assert (doc["mode"], doc["memory"], doc["source"], doc["target"]) == ("live", "pre-copy", "node1", "node2")
    assert doc["downtime_ns"] == 182_400_000 and doc["peer_downtime_ns"] == 184_600_000
    assert doc["total_ns"] == 2314 * MS and doc["exposed_ns"] == 0
    assert doc["finished_at"] == T0_TEXT and doc["rounds"] == 3 and doc["files"] == 312
    assert doc["bytes_raw"] == 120 << 20 and doc["bytes_sent"] == 34 << 20
    assert doc["memory_bytes"] == 100 << 20 and doc["memory_frozen_bytes"] == 3 << 20
    assert doc["file_bytes"] == 20 << 20 and doc["file_frozen_bytes"] == 120 << 10
    assert doc["sockets"] == 5 and doc["processes"] == 24
    assert doc["phases_ns"]["dump"] == 90 * MS and doc["notes"] == [] and doc["reason"] == ""
    assert doc["awaited"] is False and doc["incomplete"] == ""


def test_operation_show_has_all_of_it(lab):
    ident = "3fa4c1d2-0000-4000-8000-000000000000"
    lab.manager.answers["OperationService/Get"] = lab.pb.Operation(id=ident, kind="instance.move", status=3, move=report(lab.pb))
    expected(json.loads(lab.run("operation", "show", "3fa4", "--format", "json"))["move"])
    lab.manager.answers["OperationService/Get"] = lab.pb.Operation(id=ident, kind="instance.stop", status=3)
    assert "move" not in json.loads(lab.run("operation", "show", "3fa4", "--format", "json"))


@pytest.mark.parametrize("awaited,heading", [(True, "Still to come"), (False, "Incomplete")])
def test_figures_that_are_missing(lab, awaited, heading):
    part = lab.pb.MoveReport(source="node1", target="node2", operation="3fa4", awaited=awaited, incomplete="node1 is \033away")
    lab.manager.answers["InstanceService/Get"] = lab.pb.Instance(name="web1", node="node2", status=4, last_move=part)
    assert f"  {heading}: node1 is ?away" in lab.run("info", "web1").splitlines()
    doc = json.loads(lab.run("info", "web1", "--format", "json"))["last_move"]
    assert (doc["awaited"], doc["operation"], doc["downtime_ns"], doc["peer_downtime_ns"]) == (awaited, "3fa4", 0, 0)


def test_info_shows_the_last_move(lab):
    lab.manager.answers["InstanceService/Get"] = lab.pb.Instance(name="web1", node="node2", status=4, last_move=report(lab.pb))
    out = lab.run("info", "web1")
    assert f"Last move:\n  From: node1\n  To: node2\n  At: {T0_TEXT}\n  Mode: live (pre-copy)\n  Downtime: 182.4 ms\n  Downtime for a peer: 184.6 ms\n" in out
    expected(json.loads(lab.run("info", "web1", "--format", "json"))["last_move"])
    lab.manager.answers["InstanceService/Get"] = lab.pb.Instance(name="web1", node="node2", status=4)
    assert "Last move" not in lab.run("info", "web1")


def test_completion(lab):
    lab.manager.answers["NodeService/List"] = lab.pb.ListNodesResponse(nodes=[lab.pb.Node(name="node1")])
    assert lab.run("__complete", "--", "move", "web1", "--live", "").split() == ["required", "preferred", "off"]
    assert lab.run("__complete", "--", "move", "web1", "--target", "n").split() == ["node1"]


# ---------------------------------------------------------------- node evacuate, node restore

RESULT = {
    "web1": "live to node2, 182.4 ms",
    "db": "cold to node3",
    "odd": "failed: instance odd is frozen to death, they say\033",
    "gone": "left out: it was deleted",
    "app": "near-live to node2, 1.20 s",
}


def evacuated(lab, **more):
    return lab.manager.operation(kind="node.evacuate", result=RESULT, **more)


def test_evacuate(lab):
    result = {k: v for k, v in RESULT.items() if k not in ("odd", "gone")}
    lab.manager.answers["NodeService/Evacuate"] = lab.manager.operation(kind="node.evacuate", result=result)
    lines = [line.split() for line in lab.run("node", "evacuate", "node1").splitlines()]
    assert lines == [
        ["NAME", "MODE", "DOWNTIME", "TO", "RESULT"],
        ["app", "near-live", "1.20", "s", "node2", "moved"],
        ["db", "cold", "-", "node3", "moved"],
        ["web1", "live", "182.4", "ms", "node2", "moved"],
    ]
    got = lab.request("NodeService/Evacuate")
    assert (got.name, got.target, got.live, got.parallel, got.timeout_seconds) == ("node1", "", 0, 0, 0)
    assert len(got.request_id) == 36


def test_evacuate_where_some_fail(lab):
    failure = lab.pb.enum("OperationStatus", "OPERATION_STATUS_FAILURE")
    lab.manager.answers["NodeService/Evacuate"] = evacuated(
        lab, status=failure, error="1 of 5 instances could not be moved: odd", error_code=10, hint="Look at it."
    )
    args = ("--to", "node2", "--parallel", "4", "--live=required", "--timeout", "30")
    lines = lab.run("node", "evacuate", "node1", *args, "-f", "compact", code=1).splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "app", "db", "gone", "odd", "web1"]
    assert lines[3].split(maxsplit=4) == ["gone", "-", "-", "-", "left out: it was deleted"]
    assert lines[4].split(maxsplit=4)[:4] == ["odd", "-", "-", "-"] and "\033" not in lines[4]
    assert lines[4].split(maxsplit=4)[4].startswith("failed: instance odd is frozen to death, they say")
    assert lab.said == "Error: 1 of 5 instances could not be moved: odd\nHint: Look at it.\n"
    got = lab.request("NodeService/Evacuate")
    assert (got.target, got.live, got.parallel, got.timeout_seconds) == ("node2", lab.pb.enum("LiveMode", "LIVE_MODE_REQUIRED"), 4, 30)


def test_evacuate_for_scripts(lab):
    lab.manager.answers["NodeService/Evacuate"] = evacuated(lab)
    doc = {e["name"]: e for e in json.loads(lab.run("node", "evacuate", "node1", "-f", "json"))}
    assert doc["web1"] == {
        "name": "web1", "moved": True, "failed": False, "mode": "live", "downtime": "182.4 ms", "to": "node2", "remark": "",
    }  # fmt: skip
    assert doc["db"]["mode"] == "cold" and doc["db"]["downtime"] == "" and doc["db"]["to"] == "node3"
    assert doc["odd"]["failed"] and not doc["odd"]["moved"] and doc["odd"]["remark"].startswith("instance odd is frozen to death")
    assert not doc["gone"]["failed"] and not doc["gone"]["moved"] and doc["gone"]["remark"] == "left out: it was deleted"


def test_evacuate_of_nothing(lab):
    lab.manager.answers["NodeService/Evacuate"] = lab.manager.operation(kind="node.evacuate")
    assert lab.run("node", "evacuate", "node1") == "" and lab.said == "There was nothing to move.\n"
    assert lab.run("node", "evacuate", "node1", "-f", "json").strip() == "[]"
    assert lab.run("node", "evacuate", "node1", "-q") == "" and lab.said == ""


def test_evacuate_without_waiting(lab):
    lab.manager.answers["NodeService/Evacuate"] = evacuated(lab)
    assert lab.run("node", "evacuate", "node1", "--no-wait").strip() in lab.manager.operations


def test_restore(lab):
    lab.manager.answers["NodeService/Restore"] = lab.manager.operation(kind="node.restore", result={"web1": "live to node1, 99.0 ms"})
    lines = lab.run("node", "restore", "node1", "--parallel", "1", "--live=off").splitlines()
    assert lines[1].split() == ["web1", "live", "99.0", "ms", "node1", "moved"]
    got = lab.request("NodeService/Restore")
    assert (got.name, got.parallel, got.live) == ("node1", 1, lab.pb.enum("LiveMode", "LIVE_MODE_OFF"))


@pytest.mark.parametrize("args", [["--parallel", "0"], ["--parallel", "some"], ["--live=if-possible"], ["node2"]])
def test_misuse_of_evacuate(lab, args):
    lab.run("node", "evacuate", "node1", *args, code=2)
    assert not lab.manager.seen


def test_info_shows_where_home_is(lab):
    lab.manager.answers["InstanceService/Get"] = lab.pb.Instance(name="web1", node="node2", status=4, evacuated_from="node1")
    assert "Node: node2\nEvacuated from: node1\n" in lab.run("info", "web1")
    assert json.loads(lab.run("info", "web1", "--format", "json"))["evacuated_from"] == "node1"
