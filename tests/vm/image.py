"""The machine image: Debian's own packages and kernel, what is needed to run lxmgr, and the runner.

    image = build(suite, programs)    Image(disk, kernel, initrd), all below build/vm

Made by mmdebstrap and mkfs.ext4 -d, without loop devices or mounts of ours, and kept under a name
made of what goes in: packages, suite, the files here. What changes with each build of lxmgr is not
in it; that comes on a disk of its own (programs_disk).
"""

import collections
import glob
import hashlib
import io
import os
import re
import shutil
import stat
import subprocess
import tarfile
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
GUEST = os.path.join(HERE, "guest")

# A machine that boots, has Debian's kernel and AppArmor, and can run the runner.
BASE = ["systemd", "systemd-sysv", "udev", "dbus", "kmod", "linux-image-cloud-amd64", "apparmor", "python3", "procps",
        "iputils-ping", "e2fsprogs", "xfsprogs", "btrfs-progs", "dosfstools"]
# Of scripts/install-deps' "run" group: images come ready made, from outside.
NOT_NEEDED = {"mmdebstrap", "debian-archive-keyring", "patchelf", "squashfs-tools", "squashfs-tools-ng"}
# What the first process needs to find the disk, and what runs from the start.
MODULES = ["virtio_pci", "virtio_blk", "ext4", "quota_v2", "virtio_console", "virtio_net"]
# What takes time at boot or later, and has no part in this.
MASKED = ["getty@tty1.service", "serial-getty@ttyS0.service", "serial-getty@hvc0.service", "apt-daily.timer",
          "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer",
          "systemd-networkd.service", "systemd-networkd.socket", "systemd-networkd-wait-online.service",
          "systemd-timesyncd.service", "systemd-update-utmp.service", "systemd-binfmt.service", "systemd-hwdb-update.service",
          "proc-sys-fs-binfmt_misc.automount", "systemd-machine-id-commit.service", "systemd-pstore.service", "dnsmasq.service"]
DISK_BYTES = 6 << 30  # sparse
BUILD_SECONDS = 900

Image = collections.namedtuple("Image", "disk kernel initrd")


class Unavailable(Exception):
    """The image cannot be made here; says why."""


def run(argv, **kw):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=BUILD_SECONDS, **kw)
    if done.returncode != 0:
        raise Unavailable(f"{argv[0]} failed:\n" + "\n".join(done.stdout.splitlines()[-15:]))
    return done.stdout


# ---------------------------------------------------------------- what goes in


def libraries(programs):
    """Packages of the shared libraries that these programs link to themselves. What those link to comes with them, under
    names of the suite that they come from."""
    paths = set()
    for program in programs:
        said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        found = dict(re.findall(r"(\S+) => (/\S+)", said))
        direct = subprocess.run(["readelf", "-d", program], capture_output=True, text=True, check=False).stdout
        paths.update(os.path.realpath(found[n]) for n in re.findall(r"NEEDED.*\[(.*)\]", direct) if n in found)
    owners = set()
    for path in sorted(paths):
        # dpkg knows files by the names they had before /lib became a link.
        for name in (path, path.removeprefix("/usr")):
            found = subprocess.run(["dpkg", "-S", name], capture_output=True, text=True, check=False)
            if found.returncode == 0:
                owners.add(found.stdout.split(":")[0])
                break
    return sorted(owners)


def packages(programs):
    wanted = run([os.path.join(TOP, "scripts", "install-deps"), "--list", "run"]).split()
    return sorted({*BASE, *libraries(programs), *(p for p in wanted if p not in NOT_NEEDED)})


def digest(*parts):
    h = hashlib.sha256()
    for part in parts:
        h.update(repr(part).encode())
    for path in [__file__, *sorted(glob.glob(os.path.join(GUEST, "*")))]:
        with open(path, "rb") as f:
            h.update(f.read())
    return h.hexdigest()[:16]


# ---------------------------------------------------------------- the root file system


def write(root, path, text, mode=0o644):
    full = os.path.join(root, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "w", encoding="utf-8") as f:
        f.write(text)
    os.chmod(full, mode)


def finish(root):
    """What makes it a machine for tests: quick to boot, with the runner, its journal on the second console."""
    units = os.path.join(root, "etc/systemd/system")
    for unit in MASKED:
        os.symlink("/dev/null", os.path.join(units, unit))
    write(root, "etc/systemd/journald.conf.d/vm.conf",
          "[Journal]\nStorage=volatile\nForwardToConsole=yes\nTTYPath=/dev/hvc0\nMaxLevelConsole=info\nRateLimitBurst=0\n")
    write(root, "etc/fstab", "")
    with open(os.path.join(GUEST, "runner.py"), encoding="utf-8") as f:
        write(root, "usr/local/lib/lxmgr-vm/runner.py", f.read(), 0o755)
    with open(os.path.join(GUEST, "lxmgr-runner.service"), encoding="utf-8") as f:
        write(root, "etc/systemd/system/lxmgr-runner.service", f.read())
    wants = os.path.join(units, "multi-user.target.wants")
    os.makedirs(wants, exist_ok=True)
    os.symlink("/etc/systemd/system/lxmgr-runner.service", os.path.join(wants, "lxmgr-runner.service"))
    for path in ("etc/machine-id", "var/lib/dbus/machine-id"):
        if os.path.lexists(os.path.join(root, path)):
            os.unlink(os.path.join(root, path))
    write(root, "etc/machine-id", "")  # each boot makes one; it is not a first boot


def bootstrap(suite, wanted, root):
    # No initramfs of Debian's: it takes a minute to make and is not used.
    run(["mmdebstrap", "--variant=minbase", "--mode=root", "--aptopt=APT::Install-Recommends \"false\"",
         "--dpkgopt=force-unsafe-io", *(f"--dpkgopt=path-exclude=/usr/share/{d}/*" for d in ("doc", "man", "locale", "info")),
         "--include=" + ",".join(wanted), suite, root], env={**os.environ, "INITRD": "No", "LC_ALL": "C"})


# ---------------------------------------------------------------- kernel and initramfs


def module_order(modules_dir, wanted):
    """Paths below modules_dir in the order in which they load; what is built in is not among them."""
    needs, by_name = {}, {}
    with open(os.path.join(modules_dir, "modules.dep"), encoding="ascii") as f:
        for line in f:
            path, _, deps = line.partition(":")
            needs[path] = deps.split()
            by_name[os.path.basename(path).split(".")[0].replace("-", "_")] = path
    order = []

    def add(path):
        for dep in needs[path]:
            add(dep)
        if path not in order:
            order.append(path)

    for name in wanted:
        if name in by_name:
            add(by_name[name])
    # crc32c is asked for by name only, when ext4 mounts.
    if "crc32c_generic" in by_name:
        add(by_name["crc32c_generic"])
    return order


def cpio_entry(out, name, mode, data=b""):
    """One entry of the "newc" form: Documentation/driver-api/early-userspace/buffer-format of Linux."""
    name = name.encode() + b"\0"
    fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0]
    out.write(b"070701" + b"".join(b"%08X" % x for x in fields) + name)
    out.write(b"\0" * (-out.tell() % 4) + data)
    out.write(b"\0" * (-out.tell() % 4))


def make_initrd(root, version, path):
    modules_dir = os.path.join(root, "lib/modules", version)
    out = io.BytesIO()
    for d in ("bin", "modules"):
        cpio_entry(out, d, stat.S_IFDIR | 0o755)
    order = module_order(modules_dir, MODULES)
    files = [("init", os.path.join(GUEST, "init"), 0o755), ("bin/busybox", os.path.join(root, "bin/busybox"), 0o755)]
    files += [(f"modules/{os.path.basename(m)}", os.path.join(modules_dir, m), 0o644) for m in order]
    for name, source, mode in files:
        with open(source, "rb") as f:
            cpio_entry(out, name, stat.S_IFREG | mode, f.read())
    cpio_entry(out, "modules/order", stat.S_IFREG | 0o644, "".join(os.path.basename(m) + "\n" for m in order).encode())
    cpio_entry(out, "TRAILER!!!", 0)
    with open(path, "wb") as f:
        f.write(out.getvalue())


# ---------------------------------------------------------------- all of it


def make(suite, wanted, into):
    with tempfile.TemporaryDirectory(dir=os.path.dirname(into), prefix=".image-") as work:
        root, done = os.path.join(work, "root"), os.path.join(work, "done")
        os.mkdir(done)
        bootstrap(suite, wanted, root)
        kernel = sorted(glob.glob(os.path.join(root, "boot/vmlinuz-*")))[-1]
        version = os.path.basename(kernel).removeprefix("vmlinuz-")
        make_initrd(root, version, os.path.join(done, "initrd"))
        shutil.copy(kernel, os.path.join(done, "kernel"))
        finish(root)
        disk = os.path.join(done, "disk")
        with open(disk, "wb") as f:
            f.truncate(DISK_BYTES)
        run(["mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^metadata_csum,quota,project", "-E", "quotatype=prjquota",
             "-d", root, disk])
        os.rename(done, into)


def build(suite, programs, where):
    """The image for these programs; made when it is not there yet. Older ones of the suite are removed."""
    wanted = packages(programs)
    name = f"{suite}-{digest(suite, wanted)}"
    into = os.path.join(where, name)
    if not os.path.isdir(into):
        os.makedirs(where, exist_ok=True)
        make(suite, wanted, into)
        for old in glob.glob(os.path.join(where, f"{suite}-*")):
            if old != into:
                shutil.rmtree(old)
    return Image(*(os.path.join(into, x) for x in ("disk", "kernel", "initrd")))


def programs_disk(path, trees, files):
    """A tar of directories {archive name: path} and files, as a raw disk."""
    with tarfile.open(path, "w") as tar:
        for name, source in {**trees, **files}.items():
            tar.add(source, name)
    # Whole sectors, or the end is not seen.
    size = os.path.getsize(path)
    os.truncate(path, size + -size % 512)
