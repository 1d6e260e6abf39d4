"""Live moves of guests in whose sockets something waits that CRIU does not dump: they go on for a moment, and are dumped again.

The guest has a process that is slow to take what was sent to it, and does so when it is told to
(tests/system/migration/hoarder.c).
"""

import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import moving  # noqa: E402
from moving import Echo, Guest  # noqa: E402
from striking import END_SECONDS, Moment, brief, mend_all, put_in_order, strike, unsettled  # noqa: E402
from testbed import wait_for  # noqa: E402

CLUSTER = "move"  # of two nodes: conftest.py
STATUS, WORD = "/run/hoarder", "/run/take-it"
FLOOD = "/run/flooder"
LARGE = 48  # MiB: more than is copied while a guest stands still
SAYS = {"netlink": "The socket has data to read", "log": "Control messages in queue"}


@pytest.fixture
def two(whole):
    for daemon in (whole.manager, *whole.agents):
        daemon.begin_log()
    yield whole
    mend_all(whole)
    whole.remove_instances()
    moving.wait_clean(whole)


class Hoarding(Guest):
    def __init__(self, cluster, name, what):
        super().__init__(cluster, name)
        self.bring("hoarder", what, STATUS, WORD)
        wait_for(self.said, 10, why="something waits for it")
        self.hoarder = self.said()[0]

    def said(self):
        """(pid, bytes taken, what is wrong), or None."""
        return self.told(STATUS)

    def take(self):
        assert self.cluster.exec(self.name, "touch", WORD).returncode == 0

    def check(self, why):
        wait_for(lambda: self.said()[1] or self.said()[2] != "well", 10, why=f"{why}: it takes what was sent to it")
        assert (self.said()[0], self.said()[2]) == (self.hoarder, "well"), f"{why}: {self.said()}"
        self.check_passenger()


def begin(cluster, target=1):
    """A move whose first dump has failed."""
    ident = cluster.api.instances.Move(moving.request(cluster, "m1", target)).id
    assert Moment("phase:again").watch(cluster, ident, 1 - target), brief(moving.operation(cluster, ident))
    return ident


@pytest.mark.parametrize("what", SAYS)
def test_dumped_again(two, what):
    guest = Hoarding(two, "m1", what)
    echo = Echo.from_node(two, 0, guest.address)
    ident = begin(two)
    guest.take()
    op = moving.ended(two, ident, END_SECONDS)
    assert op.status == two.api.pb.OPERATION_STATUS_SUCCESS, brief(op)
    report = op.move
    assert report.dumps_failed >= 1 and SAYS[what] in report.dump_reason, report
    # What it stood still for then is told, and is not part of the downtime.
    assert report.stood_ns > 0 and report.downtime_ns + report.stood_ns < report.total_ns, report
    assert f"Dumped: {report.dumps_failed + 1} times" in two.ok("info", "m1")
    guest.check(what)
    echo.check()
    echo.close()
    # The next one finds nothing in its way; and the socket is as it was.
    assert moving.move(two, "m1", 0).move.dumps_failed == 0
    guest.check_passenger()
    assert two.exec("m1", "sh", "-c", f"rm {STATUS}; touch {WORD}").returncode == 0
    wait_for(guest.said, 10, why="it says how it is")
    assert guest.said()[2] in ("well", "what was sent to it is lost"), guest.said()


def test_what_does_not_pass_ends_the_move(two):
    """As often as that it stands still for nothing, and no oftener; it runs on where it is, and can be moved then."""
    guest = Hoarding(two, "m1", "netlink")
    echo = Echo.from_node(two, 0, guest.address)
    op = moving.ended(two, begin(two), END_SECONDS)
    assert op.status == two.api.pb.OPERATION_STATUS_FAILURE and SAYS["netlink"] in op.error and "4 times" in op.error, brief(op)
    assert "--live=off" in op.hint, op.hint
    assert guest.home() == 0
    echo.check()
    guest.check_passenger()
    moving.wait_clean(two, but=["m1"])
    guest.take()
    guest.check("after a move that failed")
    assert moving.move(two, "m1", 1).move.dumps_failed == 0
    echo.check()
    echo.close()
    guest.check_passenger()


def test_what_does_not_pass_is_moved_near_live_where_that_will_do(two):
    """The rung below, which nobody has forbidden; the report says why, in the operation and in info."""
    guest = Hoarding(two, "m1", "netlink")
    op = moving.ended(two, two.api.instances.Move(moving.request(two, "m1", 1, live=two.api.pb.LIVE_MODE_PREFERRED)).id, END_SECONDS)
    assert op.status == two.api.pb.OPERATION_STATUS_SUCCESS, brief(op)
    assert op.move.mode == two.api.pb.MOVE_MODE_NEAR_LIVE and SAYS["netlink"] in op.move.reason and "4 times" in op.move.reason, op.move
    assert guest.home() == 1
    wait_for(lambda: two.status("m1") == "RUNNING", 10, why="it runs there")
    guest.check_files()
    assert SAYS["netlink"] in two.ok("info", "m1")
    moving.wait_clean(two, but=["m1"])


def test_a_log_that_is_never_empty(two):
    """Who writes to it is held for a moment, until it has been read: nothing stands still for nothing."""
    guest = Guest(two, "m1")
    guest.bring("flooder", FLOOD)
    wait_for(lambda: guest.told(FLOOD), 10, why="it is flooded")
    echo = Echo.from_node(two, 0, guest.address)
    for target in (1, 0):
        op = moving.move(two, "m1", target)
        assert op.status == two.api.pb.OPERATION_STATUS_SUCCESS and op.move.dumps_failed == 0, f"{brief(op)} {op.move}"
        assert "drain" in {p for p in op.move.phases}, op.move
        before = guest.told(FLOOD)
        wait_for(lambda: guest.told(FLOOD)[1] > before[1] + 200, 10, why="it is flooded on")
        assert (guest.told(FLOOD)[0], guest.told(FLOOD)[2]) == (before[0], "well")
        echo.check()
        guest.check_passenger()
    echo.close()


def test_struck_while_a_log_is_read(two):
    """Whoever was held goes on."""
    guest = Guest(two, "m1")
    guest.bring("flooder", FLOOD)
    wait_for(lambda: guest.told(FLOOD), 10, why="it is flooded")
    ident = two.api.instances.Move(moving.request(two, "m1", 1)).id
    assert Moment("phase:drain").watch(two, ident, 0), brief(moving.operation(two, ident))
    assert strike(two, "source worker", 0)
    op = moving.ended(two, ident, END_SECONDS)
    assert op.status == two.api.pb.OPERATION_STATUS_FAILURE and guest.home() == 0, brief(op)
    before = guest.told(FLOOD)
    wait_for(lambda: guest.told(FLOOD)[1] > before[1] + 2000, 20, why="it is flooded on")
    assert guest.told(FLOOD)[2] == "well"
    guest.check_passenger()
    moving.wait_clean(two, but=["m1"])


@pytest.mark.limit(300)
@pytest.mark.parametrize("what", ["source worker", "destination worker", "source agent", "link"])
def test_struck_between_two_dumps(two, what):
    """One copy runs in the end, with all it had, and nothing else is left."""
    guest = Hoarding(two, "m1", "netlink")
    ident = begin(two)
    struck = strike(two, what, 0)
    put_in_order(two, what)
    guest.take()
    op = moving.ended(two, ident, END_SECONDS)
    wait_for(lambda: not unsettled(two), 20, 0.1, f"both journals have ended; {brief(op)}")
    moved = op.status == two.api.pb.OPERATION_STATUS_SUCCESS
    assert guest.home() == moved and bool(guest.init(moved)) and not guest.init(1 - moved), brief(op)
    print(f"{what}: {'struck' if struck else 'missed'}, {'moved' if moved else f'stayed ({op.error})'}")
    wait_for(lambda: two.status("m1") == "RUNNING", 20, 0.1, "it runs")
    guest.check(what)
    moving.wait_clean(two, but=["m1"])


def test_a_killed_criu_ends_the_move(two):
    """That is nothing which passes: the guest goes on, and does not stand still for it again."""
    guest = Guest(two, "m1", megabytes=LARGE)
    ident = two.api.instances.Move(moving.request(two, "m1", 1)).id
    assert Moment("phase:memory").watch(two, ident, 0), brief(moving.operation(two, ident))
    assert strike(two, "source criu", 0)
    op = moving.ended(two, ident, END_SECONDS)
    assert op.status == two.api.pb.OPERATION_STATUS_FAILURE and "CRIU was killed" in op.error, brief(op)
    assert op.move.dumps_failed == 0 and "times" not in op.error, brief(op)
    assert guest.home() == 0
    guest.check_passenger()
