"""Moves of instances between the nodes of a whole cluster, when all goes well or is refused.

What goes wrong on the way is in test_cluster_move_faults.py.
"""

import glob
import json
import os
import sys
import time

import grpc
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import machine  # noqa: E402
import moving  # noqa: E402
import testbed  # noqa: E402
from moving import Echo, Guest  # noqa: E402
from striking import slow_down  # noqa: E402
from testbed import wait_for  # noqa: E402


CLUSTER = "move"  # of two nodes: conftest.py
TEXT, NOISE = 48, 16  # MiB, of what can be compressed and what cannot


@pytest.fixture
def two(whole):
    for daemon in (whole.manager, *whole.agents):
        daemon.begin_log()
    yield whole
    for agent in whole.agents:
        if not agent.pid:
            agent.start()
    whole.wait_online()
    whole.remove_instances()
    moving.wait_clean(whole)


@pytest.fixture
def closing():
    """Connections to close, whatever happens."""
    opened = []
    yield lambda echo: opened.append(echo) or echo
    for echo in opened:
        echo.close()


def succeeded(cluster, op):
    assert op.status == cluster.api.pb.OPERATION_STATUS_SUCCESS, f"{op.error} {op.hint}"
    return op


def home_is(guest, i):
    cluster = guest.cluster
    assert guest.home() == i
    wait_for(lambda: cluster.status(guest.name) == "RUNNING", 5, why="it runs, and is said to")
    assert guest.init(i) and not guest.init(1 - i)
    moving.wait_clean(cluster, but=[x.name for x in cluster.instances()])


def limits(cluster, i, name):
    """Limits of its cgroups on node i, by what they are called."""
    found = {}
    root = cluster.agents[i].cgroup_root
    for pattern in ("memory/%s/%s/payload/memory.limit_in_bytes", "memory/%s/%s/payload/memory.soft_limit_in_bytes", "pids/%s/%s/payload/pids.max",
                    "%s/%s/payload/memory.max", "%s/%s/payload/memory.high", "%s/%s/payload/pids.max", "unified/%s/%s/payload/memory.max"):
        for path in glob.glob(f"{machine.CGROUPS}/{pattern % (root, name)}"):
            with open(path, encoding="ascii") as f:
                found[os.path.relpath(path, machine.CGROUPS).split("/")[0] + "/" + os.path.basename(path)] = f.read()
    return found


def test_live_three_times_round(two, closing):
    """Processes, numbers, open files, connections, limits: nothing of it changes, however often it moves."""
    guest = Guest(two, "m1", megabytes=8, config=("-c", "limits.memory=300MiB", "-c", "limits.memory.soft=200MiB",
                                                  "-c", "limits.processes=200"))
    two.ok("launch", "busybox", "peer", "--target", two.node_names[1])
    echoes = [closing(Echo.from_node(two, 0, guest.address)), closing(Echo.from_node(two, 1, guest.address)),
              closing(Echo.from_instance(two, "peer", guest.address))]
    before, booted = limits(two, 0, "m1"), two.instance("m1").started_at_ns
    assert before and booted
    for round_ in range(3):
        for target in (1, 0):
            count = guest.status()[1]
            op = succeeded(two, moving.move(two, "m1", target))
            assert op.move.mode == two.api.pb.MOVE_MODE_LIVE and op.move.downtime_ns > 0
            home_is(guest, target)
            guest.check_files()
            guest.check_passenger()
            assert guest.status()[1] > count, f"round {round_}"
            for echo in echoes:
                echo.check()
            assert limits(two, target, "m1") == before
            assert two.instance("m1").started_at_ns == booted
    # An agent that begins anew knows it as well; a guest that boots is as old as that.
    two.agents[0].end()
    two.agents[0].start()
    two.wait_online()
    wait_for(lambda: two.status("m1") == "RUNNING", 10, why="it is found")
    assert two.instance("m1").started_at_ns == booted
    two.ok("restart", "m1")
    assert two.instance("m1").started_at_ns > booted


def dump_mounts(cluster, ident):
    """Where a dump of that move lies: (file system, options, mode of what is mounted), as the agents see it."""
    found = []
    for agent in cluster.agents:
        where = f"{agent.run_dir}/moves/{ident}"
        with open(f"/proc/{agent.pid}/mountinfo", encoding="ascii") as f:
            lines = [line.split() for line in f]
        try:
            found += [(m[m.index("-") + 1], m[m.index("-") + 3], os.stat(f"/proc/{agent.pid}/root{where}").st_mode & 0o7777)
                      for m in lines if m[4] == where]
        except FileNotFoundError:
            pass
    return found


def test_the_dump_is_in_memory_alone(two):
    """Of both nodes, where root alone comes to it, in memory that is not swapped out; then it is gone."""
    Guest(two, "m1", megabytes=64)
    ident = two.api.instances.Move(moving.request(two, "m1", 1)).id
    found = wait_for(lambda: (lambda mounts: mounts if len(mounts) == 2 else None)(dump_mounts(two, ident)), 20, 0.002, "both are there")
    succeeded(two, moving.ended(two, ident))
    assert {(kind, mode) for kind, _, mode in found} == {("tmpfs", 0o700)}, found
    if tuple(int(n) for n in os.uname().release.split(".")[:2]) >= (6, 4):
        assert all("noswap" in options for _, options, _ in found), found
    wait_for(lambda: not dump_mounts(two, ident), 10, why="both are gone")
    for agent in two.agents:
        assert not glob.glob(f"{agent.run_dir}/moves/*")


@pytest.fixture
def slow(two):
    slow_down(two)
    yield two
    for i in range(2):
        two.ns_exec(i, "nft", "delete", "table", "ip", "slow", check=True)


def test_a_slow_link_has_it_compressed(slow):
    """What can be; the rest arrives as well as before."""
    guest = Guest(slow, "m1", megabytes=8)
    slow.exec("m1", "sh", "-c", f"yes 'a line of a log, which is like others' | head -c {TEXT << 20} >/root/text;"
              f"dd if=/dev/urandom of=/root/noise bs=1M count={NOISE} 2>/dev/null; sync", check=True)
    before = slow.exec("m1", "md5sum", "/root/text", "/root/noise", check=True).stdout
    for target in (1, 0):
        report = succeeded(slow, moving.move(slow, "m1", target)).move
        assert report.bytes_raw > (TEXT + NOISE) << 20
        assert report.bytes_sent < (TEXT // 3 + NOISE + 16) << 20, report
        assert slow.exec("m1", "md5sum", "/root/text", "/root/noise", check=True).stdout == before
        guest.check_passenger()


@pytest.mark.parametrize("how", ["auto", "content"])
def test_large_memory_goes_ahead(two, closing, how):
    """Most of it is copied while it runs and changes, and put in place when it runs again: none of it is wrong."""
    guest = Guest(two, "m1", megabytes=96, config=("-c", f"migration.memory={how}"))
    expected = two.api.pb.MOVE_MEMORY_CONTENT if how == "content" else two.api.pb.MOVE_MEMORY_PRE_COPY
    echo = closing(Echo.from_node(two, 0, guest.address))
    for target in (1, 0, 1):
        count = guest.status()[1]
        op = succeeded(two, moving.move(two, "m1", target))
        assert op.move.memory == expected and op.move.rounds > 1
        assert op.move.memory_bytes > 96 << 20
        assert op.move.memory_frozen_bytes < 48 << 20, "what was copied ahead was copied again"
        assert op.move.phases["memory-in-place"] > 0
        home_is(guest, target)
        # Its sum is looked at every 16th time.
        wait_for(lambda: guest.status()[1] > count + 40, 30, why="it goes on")
        guest.check_passenger()
        echo.check()
    with open("/proc/sys/vm/unprivileged_userfaultfd", encoding="ascii") as f:
        assert f.read() == "0\n"


def test_memory_goes_all_at_once(two):
    """As the administrator wants it, from the next move on."""
    guest = Guest(two, "m1", megabytes=48)
    for value, said in (("auto", "pre-copy"), ("content", "content pre-copy"), ("soft-dirty", None), ("stop-and-copy", "stop-and-copy")):
        two.ok("config", "set", "m1", f"migration.memory={value}")
        # What it uses is looked at every now and then.
        wait_for(lambda: json.loads(two.ok("list", "m1", "--format", "json"))[0]["memory"] > 48 << 20, 10)
        out = two.ok("move", "m1", "--target", two.node_names[1], "--check", "--format", "json")
        memory, why = json.loads(out)["memory"], json.loads(out)["memory_reason"]
        if value == "soft-dirty" and memory != "soft-dirty pre-copy":  # this kernel cannot, and that is said
            assert memory == "content pre-copy" and why.startswith("migration.memory is soft-dirty, but of this kernel: ")
            continue
        assert memory == said or value == "soft-dirty"
        assert value == "auto" or why == f"migration.memory is {value}"
    op = succeeded(two, moving.move(two, "m1", 1))
    assert op.move.memory == two.api.pb.MOVE_MEMORY_STOP_AND_COPY
    guest.check_passenger()
    refused = two.cli("config", "set", "m1", "migration.memory=sometimes")
    assert refused.returncode == 1 and "auto" in refused.stderr and "content" in refused.stderr


@pytest.mark.parametrize("how", ["stop-and-copy", "auto"])
def test_memory_follows(two, closing, how):
    """Post-copy: it runs there before its memory is there, all of it or what rounds have left."""
    guest = Guest(two, "m1", megabytes=128, config=("-c", f"migration.memory={how}"))
    moving.talk(two, "m1")
    echo = closing(Echo.from_node(two, 0, guest.address))
    for target in (1, 0, 1):
        count = guest.status()[1]
        op = succeeded(two, moving.move(two, "m1", target, postcopy=True))
        assert op.move.memory == two.api.pb.MOVE_MEMORY_POST_COPY and not op.move.booted
        assert op.move.memory_reason.startswith("asked for")
        assert op.move.exposed_ns > 0
        assert 0 < op.move.downtime_ns <= op.move.peer_downtime_ns <= op.move.total_ns
        assert op.move.memory_bytes > 128 << 20
        if how == "stop-and-copy":
            assert op.move.rounds == 1 and op.move.memory_after_bytes > 120 << 20
            assert op.move.memory_frozen_bytes < 8 << 20
        home_is(guest, target)
        wait_for(lambda: guest.status()[1] > count + 40, 30, why="it goes on")
        guest.check_passenger()
        echo.check()
    assert "Exposed: " in two.ok("info", "m1")
    with open("/proc/sys/vm/unprivileged_userfaultfd", encoding="ascii") as f:
        assert f.read() == "0\n"


def test_memory_that_is_small_does_not_follow(two):
    guest = Guest(two, "m1", megabytes=4)
    op = succeeded(two, moving.move(two, "m1", 1, postcopy=True))
    assert op.move.memory == two.api.pb.MOVE_MEMORY_STOP_AND_COPY
    assert op.move.exposed_ns == 0 and op.move.memory_after_bytes == 0
    guest.check_passenger()
    for other in ({"stateless": True}, {"live": two.api.pb.LIVE_MODE_OFF}):
        with pytest.raises(grpc.RpcError) as refused:
            two.api.instances.Move(moving.request(two, "m1", 0, postcopy=True, **other))
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    refused = two.cli("move", "m1", "--postcopy", "--stateless")
    assert refused.returncode == 2 and "--postcopy" in refused.stderr
    home_is(guest, 1)


@pytest.mark.parametrize("how", ["near-live", "stateless"])
def test_stop_and_start_there(two, how):
    guest = Guest(two, "m1")
    kw = {"stateless": True} if how == "stateless" else {"live": two.api.pb.LIVE_MODE_OFF}
    for target in (1, 0):
        op = succeeded(two, moving.move(two, "m1", target, **kw))
        assert op.move.mode == two.api.pb.MOVE_MODE_NEAR_LIVE
        home_is(guest, target)
        guest.check_files()
        assert not guest.aboard()
        guest.board()


def test_cold(two):
    guest = Guest(two, "m1")
    two.ok("stop", "--force", "m1")
    for target in (1, 0, 1):
        op = succeeded(two, moving.move(two, "m1", target, live=two.api.pb.LIVE_MODE_UNSPECIFIED))
        assert op.move.mode == two.api.pb.MOVE_MODE_COLD
        assert guest.home() == target and two.status("m1") == "STOPPED"
        moving.wait_clean(two, but=["m1"])
    two.ok("start", "m1")
    guest.check_files()


@pytest.mark.parametrize("how", ["live", "off", "cold"])
def test_afterwards_it_is_an_instance_like_any_other(two, how):
    guest = Guest(two, "m1")
    if how == "cold":
        two.ok("stop", "--force", "m1")
    live = two.api.pb.LIVE_MODE_REQUIRED if how == "live" else two.api.pb.LIVE_MODE_OFF
    succeeded(two, moving.move(two, "m1", 1, live=live))
    if how == "cold":
        two.ok("start", "m1")
    assert two.exec("m1", "hostname").stdout == "m1\n"
    two.ok("freeze", "m1")
    two.ok("unfreeze", "m1")
    two.ok("restart", "--force", "m1")
    guest.check_files()
    two.ok("stop", "m1")
    two.ok("start", "m1")
    two.restart(1)
    assert two.status("m1") == "RUNNING" and guest.home() == 1
    two.ok("delete", "--force", "m1")
    moving.wait_clean(two)


def test_image_is_fetched_by_the_target(able):
    with testbed.Cluster("fetch", nodes=2) as cluster:
        testbed.ensure_image(cluster, "busybox", node=0)
        guest = Guest(cluster, "m1")
        succeeded(cluster, moving.move(cluster, "m1", 1))
        home_is(guest, 1)
        guest.check_passenger()


# ---------------------------------------------------------------- refused


def refused(cluster, name, target, **kw):
    """Why a move is refused, at once or by its operation; nothing has changed then."""
    request = moving.request(cluster, name, 0, **kw)
    request.target = target
    try:
        op = moving.ended(cluster, cluster.api.instances.Move(request).id)
    except grpc.RpcError as e:
        return e.details()
    assert op.status == cluster.api.pb.OPERATION_STATUS_FAILURE, str(op)
    return op.error


def test_refusals_touch_nothing(two):
    guest = Guest(two, "m1")
    assert "nowhere" in refused(two, "m1", "nowhere")
    assert two.node_names[0] in refused(two, "m1", two.node_names[0])
    assert "none-such" in refused(two, "none-such", two.node_names[1])
    two.ok("freeze", "m1")
    assert refused(two, "m1", two.node_names[1])
    two.ok("unfreeze", "m1")
    two.kill(1)
    wait_for(lambda: not two.is_online(two.node_names[1]), 10)
    assert two.node_names[1] in refused(two, "m1", two.node_names[1])
    two.restart(1)
    home_is(guest, 0)
    guest.check_passenger()


def test_a_name_that_is_taken_there(two):
    """By a directory that the manager does not know of: it is left alone."""
    guest = Guest(two, "m1")
    there = os.path.join(two.agents[1].dir, "instances", "m1")
    two.ok("create", "busybox", "m2", "--target", two.node_names[1])
    two.kill(1)
    os.rename(os.path.join(two.agents[1].dir, "instances", "m2"), there)
    two.restart(1)
    try:
        assert "m1" in refused(two, "m1", two.node_names[1])
        assert os.path.exists(there)
        guest.check_passenger()
    finally:
        two.kill(1)
        os.rename(there, os.path.join(two.agents[1].dir, "instances", "m2"))
        two.restart(1)


def test_same_request_is_the_same_operation(two):
    guest = Guest(two, "m1")
    request = moving.request(two, "m1", 1, request_id="again and again")
    first = two.api.instances.Move(request)
    assert two.api.instances.Move(request).id == first.id
    succeeded(two, moving.ended(two, first.id))
    assert two.api.instances.Move(request).id == first.id
    home_is(guest, 1)


# ---------------------------------------------------------------- a whole distribution


def own_tar():
    """The tar that CRIU is to use; None, and why, where a guest's root could not run it."""
    beside = os.path.join(os.path.dirname(testbed.BIN), "libexec")
    top = beside if os.path.isdir(beside) else "/usr/local/libexec/lxmgr"
    where = tar = os.path.join(top, "criu-tools", "tar")
    assert os.path.isfile(tar), f"{tar} is missing"
    while where != "/":
        if not os.stat(where).st_mode & 1:
            return None, f"{where} is closed to others: CRIU takes the machine's tar"
        where = os.path.dirname(where)
    return tar, ""


# Of a tmpfs each, and read by nobody. GNU tar, as CRIU calls it, packs whole seconds, and unpacking sets
# the time of access anew: both times survive only when the tar on both sides is our own.
KEPT = ("/run/kept", "/dev/shm/kept")
KEPT_TIMES = "2001-02-03 04:05:06.123456789 +0000|2002-03-04 05:06:07.987654321 +0000"


def keep_times(cluster, name):
    accessed, modified = KEPT_TIMES.split("|")
    for path in KEPT:
        script = f"echo kept > {path} && touch -m -d '{modified}' {path} && touch -a -d '{accessed}' {path}"
        assert cluster.exec(name, "sh", "-c", script).returncode == 0
        assert cluster.exec(name, "stat", "-f", "-c", "%T", path).stdout == "tmpfs\n"
    assert kept_times(cluster, name) == [KEPT_TIMES] * len(KEPT)


def kept_times(cluster, name):
    return cluster.exec(name, "env", "TZ=UTC", "stat", "-c", "%x|%y", *KEPT).stdout.splitlines()


# What a dump cannot have: shells in the middle of vfork(2), lines that the log has not read, news of the kernel's.
BUSY = {
    "forks": "while :; do /bin/true; /bin/true; sleep 0.01; done",
    "says": "while :; do echo a line; logger another; sleep 0.01; done",
    "news": "while :; do ip address add 10.9.9.9/32 dev lo; ip address del 10.9.9.9/32 dev lo; sleep 0.02; done",
}


def check_busy(cluster, keeper, before):
    for name, script in BUSY.items():
        assert cluster.exec("d1", "systemd-run", "--unit", name, "sh", "-c", script).returncode == 0
    for target in (1, 0, 1, 0):
        report = succeeded(cluster, moving.move(cluster, "d1", target, 120)).move
        if report.dumps_failed:
            print(f"dumped {report.dumps_failed + 1} times: {report.dump_reason}")
        assert cluster.exec("d1", *keeper).stdout == before
        for name in BUSY:
            assert cluster.exec("d1", "systemctl", "is-active", name).stdout == "active\n", name


# test_cluster_move_services.py moves the one before it.
NEWEST = "debian/13"
WATCHDOG_SECONDS = 3

# The image has no libpam-systemd, which would tell the session where its directory is.
SESSION = """
mkdir -p /etc/systemd/system/user@.service.d
printf '[Service]\\nEnvironment=XDG_RUNTIME_DIR=/run/user/%%i\\n' > /etc/systemd/system/user@.service.d/dir.conf
systemctl daemon-reload && useradd -m alice && loginctl enable-linger alice
"""


# As systemd's own services have it. Its /tmp is a part of a file system of which no more is mounted.
APART = """
printf '[Service]\\nExecStart=sleep infinity\\nPrivateTmp=disconnected\\n' > /etc/systemd/system/apart.service
systemctl daemon-reload && systemctl start apart
"""


def begin_session(cluster):
    """A user's own systemd. Of the program of its helper, a process as well, it has a descriptor opened by O_PATH."""
    assert cluster.exec("d1", "sh", "-c", SESSION).returncode == 0
    wait_for(lambda: cluster.exec("d1", "systemctl", "is-active", "user@1000").stdout == "active\n", 20, 0.1, "the session is there")


@pytest.mark.limit(300)
def test_debian_there_and_back(able):
    with testbed.Cluster("movedeb", nodes=2) as cluster:
        try:
            for i in range(2):
                testbed.ensure_image(cluster, NEWEST, node=i)
        except testbed.Unavailable as e:
            pytest.skip(str(e))
        cluster.ok("launch", NEWEST, "d1", "--target", cluster.node_names[0], timeout=120)
        state = wait_for(lambda: (lambda s: s if s in ("running", "degraded") else None)(
            cluster.exec("d1", "systemctl", "is-system-running").stdout.strip()), 90, 0.5, "systemd has started all")
        # Watched by systemd, which must go on knowing who it is.
        cluster.ok("file", "push", os.path.join(testbed.BUILD, "tests", "watched"), "d1/root/watched", "--mode", "0755")
        cluster.exec("d1", "systemd-run", "--unit", "keeper", "-p", "Type=notify", "-p", f"WatchdogSec={WATCHDOG_SECONDS}", "/root/watched")
        begin_session(cluster)
        assert cluster.exec("d1", "sh", "-c", APART).returncode == 0
        keeper = ("systemctl", "show", "-p", "MainPID,ActiveState,InvocationID", "keeper")
        before = cluster.exec("d1", *keeper).stdout
        assert "ActiveState=active" in before
        keep_times(cluster, "d1")
        tar, why = own_tar()
        for target in (1, 0):
            succeeded(cluster, moving.move(cluster, "d1", target, 120))
            if tar:
                assert kept_times(cluster, "d1") == [KEPT_TIMES] * len(KEPT)
            assert cluster.exec("d1", "systemctl", "is-system-running").stdout.strip() == state
            assert cluster.exec("d1", "systemctl", "restart", "systemd-journald").returncode == 0
            assert cluster.exec("d1", *keeper).stdout == before
            assert cluster.exec("d1", "systemctl", "is-active", "user@1000").stdout == "active\n"
        assert [cluster.exec("d1", "cat", path).stdout for path in KEPT] == ["kept\n"] * len(KEPT)
        check_busy(cluster, keeper, before)
        # None of its signs of life came while systemd did not know it.
        log = cluster.exec("d1", "journalctl", "-b", "--no-pager").stdout.splitlines()
        assert any("keeper" in line for line in log)
        refused = [line for line in log if "reception only permitted" in line]
        assert not refused, refused
        time.sleep(WATCHDOG_SECONDS + 1)
        assert cluster.exec("d1", *keeper).stdout == before, "systemd does not hear its service any more"
        if not tar:
            pytest.skip(f"all went well, but {why}")
