"""limits.priority of a card: the kernel has it for what the guest sends, to another card, through the tunnel
and out of the machine; at once, and on the node it moves to."""

import os
import re
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import moving  # noqa: E402
from machine import wait_for  # noqa: E402

CLUSTER = "prio"
WATCH = "lxpriority"


def watch(two, i, guest):
    """Counts by priority what leaves the node of that guest's: as a frame, and as a packet that is routed."""
    nic = two.instance(guest).nics[0]
    address = nic.ipv4_address.split("/")[0]
    rules = "".join(f"add rule {family} {WATCH} out {match} meta priority 0:{n:x} counter comment \"p{n}\"\n"
                    for family, match in (("bridge", f"ether saddr {nic.hwaddr} ip protocol icmp"), ("ip", f"ip saddr {address} icmp type echo-request"))
                    for n in (0, 4, 10))
    text = "".join(f"table {f} {WATCH}\ndelete table {f} {WATCH}\ntable {f} {WATCH} {{ chain out {{ type filter hook postrouting "
                   "priority 50; policy accept; }; }\n" for f in ("bridge", "ip"))
    two.ns_exec(i, "nft", text + rules, check=True)


def counted(two, i, family):
    text = two.ns_exec(i, "nft", "list", "table", family, WATCH, check=True).stdout
    return {int(n): int(packets) for packets, n in re.findall(r'packets (\d+) bytes \d+ comment "p(\d+)"', text)}


def assert_sends(two, i, priority, neighbour, outside):
    for family, to in (("bridge", neighbour), ("ip", outside)):
        wait_for(lambda to=to: two.exec("m1", "ping", "-c", "1", "-W", "1", to).returncode == 0, 20, 0.2, f"{to} answers")
        watch(two, i, "m1")
        done = two.exec("m1", "ping", "-c", "3", "-W", "2", to)
        assert done.returncode == 0, (family, done)
        got = counted(two, i, family)
        assert got[priority] >= 3 and sum(got.values()) == got[priority], (family, priority, got)


@pytest.mark.limit(240)
def test_priority(whole):
    two = whole
    api = two.api
    nodes = {n.name: n.address.rsplit(":", 1)[0] for n in api.nodes.List(api.pb.ListNodesRequest()).nodes}
    here, there = (nodes[n] for n in two.node_names)
    two.ok("launch", "busybox", "m1", "--target", two.node_names[0])
    two.ok("launch", "busybox", "near", "--target", two.node_names[0])
    two.ok("launch", "busybox", "far", "--target", two.node_names[1])
    near, far = (two.instance(n).nics[0].ipv4_address.split("/")[0] for n in ("near", "far"))
    assert_sends(two, 0, 0, near, there)
    two.ok("config", "device", "override", "m1", "eth0")
    done = two.cli("config", "device", "set", "m1", "eth0", "limits.priority=4")
    assert done.returncode == 0 and "restart" not in done.stderr, done
    for neighbour in (near, far):
        assert_sends(two, 0, 4, neighbour, there)
    two.ok("config", "device", "set", "m1", "eth0", "limits.priority=10")
    assert_sends(two, 0, 10, far, there)
    # Nobody else has it.
    watch(two, 0, "near")
    assert two.exec("near", "ping", "-c", "2", "-W", "2", there).returncode == 0
    assert counted(two, 0, "ip")[10] == 0
    # The filter is set again.
    two.ns_exec(0, "nft", "delete", "table", "ip", f"lxguard_{two.network}", check=True)
    wait_for(lambda: two.ns_exec(0, "nft", "list", "table", "ip", f"lxguard_{two.network}").returncode == 0, 10, 0.2,
             "the table is set again")
    assert_sends(two, 0, 10, far, there)
    for bad in ("11", "-1", "high"):
        assert two.cli("config", "device", "set", "m1", "eth0", f"limits.priority={bad}").returncode == 1
    # Live, to the other node, where the one that was far is near.
    op = moving.move(two, "m1", 1)
    assert op.status == api.pb.OPERATION_STATUS_SUCCESS and op.move.mode == api.pb.MOVE_MODE_LIVE, op
    assert_sends(two, 1, 10, near, here)
    for family in ("bridge", "ip"):
        assert ": 0:a" not in two.ns_exec(0, "nft", "list", "map", family, f"lxguard_{two.network}", "priorities").stdout
    two.ok("config", "device", "unset", "m1", "eth0", "limits.priority")
    assert_sends(two, 1, 0, far, here)
