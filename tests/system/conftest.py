"""What system tests share: clusters of their own, a time limit each, logs of what failed.

    cluster         one for the whole session; the test's instances are deleted after it
    fresh_cluster   one for this test alone, to kill and fill
    debian          the session's cluster, with the image debian/12 in it

Both clusters have the image busybox. Without root or a kernel feature tests are skipped and
say why. Run one test with: /usr/bin/python3 -m pytest tests/system/test_x.py::test_y
"""

import os
import signal
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "testbed"))
import testbed  # noqa: E402

LIMIT_SECONDS = 120  # of a test, unless it is marked with @pytest.mark.limit(seconds)


def pytest_configure(config):
    config.addinivalue_line("markers", f"limit(seconds): how long the test may take (else {LIMIT_SECONDS})")
    config.addinivalue_line("markers", "alone: it counts what all of the machine does; no other test may run meanwhile")


def pytest_sessionstart(session):
    if os.geteuid() == 0:
        testbed.sweep()


# ---------------------------------------------------------------- time limits


class TookTooLong(Exception):
    pass


def _limited(item):
    """A test that hangs in a call is interrupted there; its fixtures are still taken down."""
    mark = item.get_closest_marker("limit")
    seconds = mark.args[0] if mark else LIMIT_SECONDS

    def ring(*_):
        raise TookTooLong(f"it took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_setup(item):
    yield from _limited(item)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    yield from _limited(item)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown(item):
    yield from _limited(item)


# ---------------------------------------------------------------- clusters


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        clusters = {id(v): v for v in item.funcargs.values() if isinstance(v, testbed.Cluster)}
        for cluster in clusters.values():
            for daemon in (cluster.manager, *cluster.agents):
                report.sections.append((f"Captured log of {daemon.name}", daemon.said()))


@pytest.fixture(scope="session")
def able():
    why = testbed.missing()
    if why:
        pytest.skip(why)


def _with_image(cluster, name, **where):
    try:
        testbed.ensure_image(cluster, name, **where)
    except testbed.Unavailable as e:
        pytest.skip(str(e))


@pytest.fixture(scope="session")
def session_cluster(able):
    with testbed.Cluster("shared") as cluster:
        _with_image(cluster, "busybox")
        yield cluster


@pytest.fixture
def cluster(session_cluster):
    session_cluster.manager.begin_log()
    session_cluster.agent.begin_log()
    yield session_cluster
    for which in ("manager", "agent"):
        if not session_cluster.daemon(which).pid:
            session_cluster.restart(which)
            pytest.fail(f"{session_cluster.daemon(which).name} died:\n{session_cluster.daemon(which).said()}")
    session_cluster.remove_instances()
    session_cluster.wait_clean()


@pytest.fixture
def fresh_cluster(able):
    with testbed.Cluster("fresh") as cluster:
        _with_image(cluster, "busybox")
        yield cluster


@pytest.fixture(scope="module")
def whole(able, request):
    """Two nodes with busybox, for a module that says what they are called: CLUSTER."""
    with testbed.Cluster(request.module.CLUSTER, nodes=2) as two:
        for i in range(2):
            _with_image(two, "busybox", node=i)
        yield two


@pytest.fixture(scope="session")
def session_debian(session_cluster):
    _with_image(session_cluster, "debian/12")
    return session_cluster


@pytest.fixture
def debian(session_debian, cluster):
    _with_image(cluster, "debian/12")  # a test before may have removed all images
    return cluster
