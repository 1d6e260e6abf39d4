"""The agent (agent/), called as the manager calls it.

Busybox guests on a bridge of the test's own; see agent/agentlab.py.
"""

import concurrent.futures
import contextlib
import io
import os
import queue
import random
import signal
import subprocess
import sys
import tarfile
import threading
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "agent"))
import agentlab  # noqa: E402
from agentlab import alive, wait_for  # noqa: E402

WHY_NOT = agentlab.missing()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))


@pytest.fixture(scope="module")
def pb(tmp_path_factory):
    return agentlab.load_protos(str(tmp_path_factory.mktemp("agent-protos")))


@pytest.fixture(scope="module")
def whole_lab(pb):
    lab = agentlab.Lab(pb)
    try:
        lab.start()
        lab.build_busybox()
        yield lab
    finally:
        lab.close()


@pytest.fixture
def lab(whole_lab):
    """The agent runs before each test, whatever the one before did to it."""
    if not whole_lab.running():
        whole_lab.start()
    return whole_lab


@pytest.fixture
def name(lab):
    """A new instance's name; whatever became of it is deleted, and nothing may be left."""
    name = lab.new_name()
    yield name
    if not lab.running():
        lab.start()
    lab.delete(name)
    wait_for(lambda: lab.left(name) == [])
    assert not os.path.exists(f"{lab.state}/instances/{name}")


@pytest.fixture
def watch(lab):
    watch = lab.watch(heartbeat_ms=60000)
    watch.next()
    yield watch
    watch.close()


@pytest.fixture
def web(lab, name):
    """A running guest."""
    lab.create(name)
    return name


def fails(code, *words):
    """The call fails with that code, and message or hint name all that they should."""
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


def settled(pid):
    """Waits until the guest's init sits in a sleep of its own: before, it would miss signals."""

    def sleeps():
        with open(f"/proc/{pid}/cmdline", "rb") as f, open(f"/proc/{pid}/wchan", encoding="ascii") as w:
            return b"init" in f.read().split(b"\0", 1)[0] and w.read() not in ("", "0")

    wait_for(sleeps)
    time.sleep(0.1)
    wait_for(sleeps)


STUBBORN = "#!/bin/sh\ntrap 'echo no' TERM USR1 USR2 PWR INT\nwhile :; do sleep 1000; done\n"


def stubborn(lab, name, **spec):
    """A running guest whose init hears that it should shut down, and does not."""
    lab.create(name, start=False, **spec)
    init = f"{lab.state}/instances/{name}/upper/sbin/init"
    os.makedirs(os.path.dirname(init), exist_ok=True)
    with open(init, "w", encoding="ascii") as f:
        f.write(STUBBORN)
    os.chmod(init, 0o755)
    pid = lab.verb("Start", name).pid

    def listens():
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            caught = int(next(line for line in f if line.startswith("SigCgt")).split()[1], 16)
        return caught & 1 << (signal.SIGPWR - 1)

    wait_for(listens)


# ---------------------------------------------------------------- watching


def test_snapshot_tells_what_the_node_is(lab):
    snapshot = lab.snapshot()
    assert snapshot.node == "node1"
    assert [i.fingerprint for i in snapshot.images] == [lab.image]
    facts = snapshot.facts
    assert facts.cpus == os.cpu_count()
    assert facts.kernel == os.uname().release and facts.architecture == os.uname().machine
    assert facts.memory_bytes > facts.memory_free_bytes > 0
    assert facts.disk_bytes > facts.disk_free_bytes > 0
    assert facts.lxc_version and facts.version
    assert facts.cgroup_layout in ("v1", "v2", "hybrid")
    assert facts.features["overlay"] == facts.features["idmapped-mounts"] == "yes"
    if facts.lsm == "none":
        assert any("AppArmor" in w for w in facts.warnings)


def test_heartbeats_come(lab):
    watch = lab.watch(heartbeat_ms=400)
    watch.next()
    for _ in range(3):
        assert watch.until(lambda e: e.WhichOneof("what") == "heartbeat", 5).heartbeat.time_ns > 0
    watch.close()


def test_usage_is_told_when_it_changes(lab, web):
    watch = lab.watch(usage_interval_ms=200, heartbeat_ms=60000)
    usage = watch.until(
        lambda e: e.WhichOneof("what") == "usage" and any(r.name == web for r in e.usage.reports)
    ).usage
    usage = next(r.usage for r in usage.reports if r.name == web)
    assert usage.memory_bytes > 0 and usage.processes >= 1 and usage.cpu_ns > 0
    # Idle: silence. Busy: more processor time.
    time.sleep(0.5)
    lab.sh(web, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
    later = watch.until(
        lambda e: e.WhichOneof("what") == "usage"
        and any(r.name == web and r.usage.cpu_ns > usage.cpu_ns for r in e.usage.reports)
    )
    assert later
    watch.close()
    # Watchers that come later find it in their snapshot.
    assert lab.instance(web).usage.memory_bytes > 0


# ---------------------------------------------------------------- images


def tarball(files):
    """Of {path: bytes, or None for a directory}."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for path, data in files.items():
            info = tarfile.TarInfo(path)
            info.mode = 0o755
            if data is None:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            else:
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


METADATA = b"architecture: x86_64\ncreation_date: 1700000000\nproperties:\n  description: A test\n  os: test\n"


def unified(extra=b""):
    return tarball(
        {
            "metadata.yaml": METADATA,
            "rootfs": None,
            "rootfs/sbin": None,
            "rootfs/sbin/init": b"#!/bin/sh\n",
            "rootfs/etc": None,
            "rootfs/etc/x": b"x" + extra,
        }
    )


def import_requests(pb, parts, chunk=65536, **start):
    yield pb.ImportImageRequest(start=pb.ImportImageStart(split=len(parts) == 2, **start))
    for n, part in enumerate(parts):
        if n > 0:
            yield pb.ImportImageRequest(next_part=True)
        for i in range(0, len(part), chunk):
            yield pb.ImportImageRequest(data=part[i : i + chunk])


def import_image(lab, *parts, **start):
    return list(lab.stub.ImportImage(import_requests(lab.pb, parts, **start), timeout=60))[-1].image


def incoming(lab):
    return os.listdir(f"{lab.state}/images/incoming")


def delete_image(lab, fingerprint):
    lab.stub.DeleteImage(lab.pb.AgentImageRequest(operation=lab.operation(), fingerprint=fingerprint), timeout=60)


def test_import_export_and_delete(lab, watch):
    data = unified(os.urandom(3_000_000))
    image = import_image(lab, data, size=len(data), properties={"colour": "green"})
    assert image.properties["colour"] == "green" and image.os == "test"
    added = watch.until(lambda e: e.WhichOneof("what") == "image_added").image_added
    assert added.fingerprint == image.fingerprint
    # Again: the same image.
    assert import_image(lab, data).fingerprint == image.fingerprint
    assert image.fingerprint in [i.fingerprint for i in lab.snapshot().images]

    out = list(lab.stub.ExportImage(lab.pb.ExportImageRequest(image=image.fingerprint, compression="gzip")))
    assert out[0].image.fingerprint == image.fingerprint
    with tarfile.open(fileobj=io.BytesIO(b"".join(m.data for m in out[1:]))) as tar:
        assert {"metadata.yaml", "rootfs/sbin/init"} <= set(n.removeprefix("./") for n in tar.getnames())

    delete_image(lab, image.fingerprint)
    gone = watch.until(lambda e: e.WhichOneof("what") == "image_removed").image_removed
    assert gone == image.fingerprint
    assert not os.path.exists(f"{lab.state}/images/{image.fingerprint}")
    delete_image(lab, image.fingerprint)
    with fails("NOT_FOUND", "node1"):
        list(lab.stub.ExportImage(lab.pb.ExportImageRequest(image=image.fingerprint)))
    wait_for(lambda: incoming(lab) == [])


def test_import_of_two_parts(lab):
    rootfs = tarball({"sbin": None, "sbin/init": b"#!/bin/sh\n", "etc": None, "big": os.urandom(2_500_000)})
    meta = tarball({"metadata.yaml": METADATA})
    image = import_image(lab, meta, rootfs, size=len(meta), rootfs_size=len(rootfs))
    assert os.path.getsize(f"{lab.state}/images/{image.fingerprint}/rootfs/big") == 2_500_000
    delete_image(lab, image.fingerprint)


def test_imports_that_cannot_be(lab):
    pb, data = lab.pb, unified()

    def send(*requests):
        return list(lab.stub.ImportImage(iter(requests), timeout=30))

    with fails("INVALID_ARGUMENT", "first message"):
        send(pb.ImportImageRequest(data=b"x"))
    with fails("INVALID_ARGUMENT", "complete"):
        send()
    with fails("INVALID_ARGUMENT", "complete"):
        send(pb.ImportImageRequest(start=pb.ImportImageStart()))
    with fails("INVALID_ARGUMENT", "announced", str(len(data) + 5)):
        import_image(lab, data, size=len(data) + 5)
    with fails("RESOURCE_EXHAUSTED", "announced"):
        import_image(lab, data, size=10)
    with fails("RESOURCE_EXHAUSTED"):
        import_image(lab, data, size=1 << 60)
    with fails("INVALID_ARGUMENT", "no further part"):
        send(
            pb.ImportImageRequest(start=pb.ImportImageStart()),
            pb.ImportImageRequest(data=data),
            pb.ImportImageRequest(next_part=True),
        )
    with fails("INVALID_ARGUMENT", "fingerprint"):
        import_image(lab, data, expect_fingerprint="ab" * 32)
    with fails("INVALID_ARGUMENT"):
        import_image(lab, data[: len(data) // 2])
    with fails("INVALID_ARGUMENT", "262144"):
        import_image(lab, os.urandom(300_000), chunk=300_000)
    wait_for(lambda: incoming(lab) == [])
    assert len(lab.snapshot().images) == 1


def test_import_whose_sender_goes_away_leaves_nothing(lab):
    more = threading.Event()

    def requests():
        yield lab.pb.ImportImageRequest(start=lab.pb.ImportImageStart(size=10_000_000))
        for _ in range(30):
            yield lab.pb.ImportImageRequest(data=os.urandom(65536))
        more.wait(20)

    call = lab.stub.ImportImage(requests())
    wait_for(lambda: incoming(lab))
    call.cancel()
    more.set()
    wait_for(lambda: incoming(lab) == [])


def test_image_in_use_is_not_deleted(lab, name):
    lab.create(name, start=False)
    with fails("FAILED_PRECONDITION", "in use", name):
        delete_image(lab, lab.image)
    assert lab.image in [i.fingerprint for i in lab.snapshot().images]


def test_build_of_nothing_known(lab):
    with fails("NOT_FOUND", "plan9"):
        build = lab.pb.BuildImageRequest(template="plan9")
        list(lab.stub.BuildImage(lab.pb.AgentBuildImageRequest(build=build), timeout=30))


# ---------------------------------------------------------------- the life of an instance


def test_life_as_events(lab, name, watch):
    report = lab.create(name, start=False)
    assert report.status == lab.pb.INSTANCE_STATUS_STOPPED and report.pid == 0
    watch.status(name, "CREATING")
    watch.status(name, "STOPPED")

    started = lab.verb("Start", name)
    assert alive(started.pid) and abs(started.started_at_ns - time.time_ns()) < 5e9
    watch.status(name, "STARTING")
    assert watch.status(name, "RUNNING").pid == started.pid

    lab.verb("Freeze", name)
    watch.status(name, "FREEZING")
    watch.status(name, "FROZEN")
    with fails("FAILED_PRECONDITION", "frozen", "unfreeze"):
        lab.exec(name, "true")
    with fails("FAILED_PRECONDITION", "frozen"):
        lab.verb("Stop", name)
    lab.verb("Unfreeze", name)
    watch.status(name, "RUNNING")

    restarted = lab.verb("Restart", name)
    assert restarted.pid != started.pid and not alive(started.pid)
    watch.status(name, "STOPPING")
    watch.status(name, "STARTING")
    watch.status(name, "RUNNING")

    settled(restarted.pid)
    stopped = lab.verb("Stop", name)
    assert stopped.status == lab.pb.INSTANCE_STATUS_STOPPED and stopped.pid == 0
    watch.status(name, "STOPPING")
    watch.status(name, "STOPPED")
    assert lab.left(name) == []

    lab.delete(name, force=False)
    watch.status(name, "DELETING")
    watch.removed(name)
    assert lab.instance(name) is None


def test_launch_in_one_go(lab, name, watch):
    report = lab.create(name)
    assert report.status == lab.pb.INSTANCE_STATUS_RUNNING
    assert report.uuid and report.generation == 1 and report.image_fingerprint == lab.image
    assert lab.sh(name, "hostname") == f"{name}\n"
    assert watch.status(name, "RUNNING").pid == report.pid


def test_nothing_of_the_workers_environment_reaches_the_guest(lab, name):
    lab.create(name)
    assert "LD_BIND_NOW" not in lab.sh(name, "cat /proc/1/environ; env")


def test_everything_can_be_asked_for_twice(lab, name):
    first = lab.create(name)
    assert lab.create(name).pid == first.pid
    assert lab.verb("Start", name).pid == first.pid
    lab.verb("Unfreeze", name)
    lab.verb("Freeze", name)
    lab.verb("Freeze", name)
    lab.verb("Unfreeze", name)
    # A restart is not idempotent by state, but by its operation.
    restarted = lab.verb("Restart", name, operation="restart-1")
    assert lab.verb("Restart", name, operation="restart-1").pid == restarted.pid != first.pid
    lab.verb("Stop", name, force=True)
    lab.verb("Stop", name)
    lab.create(name, start=False)
    with fails("FAILED_PRECONDITION", "not running", "lxmgr start"):
        lab.verb("Restart", name)
    assert lab.create(name).pid != 0
    lab.delete(name)
    lab.delete(name)


def test_what_cannot_be_created(lab, name):
    with fails("NOT_FOUND", "abababab", "node1"):
        lab.create(name, image="ab" * 32)
    spec = lab.spec(name)
    for bad in ("", "Web", "-x", "a" * 64, "../x"):
        spec.name = bad
        with fails("INVALID_ARGUMENT"):
            lab.stub.CreateInstance(lab.pb.AgentCreateInstanceRequest(spec=spec))
    with fails("INVALID_ARGUMENT"):
        lab.stub.CreateInstance(lab.pb.AgentCreateInstanceRequest())
    with fails("INVALID_ARGUMENT", "generation"):
        lab.create(name, generation=0)
    with fails("INVALID_ARGUMENT", "operation"):
        lab.create(name, operation="x" * 1000)
    lab.create(name, start=False)
    spec = lab.spec(name)
    spec.uuid = "another"
    with fails("ALREADY_EXISTS", name):
        lab.stub.CreateInstance(lab.pb.AgentCreateInstanceRequest(spec=spec))


def test_create_that_fails_to_boot_can_be_undone(lab, name, watch):
    spec = lab.spec(name)
    spec.nics[0].bridge = "no-such-bridge"
    with fails("FAILED_PRECONDITION", "no-such-bridge", name):
        lab.stub.CreateInstance(lab.pb.AgentCreateInstanceRequest(operation="o", spec=spec, start=True), timeout=30)
    lab.delete(name)
    assert lab.instance(name) is None
    assert not os.path.exists(f"{lab.state}/instances/{name}")


@pytest.mark.parametrize("verb", ["Start", "Stop", "Restart", "Freeze", "Unfreeze", "Delete"])
def test_another_generation_is_refused(lab, name, verb):
    lab.create(name, start=False, generation=3)
    with fails("FAILED_PRECONDITION", "generation 3", "generation 2"):
        lab.verb(verb, name, generation=2)
    with fails("FAILED_PRECONDITION", "generation"):
        lab.create(name, generation=4)
    assert lab.status(name) == "STOPPED"


@pytest.mark.parametrize("verb", ["Start", "Stop", "Restart", "Freeze", "Unfreeze"])
def test_what_is_not_here(lab, verb):
    with fails("NOT_FOUND", "nobody", "node1"):
        lab.verb(verb, "nobody")


def test_a_running_one_is_deleted_by_force_only(lab, web):
    with fails("FAILED_PRECONDITION", web, "RUNNING"):
        lab.delete(web, force=False)
    pid = lab.instance(web).pid
    lab.delete(web)
    assert not alive(pid) and lab.left(web) == []


def test_a_clean_stop_that_takes_too_long(lab, name):
    stubborn(lab, name)
    with fails("DEADLINE_EXCEEDED", "1 s", "--force"):
        lab.verb("Stop", name, timeout_seconds=1)
    assert lab.status(name) == "RUNNING"
    lab.verb("Stop", name, force=True)


def test_the_configured_time_counts_when_none_is_given(lab, name):
    stubborn(lab, name, config={"boot.host_shutdown_timeout": "1"})
    with fails("DEADLINE_EXCEEDED", "within 1 s"):
        lab.verb("Restart", name)


def test_one_verb_at_a_time(lab, name):
    """A second one is refused, the same one joins in, a forced stop overtakes a clean one."""
    stubborn(lab, name)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(lab.verb, "Stop", name, operation="slow", timeout_seconds=40)
        wait_for(lambda: lab.status(name) == "STOPPING")
        same = pool.submit(lab.verb, "Stop", name, operation="slow", timeout_seconds=40)
        with fails("FAILED_PRECONDITION", f"{name} is being stopped (operation slow)"):
            lab.verb("Start", name)
        with fails("FAILED_PRECONDITION", "being stopped"):
            lab.delete(name, force=False)
        time.sleep(0.2)
        assert not first.done() and not same.done()
        lab.verb("Stop", name, force=True, operation="fast")
        for call in (first, same):
            with fails("ABORTED", "overtaken"):
                call.result(10)
    assert lab.status(name) == "STOPPED"
    assert lab.left(name) == []


def test_caller_that_goes_away_ends_nothing(lab, name, watch):
    call = lab.stub.CreateInstance.future(
        lab.pb.AgentCreateInstanceRequest(operation="gone", spec=lab.spec(name), start=True)
    )
    watch.status(name, "CREATING")
    call.cancel()
    watch.status(name, "RUNNING")


def test_many_at_once(lab):
    names = [lab.new_name("many") for _ in range(24)]
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        try:
            reports = list(pool.map(lab.create, names))
            assert all(alive(r.pid) for r in reports)
            assert len({r.pid for r in reports}) == 24
        finally:
            list(pool.map(lab.delete, names))
    for name in names:
        assert lab.left(name) == []


# ---------------------------------------------------------------- what it does by itself


def test_poweroff_inside(lab, web, watch):
    lab.exec(web, "poweroff")
    watch.status(web, "STOPPING")
    watch.status(web, "STOPPED")
    assert lab.left(web) == []
    assert lab.verb("Start", web).pid > 0


def test_reboot_inside(lab, web, watch):
    before = lab.instance(web)
    lab.exec(web, "reboot")
    watch.status(web, "STOPPING")
    after = watch.status(web, "RUNNING")
    assert after.pid != before.pid and alive(after.pid)
    assert after.started_at_ns >= before.started_at_ns
    assert lab.sh(web, "echo up") == "up\n"
    # And it is watched as the first one was.
    lab.exec(web, "poweroff")
    watch.status(web, "STOPPED")


def test_init_killed_from_outside(lab, web, watch):
    os.kill(lab.instance(web).pid, signal.SIGKILL)
    watch.status(web, "STOPPED")
    assert lab.left(web) == []


def test_monitor_killed_from_outside(lab, web, watch):
    (monitor,) = lab.monitors(web)
    init = lab.instance(web).pid
    os.kill(monitor, signal.SIGKILL)
    watch.status(web, "STOPPED")
    assert lab.left(web) == [] and not alive(init)
    lab.verb("Start", web)


def test_stop_right_behind_a_poweroff(lab, name):
    for _ in range(5):
        lab.create(name)
        lab.exec(name, "poweroff")
        lab.verb("Stop", name, force=True)
        assert lab.status(name) == "STOPPED"


# ---------------------------------------------------------------- exec


def test_exec_output_and_code(lab, web):
    end, out, err = lab.exec(web, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (end.code, end.signal, out, err) == (3, 0, b"out\n", b"err\n")
    end, _, _ = lab.exec(web, "sh", "-c", "kill -9 $$")
    assert (end.code, end.signal) == (137, 9)
    end, _, err = lab.exec(web, "no-such-program")
    assert end.code == 127 and b"no-such-program" in err


def test_exec_surroundings(lab, web):
    end, out, _ = lab.exec(
        web, "sh", "-c", 'echo "$COLOUR $PWD"; id -u', environment={"COLOUR": "green"}, cwd="/etc", user="65534"
    )
    assert end.code == 0 and out == b"green /etc\n65534\n"


def test_exec_moves_much_data_both_ways(lab, web):
    data = os.urandom(6 << 20)
    end, out, _ = lab.exec(web, "cat", stdin=data, timeout=60)
    assert end.code == 0 and out == data


def test_exec_says_started_first(lab, web):
    for _ in range(5):
        call = lab.stub.Exec(
            iter([lab.pb.ExecRequest(start=lab.pb.ExecStart(instance=web, command=["echo", "hi"]))]), timeout=20
        )
        kinds = [r.WhichOneof("what") for r in call]
        assert kinds == ["started", "stdout", "exit"]


def test_exec_waits_for_a_slow_reader(lab, web):
    """What nobody takes stays in the guest: the agent does not grow."""
    before = agentlab.rss_kib(lab.process.pid)
    call = lab.stub.Exec(
        iter([lab.pb.ExecRequest(start=lab.pb.ExecStart(instance=web, command=["yes", "x" * 1000]))]), timeout=60
    )
    next(call)
    time.sleep(1.5)
    assert agentlab.rss_kib(lab.process.pid) - before < 8192
    call.cancel()


def test_exec_does_not_wait_for_what_stays_in_the_background(lab, web):
    start = time.monotonic()
    end, out, _ = lab.exec(web, "sh", "-c", "echo now; sleep 100 &")
    assert end.code == 0 and out == b"now\n" and time.monotonic() - start < 10


class Session:
    """An exec whose requests are sent one by one."""

    def __init__(self, lab, name, *command, **fields):
        self.pb = lab.pb
        self.requests = queue.Queue()
        self.send(start=lab.pb.ExecStart(instance=name, command=command, **fields))
        self.call = lab.stub.Exec(iter(self.requests.get, None), timeout=60)
        self.out, self.end, self.pid = b"", None, 0

    def send(self, **what):
        self.requests.put(self.pb.ExecRequest(**what))

    def read(self):
        r = next(self.call)
        kind = r.WhichOneof("what")
        if kind == "started":
            self.pid = r.started.pid
        elif kind == "exit":
            self.end = r.exit
        else:
            self.out += getattr(r, kind)

    def until(self, text):
        while text not in self.out:
            self.read()

    def finish(self):
        self.requests.put(None)
        while self.end is None:
            self.read()
        return self.end

    def cancel(self):
        self.requests.put(None)
        self.call.cancel()


def test_exec_terminal(lab, web):
    s = Session(lab, web, "sh", terminal=True, size=lab.pb.WindowSize(rows=33, cols=77))
    s.send(stdin=b"tty; stty size; test -t 2 && echo three\n")
    s.until(b"33 77")
    s.until(b"/dev/pts/")
    s.until(b"three")
    s.send(resize=lab.pb.WindowSize(rows=11, cols=22))
    s.send(stdin=b"stty size\n")
    s.until(b"11 22")
    s.send(stdin=b"sleep 1000\n")
    time.sleep(0.3)
    s.send(stdin=b"\x03echo back\n")
    s.until(b"\r\nback")
    s.send(stdin=b"exit 5\n")
    assert s.finish().code == 5


def test_exec_terminal_takes_the_end_of_input(lab, web):
    s = Session(lab, web, "cat", terminal=True)
    s.send(stdin=b"hello\n")
    s.until(b"hello\r\nhello\r\n")
    s.send(stdin_closed=True)
    assert s.finish().code == 0


def test_exec_signal(lab, web):
    s = Session(lab, web, "sh", "-c", "trap 'echo got it; exit 7' USR1; echo ready; while :; do sleep 0.05; done")
    s.until(b"ready")
    s.send(signal=signal.SIGUSR1)
    s.until(b"got it")
    assert s.finish().code == 7


@pytest.mark.parametrize("terminal", [False, True])
def test_exec_ends_with_its_client(lab, web, terminal):
    s = Session(lab, web, "sleep", "1000", terminal=terminal)
    while not s.pid:
        s.read()
    assert alive(s.pid)
    s.cancel()
    wait_for(lambda: not alive(s.pid), 3)


@pytest.mark.parametrize("terminal", [False, True])
def test_exec_that_ignores_its_clients_end_is_killed(lab, web, terminal):
    s = Session(lab, web, "sh", "-c", "trap '' HUP TERM; echo ready; while :; do sleep 1; done", terminal=terminal)
    s.until(b"ready")
    s.cancel()
    time.sleep(1)
    assert alive(s.pid)
    wait_for(lambda: not alive(s.pid), 8)


def test_exec_of_a_client_that_gives_up_at_once(lab, web):
    for _ in range(10):
        s = Session(lab, web, "sleep", "7654")
        time.sleep(random.random() * 0.02)
        s.cancel()
    time.sleep(0.2)
    wait_for(lambda: "7654" not in lab.sh(web, "ps"), 10)


def test_exec_ends_with_its_instance(lab, web):
    s = Session(lab, web, "sleep", "1000")
    while not s.pid:
        s.read()
    lab.verb("Stop", web, force=True)
    assert s.finish().signal == signal.SIGKILL


def test_exec_that_cannot_be(lab, name, web):
    pb = lab.pb
    with fails("NOT_FOUND", "nobody"):
        lab.exec("nobody", "true")
    with fails("INVALID_ARGUMENT", "first message"):
        list(lab.stub.Exec(iter([pb.ExecRequest(stdin=b"x")])))
    with fails("INVALID_ARGUMENT", "before"):
        list(lab.stub.Exec(iter([])))
    with fails("INVALID_ARGUMENT", "65536"):
        start = pb.ExecRequest(start=pb.ExecStart(instance=web, command=["cat"]))
        list(lab.stub.Exec(iter([start, pb.ExecRequest(stdin=b"x" * 70000)])))
    with fails("INVALID_ARGUMENT"):
        lab.exec(web)
    lab.verb("Stop", web, force=True)
    with fails("FAILED_PRECONDITION", "not running", "lxmgr start"):
        lab.exec(web, "true")


def test_many_sessions_at_once(lab, web):
    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        outs = list(pool.map(lambda n: lab.exec(web, "echo", str(n))[1], range(60)))
    assert outs == [f"{n}\n".encode() for n in range(60)]


# ---------------------------------------------------------------- files and logs


def push(lab, name, path, entries, **fields):
    def requests():
        yield lab.pb.PushFileRequest(start=lab.pb.PushFileStart(instance=name, path=path, **fields))
        for entry, data in entries:
            yield lab.pb.PushFileRequest(entry=entry)
            for i in range(0, len(data), 65536):
                yield lab.pb.PushFileRequest(data=data[i : i + 65536])

    return lab.stub.PushFile(requests(), timeout=60)


def entry(lab, path, kind="REGULAR", data=b"", **fields):
    e = lab.pb.FileEntry(path=path, type=lab.pb.FileType.Value(f"FILE_TYPE_{kind}"), size=len(data))
    for key, value in {"mode": 0o755 if kind == "DIRECTORY" else 0o644, **fields}.items():
        setattr(e, key, value)
    return e, data


def pull(lab, name, path, recursive=False):
    """{path: (FileEntry, bytes)}"""
    got, current = {}, None
    request = lab.pb.PullFileRequest(instance=name, path=path, recursive=recursive)
    for m in lab.stub.PullFile(request, timeout=60):
        if m.WhichOneof("what") == "entry":
            current = m.entry.path
            got[current] = (m.entry, b"")
        else:
            got[current] = (got[current][0], got[current][1] + m.data)
    return got


def test_files_there_and_back(lab, web):
    data = os.urandom(5_000_000)
    done = push(lab, web, "/root/big", [entry(lab, "", data=data, mode=0o640, uid=33, gid=44)])
    assert (done.files, done.bytes) == (1, len(data))
    assert lab.sh(web, "stat -c '%a %u %g %s' /root/big") == f"640 33 44 {len(data)}\n"
    got = pull(lab, web, "/root/big")
    assert got[""][1] == data and got[""][0].mode == 0o640 and got[""][0].uid == 33


def test_trees_there_and_back(lab, web):
    tree = [entry(lab, "", "DIRECTORY"), entry(lab, "d", "DIRECTORY"), entry(lab, "l", "SYMLINK", target="d/f3")]
    tree += [entry(lab, f"d/f{i}", data=os.urandom(i * 1000)) for i in range(60)]
    push(lab, web, "/srv/tree", tree, create_dirs=True)
    got = pull(lab, web, "/srv/tree", recursive=True)
    assert len(got) == 63
    assert got["l"][0].target == "d/f3"
    assert all(got[f"d/f{i}"][1] == dict((e.path, d) for e, d in tree)[f"d/f{i}"] for i in range(60))
    request = lab.pb.DeleteFileRequest(instance=web, path="/srv/tree", recursive=True)
    lab.stub.DeleteFile(request, timeout=20)
    with fails("NOT_FOUND", "/srv/tree"):
        pull(lab, web, "/srv/tree")


def test_files_that_cannot_be(lab, web):
    with fails("NOT_FOUND", "/no/such/dir"):
        push(lab, web, "/no/such/dir/x", [entry(lab, "", data=os.urandom(3_000_000))])
    with fails("INVALID_ARGUMENT", "first message"):
        lab.stub.PushFile(iter([lab.pb.PushFileRequest(data=b"x")]), timeout=20)
    with fails("INVALID_ARGUMENT", "before"):
        lab.stub.PushFile(iter([]), timeout=20)
    with fails("NOT_FOUND", "/no/such"):
        lab.stub.DeleteFile(lab.pb.DeleteFileRequest(instance=web, path="/no/such"), timeout=20)
    with fails("NOT_FOUND", "nobody"):
        pull(lab, "nobody", "/")
    too_big = lab.pb.PushFileRequest(data=b"x" * 100_000)
    start = lab.pb.PushFileRequest(start=lab.pb.PushFileStart(instance=web, path="/root/x"))
    with fails("INVALID_ARGUMENT", "limit"):
        lab.stub.PushFile(iter([start, too_big]), timeout=20)


def test_a_pull_nobody_reads_ends(lab, web):
    lab.sh(web, "dd if=/dev/zero of=/root/zero bs=1M count=64 2>/dev/null")
    call = lab.stub.PullFile(lab.pb.PullFileRequest(instance=web, path="/root/zero"))
    next(call)
    time.sleep(0.5)
    assert agentlab.rss_kib(lab.process.pid) < 40_000
    call.cancel()
    assert lab.exec(web, "true")[0].code == 0


def test_console_log(lab, web):
    def log(**fields):
        return lab.stub.ConsoleLog(lab.pb.ConsoleLogRequest(instance=web, **fields), timeout=20)

    lab.sh(web, "echo hello > /proc/1/fd/1")
    assert b"hello" in b"".join(c.data for c in log())
    follow = log(follow=True)
    time.sleep(0.3)
    follow.cancel()
    with fails("NOT_FOUND", "nobody"):
        list(lab.stub.ConsoleLog(lab.pb.ConsoleLogRequest(instance="nobody")))


# ---------------------------------------------------------------- configuration


def update(lab, name, config, **spec):
    request = lab.pb.AgentUpdateInstanceRequest(operation=lab.operation(), spec=lab.spec(name, config=config, **spec))
    return lab.stub.UpdateInstance(request, timeout=30)


def test_update_acts_at_once_or_says_when(lab, web):
    watch = lab.watch(usage_interval_ms=200, heartbeat_ms=60000)
    done = update(lab, web, {"limits.memory": "64MiB", "limits.kernel.nofile": "1000:2000"})
    assert list(done.needs_restart) == ["limits.kernel.nofile"]
    watch.until(
        lambda e: e.WhichOneof("what") == "usage"
        and any(r.name == web and r.usage.memory_limit_bytes == 64 << 20 for r in e.usage.reports)
    )
    assert list(update(lab, web, {}).needs_restart) == ["limits.kernel.nofile"]
    watch.until(
        lambda e: e.WhichOneof("what") == "usage"
        and any(r.name == web and r.usage.memory_limit_bytes == 0 for r in e.usage.reports)
    )
    watch.close()


def test_update_is_kept(lab, name):
    lab.create(name, start=False)
    update(lab, name, {"user.colour": "green"})
    lab.restart(signal.SIGKILL)
    with open(f"{lab.state}/instances/{name}/spec.pb", "rb") as f:
        assert lab.pb.InstanceSpec.FromString(f.read()).config["user.colour"] == "green"


def test_updates_that_cannot_be(lab, web):
    with fails("INVALID_ARGUMENT"):
        update(lab, web, {"limits.memory": "much"})
    with fails("FAILED_PRECONDITION", "generation"):
        update(lab, web, {}, generation=2)
    spec = lab.spec(web)
    spec.idmap_base += 65536
    with fails("INVALID_ARGUMENT", "id range"):
        lab.stub.UpdateInstance(lab.pb.AgentUpdateInstanceRequest(spec=spec))
    with fails("NOT_FOUND"):
        spec.name = "nobody"
        lab.stub.UpdateInstance(lab.pb.AgentUpdateInstanceRequest(spec=spec))


def test_networks_are_answered_for(lab):
    done = lab.stub.ApplyNetworks(lab.pb.ApplyNetworksRequest(operation="n", revision=1), timeout=30)
    assert not done.status
    bad = lab.pb.NetworkSpec(name=f"{lab.tag}n0"[:15], config={"ipv4.address": "not an address"})
    import grpc

    try:
        done = lab.stub.ApplyNetworks(lab.pb.ApplyNetworksRequest(revision=2, networks=[bad]), timeout=30)
        assert done.status[bad.name]
    except grpc.RpcError as e:
        assert e.code().name == "INVALID_ARGUMENT"
    lab.stub.ApplyNetworks(lab.pb.ApplyNetworksRequest(revision=3), timeout=30)


# ---------------------------------------------------------------- agents come and go


def started_flag(lab, name):
    with open(f"{lab.state}/instances/{name}/spec.pb", "rb") as f:
        return lab.pb.InstanceSpec.FromString(f.read()).started


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGKILL])
def test_running_instances_are_adopted_untouched(lab, name, sig):
    frozen = lab.new_name("frozen")
    try:
        before = lab.create(name)
        lab.create(frozen)
        lab.verb("Freeze", frozen)
        monitors = lab.monitors(name)
        lab.restart(sig)
        assert lab.process.returncode is None
        after = lab.instance(name)
        assert (after.pid, after.status) == (before.pid, before.status)
        assert abs(after.started_at_ns - before.started_at_ns) < 50_000_000
        assert lab.monitors(name) == monitors
        assert lab.status(frozen) == "FROZEN"
        assert lab.sh(name, "echo here") == "here\n"
        lab.verb("Unfreeze", frozen)
        # Its end is noticed as ever.
        watch = lab.watch()
        watch.next()
        lab.exec(name, "poweroff")
        watch.status(name, "STOPPED")
        watch.close()
    finally:
        lab.delete(frozen)


def test_sigterm_is_a_clean_end_and_sighup_none(lab, web):
    lab.process.send_signal(signal.SIGHUP)
    assert lab.status(web) == "RUNNING"
    s = Session(lab, web, "sleep", "1000")
    while not s.pid:
        s.read()
    lab.stop_agent()  # which does not wait for the session's end
    assert lab.process.returncode == 0
    wait_for(lambda: not alive(s.pid))
    assert lab.monitors(web)
    lab.start()


def test_what_stopped_while_no_agent_looked(lab, web):
    pid = lab.instance(web).pid
    assert started_flag(lab, web)
    lab.stop_agent(signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not lab.monitors(web))
    lab.start()
    assert lab.status(web) == "STOPPED"
    assert lab.left(web) == []
    wait_for(lambda: not started_flag(lab, web))


def test_wanted_running_is_kept_on_disk(lab, name):
    lab.create(name, start=False)
    assert not started_flag(lab, name)
    lab.verb("Start", name)
    assert started_flag(lab, name)
    lab.verb("Stop", name, force=True)
    assert not started_flag(lab, name)
    lab.verb("Start", name)
    lab.exec(name, "poweroff")
    wait_for(lambda: lab.status(name) == "STOPPED" and not started_flag(lab, name))


def test_autostart_after_the_machine_restarted(lab):
    names = [lab.new_name("boot") for _ in range(5)]
    ran, always, never, stopped, urgent = names
    configs = {
        always: {"boot.autostart": "true"},
        never: {"boot.autostart": "false"},
        urgent: {"boot.autostart": "true", "boot.autostart.priority": "10"},
    }
    try:
        for n in names:
            lab.create(n, start=n in (ran, never), config=configs.get(n))
        # As after a power cut: nothing runs, nobody wrote down that it stopped.
        lab.stop_agent(signal.SIGKILL)
        for n in (ran, never):
            os.kill(lab.monitors(n)[0], signal.SIGKILL)
        os.unlink(f"{lab.state}/boot-id")
        mark = os.path.getsize(lab.log)
        lab.start()
        for n in (ran, always, urgent):
            wait_for(lambda n=n: lab.status(n) == "RUNNING")
        assert lab.status(never) == "STOPPED" and lab.status(stopped) == "STOPPED"
        wait_for(lambda: os.path.exists(f"{lab.state}/boot-id"))
        done = [line for line in lab.log_text(mark).splitlines() if 'verb="autostart"' in line]
        assert len(done) == 3
        # The next agent starts nothing.
        lab.verb("Stop", always, force=True)
        lab.restart()
        assert lab.status(always) == "STOPPED"
    finally:
        for n in names:
            lab.delete(n)


def test_sweeps_what_was_half_done(lab):
    instances = f"{lab.state}/instances"
    lab.stop_agent(signal.SIGKILL)
    os.makedirs(f"{instances}/half/upper/etc")
    os.makedirs(f"{instances}/.deleting-web-0/upper")
    os.makedirs(f"{instances}/Not A Name")
    os.makedirs(f"{instances}/damaged")
    with open(f"{instances}/damaged/spec.pb", "wb") as f:
        f.write(b"\xff\xff\xff")
    os.makedirs(f"{lab.state}/images/incoming/half")
    lab.start()
    wait_for(lambda: sorted(os.listdir(instances)) == ["Not A Name", "damaged"])
    assert incoming(lab) == []
    assert lab.instance("half") is None
    damaged = lab.instance("damaged")
    assert damaged.status == lab.pb.INSTANCE_STATUS_ERROR and "damaged" in damaged.status_reason
    lab.delete("damaged")
    assert os.listdir(instances) == ["Not A Name"]
    os.rmdir(f"{instances}/Not A Name")


def is_sound(lab, name):
    """Either it is not there at all, or it can be used."""
    status = lab.status(name)
    assert status in (None, "STOPPED", "RUNNING"), status
    if status != "RUNNING":
        wait_for(lambda: lab.left(name) == [])
    if status is None:
        assert not os.path.exists(f"{lab.state}/instances/{name}")
    lab.create(name)
    assert lab.sh(name, "echo fine") == "fine\n"


@pytest.mark.parametrize("delay", [0.001, 0.004, 0.008, 0.015, 0.025, 0.04, 0.06])
def test_worker_killed_in_the_middle_of_a_launch(lab, name, delay):
    import grpc

    call = lab.stub.CreateInstance.future(
        lab.pb.AgentCreateInstanceRequest(operation="o", spec=lab.spec(name), start=True), timeout=60
    )
    time.sleep(delay)
    for pid in lab.children():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    try:
        call.result()
    except grpc.RpcError as e:
        assert e.code().name == "INTERNAL" and "was killed by signal 9" in e.details(), e
    is_sound(lab, name)


@pytest.mark.parametrize("delay", [0.001, 0.004, 0.008, 0.015, 0.025, 0.04, 0.06])
def test_agent_killed_in_the_middle_of_a_launch(lab, name, delay):
    lab.stub.CreateInstance.future(
        lab.pb.AgentCreateInstanceRequest(operation="o", spec=lab.spec(name), start=True), timeout=60
    )
    time.sleep(delay)
    lab.restart(signal.SIGKILL)
    is_sound(lab, name)


@pytest.mark.parametrize("delay", [0.001, 0.005, 0.02])
def test_agent_killed_in_the_middle_of_a_deletion(lab, web, delay):
    lab.stub.DeleteInstance.future(
        lab.pb.AgentInstanceRequest(operation="o", name=web, generation=1, force=True), timeout=60
    )
    time.sleep(delay)
    lab.restart(signal.SIGKILL)
    lab.delete(web)
    assert lab.instance(web) is None


def test_everything_killed_in_the_middle_of_a_launch(lab, name):
    for delay in (0.005, 0.02, 0.05):
        lab.stub.CreateInstance.future(
            lab.pb.AgentCreateInstanceRequest(operation="o", spec=lab.spec(name), start=True), timeout=60
        )
        time.sleep(delay)
        lab.stop_agent(signal.SIGKILL)
        for pid in lab.children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        lab.start()
        is_sound(lab, name)
        lab.delete(name)


def test_spare_worker_killed(lab, web):
    for _ in range(3):
        for pid in wait_for(lab.children):
            # One that has just done its job ends by itself.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            wait_for(lambda pid=pid: not alive(pid))
        assert lab.exec(web, "true")[0].code == 0


def age(pid):
    """Of two that began in the same tick the one with the lower number was first."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        return int(f.read().rpartition(")")[2].split()[19]), pid


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGSTOP])
def test_zygote_is_no_help(lab, name, sig):
    """Workers come out of one process; without it they come as well, and there is a new one afterwards."""
    zygote = min(wait_for(lambda: len(lab.children()) > 1 and lab.children()), key=age)
    os.kill(zygote, sig)
    # What waits for a job already came out of it before.
    for pid in lab.children():
        if pid != zygote:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            wait_for(lambda pid=pid: not alive(pid))
    lab.create(name, start=True)
    assert lab.exec(name, "true")[0].code == 0
    wait_for(lambda: not alive(zygote))
    lab.delete(name)
    wait_for(lambda: len(lab.children()) > 1)


def test_one_agent_a_state_directory(lab):
    argv = [agentlab.AGENT, "--state-dir", lab.state, "--run-dir", lab.run, "--listen", "127.0.0.1:0"]
    second = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    assert second.returncode == 1
    assert "another agent" in second.stderr and "--state-dir" in second.stderr


# ---------------------------------------------------------------- who may call


def test_only_the_manager_may_call(lab):
    for cn, ou in [("node2", "agent"), ("alice", "admin"), ("manager2", "managers")]:
        stub = lab.connect(*lab.pki.issue(cn, ou))
        with fails("PERMISSION_DENIED", cn, "manager"):
            next(stub.Watch(lab.pb.AgentWatchRequest(), timeout=10))
        with fails("PERMISSION_DENIED"):
            stub.StopInstance(lab.pb.AgentInstanceRequest(name="x"), timeout=10)
        with fails("PERMISSION_DENIED"):
            list(stub.Exec(iter([]), timeout=10))


def test_only_the_clusters_certificates_count(lab):
    foreign = agentlab.Pki(f"{lab.tmp}/foreign-{time.monotonic_ns()}", "other CA")
    for cert, key in [foreign.issue("manager1", "manager"), (None, None)]:
        stub = lab.connect(cert, key)
        with fails("UNAVAILABLE"):
            next(stub.Watch(lab.pb.AgentWatchRequest(), timeout=10))


# ---------------------------------------------------------------- joining


class FakeManager:
    """Signs whoever brings the right secret, and remembers what it was told."""

    def __init__(self, lab, pki):
        import grpc

        outer = self
        self.requests = []
        pb = lab.pb

        class Nodes(pb.NodeServiceServicer):
            def Join(self, request, context):
                outer.requests.append(request)
                if request.secret != "sesame":
                    context.abort(grpc.StatusCode.PERMISSION_DENIED, "the join token is not valid")
                with open(f"{pki.dir}/join.csr", "w", encoding="ascii") as f:
                    f.write(request.csr_pem)
                with open(f"{pki.dir}/join.ext", "w", encoding="ascii") as f:
                    f.write(f"subjectAltName=DNS:{request.name}\n")
                pki.openssl(
                    "x509", "-req", "-in", "join.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                    "-days", "2", "-subj", f"/CN={request.name}/OU=agent", "-extfile", "join.ext", "-out", "join.crt",
                )  # fmt: skip
                return pb.JoinResponse(
                    name=request.name,
                    certificate_pem=pki.read("join.crt").decode(),
                    ca_pem=pki.read("ca.crt").decode(),
                    cluster_id="the-cluster",
                )

        cert, key = pki.issue("manager1", "manager")
        chain = cert + pki.read("ca.crt")
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
        pb.add_NodeServiceServicer_to_server(Nodes(), self.server)
        creds = grpc.ssl_server_credentials([(key, chain)], pki.read("ca.crt"), require_client_auth=False)
        self.port = self.server.add_secure_port("127.0.0.1:0", creds)
        self.server.start()


def token(pki, port, **change):
    import base64
    import hashlib
    import json
    import ssl

    der = ssl.PEM_cert_to_DER_cert(pki.read("ca.crt").decode())
    # The first manager is not there: the second one counts.
    fields = {
        "v": 1,
        "a": ["127.0.0.1:1", f"127.0.0.1:{port}"],
        "f": hashlib.sha256(der).hexdigest(),
        "s": "sesame",
        "n": "",
        **change,
    }
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode().rstrip("=")


@pytest.fixture
def newcomer(lab, tmp_path):
    """Runs lxagentd on an empty state directory; returns its log after it has ended or serves."""
    processes = []
    os.chmod(tmp_path, 0o711)

    def run(*args, until="serving"):
        log = tmp_path / f"log{len(processes)}"
        with open(log, "wb") as f:
            p = subprocess.Popen(
                [agentlab.AGENT, "--state-dir", f"{tmp_path}/state", "--run-dir", f"{tmp_path}/run",
                 "--cgroup-root", f"{lab.tag}-new", "--listen", "127.0.0.1:0", *args],
                stderr=f, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        processes.append(p)
        wait_for(lambda: p.poll() is not None or until in log.read_text(), 60)
        if p.poll() is None:
            p.terminate()
            p.wait(10)
        return log.read_text()

    run.state = f"{tmp_path}/state"
    yield run
    for p in processes:
        if p.poll() is None:
            p.kill()
            p.wait()


def test_join_once_and_for_all(lab, newcomer):
    pki = agentlab.Pki(f"{lab.tmp}/join-{time.monotonic_ns()}")
    manager = FakeManager(lab, pki)
    text = token(pki, manager.port)
    log = newcomer("--join", text, "--node-name", "node7", "--advertise", "192.0.2.7:8444")
    assert "joined" in log and "node=node7" in log and "sesame" not in log
    assert manager.requests[-1].address == "192.0.2.7:8444" and manager.requests[-1].version
    for leaf in ("agent.key", "agent.crt", "ca.crt"):
        assert os.stat(f"{newcomer.state}/pki/{leaf}").st_mode & 0o777 == 0o600
    assert os.stat(f"{newcomer.state}/pki").st_mode & 0o777 == 0o700
    # Again with the token: it is a member already.
    asked = len(manager.requests)
    log = newcomer("--join", text, "--advertise", "192.0.2.7:8444")
    assert "already" in log and "node=node7" in log
    log = newcomer()
    assert "node=node7" in log and len(manager.requests) == asked
    manager.server.stop(None)


def test_joins_that_cannot_be(lab, newcomer):
    pki = agentlab.Pki(f"{lab.tmp}/join-{time.monotonic_ns()}")
    manager = FakeManager(lab, pki)
    there = ["--advertise", "192.0.2.7:8444", "--node-name", "node7"]
    for args, words in [
        ([], ["not part of a cluster", "lxmgr node token", "--join"]),
        (["--join", "nonsense"], ["token", "lxmgr node token"]),
        (["--join", token(pki, manager.port, v=2)], ["version"]),
        (["--join", token(pki, manager.port, a=[])], ["no manager"]),
        (["--join", token(pki, manager.port, s="wrong")], ["cannot join", "not valid"]),
        (["--join", token(pki, manager.port, f="ab" * 32)], ["cannot join"]),
        (["--join", token(pki, 1)], ["cannot join", "127.0.0.1:1"]),
        (["--join", token(pki, manager.port), "--node-name", "Bad Name"], ["Bad Name"]),
    ]:
        log = newcomer(*(there if args else []), *args)
        assert "cannot start" in log
        for word in words:
            assert word in log
        assert "wrong" not in log or "s=wrong" not in log
        assert not os.path.exists(f"{newcomer.state}/pki/agent.crt")
    # Nobody who cannot show the cluster's CA is told the secret.
    assert all(r.secret in ("sesame", "wrong") for r in manager.requests)
    assert sum(r.secret == "sesame" for r in manager.requests) == 0
    manager.server.stop(None)


def test_command_line():
    def run(*args):
        return subprocess.run([agentlab.AGENT, *args], capture_output=True, text=True, timeout=20)

    assert run("--version").stdout.startswith("lxagentd ")
    assert "--join TOKEN" in run("--help").stdout and run("--help").returncode == 0
    for args in (["--what"], ["extra"], ["--log-level", "loud"]):
        assert run(*args).returncode == 2
