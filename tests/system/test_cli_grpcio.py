"""The command line (cli/) against a gRPC server nobody here wrote: every verb's request, what is
printed in which format, and exit codes. Exec and files have test_cli_exec.py and test_cli_file.py.

The server is a TEST DOUBLE of the manager with canned answers: cli/fake_manager.py.
"""

import csv
import io
import json
import os
import pty
import re
import resource
import select
import signal
import subprocess
import sys
import threading
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "cli"))
from clilab import LXMGR, TOP, environment, lab, manager, needed  # noqa: E402, F401

pytestmark = needed

T0 = 1_700_000_000_000_000_000
T0_TEXT = "2023-11-14T22:13:20Z"
FINGERPRINT = "3f2a77c01b9e" + "0" * 52


def instance(pb, name="web1", status="RUNNING", **more):
    fields = dict(
        name=name,
        node="node1",
        status=pb.enum("InstanceStatus", f"INSTANCE_STATUS_{status}"),
        image="debian/12",
        image_fingerprint=FINGERPRINT,
        profiles=["default", "web"],
        created_at_ns=T0,
        pid=4711,
        usage=pb.InstanceUsage(memory_bytes=100 << 20, memory_limit_bytes=400 << 20, processes=17, cpu_ns=2_500_000_000),
        nics=[pb.Nic(name="eth0", network="lxbr0", ipv4_address="10.88.0.7/16", ipv6_address="fd42::7/64")],
    )
    return pb.Instance(**{**fields, **more})


# ---------------------------------------------------------------- list


@pytest.fixture
def two(lab):
    stopped = instance(lab.pb, "db", "STOPPED", pid=0, usage=None, nics=[], profiles=[])
    lab.manager.answers["InstanceService/List"] = lab.pb.ListInstancesResponse(instances=[instance(lab.pb), stopped])
    return lab


def test_list_table(two):
    lines = two.run("list").splitlines()
    assert lines[0].split() == ["NAME", "STATUS", "IPV4", "IPV6", "NODE", "IMAGE"]
    assert lines[1].split() == ["db", "STOPPED", "-", "-", "node1", "debian/12"]
    assert lines[2].split() == ["web1", "RUNNING", "10.88.0.7", "fd42::7", "node1", "debian/12"]
    assert "\033" not in two.run("list")


def test_list_filters_go_to_the_manager(two):
    two.run("ls", "web*", "status=running")
    assert list(two.request("InstanceService/List").filters) == ["web*", "status=running"]
    assert two.request("InstanceService/List").view == 0


def test_list_json(two):
    db, web = json.loads(two.run("list", "--format", "json"))
    assert web["name"] == "web1" and web["status"] == "RUNNING" and web["node"] == "node1"
    assert web["ipv4"] == "10.88.0.7" and web["ipv6"] == "fd42::7" and web["image"] == "debian/12"
    assert web["profiles"] == ["default", "web"] and web["created_at"] == T0_TEXT
    assert web["pid"] == 4711 and web["memory"] == 100 << 20 and web["processes"] == 17
    assert db["ipv4"] == "" and db["pid"] == 0 and db["memory"] == 0 and db["profiles"] == []


def test_list_yaml_is_the_same(two):
    yaml = pytest.importorskip("yaml")
    assert yaml.safe_load(two.run("list", "-f", "yaml")) == json.loads(two.run("list", "-f", "json"))


def test_list_csv(two):
    rows = list(csv.reader(io.StringIO(two.run("list", "--format", "csv"))))
    assert rows[1] == ["web1", "RUNNING", "10.88.0.7", "fd42::7", "node1", "debian/12"]
    assert two.run("list", "--format", "csv,header").startswith("NAME,STATUS,IPV4")
    assert two.run("list", "--format", "table,noheader").startswith("db")


def test_csv_quotes(lab):
    odd = instance(lab.pb, "odd", image='with, comma and "quotes"\nand a line')
    lab.manager.answers["InstanceService/List"] = lab.pb.ListInstancesResponse(instances=[odd])
    rows = list(csv.reader(io.StringIO(lab.run("list", "-f", "csv", "-c", "ni"))))
    assert rows == [["odd", 'with, comma and "quotes"\nand a line']]


def test_list_columns(two):
    assert two.run("list", "-c", "nNmM").splitlines()[2].split() == ["web1", "17", "100MiB", "25.0%"]
    assert two.run("list", "--columns", "name,processes,u").splitlines()[2].split() == ["web1", "17", "2.5s"]
    assert two.run("list", "-c", "nP", "-f", "compact").splitlines()[2].split() == ["web1", "default,web"]
    two.run("list", "-c", "nz", code=2)
    assert 'no column "nz"' in two.said and "Hint:" in two.said


def test_list_config_column_asks_for_everything(lab):
    web = instance(lab.pb, expanded_config={"user.owner": "ann"})
    lab.manager.answers["InstanceService/List"] = lab.pb.ListInstancesResponse(instances=[web])
    assert lab.run("list", "-c", "n,user.owner").splitlines()[1].split() == ["web1", "ann"]
    assert lab.request("InstanceService/List").view == lab.pb.enum("InstanceView", "INSTANCE_VIEW_FULL")


def test_list_of_none(lab):
    lab.manager.answers["InstanceService/List"] = lab.pb.ListInstancesResponse()
    assert lab.run("list").split() == ["NAME", "STATUS", "IPV4", "IPV6", "NODE", "IMAGE"]
    assert lab.run("list", "-f", "json").strip() == "[]"
    assert lab.run("list", "-f", "csv") == ""


def test_hostile_text_cannot_drive_the_terminal(lab):
    web = instance(lab.pb, image="\033]0;owned\007\033[31m", status_reason="\033[2J")
    lab.manager.answers["InstanceService/List"] = lab.pb.ListInstancesResponse(instances=[web])
    lab.manager.answers["InstanceService/Get"] = web
    for args in (["list", "-c", "ir"], ["info", "web1"], ["list", "-f", "json"], ["list", "-f", "yaml"]):
        assert "\033" not in lab.run(*args)


# ---------------------------------------------------------------- on a terminal


def on_terminal(argv, env, cols=100, keys=b"", seconds=10, on_output=None):
    """Runs it on a pty. Returns (exit code, everything it wrote)."""
    import fcntl
    import struct
    import termios

    pid, fd = pty.fork()
    if pid == 0:
        os.execve(argv[0], argv, env)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 30, cols, 0, 0))
    if keys:
        os.write(fd, keys)
    out, end = b"", time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select([fd], [], [], 0.05)[0]:
            try:
                data = os.read(fd, 65536)
            except OSError:
                break
            out += data
            if on_output:
                on_output(out, pid, fd)
    status = os.waitpid(pid, 0)[1]
    os.close(fd)
    return os.waitstatus_to_exitcode(status), out.decode()


def test_colours_only_on_a_terminal(two):
    code, out = on_terminal([LXMGR, "list"], two.env)
    assert code == 0 and "\033[32mRUNNING" in out
    assert "\033" not in on_terminal([LXMGR, "list"], {**two.env, "NO_COLOR": "1"})[1]
    assert "\033" not in on_terminal([LXMGR, "list"], {**two.env, "TERM": "dumb"})[1]


def test_progress_on_a_terminal(lab):
    def slow(*steps):
        def watch(request, context):
            for step in steps:
                yield step
                time.sleep(0.3)
            yield from lab.manager.watch(request, context)

        return watch

    running = lab.pb.enum("OperationStatus", "OPERATION_STATUS_RUNNING")
    half = lab.pb.Operation(id="x", status=running, phase="unpack", progress_done=50 << 20, progress_total=100 << 20, progress_unit="bytes")
    lab.manager.answers["InstanceService/Create"] = lab.manager.operation()
    lab.manager.answers["OperationService/Watch"] = slow(half)
    code, out = on_terminal([LXMGR, "launch", "debian/12", "web1"], lab.env)
    assert code == 0
    assert re.search(r"[|/\\-] Launching web1: unpack \[#{10} {10}\]  50% 50MiB/100MiB", out), out
    assert out.rstrip().endswith("Launched web1") and "\r\033[K" in out
    # With --quiet there is nothing at all.
    assert on_terminal([LXMGR, "launch", "debian/12", "web1", "-q"], lab.env) == (0, "")


# ---------------------------------------------------------------- launch, create


def test_launch_request(lab):
    lab.manager.answers["InstanceService/Create"] = lab.manager.operation()
    lab.run(
        *"launch debian/12 web1 -p default -p small -c limits.memory=512MiB -c user.x=a=b --target node2".split(),
        *"-c user.empty= -n lxbr1".split(),
    )
    got = lab.request("InstanceService/Create")
    assert (got.name, got.image, got.start, got.target) == ("web1", "debian/12", True, "node2")
    assert list(got.profiles) == ["default", "small"] and not got.no_profiles
    assert dict(got.config) == {"limits.memory": "512MiB", "user.x": "a=b", "user.empty": ""}
    assert dict(got.devices["eth0"].options) == {"type": "nic", "network": "lxbr1"}
    assert re.fullmatch(r"[0-9a-f-]{36}", got.request_id)
    assert lab.said == "Launched web1\n"


def test_create_does_not_start(lab):
    lab.manager.answers["InstanceService/Create"] = lab.manager.operation()
    lab.run("init", "debian/12", "web1", "--no-profiles")
    got = lab.request("InstanceService/Create")
    assert not got.start and got.no_profiles and not got.profiles


def test_launch_device_overrides_options_of_the_profile(lab):
    pb = lab.pb
    root = pb.Device(options={"type": "disk", "path": "/", "size": "5GiB"})
    lab.manager.answers["ProfileService/Get"] = pb.Profile(name="default", devices={"root": root})
    lab.manager.answers["InstanceService/Create"] = lab.manager.operation()
    lab.run("launch", "debian/12", "web1", "-d", "root,size=20GiB", "-d", "data,type=disk,source=/srv,path=/data")
    devices = lab.request("InstanceService/Create").devices
    assert dict(devices["root"].options) == {"type": "disk", "path": "/", "size": "20GiB"}
    assert dict(devices["data"].options) == {"type": "disk", "source": "/srv", "path": "/data"}
    assert lab.request("ProfileService/Get").name == "default"


def test_launch_prints_the_name_the_manager_picked(lab):
    lab.manager.answers["InstanceService/Create"] = lab.manager.operation(subject="merry-otter")
    assert lab.run("launch", "busybox", "-q") == "merry-otter\n"
    assert lab.run("launch", "busybox") == "Launched merry-otter\n"


def test_launch_no_wait(lab):
    lab.manager.answers["InstanceService/Create"] = lab.manager.operation()
    out = lab.run("launch", "busybox", "web1", "--async").strip()
    assert out in lab.manager.operations and not lab.manager.requests("OperationService/Watch")


@pytest.mark.parametrize(
    "args",
    [
        ["launch"],
        ["launch", "a", "b", "c"],
        ["launch", "img", "web1", "-c", "novalue"],
        ["launch", "img", "web1", "-d", "root"],
        ["launch", "img", "web1", "-p", "x", "--no-profiles"],
        ["launch", "img", "web1", "--bogus"],
        ["launch", "img", "web1", "-c"],
        ["stop"],
        ["stop", "a", "--timeout", "soon"],
        ["stop", "a", "--all"],
        ["exec", "web1"],
        ["exec", "web1", "-t", "-T", "--", "true"],
        ["config", "set", "web1", "novalue", "x=y", "y=z"],
        ["config", "device", "add", "web1", "root"],
        ["file", "push", "x"],
        ["file", "push", "/dev/null", "nopath"],
        ["file", "create", "web1/x", "--type", "socket"],
        ["image", "export", "x", "--compression", "lzma"],
        ["node", "token", "--ttl", "never"],
        ["list", "--format", "xml"],
        ["frobnicate"],
        ["image"],
        ["image", "frobnicate"],
        ["completion", "zsh"],
    ],
)
def test_misspelt_is_exit_2(lab, args):
    lab.run(*args, code=2)
    assert lab.said.startswith(("Error: ", "Usage: lxmgr "))
    assert not lab.manager.seen


def test_bad_names_never_reach_the_manager(lab):
    for name in ("Web1", "-", "a" * 64, "1234", "web_1"):
        lab.run("launch", "debian/12", "--", name, code=1)
        assert "Error: " in lab.said and not lab.manager.seen


def test_nearest_verb_and_option(lab):
    lab.run("lanuch", "x", code=2)
    assert 'Did you mean "lxmgr launch"?' in lab.said
    lab.run("image", "lsit", code=2)
    assert 'Did you mean "lxmgr image list"?' in lab.said
    lab.run("stop", "web1", "--force1", code=2)
    assert "Did you mean --force?" in lab.said


def test_options_anywhere(lab):
    lab.manager.answers["InstanceService/Stop"] = lab.manager.operation()
    for args in (["-q", "stop", "--force", "web1"], ["stop", "web1", "-f", "-q"], ["stop", "-qf", "web1"]):
        lab.manager.seen.clear()
        lab.run(*args)
        assert lab.request("InstanceService/Stop").force


# ---------------------------------------------------------------- power, delete


@pytest.mark.parametrize(
    "verb, method",
    [
        ("start", "Start"),
        ("stop", "Stop"),
        ("restart", "Restart"),
        ("freeze", "Freeze"),
        ("pause", "Freeze"),
        ("unfreeze", "Unfreeze"),
        ("resume", "Unfreeze"),
        ("delete", "Delete"),
        ("rm", "Delete"),
    ],
)
def test_power(lab, verb, method):
    lab.manager.answers[f"InstanceService/{method}"] = lab.manager.operation()
    assert lab.run(verb, "web1", "web2") == "" and lab.said == ""
    got = lab.manager.requests(f"InstanceService/{method}")
    assert sorted(request.name for request in got) == ["web1", "web2"]
    assert len({request.request_id for request in got}) == 2 and not got[0].force


def test_stop_options(lab):
    lab.manager.answers["InstanceService/Stop"] = lab.manager.operation()
    lab.run("stop", "web1", "--timeout", "1m30s")
    assert lab.request("InstanceService/Stop").timeout_seconds == 90


def test_stop_all(two):
    two.manager.answers["InstanceService/Stop"] = two.manager.operation()
    two.run("stop", "--all", "--force")
    assert two.request("InstanceService/Stop").name == "web1"


def test_many_are_asked_for_at_once_over_one_connection(lab):
    peers = set()
    done = lab.manager.operation()
    together = threading.Barrier(4)

    def stop(request, context):
        peers.add(context.peer())
        together.wait(15)  # raises when the others do not come
        return done(request, context)

    lab.manager.answers["InstanceService/Stop"] = stop
    lab.run("stop", *[f"c{i}" for i in range(16)])
    assert len(lab.manager.requests("InstanceService/Stop")) == 16 and len(peers) == 1


def test_some_of_many_fail(lab):
    import grpc
    from fake_manager import Refusal

    good, bad = lab.manager.operation(), lab.manager.failing("the unit ssh does not stop", hint="Use --force.")

    def stop(request, context):
        if request.name == "gone":
            raise Refusal(grpc.StatusCode.NOT_FOUND, "there is no instance gone")
        return (bad if request.name == "stuck" else good)(request, context)

    lab.manager.answers["InstanceService/Stop"] = stop
    lab.run("stop", "web1", "gone", "stuck", code=1)
    lines = lab.said.splitlines()
    assert "Error: there is no instance gone" in lines
    assert "Error: stuck: the unit ssh does not stop" in lines and "Hint: Use --force." in lines
    assert lines[-1] == "Error: 2 of 3 failed"


def test_one_failure_has_its_hint(lab):
    lab.manager.answers["InstanceService/Start"] = lab.manager.failing("no room on node1: \033[31mfull", hint="Free some 100% now.")
    lab.run("start", "web1", code=1)
    assert lab.said == "Error: no room on node1:  [31mfull\nHint: Free some 100% now.\n"


def test_refusal_has_its_hint(lab):
    import grpc
    from fake_manager import Refusal

    def delete(request, context):
        raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, "web1 is running", "Stop it first, or use --force: äöü")

    lab.manager.answers["InstanceService/Delete"] = delete
    lab.run("delete", "web1", code=1)
    assert lab.said == "Error: web1 is running\nHint: Stop it first, or use --force: äöü\n"


def test_interrupt_detaches(lab):
    def forever(request, context):
        running = lab.pb.enum("OperationStatus", "OPERATION_STATUS_RUNNING")
        yield lab.pb.Operation(id=request.id, status=running, phase="create")
        while context.is_active():
            time.sleep(0.05)

    lab.manager.answers["InstanceService/Create"] = lab.manager.operation()
    lab.manager.answers["OperationService/Watch"] = forever
    p = lab.start("launch", "debian/12", "web1")
    while not lab.manager.requests("OperationService/Watch"):
        time.sleep(0.02)
    p.send_signal(signal.SIGINT)
    out, said = p.communicate(timeout=10)
    ident = next(iter(lab.manager.operations))
    assert p.returncode == 1 and "goes on in the background" in said.decode()
    assert f"lxmgr operation wait {ident}" in said.decode() and f"lxmgr operation cancel {ident}" in said.decode()
    assert not lab.manager.requests("OperationService/Cancel")


def test_plain_lines_of_progress(lab):
    def slow(request, context):
        running = lab.pb.enum("OperationStatus", "OPERATION_STATUS_RUNNING")
        for phase in ("fetch", "unpack"):
            yield lab.pb.Operation(id=request.id, status=running, phase=phase)
            time.sleep(1.3)
        yield from lab.manager.watch(request, context)

    lab.manager.answers["ImageService/Build"] = lab.manager.operation(result={"fingerprint": FINGERPRINT})
    lab.manager.answers["OperationService/Watch"] = slow
    lab.run("image", "build", "debian/12")
    assert lab.said == "Building debian/12: fetch\nBuilding debian/12: unpack\nBuilt debian/12: 3f2a77c01b9e\n"


def test_manager_restarts_while_waited_for(lab):
    """The connection breaks in the middle of a watch; operations survive that, and so does waiting."""
    broken = []

    def watch(request, context):
        if not broken:
            import grpc
            from fake_manager import Refusal

            broken.append(1)
            raise Refusal(grpc.StatusCode.UNAVAILABLE, "shutting down")
        yield from lab.manager.watch(request, context)

    lab.manager.answers["InstanceService/Start"] = lab.manager.operation()
    lab.manager.answers["OperationService/Watch"] = watch
    lab.run("start", "web1")
    assert len(lab.manager.requests("OperationService/Watch")) == 2


# ---------------------------------------------------------------- info, config, profiles


@pytest.fixture
def full(lab):
    pb = lab.pb
    lab.manager.answers["InstanceService/Get"] = instance(
        pb,
        config={"user.x": "1"},
        expanded_config={"user.x": "1", "limits.cpu": "2"},
        devices={"data": pb.Device(options={"type": "disk", "path": "/data"})},
        expanded_devices={
            "data": pb.Device(options={"type": "disk", "path": "/data"}),
            "root": pb.Device(options={"type": "disk", "path": "/"}),
        },
        origin={"user.x": "instance", "limits.cpu": "profile web", "device root": "profile default"},
    )
    lab.manager.answers["InstanceService/Update"] = pb.UpdateInstanceResponse(needs_restart=["boot.x"])
    return lab


def test_info(full):
    out = full.run("info", "web1")
    for line in ("Name: web1", "Status: RUNNING", "PID: 4711", "Profiles: default, web", "  Memory: 100MiB of 400MiB"):
        assert line in out.splitlines()
    assert "  limits.cpu: 2  (profile web)" in out and "  user.x: 1\n" in out
    assert "  root: type=disk path=/  (profile default)" in out or "  root: path=/ type=disk  (profile default)" in out
    doc = json.loads(full.run("info", "web1", "--format", "json"))
    assert doc["expanded_config"]["limits.cpu"] == "2" and doc["nics"][0]["ipv4"] == "10.88.0.7/16"


def test_config_get_and_show(full):
    assert full.run("config", "get", "web1", "limits.cpu") == "\n"
    assert full.run("config", "get", "web1", "limits.cpu", "-e") == "2\n"
    assert full.run("config", "show", "web1") == (
        "name: web1\nprofiles:\n- default\n- web\nconfig:\n  user.x: \"1\"\n"
        "devices:\n  data:\n    path: /data\n    type: disk\n"
    )
    assert "origin:" in full.run("config", "show", "web1", "--expanded")


def test_config_set_and_unset(full):
    full.run("config", "set", "web1", "limits.memory=1GiB", "user.y=a=b")
    assert dict(full.request("InstanceService/Update").set_config) == {"limits.memory": "1GiB", "user.y": "a=b"}
    assert "boot.x takes effect when web1 is restarted" in full.said
    full.manager.seen.clear()
    full.run("config", "set", "web1", "limits.memory", "1GiB")
    assert dict(full.request("InstanceService/Update").set_config) == {"limits.memory": "1GiB"}
    full.manager.seen.clear()
    full.run("config", "unset", "web1", "limits.memory", "user.y")
    assert list(full.request("InstanceService/Update").unset_config) == ["limits.memory", "user.y"]


def test_config_edit_from_stdin(full):
    full.run("config", "edit", "web1", stdin="config:\n  limits.cpu: 4\nprofiles: [default]\ndevices: {}\n")
    got = full.request("InstanceService/Update")
    assert dict(got.set_config) == {"limits.cpu": "4"} and list(got.unset_config) == ["user.x"]
    assert list(got.remove_devices) == ["data"] and list(got.profiles) == ["default"] and got.replace_profiles


@pytest.mark.parametrize(
    "text, why",
    [
        ("conifg: {}\n", 'Did you mean "config"?'),
        ("config: [a]\n", "config must be a map"),
        ("config: {a: {b: c}}\n", "the value of a must be text"),
        ("config: {a: 1, a: 2}\n", "line 1, column 16: this key is there already"),
        ("a: &x 1\nb: *x\n", "references"),
        ("config: {\n", "line 2"),
        ("- a\n", "must be a map"),
        ("x: " + "[" * 40 + "]" * 40, "nested too deeply"),
    ],
)
def test_bad_documents(full, text, why):
    full.run("config", "edit", "web1", stdin=text, code=1)
    assert why in full.said and not full.manager.requests("InstanceService/Update")


def test_config_edit_in_an_editor(full, tmp_path):
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/user.x:.*/user.x: changed/' \"$1\"\n")
    editor.chmod(0o755)
    code, out = on_terminal([LXMGR, "config", "edit", "web1"], {**full.env, "EDITOR": str(editor), "TMPDIR": str(tmp_path)})
    assert code == 0, out
    assert dict(full.request("InstanceService/Update").set_config) == {"user.x": "changed"}
    assert os.listdir(tmp_path) == ["editor"]
    code, out = on_terminal([LXMGR, "config", "edit", "web1"], {**full.env, "EDITOR": "true", "TMPDIR": str(tmp_path)})
    assert code == 0 and "Nothing was changed" in out
    code, out = on_terminal([LXMGR, "config", "edit", "web1"], {**full.env, "EDITOR": "false", "TMPDIR": str(tmp_path)})
    assert code == 1 and 'the editor "false" failed' in out


def test_config_devices(full):
    update = lambda: full.manager.requests("InstanceService/Update")[-1]  # noqa: E731
    assert full.run("config", "device", "list", "web1") == "data\n"
    assert full.run("config", "device", "get", "web1", "data", "path") == "/data\n"
    assert "root" in full.run("config", "device", "show", "web1", "--expanded")
    full.run("config", "device", "add", "web1", "eth1", "nic", "network=lxbr1")
    assert dict(update().set_devices["eth1"].options) == {"type": "nic", "network": "lxbr1"}
    full.run("config", "device", "set", "web1", "data", "path=/srv", "readonly=true")
    assert dict(update().set_devices["data"].options) == {"type": "disk", "path": "/srv", "readonly": "true"}
    full.run("config", "device", "unset", "web1", "data", "path")
    assert dict(update().set_devices["data"].options) == {"type": "disk"}
    full.run("config", "device", "override", "web1", "root", "size=9GiB")
    assert dict(update().set_devices["root"].options) == {"type": "disk", "path": "/", "size": "9GiB"}
    full.run("config", "device", "remove", "web1", "data")
    assert list(update().remove_devices) == ["data"]
    full.run("config", "device", "set", "web1", "root", "size=1GiB", code=1)
    assert "comes from a profile" in full.said and "device override web1 root" in full.said
    full.run("config", "device", "remove", "web1", "nope", code=1)
    assert "web1 has no device nope" in full.said
    full.run("config", "device", "add", "web1", "data", "disk", code=1)
    assert "already" in full.said


def test_config_keys(lab):
    key = lab.pb.ConfigKey(name="limits.memory", type="size", scope="live", help="how much", applies_to="instance")
    lab.manager.answers["ProfileService/ListKeys"] = lab.pb.ListKeysResponse(keys=[key, lab.pb.ConfigKey(name="boot.x")])
    assert "limits.memory" in lab.run("config", "keys")
    assert [k["name"] for k in json.loads(lab.run("config", "keys", "limits.", "-f", "json"))] == ["limits.memory"]


@pytest.fixture
def profiles(lab):
    pb = lab.pb
    web = pb.Profile(
        name="web",
        description="web servers",
        config={"limits.cpu": "2", "user.on": "yes"},
        devices={"root": pb.Device(options={"type": "disk", "path": "/"})},
        used_by=["web1"],
        revision=7,
    )
    lab.manager.answers.update(
        {
            "ProfileService/Get": web,
            "ProfileService/List": pb.ListProfilesResponse(profiles=[web]),
            "ProfileService/Create": lambda request, context: request,
            "ProfileService/Update": pb.UpdateProfileResponse(needs_restart=["web1"]),
            "ProfileService/Delete": pb.DeleteProfileResponse(),
            "ProfileService/Rename": web,
        }
    )
    return lab


def test_profiles(profiles):
    lab, last = profiles, lambda method: profiles.manager.requests(f"ProfileService/{method}")[-1]
    assert lab.run("profile", "list").splitlines()[1].split() == ["web", "web", "servers", "1"]
    assert '  limits.cpu: "2"\n  user.on: "yes"\n' in lab.run("profile", "show", "web")
    lab.run("profile", "create", "small", "limits.cpu=1", "--description", "little")
    assert (last("Create").name, last("Create").description, dict(last("Create").config)) == ("small", "little", {"limits.cpu": "1"})
    lab.run("profile", "set", "web", "limits.memory=1GiB")
    assert dict(last("Update").config) == {"limits.cpu": "2", "user.on": "yes", "limits.memory": "1GiB"}
    assert last("Update").revision == 7 and "web1 needs a restart" in lab.said
    lab.run("profile", "unset", "web", "limits.cpu")
    assert dict(last("Update").config) == {"user.on": "yes"}
    assert lab.run("profile", "get", "web", "limits.cpu") == "2\n"
    lab.run("profile", "device", "add", "web", "eth0", "nic", "network=lxbr0")
    assert dict(last("Update").devices["eth0"].options) == {"type": "nic", "network": "lxbr0"} and "root" in last("Update").devices
    lab.run("profile", "device", "remove", "web", "root")
    assert not last("Update").devices
    lab.run("profile", "device", "set", "web", "root", "size=1GiB")
    assert dict(last("Update").devices["root"].options) == {"type": "disk", "path": "/", "size": "1GiB"}
    lab.run("profile", "copy", "web", "web2")
    assert last("Create").name == "web2" and last("Create").revision == 0 and "root" in last("Create").devices
    lab.run("profile", "rename", "web", "www")
    assert (last("Rename").name, last("Rename").new_name) == ("web", "www")
    lab.run("profile", "delete", "web")
    assert last("Delete").name == "web"


def test_profile_show_can_be_created_from(profiles, tmp_path):
    (tmp_path / "p.yaml").write_text(profiles.run("profile", "show", "web"))
    profiles.run("profile", "create", "copy", "--file", str(tmp_path / "p.yaml"))
    got = profiles.request("ProfileService/Create")
    assert dict(got.config) == {"limits.cpu": "2", "user.on": "yes"} and got.description == "web servers"
    assert dict(got.devices["root"].options) == {"type": "disk", "path": "/"}


def test_profile_change_is_retried_when_somebody_was_faster(profiles):
    import grpc
    from fake_manager import Refusal

    tries = []

    def update(request, context):
        tries.append(1)
        if len(tries) < 3:
            raise Refusal(grpc.StatusCode.ABORTED, "the profile changed")
        return profiles.pb.UpdateProfileResponse()

    profiles.manager.answers["ProfileService/Update"] = update
    profiles.run("profile", "set", "web", "limits.cpu=3")
    assert len(tries) == 3 and len(profiles.manager.requests("ProfileService/Get")) == 3


def test_profile_edit_from_stdin(profiles):
    profiles.run("profile", "edit", "web", stdin="description: new\nconfig: {a.b: c}\n")
    got = profiles.request("ProfileService/Update")
    assert (got.name, got.description, dict(got.config), len(got.devices), got.revision) == ("web", "new", {"a.b": "c"}, 0, 7)


def test_profiles_of_an_instance(full):
    update = lambda: full.manager.requests("InstanceService/Update")[-1]  # noqa: E731
    full.run("profile", "add", "web1", "small")
    assert list(update().profiles) == ["default", "web", "small"] and update().replace_profiles
    full.run("profile", "remove", "web1", "default")
    assert list(update().profiles) == ["web"]
    full.run("profile", "assign", "web1", "default,small")
    assert list(update().profiles) == ["default", "small"]
    full.run("profile", "apply", "web1", "")
    assert not update().profiles and update().replace_profiles
    full.run("profile", "remove", "web1", "small", code=1)
    full.run("profile", "add", "web1", "web", code=1)


# ---------------------------------------------------------------- images


@pytest.fixture
def images(lab):
    pb = lab.pb
    image = pb.Image(
        fingerprint=FINGERPRINT,
        aliases=["debian/12", "stable"],
        description="Debian 12",
        architecture="x86_64",
        size_bytes=90 << 20,
        imported_at_ns=T0,
        nodes=["node1"],
        properties={"os": "debian"},
    )
    lab.manager.answers.update(
        {
            "ImageService/List": pb.ListImagesResponse(images=[image]),
            "ImageService/Get": image,
            "ImageService/Update": image,
            "ImageService/Delete": lab.manager.operation(),
            "ImageService/Build": lab.manager.operation(result={"fingerprint": FINGERPRINT}),
        }
    )
    lab.image = image
    return lab


def test_images(images):
    lab, last = images, lambda method: images.manager.requests(f"ImageService/{method}")[-1]
    out = lab.run("image", "list", "debian/*")
    assert list(last("List").filters) == ["debian/*"]
    assert "3f2a77c01b9e" in out and "90MiB" in out and T0_TEXT in out
    assert json.loads(lab.run("image", "ls", "-f", "json"))[0]["aliases"] == ["debian/12", "stable"]
    assert "fingerprint: " in lab.run("image", "show", "debian/12")
    lab.run("image", "build", "debian/13", "--alias", "web", "--package", "nginx", "--mirror", "http://m", "--reuse", "--target", "n2")
    got = last("Build")
    assert (got.template, list(got.aliases), list(got.packages), got.mirror, got.node, got.move_aliases) == (
        "debian/13", ["web"], ["nginx"], "http://m", "n2", True,
    )  # fmt: skip
    lab.run("image", "delete", "a", "b", "--force")
    assert sorted(r.image for r in lab.manager.requests("ImageService/Delete")) == ["a", "b"] and last("Delete").force
    lab.run("image", "alias", "create", "x", "debian/12", "--reuse")
    assert (last("Update").image, list(last("Update").add_aliases), last("Update").move_aliases) == ("debian/12", ["x"], True)
    lab.run("image", "alias", "delete", "stable")
    assert (last("Update").image, list(last("Update").remove_aliases)) == ("stable", ["stable"])
    lab.run("image", "alias", "rename", "stable", "old")
    assert (list(last("Update").remove_aliases), list(last("Update").add_aliases)) == (["stable"], ["old"])
    assert len(lab.run("image", "alias", "list").splitlines()) == 3
    lab.run("image", "set-property", "debian/12", "owner=me")
    assert dict(last("Update").set_properties) == {"owner": "me"}
    lab.run("image", "unset-property", "debian/12", "owner")
    assert list(last("Update").unset_properties) == ["owner"]
    assert lab.run("image", "get-property", "debian/12", "os") == "debian\n"
    lab.run("image", "edit", "debian/12", stdin="properties: {release: 12}\n")
    assert dict(last("Update").set_properties) == {"release": "12"} and list(last("Update").unset_properties) == ["os"]


def test_image_import(images, tmp_path):
    got = []

    def take(requests, context):
        for request in requests:
            got.append(request)
        yield images.pb.ImportImageResponse(progress=images.pb.Operation(phase="unpack"))
        yield images.pb.ImportImageResponse(image=images.image)

    images.manager.answers["ImageService/Import"] = take
    meta, rootfs = os.urandom(1000), os.urandom(3_000_001)
    (tmp_path / "meta.tar").write_bytes(meta)
    (tmp_path / "rootfs.sqfs").write_bytes(rootfs)
    out = images.run("image", "import", "meta.tar", "rootfs.sqfs", "os=alpine", "--alias", "alpine", cwd=tmp_path)
    assert out == FINGERPRINT + "\n"
    start = got[0].start
    assert (start.size, start.rootfs_size, start.split, list(start.aliases)) == (1000, 3_000_001, True, ["alpine"])
    assert dict(start.properties) == {"os": "alpine"} and start.request_id
    parts = [b"", b""]
    part = 0
    for request in got[1:]:
        if request.WhichOneof("what") == "next_part":
            part += 1
        else:
            assert len(request.data) <= 256 << 10
            parts[part] += request.data
    assert parts == [meta, rootfs]
    got.clear()
    images.run("image", "import", str(tmp_path / "meta.tar"), "os=x")
    assert not got[0].start.split and b"".join(r.data for r in got[1:]) == meta
    images.run("image", "import", str(tmp_path / "nothing"), code=1)
    assert "No such file" in images.said


def test_image_import_refused_early(images, tmp_path):
    """The manager does not wait for the end of what it will not have."""
    import grpc
    from fake_manager import Refusal

    def refuse(requests, context):
        next(requests)
        raise Refusal(grpc.StatusCode.ALREADY_EXISTS, "the alias alpine is taken", "Use --reuse.")
        yield

    images.manager.answers["ImageService/Import"] = refuse
    with open(tmp_path / "big", "wb") as f:
        f.truncate(64 << 20)
    images.run("image", "import", str(tmp_path / "big"), "--alias", "alpine", code=1)
    assert images.said == "Error: the alias alpine is taken\nHint: Use --reuse.\n"


def test_image_export(images, tmp_path):
    data = os.urandom(2_000_000)

    def give(request, context):
        yield images.pb.ExportImageResponse(image=images.image)
        for at in range(0, len(data), 65536):
            yield images.pb.ExportImageResponse(data=data[at : at + 65536])
        if request.image == "broken":
            import grpc
            from fake_manager import Refusal

            raise Refusal(grpc.StatusCode.DATA_LOSS, "the node went away")

    images.manager.answers["ImageService/Export"] = give
    out = images.run("image", "export", "debian/12", cwd=tmp_path).strip()
    assert out == f"./{FINGERPRINT}.tar.zst" and (tmp_path / out).read_bytes() == data
    images.run("image", "export", "debian/12", "x.tar", "--compression", "none", cwd=tmp_path)
    assert (tmp_path / "x.tar").read_bytes() == data and (tmp_path / "x.tar").stat().st_mode & 0o777 == 0o644
    images.run("image", "export", "debian/12", "-")
    assert images.raw == data
    before = sorted(os.listdir(tmp_path))
    images.run("image", "export", "broken", "y.tar", cwd=tmp_path, code=1)
    assert sorted(os.listdir(tmp_path)) == before


# ---------------------------------------------------------------- networks, nodes, operations, events


def test_networks(lab):
    pb, last = lab.pb, lambda method: lab.manager.requests(f"NetworkService/{method}")[-1]
    net = pb.Network(name="lxbr0", config={"ipv4.address": "10.88.0.1/16", "dns.domain": "lx"}, used_by=["web1"], status="up")
    lease = pb.Lease(network="lxbr0", instance="web1", nic="eth0", hwaddr="00:16:3e:00:00:01", ipv4="10.88.0.7", node="node1")
    lab.manager.answers.update(
        {
            "NetworkService/List": pb.ListNetworksResponse(networks=[net]),
            "NetworkService/Get": net,
            "NetworkService/Create": lambda request, context: request,
            "NetworkService/Update": net,
            "NetworkService/Delete": pb.DeleteNetworkResponse(),
            "NetworkService/ListLeases": pb.ListLeasesResponse(leases=[lease]),
        }
    )
    assert lab.run("network", "list").splitlines()[1].split() == ["lxbr0", "10.88.0.1/16", "-", "-", "1", "up"]
    assert "ipv4.address: \"10.88.0.1/16\"" in lab.run("network", "show", "lxbr0")
    lab.run("network", "create", "lxbr1", "ipv4.nat=false", "--description", "dmz")
    assert (last("Create").name, last("Create").description, dict(last("Create").config)) == ("lxbr1", "dmz", {"ipv4.nat": "false"})
    lab.run("network", "set", "lxbr0", "ipv4.nat=false")
    assert dict(last("Update").set_config) == {"ipv4.nat": "false"} and not last("Update").set_description
    lab.run("network", "set", "lxbr0", "--description", "main")
    assert last("Update").description == "main" and last("Update").set_description
    lab.run("network", "unset", "lxbr0", "dns.domain")
    assert list(last("Update").unset_config) == ["dns.domain"]
    assert lab.run("network", "get", "lxbr0", "dns.domain") == "lx\n"
    lab.run("network", "edit", "lxbr0", stdin="config: {ipv4.address: 10.1.0.1/24}\n")
    assert dict(last("Update").set_config) == {"ipv4.address": "10.1.0.1/24"} and list(last("Update").unset_config) == ["dns.domain"]
    assert lab.run("network", "leases", "lxbr0", "-f", "csv") == "web1,eth0,10.88.0.7,,00:16:3e:00:00:01,lxbr0,node1\n"
    lab.run("network", "delete", "lxbr1")
    assert last("Delete").name == "lxbr1"


def test_nodes(lab):
    pb = lab.pb
    facts = pb.NodeFacts(version="0.1.0", cpus=2, memory_bytes=4 << 30, memory_free_bytes=1 << 30, warnings=["no AppArmor"])
    node = pb.Node(name="node1", address="10.0.0.1:8444", status=1, facts=facts, instances=3)
    lab.manager.answers.update(
        {
            "NodeService/List": pb.ListNodesResponse(nodes=[node]),
            "NodeService/Get": node,
            "NodeService/CreateToken": pb.JoinToken(token="tok-en", expires_at_ns=T0),
            "NodeService/Remove": pb.RemoveNodeResponse(),
        }
    )
    assert "ONLINE" in lab.run("node", "list") and "1GiB of 4GiB free" in lab.run("node", "list")
    assert "warnings:\n- no AppArmor\n" in lab.run("node", "show", "node1") and "Warning: node1: no AppArmor" in lab.said
    assert lab.run("node", "token", "node2", "--ttl", "10m", "-q") == "tok-en\n" and lab.said == ""
    got = lab.request("NodeService/CreateToken")
    assert (got.name, got.ttl_seconds) == ("node2", 600)
    assert lab.run("node", "token") == "tok-en\n" and T0_TEXT in lab.said
    lab.run("node", "remove", "node1", "--force")
    assert lab.request("NodeService/Remove").name == "node1" and lab.request("NodeService/Remove").force


def test_operations(lab):
    pb, ident = lab.pb, "3fa4c1d2-0000-4000-8000-000000000000"
    op = pb.Operation(id=ident, kind="instance.launch", subject="web1", status=2, phase="unpack", progress_done=1, progress_total=4, created_at_ns=T0)
    lab.manager.answers.update(
        {
            "OperationService/List": pb.ListOperationsResponse(operations=[op]),
            "OperationService/Get": op,
            "OperationService/Cancel": op,
        }
    )
    assert lab.run("operation", "list", "-a", "--limit", "5").splitlines()[1].split() == [
        "3fa4c1d2", "instance.launch", "web1", "RUNNING", "unpack", "25%", "-", T0_TEXT,
    ]  # fmt: skip
    got = lab.request("OperationService/List")
    assert got.all and got.limit == 5
    assert "phase: unpack" in lab.run("operation", "show", "3fa4")
    lab.run("operation", "cancel", "3fa4", "3fa5")
    assert [r.id for r in lab.manager.requests("OperationService/Cancel")] == ["3fa4", "3fa5"]
    lab.manager.operations[ident] = [pb.Operation(id=ident, status=3)]
    lab.run("operation", "wait", "3fa4c1d2")
    lab.manager.operations[ident] = [pb.Operation(id=ident, status=5)]
    lab.run("operation", "wait", "3fa4c1d2", code=1)
    assert "cancelled" in lab.said
    lab.run("operation", "wait", "beef", code=1)
    assert "there is no operation beef" in lab.said


def test_events(lab):
    def watch(request, context):
        yield lab.pb.Event(time_ns=T0, type="lifecycle", action="instance-started", subject="web1", node="node1", fields={"a": "b\033"})

    lab.manager.answers["EventService/Watch"] = watch
    assert lab.run("events", "--type", "lifecycle") == f"{T0_TEXT} lifecycle instance-started web1 node=node1 a=b?\n"
    assert list(lab.request("EventService/Watch").types) == ["lifecycle"]
    assert json.loads(lab.run("monitor", "--format", "json"))["action"] == "instance-started"


def test_events_end_with_their_reader(lab):
    def watch(request, context):
        while context.is_active():
            yield lab.pb.Event(time_ns=T0, type="node", action="node-online", subject="node1")
            time.sleep(0.01)

    lab.manager.answers["EventService/Watch"] = watch
    p = lab.start("events")
    assert p.stdout.readline()
    p.stdout.close()
    assert p.wait(timeout=10) == 1 and p.stderr.read() == b""


def test_version(lab):
    version = open(f"{TOP}/VERSION").read().strip()
    lab.manager.answers["SystemService/Info"] = lab.pb.SystemInfo(version="9.9", api="lxmgr.v1", user="root")
    doc = json.loads(lab.run("version", "-f", "json"))
    assert (doc["client"], doc["manager"], doc["user"]) == (version, "9.9", "root")
    assert lab.run("--version") == f"lxmgr {version}\n"


# ---------------------------------------------------------------- no manager


def test_no_manager(tmp_path, lab):
    lab.run("list", code=1, env={"LXMGR_SOCKET": str(tmp_path / "none")})
    assert f"there is no socket {tmp_path}/none" in lab.said and "Hint: Is lxmgrd running?" in lab.said
    lab.run("--socket", str(tmp_path / "none2"), "list", code=1)
    assert "none2" in lab.said
    import socket

    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(tmp_path / "dead"))
    lab.run("list", code=1, env={"LXMGR_SOCKET": str(tmp_path / "dead")})
    assert f"nobody answers on {tmp_path}/dead" in lab.said
    lab.run("list", code=1, env={"LXMGR_SOCKET": "/" + "x" * 200})
    assert "too long for a socket" in lab.said
    lab.run("stop", "a", "b", code=1, env={"LXMGR_SOCKET": str(tmp_path / "none")})
    assert "Error: 2 of 2 failed" in lab.said
    assert "client: " in lab.run("version", code=1, env={"LXMGR_SOCKET": str(tmp_path / "none")})


@pytest.fixture
def pki(tmp_path):
    """A CA, a manager, an agent and an admin, as files NAME.crt and NAME.key."""

    def openssl(*args):
        subprocess.run(("openssl", *args), cwd=tmp_path, check=True, capture_output=True, timeout=20)

    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl(*new, "-x509", "-days", "2", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.crt")
    (tmp_path / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
    for name, unit in (("manager", "manager"), ("agent", "agent"), ("admin", "admin")):
        openssl(*new, "-subj", f"/OU={unit}/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl(
            *("x509", "-req", "-days", "2", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"),
            *("-extfile", "ext", "-out", f"{name}.crt"),
        )
    return tmp_path


def test_remote(lab, pki):
    """Over TLS with certificates on both sides; and only to a manager, not to any node of the cluster."""
    import grpc
    from fake_manager import FakeManager

    def serve(name):
        pem = lambda path: (pki / path).read_bytes()  # noqa: E731
        credentials = grpc.ssl_server_credentials([(pem(f"{name}.key"), pem(f"{name}.crt"))], pem("ca.crt"), True)
        server = FakeManager(lab.pb, None, credentials)
        server.answers["InstanceService/List"] = lab.pb.ListInstancesResponse(instances=[instance(lab.pb)])
        return server

    options = ["--cert", f"{pki}/admin.crt", "--key", f"{pki}/admin.key", "--ca", f"{pki}/ca.crt"]
    manager, agent = serve("manager"), serve("agent")
    try:
        assert "web1" in lab.run("--remote", f"127.0.0.1:{manager.port}", *options, "list", env={"LXMGR_SOCKET": ""})
        env = {"LXMGR_SOCKET": "", "LXMGR_REMOTE": f"127.0.0.1:{manager.port}", "LXMGR_CERT": f"{pki}/admin.crt"}
        assert "web1" in lab.run("list", env={**env, "LXMGR_KEY": f"{pki}/admin.key", "LXMGR_CA": f"{pki}/ca.crt"})
        lab.run("--remote", f"127.0.0.1:{agent.port}", *options, "list", code=1)
        assert not agent.seen and lab.said.startswith("Error: ")
        lab.run("--remote", "127.0.0.1:1", *options, "list", code=1)
        assert "Hint: Is lxmgrd running there" in lab.said
    finally:
        manager.stop()
        agent.stop()


def test_remote_needs_a_certificate(lab):
    env = {k: v for k, v in lab.env.items() if k != "LXMGR_SOCKET"}
    done = subprocess.run([LXMGR, "list"], env={**env, "LXMGR_REMOTE": "127.0.0.1:1"}, capture_output=True, text=True)
    assert done.returncode == 1 and "connecting to 127.0.0.1:1 needs --cert" in done.stderr


def test_the_program_for_remotes_is_missing(lab, tmp_path):
    lab.run("--remote", "127.0.0.1:1", "list", code=1, env={"LXMGR_LIBEXEC": str(tmp_path)})
    assert f"cannot start lxmgr-remote from {tmp_path}" in lab.said and "Hint: " in lab.said


def test_a_socket_needs_no_openssl():
    """Which takes longer to load than most commands take."""
    linked = subprocess.run(["ldd", LXMGR], capture_output=True, text=True, check=True).stdout
    assert "libnghttp2" in linked and "libcrypto" not in linked


def test_output_that_cannot_be_written(two):
    with open("/dev/full", "w") as full:
        done = subprocess.run([LXMGR, "list"], env=two.env, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1 and "No space left on device" in done.stderr


# ---------------------------------------------------------------- help, completion, manual


def verbs(lab):
    text = open(f"{TOP}/docs/man/lxmgr.1").read()
    return [re.split(r" (?=[A-Z\[]|\\-|bash)", line[10:])[0] for line in text.splitlines() if line.startswith(".Ss lxmgr ")]


def test_every_verb_has_help_with_examples(lab):
    names = verbs(lab)
    assert len(names) > 70 and "config device add" in names and "dev up" in names
    for name in names:
        out = lab.run(*name.replace("\\-", "-").split(), "--help")
        assert out.startswith(f"Usage: lxmgr {name}".replace("\\-", "-")) and "\nExamples:\n  lxmgr" in out or "Examples:" in out, name
        assert max(len(line) for line in out.split("Examples:")[0].splitlines()[1:]) <= 80, name
    assert lab.run("help", "image", "alias").startswith("Usage: lxmgr image alias VERB")
    assert not lab.manager.seen


def test_manual_page_is_current(lab):
    """Anew: lxmgr __manpage > docs/man/lxmgr.1"""
    assert lab.run("__manpage") == open(f"{TOP}/docs/man/lxmgr.1").read()


def test_manual_page_of_the_keys_is_current():
    """Anew: lxmgrd --keys-manual > docs/man/lxmgr-config.7"""
    made = subprocess.run([os.path.join(os.path.dirname(LXMGR), "lxmgrd"), "--keys-manual"], capture_output=True, text=True)
    assert made.stdout == open(f"{TOP}/docs/man/lxmgr-config.7").read()


def complete(lab, *words):
    return lab.run("__complete", "--", *words).split()


def test_completion_of_words(lab):
    assert complete(lab, "la") == ["launch"]
    assert {"image", "launch", "config"} <= set(complete(lab, ""))
    assert complete(lab, "config", "device", "ov") == ["override"]
    assert "--force" in complete(lab, "stop", "--f")
    assert complete(lab, "list", "--format", "j") == ["json"]
    assert complete(lab, "image", "build", "deb") == ["debian/12", "debian/13", "debian/sid"]
    assert complete(lab, "exec", "web1", "--", "ls") == []
    assert "__complete" not in complete(lab, "")


def test_completion_of_live_names(two, images, profiles):
    assert complete(two, "stop", "") == ["web1", "db"]
    assert complete(two, "stop", "web1", "d") == ["db"]
    assert complete(two, "launch", "") == ["debian/12", "stable"]
    assert complete(two, "profile", "show", "") == ["web"]
    assert complete(two, "launch", "debian/12", "x", "-p", "") == ["web"]
    assert two.run("__complete", "--", "stop", "", env={"LXMGR_SOCKET": "/nonexistent"}) == ""


def test_completion_script(two, tmp_path):
    script = two.run("completion", "bash")
    assert script == open(f"{TOP}/packaging/completion/lxmgr.bash").read()
    test = script + f"""
lxmgr() {{ {LXMGR} "$@"; }}
COMP_WORDS=(lxmgr stop w) COMP_CWORD=2
_lxmgr
echo "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "--norc", "-c", test], env=two.env, capture_output=True, text=True, timeout=10)
    assert done.stdout == "web1\n", done.stderr


# ---------------------------------------------------------------- cost


def test_list_of_200_is_cheap(lab):
    """Page faults are most of what it costs: this catches a library too many, or memory by the instance."""
    many = lab.pb.ListInstancesResponse(instances=[instance(lab.pb, f"web{i}") for i in range(200)])
    lab.manager.answers["InstanceService/List"] = many
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
    lab.run("list")
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt - before < 320
