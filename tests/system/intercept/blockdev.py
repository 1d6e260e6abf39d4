"""Block devices to give to instances: files on loop devices of this machine, with file systems on them."""

import contextlib
import os
import shutil
import subprocess
import uuid

import pytest

MKFS = {
    "ext4": (16, ["mkfs.ext4", "-q", "-F"]),
    "xfs": (320, ["mkfs.xfs", "-q", "-f"]),
    "vfat": (16, ["mkfs.vfat"]),
    "btrfs": (128, ["mkfs.btrfs", "-q", "-f"]),
}


class Device:
    """`with Device(dir, "ext4") as d:` d.path is the loop device, d.image its file."""

    def __init__(self, directory, kind=None, options=()):
        self.image = os.path.join(directory, f"image-{uuid.uuid4().hex[:6]}")
        self.kind = kind
        self.options = list(options)
        self.path = None

    def __enter__(self):
        size, mkfs = MKFS.get(self.kind, (16, None))
        if mkfs and not shutil.which(mkfs[0]):
            pytest.skip(f"this machine has no {mkfs[0]}")
        if self.kind == "squashfs":
            self._squash()
        else:
            with open(self.image, "wb") as f:
                f.truncate(size << 20)
        if mkfs:
            subprocess.run([*mkfs, *self.options, self.image], check=True, capture_output=True)
        done = subprocess.run(["losetup", "-f", "--show", self.image], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            os.unlink(self.image)
            pytest.skip(f"this machine makes no loop device: {done.stderr.strip()}")
        self.path = done.stdout.strip()
        return self

    def __exit__(self, *_):
        subprocess.run(["losetup", "-d", self.path], check=False)
        with contextlib.suppress(OSError):
            os.unlink(self.image)

    def _squash(self):
        if not shutil.which("mksquashfs"):
            pytest.skip("this machine has no mksquashfs")
        tree = f"{self.image}.d"
        os.mkdir(tree)
        with open(os.path.join(tree, "file"), "w", encoding="ascii") as f:
            f.write("squashed\n")
        subprocess.run(["mksquashfs", tree, self.image, "-quiet", "-no-progress"], check=True, capture_output=True)
        shutil.rmtree(tree)

    @property
    def numbers(self):
        st = os.stat(self.path)
        return os.major(st.st_rdev), os.minor(st.st_rdev)

    def is_mounted(self):
        """In any mount namespace: the kernel lets nobody have it alone."""
        try:
            os.close(os.open(self.path, os.O_RDONLY | os.O_EXCL))
        except OSError:
            return True
        return False


def can_mount(kind):
    """Does this machine's kernel have it? Modules are loaded when they are asked for."""
    with open("/proc/filesystems", encoding="ascii") as f:
        if any(line.split()[-1] == kind for line in f):
            return True
    return subprocess.run(["modprobe", "-n", kind], capture_output=True, check=False).returncode == 0 if shutil.which("modprobe") else False
