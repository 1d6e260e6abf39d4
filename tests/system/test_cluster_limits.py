"""Limits act on what runs, from the first moment or from the moment they are changed."""

import os
import subprocess
import time

import pytest

from machine import wait_for

MIB = 1 << 20


def cgroup_file(cluster, name, *candidates):
    """The value of the first that there is: v1 and v2 have other names."""
    for controller, file in candidates:
        path = os.path.join("/sys/fs/cgroup", controller, cluster.cgroup_root, name, "payload", file)
        if os.path.exists(path):
            with open(path, encoding="ascii") as f:
                return f.read().strip()
    pytest.skip("the kernel has none of " + ", ".join(c or "the v2 hierarchy" for c, _ in candidates))


def memory_limit(cluster, name):
    return cgroup_file(cluster, name, ("memory", "memory.limit_in_bytes"), ("", "memory.max"))


def eat(megabytes):
    """Holds that much memory for a moment: dd reads it into one buffer."""
    return ["dd", "if=/dev/zero", "of=/dev/null", f"bs={megabytes}M", "count=1"]


def test_memory(cluster):
    cluster.ok("launch", "busybox", "c1", "-c", "limits.memory=48MiB", "-c", "limits.memory.swap=false")
    assert memory_limit(cluster, "c1") == str(48 * MIB)
    assert cluster.exec("c1", *eat(16)).returncode == 0
    assert cluster.exec("c1", *eat(200)).returncode == 128 + 9
    assert cluster.status("c1") == "RUNNING"
    wait_for(lambda: cluster.list()["c1"]["memory_limit"] == 48 * MIB, 10)

    cluster.ok("config", "set", "c1", "limits.memory=300MiB")
    assert cluster.exec("c1", *eat(200)).returncode == 0
    cluster.ok("config", "unset", "c1", "limits.memory")
    assert cluster.exec("c1", *eat(400)).returncode == 0


def test_memory_in_percent(cluster):
    with open("/proc/meminfo", encoding="ascii") as f:
        total = int(f.readline().split()[1]) * 1024
    cluster.ok("launch", "busybox", "c1", "-c", "limits.memory=10%")
    assert abs(int(memory_limit(cluster, "c1")) - total / 10) < 1 * MIB


def soft_limit(cluster, name):
    return cgroup_file(cluster, name, ("memory", "memory.soft_limit_in_bytes"), ("", "memory.high"))


def test_soft_memory(cluster):
    """At once, at a start, and taken away; never above the hard one, in whatever way it is said."""
    cluster.ok("launch", "busybox", "c1", "-c", "limits.memory=256MiB", "-c", "limits.memory.soft=64MiB")
    assert soft_limit(cluster, "c1") == str(64 * MIB)
    done = cluster.cli("config", "set", "c1", "limits.memory.soft=128MiB")
    assert done.returncode == 0 and "restart" not in done.stderr, done
    assert soft_limit(cluster, "c1") == str(128 * MIB) and memory_limit(cluster, "c1") == str(256 * MIB)
    for what in (["limits.memory.soft=257MiB"], ["limits.memory=100MiB"], ["limits.memory.soft=99%"], ["limits.memory.soft=1MiB"]):
        done = cluster.cli("config", "set", "c1", *what)
        assert done.returncode == 1 and "limits.memory.soft" in done.stderr and "stored" not in done.stderr, done
    assert (soft_limit(cluster, "c1"), memory_limit(cluster, "c1")) == (str(128 * MIB), str(256 * MIB))
    cluster.restart("agent")
    cluster.ok("restart", "--force", "c1")
    assert soft_limit(cluster, "c1") == str(128 * MIB)
    cluster.ok("config", "unset", "c1", "limits.memory.soft")
    assert soft_limit(cluster, "c1") == "max" or int(soft_limit(cluster, "c1")) > 1 << 60
    assert memory_limit(cluster, "c1") == str(256 * MIB)


def test_processes(cluster):
    cluster.ok("launch", "busybox", "c1", "-c", "limits.processes=20")
    bomb = "for i in $(seq 40); do sleep 5 & done; wait"
    assert "fork" in cluster.exec("c1", "sh", "-c", bomb).stderr
    wait_for(lambda: cluster.exec("c1", "true").returncode == 0, 15)
    cluster.ok("config", "set", "c1", "limits.processes=100")
    done = cluster.exec("c1", "sh", "-c", "for i in $(seq 40); do sleep 1 & done; wait; echo all")
    assert done.stdout == "all\n" and "fork" not in done.stderr


def test_nobody_enters_a_full_one(cluster):
    """And is told why, and what helps."""
    cluster.ok("launch", "busybox", "c1", "-c", "limits.processes=20")
    with cluster.popen("exec", "c1", "--", "sh", "-c", "while sleep 60 & do :; done 2>/dev/null; echo full; sleep 60",
                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as filler:
        done = wait_for(lambda: (d := cluster.exec("c1", "true")).returncode != 0 and "cannot enter" in d.stderr and d, 20, 0.1)
        assert "limits.processes" in done.stderr and "lxmgr config set c1" in done.stderr, done
        cluster.ok("config", "set", "c1", "limits.processes=100")
        assert cluster.exec("c1", "true").returncode == 0
        filler.kill()


@pytest.mark.skipif(os.cpu_count() < 2, reason="one CPU cannot be divided into a smaller number")
def test_cpu_count(cluster):
    """The time of one CPU for two busy processes (that much again is spent to start and end them)."""
    cluster.ok("launch", "busybox", "c1", "-c", "limits.cpu=1")
    was, began = cpu_ns(cluster, "c1"), time.monotonic()
    cluster.exec("c1", "timeout", "2", "sh", "-c", "(while :; do :; done) & while :; do :; done")
    cluster.exec("c1", "killall", "sh")
    assert (cpu_ns(cluster, "c1") - was) / 1e9 < (time.monotonic() - began) * 1.15 + 0.1


@pytest.mark.skipif(os.cpu_count() < 2, reason="there is no second CPU")
def test_cpu_set(cluster):
    cluster.ok("launch", "busybox", "c1", "-c", "limits.cpu=1-1")
    assert cluster.exec("c1", "taskset", "-p", "1").stdout.split()[-1] == "2"


def test_cpu_allowance(cluster):
    """Half a second of CPU time in 1.5 seconds is more than a tenth allows, and less than all."""
    cluster.ok("launch", "busybox", "c1", "-c", "limits.cpu.allowance=10ms/100ms")
    burn = ("timeout", "1.5", "sh", "-c", "while :; do :; done")

    def used():
        was = cpu_ns(cluster, "c1")
        cluster.exec("c1", *burn)
        return (cpu_ns(cluster, "c1") - was) / 1e9

    assert 0.02 < used() < 0.4
    cluster.ok("config", "set", "c1", "limits.cpu.allowance=100%")
    assert used() > 0.5


def cpu_ns(cluster, name):
    text = cgroup_file(cluster, name, ("cpuacct", "cpuacct.usage"), ("", "cpu.stat"))
    return int(text) if text.isdigit() else int(text.split()[1]) * 1000


def test_kernel_limits_need_a_restart_and_say_so(cluster):
    cluster.ok("launch", "busybox", "c1", "-c", "limits.kernel.nofile=200:300")
    assert cluster.exec("c1", "sh", "-c", "ulimit -Sn; ulimit -Hn").stdout.split() == ["200", "300"]
    done = cluster.cli("config", "set", "c1", "limits.kernel.nofile=150")
    assert done.returncode == 0 and "restart" in done.stderr, done
    cluster.ok("restart", "--force", "c1")
    assert cluster.exec("c1", "sh", "-c", "ulimit -n").stdout == "150\n"


def test_profile_changes_act_on_all_that_use_it(cluster):
    cluster.ok("profile", "create", "small")
    try:
        for name in ("c1", "c2"):
            cluster.ok("launch", "busybox", name, "-p", "default", "-p", "small")
        cluster.ok("profile", "set", "small", "limits.memory=32MiB")
        assert {memory_limit(cluster, name) for name in ("c1", "c2")} == {str(32 * MIB)}
    finally:
        cluster.remove_instances()
        cluster.ok("profile", "delete", "small")


def test_limit_below_what_is_used(cluster):
    """Refused, before anything has changed: by the instance's own configuration, by a profile, for any way to get it."""
    cluster.ok("profile", "create", "small", "limits.memory=16MiB")
    cluster.ok("profile", "create", "mine", "user.x=1")
    try:
        cluster.ok("launch", "busybox", "c1", "-c", "limits.processes=50", "-p", "default", "-p", "mine")
        filled = cluster.exec("c1", "sh", "-c", "mount -t tmpfs none /mnt && dd if=/dev/zero of=/mnt/fill bs=1M count=64")
        assert filled.returncode == 0, filled
        with cluster.popen("exec", "c1", "--", "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 60 & done; echo on; wait",
                           stdout=subprocess.PIPE) as many:
            assert many.stdout.readline() == "on\n"
            before = cluster.ok("config", "show", "c1") + cluster.ok("profile", "show", "mine"), memory_limit(cluster, "c1")
            for what, why in ((["config", "set", "c1", "limits.memory=16MiB", "user.y=1"], "64"),
                              (["config", "set", "c1", "limits.processes=5"], "more than 5"),
                              (["config", "set", "c1", "limits.cpu=8190-8191"], "names CPU 8191"),
                              (["profile", "add", "c1", "small"], "cannot give back"),
                              (["profile", "set", "mine", "limits.memory=16MiB"], "cannot give back")):
                done = cluster.cli(*what)
                assert done.returncode == 1 and why in done.stderr and "stored" not in done.stderr, (what, done.stderr)
                assert before == (cluster.ok("config", "show", "c1") + cluster.ok("profile", "show", "mine"),
                                  memory_limit(cluster, "c1")), what
            many.kill()
        assert cluster.status("c1") == "RUNNING"
        cluster.ok("config", "set", "c1", "limits.memory=200MiB", "limits.processes=40")
        assert memory_limit(cluster, "c1") == str(200 * MIB)
        cluster.exec("c1", "rm", "/mnt/fill")
        cluster.ok("profile", "set", "mine", "limits.memory=32MiB")
        cluster.ok("config", "unset", "c1", "limits.memory")
        assert memory_limit(cluster, "c1") == str(32 * MIB)
    finally:
        cluster.remove_instances()
        for name in ("small", "mine"):
            cluster.ok("profile", "delete", name)


def test_forbidden_system_calls(cluster):
    cluster.ok("launch", "busybox", "c1", "-c", "security.syscalls.deny=mkdir\nmkdirat")
    assert cluster.exec("c1", "mkdir", "/root/d").returncode != 0
    assert cluster.exec("c1", "touch", "/root/f").returncode == 0


def test_what_survives_a_restart_of_the_agent(cluster):
    cluster.ok("launch", "busybox", "c1", "-c", "limits.memory=48MiB")
    cluster.restart("agent")
    cluster.ok("config", "set", "c1", "limits.memory=64MiB")
    assert memory_limit(cluster, "c1") == str(64 * MIB)


def disk_rates(cluster, name):
    """What the kernel bounds, by direction: bytes a second."""
    v2 = os.path.join("/sys/fs/cgroup", cluster.cgroup_root, name, "payload", "io.max")
    if os.path.exists(v2):
        with open(v2, encoding="ascii") as f:
            said = dict(w.split("=") for w in f.read().split()[1:])
        return {"read": said.get("rbps", "max"), "write": said.get("wbps", "max")}
    found = {}
    for way in ("read", "write"):
        text = cgroup_file(cluster, name, ("blkio", f"blkio.throttle.{way}_bps_device"))
        found[way] = text.split()[1] if text else "max"
    return found


def test_disk_rates(cluster):
    cluster.ok("launch", "busybox", "c1")
    cluster.ok("config", "device", "override", "c1", "root")
    done = cluster.cli("config", "device", "set", "c1", "root", "limits.write=10MiB")
    if "no single disk" in done.stderr:
        pytest.skip("this machine's file system is on no single disk")
    assert done.returncode == 0, done.stderr
    assert disk_rates(cluster, "c1") == {"read": "max", "write": str(10 * MIB)}
    cluster.ok("restart", "c1", "--force")
    assert disk_rates(cluster, "c1") == {"read": "max", "write": str(10 * MIB)}
    cluster.ok("config", "device", "set", "c1", "root", "limits.max=20MiB")
    assert disk_rates(cluster, "c1") == {"read": str(20 * MIB), "write": str(10 * MIB)}
    cluster.ok("config", "device", "unset", "c1", "root", "limits.write")
    cluster.ok("config", "device", "unset", "c1", "root", "limits.max")
    assert disk_rates(cluster, "c1") == {"read": "max", "write": "max"}
    for bad in ("fast", "1kB", "0iops", "-1MB"):
        assert cluster.cli("config", "device", "set", "c1", "root", f"limits.read={bad}").returncode != 0
    assert disk_rates(cluster, "c1") == {"read": "max", "write": "max"}
