"""What needs Debian 13: a compiler of AppArmor that writes mount rules as they are said, and a newer kernel's mounts."""

from checks import Skip, apparmor, mounts, policy, policy_debian, privileged
from lab import SLOW

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
    "the whole tree, with proc in it": "mount -o rbind / /mnt",
    "a part of proc on another": "mount -o bind /proc/sys/kernel /proc/tty",
    "a part of sysfs on another": "mount -o bind /sys/kernel /sys/class/net",
}
# Where systemd puts a service's root file system together. There both may be, and are as far away as at the root.
BUILT = ("/run/systemd/unit-root", "/run/systemd/mount-rootfs")
IN_BUILT = {
    "what anybody may read but the profile's": "cat {0}/proc/bus/pci/devices",
    "a part of proc from there elsewhere": "mount -o bind {0}/proc/sys /mnt",
    "a part of proc to another place there": "mount -o bind /proc/sys {0}/mnt",
    "a part of sysfs from there elsewhere": "mount -o bind {0}/sys/fs /mnt",
    "proc from there elsewhere": "mount -o bind {0}/proc /mnt",
    "moving proc from there": "mount -o move {0}/proc /mnt",
    "moving sysfs from there": "mount -o move {0}/sys /mnt",
    "all of it elsewhere": "mount -o rbind {0} /mnt",
    "what is around it elsewhere": "mount -o rbind /run/systemd /mnt",
    "what is around that": "mount -o rbind /run /mnt",
    "proc in a place like it": "mkdir -p /run/systemd/other/proc && mount -t proc p /run/systemd/other/proc",
}
# What sandboxed services of a Debian ask for, in one.
BOX = ("[Service]\nExecStart=/bin/sleep infinity\nProtectKernelTunables=yes\nProtectKernelModules=yes\nProtectKernelLogs=yes\n"
       "ProtectHostname=yes\nPrivateDevices=yes\nProtectControlGroups=yes\nPrivateTmp=yes\nProtectSystem=strict\nProtectHome=yes\n"
       "ReadWritePaths=/run /var/tmp\nProtectProc=invisible\n")
ALLOWED = ("mount -t tmpfs t /mnt && umount /mnt && mount -o bind /etc /mnt && mount -o remount,bind,ro /mnt && umount /mnt"
           " && mount --make-rprivate /")


def check_launches(lab):
    """What was built on Debian 12 runs there: an image is imported, and an instance has the network"""
    lab.lxmgr("image", "import", lab.file("busybox.tar.zst"), "--alias", "busybox")
    lab.lxmgr("launch", "busybox", NAME)
    assert lab.inside(NAME, "hostname").strip() == NAME
    lab.home(NAME)
    assert lab.inside(NAME, "cat", "/proc/1/attr/current").strip() == f"lxmgr-{NAME} (enforce)"
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


def bounded_in_built(lab):
    """What is denied at the root is denied in a service's tree as well, and nothing gets out of there."""
    for built in BUILT:
        lab.inside(NAME, "sh", "-c", f"mkdir -p {built} && mount -o rbind / {built}"
                                     f" && grep -q '^[0-9]' {built}/proc/uptime && test -d {built}/sys/class")
        for what, command in IN_BUILT.items():
            done = lab.run("exec", NAME, "--", "sh", "-c", command.format(built))
            assert done.code != 0, (built, what, done)
        lab.inside(NAME, "umount", "-l", built)
        # Each by itself, as where a service has a root of its own.
        lab.inside(NAME, "sh", "-c", f"mount -t tmpfs t {built} && mkdir {built}/proc {built}/sys"
                                     f" && mount -o rbind /proc {built}/proc && mount -o rbind /sys {built}/sys && umount -l {built}")


def check_mounts(lab):
    """What a guest may not mount under its profile it mounts nowhere, and it is heard of"""
    bounded(lab, "-p", "default", "-p", "hardened")
    bounded_in_built(lab)
    apparmor.newer_calls_are_missing(lab, NAME)
    seen = [d["details"].get("fstype") for d in lab.json("warning", "denials", NAME) if d["operation"] == "mount"]
    assert "proc" in seen and "sysfs" in seen, seen
    paths = [d["path"] for d in lab.json("warning", "denials", NAME)]
    assert all(f"{built}/proc/bus/pci/devices" in paths for built in BUILT), paths
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


def whole(lab, *options):
    """A Debian boots with every unit well, and a unit that asks for much runs in what it asks for."""
    lab.lxmgr("launch", "debian/12", NAME, *options, timeout=2 * SLOW)
    lab.machines[0].until("lxmgr", "exec", NAME, "--", "systemctl", "is-system-running", "--wait", seconds=SLOW)
    assert lab.inside(NAME, "cat", "/proc/1/attr/current").strip() == f"lxmgr-{NAME} (enforce)"
    lab.inside(NAME, "sh", "-c", "cat >/etc/systemd/system/box.service && systemctl start box && sleep 2 && systemctl is-active box", input=BOX)
    pid = lab.inside(NAME, "systemctl", "show", "-P", "MainPID", "box").strip()
    seen = lab.inside(NAME, "cat", f"/proc/{pid}/mountinfo")
    assert [line for line in seen.splitlines() if line.split()[4] == "/proc/sys" and "ro" in line.split()[5].split(",")], seen
    assert lab.inside(NAME, "systemctl", "is-system-running").strip() == "running"
    refused = [d for d in lab.json("warning", "denials", NAME) if d["operation"] == "mount"]
    assert not refused, refused
    lab.delete(NAME)


def debian(lab):
    if lab.machines[0].run("test", "-e", lab.file("debian-12.tar.zst")).code != 0:
        raise Skip("there is no Debian image: it could not be built on this machine")


def check_debian_enforced(lab):
    """A whole Debian boots under its profile, every unit well, and a sandboxed service runs"""
    debian(lab)
    lab.lxmgr("image", "import", lab.file("debian-12.tar.zst"), "--alias", "debian/12", timeout=2 * SLOW)
    whole(lab)


def check_debian_hardened(lab):
    """The same with the profile hardened"""
    debian(lab)
    whole(lab, "-p", "default", "-p", "hardened")


def check_debian_loads_its_own(lab):
    """Debian 13's package, with a hundred profiles, loads them at a guest's boots, and nobody else has them"""
    profiles = policy_debian.launch(lab, "debian-13-apparmor", lab.names[0])
    assert len(profiles) > 64, len(profiles)
    policy_debian.restart(lab, profiles)
    policy_debian.alone(lab)
    lab.delete(policy_debian.NAME)
