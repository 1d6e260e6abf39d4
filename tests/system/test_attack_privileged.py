"""A privileged instance reaches for its machine: its root is the machine's, and no user namespace is
around it. A program is put into one and tries (instance/confined.c); each time something that is
honest works beside it."""

import glob
import os
import re
import subprocess

import pytest

from instance.devicelab import disk, inside, make_private, refused
from test_attack_devices import HARMLESS, dangerous, opened_from
from test_cluster_confine import CONFINED, HERE, attempts, status
from testbed import BUILD

PRIVILEGED = ["-p", "default", "-p", "privileged"]
WRITABLE = os.path.join(BUILD, "tests", "writable")
# capabilities(7): what is the machine's alone.
DROPPED = {"dac_read_search": 2, "linux_immutable": 9, "net_admin": 12, "sys_module": 16, "sys_rawio": 17, "sys_ptrace": 19, "sys_admin": 21,
           "sys_resource": 24, "sys_time": 25, "audit_control": 30, "mac_admin": 33, "syslog": 34, "bpf": 39}
# Of all users alike, or of the own namespaces.
OPEN_TO_ALL = re.compile(r"/proc/(sys/net/|pressure/|sysvipc/)|/sys/fs/cgroup/")


def launch(cluster, *more, name="p1"):
    cluster.ok("launch", "busybox", name, *PRIVILEGED, *more)
    cluster.ok("file", "push", CONFINED, f"{name}{HERE}", "--mode", "0755")


def monitor_of(cluster, name):
    text = next(i for i in cluster.instances() if i.name == name)
    with open(f"/proc/{text.pid}/status", encoding="utf-8") as f:
        return int(next(line.split()[1] for line in f if line.startswith("PPid:")))


def test_it_is_the_machines_root_with_few_rights(cluster):
    launch(cluster)
    assert inside(cluster, "p1", "cat /proc/self/uid_map").split() == ["0", "0", "4294967295"]
    for pid in (1, "self"):
        seen = status(cluster, "p1", pid)
        assert seen["Seccomp"] == "2"
        for caps in ("CapBnd", "CapPrm", "CapEff"):
            assert not [n for n, bit in DROPPED.items() if int(seen[caps], 16) >> bit & 1], (pid, caps)


def test_no_list_gives_back_what_is_the_machines(cluster):
    launch(cluster, "-c", "security.capabilities.keep=sys_admin,sys_module,sys_time,mknod,chown,dac_override",
           "-c", "security.syscalls.deny_default=false")
    bound = int(status(cluster, "p1", 1)["CapBnd"], 16)
    assert bound == 1 << 0 | 1 << 1 | 1 << 27, hex(bound)
    assert attempts(cluster, "p1", "kexec_load", "finit_module", "open_by_handle_at", "mount_tmpfs", "clone_userns") == {
        "kexec_load": "ENOSYS", "finit_module": "ENOSYS", "open_by_handle_at": "ENOSYS", "mount_tmpfs": "EPERM",
        "clone_userns": "EPERM"}
    launch(cluster, "-c", "security.syscalls.allow=@guest,finit_module,clone3,clone", name="p2")
    assert attempts(cluster, "p2", "finit_module", "clone3", "clone_userns", "keyring") == {
        "finit_module": "ENOSYS", "clone3": "ENOSYS", "clone_userns": "ENOSYS", "keyring": "ENOSYS"}


def test_the_disk_of_the_machine(cluster):
    """It makes no node for it, opens none that is there, and mounts none."""
    launch(cluster)
    machines = os.stat("/")
    major, minor = os.major(machines.st_dev), os.minor(machines.st_dev)
    for where in ("/root", "/dev", "/dev/shm", "/run"):
        done = cluster.exec("p1", "mknod", f"{where}/disk", "b", str(major), str(minor))
        assert done.returncode != 0 and "not permitted" in done.stderr, done
        assert cluster.exec("p1", "test", "-e", f"{where}/disk").returncode != 0
    assert attempts(cluster, "p1", "mknod_disk", "mknod_mem", "mknod_console", "mount_devtmpfs") == {
        "mknod_disk": "EPERM", "mknod_mem": "EPERM", "mknod_console": "EPERM", "mount_devtmpfs": "EPERM"}
    # One it is handed: root of the machine in its cgroup, before whom there is the node itself.
    harmless = [d for d in HARMLESS if d != "/dev/console"]
    bad = dangerous()
    assert opened_from(cluster, "p1", harmless + bad) == set(harmless)
    # What is in no machine, it may make.
    assert inside(cluster, "p1", "mknod /dev/zero2 c 1 5 && head -c 3 /dev/zero2 | wc -c").strip() == "3"


def test_a_disk_in_its_files(cluster):
    """A node that lies in its file system, however it came there, is none."""
    launch(cluster)
    machines = os.stat("/").st_dev
    upper = os.path.join(cluster.dir, "agent", "instances", "p1", "upper", "root", "disk")
    cluster.ok("stop", "--force", "p1")
    os.mknod(upper, 0o060666, machines)
    cluster.ok("start", "p1")
    done = cluster.exec("p1", "head", "-c", "512", "/root/disk")
    assert done.returncode != 0 and "ermission denied" in done.stderr and not done.stdout
    assert cluster.exec("p1", "mount", "-t", "ext4", "/root/disk", "/mnt").returncode != 0


def test_mounts(cluster):
    """Neither does it get another view of the kernel's file systems, nor the ones it has as they were."""
    launch(cluster)
    calls = ["mount_proc_here", "mount_sysfs_here", "mount_devtmpfs", "mount_cgroup", "mount_cgroup_agent", "mount_tmpfs",
             "bind_proc", "remount_proc_sys", "umount_proc_sys", "fsopen", "mount_setattr", "unshare_mounts", "mount_proc",
             "userns", "clone_userns", "mount_proc_nested"]
    assert attempts(cluster, "p1", *calls) == dict.fromkeys(calls, "EPERM")


def test_modules_kexec_and_the_clock(cluster):
    launch(cluster)
    assert attempts(cluster, "p1", "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load",
                    "clock_settime", "settimeofday", "adjtimex", "syslog", "open_by_handle_at", "swapon", "raw_socket") == {
        "init_module": "ENOSYS", "finit_module": "ENOSYS", "delete_module": "ENOSYS", "kexec_load": "ENOSYS",
        "kexec_file_load": "ENOSYS", "clock_settime": "EPERM", "settimeofday": "EPERM", "adjtimex": "EPERM",
        "syslog": "EPERM", "open_by_handle_at": "ENOSYS", "swapon": "EPERM", "raw_socket": "ok"}
    assert "not permitted" in cluster.exec("p1", "date", "-s", "2001-01-01").stderr


def test_proc_and_sys(cluster):
    launch(cluster)
    with open("/proc/sys/kernel/core_pattern", encoding="utf-8") as f:
        pattern = f.read()
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hotplug",
                 "/proc/sys/vm/panic_on_oom", "/proc/sys/fs/protected_symlinks", "/proc/sysrq-trigger", "/proc/irq/0/smp_affinity",
                 "/sys/kernel/uevent_helper", "/sys/power/state", "/sys/class/net/lo/mtu"):
        assert cluster.exec("p1", "sh", "-c", f"echo x > {path}").returncode != 0, path
    with open("/proc/sys/kernel/core_pattern", encoding="utf-8") as f:
        assert f.read() == pattern
    for path in ("/proc/kcore", "/proc/kmsg", "/proc/kallsyms", "/proc/keys", "/proc/vmallocinfo"):
        assert cluster.exec("p1", "cat", path).returncode != 0, path
    # Whatever else this kernel has.
    cluster.ok("file", "push", WRITABLE, "p1/root/writable", "--mode", "0755")
    found = inside(cluster, "p1", "/root/writable /proc /sys").split()
    assert any(path.startswith("/sys/fs/cgroup/") for path in found)
    assert not [path for path in found if not OPEN_TO_ALL.match(path)]
    assert inside(cluster, "p1", "echo 500 > /proc/self/oom_score_adj; cat /proc/self/oom_score_adj").strip() == "500"


def test_the_machine_through_proc(cluster):
    """Process 1 and its root are its own; there is no other process to go through."""
    launch(cluster)
    inside(cluster, "p1", "echo mine > /here")
    assert inside(cluster, "p1", "cat /proc/1/root/here /proc/self/root/here").split() == ["mine", "mine"]
    assert attempts(cluster, "p1", "setns_host") == {"setns_host": "ENOENT"}
    agent, monitor = cluster.agent.pid, monitor_of(cluster, "p1")
    for pid in (agent, monitor, os.getpid()):
        with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
            comm = f.read().strip()
        assert cluster.exec("p1", "grep", "-x", comm, f"/proc/{pid}/comm").returncode != 0
    assert cluster.exec("p1", "kill", "-9", str(agent)).returncode != 0
    assert cluster.exec("p1", "ls", cluster.dir).returncode != 0


def test_the_network_of_the_machine(cluster):
    """Its card's other end is there, and so it has a number: nothing is to be had by it. The card it has works."""
    launch(cluster)
    assert attempts(cluster, "p1", "links_of_host", "raw_socket") == {"links_of_host": "EACCES", "raw_socket": "ok"}
    before = inside(cluster, "p1", "ip -4 addr show eth0")
    for command in ("ip link set eth0 down", "ip addr add 10.255.255.1/32 dev eth0", "ip route add 10.254.0.0/16 dev eth0",
                    "ip link add d0 type dummy"):
        assert cluster.exec("p1", "sh", "-c", command).returncode != 0, command
    assert "inet " in before and inside(cluster, "p1", "ip -4 addr show eth0") == before
    gateway = inside(cluster, "p1", "ip route show default").split()[2]
    assert cluster.exec("p1", "ping", "-c", "1", "-W", "5", gateway).returncode == 0


def test_the_program_that_enters_it(cluster):
    """Before it becomes a guest's program it could be reached through /proc/PID/exe: it is on a mount that nobody writes to,
    whatever his rights."""
    launch(cluster)
    exe = f"/proc/{monitor_of(cluster, 'p1')}/exe"
    worker = os.path.join(BUILD, "libexec", "lx-instance-worker")
    assert os.path.samefile(exe, worker)
    for attempt in (lambda: os.chmod(exe, 0o777), lambda: os.utime(exe), lambda: os.truncate(exe, 0)):
        with pytest.raises(OSError) as refusal:
            attempt()
        assert refusal.value.strerror in ("Read-only file system", "Text file busy")
    # A guest makes what enters it execute itself: that is no way in, and the next command finds it well.
    inside(cluster, "p1", r"printf '#!/proc/self/exe\n' > /bin/again; chmod 755 /bin/again")
    size = os.path.getsize(worker)
    assert cluster.exec("p1", "/bin/again").returncode != 0
    assert os.path.getsize(worker) == size and inside(cluster, "p1", "echo well") == "well\n"


def limits(cluster, name, leaf=""):
    """What is set in the group that holds a guest, in all hierarchies: the files' names and their text."""
    found = {}
    for path in glob.glob("/sys/fs/cgroup/**/" + f"{cluster.agent.cgroup_root}/{name}/payload{leaf}/*", recursive=True):
        if os.path.basename(path) in ("memory.max", "memory.limit_in_bytes", "pids.max"):
            with open(path, encoding="utf-8") as f:
                found[os.path.basename(path)] = f.read().strip()
    return found


def test_cgroups(cluster):
    """It sees its own alone, and its limits are not there."""
    launch(cluster, "-c", "limits.memory=64MiB", "-c", "limits.processes=50")
    assert set(inside(cluster, "p1", "cut -d: -f3 /proc/self/cgroup").split()) <= {"/", "/.lxc"}
    assert inside(cluster, "p1", "cut -d: -f3 /proc/1/cgroup | sort -u").split() == ["/"]
    assert attempts(cluster, "p1", "mount_cgroup", "mount_cgroup_agent") == {"mount_cgroup": "EPERM", "mount_cgroup_agent": "EPERM"}
    inside(cluster, "p1", "mkdir /sys/fs/cgroup/own && rmdir /sys/fs/cgroup/own")
    inside(cluster, "p1", "cd /sys/fs/cgroup; for f in $(find . -name '*.max'); do echo max > $f 2>/dev/null; done; :")
    for path in ("/sys/fs/cgroup/../memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/release_agent"):
        assert cluster.exec("p1", "sh", "-c", f"echo max > {path}").returncode != 0
    held = limits(cluster, "p1")
    assert held.pop("pids.max") == "50" and list(held.values()) == [str(64 << 20)], held


def test_files_are_pushed_as_files(cluster):
    """What writes to a guest's files for an operator is no longer way than the guest's own root."""
    launch(cluster)
    inside(cluster, "p1", "ln -s /proc/sys/kernel/core_pattern /root/a; ln -s /proc/sysrq-trigger /root/b; ln -s /proc/irq /root/c")
    local = os.path.join(cluster.dir, "pushed")
    with open(local, "w", encoding="utf-8") as f:
        f.write("x")
    for path in ("/root/a", "/root/b", "/root/c/default_smp_affinity"):
        cluster.cli("file", "push", local, f"p1{path}")
    with open("/proc/sys/kernel/core_pattern", encoding="utf-8") as f:
        assert f.read() != "x"
    cluster.ok("file", "push", local, "p1/root/honest")
    assert inside(cluster, "p1", "cat /root/honest; stat -c %u /root/honest").split() == ["x0"]


def test_its_files_are_out_of_reach_on_the_machine(cluster):
    """A set-uid program that it makes is the machine's root's: nobody else gets to it."""
    launch(cluster)
    inside(cluster, "p1", "cp /bin/busybox /root/sh && chmod 4755 /root/sh")
    made = os.path.join(cluster.dir, "agent", "instances", "p1", "upper", "root", "sh")
    assert os.stat(made).st_uid == 0 and os.stat(made).st_mode & 0o4000
    with pytest.raises(PermissionError):
        subprocess.run([made, "true"], user=65534, group=0, check=False)


def test_a_directory_of_the_machine(cluster):
    """Without a map of ids; what holds for others holds for it."""
    private = make_private(cluster)
    refused(cluster.cli("launch", "busybox", "p1", *PRIVILEGED, *disk("d", "/", "/d", recursive="true")), "users of this node reach /")
    launch(cluster, *disk("d", private, "/d"))
    inside(cluster, "p1", "echo hi > /d/file; chown 7:8 /d/file")
    there = os.stat(f"{private}/file")
    assert (there.st_uid, there.st_gid) == (7, 8)
    options = inside(cluster, "p1", "grep ' /d ' /proc/mounts").split()[3].split(",")
    assert {"nosuid", "nodev"} <= set(options)
    assert cluster.exec("p1", "mknod", "/d/disk", "b", "254", "0").returncode != 0
