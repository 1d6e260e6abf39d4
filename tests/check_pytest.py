"""pytest runs of tests/check.py: what they print while they run, and how their tests are counted."""

import os
import re
import subprocess
import sys
import tempfile
import threading
import time

from check_tally import count_junit, ended

HERE = os.path.dirname(os.path.abspath(__file__))
SECOND_CHANCES = 25  # tests that fail and are run again; when more do, something is broken
LAST_WORDS_SECONDS = 5  # for output that comes after a process has ended

AGAIN = f"{sys.executable} -m pytest -p no:cacheprovider"
COLLECTED = re.compile(r"\bcollected (\d+) item.*?(?:/ (\d+) selected)?$")
OUTCOME = re.compile(r"^(\S+::.*?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b")
NO_TESTS = 5  # pytest's exit code
NAME_MAX = 120  # of a test's name on the screen: parameters can be long


class Screen:
    """Outcomes of processes that run at the same time, a line each, counted."""

    def __init__(self, show):
        self.show, self.lock = show, threading.Lock()
        self.total, self.done = "?", 0
        self.seen = set()

    def line(self, text):
        collected, outcome = COLLECTED.search(text), OUTCOME.match(text)
        with self.lock:
            if collected:
                self.total = collected.group(2) or collected.group(1)
            elif outcome and self.show:
                test, what = outcome.groups()
                self.done += test not in self.seen  # an error of a fixture's end comes after the outcome
                self.seen.add(test)
                print(f"   [{self.done}/{self.total}] {test[:NAME_MAX]} {what}", flush=True)


class Process:
    """One pytest; its report is a file, its output is kept and shown line by line."""

    def __init__(self, screen, report, argv, env):
        self.report, self.said = report, []
        self.child = subprocess.Popen(
            [*AGAIN.split(), "-v", "--no-header", "--no-summary", f"--junit-xml={report}", *argv],
            env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True, text=True, errors="replace",
        )  # fmt: skip
        self.reader = threading.Thread(target=self.read, args=(screen,), daemon=True)
        self.reader.start()

    def read(self, screen):
        for text in self.child.stdout:
            self.said.append(text)
            screen.line(text.rstrip())

    def wait(self, until):
        """The exit code. What still runs at that time is killed with its children."""
        try:
            self.child.wait(max(0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill()
            self.said.append("killed: it took too long\n")
        self.reader.join(LAST_WORDS_SECONDS)
        return self.child.returncode

    def kill(self):
        if self.child.poll() is None:
            os.killpg(self.child.pid, 9)
            self.child.wait()


def run(tally, name, argvs, timeout, show=True):
    """Runs pytest once for each list of arguments, all at the same time. Returns what failed, or None when one
    of them came to no proper end, which is a failure by itself."""
    build = os.environ.get("BUILD", "build")
    env = {"BUILD": build, "LX_BUILD": os.path.abspath(build), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": HERE}
    screen, until = Screen(show), time.monotonic() + timeout
    failed, broken = [], False
    with tempfile.TemporaryDirectory() as tmp:
        processes = []
        try:
            for i, argv in enumerate(argvs):
                processes.append(Process(screen, os.path.join(tmp, f"report{i}.xml"), argv, env))
            codes = [p.wait(until) for p in processes]
        finally:
            for p in processes:
                p.kill()
        for p, code, argv in zip(processes, codes, argvs):
            if os.path.exists(p.report):
                failed += count_junit(tally, p.report, AGAIN)
            if code not in (0, 1, NO_TESTS) or not os.path.exists(p.report):
                broken = True
                tally.fail(f"{name}: {ended(code)}", "".join(p.said), f"{AGAIN} {' '.join(argv)}")
    return None if broken else failed


def second_chance(stage, tally, name, failed, timeout):
    """Runs the few that failed once more, one after the other. What then passes counts as passed, and is listed
    with its first failure as UNSTABLE: these tests share a machine with others."""
    if not failed or len(failed) > SECOND_CHANCES:
        return
    stage.say(f"once more: {len(failed)}")
    tally.withdraw(failed)
    tally.settle(ran=run(tally, name, [failed], timeout) is not None)


def whole(tally, name, paths, timeout, show=False):
    """One process. That it finds no test is a failure."""
    before = tally.counts()
    if run(tally, name, [paths], timeout, show) is not None and tally.counts() == before:
        tally.fail(f"{name}: no tests", "pytest found none", f"{AGAIN} {' '.join(paths)}")


def shared(stage, tally, name, path, timeout, processes, beside):
    """Several processes that share the files (check_share.py) and the machine with what is done beside. When that
    is over, what must run alone, and second chances."""
    before = tally.counts()
    with tempfile.TemporaryDirectory() as queue:
        failed = run(tally, name, [["-p", "check_share", f"--share={queue}", path]] * processes, timeout)
    beside.wait()
    alone = run(tally, name, [["-m", "alone", path]], timeout)
    if tally.counts() == before:
        tally.fail(f"{name}: no tests", "pytest found none", f"{AGAIN} {path}")
    if failed is not None and alone is not None:
        second_chance(stage, tally, name, failed + alone, timeout)
