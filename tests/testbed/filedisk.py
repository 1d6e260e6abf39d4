"""A disk that is a file: a file system of its own kind and size for an agent's state directory.

    with FileDisk("btrfs", "/var/tmp/x.img", "/mnt/x"): ...

Of a kind that can count and bound what a directory takes: ext4 and xfs by projects, btrfs by qgroups.
Raises Unavailable, with the reason, where the kernel or the tools cannot make one.
"""

import os
import subprocess

SIZE = 4 << 30  # sparse
KINDS = {
    "ext4": (["mkfs.ext4", "-q", "-F", "-O", "quota,project", "-E", "quotatype=prjquota"], "loop,prjquota", None),
    "xfs": (["mkfs.xfs", "-q", "-f"], "loop,prjquota", None),
    "btrfs": (["mkfs.btrfs", "-q", "-f"], "loop", ["btrfs", "quota", "enable"]),
    "btrfs-no-quota": (["mkfs.btrfs", "-q", "-f"], "loop", None),
}


class Unavailable(Exception):
    """There is no such disk here; says why."""


def _run(kind, *argv):
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    except FileNotFoundError:
        raise Unavailable(f"{kind}: there is no {argv[0]} (scripts/install-deps)") from None
    if done.returncode != 0:
        raise Unavailable(f"{kind}: {argv[0]} failed: " + " ".join(done.stderr.split()))


class FileDisk:
    def __init__(self, kind, path, where, size=SIZE):
        self.kind, self.path, self.where = kind, path, where
        make, options, then = KINDS[kind]
        with open(path, "wb") as f:
            f.truncate(size)
        try:
            _run(kind, *make, path)
            os.makedirs(where, exist_ok=True)
            # The loop device goes with the last mount of it.
            _run(kind, "mount", "-o", options, path, where)
            if then:
                _run(kind, *then, where)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()

    def close(self):
        """Returns what went wrong."""
        wrong = []
        if os.path.ismount(self.where):
            done = subprocess.run(["umount", self.where], capture_output=True, text=True, check=False)
            wrong = [] if done.returncode == 0 else [f"umount {self.where}: {done.stderr.strip()}"]
        if not wrong and os.path.exists(self.path):
            os.unlink(self.path)
        return wrong
