"""The image worker (agent/worker/image/), driven as the agent drives it, with archives as people send them
and as they should not; see images/imagelab.py."""

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tarfile
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "images"))
import imagelab  # noqa: E402
from imagelab import METADATA, WorkerFailed, add_dir, add_file, entry, snapshot  # noqa: E402

WHY_NOT = imagelab.missing()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

CANCELLED, INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED, FAILED_PRECONDITION, UNAVAILABLE = 1, 3, 5, 8, 9, 14
MIRROR = ("deb.debian.org", 80)


@pytest.fixture(scope="module")
def pb(tmp_path_factory):
    return imagelab.load_protos(str(tmp_path_factory.mktemp("protos")))


@pytest.fixture
def lab(pb):
    lab = imagelab.Lab(pb)
    try:
        yield lab
        assert lab.incoming() == []
    finally:
        lab.close()


@contextlib.contextmanager
def fails(code, *words):
    """The error has that code and says all that it should."""
    with pytest.raises(WorkerFailed) as e:
        yield e
    assert e.value.code == code, e.value
    for word in words:
        assert word in e.value.message + " " + e.value.hint, e.value


def sha256(*paths):
    h = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as f:
            h.update(f.read())
    return h.hexdigest()


def acl(*entries):
    """The kernel's attribute for (tag, permissions, id) entries."""
    none = 0xFFFFFFFF
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", t, p, none if i is None else i) for t, p, i in entries)


ACL_FILE = acl((1, 6, None), (2, 4, 1234), (4, 4, None), (8, 6, 44), (16, 6, None), (32, 4, None))
ACL_DEFAULT = acl((1, 7, None), (2, 5, 1234), (4, 5, None), (16, 5, None), (32, 5, None))
# cap_net_raw=ep, version 2
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)


def make_tree(top, lists=True):
    """A root file system with everything an image should keep."""

    def put(name, data=b"", mode=0o644, uid=0, gid=0):
        path = os.path.join(os.fsencode(top), name if isinstance(name, bytes) else name.encode())
        with open(path, "wb") as f:
            f.write(data)
        os.chown(path, uid, gid)
        os.chmod(path, mode)
        return path

    for d in ("etc", "bin", "sbin", "usr/lib/deep/er", "home/user", "dev", "tmp", "empty"):
        os.makedirs(f"{top}/{d}")
    put("sbin/init", b"#!/bin/sh\n", 0o755)
    put("bin/su", b"setuid", 0o4755)
    put("bin/sg", b"setgid", 0o2755, 0, 43)
    os.setxattr(put("bin/ping", b"capable", 0o755), "security.capability", CAPABILITY)
    put("home/user/mine", b"x" * 100_000, 0o600, 1000, 1001)
    put("home/user/nobody's", b"", 0o400, 65535, 65535)
    os.setxattr(put("etc/tagged", b"tagged"), "user.colour", b"red\0and\xff\n=green")
    os.setxattr(put("etc/tagged-empty"), "user.empty", b"")
    put("etc/\u00e4\u00f6\u00fc \u4e2d\u6587 \U0001f427", b"utf-8")
    put(b"etc/latin-\xe4\xff", b"not utf-8")
    put("etc/new\nline and\ttab", b"odd")
    put("usr/lib/" + "n" * 250, b"long name")
    os.makedirs(f"{top}/usr/lib/" + "/".join("d" * 60 for _ in range(8)))
    put("usr/lib/" + "/".join("d" * 60 for _ in range(8)) + "/far", b"long path")
    os.symlink("/sbin/init", f"{top}/etc/absolute")
    os.symlink("../" * 30 + "etc/passwd", f"{top}/etc/outside")
    os.symlink("absolute", f"{top}/etc/chain")
    os.lchown(f"{top}/etc/chain", 12, 34)
    os.link(f"{top}/bin/su", f"{top}/usr/lib/deep/su-again")
    os.link(f"{top}/etc/chain", f"{top}/etc/chain-again", follow_symlinks=False)
    os.mkfifo(f"{top}/dev/pipe", 0o620)
    os.mknod(f"{top}/dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.chmod(f"{top}/dev/null", 0o666)
    with open(f"{top}/var-sparse", "wb") as f:
        f.truncate(8 << 20)
        f.seek(3 << 20)
        f.write(b"island")
    os.chmod(f"{top}/tmp", 0o1777)
    os.chmod(f"{top}/home/user", 0o2750)
    if lists:
        os.setxattr(put("etc/listed", b"acl"), "system.posix_acl_access", ACL_FILE)
        os.setxattr(f"{top}/home", "system.posix_acl_default", ACL_DEFAULT)
    for base, dirs, files in os.walk(os.fsencode(top), topdown=False):
        for name in dirs + files:
            os.utime(os.path.join(base, name), ns=(0, 1_500_000_000_123_456_789), follow_symlinks=False)
    os.utime(top, ns=(0, 1_400_000_000_000_000_001))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The directory of a unified image: metadata.yaml, templates/, rootfs/."""
    top = tmp_path_factory.mktemp("tree")
    os.makedirs(f"{top}/rootfs")
    make_tree(f"{top}/rootfs")
    # GNU tar writes this machine's names into access lists.
    for name in ("passwd", "group"):
        shutil.copy(f"/etc/{name}", f"{top}/rootfs/etc/{name}")
    os.makedirs(f"{top}/templates")
    (top / "templates" / "hostname.tpl").write_text("{{ container.name }}\n")
    (top / "metadata.yaml").write_text(METADATA)
    return str(top)


def gnu_tar(out, top, *names, compress=()):
    """As publishers pack images."""
    command = ["tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls", "--format=posix", "--sparse"]
    subprocess.run([*command, *compress, "-cf", out, "-C", top, *names], check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    return out


def assert_same(got, want):
    a, b = snapshot(got), snapshot(want)
    assert a.keys() == b.keys()
    assert {k: (a[k], b[k]) for k in a if a[k] != b[k]} == {}


# ---------------------------------------------------------------- formats and round trips


@pytest.mark.parametrize("flag", ["", "--gzip", "--xz", "--zstd", "--bzip2"])
def test_unified(lab, tree, flag):
    path = gnu_tar(lab.path("image.tar"), tree, "metadata.yaml", "templates", "rootfs", compress=[flag] if flag else [])
    worker = lab.start_import(path)
    image = worker.result().image
    assert image.fingerprint == sha256(path)
    assert (image.architecture, image.os, image.release) == ("x86_64", "Test", "one")
    assert image.description == "An image made for tests"
    assert image.created_at_ns == 1_700_000_000 * 10**9
    assert abs(image.imported_at_ns - time.time_ns()) < 60 * 10**9
    assert image.size_bytes == os.path.getsize(path)
    assert image.unpacked_bytes > 8 << 20
    assert image.source == "import"
    assert "skipped_devices" not in image.properties
    assert_same(lab.rootfs(image.fingerprint), f"{tree}/rootfs")
    with open(f"{lab.state}/images/{image.fingerprint}/metadata.yaml") as f:
        assert f.read() == METADATA
    assert os.path.exists(f"{lab.state}/images/{image.fingerprint}/templates/hostname.tpl")
    # Holes stay holes.
    assert os.stat(lab.rootfs(image.fingerprint) + "/var-sparse").st_blocks * 512 < 1 << 20
    phases = [p.phase for p in worker.progress]
    assert phases[0] == "verify" and "unpack" in phases
    assert all(p.done <= p.total == os.path.getsize(path) and p.unit == "bytes" for p in worker.progress)


def test_names_with_a_dot(lab, tree):
    path = gnu_tar(lab.path("image.tar"), tree, "./metadata.yaml", "./rootfs")
    image = lab.import_image(path)
    assert_same(lab.rootfs(image.fingerprint), f"{tree}/rootfs")


@pytest.mark.parametrize("compression", ["", "zstd", "gzip", "xz", "none"])
def test_export_and_back(lab, tree, compression):
    image = lab.import_image(gnu_tar(lab.path("image.tar"), tree, "metadata.yaml", "templates", "rootfs"))
    out, again = lab.path("out"), lab.path("again")
    lab.export(image.fingerprint, out, compression)
    lab.export(image.fingerprint, again, compression)
    assert sha256(out) == sha256(again)
    back = lab.import_image(out)
    assert back.fingerprint == sha256(out) != image.fingerprint
    assert_same(lab.rootfs(back.fingerprint), f"{tree}/rootfs")
    assert back.unpacked_bytes == image.unpacked_bytes


def test_gnu_tar_reads_an_export(lab, tree):
    image = lab.import_image(gnu_tar(lab.path("image.tar"), tree, "metadata.yaml", "templates", "rootfs"))
    lab.export(image.fingerprint, lab.path("out.tar"), "none")
    os.mkdir(lab.path("out"))
    command = ["tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls", "-xpf", lab.path("out.tar")]
    subprocess.run([*command, "-C", lab.path("out")], check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert_same(lab.path("out") + "/rootfs", f"{tree}/rootfs")


def test_split_tarballs(lab, tree):
    meta = gnu_tar(lab.path("meta.tar.xz"), tree, "metadata.yaml", "templates", compress=["--xz"])
    root = gnu_tar(lab.path("root.tar.gz"), f"{tree}/rootfs", ".", compress=["--gzip"])
    image = lab.import_image(meta, root)
    assert image.fingerprint == sha256(meta, root)
    assert image.size_bytes == os.path.getsize(meta) + os.path.getsize(root)
    assert_same(lab.rootfs(image.fingerprint), f"{tree}/rootfs")


@pytest.mark.skipif(not shutil.which("mksquashfs") or not shutil.which("sqfs2tar"), reason="needs squashfs-tools and squashfs-tools-ng")
@pytest.mark.parametrize("comp", ["gzip", "xz", "zstd"])
def test_split_squashfs(lab, comp):
    top = lab.path("plain")
    os.mkdir(top)
    # squashfs has no access lists and whole seconds, and its links have one name each.
    make_tree(top, lists=False)
    os.unlink(f"{top}/etc/chain-again")
    for base, dirs, files in os.walk(os.fsencode(top), topdown=False):
        for name in dirs + files:
            os.utime(os.path.join(base, name), (0, 1_500_000_000), follow_symlinks=False)
    os.chmod(top, 0o711)
    os.utime(top, (0, 1_400_000_000))
    with open(lab.path("metadata.yaml"), "w") as f:
        f.write(METADATA)
    meta = gnu_tar(lab.path("meta.tar"), lab.dir, "metadata.yaml")
    root = lab.path("rootfs.squashfs")
    subprocess.run(["mksquashfs", top, root, "-noappend", "-quiet", "-no-progress", "-comp", comp], check=True)
    worker = lab.start_import(meta, root)
    image = worker.result().image
    assert image.fingerprint == sha256(meta, root)
    assert_same(lab.rootfs(image.fingerprint), top)
    unpack = [p for p in worker.progress if p.phase == "unpack"]
    assert unpack and all(p.done <= p.total for p in unpack)

    with open(root, "rb") as f:
        data = f.read()
    with open(root, "wb") as f:
        f.write(data[: struct.unpack_from("<Q", data, 40)[0] - 1])
    with fails(INVALID_ARGUMENT, "cut off"):
        lab.import_image(meta, root)
    # The superblock is right, what it points to is not.
    with open(root, "wb") as f:
        f.write(data[:96] + bytes(len(data) - 96))
    with fails(INVALID_ARGUMENT, "root file system"):
        lab.import_image(meta, root)
    assert lab.images() == [image.fingerprint]


def test_again_is_the_same_image(lab):
    path = lab.tarball("image.tar", lambda t: add_file(t, "rootfs/sbin/init"))
    first = lab.import_image(path)
    assert lab.import_image(path) == first
    assert lab.import_image(path, expect=first.fingerprint) == first
    assert lab.images() == [first.fingerprint]


def test_properties_and_init(lab):
    def systemd(t):
        add_dir(t, "rootfs")
        add_file(t, "rootfs/usr/lib/systemd/systemd", b"elf", mode=0o755)
        t.addfile(entry("rootfs/lib", tarfile.SYMTYPE, link="usr/lib"))
        t.addfile(entry("rootfs/sbin", tarfile.SYMTYPE, link="/usr/sbin"))
        t.addfile(entry("rootfs/usr/sbin/init", tarfile.SYMTYPE, link="/lib/systemd/systemd"))

    image = lab.import_image(lab.tarball("a.tar", systemd), properties={"os": "Mine", "colour": "red"})
    assert image.os == "Mine" and image.properties["os"] == "Mine"
    assert image.properties["colour"] == "red"
    assert image.properties["init"] == "systemd"

    def busybox(t):
        add_file(t, "rootfs/bin/busybox", b"elf", mode=0o755)
        t.addfile(entry("rootfs/sbin/init", tarfile.SYMTYPE, link="/bin/busybox"))

    assert lab.import_image(lab.tarball("b.tar", busybox)).properties["init"] == "busybox"
    # A link that leads out of the tree says nothing about the node's own init.
    away = lab.tarball("c.tar", lambda t: t.addfile(entry("rootfs/sbin/init", tarfile.SYMTYPE, link="../../../../../../sbin/init")))
    assert "init" not in lab.import_image(away).properties
    with fails(INVALID_ARGUMENT, "property"):
        lab.import_image(lab.tarball("d.tar", lambda t: add_file(t, "rootfs/d")), properties={"": "x"})


# ---------------------------------------------------------------- hostile archives


def symlink_then_write(t):
    t.addfile(entry("rootfs/door", tarfile.SYMTYPE, link="/tmp"))
    add_file(t, "rootfs/door/lx-escaped", b"out")


def symlink_dir_then_dir(t):
    t.addfile(entry("rootfs/door", tarfile.SYMTYPE, link="../../.."))
    add_dir(t, "rootfs/door/lx-escaped")


def rootfs_is_a_link(t):
    t.addfile(entry("rootfs", tarfile.SYMTYPE, link="/tmp"))
    add_file(t, "rootfs/lx-escaped", b"out")


def hardlink_through_symlink(t):
    t.addfile(entry("rootfs/door", tarfile.SYMTYPE, link="/etc"))
    t.addfile(entry("rootfs/shadow", tarfile.LNKTYPE, link="rootfs/door/shadow"))


HOSTILE = {
    "absolute": (lambda t: add_file(t, "/tmp/lx-escaped", b"out"), "absolute"),
    "dotdot": (lambda t: add_file(t, "rootfs/../../../lx-escaped", b"out"), '".."'),
    "dotdot-first": (lambda t: add_file(t, "../lx-escaped", b"out"), '".."'),
    "symlink-then-write": (symlink_then_write, "symbolic link"),
    "symlink-then-dir": (symlink_dir_then_dir, "symbolic link"),
    "rootfs-is-a-link": (rootfs_is_a_link, "symbolic link"),
    "hardlink-absolute": (lambda t: t.addfile(entry("rootfs/x", tarfile.LNKTYPE, link="/etc/passwd")), "absolute"),
    "hardlink-dotdot": (lambda t: t.addfile(entry("rootfs/x", tarfile.LNKTYPE, link="rootfs/../../../../etc/passwd")), '".."'),
    "hardlink-through-symlink": (hardlink_through_symlink, "symbolic link"),
    "hardlink-to-nothing": (lambda t: t.addfile(entry("rootfs/x", tarfile.LNKTYPE, link="rootfs/y")), "not in the archive"),
    "hardlink-to-dir": (lambda t: (add_dir(t, "rootfs/d"), t.addfile(entry("rootfs/x", tarfile.LNKTYPE, link="rootfs/d"))), "directory"),
    "hardlink-to-itself": (lambda t: (add_file(t, "rootfs/x"), t.addfile(entry("rootfs/x", tarfile.LNKTYPE, link="rootfs/x"))), "not in the archive"),
    "uid": (lambda t: add_file(t, "rootfs/x", uid=65536), "65536"),
    "gid": (lambda t: add_file(t, "rootfs/x", gid=2**31), "gid 2147483648"),
    "uid-huge": (lambda t: add_file(t, "rootfs/x", uid=2**63 - 1), "0 to 65535"),
    "name-too-long": (lambda t: add_file(t, "rootfs/" + "n" * 256), "longer than 255"),
    "path-too-long": (lambda t: add_file(t, "rootfs/" + "p" * 200 + ("/" + "p" * 200) * 25), "too long"),
    "too-deep": (lambda t: add_file(t, "rootfs/" + "d/" * 1500 + "x"), "too deep"),
    "dir-over-file": (lambda t: (add_dir(t, "rootfs/d/e"), add_file(t, "rootfs/d")), "not empty"),
    "file-as-dir": (lambda t: (add_file(t, "rootfs/f"), add_file(t, "rootfs/f/x")), "no directory"),
    "no-rootfs": (lambda t: add_file(t, "templates/x"), "rootfs"),
    "rootfs-is-a-file": (lambda t: add_file(t, "rootfs"), "rootfs"),
    "rootfs-is-empty": (lambda t: add_dir(t, "rootfs"), "empty"),
    "acl-ids": (
        lambda t: add_file(t, "rootfs/x", pax={"SCHILY.acl.access": "user::rw-,user:x:rwx:70000,group::r--,mask::rwx,other::r--"}),
        "access list",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile(lab, kind):
    add, says = HOSTILE[kind]
    path = lab.tarball("evil.tar", add)
    with fails(INVALID_ARGUMENT, says):
        lab.import_image(path)
    assert lab.images() == []
    for where in ("/tmp", "/", lab.dir, lab.state, f"{lab.state}/images"):
        assert not os.path.lexists(f"{where}/lx-escaped")


METADATA_LIES = {
    "none": (None, "no metadata.yaml"),
    "empty": ("", "empty"),
    "no-yaml": ("architecture: [", "metadata.yaml, line"),
    "no-architecture": ("creation_date: 1\n", "architecture"),
    "too-large": ("architecture: x86_64\n#" + "x" * 300_000, "larger than"),
}


@pytest.mark.parametrize("kind", METADATA_LIES)
def test_bad_metadata(lab, kind):
    text, says = METADATA_LIES[kind]
    path = lab.tarball("bad.tar", lambda t: add_file(t, "rootfs/x"), metadata=text)
    with fails(INVALID_ARGUMENT, says):
        lab.import_image(path)
    assert lab.images() == []


def test_metadata_that_is_no_file(lab):
    def add(link):
        def to(t):
            t.addfile(link)
            add_file(t, "rootfs/x")

        return to

    for info in (entry("metadata.yaml", tarfile.SYMTYPE, link="/etc/passwd"), entry("metadata.yaml", tarfile.FIFOTYPE)):
        with fails(INVALID_ARGUMENT, "no metadata.yaml"):
            lab.import_image(lab.tarball("bad.tar", add(info), metadata=None))


def test_other_architecture(lab):
    path = lab.tarball("arm.tar", lambda t: add_file(t, "rootfs/x"), metadata="architecture: aarch64\n")
    with fails(FAILED_PRECONDITION, "aarch64", "x86_64"):
        lab.import_image(path)


def test_not_an_image(lab):
    def write(data):
        with open(lab.path("x"), "wb") as f:
            f.write(data)
        return lab.path("x")

    for data, says in (
        (b"", "empty"),
        (b"x", "no tar archive"),
        (os.urandom(100_000), "no tar archive"),
        (b"QFI\xfb" + bytes(1000), "virtual machine"),
        (b"PK\x03\x04" + bytes(1000), "zip"),
        (b"hsqs" + bytes(1000), "METADATA ROOTFS"),
        (bytes(10240), "no metadata.yaml"),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "the image"),
    ):
        with fails(INVALID_ARGUMENT, says):
            lab.import_image(write(data))
    with fails(NOT_FOUND):
        lab.import_image(lab.path("absent"))
    with fails(INVALID_ARGUMENT, "root file system is empty"):
        open(lab.path("empty"), "wb").close()
        lab.import_image(lab.tarball("m.tar", lambda t: None), lab.path("empty"))
    assert lab.images() == []


def test_wrong_fingerprint(lab):
    path = lab.tarball("image.tar", lambda t: add_file(t, "rootfs/x"))
    with fails(INVALID_ARGUMENT, sha256(path), "0" * 64):
        lab.import_image(path, expect="0" * 64)
    assert lab.images() == []


def test_devices(lab):
    kept = [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)]
    left_out = [("mem", 1, 1), ("kmsg", 1, 11), ("whiteout", 0, 0), ("tty0", 4, 0)]

    def add(t):
        for name, major, minor in kept + left_out:
            t.addfile(entry(f"rootfs/dev/{name}", tarfile.CHRTYPE, 0o666, dev=(major, minor)))
        t.addfile(entry("rootfs/dev/sda", tarfile.BLKTYPE, 0o660, dev=(8, 0)))
        t.addfile(entry("rootfs/dev/null-block", tarfile.BLKTYPE, 0o660, dev=(1, 3)))

    image = lab.import_image(lab.tarball("dev.tar", add))
    dev = lab.rootfs(image.fingerprint) + "/dev"
    assert sorted(os.listdir(dev)) == sorted(name for name, _, _ in kept)
    assert os.stat(f"{dev}/null").st_rdev == os.makedev(1, 3)
    assert image.properties["skipped_devices"] == "6"


def test_attributes_of_the_host_stay_out(lab):
    attributes = ["trusted.overlay.opaque", "trusted.overlay.redirect", "trusted.overlay.metacopy", "security.selinux", "user.kept"]
    pax = {f"SCHILY.xattr.{a}": "y" for a in attributes}

    def add(t):
        add_dir(t, "rootfs/d", pax=pax)
        add_file(t, "rootfs/f", pax=pax)

    image = lab.import_image(lab.tarball("attr.tar", add))
    for name in ("d", "f"):
        assert os.listxattr(f"{lab.rootfs(image.fingerprint)}/{name}") == ["user.kept"]


def test_access_lists_by_name(lab):
    """Names in lists are the image's own, wherever in the archive its files are; the unknown are left out."""

    def add(t):
        pax = {"SCHILY.acl.access": "user::rw-,user:web:rw-,user:ghost:rwx,group::r--,group:adm:r-x,mask::rwx,other::---"}
        add_file(t, "rootfs/listed", mode=0o670, pax=pax)
        add_dir(t, "rootfs/d", pax={"SCHILY.acl.default": "user::rwx\nuser:web:r-x\ngroup::r-x\nmask::r-x\nother::---\n"})
        add_file(t, "rootfs/d/plain", mode=0o644)
        add_file(t, "rootfs/etc/passwd", b"root:x:0:0::/:/bin/sh\nweb:x:1000:1000::/:/bin/sh\nghost:x:70000:1::/:\n")
        add_file(t, "rootfs/etc/group", b"nonsense\nadm:x:4:\nadm:x:5:\n")

    top = lab.rootfs(lab.import_image(lab.tarball("names.tar", add)).fingerprint)
    want = acl((1, 6, None), (2, 6, 1000), (4, 4, None), (8, 5, 4), (16, 7, None), (32, 0, None))
    assert os.getxattr(f"{top}/listed", "system.posix_acl_access") == want
    want = acl((1, 7, None), (2, 5, 1000), (4, 5, None), (16, 5, None), (32, 0, None))
    assert os.getxattr(f"{top}/d", "system.posix_acl_default") == want
    assert os.listxattr(f"{top}/d/plain") == []


def test_later_entries_replace_earlier(lab):
    def add(t):
        add_file(t, "rootfs/a", b"old", mode=0o777)
        add_file(t, "rootfs/a", b"new", mode=0o600)
        t.addfile(entry("rootfs/b", tarfile.SYMTYPE, link="/etc/passwd"))
        add_file(t, "rootfs/b", b"file")
        add_dir(t, "rootfs/c")
        t.addfile(entry("rootfs/c", tarfile.SYMTYPE, link="/etc"))
        add_dir(t, "rootfs/c", mode=0o700)
        add_file(t, "rootfs/c/x", b"x")
        add_file(t, "rootfs/d/e", b"parent comes later")
        add_dir(t, "rootfs/d", mode=0o711, uid=7, mtime=1_234_567_890)

    top = lab.rootfs(lab.import_image(lab.tarball("dup.tar", add)).fingerprint)
    with open(f"{top}/a") as f:
        assert f.read() == "new"
    assert stat.S_IMODE(os.stat(f"{top}/a").st_mode) == 0o600
    assert stat.S_ISREG(os.lstat(f"{top}/b").st_mode)
    assert stat.S_ISDIR(os.lstat(f"{top}/c").st_mode)
    d = os.stat(f"{top}/d")
    assert (stat.S_IMODE(d.st_mode), d.st_uid, d.st_mtime) == (0o711, 7, 1_234_567_890)


def test_other_top_names_are_passed_over(lab):
    def add(t):
        add_file(t, "backup/secret", b"x" * 1000)
        add_file(t, "rootfs.img", b"disk")
        add_file(t, "image.pb", b"liar")
        add_file(t, "rootfs/x")

    image = lab.import_image(lab.tarball("more.tar", add))
    assert sorted(os.listdir(f"{lab.state}/images/{image.fingerprint}")) == ["image.pb", "metadata.yaml", "rootfs"]


# ---------------------------------------------------------------- damaged and too large


@pytest.mark.parametrize("mode", ["", "gz", "xz", "bz2", "zst"])
def test_truncated(lab, mode):
    def add(t):
        for i in range(20):
            add_file(t, f"rootfs/f{i}", os.urandom(3000))

    path = lab.tarball("whole.tar" if mode == "zst" else "whole", add, f"w:{mode}" if mode not in ("", "zst") else "w")
    if mode == "zst":
        subprocess.run(["zstd", "-q", path, "-o", lab.path("whole")], check=True)
    with open(lab.path("whole"), "rb") as f:
        data = f.read()
    # Also right behind a header, in the end mark, and the last byte.
    ends = {1, 100, 512, 2048, 4096, len(data) // 2, len(data) * 9 // 10, len(data) - 1}
    if mode == "":
        # tarfile pads to 10 KiB: what is cut off there is missed by nobody, so count from the end mark.
        with tarfile.open(lab.path("whole")) as t:
            t.getmembers()
            end = t.offset
        ends = {n for n in ends if n < end} | {end - 512, end - 1024}
    for n in sorted(ends):
        with open(lab.path("cut"), "wb") as f:
            f.write(data[:n])
        with fails(INVALID_ARGUMENT):
            lab.import_image(lab.path("cut"))
    if mode:
        half = len(data) // 2
        with open(lab.path("cut"), "wb") as f:
            f.write(data[:half] + bytes([data[half] ^ 0xFF]) + data[half + 1 :])
        with fails(INVALID_ARGUMENT):
            lab.import_image(lab.path("cut"))
    assert lab.images() == []
    lab.import_image(lab.path("whole"))


def test_sparse_giant(lab):
    """A file of 8 TiB that takes a page in the archive."""
    top = lab.path("top")
    os.makedirs(f"{top}/rootfs")
    with open(f"{top}/metadata.yaml", "w") as f:
        f.write(METADATA)
    with open(f"{top}/rootfs/giant", "wb") as f:
        f.truncate(8 << 40)
    with fails(INVALID_ARGUMENT, "too large"):
        lab.import_image(gnu_tar(lab.path("giant.tar"), top, "metadata.yaml", "rootfs"))


@pytest.mark.skipif(not shutil.which("zstd"), reason="needs zstd")
@pytest.mark.parametrize("name", ["rootfs/zeros", "ignored/zeros"])
def test_decompression_bomb(lab, name):
    """3 GiB out of some hundred kilobytes, wanted or not."""
    size = 3 << 30
    head = lab.tarball("head.tar", lambda t: add_file(t, "rootfs/x"))
    with tarfile.open(head) as t:
        t.getmembers()
        end = t.offset - 1024
    info = entry(name)
    info.size = size
    with open(head, "rb") as f:
        start = f.read(end) + info.tobuf(tarfile.PAX_FORMAT)
    with open(lab.path("bomb"), "wb") as out:
        zstd = subprocess.Popen(["zstd", "-q", "-c"], stdin=subprocess.PIPE, stdout=out)
        zstd.stdin.write(start)
        for _ in range(size >> 24):
            zstd.stdin.write(bytes(1 << 24))
        zstd.stdin.write(bytes(10240))
        zstd.stdin.close()
        assert zstd.wait() == 0
    assert os.path.getsize(lab.path("bomb")) < 1 << 20
    with fails(INVALID_ARGUMENT, "bomb"):
        lab.import_image(lab.path("bomb"))
    assert lab.images() == []


@contextlib.contextmanager
def tmpfs(options):
    where = imagelab.tempfile.mkdtemp(prefix="lx-images-tmpfs-")
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", where], check=True)
        try:
            yield where
        finally:
            subprocess.run(["umount", where], check=True)
    finally:
        os.rmdir(where)


def compressible(lab):
    """120 MiB that pack to less than one."""
    block = os.urandom(256 << 10)

    def add(t):
        for i in range(12):
            add_file(t, f"rootfs/f{i}", block * 40)

    tar = lab.tarball("big.tar", add)
    subprocess.run(["zstd", "-q", "--rm", tar, "-o", lab.path("big.tar.zst")], check=True)
    return lab.path("big.tar.zst")


@pytest.mark.skipif(not shutil.which("zstd"), reason="needs zstd")
def test_full_disk(pb, lab):
    big = compressible(lab)
    # Enough to begin, not to end.
    with tmpfs("size=150m") as where:
        full = imagelab.Lab(pb, state=where)
        try:
            with fails(RESOURCE_EXHAUSTED, "not enough space", "Free some space"):
                full.import_image(big)
            assert full.images() == [] and full.incoming() == []
        finally:
            full.close()
    # Not enough to begin.
    with tmpfs("size=32m") as where:
        full = imagelab.Lab(pb, state=where)
        try:
            with fails(RESOURCE_EXHAUSTED, "not enough space"):
                full.import_image(big)
            with fails(RESOURCE_EXHAUSTED, "not enough space"):
                full.build("debian/12")
            assert full.images() == [] and full.incoming() == []
        finally:
            full.close()


def test_no_inodes_left(pb, lab):
    def add(t):
        for i in range(2000):
            add_file(t, f"rootfs/f{i}")

    many = lab.tarball("many.tar", add)
    with tmpfs("size=1g,nr_inodes=1500") as where:
        full = imagelab.Lab(pb, state=where)
        try:
            with fails(RESOURCE_EXHAUSTED, "inodes"):
                full.import_image(many)
            assert full.images() == [] and full.incoming() == []
        finally:
            full.close()


@pytest.mark.skipif(not shutil.which("zstd"), reason="needs zstd")
def test_disk_fills_up_meanwhile(pb, lab):
    """No look at the free space helps when somebody else takes it: the write itself fails."""
    big = compressible(lab)
    with tmpfs("size=250m") as where:
        full = imagelab.Lab(pb, state=where)
        try:
            worker = full.start_import(big)
            worker.wait_progress("unpack")
            with open(f"{where}/hog", "wb") as f, contextlib.suppress(OSError):
                while True:
                    f.write(bytes(1 << 20))
                    f.flush()
            with fails(RESOURCE_EXHAUSTED):
                worker.result()
            assert full.images() == [] and full.incoming() == []
        finally:
            full.close()


# ---------------------------------------------------------------- interrupted


@pytest.mark.skipif(not shutil.which("zstd"), reason="needs zstd")
def test_killed_while_importing(lab):
    big = compressible(lab)
    for delay in (0, 0.02, 0.05, 0.1):
        worker = lab.start_import(big)
        worker.wait_progress("unpack")
        time.sleep(delay)
        worker.kill()
        # Complete or not there; what is left lies in incoming/ alone.
        for fingerprint in lab.images():
            assert os.path.exists(f"{lab.state}/images/{fingerprint}/image.pb")
            lab.delete(fingerprint)
    image = lab.import_image(big)
    assert lab.images() == [image.fingerprint]
    for name in lab.incoming():
        shutil.rmtree(f"{lab.state}/images/incoming/{name}")


@pytest.mark.skipif(not shutil.which("zstd"), reason="needs zstd")
def test_cancelled_import_cleans_up(lab):
    worker = lab.start_import(compressible(lab))
    worker.wait_progress("unpack")
    worker.process.send_signal(signal.SIGTERM)
    with fails(CANCELLED, "cancelled"):
        worker.result()
    assert lab.images() == []


def test_agent_gone(pb, lab):
    """Without a job it ends; with one it finishes, though nobody hears of it."""
    idle = imagelab.Worker(pb, None)
    idle.close()
    path = lab.tarball("image.tar", lambda t: add_file(t, "rootfs/x", os.urandom(10 << 20)))
    worker = lab.start_import(path)
    worker.sock.close()
    worker.process.wait(timeout=60)
    assert lab.images() == [sha256(path)]


def test_nonsense_jobs(pb, lab):
    with fails(INVALID_ARGUMENT, "state"):
        imagelab.Worker(pb, pb.WorkerJob(delete_image=pb.DeleteImageJob(fingerprint="x"))).result()
    job = lab.job()
    job.start.SetInParent()
    with fails(INVALID_ARGUMENT, "does not know"):
        imagelab.Worker(pb, job).result()
    with fails(INVALID_ARGUMENT, "fingerprint"):
        lab.delete("../../etc")
    with fails(INVALID_ARGUMENT, "fingerprint"):
        lab.export("..", lab.path("out"))
    with fails(NOT_FOUND, "not on this node"):
        lab.export("0" * 64, lab.path("out"))
    with fails(INVALID_ARGUMENT, "zstd, gzip, xz and none"):
        lab.export("0" * 64, lab.path("out"), "rar")


# ---------------------------------------------------------------- export and delete


def test_export_reader_goes_away(pb, lab):
    image = lab.import_image(lab.tarball("image.tar", lambda t: add_file(t, "rootfs/x", os.urandom(4 << 20))))
    job = lab.job()
    job.export_image.image = image.fingerprint
    job.export_image.compression = "none"
    r, w = os.pipe()
    worker = imagelab.Worker(pb, job, [w])
    os.close(w)
    assert os.read(r, 1000)
    os.close(r)
    with fails(UNAVAILABLE, "write"):
        worker.result()


def test_export_ends_before_the_result(pb, lab):
    image = lab.import_image(lab.tarball("image.tar", lambda t: add_file(t, "rootfs/x", os.urandom(4 << 20))))
    job = lab.job()
    job.export_image.image = image.fingerprint
    r, w = os.pipe()
    worker = imagelab.Worker(pb, job, [w])
    os.close(w)
    with os.fdopen(r, "rb") as f:
        data = f.read()
    assert data[:4] == b"\x28\xb5\x2f\xfd"
    worker.result()


def test_delete(lab):
    image = lab.import_image(lab.tarball("image.tar", lambda t: add_file(t, "rootfs/x")))
    lab.delete(image.fingerprint)
    assert lab.images() == []
    lab.delete(image.fingerprint)


def test_store_is_closed_to_others(lab):
    image = lab.import_image(lab.tarball("image.tar", lambda t: add_file(t, "rootfs/su", mode=0o4755)))
    assert stat.S_IMODE(os.stat(f"{lab.state}/images").st_mode) == 0o700
    os.chmod(f"{lab.state}/images", 0o755)
    lab.delete(image.fingerprint)
    assert stat.S_IMODE(os.stat(f"{lab.state}/images").st_mode) == 0o700


# ---------------------------------------------------------------- building


def has_static_busybox():
    return shutil.which("busybox") and subprocess.run(["ldd", shutil.which("busybox")], capture_output=True).returncode != 0


@pytest.mark.skipif(not has_static_busybox(), reason="needs busybox-static")
def test_build_busybox(lab):
    image = lab.build("busybox")
    assert (image.os, image.source, image.architecture) == ("BusyBox", "build busybox", "x86_64")
    assert image.properties["init"] == "busybox"
    assert image.unpacked_bytes > 1 << 20
    top = lab.rootfs(image.fingerprint)
    assert os.readlink(f"{top}/sbin/init") == "/bin/busybox"
    for script in ("etc/init.d/rcS", "etc/init.d/rcK", "etc/udhcpc/default.script"):
        subprocess.run(["busybox", "sh", "-n", f"{top}/{script}"], check=True)
    out = subprocess.run(["chroot", top, "/bin/sh", "-c", "id -un; ls -d /root"], capture_output=True, text=True, check=True)
    assert out.stdout == "root\n/root\n"
    again = lab.build("busybox")
    assert again == image
    # The name of a tree is that of its uncompressed export.
    lab.export(image.fingerprint, lab.path("out.tar"), "none")
    assert sha256(lab.path("out.tar")) == image.fingerprint


def test_build_refuses(lab):
    with fails(NOT_FOUND, "debian/12, debian/13"):
        lab.build("debian/99")
    with fails(NOT_FOUND):
        lab.build("")
    with fails(INVALID_ARGUMENT, "package name"):
        lab.build("debian/12", packages=["vim", "--download-only"])
    with fails(INVALID_ARGUMENT, "package name"):
        lab.build("debian/12", packages=["a;b"])
    with fails(INVALID_ARGUMENT, "at most"):
        lab.build("debian/12", packages=["abc"] * 300)
    with fails(INVALID_ARGUMENT, "mirror"):
        lab.build("debian/12", mirror="file:///srv/debian")
    with fails(INVALID_ARGUMENT, "no packages"):
        lab.build("busybox", packages=["vim"])
    assert lab.images() == []


def reachable():
    try:
        socket.create_connection(MIRROR, timeout=5).close()
        return True
    except OSError:
        return False


needs_bootstrap = pytest.mark.skipif(not shutil.which("mmdebstrap") and not shutil.which("debootstrap"), reason="needs mmdebstrap")
needs_mirror = pytest.mark.skipif(WHY_NOT is None and not reachable(), reason="the Debian mirror cannot be reached")


@needs_bootstrap
def test_build_without_mirror(lab):
    with fails(UNAVAILABLE, "cannot build debian/12", "mirror", "build-bookworm.log"):
        lab.build("debian/12", mirror="http://127.0.0.1:9/debian")
    assert lab.images() == []


def processes_naming(text):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
            if text.encode() in f.read():
                found.append(pid)
    return found


@needs_bootstrap
@needs_mirror
@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM])
def test_build_interrupted(lab, sig):
    worker = lab.start_build("debian/12")
    while worker.wait_progress("bootstrap").done < 1:
        pass
    time.sleep(1)
    assert processes_naming(lab.state)
    if sig == signal.SIGTERM:
        worker.process.send_signal(sig)
        with fails(CANCELLED):
            worker.result()
    else:
        worker.kill(sig)
    end = time.monotonic() + 10
    while processes_naming(lab.state):
        assert time.monotonic() < end
        time.sleep(0.05)
    with open("/proc/mounts") as f:
        assert lab.state not in f.read()
    assert lab.images() == []
    for name in lab.incoming():
        assert sig == signal.SIGKILL
        shutil.rmtree(f"{lab.state}/images/incoming/{name}")


@needs_bootstrap
@needs_mirror
@pytest.mark.limit(900)
def test_build_debian(lab):
    with fails(INVALID_ARGUMENT, "no-such-package-at-all"):
        lab.build("debian/12", packages=["no-such-package-at-all"])
    assert lab.images() == []
    worker = lab.start_build("debian/12", packages=["openssh-server"])
    image = worker.result(900).image
    assert (image.os, image.release, image.source, image.variant) == ("Debian", "bookworm", "build debian/12", "custom")
    assert image.properties["init"] == "systemd"
    top = lab.rootfs(image.fingerprint)
    with open(f"{top}/etc/debian_version") as f:
        assert f.read().startswith("12.")
    assert os.path.getsize(f"{top}/etc/machine-id") == 0
    for trace in ("etc/hostname", "etc/resolv.conf", "etc/ssh/ssh_host_rsa_key", "etc/apt/sources.list", "var/log/dpkg.log"):
        assert not os.path.lexists(f"{top}/{trace}")
    for empty in ("dev", "run", "tmp", "proc", "sys"):
        assert os.listdir(f"{top}/{empty}") == []
    assert os.path.exists(f"{top}/usr/sbin/sshd")
    with open(f"{top}/etc/apt/sources.list.d/debian.sources") as f:
        assert "Suites: bookworm bookworm-updates" in f.read()
    newest = max(os.lstat(os.path.join(b, n)).st_mtime for b, d, f in os.walk(top) for n in d + f if n != ".updated")
    assert newest <= image.created_at_ns / 10**9
    assert [p.done for p in worker.progress if p.phase == "bootstrap"] == sorted(p.done for p in worker.progress if p.phase == "bootstrap")
    lab.export(image.fingerprint, lab.path("out.tar.zst"))
    back = lab.import_image(lab.path("out.tar.zst"))
    assert_same(lab.rootfs(back.fingerprint), top)
