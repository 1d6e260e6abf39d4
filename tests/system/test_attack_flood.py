"""A guest sends, or is sent, more than it may: what comes through is its rate, and no more."""

import os
import sys
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "attack"))
import wire  # noqa: E402
from machine import run, wait_for  # noqa: E402

FRAMES, PAYLOAD = 6000, 1200
RATE = 125000  # bytes a second: 1Mbit
AT_ONCE = RATE + (128 << 10)  # that may be sent before the rate counts


@pytest.fixture
def pair(cluster):
    for name in ("mallory", "victim"):
        cluster.ok("launch", "busybox", name)
        cluster.ok("config", "device", "override", name, "eth0")
    return wire.Guest(cluster, "mallory"), wire.Guest(cluster, "victim")


def arrived(victim):
    text = victim.cluster.exec(victim.name, "cat", "/sys/class/net/eth0/statistics/rx_bytes").stdout
    return int(text)


def flood(mallory, victim):
    """(bytes that came through, how long it took)."""
    frame = wire.ether(victim.hwaddr, mallory.hwaddr, 0x800,
                       wire.ipv4(mallory.v4, victim.v4, 17, wire.udp(9, 9, bytes(PAYLOAD))))
    before, began = arrived(victim), time.monotonic()
    done = mallory.cluster.exec(mallory.name, "/root/frames", "flood", "eth0", str(FRAMES), frame.hex())
    assert done.returncode == 0, done.stderr
    return arrived(victim) - before, time.monotonic() - began


def within(came, took):
    return came < AT_ONCE + RATE * took * 1.2 + 64 * 1024


def test_what_it_may_send(cluster, pair):
    mallory, victim = pair
    came, took = flood(mallory, victim)
    assert came > FRAMES * PAYLOAD / 2 and not within(came, took), "without a bound most of it arrives"
    cluster.ok("config", "device", "set", "mallory", "eth0", "limits.egress=1Mbit")
    assert within(*flood(mallory, victim))
    # A stricter one, at once; and none again.
    cluster.ok("config", "device", "set", "mallory", "eth0", "limits.egress=512kbit")
    assert within(*flood(mallory, victim))
    cluster.ok("config", "device", "unset", "mallory", "eth0", "limits.egress")
    came, took = flood(mallory, victim)
    assert not within(came, took)


def test_what_it_may_be_sent(cluster, pair):
    mallory, victim = pair
    cluster.ok("config", "device", "set", "victim", "eth0", "limits.ingress=1Mbit")
    assert within(*flood(mallory, victim))
    cluster.ok("config", "device", "unset", "victim", "eth0", "limits.ingress")
    came, took = flood(mallory, victim)
    assert not within(came, took)


def test_rates_outlive_restarts(cluster, pair):
    mallory, victim = pair
    cluster.ok("config", "device", "set", "mallory", "eth0", "limits.max=1Mbit")

    def bounded():
        assert "rate 1Mbit" in run("tc", "qdisc", "show", "dev", mallory.host_name, check=True).stdout
        assert within(*flood(mallory, victim))

    bounded()
    cluster.restart("agent")
    cluster.wait_online()
    bounded()
    cluster.ok("restart", "mallory", "--force")
    bounded()
    before = cluster.instance("mallory").pid
    cluster.exec("mallory", "reboot")
    wait_for(lambda: cluster.status("mallory") == "RUNNING" and cluster.instance("mallory").pid not in (0, before), 30,
             why="it has rebooted")
    wait_for(lambda: cluster.exec("mallory", "test", "-e", "/sys/class/net/eth0").returncode == 0, 20)
    bounded()


@pytest.mark.parametrize("value", ["100", "1MB", "63kbit", "-1Mbit", "20Gbit", "fast"])
def test_bad_rates_change_nothing(cluster, pair, value):
    done = cluster.cli("config", "device", "set", "mallory", "eth0", f"limits.egress={value}")
    assert done.returncode != 0 and "64kbit to 16Gbit" in done.stderr
