"""File systems on disks that a node mounts for a guest, with Debian's kernels: security.syscalls.intercept.mount."""

NAME = "mounting"
KEY = "security.syscalls.intercept.mount"
MAKE = {"ext4": "mkfs.ext4 -q -F", "xfs": "mkfs.xfs -q -f", "vfat": "mkfs.vfat"}


def mount_and_use(lab, confined=()):
    m, node = lab.machines[0], lab.names[0]
    devices, given = {}, []
    for i, (kind, make) in enumerate(MAKE.items()):
        image = f"/root/{kind}.img"
        m.ok("sh", "-c", f"truncate -s 320M {image} && {make} {image}")
        devices[kind] = f"/dev/vd{chr(ord('m') + i)}"
        loop = m.ok("losetup", "-f", "--show", image).strip()
        given += ["-d", f"d{i},type=unix-block,source={loop},path={devices[kind]}"]
    lab.lxmgr("launch", "busybox", NAME, "-c", f"{KEY}=true", "-c", f"{KEY}.allowed=ext4,xfs,vfat", *confined, *given, "--target", node)
    for kind, path in devices.items():
        said = lab.inside(NAME, "sh", "-c", f"mount -t {kind} {path} /mnt && echo there > /mnt/file && cat /mnt/file && stat -c %u:%g /mnt/file"
                                            f" && grep ' /mnt ' /proc/mounts && umount /mnt")
        assert said.startswith("there\n0:0\n") and "nosuid,nodev" in said, said
    # What was not given, and what is not allowed.
    for command in (f"mount -t squashfs {devices['ext4']} /mnt", "mount -t ext4 /dev/null /mnt"):
        assert lab.run("exec", NAME, "--", "sh", "-c", command).code != 0, command
    lab.delete(NAME)
    m.ok("sh", "-c", "losetup -D && rm /root/*.img")


def check_disks(lab):
    """ext4, xfs and vfat on disks that an instance was given, with its own ids"""
    mount_and_use(lab)
