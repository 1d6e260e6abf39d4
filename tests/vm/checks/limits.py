"""Limits on pure cgroup v2: set, changed, enforced, and there again after each move."""

from lab import CGROUPS

NAME = "bound"
FIRST = {"limits.memory": "96MiB", "limits.processes": "60", "limits.cpu": "1", "limits.cpu.allowance": "25ms/100ms"}
WANTED = {"memory.max": str(96 << 20), "pids.max": "60", "cpu.max": "25000 100000"}


def knobs(m):
    return {k: m.read(f"{CGROUPS}/{NAME}/payload/{k}") for k in WANTED}


def check_set_at_launch(lab):
    """memory.max, pids.max and cpu.max are set at the launch"""
    config = [x for k, v in FIRST.items() for x in ("-c", f"{k}={v}")]
    lab.lxmgr("launch", "busybox", NAME, "--target", "vm1", *config)
    assert knobs(lab.machines[0]) == WANTED


def check_kept_by_moves(lab):
    """They are there again after a move, and after the move back"""
    for _ in range(2):
        lab.move(NAME)
        assert knobs(lab.home(NAME)) == WANTED


def check_change_while_running(lab):
    """Changed after a move they act at once, and go along with the next one"""
    lab.lxmgr("config", "set", NAME, "limits.memory=64MiB", "limits.processes=40")
    wanted = {**WANTED, "memory.max": str(64 << 20), "pids.max": "40"}
    assert knobs(lab.home(NAME)) == wanted
    lab.move(NAME)
    assert knobs(lab.home(NAME)) == wanted


def check_enforced_after_move(lab):
    """The kernel holds a moved instance to them: too many processes, too much memory"""
    done = lab.run("exec", NAME, "--", "sh", "-c", "for i in $(seq 60); do sleep 20 & done; wait")
    assert done.code != 0 and "fork" in done.err, done
    lab.machines[0].until("lxmgr", "exec", NAME, "--", "true", why="the processes to end: there is no room for a command")
    # Twice the limit in one buffer: whoever fills it is killed.
    done = lab.run("exec", NAME, "--", "dd", "if=/dev/zero", "of=/dev/null", "bs=128M", "count=1")
    events = dict(x.split() for x in lab.home(NAME).read(f"{CGROUPS}/{NAME}/payload/memory.events").splitlines())
    assert done.code != 0 and int(events["oom_kill"]) > 0, (done, events)
    lab.delete(NAME)
