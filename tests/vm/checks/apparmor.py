"""Instances under profiles of their own: enforced from the start, and after a live move."""

from checks import Skip
from lab import Failed

NAME = "confined"


def label(lab, pid="1"):
    return lab.inside(NAME, "cat", f"/proc/{pid}/attr/current").strip()


def loaded(machine):
    return f"lxmgr-{NAME} (enforce)" in machine.ok("cat", "/sys/kernel/security/apparmor/profiles")


# Allows nothing but changes of propagation.
PROBE = "profile lxmgr-vm-probe { file, capability, umount, mount options in (rw,make-private) -> /{,**}, }"


def mount_rules_bind(machine):
    """Old compilers make mount rules wider than they are written: then this profile lets a file system be mounted."""
    machine.ok("apparmor_parser", "--replace", input=PROBE)
    mounted = machine.run("aa-exec", "-p", "lxmgr-vm-probe", "--", "mount", "-t", "tmpfs", "t", "/mnt").code == 0
    if mounted:
        machine.ok("umount", "/mnt")
    machine.ok("apparmor_parser", "--remove", input=PROBE)
    return not mounted


def mounts(lab):
    """What it is denied though the kernel would let root of a user namespace do it, and what it is not."""
    assert lab.run("exec", NAME, "--", "mount", "-t", "proc", "proc", "/mnt").code != 0
    assert lab.run("exec", NAME, "--", "mount", "-o", "bind", "/proc/sys", "/mnt").code != 0
    lab.inside(NAME, "sh", "-c", "mount -t tmpfs t /mnt && umount /mnt && mount -o bind /etc /mnt && umount /mnt")


def check_own_profile(lab):
    """A profile of its own confines init and what is run"""
    lab.lxmgr("launch", "busybox", NAME, "-p", "default", "-p", "hardened", "--target", "vm1")
    for pid in ("1", "self"):
        assert label(lab, pid) == f"lxmgr-{NAME} (enforce)", label(lab, pid)


def check_mounts(lab):
    """Mounts are bounded by it"""
    m = lab.home(NAME)
    if not mount_rules_bind(m):
        version = m.ok("apparmor_parser", "--version").split("\n")[0]
        raise Skip(f"{version} makes mount rules wider than they are written (CVE-2016-1585): they bound nothing")
    mounts(lab)


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
