"""Root of an instance reaches for another instance beside it, by all that they share: the kernel, and the
machine's file system. Their network is test_attack_spoofing.py's and test_attack_sniffing.py's."""

import os
import subprocess

from instance.devicelab import disk, inside, make_private
from test_attack_host import init_of
from test_cluster_confine import attempts, launch


def ids_of(cluster, name):
    first, outside, count = (int(n) for n in inside(cluster, name, "cat /proc/self/uid_map").split())
    assert first == 0
    return range(outside, outside + count)


def test_ids_are_nobody_elses(cluster):
    """Nor do they become so: by being deleted and made again, or by a restart of the manager."""
    for name in ("c1", "c2", "c3"):
        launch(cluster, name)
    cluster.ok("delete", "-f", "c2")
    cluster.restart("manager")
    cluster.wait_online()
    for name in ("c4", "c5"):
        launch(cluster, name)
    ranges = sorted((ids_of(cluster, name) for name in ("c1", "c3", "c4", "c5")), key=lambda r: r.start)
    for one, other in zip(ranges, ranges[1:]):
        assert len(one) == 65536 and one.stop <= other.start, ranges


def as_root_of(cluster, name, *command):
    """A program of the machine with the ids that root of the instance has there: as if it had got out."""
    root = ids_of(cluster, name).start
    return subprocess.run(["setpriv", f"--reuid={root}", f"--regid={root}", "--clear-groups", *command], capture_output=True, text=True,
                          check=False)


def test_files_of_the_other(cluster):
    """They are nowhere to be seen from inside; and on the machine its ids open no way to them."""
    launch(cluster, "c1")
    launch(cluster, "c2")
    inside(cluster, "c1", "echo secret > /root/secret; chmod 644 /root/secret; chmod 755 /root")
    assert "secret" not in inside(cluster, "c2", "find / -xdev -name secret; cat /proc/self/mountinfo").replace("/sys/kernel", "")
    rootfs = f"/proc/{init_of(cluster, 'c1')}/root"
    files = os.path.join(cluster.agent.dir, "instances", "c1")
    assert os.path.isdir(files)
    for path in (files, rootfs + "/root/secret", f"/proc/{init_of(cluster, 'c1')}/environ"):
        tried = as_root_of(cluster, "c2", "ls", path) if path == files else as_root_of(cluster, "c2", "cat", path)
        assert tried.returncode != 0 and "ermission denied" in tried.stderr, (path, tried)
    assert as_root_of(cluster, "c2", "ls", "/").returncode == 0


def test_a_directory_that_both_have(cluster):
    """One that the administrator has given to both is common. But set-uid programs of either are none in the other, and one that
    is given to be read cannot be written."""
    source = make_private(cluster)
    launch(cluster, "c1", more=disk("d", source, "/d"))
    launch(cluster, "c2", more=disk("d", source, "/d", readonly="true"))
    inside(cluster, "c1", "cp /bin/busybox /d/id; chmod 4755 /d/id; echo x > /d/file")
    assert inside(cluster, "c2", "cat /d/file") == "x\n"
    assert "nosuid" in inside(cluster, "c2", "grep ' /d ' /proc/mounts").split()[3].split(",")
    for command in ("echo y > /d/file", "rm /d/file", "mount -o remount,bind,rw /d && echo y > /d/file", "chmod 777 /d"):
        assert cluster.exec("c2", "sh", "-c", command).returncode != 0, command
    assert inside(cluster, "c1", "cat /d/file") == "x\n"


def test_signals(cluster):
    """Numbers of processes are its own, so even a signal to all reaches nobody else's."""
    launch(cluster, "c1")
    launch(cluster, "c2")
    inside(cluster, "c1", "sleep 1234 >/dev/null 2>&1 & :")
    there = inside(cluster, "c1", "ps | grep -c '[s]leep 1234'")
    cluster.exec("c2", "sh", "-c", f"kill -9 {init_of(cluster, 'c1')}; kill -9 -1")
    assert inside(cluster, "c1", "ps | grep -c '[s]leep 1234'") == there == "1\n"
    assert cluster.status("c1") == "RUNNING"


def test_abstract_sockets(cluster):
    """They belong to a network namespace: the other's are not there, nor the machine's."""
    launch(cluster, "c1")
    launch(cluster, "c2")
    assert attempts(cluster, "c1", "abstract_listen", "abstract_connect") == {"abstract_listen": "ok", "abstract_connect": "ok"}
    assert attempts(cluster, "c2", "abstract_connect") == {"abstract_connect": "ECONNREFUSED"}


def test_keys(cluster):
    """A user's keyring is found by his number on the machine: another instance's root has another one."""
    launch(cluster, "c1")
    launch(cluster, "c2")
    assert attempts(cluster, "c1", "leave_key", "find_key") == {"leave_key": "ok", "find_key": "ok"}
    assert attempts(cluster, "c2", "find_key") == {"find_key": "ENOKEY"}
    first = cluster.exec("c1", "/root/confined", "keyring").stdout.split()[1]
    assert cluster.exec("c2", "/root/confined", "keyring").stdout.split()[1] != first
