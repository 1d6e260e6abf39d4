"""What users get wrong is refused with the right exit code, a reason that names it, and a cure;
and nothing of it stays."""

import base64
import io
import json
import os
import time
import re
import stat
import subprocess
import tarfile

import pytest

import testbed
from machine import wait_for

TOO_LONG = "a" * 64


def refused(done, *words, code=1):
    assert done.returncode == code, done
    # On a slow machine progress is told before.
    assert re.search("^(Error|lxmgr): ", done.stderr, re.MULTILINE) or code == 2, done.stderr
    for word in words:
        assert word in done.stderr, f"{word!r} is not in: {done.stderr}"
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) <= 6, done.stderr


# Command, exit code, what the message must name.
BAD = [
    (["launch", "no/such-image", "c1"], 1, ["no/such-image"]),
    (["launch", "busybox", "c1", "-p", "nosuch"], 1, ["nosuch"]),
    (["launch", "busybox", "c1", "-c", "limits.memroy=64MiB"], 1, ["limits.memroy", "limits.memory"]),
    (["launch", "busybox", "c1", "-c", "limits.memory=lots"], 1, ["limits.memory", "lots"]),
    (["launch", "busybox", "c1", "-c", "limits.cpu=0"], 1, ["limits.cpu"]),
    (["launch", "busybox", "c1", "-c", "boot.autostart=perhaps"], 1, ["boot.autostart", "perhaps"]),
    (["launch", "busybox", "c1", "-d", "eth0,network=nosuch"], 1, ["nosuch"]),
    (["launch", "busybox", "c1", "-d", "eth0,hwaddr=hello"], 1, ["hwaddr"]),
    (["launch", "busybox", "c1", "--target", "nosuch"], 1, ["nosuch"]),
    *((["launch", "busybox", name], None, []) for name in
      ["UPPER", "under_score", "-dash", "dash-", "1digit.", "dot.dot", "sp ace", TOO_LONG, "../up", "ü"]),
    (["start", "nosuch"], 1, ["nosuch"]),
    (["stop", "nosuch"], 1, ["nosuch"]),
    (["restart", "nosuch"], 1, ["nosuch"]),
    (["freeze", "nosuch"], 1, ["nosuch"]),
    (["delete", "nosuch"], 1, ["nosuch"]),
    (["info", "nosuch"], 1, ["nosuch"]),
    (["exec", "nosuch", "--", "true"], 1, ["nosuch"]),
    (["console", "nosuch", "--show-log"], 1, ["nosuch"]),
    (["config", "get", "nosuch", "limits.cpu"], 1, ["nosuch"]),
    (["config", "set", "nosuch", "limits.cpu=1"], 1, ["nosuch"]),
    (["file", "pull", "nosuch/etc/hosts", "-"], 1, ["nosuch"]),
    (["image", "show", "nosuch"], 1, ["nosuch"]),
    (["image", "delete", "nosuch"], 1, ["nosuch"]),
    (["image", "build", "gentoo/1"], 1, ["gentoo/1"]),
    (["profile", "show", "nosuch"], 1, ["nosuch"]),
    (["profile", "delete", "default"], 1, ["default"]),
    (["network", "show", "nosuch"], 1, ["nosuch"]),
    (["network", "create", "name-that-is-too-long"], 1, ["name-that-is-too-long"]),
    (["node", "show", "nosuch"], 1, ["nosuch"]),
    (["operation", "show", "00000000"], 1, ["00000000"]),
    (["lanuch"], 2, ["lanuch", "launch"]),
    (["launch"], 2, []),
    (["launch", "busybox", "c1", "--colour"], 2, ["--colour"]),
    (["launch", "busybox", "c1", "-c", "limits.cpu"], 2, ["limits.cpu"]),
    (["list", "--format", "xml"], 2, ["xml"]),
    (["list", "-c", "nope"], 2, ["nope"]),
    (["exec", "c1"], 2, []),
    (["file", "push", "/etc/hosts"], 2, []),
    (["file", "push", "/etc/hosts", "nowhere"], 2, ["nowhere"]),
    (["file", "push", "/no/such/file", "c1/root/"], 1, ["/no/such/file"]),
]


@pytest.mark.parametrize("args,code,words", BAD, ids=lambda v: " ".join(v)[:40] if isinstance(v, list) else str(v))
def test_refused(cluster, args, code, words):
    done = cluster.cli(*args)
    # A name that can never be one may be refused by either side.
    refused(done, *words, code=code or (done.returncode if done.returncode in (1, 2) else 1))
    assert cluster.list() == {}


def test_name_taken(cluster):
    cluster.ok("create", "busybox", "c1")
    refused(cluster.cli("launch", "busybox", "c1"), "c1")
    assert list(cluster.list()) == ["c1"]


def test_wrong_moment(cluster):
    cluster.ok("create", "busybox", "c1")
    refused(cluster.cli("stop", "c1"), "c1")
    refused(cluster.cli("freeze", "c1"), "c1")
    refused(cluster.cli("exec", "c1", "--", "true"), "c1", "lxmgr start c1")
    cluster.ok("start", "c1")
    refused(cluster.cli("delete", "c1"), "c1", "--force")
    refused(cluster.cli("image", "delete", "busybox"), "c1")
    cluster.ok("freeze", "c1")
    refused(cluster.cli("exec", "c1", "--", "true"), "c1")
    assert cluster.status("c1") == "FROZEN"


def test_address_taken(cluster):
    cluster.ok("launch", "busybox", "c1")
    address = cluster.list()["c1"]["ipv4"]
    refused(cluster.cli("launch", "busybox", "c2", "-d", f"eth0,ipv4.address={address}"), address)
    refused(cluster.cli("launch", "busybox", "c2", "-d", "eth0,ipv4.address=192.0.2.77"), "192.0.2.77")
    assert list(cluster.list()) == ["c1"]


def test_failed_launch_leaves_nothing(cluster):
    """An image whose init does not run: the launch fails, says why, and is undone."""
    broken = make_image({"rootfs/sbin/init": b"#!/no/such/interpreter\n"})
    cluster.ok("image", "import", broken, "--alias", "broken")
    try:
        done = cluster.cli("launch", "broken", "c1")
        listed = cluster.list()
        if done.returncode == 0:  # it started, and ended at once
            wait_for(lambda: cluster.status("c1") == "STOPPED", 10)
        else:
            refused(done, "c1")
            assert listed == {}
            cluster.wait_clean()
    finally:
        cluster.remove_instances()
        cluster.ok("image", "delete", "broken")
        os.unlink(broken)


# ---------------------------------------------------------------- images

METADATA = b"architecture: x86_64\ncreation_date: 1700000000\nproperties:\n  os: test\n"
made = iter(range(1000))


def make_image(files, links=(), hardlinks=(), devices=(), metadata=METADATA, directory="/var/tmp"):
    path = os.path.join(directory, f"lxmgr-image-{os.getpid()}-{next(made)}.tar.gz")
    with tarfile.open(path, "w:gz") as tar:
        def add(name, data=b"", **fields):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            for key, value in fields.items():
                setattr(entry, key, value)
            tar.addfile(entry, io.BytesIO(data))

        if metadata is not None:
            add("metadata.yaml", metadata)
        for name, target in links:
            add(name, type=tarfile.SYMTYPE, linkname=target)
        for name, target in hardlinks:
            add(name, type=tarfile.LNKTYPE, linkname=target)
        for name, kind, major, minor in devices:
            add(name, type=kind, devmajor=major, devminor=minor)
        for name, data in files.items():
            add(name, data)
    return path


INIT = {"rootfs/sbin/init": b"#!/bin/sh\n"}
HOSTILE = {
    "upwards": dict(files={**INIT, "rootfs/../../../{dir}/planted": b"x"}),
    "absolute": dict(files={**INIT, "{dir}/planted": b"x"}),
    "through-a-link": dict(files={**INIT, "rootfs/out/planted": b"x"}, links=[("rootfs/out", "{dir}")]),
    "through-a-relative-link": dict(files={**INIT, "rootfs/out/planted": b"x"}, links=[("rootfs/out", "../../../../../../{dir}")]),
    "hard-link-out": dict(files=INIT, hardlinks=[("rootfs/shadow", "../../../../../../etc/shadow")]),
    "no-metadata": dict(files=INIT, metadata=None),
    "metadata-that-is-none": dict(files=INIT, metadata=b"{{{{ nothing"),
    "no-rootfs": dict(files={}),
    "other-machine": dict(files=INIT, metadata=METADATA.replace(b"x86_64", b"riscv64")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_image(cluster, tmp_path, name):
    """Refused, or harmless: nothing is ever written outside, nothing half imported stays."""
    def here(value):
        if isinstance(value, str):
            return value.replace("{dir}", str(tmp_path))
        if isinstance(value, dict):
            return {here(k): here(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [here(v) for v in value]
        return value

    (tmp_path / "in").mkdir()
    path = make_image(**here(HOSTILE[name]), directory=tmp_path / "in")
    before = os.stat("/etc/shadow").st_nlink
    done = cluster.cli("image", "import", path, "--alias", "hostile")
    assert sorted(os.listdir(tmp_path)) == ["in"], "it has written outside"
    assert os.stat("/etc/shadow").st_nlink == before
    if done.returncode == 0:
        assert name in ("through-a-link", "through-a-relative-link", "upwards", "absolute"), "it should be refused"
        cluster.ok("image", "delete", "hostile")
    else:
        refused(done)
        assert cluster.cli("image", "show", "hostile").returncode == 1
    cluster.wait_clean()


def test_device_nodes_are_harmless(cluster, tmp_path):
    """The host's disk must not become readable through an image."""
    path = make_image(INIT, devices=[("rootfs/dev/disk", tarfile.BLKTYPE, 254, 0)], directory=tmp_path)
    done = cluster.cli("image", "import", path, "--alias", "devices")
    if done.returncode == 0:
        fingerprint = done.stdout.strip()
        node = os.path.join(cluster.agent_dir, "images", fingerprint, "rootfs/dev/disk")
        assert not os.path.exists(node) or not stat.S_ISBLK(os.lstat(node).st_mode)
        cluster.ok("image", "delete", "devices")
    else:
        refused(done)


@pytest.mark.parametrize("keep", [0, 1, 100, 0.3, 0.9, -1])
def test_truncated_image(cluster, tmp_path, keep):
    with open(testbed.cached_image("busybox"), "rb") as f:
        data = f.read()
    size = int(len(data) * keep) if isinstance(keep, float) else keep if keep >= 0 else len(data) + keep
    (tmp_path / "cut.tar.zst").write_bytes(data[:size])
    refused(cluster.cli("image", "import", str(tmp_path / "cut.tar.zst"), "--alias", "cut"))
    assert cluster.cli("image", "show", "cut").returncode == 1
    cluster.wait_clean()


def test_garbage_image(cluster, tmp_path):
    (tmp_path / "garbage").write_bytes(os.urandom(200_000))
    refused(cluster.cli("image", "import", str(tmp_path / "garbage"), "--alias", "garbage"))
    cluster.wait_clean()


def test_import_interrupted(cluster, tmp_path):
    """A client that goes away in the middle: the upload is dropped."""
    with open(testbed.cached_image("busybox"), "rb") as f:
        data = f.read()
    with open(tmp_path / "fifo.tar.zst", "wb") as f:
        f.write(data)
        f.write(os.urandom(40_000_000))
    client = cluster.popen("image", "import", str(tmp_path / "fifo.tar.zst"), "--alias", "half", stderr=subprocess.PIPE)
    incoming = os.path.join(cluster.agent_dir, "images", "incoming")
    wait_for(lambda: os.listdir(incoming), 10, 0.001)
    client.kill()
    client.wait()
    wait_for(lambda: not os.listdir(incoming), 10)
    assert cluster.cli("image", "show", "half").returncode == 1


# ---------------------------------------------------------------- who may ask


def test_socket_is_for_root_and_its_group(cluster):
    mode = os.stat(cluster.socket)
    assert stat.S_IMODE(mode.st_mode) in (0o600, 0o660) and mode.st_uid == 0
    done = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", os.path.join(testbed.BIN, "lxmgr"), "list"],
                          env=cluster.environment, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert "ermission" in done.stderr, done.stderr


def test_tls_without_a_certificate_may_only_join(cluster):
    """The manager's port is for agents: no certificate, or one of a foreign CA, and every call is refused."""
    import grpc

    address = f"127.0.0.1:{cluster.manager_port}"
    pem = subprocess.run(["openssl", "s_client", "-connect", address, "-showcerts", "-alpn", "h2"], input="",
                         capture_output=True, text=True, timeout=20).stdout
    assert "BEGIN CERTIFICATE" in pem
    for args in ([], ["--cert", "/dev/null", "--key", "/dev/null"]):
        done = cluster.cli("--remote", address, *args, "list")
        assert done.returncode in (1, 2), done
    # As grpcio, trusting whatever CA the server shows.
    ca = "-----BEGIN CERTIFICATE-----" + pem.rsplit("-----BEGIN CERTIFICATE-----", 1)[1]
    ca = ca[: ca.index("-----END CERTIFICATE-----") + 25] + "\n"
    name = subprocess.run(["openssl", "x509", "-noout", "-ext", "subjectAltName"], input=pem, capture_output=True,
                          text=True, timeout=20).stdout
    channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(ca.encode()),
                                  options=[("grpc.ssl_target_name_override", name.split("DNS:")[-1].split(",")[0].strip())])
    stub = channel.unary_unary("/lxmgr.v1.InstanceService/List")
    with pytest.raises(grpc.RpcError) as refusal:
        stub(b"", timeout=5)
    channel.close()
    assert refusal.value.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED,
                                    grpc.StatusCode.UNAVAILABLE), refusal.value


@pytest.fixture
def intruder(cluster, tmp_path):
    """Starts an agent that must not become a member: intruder(token) -> Daemon."""
    started = []

    def start(token):
        top = str(tmp_path / str(len(started)))
        daemon = testbed.Daemon("lxagentd", [
            os.path.join(testbed.BIN, "lxagentd"), "--state-dir", f"{top}/state", "--run-dir", f"{top}/run", "--listen",
            "127.0.0.1:19999", "--node-name", "intruder", "--cgroup-root", f"{cluster.prefix}x",
        ], f"{top}.log")
        started.append(daemon)
        daemon.start("--join", token)
        return daemon

    yield start
    for daemon in started:
        daemon.end()


def test_join_token_works_once(cluster, intruder):
    daemon = intruder(cluster.join_token)
    assert daemon.process.wait(15) == 1
    assert "the join token is not valid" in daemon.said(), daemon.said()
    assert "intruder" not in cluster.ok("node", "list")


def test_join_token_that_is_late(cluster, intruder):
    token = cluster.ok("node", "token", "--ttl", "1s").strip()
    time.sleep(2)
    daemon = intruder(token)
    assert daemon.process.wait(15) == 1
    assert "the join token is not valid" in daemon.said(), daemon.said()
    assert "intruder" not in cluster.ok("node", "list")


@pytest.mark.parametrize("token", ["", "nonsense", "eyJ2IjoxfQ==", "A" * 100_000])
def test_bad_join_token(intruder, token):
    daemon = intruder(token)
    assert daemon.process.wait(15) in (1, 2) and "token" in daemon.said(), daemon.said()


def test_join_finds_the_wrong_manager(cluster, intruder):
    """A token carries the fingerprint of its cluster's CA: whoever else answers at the address is found out."""
    token = cluster.token()
    fields = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    other = testbed.Cluster("other")
    try:
        other.start_manager()
        fields["a"] = [f"127.0.0.1:{other.manager_port}"]
        daemon = intruder(base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("="))
        assert daemon.process.wait(15) == 1, daemon.said()
        assert "joined" not in daemon.said()
        assert "intruder" not in other.ok("node", "list")
    finally:
        other.stop()
