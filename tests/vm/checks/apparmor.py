"""Instances under profiles of their own: enforced from the start, and after a live move. What they say of mounts is checked
on Debian 13 (debian13.py): the compiler of Debian 12 makes such rules wider than they are written (CVE-2016-1585)."""

import json

from lab import SLOW, Failed

NAME, PLAIN = "confined", "plain"
COMPILER = "/usr/sbin/apparmor_parser"


def label(lab, pid="1"):
    return lab.inside(NAME, "cat", f"/proc/{pid}/attr/current").strip()


def loaded(machine):
    return f"lxmgr-{NAME} (enforce)" in machine.ok("cat", "/sys/kernel/security/apparmor/profiles")


def is_plain(lab, expected):
    """As the kernel says it inside, and `lxmgr info` outside."""
    seen = lab.inside(PLAIN, "cat", "/proc/1/attr/current").strip()
    said = lab.json("info", PLAIN)["apparmor"]
    assert seen == said == expected, (seen, said)


def check_by_default(lab):
    """Nothing asked for is a profile of its own; with the profile nesting there is none"""
    lab.lxmgr("launch", "busybox", PLAIN, "--target", "vm1")
    is_plain(lab, f"lxmgr-{PLAIN} (enforce)")
    assert f"AppArmor: lxmgr-{PLAIN} (enforce)" in lab.lxmgr("info", PLAIN)
    lab.lxmgr("profile", "assign", PLAIN, "default,nesting")
    is_plain(lab, f"lxmgr-{PLAIN} (enforce)")
    lab.lxmgr("restart", "--force", PLAIN)
    is_plain(lab, "unconfined")
    lab.delete(PLAIN)


def obstacles(lab):
    said = lab.run("move", PLAIN, "--target", lab.other(PLAIN), "--check", "--format", "json")
    return [(o["code"], o["blocks"]) for o in json.loads(said.out)["obstacles"]]


def compiler(lab, there):
    """On the second machine, whose agent looks for it when it starts."""
    m = lab.by_name["vm2"]
    m.ok("mv", *([COMPILER + ".away", COMPILER] if there else [COMPILER, COMPILER + ".away"]))
    m.ok("systemctl", "restart", "lxagentd", timeout=SLOW)
    word = "yes" if there else "no"
    lab.machines[0].until("sh", "-c", f"lxmgr node show vm2 | grep -q 'apparmor-parser: .*{word}'", seconds=SLOW, why="the agent's facts")
    lab.wait_online()


def check_unlike_nodes(lab):
    """A profile is not lost by a live move, and not found by one"""
    lab.lxmgr("launch", "busybox", PLAIN, "--target", "vm1")
    assert obstacles(lab) == []
    compiler(lab, False)
    try:
        assert obstacles(lab) == [("apparmor-missing", True)], obstacles(lab)
        done = lab.run("move", PLAIN, "--target", "vm2", "--live=required")
        assert done.code != 0 and "has no apparmor_parser" in done.err, done
        is_plain(lab, f"lxmgr-{PLAIN} (enforce)")
        lab.lxmgr("move", PLAIN, "--target", "vm2", "--live=off")
        is_plain(lab, "unconfined")
        assert obstacles(lab) == [("apparmor-later", False)], obstacles(lab)
        lab.move(PLAIN)
        is_plain(lab, "unconfined")
    finally:
        compiler(lab, True)
    lab.lxmgr("restart", "--force", PLAIN)
    is_plain(lab, f"lxmgr-{PLAIN} (enforce)")
    lab.delete(PLAIN)


def check_own_profile(lab):
    """A profile of its own confines init and what is run"""
    lab.lxmgr("launch", "busybox", NAME, "-p", "default", "-p", "hardened", "--target", "vm1")
    for pid in ("1", "self"):
        assert label(lab, pid) == f"lxmgr-{NAME} (enforce)", label(lab, pid)


def newer_calls_are_missing(lab, name):
    """Mounts by descriptors, which AppArmor of this kernel is not asked about, or refuses: programs do without."""
    lab.lxmgr("file", "push", lab.file("confined"), f"{name}/root/confined", "--mode", "0755")
    assert lab.inside(name, "/root/confined", "fsopen").split() == ["fsopen", "ENOSYS"]
    lab.inside(name, "sh", "-c", "mount -t tmpfs t /mnt && umount /mnt && mount -o bind /etc /mnt && mount -o remount,bind,ro,nosuid /mnt"
                               " && umount /mnt && mount --make-rprivate /")


def check_newer_calls(lab):
    """Mounts are made in the way that the profile sees"""
    newer_calls_are_missing(lab, NAME)


def check_moves_with_it(lab):
    """A live move brings it under the same profile on the other node, and the first one forgets it"""
    for _ in range(2):
        before = lab.home(NAME)
        lab.move(NAME)
        assert label(lab) == f"lxmgr-{NAME} (enforce)", label(lab)
        assert loaded(lab.home(NAME)) and not loaded(before)


def check_raw_rules(lab):
    """Rules that do not compile are refused with their line, good ones bind at the next start"""
    done = lab.run("config", "set", NAME, "raw.apparmor=deny /etc/passwd r,\ndeny /x w")
    assert done.code == 1 and "raw.apparmor does not compile" in done.err, done
    lab.lxmgr("config", "set", NAME, "raw.apparmor=deny /etc/passwd r,")
    lab.lxmgr("restart", "--force", NAME)
    assert lab.run("exec", NAME, "--", "cat", "/etc/passwd").code != 0
    lab.delete(NAME)
    for m in lab.machines:
        if loaded(m):
            raise Failed(f"{m.name} has the profile still")
