"""Work that is done beside a stage of tests/check.py that waits most of the time, with what that stage leaves of
the processors: one piece after the other, at the lowest priority there is."""

import concurrent.futures
import threading

from check_tally import run

# Where each session has its share of the processors whatever its processes ask for (sched_autogroup_enabled), it is
# the session that must ask for less.
IDLE = ["sh", "-c", '{ echo 19 >/proc/self/autogroup; } 2>/dev/null; exec chrt --idle 0 "$@"', "idle"]


class Beside:
    def __init__(self):
        self.pool = concurrent.futures.ThreadPoolExecutor(1)
        self.pieces, self.over = {}, threading.Event()

    def begin(self, name, work):
        """`work` gets a function to run commands with: check_tally.run, at that priority."""
        self.pieces[name] = self.pool.submit(work, self.run)

    def run(self, argv, timeout, env=None):
        # Nobody waits for what comes after an interruption.
        return (1, "interrupted") if self.over.is_set() else run([*IDLE, *argv], timeout, env, self.over)

    def take(self, name):
        """What the work has returned, once it has; None when it was not begun."""
        piece = self.pieces.pop(name, None)
        return piece.result() if piece else None

    def wait(self):
        """Until nothing is done beside any more."""
        concurrent.futures.wait(list(self.pieces.values()))

    def end(self):
        """What is still under way is killed."""
        self.over.set()
        self.pool.shutdown(cancel_futures=True)
