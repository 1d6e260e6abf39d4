"""Work that is done beside a stage of tests/check.py that waits most of the time, with what that stage leaves of
the processors: one piece after the other, at the lowest priority there is. Once somebody waits for it, it goes on
like any other work: else whatever else runs on the machine would keep it from ever ending."""

import concurrent.futures
import os
import threading

from check_tally import run

# Where each session has its share of the processors whatever its processes ask for (sched_autogroup_enabled), it is
# the session that must ask for less.
IDLE = ["sh", "-c", '{ echo 19 >/proc/self/autogroup; } 2>/dev/null; exec chrt --idle 0 "$@"', "idle"]


def hurry(session):
    """Its processes, which do not belong to the idle any more."""
    for pid in sorted(int(p) for p in os.listdir("/proc") if p.isdigit()):
        try:
            if os.getsid(pid) == session:
                os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))
                with open(f"/proc/{pid}/autogroup", "w", encoding="ascii") as f:
                    f.write("0")
        except OSError:
            pass  # it has ended; or there are no such groups


class Beside:
    def __init__(self):
        self.pool = concurrent.futures.ThreadPoolExecutor(1)
        self.pieces, self.sessions = {}, set()
        self.waited_for, self.over = threading.Event(), threading.Event()

    def begin(self, name, work):
        """`work` gets a function to run commands with: check_tally.run, at that priority."""
        self.pieces[name] = self.pool.submit(work, self.run)

    def run(self, argv, timeout, env=None):
        session = []

        def began(number):
            session.append(number)
            self.sessions.add(number)
            if self.waited_for.is_set():
                hurry(number)

        if self.over.is_set():
            return 1, "interrupted"  # nobody waits for what comes after that
        try:
            return run([*([] if self.waited_for.is_set() else IDLE), *argv], timeout, env, self.over, began)
        finally:
            self.sessions.difference_update(session)

    def hurry(self):
        self.waited_for.set()
        for session in list(self.sessions):
            hurry(session)

    def take(self, name):
        """What the work has returned, once it has; None when it was not begun."""
        piece = self.pieces.pop(name, None)
        if not piece:
            return None
        self.hurry()
        return piece.result()

    def wait(self):
        """Until nothing is done beside any more."""
        self.hurry()
        concurrent.futures.wait(list(self.pieces.values()))

    def end(self):
        """What is still under way is killed."""
        self.over.set()
        self.pool.shutdown(cancel_futures=True)
