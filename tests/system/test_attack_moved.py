"""The guard moves with its guest: at the other node, before the guest's first frame there."""

import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "attack"))
import moving  # noqa: E402
import wire  # noqa: E402
from machine import wait_for  # noqa: E402
from test_attack_spoofing import attacks, gateway  # noqa: E402


CLUSTER = "guard"  # of two nodes: conftest.py


@pytest.fixture
def two(whole):
    yield whole
    whole.remove_instances()
    whole.wait_clean()


def guarded(cluster, i, host_name):
    table = cluster.ns_exec(i, "nft", "list", "table", "bridge", f"lxguard_{cluster.network}").stdout
    return host_name in table


@pytest.mark.limit(300)
def test_a_live_move_takes_the_guard_along(two):
    two.ok("launch", "busybox", "victim", "--target", two.node_names[1])
    moved = moving.Guest(two, "mallory")
    two.ok("config", "device", "override", "mallory", "eth0")
    two.ok("config", "device", "set", "mallory", "eth0", "limits.max=200Mbit")
    mallory, victim = wire.Guest(two, "mallory"), wire.Guest(two, "victim")
    tried = attacks(mallory, victim, gateway(two))
    for what, attack, twin in tried[:8]:  # over the overlay
        wire.try_it(what, mallory, victim, attack, twin)
    assert (guarded(two, 0, mallory.host_name), guarded(two, 1, mallory.host_name)) == (True, False)

    done = moving.move(two, "mallory", 1)
    assert not done.error, done.error
    moved.check_passenger()
    wait_for(lambda: not guarded(two, 0, mallory.host_name), 10, why="nothing of it is left at its old home")
    assert guarded(two, 1, mallory.host_name)
    assert "rate 200Mbit" in two.ns_exec(1, "tc", "qdisc", "show", "dev", mallory.host_name).stdout
    assert guarded(two, 1, f"{mallory.host_name}-25000000"), "its rate came along"
    for what, attack, twin in tried:  # on one bridge
        wire.try_it(what, mallory, victim, attack, twin)
    for name, other in (("mallory", victim), ("victim", mallory)):
        assert two.exec(name, "ping", "-c", "1", "-W", "5", other.v4).returncode == 0
        assert two.exec(name, "ping", "-6", "-c", "1", "-W", "5", other.v6).returncode == 0

    done = moving.move(two, "mallory", 0)
    assert not done.error, done.error
    for what, attack, twin in tried[:8]:
        wire.try_it(what, mallory, victim, attack, twin)


def test_a_move_that_fails_leaves_the_guard_where_it_was(two):
    two.ok("launch", "busybox", "victim", "--target", two.node_names[0])
    guest = moving.Guest(two, "mallory")
    mallory, victim = wire.Guest(two, "mallory"), wire.Guest(two, "victim")
    two.agents[1].kill()
    done = two.cli("move", "mallory", "--target", two.node_names[1])
    assert done.returncode != 0
    two.agents[1].restart()
    two.wait_online()
    assert guarded(two, 0, mallory.host_name)
    what, attack, twin = attacks(mallory, victim, gateway(two))[4]
    wire.try_it(what, mallory, victim, attack, twin)
    guest.check_passenger()
