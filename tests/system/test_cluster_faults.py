"""Daemons killed at every moment of the work: it ends or is undone, and nothing is left behind.

Each round starts some work, kills a daemon (SIGKILL) a little later than the round before, starts
it again, and waits until the manager has nothing under way. Then what the manager says, what is
on the machine, and what the client was told must agree.
"""

import io
import os
import random
import signal
import subprocess
import tarfile
import time

import pytest

import machine
import testbed
from machine import alive, wait_for

# Moments of the kill, in seconds: dense where a launch of the small image is at work.
MOMENTS = [i * 0.004 for i in range(18)] + [0.08, 0.1, 0.13, 0.18]
SEED = 1


def moments(n=None):
    """Each a bit off, so that later runs of the tests see other moments (the order stays)."""
    jitter = random.Random(os.environ.get("LXMGR_TEST_SEED", SEED))
    return [m + jitter.random() * 0.004 for m in (MOMENTS if n is None else MOMENTS[:: len(MOMENTS) // n])]


def killed_during(cluster, which, delay, *command):
    """Runs a command and kills a daemon meanwhile; afterwards the cluster is whole and idle again."""
    client = cluster.popen(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(delay)
    cluster.kill(which)
    cluster.restart(which)
    said = client.communicate(timeout=90)  # it asks again for a while when the manager goes away
    cluster.wait_online()  # a new agent first waits for the workers of the old one, whose outcome is on the disk
    cluster.wait_idle(90)
    if client.returncode != 0:
        assert client.returncode == 1 and said[1].startswith("Error: "), (delay, client.returncode, said)
    return client.returncode


def check_instance(cluster, name, code, delay):
    """It runs, or it is not there; and the machine agrees."""
    status = cluster.status(name)
    where = f"{delay:.3f} s: exit code {code}, then {status}; {[str(o) for o in cluster.operations(all=True)][:1]}"
    assert status in (None, "RUNNING"), where
    if code == 0:
        assert status == "RUNNING", where
    if status:
        assert alive(cluster.instance(name).pid), where
        assert cluster.exec(name, "true").returncode == 0, where
    cluster.wait_clean(but=[name] if status else [])


@pytest.mark.limit(300)
@pytest.mark.parametrize("which", ["manager", "agent"])
def test_killed_during_launch(fresh_cluster, which):
    ended = []
    for i, delay in enumerate(moments()):
        name = f"c{i}"
        code = killed_during(fresh_cluster, which, delay, "launch", "busybox", name)
        check_instance(fresh_cluster, name, code, delay)
        ended.append(fresh_cluster.status(name))
        # The name, the addresses and the ids are free again, or it is there and can be deleted.
        if ended[-1] is None:
            fresh_cluster.ok("launch", "busybox", name)
        fresh_cluster.ok("delete", "--force", name)
        fresh_cluster.wait_clean()
    assert "RUNNING" in ended, "no launch survived: they are not resumed"


@pytest.mark.limit(300)
@pytest.mark.parametrize("which", ["manager", "agent"])
def test_killed_during_delete(fresh_cluster, which):
    for i, delay in enumerate(moments(12)):
        name = f"c{i}"
        fresh_cluster.ok("launch", "busybox", name)
        code = killed_during(fresh_cluster, which, delay, "delete", "--force", name)
        status = fresh_cluster.status(name)
        assert status in (None, "RUNNING"), f"{delay:.3f} s"
        assert code != 0 or status is None, f"{delay:.3f} s: it was said to be deleted"
        if status:  # the request had not been accepted
            fresh_cluster.ok("delete", "--force", name)
        fresh_cluster.wait_clean()


@pytest.mark.limit(300)
@pytest.mark.parametrize("which", ["manager", "agent"])
@pytest.mark.parametrize("verb", [["stop", "--force"], ["start"], ["restart", "--force"]], ids=lambda v: v[0])
def test_killed_during_change(fresh_cluster, which, verb):
    """A power change ends: the instance is up or down and can be used, its files are there."""
    fresh_cluster.ok("launch", "busybox", "c1")
    fresh_cluster.exec("c1", "sh", "-c", "echo kept > /root/note; sync")
    for delay in moments(7):
        if verb[0] == "start":
            fresh_cluster.ok("stop", "--force", "c1")
        code = killed_during(fresh_cluster, which, delay, *verb, "c1")
        status = fresh_cluster.status("c1")
        wanted = "STOPPED" if verb[0] == "stop" else "RUNNING"
        assert status in ("RUNNING", "STOPPED"), f"{delay:.3f} s"
        assert code != 0 or status == wanted, f"{delay:.3f} s: {code} {status}"
        if status == "STOPPED":
            fresh_cluster.ok("start", "c1")
        assert fresh_cluster.exec("c1", "cat", "/root/note").stdout == "kept\n", f"{delay:.3f} s"


def images_listed(cluster):
    return sorted(i.fingerprint for i in cluster.api.images.List(cluster.api.pb.ListImagesRequest()).images)


def images_on_disk(cluster):
    return sorted(d for d in os.listdir(os.path.join(cluster.agent_dir, "images")) if d != "incoming")


@pytest.mark.limit(300)
@pytest.mark.parametrize("which", ["manager", "agent"])
def test_killed_during_import(fresh_cluster, which):
    """The image is there and works, or is not there; no half of it stays."""
    tarball = testbed.cached_image("busybox")
    fresh_cluster.ok("image", "delete", "busybox")
    for i, delay in enumerate(moments(11)):
        alias = f"again{i}"
        code = killed_during(fresh_cluster, which, delay, "image", "import", tarball, "--alias", alias)
        there = fresh_cluster.cli("image", "show", alias).returncode == 0
        assert code != 0 or there, f"{delay:.3f} s: it was said to be imported"
        wait_for(lambda: images_on_disk(fresh_cluster) == images_listed(fresh_cluster), 5, 0.05,
                 f"{delay:.3f} s: what is on disk is what is listed")
        fresh_cluster.wait_clean()
        if not there:
            # An image without its alias may have come through; importing it again gives it the alias.
            fresh_cluster.ok("image", "import", tarball, "--alias", alias)
        fresh_cluster.ok("launch", alias, "c1")
        fresh_cluster.ok("delete", "--force", "c1")
        fresh_cluster.ok("image", "delete", alias)


@pytest.mark.limit(300)
@pytest.mark.parametrize("which", ["manager", "agent"])
def test_killed_during_image_delete(fresh_cluster, which):
    for delay in moments(7):
        killed_during(fresh_cluster, which, delay, "image", "delete", "busybox")
        there = fresh_cluster.cli("image", "show", "busybox").returncode == 0
        wait_for(lambda: images_on_disk(fresh_cluster) == images_listed(fresh_cluster), 5, 0.05,
                 f"{delay:.3f} s: what is on disk is what is listed")
        if there:
            fresh_cluster.ok("launch", "busybox", "c1")
            fresh_cluster.ok("delete", "--force", "c1")
        else:
            testbed.ensure_image(fresh_cluster, "busybox")


@pytest.mark.limit(200)
def test_both_killed_in_a_storm(fresh_cluster):
    """Many launches and deletions under way, both daemons killed again and again."""
    chance = random.Random(SEED)
    for round_ in range(4):
        clients = [fresh_cluster.popen("launch", "busybox", f"c{round_}-{i}", "-q", stderr=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL) for i in range(8)]
        clients += [fresh_cluster.popen("delete", "--force", i.name, "-q", stderr=subprocess.DEVNULL)
                    for i in fresh_cluster.instances()]
        time.sleep(chance.random() * 0.3)
        for which in chance.sample(["manager", "agent"], 2):
            fresh_cluster.kill(which)
            time.sleep(chance.random() * 0.1)
        fresh_cluster.start_manager()
        fresh_cluster.agent.start()
        fresh_cluster.wait_online()
        for client in clients:
            client.wait(90)
        fresh_cluster.wait_idle(90)
        running = fresh_cluster.instances()
        assert {fresh_cluster.status(i.name) for i in running} <= {"RUNNING"}
        assert all(alive(i.pid) for i in running)
        fresh_cluster.wait_clean(but=[i.name for i in running])
    fresh_cluster.remove_instances()
    fresh_cluster.wait_clean()


# ---------------------------------------------------------------- running containers do not notice


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["TERM", "KILL"])
@pytest.mark.parametrize("which", ["manager", "agent"])
def test_restart_leaves_containers_alone(fresh_cluster, which, number):
    for name in ("c1", "c2", "c3"):
        fresh_cluster.ok("launch", "busybox", name)
    fresh_cluster.ok("freeze", "c2")
    fresh_cluster.ok("stop", "--force", "c3")
    clock = os.path.join(fresh_cluster.agent_dir, "instances", "c1", "upper", "root", "now")
    fresh_cluster.exec("c1", "sh", "-c", "(while :; do date +%s%N > /root/now; sleep 0.02; done) > /dev/null 2>&1 &")
    before = {i.name: (i.pid, i.status) for i in fresh_cluster.instances()}
    assert fresh_cluster.kill(which, number) in (0, -signal.SIGKILL)
    wait_for(lambda: os.path.exists(clock), 5)
    was = os.stat(clock).st_mtime_ns
    wait_for(lambda: os.stat(clock).st_mtime_ns != was, 5, why="the guest goes on without its daemon")
    fresh_cluster.restart(which)
    assert {i.name: (i.pid, i.status) for i in fresh_cluster.instances()} == before
    assert fresh_cluster.exec("c1", "echo", "back").stdout == "back\n"
    fresh_cluster.ok("unfreeze", "c2")
    fresh_cluster.ok("stop", "--force", "c1", "c2")
    fresh_cluster.ok("delete", "c1", "c2", "c3")
    fresh_cluster.wait_clean()


def test_end_while_the_agent_was_away(fresh_cluster):
    """A guest that ended meanwhile is STOPPED afterwards, and what it left is swept."""
    fresh_cluster.ok("launch", "busybox", "c1")
    pid = fresh_cluster.instance("c1").pid
    fresh_cluster.kill("agent")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid), 5)
    fresh_cluster.restart("agent")
    assert fresh_cluster.status("c1") == "STOPPED"
    fresh_cluster.wait_clean(but=["c1"])
    fresh_cluster.ok("start", "c1")


def test_agent_away_is_told(fresh_cluster):
    fresh_cluster.ok("launch", "busybox", "c1")
    fresh_cluster.kill("agent")
    wait_for(lambda: not fresh_cluster.is_online(), 10)
    assert fresh_cluster.status("c1") == "UNKNOWN"
    done = fresh_cluster.exec("c1", "true")
    assert done.returncode == 1 and fresh_cluster.node in done.stderr and "Error: " in done.stderr
    fresh_cluster.restart("agent")
    assert fresh_cluster.status("c1") == "RUNNING"


def test_operation_waits_for_its_node(fresh_cluster):
    """Accepted while the agent was away, done when it is back."""
    fresh_cluster.ok("launch", "busybox", "c1")
    fresh_cluster.kill("agent")
    stopping = fresh_cluster.popen("stop", "--force", "c1", stderr=subprocess.PIPE)
    time.sleep(0.5)
    fresh_cluster.restart("agent")
    _, said = stopping.communicate(timeout=90)
    fresh_cluster.wait_idle()
    if stopping.returncode == 0:
        assert fresh_cluster.status("c1") == "STOPPED"
    else:  # refused: then nothing has changed, and it was said that the node is away
        assert fresh_cluster.node in said
        assert fresh_cluster.status("c1") == "RUNNING"


# ---------------------------------------------------------------- worse


def test_machine_restart_brings_back_what_ran(fresh_cluster):
    fresh_cluster.ok("launch", "busybox", "always", "-c", "boot.autostart=true")
    fresh_cluster.ok("launch", "busybox", "never", "-c", "boot.autostart=false")
    fresh_cluster.ok("launch", "busybox", "as-before")
    fresh_cluster.ok("create", "busybox", "was-stopped")
    fresh_cluster.exec("always", "sh", "-c", "echo kept > /root/note; sync")
    addresses = {name: i["ipv4"] for name, i in fresh_cluster.list().items()}
    fresh_cluster.power_cut()
    fresh_cluster.start_manager()
    fresh_cluster.agent.start()
    fresh_cluster.wait_online()
    wanted = {"always": "RUNNING", "never": "STOPPED", "as-before": "RUNNING", "was-stopped": "STOPPED"}
    wait_for(lambda: {n: i["status"] for n, i in fresh_cluster.list().items()} == wanted, 20, 0.1, f"{wanted}")
    assert {name: i["ipv4"] for name, i in fresh_cluster.list().items()} == addresses
    assert fresh_cluster.exec("always", "cat", "/root/note").stdout == "kept\n"


def test_containers_run_without_a_manager_after_machine_restart(fresh_cluster):
    fresh_cluster.ok("launch", "busybox", "c1", "-c", "boot.autostart=true")
    fresh_cluster.power_cut()
    fresh_cluster.agent.start()
    # While it forks init there are two processes of that title for a moment.
    wait_for(lambda: 1 == sum(said.startswith("[lxc monitor]") for said in machine.processes(
        fresh_cluster.dir, fresh_cluster.cgroup_root).values()), 20, 0.1, "the one monitor")
    fresh_cluster.start_manager()
    fresh_cluster.wait_online()
    assert fresh_cluster.status("c1") == "RUNNING"


def image_of_air(path, megabytes):
    """Small as a tarball, large when unpacked."""
    with tarfile.open(path, "w:gz") as tar:
        for name, data in (("metadata.yaml", b"architecture: x86_64\ncreation_date: 1\n"),
                           ("rootfs/sbin/init", b"#!/bin/sh\n"), ("rootfs/air", b"air " * (megabytes << 18))):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            tar.addfile(entry, io.BytesIO(data))
    return str(path)


def test_full_disk_during_import(able, tmp_path):
    """The import fails and says why; what it had written is gone."""
    cluster = testbed.Cluster("full")
    try:
        os.makedirs(cluster.agent_dir)
        machine.run("mount", "-t", "tmpfs", "-o", "size=300m,mode=0755", "none", cluster.agent_dir, check=True)
        cluster.start()
        done = cluster.cli("image", "import", image_of_air(tmp_path / "air.tar.gz", 400), "--alias", "air")
        assert done.returncode == 1
        # It stops before the last bytes are taken from everybody else.
        assert "space" in done.stderr and "Hint: " in done.stderr, done.stderr
        incoming = os.path.join(cluster.agent_dir, "images", "incoming")
        wait_for(lambda: os.listdir(incoming) == [], 5)
        assert cluster.cli("image", "show", "air").returncode == 1
        testbed.ensure_image(cluster, "busybox")
        cluster.ok("launch", "busybox", "c1")
        cluster.ok("delete", "--force", "c1")
        cluster.wait_clean()
        # Too little room to begin with is said before anything is sent.
        machine.run("mount", "-o", "remount,size=4m", cluster.agent_dir, check=True)
        done = cluster.cli("image", "import", str(tmp_path / "air.tar.gz"), "--alias", "air")
        # By the node, or by the manager when it has heard of it already.
        assert done.returncode == 1 and ("not enough space" in done.stderr or "is needed" in done.stderr), done.stderr
    finally:
        cluster.stop(quiet=True)


def test_full_disk_of_the_manager(able):
    """What cannot be journalled is refused; the manager goes on and works when there is room again."""
    cluster = testbed.Cluster("full")
    try:
        os.makedirs(cluster.manager_dir)
        machine.run("mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "none", cluster.manager_dir, check=True)
        cluster.start()
        testbed.ensure_image(cluster, "busybox")
        ballast = os.path.join(cluster.manager_dir, "ballast")
        with open(ballast, "wb", buffering=0) as f:
            try:
                while True:
                    f.write(bytes(4096))
            except OSError:
                pass
        refused = None
        for i in range(300):  # the log has room of its own for a while
            done = cluster.cli("create", "busybox", f"c{i}")
            if done.returncode != 0:
                refused = done
                break
        assert refused and "Error: " in refused.stderr, refused
        assert cluster.manager.pid and cluster.cli("list").returncode == 0
        os.unlink(ballast)
        cluster.ok("launch", "busybox", "after")
        cluster.remove_instances()
        cluster.wait_clean()
    finally:
        cluster.stop(quiet=True)


def test_two_daemons_of_one_state_are_refused(cluster):
    """A second one would think it is alone."""
    for daemon in (cluster.manager, cluster.agent):
        done = machine.run(*daemon.argv)
        assert done.returncode == 1
        assert daemon.name in done.stderr and "another" in done.stderr, done.stderr
