"""Root of an ordinary instance reaches for its machine. Programs are put into one and try
(instance/confined.c, attack/prowl.c); beside each something honest works."""

import glob
import os
import stat
import subprocess

import pytest

from instance.devicelab import inside, read
from test_attack_privileged import monitor_of
from test_cluster_confine import attempts, launch
from testbed import BUILD

PROWL = os.path.join(BUILD, "tests", "prowl")
KNOBS = ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/sysrq", "/sys/kernel/uevent_helper"]


def init_of(cluster, name):
    return next(i for i in cluster.instances() if i.name == name).pid


def test_files_that_command_the_machine(cluster):
    """As they are mounted, and in every other proc and sysfs that its root can come by."""
    launch(cluster, "c1")
    there = {path: read(path) for path in KNOBS if os.path.exists(path)}
    assert there
    inside(cluster, "c1", "mkdir -p /m/proc /m/sys /m/bind; mount -t proc p /m/proc; mount -t sysfs s /m/sys; "
                          "mount --rbind /proc /m/bind; umount /proc/sys/net /proc/sys; mount -o remount,bind,rw /proc; :")
    for path in [*KNOBS, "/proc/sysrq-trigger"]:
        for place in (path, path.replace("/proc/", "/m/proc/").replace("/sys/kernel", "/m/sys/kernel"), path.replace("/proc/", "/m/bind/")):
            assert cluster.exec("c1", "sh", "-c", f"echo '|/tmp/x' > {place}").returncode != 0, place
    assert there == {path: read(path) for path in there}
    assert inside(cluster, "c1", "echo 0 > /proc/sys/net/ipv4/ip_forward; hostname other; hostname") == "other\n"


def test_cgroups_and_their_release_agent(cluster):
    """Its own groups it may divide. Its limits are above them, and no program of its choosing is run by the machine."""
    launch(cluster, "c1", "limits.memory=64MiB", "limits.processes=50")
    agents = {path: read(path) for path in glob.glob("/sys/fs/cgroup/**/release_agent", recursive=True)}
    mounted = inside(cluster, "c1", r"""
        mkdir -p /m; for c in memory pids cpu cpuset devices freezer blkio name=systemd; do
            mount -t cgroup -o $c none /m 2>/dev/null || continue
            mkdir /m/own && echo $c
            for f in release_agent notify_on_release memory.limit_in_bytes memory.memsw.limit_in_bytes devices.allow cpu.cfs_quota_us; do
                [ -e /m/$f ] && (echo a > /m/$f || echo -1 > /m/$f || echo 1 > /m/$f) 2>/dev/null && echo written $f
            done
            (echo max > /m/pids.max) 2>/dev/null && echo written pids.max
            rmdir /m/own; umount /m
        done
        mount -t cgroup2 none /m && mkdir /m/own && echo v2 && rmdir /m/own
        for f in memory.max pids.max cpu.max; do [ -e /m/$f ] && (echo max > /m/$f) 2>/dev/null && echo written $f; done; :""")
    assert "written" not in mounted and "v2" in mounted, mounted
    assert attempts(cluster, "c1", "mount_cgroup_agent")["mount_cgroup_agent"] != "ok"
    assert agents == {path: read(path) for path in agents}
    held = {}
    for path in glob.glob(f"/sys/fs/cgroup/**/{cluster.agent.cgroup_root}/c1/payload/*", recursive=True):
        if os.path.basename(path) in ("memory.max", "memory.limit_in_bytes", "pids.max"):
            held[os.path.basename(path)] = read(path).strip()
    assert held.pop("pids.max") == "50" and list(held.values()) == [str(64 << 20)], held


def test_disks_of_the_machine(cluster):
    """Should a node of one lie in its files, it opens nothing and can be mounted by nobody."""
    launch(cluster, "c1")
    number = next((os.stat(p).st_rdev for p in glob.glob("/dev/[vsx][dv]*[a-z]") if stat.S_ISBLK(os.stat(p).st_mode)), os.makedev(8, 0))
    os.mknod(f"/proc/{init_of(cluster, 'c1')}/root/root/disk", stat.S_IFBLK | 0o666, number)
    assert stat.S_ISBLK(os.stat(f"/proc/{init_of(cluster, 'c1')}/root/root/disk").st_mode)
    assert cluster.exec("c1", "head", "-c", "1", "/root/disk").returncode != 0
    for kind in ("ext4", "xfs", "vfat", "squashfs", "btrfs"):
        said = cluster.exec("c1", "sh", "-c", f"mkdir -p /m; mount -t {kind} -o ro /root/disk /m").stderr
        assert "ermission denied" in said or "not permitted" in said or "No such device" in said, (kind, said)  # the last: no such kind
        assert " /m " not in inside(cluster, "c1", "cat /proc/mounts")
    assert attempts(cluster, "c1", "mknod_disk", "mount_devtmpfs") == {"mknod_disk": "EPERM", "mount_devtmpfs": "EPERM"}
    inside(cluster, "c1", "mount -t tmpfs none /m")


def test_modules_kernels_and_handles(cluster):
    """The filter has no such calls; without it the rights to make them are not there either."""
    tries = ("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "open_by_handle_at")
    launch(cluster, "c1")
    assert attempts(cluster, "c1", *tries) == {call: "ENOSYS" for call in tries}
    launch(cluster, "c2", "security.syscalls.deny_default=false")
    answers = attempts(cluster, "c2", *tries)
    assert set(answers.values()) <= {"EPERM", "ENOSYS"}, answers  # a kernel may have been built without modules
    assert answers["open_by_handle_at"] == "EPERM"


def test_processes_of_the_machine(cluster):
    """They have no number there: nothing to signal, to trace, or to go through to its root directory."""
    launch(cluster, "c1")
    ours = [cluster.agent_pid, cluster.manager_pid, monitor_of(cluster, "c1"), init_of(cluster, "c1")]
    for pid in ours:
        inner = inside(cluster, "c1", "echo $(ls -d /proc/[0-9]*)").split()
        if f"/proc/{pid}" in inner:
            continue  # a number that one of its own has
        for command in (f"kill -9 {pid}", f"ls /proc/{pid}/root/", f"cat /proc/{pid}/environ"):
            said = cluster.exec("c1", "sh", "-c", command)
            assert said.returncode != 0 and "No such" in said.stderr, said
    assert all(os.path.exists(f"/proc/{pid}") for pid in ours)
    assert inside(cluster, "c1", "grep PPid /proc/1/status").split() == ["PPid:", "0"]
    assert attempts(cluster, "c1", "setns_host")["setns_host"] != "ok"
    inside(cluster, "c1", "sleep 60 & kill -9 $!")


@pytest.mark.limit(120)
def test_what_enters_it(cluster):
    """What runs a command in it is user 0 of the machine until it has become the guest's root: whoever could trace it then
    would be that."""
    launch(cluster, "c1")
    cluster.ok("file", "push", PROWL, "c1/root/prowl", "--mode", "0755")
    for _ in range(3):
        with cluster.popen("exec", "c1", "--", "/root/prowl", "6", "true", stdout=subprocess.PIPE) as prowl:
            assert prowl.stdout.readline() == "on\n"
            while prowl.poll() is None:
                cluster.exec("c1", "true")
            *got, saw = prowl.stdout.read().splitlines()
        assert not got, got
        if int(saw.split()[1]) > 0:
            return
    pytest.skip("nobody was fast enough to see what enters")
