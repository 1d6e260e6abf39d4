"""lxmgr file: pushing and pulling trees, and pulling from somebody who means harm.

The other side is a TEST DOUBLE of the manager: cli/fake_manager.py.
"""

import os
import signal
import stat
import sys
import time

import grpc
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "cli"))
from clilab import LXMGR, lab, manager, needed  # noqa: E402, F401

pytestmark = needed

FILE, DIR, LINK = 1, 2, 3
MTIME = 1_600_000_000_123_456_789


class Push:
    """Takes a push in: its start, and entries with their bytes."""

    def __init__(self, lab):
        self.lab, self.pushes = lab, []
        lab.manager.answers["InstanceService/PushFile"] = self.serve

    def serve(self, requests, context):
        start = next(requests).start
        entries = {}
        self.pushes.append((start, entries))
        order = []
        for request in requests:
            if request.WhichOneof("what") == "entry":
                last = request.entry.path
                assert last not in entries
                entries[last] = [request.entry, b""]
                order.append(last)
            else:
                assert 0 < len(request.data) <= 65536
                entries[last][1] += request.data
        for entry, data in entries.values():
            assert entry.size == len(data), entry.path
        self.order = order
        return self.lab.pb.PushFileResponse(files=len(entries))

    @property
    def start(self):
        return self.pushes[-1][0]

    @property
    def entries(self):
        return self.pushes[-1][1]


def give(lab, *entries, after=None):
    """Answers a pull with (path, type, fields or data ...)."""

    def answer(request, context):
        for path, kind, data, more in entries:
            fields = dict(path=path, type=kind, mode=0o644 if kind == FILE else 0o755, mtime_ns=MTIME)
            if kind == FILE:
                fields["size"] = len(data)
            yield lab.pb.PullFileResponse(entry=lab.pb.FileEntry(**{**fields, **more}))
            for at in range(0, len(data), 65536):
                yield lab.pb.PullFileResponse(data=data[at : at + 65536])
        if after:
            raise after

    lab.manager.answers["InstanceService/PullFile"] = answer


def entry(path, kind=FILE, data=b"", **more):
    return (path, kind, data, more)


# ---------------------------------------------------------------- push


def test_push_one_file(lab, tmp_path):
    push = Push(lab)
    data = os.urandom(200_000)
    f = tmp_path / "a.txt"
    f.write_bytes(data)
    f.chmod(0o640)
    os.utime(f, ns=(MTIME, MTIME))
    lab.run("file", "push", str(f), "web1/srv/b.txt")
    assert (push.start.instance, push.start.path, push.start.into_directory, push.start.create_dirs) == ("web1", "/srv/b.txt", False, False)
    got, sent = push.entries[""]
    assert sent == data and (got.type, got.mode, got.uid, got.mtime_ns) == (FILE, 0o640, os.getuid(), MTIME)


def test_push_options(lab, tmp_path):
    push = Push(lab)
    (tmp_path / "a").write_text("x")
    lab.run("file", "push", str(tmp_path / "a"), "web1/srv/", "-p", "--mode", "0600", "--uid", "33", "--gid", "34")
    assert push.start.path == "/srv/" and push.start.into_directory and push.start.create_dirs
    got = push.entries["a"][0]
    assert (got.mode, got.uid, got.gid) == (0o600, 33, 34)
    for bad in (["--mode", "888"], ["--mode", "77777"], ["--uid", "root"], ["--gid", "-1"]):
        lab.run("file", "push", str(tmp_path / "a"), "web1/x", *bad, code=2)


def test_push_several(lab, tmp_path):
    push = Push(lab)
    for name in "ab":
        (tmp_path / name).write_text(name)
    lab.run("file", "push", str(tmp_path / "a"), str(tmp_path / "b"), "web1/srv")
    assert push.start.into_directory and {k: v[1] for k, v in push.entries.items()} == {"a": b"a", "b": b"b"}


def test_push_tree(lab, tmp_path):
    push = Push(lab)
    site = tmp_path / "site"
    (site / "sub" / "deep").mkdir(parents=True)
    (site / "empty").mkdir(mode=0o700)
    (site / "index.html").write_text("hi")
    (site / "zero").write_text("")
    (site / "sub" / "deep" / "f").write_bytes(b"\0" * 100_000)
    (site / "link").symlink_to("../../etc/passwd")
    (site / "dangling").symlink_to("nowhere")
    os.mkfifo(site / "pipe")
    lab.run("file", "push", "-r", "site", "web1/srv", cwd=tmp_path)
    assert push.start.into_directory
    kinds = {path: got.type for path, (got, _) in push.entries.items()}
    assert kinds == {
        "site": DIR, "site/sub": DIR, "site/sub/deep": DIR, "site/empty": DIR, "site/index.html": FILE,
        "site/zero": FILE, "site/sub/deep/f": FILE, "site/link": LINK, "site/dangling": LINK,
    }  # fmt: skip
    assert push.entries["site/link"][0].target == "../../etc/passwd" and push.entries["site/empty"][0].mode == 0o700
    assert all(path.rpartition("/")[0] in ("", *push.order[: i]) for i, path in enumerate(push.order))
    assert "site/pipe is neither a file" in lab.said
    lab.run("file", "push", "-r", ".", "web1/srv", cwd=site)
    assert "site/index.html" in push.entries
    lab.run("file", "push", str(site), "web1/srv", code=1)
    assert "is a directory" in lab.said and "--recursive" in lab.said


def test_push_stdin(lab):
    push = Push(lab)
    data = os.urandom(1_000_000)
    lab.run("file", "push", "-", "web1/root/x", stdin=data)
    assert push.entries[""][1] == data and push.entries[""][0].mode == 0o644 and push.entries[""][0].uid == 0
    with open(LXMGR, "rb") as f:
        assert lab.start("file", "push", "-", "web1/root/x", "--mode", "755", stdin=f).wait(timeout=20) == 0
    assert push.entries[""][1] == open(LXMGR, "rb").read() and push.entries[""][0].mode == 0o755
    lab.run("file", "push", "-", "web1/root/", code=2)


def test_push_errors(lab, tmp_path):
    from fake_manager import Refusal

    def refuse(requests, context):
        next(requests)
        raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "no space left in web1")

    lab.manager.answers["InstanceService/PushFile"] = refuse
    with open(tmp_path / "big", "wb") as f:
        f.truncate(64 << 20)
    lab.run("file", "push", str(tmp_path / "big"), "web1/x", code=1)
    assert lab.said == "Error: no space left in web1\n"
    lab.run("file", "push", str(tmp_path / "none"), "web1/x", code=1)
    assert "No such file" in lab.said
    lab.run("file", "push", "/dev/null", "web1/x", code=1)
    assert "neither a file nor a directory" in lab.said


def test_create_and_delete(lab):
    push = Push(lab)
    lab.run("file", "create", "web1/etc/marker")
    assert push.start.path == "/etc/marker" and push.entries[""][0].type == FILE and push.entries[""][0].mode == 0o644
    lab.run("file", "create", "--type", "directory", "-p", "web1/srv/a/b", "--mode", "0700", "--uid", "5")
    assert (push.entries[""][0].type, push.entries[""][0].mode, push.entries[""][0].uid) == (DIR, 0o700, 5) and push.start.create_dirs
    lab.run("file", "create", "--type", "symlink", "web1/srv/c", "/srv/a")
    assert (push.entries[""][0].type, push.entries[""][0].target) == (LINK, "/srv/a")
    lab.run("file", "create", "--type", "symlink", "web1/srv/c", code=2)
    lab.manager.answers["InstanceService/DeleteFile"] = lab.pb.DeleteFileResponse()
    lab.run("file", "delete", "-r", "web1/srv/a", "db/x")
    got = lab.manager.requests("InstanceService/DeleteFile")
    assert [(r.instance, r.path, r.recursive) for r in got] == [("web1", "/srv/a", True), ("db", "/x", True)]


def test_edit(lab, tmp_path):
    push = Push(lab)
    give(lab, entry("", data=b"old\n", mode=0o600, uid=33, gid=34))
    editor = tmp_path / "ed"
    editor.write_text('#!/bin/sh\ncase $1 in *.conf) ;; *) exit 1;; esac\nsed -i s/old/new/ "$1"\n')
    editor.chmod(0o755)
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    env = {"VISUAL": str(editor), "TMPDIR": str(tmp)}
    lab.run("file", "edit", "web1/etc/x.conf", env=env)
    got, data = push.entries[""]
    assert data == b"new\n" and (got.mode, got.uid, got.gid) == (0o600, 33, 34) and push.start.path == "/etc/x.conf"
    push.pushes.clear()
    lab.run("file", "edit", "web1/etc/x.conf", env={**env, "VISUAL": "true"})
    lab.run("file", "edit", "web1/etc/x.conf", env={**env, "VISUAL": "false"}, code=1)
    assert not push.pushes and os.listdir(tmp) == []


# ---------------------------------------------------------------- pull


def test_pull_one_file(lab, tmp_path):
    data = os.urandom(300_000)
    give(lab, entry("", data=data, mode=0o4640))
    lab.run("file", "pull", "web1/etc/hosts", str(tmp_path))
    got = lab.request("InstanceService/PullFile")
    assert (got.instance, got.path, got.recursive) == ("web1", "/etc/hosts", False)
    f = tmp_path / "hosts"
    assert f.read_bytes() == data and stat.S_IMODE(f.stat().st_mode) == 0o640 and f.stat().st_mtime_ns == MTIME
    lab.run("file", "pull", "web1/etc/hosts", str(tmp_path / "other"))
    assert (tmp_path / "other").read_bytes() == data
    lab.run("file", "pull", "web1/etc/hosts", "-")
    assert lab.raw == data
    lab.run("file", "pull", "web1/etc/hosts", "web1/etc/passwd", str(tmp_path / "many") + "/")
    assert sorted(os.listdir(tmp_path / "many")) == ["hosts", "passwd"]
    lab.run("file", "pull", "-p", "web1/etc/hosts", str(tmp_path / "x" / "y" / "z"))
    assert (tmp_path / "x" / "y" / "z").read_bytes() == data
    assert sorted(os.listdir(tmp_path)) == ["hosts", "many", "other", "x"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_pull_as_root_keeps_owners(lab, tmp_path):
    give(lab, entry("", DIR, uid=5), entry("f", data=b"x", uid=33, gid=34), entry("l", LINK, target="f", uid=7))
    lab.run("file", "pull", "-r", "web1/srv", str(tmp_path))
    assert [os.lstat(tmp_path / "srv" / n).st_uid for n in (".", "f", "l")] == [5, 33, 7]


def test_pull_tree(lab, tmp_path):
    give(
        lab,
        entry("", DIR, mode=0o555),
        entry("a", data=b"a" * 70_000),
        entry("empty"),
        entry("sub", DIR, mode=0o500),
        entry("sub/b", data=b"b", mode=0o755),
        entry("sub/up", LINK, target="/etc/passwd"),
    )
    lab.run("file", "pull", "-r", "web1/srv/www/", str(tmp_path / "out"))
    root = tmp_path / "out" / "www"
    assert (root / "a").read_bytes() == b"a" * 70_000 and (root / "empty").read_bytes() == b""
    assert (root / "sub" / "b").read_bytes() == b"b" and os.readlink(root / "sub" / "up") == "/etc/passwd"
    assert stat.S_IMODE(root.stat().st_mode) == 0o555 and stat.S_IMODE((root / "sub").stat().st_mode) == 0o500
    assert (root / "sub").stat().st_mtime_ns == MTIME and (root / "sub" / "b").stat().st_mtime_ns == MTIME
    assert sorted(os.listdir(root)) == ["a", "empty", "sub"]
    lab.run("file", "pull", "-r", "web1/srv/www/", str(tmp_path / "out"), code=0)  # again, over what is there


def test_pull_root(lab, tmp_path):
    give(lab, entry("", DIR), entry("a", data=b"a"))
    lab.run("file", "pull", "-r", "web1/", str(tmp_path))
    assert os.listdir(tmp_path) == ["web1"]


def test_pull_replaces_a_link_and_does_not_follow_it(lab, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "hosts").symlink_to("victim")
    give(lab, entry("", data=b"new"))
    lab.run("file", "pull", "web1/etc/hosts", str(tmp_path) + "/")
    assert victim.read_text() == "precious" and (tmp_path / "hosts").read_text() == "new"
    assert not (tmp_path / "hosts").is_symlink()


HOSTILE = {
    "dotdot": [entry("", DIR), entry("../evil", data=b"x")],
    "dotdot inside": [entry("", DIR), entry("a", DIR), entry("a/../../evil", data=b"x")],
    "absolute": [entry("", DIR), entry("/tmp/evil", data=b"x")],
    "dot": [entry("", DIR), entry("./evil", data=b"x")],
    "empty component": [entry("", DIR), entry("a//b", data=b"x")],
    "trailing slash": [entry("", DIR), entry("a/", DIR)],
    "through a link": [entry("", DIR), entry("l", LINK, target=".."), entry("l/evil", data=b"x")],
    "through an absolute link": [entry("", DIR), entry("l", LINK, target="{out}"), entry("l/evil", data=b"x")],
    "directory over a link": [entry("", DIR), entry("l", LINK, target="{out}"), entry("l", DIR), entry("l/evil", data=b"x")],
    "deeper through a link": [entry("", DIR), entry("d", DIR), entry("d/l", LINK, target="../.."), entry("d/l/evil", DIR)],
    "root is a link": [entry("", LINK, target="{out}"), entry("evil", data=b"x")],
    "root is a file": [entry("", data=b"x"), entry("evil", data=b"x")],
    "no root": [entry("evil", data=b"x")],
    "two roots": [entry("", DIR), entry("", DIR)],
    "no parent": [entry("", DIR), entry("a/b", data=b"x")],
    "too long a name": [entry("", DIR), entry("n" * 300, data=b"x")],
    "too long a path": [entry("", DIR), entry("d/" * 2500 + "x", data=b"x")],
    "a device": [entry("", DIR), entry("dev", 9)],
    "data without a file": [entry("", DIR, data=b"x")],
    "more data than said": [entry("", DIR), entry("f", data=b"xxxx", size=2)],
    "less data than said": [entry("", DIR), entry("f", data=b"xx", size=4), entry("g", data=b"x")],
    "less data at the end": [entry("", DIR), entry("f", data=b"xx", size=4)],
    "data after a link": [entry("", DIR), entry("l", LINK, data=b"x", target="a")],
    "link to nothing": [entry("", DIR), entry("l", LINK, target="")],
    "nothing at all": [],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_pull_from_a_hostile_server(lab, tmp_path, case):
    out, inside = tmp_path / "out", tmp_path / "out" / "in"
    inside.mkdir(parents=True)
    (out / "precious").write_text("x")
    entries = [(p, k, d, {**m, "target": m["target"].format(out=out)} if "target" in m else m) for p, k, d, m in HOSTILE[case]]
    give(lab, *entries)
    lab.run("file", "pull", "-r", "web1/srv", str(inside), code=1)
    assert lab.said.startswith("Error: cannot pull web1/srv: ")
    assert sorted(os.listdir(out)) == ["in", "precious"] and not os.path.exists("/tmp/evil")
    assert set(os.listdir(inside)) <= {"srv"}
    for _, dirs, files in os.walk(inside):  # nothing half-written stays
        assert not [f for f in files if f.startswith(".lxmgr-pull")]


def test_pull_of_one_file_takes_no_directory(lab, tmp_path):
    give(lab, entry("", DIR))
    lab.run("file", "pull", "web1/srv", str(tmp_path / "x"), code=1)
    assert "is a directory" in lab.said and os.listdir(tmp_path) == []
    for entries in ([entry("", DIR)], [entry("", LINK, target="x")], [entry("", data=b"a"), entry("b", data=b"b")], []):
        give(lab, *entries)
        lab.run("file", "pull", "web1/srv", "-", code=1)


def test_pull_that_breaks_leaves_no_half_file(lab, tmp_path):
    from fake_manager import Refusal

    gone = Refusal(grpc.StatusCode.UNAVAILABLE, "node1 went away")
    give(lab, entry("", data=b"x" * 100_000, size=200_000), after=gone)
    (tmp_path / "f").write_text("old")
    lab.run("file", "pull", "web1/f", str(tmp_path), code=1)
    assert "node1 went away" in lab.said and os.listdir(tmp_path) == ["f"] and (tmp_path / "f").read_text() == "old"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_pull_leaves_no_half_file(lab, tmp_path, signum):
    def stuck(request, context):
        yield lab.pb.PullFileResponse(entry=lab.pb.FileEntry(path="", type=FILE, size=100))
        yield lab.pb.PullFileResponse(data=b"x")
        while context.is_active():
            time.sleep(0.02)

    lab.manager.answers["InstanceService/PullFile"] = stuck
    p = lab.start("file", "pull", "web1/f", str(tmp_path))
    while not os.listdir(tmp_path):
        time.sleep(0.02)
    p.send_signal(signum)
    assert p.wait(timeout=10) == 1 and os.listdir(tmp_path) == []
    assert p.stderr.read() == b"Error: cannot pull web1/f: interrupted\n"
    p.communicate()


def test_pull_does_not_replace_a_directory(lab, tmp_path):
    (tmp_path / "hosts" / "x").mkdir(parents=True)
    give(lab, entry("", data=b"new"))
    lab.run("file", "pull", "web1/etc/hosts", str(tmp_path), code=1)
    assert "Is a directory" in lab.said and os.listdir(tmp_path) == ["hosts"]


def test_file_names_cannot_drive_the_terminal(lab, tmp_path):
    give(lab, entry("", DIR), entry("\033[31m/x", data=b"x"))
    lab.run("file", "pull", "-r", "web1/srv", str(tmp_path), code=1)
    assert "\033" not in lab.said


def test_progress_of_a_push(lab, tmp_path):
    """Bytes, rate and time left, on a terminal."""
    from test_cli_grpcio import on_terminal

    def slow(requests, context):
        for i, _ in enumerate(requests):
            if i % 16 == 0:
                time.sleep(0.05)
        return lab.pb.PushFileResponse(files=1)

    lab.manager.answers["InstanceService/PushFile"] = slow
    with open(tmp_path / "big", "wb") as f:
        f.truncate(32 << 20)
    code, out = on_terminal([LXMGR, "file", "push", str(tmp_path / "big"), "web1/x"], lab.env, cols=120, seconds=20)
    assert code == 0 and "Pushing to web1/x [" in out and "/32MiB" in out and "/s" in out, out
