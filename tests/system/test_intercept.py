"""System calls that a node makes in a guest's place: security.syscalls.intercept.*, from inside real instances.

In guests tests/system/intercept/caller.c makes the calls.
"""

import contextlib
import errno
import glob
import json
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import moving  # noqa: E402
import testbed  # noqa: E402
from instance.devicelab import refused  # noqa: E402
from machine import wait_for  # noqa: E402
from testbed import BUILD  # noqa: E402

CALLER = "/root/caller"
SECONDS = 10  # that anything here may take; nothing is said by it
PREFIX = "security.syscalls.intercept."
ALL = ("mknod", "setxattr", "sysinfo")
MIB = 1 << 20


def launch(cluster, name="c1", what=ALL, keys=()):
    keys = [f"{PREFIX}{w}=true" for w in what] + list(keys)
    cluster.ok("launch", "busybox", name, *(x for key in keys for x in ("-c", key)))
    board(cluster, name)


def board(cluster, name):
    cluster.ok("file", "push", os.path.join(BUILD, "tests", "caller"), f"{name}{CALLER}", "--mode", "0755")


def call(cluster, name, *words):
    """What it says: "ok", an errno's name, or other words."""
    done = cluster.exec(name, CALLER, *map(str, words))
    assert done.returncode == 0, done
    said = done.stdout.strip()
    return errno.errorcode[int(said)] if said.isdigit() else said


def sh(cluster, name, command):
    return cluster.exec(name, "sh", "-c", command)


# Started by init, and so under the filter of its start: what is exec'ed has another.
RUNNER = """while :; do
if [ -e /root/command ]; then mv /root/command /root/now; sh /root/now >/root/said 2>&1; touch /root/done; fi
sleep 0.1
done
"""


def hire(cluster, name="c1"):
    """A process of init's in there that does what init_begin() says."""
    done = cluster.exec(name, "sh", "-c", "cat > /root/runner && echo '::respawn:/bin/sh /root/runner' >> /etc/inittab",
                        input=RUNNER)
    assert done.returncode == 0, done
    cluster.ok("restart", name, "--force")


def init_begin(cluster, name, command):
    done = cluster.exec(name, "sh", "-c", "rm -f /root/done; cat > /root/new && mv /root/new /root/command", input=command)
    assert done.returncode == 0, done


def init_said(cluster, name="c1", seconds=SECONDS):
    wait_for(lambda: sh(cluster, name, "test -e /root/done").returncode == 0, seconds, 0.1, "init has run it")
    return sh(cluster, name, "cat /root/said").stdout


def init_sh(cluster, name, command):
    init_begin(cluster, name, command)
    return init_said(cluster, name)


def servers(cluster, name=None):
    """Processes that make the calls, without their children: those that lead a session."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        pid = int(path.split("/")[2])
        try:
            with open(path, "rb") as f:
                words = f.read().split(b"\0")
            if words[0] == b"lx-intercept" and words[1].startswith(os.fsencode(cluster.dir)) and os.getsid(pid) == pid \
                    and name in (None, words[4].decode()):
                found.append(pid)
        except (OSError, IndexError):
            continue
    return found


def kill_server(cluster, name="c1"):
    [pid] = servers(cluster, name)
    os.kill(pid, signal.SIGKILL)
    return pid


def no_leftovers(cluster):
    wait_for(lambda: not servers(cluster), SECONDS, 0.05, "they end")
    assert not glob.glob(f"{cluster.dir}/**/*.intercept", recursive=True)
    assert not glob.glob(f"{cluster.dir}/**/*.calls", recursive=True)


# ---------------------------------------------------------------- what it is for


def test_device_nodes(cluster):
    launch(cluster, what=["mknod"])
    assert call(cluster, "c1", "node", "/null", "c", 1, 3) == "ok"
    assert call(cluster, "c1", "nodeat", "/tmp", "zero", "c", 1, 5) == "ok"
    assert sh(cluster, "c1", "mknod -m 600 /tty c 5 0 && umask 077 && mknod /u c 1 9").returncode == 0
    # They work, they are whose they should be, and they go again.
    assert sh(cluster, "c1", "echo gone > /null && test ! -s /null && head -c 3 /tmp/zero | hexdump -C | grep -q '00 00 00'"
              ).returncode == 0
    seen = sh(cluster, "c1", "stat -c '%a %u %g %t:%T' /null /tty /u").stdout.splitlines()
    assert seen == ["644 0 0 1:3", "600 0 0 5:0", "600 0 0 1:9"] or seen[0].startswith("666"), seen
    assert call(cluster, "c1", "node", "/null", "c", 1, 3) == "EEXIST"
    assert call(cluster, "c1", "node", "/no/such/null", "c", 1, 3) == "ENOENT"
    assert call(cluster, "c1", "node", "/null/below", "c", 1, 3) == "ENOTDIR"
    assert sh(cluster, "c1", "rm /null /tmp/zero /tty /u").returncode == 0
    # What was never stopped, and what the kernel makes itself.
    assert sh(cluster, "c1", "mkfifo /fifo && touch /file && mknod /dev/whiteout c 0 0 && rm /fifo /file /dev/whiteout"
              ).returncode == 0
    assert "Intercepted: mknod" in cluster.ok("info", "c1")
    cluster.ok("delete", "c1", "--force")
    no_leftovers(cluster)


def test_what_init_starts(cluster):
    """Its calls come out another way than those of programs that enter the guest."""
    launch(cluster, keys=["limits.memory=128MiB"])
    hire(cluster)
    node, figures, disk = init_sh(cluster, "c1", f"{CALLER} node /null c 1 3; {CALLER} sysinfo; {CALLER} node /sda b 8 0"
                                  ).splitlines()
    assert (node, int(figures.split()[0]), disk) == ("ok", 128 * MIB, str(errno.EPERM))
    # A reboot inside makes another filter, and another listener.
    before = guest_init(cluster)
    sh(cluster, "c1", "rm -f /null; reboot")
    wait_for(lambda: guest_init(cluster) not in (None, before), SECONDS, 0.1, "it has rebooted")
    wait_for(lambda: sh(cluster, "c1", "true").returncode == 0, SECONDS, 0.1, "it runs")
    assert init_sh(cluster, "c1", f"{CALLER} node /null c 1 3") == "ok\n"
    assert call(cluster, "c1", "node", "/zero", "c", 1, 5) == "ok"


def test_sysinfo(cluster):
    launch(cluster, what=["sysinfo"], keys=["limits.memory=96MiB", "limits.memory.swap=false", "limits.processes=50"])
    total, free, swap, processes, uptime = map(int, call(cluster, "c1", "sysinfo").split())
    assert total == 96 * MIB and 0 < free < total and swap == 0
    assert 0 < processes < 50
    assert 0 <= uptime < 3600
    words = sh(cluster, "c1", "free").stdout.split()
    assert words[words.index("Mem:") + 1].startswith(str(96 * 1024)), words
    with open("/proc/uptime", encoding="ascii") as f:
        assert uptime < float(f.read().split()[0])
    said = call(cluster, "c1", "sysinfo32")  # ENOSYS: this kernel runs no such programs
    assert said in ("none", "ENOSYS") or said.split()[0] == str(96 * MIB), said
    cluster.ok("delete", "c1", "--force")
    launch(cluster, what=["mknod"])
    assert int(call(cluster, "c1", "sysinfo").split()[0]) > 96 * MIB


def test_overlay_attributes(cluster):
    launch(cluster, what=["setxattr"])
    assert sh(cluster, "c1", "mkdir /dev/d /dev/e && touch /dev/f").returncode == 0
    for way, path in (("xattr", "d"), ("fxattr", "e")):
        assert call(cluster, "c1", way, f"/dev/{path}", "trusted.overlay.opaque", "y") == "ok"
        assert os.getxattr(f"/proc/{guest_init(cluster)}/root/dev/{path}", "trusted.overlay.opaque") == b"y"
    # Another attribute of overlayfs's, another value, what is no directory: as without.
    for path, name, value in (("d", "trusted.overlay.redirect", "/etc"), ("d", "trusted.overlay.opaque", "x"),
                              ("f", "trusted.overlay.opaque", "y"), ("d", "trusted.other", "y")):
        assert call(cluster, "c1", "xattr", f"/dev/{path}", name, value) == "EPERM"
    # And all others go their way.
    assert call(cluster, "c1", "xattr", "/root", "user.mine", "y") in ("ok", "EOPNOTSUPP")
    assert call(cluster, "c1", "xattr", "/no", "user.mine", "y") == "ENOENT"


def guest_init(cluster, name="c1"):
    procs = glob.glob(f"/sys/fs/cgroup/**/{name}/payload/cgroup.procs", recursive=True)
    for path in procs:
        if cluster.agent.cgroup_root in path:
            with contextlib.suppress(OSError):
                with open(path, encoding="ascii") as f:
                    pids = sorted(int(p) for p in f.read().split())
                for pid in pids:
                    with open(f"/proc/{pid}/status", encoding="ascii") as f:
                        if any(line.startswith("NSpid:") and line.split()[-1] == "1" for line in f):
                            return pid
    return None


def test_under_an_allow_list_and_by_another_user(cluster):
    launch(cluster, what=["mknod"], keys=["security.syscalls.allow=@guest", "security.no_new_privileges=true"])
    assert call(cluster, "c1", "node", "/null", "c", 1, 3) == "ok"
    assert sh(cluster, "c1", "mkfifo /fifo && touch /file").returncode == 0
    # Who has not the guest's right to make nodes.
    assert call(cluster, "c1", "node", "/tmp/null", "c", 1, 3, 1000) == "EPERM"


def test_off_by_default(cluster):
    cluster.ok("launch", "busybox", "c1")
    board(cluster, "c1")
    assert call(cluster, "c1", "node", "/null", "c", 1, 3) == "EPERM"
    assert not servers(cluster) and "Intercepted" not in cluster.ok("info", "c1")
    # On at the next start, and off again.
    assert "restart" in cluster.cli("config", "set", "c1", f"{PREFIX}mknod=true").stderr
    assert call(cluster, "c1", "node", "/null", "c", 1, 3) == "EPERM"
    cluster.ok("restart", "c1", "--force")
    assert call(cluster, "c1", "node", "/null", "c", 1, 3) == "ok"
    cluster.ok("config", "unset", "c1", f"{PREFIX}mknod")
    assert call(cluster, "c1", "node", "/null2", "c", 1, 3) == "ok"
    cluster.ok("restart", "c1", "--force")
    assert call(cluster, "c1", "node", "/null3", "c", 1, 3) == "EPERM"
    no_leftovers(cluster)


# ---------------------------------------------------------------- what may go wrong


def init_kept(cluster):
    return [int(x) for x in init_said(cluster, seconds=30).split()]


def test_agents_come_and_go(cluster):
    launch(cluster)
    hire(cluster)
    before = servers(cluster, "c1")
    init_begin(cluster, "c1", f"{CALLER} keep /tmp 6")
    cluster.kill("agent")
    time.sleep(1)
    cluster.restart("agent")
    cluster.wait_online()
    calls, failed, first = init_kept(cluster)
    assert calls > 10 and failed == 0, first
    assert servers(cluster, "c1") == before


def test_another_takes_its_place(cluster):
    """Killed in the middle of calls, again and again: none is lost, none waits for ever."""
    launch(cluster)
    hire(cluster)
    init_begin(cluster, "c1", f"{CALLER} keep /tmp 6")
    for _ in range(4):
        time.sleep(0.7)
        old = kill_server(cluster)
        wait_for(lambda old=old: (s := servers(cluster, "c1")) and s != [old], SECONDS, 0.05, "another one")
    calls, failed, first = init_kept(cluster)
    # A call that had been made when its maker was killed is made again: it is there already.
    assert calls > 10 and failed <= 4 and first in (0, errno.EEXIST), (calls, failed, first)
    assert call(cluster, "c1", "node", "/null", "c", 1, 3) == "ok"


def test_killed_while_the_agent_is_away(cluster):
    launch(cluster)
    hire(cluster)
    cluster.kill("agent")
    kill_server(cluster)
    cluster.restart("agent")
    cluster.wait_online()
    wait_for(lambda: servers(cluster, "c1"), SECONDS, 0.05, "another one")
    assert init_sh(cluster, "c1", f"{CALLER} node /null c 1 3") == "ok\n"
    cluster.ok("stop", "c1", "--force")
    no_leftovers(cluster)


def children(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return [int(p) for p in f.read().split()]
    return []


def test_one_that_takes_too_long(cluster):
    """It is left to the kernel, which refuses it; others go on."""
    launch(cluster)
    hire(cluster)
    [pid] = servers(cluster, "c1")
    init_begin(cluster, "c1", f"{CALLER} keep /tmp 8")
    wait_for(lambda: any(stopped(p) for p in children(pid)), SECONDS, 0.0005, "a call to stop")
    calls, failed, first = init_kept(cluster)
    assert calls > 10 and failed >= 1 and first == errno.EPERM, (calls, failed, first)
    assert call(cluster, "c1", "node", "/null", "c", 1, 3) == "ok" and not children(pid)


def stopped(pid):
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGSTOP)
        return True
    return False


@pytest.mark.limit(300)
def test_a_whole_debian(debian):
    debian.ok("launch", "debian/12", "c1", "-c", "limits.memory=512MiB", *(x for w in ALL for x in ("-c", f"{PREFIX}{w}=true")))
    assert debian.booted("c1") == "running", debian.exec("c1", "systemctl", "--failed", "--no-pager").stdout
    done = sh(debian, "c1", "mkdir /srv/dev && cd /srv/dev && mknod -m 666 null c 1 3 && mknod -m 666 zero c 1 5 && mknod tty c 5 0"
                            " && echo gone > null && head -c 4 zero | od -An -tx1 && chroot / stat -c %t:%T /srv/dev/tty")
    assert done.stdout.split() == ["00", "00", "00", "00", "5:0"], done
    # By a service, in a mount namespace of its own.
    done = sh(debian, "c1", "systemd-run --wait -q -p PrivateTmp=yes -p ProtectHome=yes sh -c 'mknod /tmp/n c 1 3 && mknod /srv/n c 1 3'"
                            " && stat -c %t:%T /srv/n && test ! -e /tmp/n")
    assert done.returncode == 0 and done.stdout == "1:3\n", done
    debian.ok("restart", "c1")
    assert debian.booted("c1") == "running"


def test_a_flood_holds_nobody_up(cluster):
    launch(cluster)
    flood = cluster.popen("exec", "c1", "--", CALLER, "flood", "32", "6", stdout=subprocess.PIPE)
    time.sleep(1)
    cluster.ok("launch", "busybox", "c2")
    assert cluster.exec("c2", "echo", "there").stdout == "there\n"
    assert call(cluster, "c1", "node", "/null", "c", 1, 3) == "ok"
    assert flood.communicate(timeout=60)[0] == "ok\n"
    [pid] = servers(cluster, "c1")
    wait_for(lambda: len(glob.glob(f"/proc/{pid}/fd/*")) < 64, SECONDS, 0.1, "nothing is left open")
    # It is told of, counted together.
    wait_for(lambda: "syscall" in json.dumps(denials(cluster)), SECONDS, 0.2, "it is counted")


def denials(cluster, name="c1"):
    info = json.loads(cluster.ok("info", name, "--format", "json"))
    return info.get("denials", [])


# ---------------------------------------------------------------- what is refused


@pytest.mark.limit(200)
def test_moves(able):
    """Live it does not go, and that is said before; with a stop it does, nodes and all."""
    with testbed.Cluster("callmove", nodes=2) as two:
        try:
            for i in range(2):
                testbed.ensure_image(two, "busybox", node=i)
        except testbed.Unavailable as e:
            pytest.skip(str(e))
        here, there = two.node_names
        launch(two, what=["mknod"], keys=[])
        two.ok("move", "c1", "--target", here, "--live=off") if two.instance("c1").node != here else None
        assert call(two, "c1", "node", "/null", "c", 1, 3) == "ok"
        pid = two.instance("c1").pid
        for command in (["move", "c1", "--target", there], ["move", "c1", "--target", there, "--check"]):
            done = two.cli(*command)
            assert done.returncode != 0 and "system calls of c1 stop for its node" in done.stdout + done.stderr, done
        assert "--live=off" in done.stdout
        assert two.instance("c1").node == here and two.instance("c1").pid == pid and two.status("c1") == "RUNNING"
        two.ok("move", "c1", "--target", there, "--live=off")
        assert two.instance("c1").node == there
        assert sh(two, "c1", "echo gone > /null && stat -c %F:%t:%T /null").stdout == "character special file:1:3\n"
        assert call(two, "c1", "node", "/zero", "c", 1, 5) == "ok"
        # Taken away, it goes live again.
        two.ok("config", "unset", "c1", f"{PREFIX}mknod")
        assert two.cli("move", "c1", "--target", here, "--check").returncode != 0
        two.ok("restart", "c1", "--force")
        assert "system calls" not in two.cli("move", "c1", "--target", here, "--check").stdout
        two.ok("delete", "c1", "--force")
        moving.wait_clean(two)
        no_leftovers(two)


def test_restricted(cluster):
    cluster.ok("project", "create", "shop", "restricted.interception=true")
    try:
        done = cluster.cli("launch", "busybox", "c1", "--project", "shop", "-c", f"{PREFIX}mknod=true")
        refused(done, "restricted.interception")
    finally:
        cluster.ok("project", "delete", "shop")
    refused(cluster.cli("launch", "busybox", "c1", "-p", "default", "-p", "privileged", "-c", f"{PREFIX}mknod=true"), PREFIX)
    refused(cluster.cli("launch", "busybox", "c1", "-c", f"{PREFIX}mknod=maybe"), "mknod")
    refused(cluster.cli("launch", "busybox", "c1", "-c", f"{PREFIX}bpf=true"), "bpf")
