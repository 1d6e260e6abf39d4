"""An address or a MAC that an instance has given up while it runs is still on its card: nobody else gets
it before that card is gone, and until then the guest goes on with it."""

import json
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "attack"))
from machine import run, wait_for  # noqa: E402

CLUSTER = "given"
MAC = "00:16:3e:77:00:01"


@pytest.fixture
def given_up(cluster):
    """(its address, the card it runs with, the address it is to have) of "b", which was changed while it runs."""
    old, new = (str(cluster.slot.network[n]) for n in (700, 701))
    cluster.ok("launch", "busybox", "b", "-d", f"eth0,ipv4.address={old},hwaddr={MAC}")
    card = cluster.instance("b").nics[0].host_name
    done = cluster.ok("config", "device", "set", "b", "eth0", f"ipv4.address={new}", "hwaddr=00:16:3e:77:00:02")
    assert cluster.instance("b").nics[0].host_name != card, done
    return old, card, new


def elements(cluster, name, of):
    """[(host end, address ...)] of a set of the network's guard."""
    text = run("nft", "-j", "list", "set", "bridge", f"lxguard_{cluster.network}", name, check=True).stdout
    for entry in json.loads(text)["nftables"]:
        for e in entry.get("set", {}).get("elem", []):
            e = e["elem"]["val"] if "elem" in e else e
            if of in e["concat"]:
                yield tuple(e["concat"])


def allowed(cluster, address):
    """Host ends that may say that they have the address."""
    return {e[0] for name in ("v4", "own4") for e in elements(cluster, name, address)}


def assert_not_given(cluster, address):
    for want, what in ((f"ipv4.address={address}", address), (f"hwaddr={MAC}", MAC)):
        done = cluster.cli("launch", "busybox", "thief", "-d", f"eth0,{want}")
        assert done.returncode == 1 and f"{what}" in done.stderr and "is taken" in done.stderr, done
        done = cluster.cli("--project", "others", "launch", "busybox", "thief", "-p", "default", "-d",
                           f"eth0,type=nic,network={cluster.network},{want}")
        assert done.returncode == 1 and "is taken" in done.stderr, done


def assert_goes_on(cluster, address, card):
    """As it runs it is guarded, and is heard."""
    assert allowed(cluster, address) == {card}
    gateway = cluster.instance("b").nics[0].ipv4_gateway
    assert address in cluster.exec("b", "ip", "-4", "addr", "show", "dev", "eth0").stdout
    wait_for(lambda: cluster.exec("b", "ping", "-c", "1", "-W", "1", gateway).returncode == 0, 10, 0.3, "its gateway")


def assert_is_free(cluster, address, card):
    wait_for(lambda: not cluster.instance("b").held_nics, 10, 0.1, "its old card is given up")
    assert card not in allowed(cluster, address)
    cluster.ok("launch", "busybox", "heir", "-d", f"eth0,ipv4.address={address},hwaddr={MAC}")
    assert allowed(cluster, address) == {cluster.instance("heir").nics[0].host_name}
    gateway = cluster.instance("b").nics[0].ipv4_gateway
    wait_for(lambda: cluster.exec("heir", "ping", "-c", "1", "-W", "1", gateway).returncode == 0, 10, 0.3, "its gateway")


@pytest.fixture
def others(cluster):
    cluster.ok("project", "create", "others")
    yield
    cluster.cli("--project", "others", "delete", "--force", "thief")
    cluster.ok("project", "delete", "others")


@pytest.mark.limit(240)
def test_nobody_gets_it_while_it_runs(cluster, given_up, others):
    old, card, new = given_up
    assert_not_given(cluster, old)
    assert_goes_on(cluster, old, card)
    leases = cluster.ok("network", "leases", cluster.network)
    assert f"{old} " in leases and "(until restart)" in leases and f"{new} " in leases
    for daemon in ("manager", "agent", "manager"):
        cluster.restart(daemon)
        cluster.wait_online()
        assert_not_given(cluster, old)
        assert_goes_on(cluster, old, card)
    # The filter is set anew by an agent that was not there when the card was plugged in.
    run("nft", "delete", "table", "bridge", f"lxguard_{cluster.network}", check=True)
    wait_for(lambda: run("nft", "list", "table", "bridge", f"lxguard_{cluster.network}").returncode == 0, 10, 0.2,
             "the filter is back")
    assert_goes_on(cluster, old, card)
    # Both at once: nobody has told anybody anything.
    cluster.kill("agent")
    cluster.kill("manager")
    cluster.start_manager()
    cluster.agent.start()
    cluster.wait_online()
    assert_not_given(cluster, old)
    assert_goes_on(cluster, old, card)
    cluster.ok("restart", "--force", "b")
    assert_is_free(cluster, old, card)
    assert new in cluster.exec("b", "ip", "-4", "addr", "show", "dev", "eth0").stdout
    assert allowed(cluster, new) == {cluster.instance("b").nics[0].host_name}


def test_a_stop_ends_it(cluster, given_up):
    old, card, _ = given_up
    cluster.ok("stop", "--force", "b")
    assert_is_free(cluster, old, card)


def test_a_reboot_inside_does_not(cluster, given_up, others):
    """It comes back with what it had: liblxc's monitor starts it again."""
    old, card, _ = given_up
    pid = cluster.instance("b").pid
    cluster.exec("b", "reboot", "-f")
    wait_for(lambda: cluster.status("b") == "RUNNING" and cluster.instance("b").pid not in (0, pid), 20, 0.1,
             "it has rebooted")
    assert_not_given(cluster, old)
    wait_for(lambda: cluster.exec("b", "true").returncode == 0, 10, 0.2, "it takes commands")
    assert_goes_on(cluster, old, card)


def test_a_restart_nobody_tells_the_manager_of(cluster, given_up):
    """What it runs with then its agent knows, also one that was not there at the time."""
    old, card, new = given_up
    cluster.ok("config", "set", "b", "boot.autostart=true")
    cluster.ok("restart", "--force", "b")
    cluster.kill("agent")
    cluster.agent.start()
    cluster.wait_online()
    assert allowed(cluster, new) == {cluster.instance("b").nics[0].host_name}
    assert_is_free(cluster, old, card)


def test_what_does_not_run_gives_it_up_at_once(cluster):
    old, new = (str(cluster.slot.network[n]) for n in (700, 701))
    cluster.ok("launch", "busybox", "b", "-d", f"eth0,ipv4.address={old}")
    cluster.ok("stop", "--force", "b")
    cluster.ok("config", "device", "set", "b", "eth0", f"ipv4.address={new}")
    cluster.ok("launch", "busybox", "heir", "-d", f"eth0,ipv4.address={old}")


def test_a_card_that_is_taken_away_and_given_back(cluster):
    """A profile's card is hidden and shown again: the guest has had it all the time."""
    cluster.ok("launch", "busybox", "b")
    before = cluster.instance("b").nics[0]
    address = before.ipv4_address.split("/")[0]
    cluster.ok("config", "device", "add", "b", "eth0", "none")
    assert not cluster.instance("b").nics
    assert allowed(cluster, address) == {before.host_name}
    done = cluster.cli("launch", "busybox", "thief", "-d", f"eth0,ipv4.address={address}")
    assert done.returncode == 1 and "is taken" in done.stderr, done
    cluster.ok("config", "device", "remove", "b", "eth0")
    after = cluster.instance("b")
    assert after.nics[0] == before and not after.held_nics
    assert_goes_on(cluster, address, before.host_name)
    # And as often as one likes.
    for n in (701, 702):
        cluster.ok("config", "device", "override", "b", "eth0", f"ipv4.address={cluster.slot.network[n]}")
        cluster.ok("config", "device", "remove", "b", "eth0")
    cluster.ok("config", "device", "override", "b", "eth0", f"ipv4.address={address}")
    assert cluster.instance("b").nics[0] == before
    assert_goes_on(cluster, address, before.host_name)


def test_it_is_not_moved_live_meanwhile(whole):
    """What is restored on another node would have cards that it is not to have; after a stop it has the new ones."""
    here, there = whole.node_names
    whole.ok("launch", "busybox", "b", "--target", here)
    old = whole.instance("b").nics[0].ipv4_address.split("/")[0]
    whole.ok("config", "device", "override", "b", "eth0", f"ipv4.address={whole.slot.network[701]}")
    pb = whole.api.pb
    check = whole.api.instances.CheckMove(pb.MoveInstanceRequest(name="b", target=there, live=pb.LIVE_MODE_REQUIRED))
    codes = [o.code for o in check.obstacles]
    assert not check.possible and "cards" in codes and "link" not in codes, check
    done = whole.cli("move", "b", "--target", there, "--live=required")
    assert done.returncode != 0, done
    whole.ok("move", "b", "--target", there, "--live=off")
    wait_for(lambda: not whole.instance("b").held_nics, 10, 0.1, "its old card is given up")
    assert str(whole.slot.network[701]) in whole.exec("b", "ip", "-4", "addr", "show", "dev", "eth0").stdout
    whole.ok("launch", "busybox", "heir", "-d", f"eth0,ipv4.address={old}", "--target", here)
