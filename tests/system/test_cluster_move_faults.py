"""Never lost, never twice: moves during which something is killed, or the link between the nodes cut.

Each case moves a guest with a passenger, waits for a moment of the move, strikes, and puts in order
again what a machine would (daemons are started again, the link is mended). When that moment cannot
be met exactly the strike comes a little later: either outcome is right, and what is asserted holds
for both. Exactly one node runs the guest and the manager knows which; what it wrote before is
there; the operation says what happened; and when the guest was not moved, or was moved live, its
processes and its connections have gone through it.
"""

import os
import random
import sys
import time

import grpc
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import machine  # noqa: E402
import moving  # noqa: E402
import testbed  # noqa: E402
from moving import Echo, Guest  # noqa: E402
from striking import END_SECONDS, STRIKES, Moment, begin_logs, brief, find, mend_all, put_in_order, slow_down, states, strike, unsettled  # noqa: E402
from testbed import wait_for  # noqa: E402

MEGABYTES = 24


CLUSTER = "faults"


@pytest.fixture(scope="module")
def slow(whole):
    slow_down(whole)
    return whole


@pytest.fixture
def two(slow):
    begin_logs(slow)
    yield slow
    mend_all(slow)
    slow.remove_instances()
    moving.wait_clean(slow)


# ---------------------------------------------------------------- cases

# Every state of both journals (of RUNNING every phase).
MOMENTS = ["destination:EXPECTED", "phase:files", "phase:freeze", "phase:dump", "phase:last files", "destination:READY", "source:COMMITTED",
           "destination:COMMITTED", "source:DONE"]
# Over in a moment: these may be missed.
PASSING = ("destination:EXPECTED", "source:COMMITTED", "destination:COMMITTED", "source:DONE")


def cannot_be(what, moment):
    """CRIU's processes are not there all the time, though the destination's waits from the first file on; nor are workers."""
    if what == "source criu":
        return moment in ("destination:EXPECTED", "phase:files", "destination:COMMITTED", "source:DONE")
    if what.endswith(("criu", "worker")):
        return moment in ("destination:EXPECTED", "source:DONE")
    return False


def check(guest, echo, op, source, where):
    cluster = guest.cluster
    moved = op.status == cluster.api.pb.OPERATION_STATUS_SUCCESS
    wait_for(lambda: not unsettled(cluster), 20, 0.1, f"{where}: both journals have ended, {states(cluster, 0)} {states(cluster, 1)}; {brief(op)}")
    home = guest.home()
    assert moved == (home != source), f"{where}: home is {home}, {brief(op)}"
    assert moved or op.error, where
    wait_for(lambda: cluster.status(guest.name) == "RUNNING", 10, 0.1, f"{where}: it runs, {cluster.instance(guest.name)}")
    assert not guest.init(1 - home), f"{where}: it is there twice"
    assert guest.init(home), where
    assert not moving.frozen(guest, home), where
    guest.check_files()
    # liblxc ends a guest whose CRIU does not end well, though it runs already.
    if where == "destination criu at destination:COMMITTED" and op.move.booted and not guest.aboard():
        return
    assert guest.aboard(), f"{where}: it was booted, {brief(op)}"
    guest.check_passenger()
    try:
        echo.check()
    except AssertionError as e:
        raise AssertionError(f"{where}: {e}; {brief(op)}") from None
    moving.wait_clean(cluster, but=[guest.name])


def case(cluster, guest, echo, what, moment):
    """One move with one strike. Returns how it ended, in a word."""
    source = guest.home()
    where = f"{what} at {moment}"
    ident = cluster.api.instances.Move(moving.request(cluster, guest.name, 1 - source)).id
    met = Moment(moment).watch(cluster, ident, source)
    struck = met and strike(cluster, what, source)
    # CRIU is started there when the first file has come.
    assert struck or moment in PASSING or (what, moment) == ("destination criu", "phase:files"), f"{where}: missed"
    if struck:
        put_in_order(cluster, what)
    op = moving.ended(cluster, ident, END_SECONDS)
    if struck and what.endswith("criu") and op.error:
        assert "CRIU" in op.error, f"{where}: {brief(op)}"
    check(guest, echo, op, source, where)
    moved = "moved" if op.status == cluster.api.pb.OPERATION_STATUS_SUCCESS else f"stayed ({op.error})"
    return f"{where}: {'struck' if struck else 'missed'}, {moved}"


@pytest.mark.limit(300)
@pytest.mark.parametrize("what", STRIKES)
def test_struck(two, what):
    guest = Guest(two, "m1", megabytes=MEGABYTES)
    echo = Echo.from_node(two, 0, guest.address)
    try:
        for moment in MOMENTS:
            if not cannot_be(what, moment):
                print(case(two, guest, echo, what, moment))
    finally:
        echo.close()


# CRIU has processes run code of its own for a good part of that time: who is struck then cannot be saved.
STRUCK_WITHIN = 0.09
MANY = 20


def settle(guest):
    """CRIU takes what lies unread in terminals, and puts it back a little later: all else is as it was."""
    before = guest.status()[1]
    wait_for(lambda: guest.status()[1] > before + 16, 10, why=f"it counts on from {before}")
    pid, _, wrong = guest.status()
    assert pid == guest.pid and (wrong == "well" or wrong.startswith("the terminal")), f"process {pid} of {guest.pid} says: {wrong}"
    if wrong != "well":
        guest.cluster.exec(guest.name, "kill", "-9", str(pid))
        wait_for(lambda: not guest.aboard(), 5, why="it has gone")
        guest.board(8)


@pytest.mark.limit(300)
def test_source_criu_killed_at_any_moment(two):
    """The guest goes on, all of it or with what the operation names; or it has ended, is started again, and the operation says so."""
    guest = Guest(two, "m1", megabytes=8)
    for i in range(MANY):
        source, delay = guest.home(), random.uniform(0, STRUCK_WITHIN)
        where = f"strike {i}, after {delay:.3f} s"
        ident = two.api.instances.Move(moving.request(two, "m1", 1 - source)).id
        met = Moment("phase:freeze").watch(two, ident, source)
        time.sleep(delay)
        struck = met and strike(two, "source criu", source)
        op = moving.ended(two, ident, END_SECONDS)
        home = guest.home()
        moved = op.status == two.api.pb.OPERATION_STATUS_SUCCESS
        assert moved == (home != source), f"{where}: home is {home}, {brief(op)}"
        # At once, and without anybody's doing.
        assert two.status("m1") == "RUNNING", f"{where}: {two.instance('m1')}, {brief(op)}"
        assert guest.init(home) and not guest.init(1 - home), where
        assert not moving.frozen(guest, home), where
        guest.check_files()
        booted, lost = "was started again" in op.error, "passenger" in op.hint
        if not moved:
            assert struck and "CRIU was killed by signal 9" in op.error, f"{where}: {brief(op)}"
        if guest.aboard():
            assert not booted and (lost or moved or "go on" in op.hint), f"{where}: {brief(op)} {op.hint}"
            settle(guest)
        else:
            assert booted or lost, f"{where}: it has ended and nobody says so, {brief(op)} {op.hint}"
            guest.board(8)
        print(f"{where}: {'moved' if moved else 'booted' if booted else 'passenger lost' if lost else 'stayed'}")
        moving.wait_clean(two, but=["m1"])
    for agent in two.agents:
        with open(agent.log, encoding="utf-8") as f:
            assert "this is a bug" not in f.read()


# ---------------------------------------------------------------- memory that goes ahead

LARGE = 48  # MiB: more than is copied while a guest stands still


def not_allowed_any_more():
    """Userfaultfd to everybody: only while CRIU restores, also when who allowed it is killed."""
    with open("/proc/sys/vm/unprivileged_userfaultfd", encoding="ascii") as f:
        return f.read() == "0\n"


@pytest.mark.limit(300)
@pytest.mark.parametrize("what", [s for s in STRIKES if s != "manager"])
def test_struck_with_memory_ahead(two, what):
    guest = Guest(two, "m1", megabytes=LARGE)
    echo = Echo.from_node(two, 0, guest.address)
    moments = ["phase:memory", "phase:dump", "destination:READY"]
    if what in ("destination agent", "destination worker"):
        moments.append("destination:COMMITTED")  # the guest runs, but not all its memory is in place
    try:
        for moment in moments:
            if not (moment != "destination:READY" and what == "destination criu"):
                print(case(two, guest, echo, what, moment))
                wait_for(not_allowed_any_more, 10, 0.1, f"{what} at {moment}: userfaultfd is not for everybody")
    finally:
        echo.close()


def strike_keeper(cluster, i):
    moves = f"{cluster.agents[i].run_dir}/moves/"
    found = find(lambda a: a[0] == "lx-memory-keeper" and moves in a[1])
    for pid in found:
        machine.kill(pid)
    return bool(found)


@pytest.mark.parametrize("postcopy", [False, True])
def test_memory_is_right_or_the_guest_is_booted(two, postcopy):
    """The keeper is killed while it puts memory in place: zeros must not be taken for it."""
    guest = Guest(two, "m1", megabytes=128, config=("-c", "migration.memory=stop-and-copy") if postcopy else ())
    source = guest.home()
    ident = two.api.instances.Move(moving.request(two, "m1", 1 - source, postcopy=postcopy)).id
    assert Moment("destination:COMMITTED").watch(two, ident, source)
    struck = strike_keeper(two, 1 - source)
    op = moving.ended(two, ident, END_SECONDS)
    assert op.status == two.api.pb.OPERATION_STATUS_SUCCESS, op.error
    assert guest.home() == 1 - source and not guest.init(source)
    wait_for(lambda: two.status("m1") == "RUNNING", 10, 0.1, "it runs")
    guest.check_files()
    if guest.aboard():
        count = guest.status()[1]
        wait_for(lambda: guest.status()[1] > count + 40, 30, why="it goes on")
        guest.check_passenger()
    else:
        assert struck, "it was booted for no reason"
    moving.wait_clean(two, but=["m1"])


# ---------------------------------------------------------------- memory that follows

FOLLOWS = 192  # MiB: seconds at the pace of that link


@pytest.mark.limit(300)
@pytest.mark.parametrize("what", STRIKES)
def test_struck_while_memory_follows(two, what):
    """Post-copy, from COMMIT until all is there: it runs on with all of its memory, or is booted; not with less."""
    guest = Guest(two, "m1", megabytes=FOLLOWS, config=("-c", "migration.memory=stop-and-copy"))
    for moment in ("phase:dump", "destination:READY", "source:COMMITTED", "destination:COMMITTED"):
        source = guest.home()
        where = f"{what} at {moment}"
        ident = two.api.instances.Move(moving.request(two, "m1", 1 - source, postcopy=True)).id
        struck = Moment(moment).watch(two, ident, source) and strike(two, what, source)
        if struck:
            put_in_order(two, what)
        op = moving.ended(two, ident, END_SECONDS)
        moved = op.status == two.api.pb.OPERATION_STATUS_SUCCESS
        wait_for(lambda: not unsettled(two), 20, 0.1, f"{where}: both journals have ended, {brief(op)}")
        home = guest.home()
        assert moved == (home != source), f"{where}: home is {home}, {brief(op)}"
        wait_for(lambda: two.status("m1") == "RUNNING", 10, 0.1, f"{where}: it runs")
        assert guest.init(home) and not guest.init(1 - home), where
        guest.check_files()
        aboard = guest.aboard()
        print(f"{where}: {'struck' if struck else 'missed'}, {'moved' if moved else 'stayed'}, "
              f"{'aboard' if aboard else 'booted'} {op.move.booted}")
        if aboard:
            count = guest.status()[1]
            wait_for(lambda n=count: guest.status()[1] > n + 40, 30, why=f"{where}: it goes on")
            guest.check_passenger()
            assert not op.move.booted, where
        else:
            # A source agent that was away tells when it is back.
            wait_for(lambda i=ident: not moving.operation(two, i).move.awaited, 20, 0.1, f"{where}: the source has told its figures")
            assert struck and moved and moving.operation(two, ident).move.booted, f"{where}: it was booted for no reason, or none is said"
            guest.board(FOLLOWS)
        wait_for(not_allowed_any_more, 10, 0.1, f"{where}: userfaultfd is not for everybody")
        moving.wait_clean(two, but=["m1"])


# ---------------------------------------------------------------- forged and replayed


class Impostor:
    """Calls an agent with the certificate of a node."""

    def __init__(self, cluster, whose, target):
        self.pb = cluster.api.pb

        def pem(leaf):
            with open(os.path.join(cluster.agents[whose].dir, "pki", leaf), "rb") as f:
                return f.read()

        credentials = grpc.ssl_channel_credentials(pem("ca.crt"), pem("agent.key"), pem("agent.crt"))
        self.channel = grpc.secure_channel(f"{cluster.underlay.address(target)}:{cluster.agent_port}", credentials,
                                           options=[("grpc.ssl_target_name_override", cluster.node_names[target])])

    def transfer(self, *frames):
        """How the agent ends a stream of these."""
        call = self.channel.stream_stream("/lxmgr.v1.AgentService/Transfer",
                                          request_serializer=lambda m: m.SerializeToString(),
                                          response_deserializer=self.pb.MoveFrame.FromString)(iter(frames), timeout=10)
        try:
            return list(call)
        except grpc.RpcError as e:
            return e.code()

    def outcome(self, operation, instance):
        call = self.channel.unary_unary("/lxmgr.v1.AgentService/AskOutcome",
                                        request_serializer=lambda m: m.SerializeToString(),
                                        response_deserializer=self.pb.MoveOutcome.FromString)
        try:
            return call(self.pb.MoveOutcomeRequest(operation=operation, instance=instance), timeout=10).state
        except grpc.RpcError as e:
            return e.code()

    def opening(self, operation, generation=2):
        return self.pb.MoveFrame(open=self.pb.MoveOpen(operation=operation, instance="m1", generation=generation, version=1))


def test_forged_and_replayed_streams_are_refused(able):
    denied = grpc.StatusCode.PERMISSION_DENIED
    with testbed.Cluster("forged", nodes=3) as cluster:
        for i in range(2):
            testbed.ensure_image(cluster, "busybox", node=i)
        slow_down(cluster)
        guest = Guest(cluster, "m1", megabytes=MEGABYTES)
        source, stranger = Impostor(cluster, 0, 1), Impostor(cluster, 2, 1)
        unknown = "00000000-0000-0000-0000-000000000000"
        evil = stranger.pb.MoveFrame(entry=stranger.pb.TreeEntry(path="evil", mode=0o100644))
        assert source.transfer(source.opening(unknown), evil) == denied
        assert source.transfer(evil) == grpc.StatusCode.INVALID_ARGUMENT
        assert source.transfer(source.opening("../../etc/passwd"), evil) == denied
        ident = cluster.api.instances.Move(moving.request(cluster, "m1", 1)).id
        assert Moment("phase:files").watch(cluster, ident, 0)
        # From another node, and by the right one a second time.
        assert stranger.transfer(stranger.opening(ident), evil) == denied
        assert source.transfer(source.opening(ident), evil) == denied
        assert stranger.outcome(ident, "m1") == grpc.StatusCode.NOT_FOUND
        assert source.outcome(ident, "other") == grpc.StatusCode.NOT_FOUND
        op = moving.ended(cluster, ident)
        assert op.status == cluster.api.pb.OPERATION_STATUS_SUCCESS, op.error
        for generation in (2, 3):
            assert source.transfer(source.opening(ident, generation), evil) == denied
        assert not os.path.exists(f"{cluster.agents[1].dir}/instances/m1/upper/evil")
        guest.check_passenger()
