"""Instances under profiles of their own: enforced from the start, and after a live move. What they say of mounts is checked
on Debian 13 (debian13.py): the compiler of Debian 12 makes such rules wider than they are written (CVE-2016-1585)."""

from lab import Failed

NAME = "confined"


def label(lab, pid="1"):
    return lab.inside(NAME, "cat", f"/proc/{pid}/attr/current").strip()


def loaded(machine):
    return f"lxmgr-{NAME} (enforce)" in machine.ok("cat", "/sys/kernel/security/apparmor/profiles")


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
