"""A privileged instance under an enforced profile: it starts, and what has no user namespace around it has that."""

NAME = "mighty"
# What its root, who is the machine's, tries: each must fail.
ATTEMPTS = {
    "another profile": "echo changeprofile unconfined > /proc/self/attr/current",
    "another profile at the next program": "echo exec unconfined > /proc/self/attr/exec && cat /proc/self/attr/current | grep unconfined",
    "loading a profile": "mkdir -p /s && mount -t securityfs s /s && echo > /s/apparmor/.replace",
    "mounting": "mount -t tmpfs t /mnt",
    "mounting proc": "mount -t proc p /mnt",
    "remounting": "mount -o remount,rw /sys",
    "a core pattern": "echo x > /proc/sys/kernel/core_pattern",
    "sysrq": "echo h > /proc/sysrq-trigger",
    "an uevent helper": "echo x > /sys/kernel/uevent_helper",
    "a disk": "mknod /root/disk b 254 0",
    "its disk, by the machine's node": "head -c 1 /dev/vda",
}


def profiles(machine):
    return machine.ok("cat", "/sys/kernel/security/apparmor/profiles")


def check_confined(lab):
    """A privileged instance starts under its profile, is held by it, and takes it along when it goes"""
    first = lab.names[0]
    lab.lxmgr("launch", "busybox", NAME, "-p", "default", "-p", "privileged", "-c", "security.apparmor=enforce", "--target", first)
    for _ in range(2):
        for pid in ("1", "self"):
            label = lab.inside(NAME, "cat", f"/proc/{pid}/attr/current").strip()
            assert label == f"lxmgr-{NAME} (enforce)", label
        assert lab.inside(NAME, "cat", "/proc/self/uid_map").split() == ["0", "0", "4294967295"]
        for what, command in ATTEMPTS.items():
            done = lab.run("exec", NAME, "--", "sh", "-c", command)
            assert done.code != 0, (what, done)
        lab.inside(NAME, "sh", "-c", "echo kept > /root/file && chown 10 /root/file && mknod /dev/zero2 c 1 5 && head -c 3 /dev/zero2 "
                                     "&& ip addr show eth0 | grep -q inet && rm /dev/zero2")
        lab.lxmgr("restart", "--force", NAME)
    lab.delete(NAME)
    assert f"lxmgr-{NAME}" not in profiles(lab.by_name[first])


def check_by_its_profile(lab):
    """The built-in profile alone has it confined where there is AppArmor"""
    lab.lxmgr("launch", "busybox", NAME, "-p", "default", "-p", "privileged", "--target", lab.names[0])
    label = lab.inside(NAME, "cat", "/proc/1/attr/current").strip()
    assert label == f"lxmgr-{NAME} (enforce)", label
    lab.delete(NAME)
