"""Images through the API: names and properties, uploads in every order of messages, and uploads
that end in the middle. What is in a hostile image is the image worker's matter; here it is that
the operation ends, the client is told, and nothing stays."""

import io
import os
import tarfile
import threading

import pytest

from machine import wait_for
from manager.managerlab import Code, grpc, outcome, refused, steady, testbed, wait_op  # noqa: F401

METADATA = b"architecture: x86_64\ncreation_date: 1700000000\nproperties:\n  os: Test\n  release: %s\n"


def tarball(mark=b"one", size=0, **extra):
    """A small image; another mark, another fingerprint."""
    out = io.BytesIO()
    files = {"metadata.yaml": METADATA % mark, "rootfs/sbin/init": b"#!/bin/sh\n", "rootfs/big": os.urandom(size), **extra}
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


@pytest.fixture
def api(cluster):
    """The API of a cluster with a node; afterwards only the image busybox is there, and nothing half received."""
    api, pb = cluster.api, cluster.api.pb
    yield api
    cluster.remove_instances()
    # What was received is removed in the background.
    wait_for(lambda: not os.listdir(os.path.join(cluster.agent_dir, "images", "incoming")), 10)
    for image in images(api):
        if "busybox" not in image.aliases:
            wait_op(api, api.images.Delete(pb.ImageRequest(image=image.fingerprint)))
    [left] = images(api)
    on_disk = [d for d in os.listdir(os.path.join(cluster.agent_dir, "images")) if len(d) == 64]
    assert on_disk == [left.fingerprint]


def images(api):
    return api.images.List(api.pb.ListImagesRequest()).images


def messages(pb, data, start=None, chunk=65536):
    yield pb.ImportImageRequest(start=start or pb.ImportImageStart())
    for at in range(0, len(data), chunk):
        yield pb.ImportImageRequest(data=data[at:at + chunk])


def upload(api, data, **start):
    """The image that an upload makes."""
    answers = list(api.images.Import(messages(api.pb, data, api.pb.ImportImageStart(**start)), timeout=60))
    assert answers[-1].WhichOneof("what") == "image"
    assert {a.progress.kind for a in answers[:-1]} <= {"image.import"}
    return answers[-1].image


def last_import(api):
    ops = api.operations.List(api.pb.ListOperationsRequest(all=True)).operations
    return [o for o in ops if o.kind == "image.import"][-1]


# ---------------------------------------------------------------- names and properties


def test_import_and_names(api):
    pb = api.pb
    one = upload(api, tarball(), aliases=["one", "uno"], properties={"note": "first"})
    assert (sorted(one.aliases), one.os, one.release, one.properties["note"]) == (["one", "uno"], "Test", "one", "first")
    assert list(one.nodes) == [api.nodes.List(pb.ListNodesRequest()).nodes[0].name]
    for name in ("one", "uno", one.fingerprint, one.fingerprint[:12]):
        assert api.images.Get(pb.ImageRequest(image=name)).fingerprint == one.fingerprint
    with refused(Code.NOT_FOUND, "there is no image"):
        api.images.Get(pb.ImageRequest(image=one.fingerprint[:7]))
    assert [i.fingerprint for i in api.images.List(pb.ListImagesRequest(filters=["note=first"])).images] == [one.fingerprint]

    # A name that is taken: refused, unless it may be moved.
    with refused(Code.ALREADY_EXISTS, "one", one.fingerprint[:12], hint="--reuse"):
        upload(api, tarball(b"two"), aliases=["one"])
    two = upload(api, tarball(b"two"), aliases=["one"], move_aliases=True)
    assert api.images.Get(pb.ImageRequest(image="one")).fingerprint == two.fingerprint
    assert list(api.images.Get(pb.ImageRequest(image="uno")).aliases) == ["uno"]

    def update(image, **kw):
        return api.images.Update(pb.UpdateImageRequest(image=image, **kw))

    with refused(Code.ALREADY_EXISTS, "uno"):
        update("one", add_aliases=["uno"])
    assert sorted(update("one", add_aliases=["uno", "due"], move_aliases=True).aliases) == ["due", "one", "uno"]
    assert not api.images.Get(pb.ImageRequest(image=one.fingerprint)).aliases
    changed = update("due", remove_aliases=["uno"], set_properties={"a": "1", "b": "2"})
    assert (sorted(changed.aliases), changed.properties["a"]) == (["due", "one"], "1")
    changed = update("due", set_properties={"b": "3"}, unset_properties=["a", "never set"])
    assert (changed.properties["b"], "a" in changed.properties) == ("3", False)
    with refused(Code.NOT_FOUND, "uno"):
        update("due", remove_aliases=["uno"])
    with refused(Code.NOT_FOUND, "nosuch"):
        update("nosuch", set_properties={"a": "1"})
    deleted = wait_op(api, api.images.Delete(pb.ImageRequest(image="due", request_id="d1")))
    assert api.images.Delete(pb.ImageRequest(image="due", request_id="d1")).id == deleted.id
    for name in ("one", "due", two.fingerprint):
        with refused(Code.NOT_FOUND, "there is no image"):
            api.images.Delete(pb.ImageRequest(image=name))


BAD_ALIASES = ["", "/x", "x/", "a//b", "a/../b", "a b", "a\nb", "\x1b[31m", "x" * 129, "0123456789abcdef", "ä"]


@pytest.mark.parametrize("alias", BAD_ALIASES, ids=lambda a: repr(a[:12]))
def test_bad_aliases(api, alias):
    with refused(Code.INVALID_ARGUMENT):
        upload(api, tarball(), aliases=[alias])
    with refused(Code.INVALID_ARGUMENT):
        api.images.Update(api.pb.UpdateImageRequest(image="busybox", add_aliases=[alias]))
    with refused(Code.INVALID_ARGUMENT):
        api.images.Build(api.pb.BuildImageRequest(template="busybox", aliases=[alias]))


def test_bad_requests(api):
    pb = api.pb

    def update(**kw):
        return api.images.Update(pb.UpdateImageRequest(image="busybox", **kw))

    for code, word, call in (
            (Code.INVALID_ARGUMENT, "debian/99", lambda: api.images.Build(pb.BuildImageRequest(template="debian/99"))),
            (Code.INVALID_ARGUMENT, "template", lambda: api.images.Build(pb.BuildImageRequest())),
            (Code.INVALID_ARGUMENT, "256", lambda: api.images.Build(
                pb.BuildImageRequest(template="busybox", packages=["x"] * 257))),
            (Code.NOT_FOUND, "elsewhere", lambda: api.images.Build(
                pb.BuildImageRequest(template="busybox", node="elsewhere"))),
            (Code.INVALID_ARGUMENT, "64", lambda: update(add_aliases=[f"a{i}" for i in range(65)])),
            (Code.INVALID_ARGUMENT, "256", lambda: update(set_properties={f"p{i}": "" for i in range(257)})),
            (Code.INVALID_ARGUMENT, "4096", lambda: update(set_properties={"p": "x" * 5000})),
            (Code.INVALID_ARGUMENT, "", lambda: update(set_properties={"": "x"})),
            (Code.NOT_FOUND, "nosuch", lambda: list(api.images.Export(pb.ExportImageRequest(image="nosuch")))),
            (Code.INVALID_ARGUMENT, "rar", lambda: list(
                api.images.Export(pb.ExportImageRequest(image="busybox", compression="rar"))))):
        with refused(code, word):
            call()
    # Neither names nor properties can be piled up.
    with refused(Code.INVALID_ARGUMENT, "aliases"):
        for i in range(10):
            update(add_aliases=[f"pile{i}.{k}" for k in range(60)])
    with refused(Code.INVALID_ARGUMENT, "properties"):
        for i in range(10):
            update(set_properties={f"pile{i}.{k}": "x" for k in range(200)})
    got = api.images.Get(pb.ImageRequest(image="busybox"))
    update(remove_aliases=[a for a in got.aliases if a.startswith("pile")],
           unset_properties=[p for p in got.properties if p.startswith("pile")])


def test_an_image_in_use_stays(api):
    pb = api.pb
    wait_op(api, api.instances.Create(pb.CreateInstanceRequest(name="user", image="busybox")))
    with refused(Code.FAILED_PRECONDITION, "user", hint="lxmgr list"):
        api.images.Delete(pb.ImageRequest(image="busybox", force=True))


def test_deletion_and_launches_that_meet(api):
    """Either the launch is refused or the deletion: never an instance without its image."""
    pb = api.pb
    for round_ in range(6):
        upload(api, tarball(b"meet"), aliases=["meet"])
        first = [api.instances.Create.future(pb.CreateInstanceRequest(name=f"m{round_}", image="meet"))]
        deletion = api.images.Delete.future(pb.ImageRequest(image="meet"))
        creations = first * (round_ % 2) + [
            api.instances.Create.future(pb.CreateInstanceRequest(name=f"m{round_}x", image="meet"))]
        gone = outcome(deletion)
        for creation in {*first, *creations}:
            code, answer = outcome(creation)
            assert code in ("OK", "FAILED_PRECONDITION", "NOT_FOUND"), code
            if code == "OK":
                wait_op(api, answer)
        left = [i for i in api.instances.List(pb.ListInstancesRequest()).instances]
        assert (gone[0] == "OK") == (not left)
        for i in left:
            wait_op(api, api.instances.Delete(pb.InstanceActionRequest(name=i.name)))
        if gone[0] != "OK":
            wait_op(api, api.images.Delete(pb.ImageRequest(image="meet")))
        else:
            wait_op(api, gone[1])


# ---------------------------------------------------------------- uploads


def test_export_gives_back_what_can_be_imported(api):
    pb = api.pb
    made = upload(api, tarball(), aliases=["back"])
    for compression in ("none", "zstd", "gzip", ""):
        answers = list(api.images.Export(pb.ExportImageRequest(image="back", compression=compression), timeout=60))
        assert answers[0].image.fingerprint == made.fingerprint
        assert all(0 < len(a.data) <= 256 << 10 for a in answers[1:])
        again = upload(api, b"".join(a.data for a in answers[1:]))
        assert (again.os, again.release) == ("Test", "one")


def test_split_import(api):
    pb = api.pb

    def part(**files):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, data in files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(data), 0o755
                tar.addfile(entry, io.BytesIO(data))
        return out.getvalue()

    meta, root = part(**{"metadata.yaml": METADATA % b"split"}), part(**{"sbin/init": b"#!/bin/sh\n"})

    def requests():
        yield pb.ImportImageRequest(start=pb.ImportImageStart(split=True, aliases=["split"]))
        yield pb.ImportImageRequest(data=meta)
        yield pb.ImportImageRequest(next_part=True)
        yield pb.ImportImageRequest(data=root)

    assert list(api.images.Import(requests()))[-1].image.release == "split"


def test_wrong_order_of_messages(api):
    pb = api.pb
    start, data = pb.ImportImageRequest(start=pb.ImportImageStart()), pb.ImportImageRequest(data=b"x")
    part = pb.ImportImageRequest(next_part=True)
    for requests in ([data], [pb.ImportImageRequest()], [part], [start, start], [start, data, start], [start, part],
                     [start], [start, data], [pb.ImportImageRequest(start=pb.ImportImageStart(split=True)), data, part, part],
                     [pb.ImportImageRequest(start=pb.ImportImageStart(split=True)), data],
                     [pb.ImportImageRequest(start=pb.ImportImageStart(size=1 << 60)), data],
                     [pb.ImportImageRequest(start=pb.ImportImageStart(size=5)), data],
                     [pb.ImportImageRequest(start=pb.ImportImageStart(node="elsewhere")), data],
                     [pb.ImportImageRequest(start=pb.ImportImageStart(expect_fingerprint="0" * 64)),
                      pb.ImportImageRequest(data=tarball())],
                     [start, pb.ImportImageRequest(data=b"x" * (300 << 10))]):
        with pytest.raises(grpc.RpcError) as info:
            list(api.images.Import(iter(requests), timeout=30))
        assert info.value.code() in (Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.RESOURCE_EXHAUSTED, Code.DATA_LOSS,
                                     Code.FAILED_PRECONDITION), (requests, info.value.code(), info.value.details())
        assert info.value.details()
    assert not [o for o in api.operations.List(pb.ListOperationsRequest()).operations if o.kind == "image.import"]


def test_cut_and_broken_uploads(api):
    """The error says what is wrong with the file; the operation has failed with it."""
    good = tarball(size=100_000)
    for name, data in (("empty", b""), ("cut", good[:50_000]), ("noise", os.urandom(70_000)), ("zeros", bytes(50_000)),
                       ("no metadata", tarball(**{"metadata.yaml": b""}))):
        with refused(Code.INVALID_ARGUMENT):
            upload(api, data, aliases=["broken"])
        op = last_import(api)
        assert (op.status, op.error_code, op.subject) == (api.pb.OPERATION_STATUS_FAILURE, 3, "broken"), name
        assert op.error


class HalfUpload:
    """An upload that has sent its start and some data, and goes on when told to."""

    def __init__(self, api, data, **start):
        self.api, self.go, self.channel = api, threading.Event(), None
        self.data = data
        self.call = api.images.Import(self.requests(start), timeout=60)
        self.operation = next(self.call).progress

    def requests(self, start):
        pb = self.api.pb
        yield pb.ImportImageRequest(start=pb.ImportImageStart(**start))
        half = len(self.data) // 2
        for at in range(0, half, 65536):
            yield pb.ImportImageRequest(data=self.data[at:min(at + 65536, half)])
        self.go.wait(30)
        for at in range(half, len(self.data), 65536):
            yield pb.ImportImageRequest(data=self.data[at:at + 65536])

    def ended(self):
        pb = self.api.pb
        return list(self.api.operations.Watch(pb.OperationRequest(id=self.operation.id), timeout=20))[-1]


def test_upload_whose_client_goes(cluster, api):
    for _ in range(3):
        half = HalfUpload(api, tarball(size=2_000_000), aliases=["half"])
        half.call.cancel()
        op = half.ended()
        assert op.status == api.pb.OPERATION_STATUS_CANCELLED
        half.go.set()
    incoming = os.path.join(cluster.agent_dir, "images", "incoming")
    wait_for(lambda: not os.listdir(incoming), 10)
    assert len(images(api)) == 1


def test_upload_that_is_cancelled(cluster, api):
    """By somebody else, through its operation: its client is told."""
    half = HalfUpload(api, tarball(size=2_000_000), aliases=["half"])
    assert half.operation.cancellable
    api.operations.Cancel(api.pb.OperationRequest(id=half.operation.id))
    with refused(Code.CANCELLED):
        list(half.call)
    half.go.set()
    assert half.ended().status == api.pb.OPERATION_STATUS_CANCELLED
    incoming = os.path.join(cluster.agent_dir, "images", "incoming")
    wait_for(lambda: not os.listdir(incoming), 10)


def test_two_uploads_of_one_name(api):
    """Whoever is first has it; the other is refused at the latest at its end, and leaves nothing."""
    halves = [HalfUpload(api, tarball(mark, size=300_000), aliases=["same"]) for mark in (b"a", b"b")]
    for half in halves:
        half.go.set()
    codes = []
    for half in halves:
        try:
            codes.append(list(half.call)[-1].WhichOneof("what"))
        except grpc.RpcError as error:
            codes.append(error.code().name)
    assert sorted(codes) == ["ALREADY_EXISTS", "image"]
    wait_for(lambda: len(images(api)) == 2, 5)


def test_one_image_uploaded_twice_at_once(api):
    halves = [HalfUpload(api, data, aliases=[name]) for data in [tarball(size=300_000)] for name in ("p", "q")]
    for half in halves:
        half.go.set()
    ends = [list(half.call)[-1].image for half in halves]
    assert ends[0].fingerprint == ends[1].fingerprint
    assert sorted(api.images.Get(api.pb.ImageRequest(image="p")).aliases) == ["p", "q"]


def test_uploads_leave_no_memory(cluster, api):
    with steady(cluster, growth_kib=16 * 1024):
        for _ in range(3):
            image = upload(api, tarball(size=20_000_000))
            wait_op(api, api.images.Delete(api.pb.ImageRequest(image=image.fingerprint)))
