"""What the stages of tests/check.py found: outcomes, reasons, and the closing line."""

import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

TAIL_LINES = 60  # of a failed test's output

# "[  FAILED  ] name" of cmocka; the lines between RUN and the outcome are the test's own.
CMOCKA = re.compile(r"^\[ +(RUN|OK|FAILED|SKIPPED|ERROR) +\] ([A-Za-z_]\w*)\s*$")


def tail(text, lines=TAIL_LINES):
    return "\n".join(text.rstrip().splitlines()[-lines:])


class Tally:
    def __init__(self):
        self.passed = 0
        self.failures = []  # (name, output, how to run just that)
        self.skips = []  # (name, reason)
        self.withdrawn = []  # failures whose tests are run again
        self.unstable = []  # of those, the ones that did not fail again

    def ok(self, n=1):
        self.passed += n

    def fail(self, name, output, again):
        self.failures.append((name, tail(output), again))

    def skip(self, name, reason):
        self.skips.append((name, " ".join(reason.split()) or "no reason given"))

    def withdraw(self, names):
        """Takes these failures back, until settle() after the second run of their tests."""
        self.withdrawn = [f for f in self.failures if f[0] in names]
        self.failures = [f for f in self.failures if f[0] not in names]

    def settle(self, ran=True):
        """What did not run again, or was skipped the second time, has not passed: its failure stands."""
        failed, skipped = {f[0] for f in self.failures}, {s[0] for s in self.skips}
        self.failures += [f for f in self.withdrawn if f[0] in skipped or (not ran and f[0] not in failed)]
        self.unstable += [f for f in self.withdrawn if ran and f[0] not in failed | skipped]
        self.withdrawn = []

    def counts(self):
        return self.passed, len(self.failures), len(self.skips)

    def closing_line(self):
        return "%d passed, %d failed, %d skipped" % self.counts()

    def report(self):
        """Failures with their output, skips with their reason, then the closing line."""
        for name, output, again in self.unstable:
            print(f"\nUNSTABLE {name}: failed at first, then passed\n{output}\n    again: {again}")
        for name, output, again in self.failures:
            print(f"\nFAILED {name}\n{output}\n    again: {again}")
        if self.skips:
            print()
        for name, reason in self.skips:
            print(f"SKIPPED {name}: {reason}")
        print()
        print(self.closing_line())
        sys.stdout.flush()


POLL_SECONDS = 1  # how soon it is seen that a command is to end


def run(argv, timeout, env=None, over=None, began=None):
    """(exit code, output). After `timeout` seconds, or once the event `over` is set, the command and its children
    are killed. `began` is called with its number, which is also its session's."""
    until = time.monotonic() + timeout
    child = subprocess.Popen(
        argv,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    if began:
        began(child.pid)
    try:
        out = None
        while out is None:
            left = until - time.monotonic()
            try:
                out, _ = child.communicate(timeout=min(left, POLL_SECONDS) if over else left)
            except subprocess.TimeoutExpired:
                if time.monotonic() >= until or (over and over.is_set()):
                    break
    except BaseException:
        os.killpg(child.pid, 9)
        child.communicate()
        raise
    if out is None:
        os.killpg(child.pid, 9)
        out, _ = child.communicate()
        why = "it was interrupted" if over and over.is_set() else f"it took longer than {timeout} s"
        return -9, (out or b"").decode(errors="replace") + f"\nkilled: {why}"
    return child.returncode, (out or b"").decode(errors="replace")


def ended(code):
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


def count_cmocka(tally, program, code, output, again):
    """Takes the outcomes out of a cmocka program's output. Returns how many failed."""
    name = os.path.basename(program)
    failed = 0
    said = []
    before = len(tally.skips)
    for line in output.splitlines():
        m = CMOCKA.match(line)
        if not m:
            said.append(line)
            continue
        what, test = m.groups()
        if what == "RUN":
            said = []
        elif what == "OK":
            tally.ok()
        elif what == "SKIPPED" and not any(s[0] == f"{name}: {test}" for s in tally.skips[before:]):
            tally.skip(f"{name}: {test}", " ".join(x for x in said if "Skipped!" not in x))
        elif what != "SKIPPED" and not any(f[0] == f"{name}: {test}" for f in tally.failures):  # listed again at the end
            failed += 1
            tally.fail(f"{name}: {test}", "\n".join(said), again)
    if code != 0 and not failed:
        failed = 1
        tally.fail(f"{name}: {ended(code)}", output, again)
    return failed


def count_junit(tally, path, again):
    """Takes the outcomes out of pytest's report. `again` gets the test's id appended. Returns what failed."""
    failed = []
    for case in ElementTree.parse(path).iter("testcase"):
        where = case.get("classname", "").replace(".", "/") + ".py"
        test = f"{where}::{case.get('name')}"
        skipped = case.find("skipped")
        wrong = [x for x in case if x.tag in ("failure", "error")]
        if wrong and test in failed:
            continue  # failed in the test and again in its fixture's end: once is enough
        if wrong:
            failed.append(test)
            said = [case.findtext(x) or "" for x in ("system-out", "system-err")]
            tally.fail(test, "\n".join([*said, *(x.text or x.get("message", "") for x in wrong)]), f"{again} '{test}'")
        elif skipped is not None:
            tally.skip(test, skipped.get("message", ""))
        else:
            tally.ok()
    return failed


class Stage:
    """Prints what a stage is, what it is about to do, and how it ended."""

    def __init__(self, tally, number, total, title, later=()):
        self.tally, self.later = tally, later  # the names of the stages after it
        self.title = f"[{number}/{total}] {title}"

    def __enter__(self):
        print(f"\n== {self.title}", flush=True)
        self.before = self.tally.counts()
        self.began = time.monotonic()
        return self

    def say(self, text):
        print(f"   {text}", flush=True)

    def __exit__(self, kind, value, trace):
        if kind:
            return
        counts = [a - b for a, b in zip(self.tally.counts(), self.before)]
        self.say("%d ok, %d failed, %d skipped in %.0f s" % (*counts, time.monotonic() - self.began))
