"""A pytest plugin by which several pytest processes share one set of test files.

    pytest -p check_share --share=DIR tests/system      as many times at once as there are processors

Each process collects everything and takes one file after the other that no other process has taken: a file
is taken by making an empty one of its name in DIR. Files go in the order of how long a test of theirs may take
(the mark `limit`), then of how long all may, longest first, so that all processes end at about the same time: a
long one that is begun last keeps the others waiting. Fixtures of a session live on from file to file. Tests marked
`alone` are left out: they count what all of the machine does.
"""

import itertools
import os

import pytest

LIMIT_SECONDS = 120  # of a test without the mark


def pytest_addoption(parser):
    parser.addoption("--share", metavar="DIR", help="run only the files that no other process has taken in DIR")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--share"):
        alone = [i for i in items if i.get_closest_marker("alone")]
        items[:] = [i for i in items if not i.get_closest_marker("alone")]
        config.hook.pytest_deselected(items=alone)


def weight(items):
    marks = [i.get_closest_marker("limit") for i in items]
    seconds = [m.args[0] if m else LIMIT_SECONDS for m in marks]
    return max(seconds), sum(seconds)


def takings(directory, items):
    """Yields lists of tests, a file's each, once they are ours."""
    files = [list(group) for _, group in itertools.groupby(items, lambda i: i.path)]
    for tests in sorted(files, key=weight, reverse=True):
        name = os.path.relpath(tests[0].path, tests[0].config.rootpath).replace(os.sep, "-")
        try:
            os.close(os.open(os.path.join(directory, name), os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            continue
        yield tests


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session):
    directory = session.config.getoption("--share")
    if not directory or session.testsfailed or session.config.option.collectonly:
        return None  # pytest's own
    ours = itertools.chain.from_iterable(takings(directory, session.items))
    item = next(ours, None)
    while item:
        # Taken before this one has ended: what is to live on is decided by what comes next.
        following = next(ours, None)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
        item = following
    return True
