"""A whole Debian with systemd inside: the slowest part, last."""

from checks import Skip
from lab import SLOW

NAME = "whole"
UNIT = ("[Unit]\nDescription=sandboxed\n[Service]\nExecStart=/bin/sleep infinity\nPrivateTmp=yes\nProtectSystem=strict\n"
        "MemoryMax=48M\nTasksMax=7\n")


def state(lab):
    return lab.run("exec", NAME, "--", "systemctl", "is-system-running", "--wait").out.strip()


def check_boots(lab):
    """A Debian guest boots under its own systemd, every unit well"""
    if lab.machines[0].run("test", "-e", lab.file("debian-12.tar.zst")).code != 0:
        raise Skip("there is no Debian image: it could not be built on this machine")
    lab.lxmgr("image", "import", lab.file("debian-12.tar.zst"), "--alias", "debian/12", "--target", "vm1", timeout=2 * SLOW)
    lab.lxmgr("launch", "debian/12", NAME, "--target", "vm1", "-c", "limits.memory=400MiB", timeout=2 * SLOW)
    lab.machines[0].until("lxmgr", "exec", NAME, "--", "systemctl", "is-system-running", "--wait", seconds=SLOW)
    assert state(lab) == "running", lab.inside(NAME, "systemctl", "--failed", "--no-pager")
    assert lab.json("info", NAME)["apparmor"] == f"lxmgr-{NAME} (enforce)"


def check_moves(lab):
    """It moves live, there and back, with a sandboxed service and the limits of that service's control group"""
    if not lab.instance(NAME):
        raise Skip("it did not boot")
    lab.inside(NAME, "sh", "-c", "cat >/etc/systemd/system/box.service && systemctl start box", input=UNIT)
    inside = "for k in memory.max pids.max; do cat /sys/fs/cgroup/system.slice/box.service/$k; done; systemctl show -P MainPID box"
    before = lab.inside(NAME, "sh", "-c", inside)
    assert before.split()[:2] == [str(48 << 20), "7"], before
    for _ in range(2):
        lab.move(NAME)
        lab.home(NAME)
        assert lab.inside(NAME, "sh", "-c", inside) == before
        assert state(lab) == "running", lab.inside(NAME, "systemctl", "--failed", "--no-pager")
    assert lab.inside(NAME, "cat", "/proc/1/attr/current").strip() == f"lxmgr-{NAME} (enforce)"
    lab.inside(NAME, "systemctl", "restart", "box")
    refused = lab.json("warning", "denials", NAME)
    assert not [d for d in refused if d["operation"] in ("mount", "umount", "pivotroot", "signal", "ptrace")], refused
    lab.delete(NAME)
