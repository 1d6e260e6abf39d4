"""Images from agent to agent (agent/image/fetch.c): two or three real agents of one cluster, called
as the manager calls them.
"""

import contextlib
import io
import os
import signal
import stat
import subprocess
import sys
import tarfile
import threading

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "agent"))
import agentlab  # noqa: E402
from agentlab import wait_for  # noqa: E402

WHY_NOT = agentlab.missing()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

METADATA = b"architecture: x86_64\ncreation_date: 1700000000\nproperties:\n  os: test\n"
# cap_net_bind_service=ep, version 2
CAPABILITY = b"\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0"


@pytest.fixture(scope="module")
def pb(tmp_path_factory):
    return agentlab.load_protos(str(tmp_path_factory.mktemp("agent-protos")))


@pytest.fixture(scope="module")
def labs(pb):
    with contextlib.ExitStack() as stack:
        made = []
        for node in ("node1", "node2", "node3"):
            made.append(agentlab.Lab(pb, node, made[0].pki if made else None))
            stack.callback(made[-1].close)
            made[-1].start()
        yield made


@pytest.fixture
def nodes(labs):
    """They run and have no images, whatever the test before did."""
    for lab in labs:
        if not lab.running():
            lab.start()
    yield labs
    for lab in labs:
        if not lab.running():
            lab.start()
        for image in lab.snapshot().images:
            lab.stub.DeleteImage(lab.pb.AgentImageRequest(operation="clean", fingerprint=image.fingerprint), timeout=60)
        wait_for(lambda lab=lab: incoming(lab) == [])


def incoming(lab):
    return os.listdir(f"{lab.state}/images/incoming")


def has(lab, fingerprint):
    return os.path.exists(f"{lab.state}/images/{fingerprint}/image.pb")


def fails(code, *words):
    import grpc

    @contextlib.contextmanager
    def check():
        with pytest.raises(grpc.RpcError) as e:
            yield e
        assert e.value.code().name == code, e.value
        hint = dict(e.value.trailing_metadata() or ()).get("lxmgr-hint", "")
        for word in words:
            assert word in f"{e.value.details()} {hint}"

    return check()


def entry(name, kind=tarfile.REGTYPE, mode=0o644, uid=0, gid=0, **fields):
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.uid, info.gid, info.mtime = kind, mode, uid, gid, 1_600_000_000.125
    for key, value in fields.items():
        setattr(info, key, value)
    return info


def awkward(size=3_000_000):
    """A tarball with all that is easily lost on the way."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:

        def file(info, data=b"x"):
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))

        file(entry("metadata.yaml"), METADATA)
        for path, mode in [("rootfs", 0o755), ("rootfs/sbin", 0o755), ("rootfs/tmp", 0o1777), ("rootfs/empty", 0o700)]:
            tar.addfile(entry(path, tarfile.DIRTYPE, mode))
        file(entry("rootfs/sbin/init", mode=0o755), b"#!/bin/sh\n")
        file(entry("rootfs/su", mode=0o4755))
        file(entry("rootfs/theirs", mode=0o640, uid=33, gid=65534))
        xattrs = {"SCHILY.xattr.user.colour": "green",
                  "SCHILY.xattr.security.capability": CAPABILITY.decode("utf-8", "surrogateescape")}
        file(entry("rootfs/ping", mode=0o755, pax_headers=xattrs))
        file(entry("rootfs/first"), b"one file, three names")
        tar.addfile(entry("rootfs/second", tarfile.LNKTYPE, linkname="rootfs/first"))
        tar.addfile(entry("rootfs/sbin/third", tarfile.LNKTYPE, linkname="rootfs/first"))
        tar.addfile(entry("rootfs/link", tarfile.SYMTYPE, 0o777, uid=7, linkname="../out/of/here"))
        tar.addfile(entry("rootfs/dangling", tarfile.LNKTYPE, linkname="rootfs/link"))
        tar.addfile(entry("rootfs/fifo", tarfile.FIFOTYPE, 0o600))
        tar.addfile(entry("rootfs/null", tarfile.CHRTYPE, 0o666, devmajor=1, devminor=3))
        file(entry("rootfs/" + "long" * 60))
        file(entry("rootfs/caf\udce9"))
        file(entry("rootfs/grüße"))
        file(entry("rootfs/holes"), b"a" + bytes(2_000_000) + b"z")
        file(entry("rootfs/big"), os.urandom(size))
    return out.getvalue()


def import_image(lab, data):
    pb = lab.pb

    def requests():
        yield pb.ImportImageRequest(start=pb.ImportImageStart(size=len(data)))
        for i in range(0, len(data), 65536):
            yield pb.ImportImageRequest(data=data[i : i + 65536])

    return list(lab.stub.ImportImage(requests(), timeout=60))[-1].image


def fetch_call(lab, fingerprint, *sources, **kw):
    listed = [lab.pb.ImageSource(node=s.node, address=f"127.0.0.1:{s.port}") for s in sources]
    request = lab.pb.AgentFetchImageRequest(operation=lab.operation(), fingerprint=fingerprint, sources=listed)
    return lab.stub.FetchImage(request, timeout=60, **kw)


def fetch(lab, fingerprint, *sources):
    messages = list(fetch_call(lab, fingerprint, *sources))
    assert [m.WhichOneof("what") for m in messages][-1:] == ["image"]
    return messages[-1].image


def describe(top):
    """All that an overlay on the tree could stand on, by path; links as the first path of the same file."""
    found, first = {}, {}
    paths = [top] + [os.path.join(base, n) for base, dirs, files in os.walk(top) for n in dirs + files]
    for path in sorted(map(os.fsencode, paths)):
        st = os.lstat(path)
        what = [st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns, st.st_rdev, st.st_nlink if not stat.S_ISDIR(st.st_mode) else 0]
        what.append(first.setdefault(st.st_ino, path[len(top) :]))
        what.append({a: os.getxattr(path, a, follow_symlinks=False) for a in os.listxattr(path, follow_symlinks=False)})
        if stat.S_ISLNK(st.st_mode):
            what.append(os.readlink(path))
        if stat.S_ISREG(st.st_mode):
            with open(path, "rb") as f:
                what += [f.read(), st.st_size]
        found[path[len(top) :]] = what
    return found


def rootfs(lab, fingerprint):
    return describe(f"{lab.state}/images/{fingerprint}/rootfs")


# ---------------------------------------------------------------- it works


def test_an_imported_image_is_the_same_on_both_nodes(nodes):
    one, two, _ = nodes
    image = import_image(one, awkward())
    watch = two.watch(heartbeat_ms=60000)
    watch.next()
    got = fetch(two, image.fingerprint, one)
    added = watch.until(lambda e: e.WhichOneof("what") == "image_added").image_added
    watch.close()
    assert got.fingerprint == added.fingerprint == image.fingerprint
    got.imported_at_ns = image.imported_at_ns
    assert got == image
    here, there = rootfs(one, image.fingerprint), rootfs(two, image.fingerprint)
    assert here[b"/ping"][7] == {"user.colour": b"green", "security.capability": CAPABILITY}
    assert here == there
    assert os.stat(f"{two.state}/images/{image.fingerprint}/rootfs/holes").st_blocks < 1000
    # Known already: nobody is asked.
    assert fetch(two, image.fingerprint, nodes[2]).fingerprint == image.fingerprint


def test_a_built_image_keeps_its_fingerprint_and_runs(nodes):
    one, two, three = nodes
    one.build_busybox()
    fetch(two, one.image, one)
    # And from there on.
    assert fetch(three, one.image, two).source == "build busybox"
    assert rootfs(one, one.image) == rootfs(three, one.image)
    name = three.new_name()
    three.create(name, image=one.image)
    assert three.sh(name, "echo $((6 * 7))") == "42\n"
    three.delete(name)


def test_several_that_need_it_at_once_fetch_it_once(nodes):
    one, two, _ = nodes
    image = import_image(one, awkward(40_000_000))
    calls = [fetch_call(two, image.fingerprint, one) for _ in range(8)]
    last = [list(c)[-1].image for c in calls]
    assert all(i == last[0] for i in last)
    with open(one.log, encoding="utf-8") as f:
        assert f.read().count(f"sending an image fingerprint={image.fingerprint}") == 1


def test_progress_counts_the_images_bytes(nodes):
    one, two, _ = nodes
    image = import_image(one, awkward(60_000_000))
    told = [m.progress for m in fetch_call(two, image.fingerprint, one) if m.WhichOneof("what") == "progress"]
    told = [p for p in told if p.phase == "fetch image"]
    assert told and all(p.total == image.unpacked_bytes and p.done <= p.total and p.unit == "bytes" for p in told)


# ---------------------------------------------------------------- it does not


def test_the_next_source_is_tried(nodes):
    one, two, three = nodes
    image = import_image(one, awkward())
    three.stop_agent()  # nobody listens there
    assert fetch(two, image.fingerprint, three, one).fingerprint == image.fingerprint


def test_sources_that_cannot_help_are_named(nodes):
    one, two, three = nodes
    missing = "ab" * 32
    with fails("ABORTED", "node node1: image", "node node3: ", missing[:12]):
        fetch(two, missing, one, three)
    # A node that calls itself another's name has no certificate for it.
    image = import_image(one, awkward())
    request = two.pb.AgentFetchImageRequest(operation="x", fingerprint=image.fingerprint)
    request.sources.add(node="node3", address=f"127.0.0.1:{one.port}")
    with fails("ABORTED", "node3"):
        list(two.stub.FetchImage(request, timeout=30))
    assert not has(two, image.fingerprint) and incoming(two) == []


def test_requests_that_make_no_sense(nodes):
    one, two, _ = nodes
    with fails("INVALID_ARGUMENT", "fingerprint"):
        fetch(two, "../../etc", one)
    with fails("INVALID_ARGUMENT", "0 nodes"):
        fetch(two, "ab" * 32)
    with fails("INVALID_ARGUMENT", "65 nodes"):
        fetch(two, "ab" * 32, *[one] * 65)


def test_who_may_call(nodes):
    one, two, _ = nodes
    pb = one.pb
    agent = one.connect(*one.pki.issue("node7", "agent"))
    with fails("NOT_FOUND"):
        list(agent.SendImage(pb.AgentSendImageRequest(fingerprint="ab" * 32), timeout=10))
    with fails("PERMISSION_DENIED", "agents"):
        list(one.stub.SendImage(pb.AgentSendImageRequest(fingerprint="ab" * 32), timeout=10))
    for call in (
        lambda: agent.FetchImage(pb.AgentFetchImageRequest(fingerprint="ab" * 32), timeout=10).next(),
        lambda: agent.ExportImage(pb.ExportImageRequest(image="ab" * 32), timeout=10).next(),
        lambda: agent.DeleteImage(pb.AgentImageRequest(fingerprint="ab" * 32), timeout=10),
        lambda: agent.Watch(pb.AgentWatchRequest(), timeout=10).next(),
        lambda: agent.StartInstance(pb.AgentInstanceRequest(name="x"), timeout=10),
        lambda: agent.ApplyNetworks(pb.ApplyNetworksRequest(), timeout=10),
    ):
        with fails("PERMISSION_DENIED", "manager"):
            call()


def test_a_damaged_image_is_refused(nodes):
    one, two, _ = nodes
    one.build_busybox()
    with open(f"{one.state}/images/{one.image}/rootfs/etc/passwd", "a", encoding="ascii") as f:
        f.write("evil::0:0::/:/bin/sh\n")
    with fails("ABORTED", "not what its sender has", "disk"):
        fetch(two, one.image, one)
    assert not has(two, one.image) and incoming(two) == []


def under_way(call):
    """Reads on until the image comes in; the rest in a thread."""
    for message in call:
        if message.WhichOneof("what") == "progress" and message.progress.phase == "fetch image":
            break
    rest = []

    def read():
        try:
            rest.extend(call)
        except Exception as e:
            rest.append(e)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread, rest


BIG = 150_000_000


def test_a_caller_that_goes_away_leaves_nothing(nodes):
    one, two, _ = nodes
    image = import_image(one, awkward(BIG))
    first, second = fetch_call(two, image.fingerprint, one), fetch_call(two, image.fingerprint, one)
    thread, rest = under_way(first)
    first.cancel()
    thread.join(10)
    # The other one still wants it.
    assert list(second)[-1].image.fingerprint == image.fingerprint
    two.stub.DeleteImage(two.pb.AgentImageRequest(operation="x", fingerprint=image.fingerprint), timeout=60)
    call = fetch_call(two, image.fingerprint, one)
    thread, rest = under_way(call)
    with fails("FAILED_PRECONDITION", "being fetched"):
        two.stub.DeleteImage(two.pb.AgentImageRequest(operation="x", fingerprint=image.fingerprint), timeout=60)
    call.cancel()
    wait_for(lambda: incoming(two) == [] and two.children("lx-image-worker") == [])
    wait_for(lambda: one.children("lx-image-worker") == [])
    assert not has(two, image.fingerprint)
    assert fetch(two, image.fingerprint, one)


@pytest.mark.parametrize("victim", ["agent", "worker"])
def test_a_source_that_dies_is_followed_by_the_next(nodes, victim):
    one, two, three = nodes
    image = import_image(one, awkward(BIG))
    fetch(three, image.fingerprint, one)
    thread, rest = under_way(fetch_call(two, image.fingerprint, one, three))
    if victim == "agent":
        one.stop_agent(signal.SIGKILL)
    else:
        for pid in one.children("lx-image-worker"):
            os.kill(pid, signal.SIGKILL)
    thread.join(60)
    assert rest[-1].image.fingerprint == image.fingerprint, rest
    assert incoming(two) == []
    assert rootfs(two, image.fingerprint) == rootfs(three, image.fingerprint)


def test_the_only_source_dies(nodes):
    one, two, _ = nodes
    image = import_image(one, awkward(BIG))
    thread, rest = under_way(fetch_call(two, image.fingerprint, one))
    one.stop_agent(signal.SIGKILL)
    thread.join(60)
    assert rest[-1].code().name == "ABORTED" and "node node1" in rest[-1].details(), rest
    wait_for(lambda: incoming(two) == [])
    one.start()
    assert fetch(two, image.fingerprint, one)


@pytest.mark.parametrize("victim", ["agent", "worker"])
def test_the_fetching_side_dies(nodes, victim):
    one, two, _ = nodes
    image = import_image(one, awkward(BIG))
    thread, rest = under_way(fetch_call(two, image.fingerprint, one))
    if victim == "agent":
        two.stop_agent(signal.SIGKILL)
        two.start()
    else:
        for pid in two.children("lx-image-worker"):
            os.kill(pid, signal.SIGKILL)
    thread.join(60)
    wait_for(lambda: one.children("lx-image-worker") == [])
    if victim == "agent":
        wait_for(lambda: incoming(two) == [])
    got = fetch(two, image.fingerprint, one)
    assert got.fingerprint == image.fingerprint
    assert rootfs(one, image.fingerprint) == rootfs(two, image.fingerprint)
    two.restart()
    wait_for(lambda: incoming(two) == [])
    assert subprocess.run(["find", f"{two.state}/images", "-maxdepth", "1", "-name", image.fingerprint],
                          capture_output=True, check=True).stdout
