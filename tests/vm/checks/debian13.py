"""What needs Debian 13: a compiler of AppArmor that writes mount rules as they are said, and a newer kernel's mounts."""

from checks import apparmor, mounts, policy, privileged

NAME = "bound"

# Allows nothing but changes of propagation.
PROBE = "profile lxmgr-vm-probe { file, capability, umount, mount options=(rw,make-private) -> /{,**}, }"
DENIED = {
    "proc elsewhere": "mount -t proc p /mnt",
    "sysfs elsewhere": "mount -t sysfs s /mnt",
    "a cgroup file system elsewhere": "mount -t cgroup2 c /mnt",
    "parts of proc elsewhere": "mount -o bind /proc/sys /mnt",
    "parts of sysfs elsewhere": "mount -o bind /sys/fs /mnt",
    "moving proc": "mount -o move /proc /mnt",
}
ALLOWED = ("mount -t tmpfs t /mnt && umount /mnt && mount -o bind /etc /mnt && mount -o remount,bind,ro /mnt && umount /mnt"
           " && mount --make-rprivate /")


def check_launches(lab):
    """What was built on Debian 12 runs there: an image is imported, and an instance has the network"""
    lab.lxmgr("image", "import", lab.file("busybox.tar.zst"), "--alias", "busybox")
    lab.lxmgr("launch", "busybox", NAME)
    assert lab.inside(NAME, "hostname").strip() == NAME
    lab.home(NAME)
    lab.inside(NAME, "sh", "-c", "ping -c 1 -W 5 $(ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p')")
    lab.delete(NAME)


def check_mount_rules_bind(lab):
    """The compiler writes mount rules as narrow as they are said"""
    m = lab.machines[0]
    m.ok("apparmor_parser", "--replace", input=PROBE)
    done = m.run("aa-exec", "-p", "lxmgr-vm-probe", "--", "busybox", "mount", "-t", "tmpfs", "t", "/mnt")
    m.ok("apparmor_parser", "--remove", input=PROBE)
    assert done.code != 0 and "denied" in done.err, done


def bounded(lab, *options):
    lab.lxmgr("launch", "busybox", NAME, *options)
    assert lab.inside(NAME, "cat", "/proc/self/attr/current").strip() == f"lxmgr-{NAME} (enforce)"
    for what, command in DENIED.items():
        done = lab.run("exec", NAME, "--", "sh", "-c", command)
        assert done.code != 0, (what, done)
    lab.inside(NAME, "sh", "-c", ALLOWED)


def check_mounts(lab):
    """What a guest may not mount under its profile it mounts nowhere, and it is heard of"""
    bounded(lab, "-p", "default", "-p", "hardened")
    apparmor.newer_calls_are_missing(lab, NAME)
    seen = [d["details"].get("fstype") for d in lab.json("warning", "denials", NAME) if d["operation"] == "mount"]
    assert "proc" in seen and "sysfs" in seen, seen
    lab.delete(NAME)


def check_custom_rule(lab):
    """A rule of one's own allows one, and no other"""
    bounded(lab, "-c", "security.apparmor=enforce")
    lab.lxmgr("config", "set", NAME, "raw.apparmor=mount fstype=proc -> /mnt/,")
    lab.lxmgr("restart", "--force", NAME)
    lab.inside(NAME, "sh", "-c", "mount -t proc p /mnt && umount /mnt")
    for command in ("mount -t sysfs s /mnt", "mount -t proc p /media", "mount -o bind /proc/sys /mnt"):
        assert lab.run("exec", NAME, "--", "sh", "-c", f"mkdir -p /media; {command}").code != 0, command
    lab.delete(NAME)


def check_privileged(lab):
    """A privileged instance starts under its profile, is held by it, and takes it along when it goes"""
    privileged.check_confined(lab)


def check_disks(lab):
    """A node mounts disks for a guest whose own mounts AppArmor bounds"""
    mounts.mount_and_use(lab, ["-c", "security.apparmor=enforce"])


def check_policy(lab):
    """A guest's root loads profiles of its own, and reaches nobody else's"""
    policy.launch_and_load(lab, lab.names[0])
    policy.check_attempts(lab)
    policy.namespaces_inside(lab)
    lab.delete(policy.NAME)
