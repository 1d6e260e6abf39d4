"""The daemons under systemd come and go; instances run on, untouched."""

from lab import CGROUPS

NAMES = {"vm1": "stays-1", "vm2": "stays-2"}


def processes(m, name):
    """Its processes with their start times, and its monitor's."""
    script = (f"for p in $(find {CGROUPS}/{name} -name cgroup.procs -exec cat {{}} +); do "
              "echo $p $(cut -d' ' -f22 /proc/$p/stat); done | sort -n")
    return m.ok("sh", "-c", script)


def everywhere(lab):
    found = {name: processes(lab.by_name[node], name) for node, name in NAMES.items()}
    assert all(len(x.splitlines()) >= 2 for x in found.values()), found
    return found


def works(lab, before):
    lab.wait_online()
    assert everywhere(lab) == before
    for name in NAMES.values():
        lab.machines[0].until("sh", "-c", f"lxmgr list name={name} --format csv -c status | grep -qi running")
        assert lab.inside(name, "hostname").strip() == name
        lab.home(name)


def kill(m, unit):
    """SIGKILL to a daemon; systemd starts it again."""
    before = m.ok("systemctl", "show", "-P", "MainPID", unit).strip()
    m.ok("systemctl", "kill", "--kill-whom=main", "--signal=KILL", unit)
    m.until("sh", "-c", f"p=$(systemctl show -P MainPID {unit}); test $p != {before} -a $p != 0 && systemctl is-active -q {unit}",
            why=f"{unit} to be started again")


def check_agents_restart(lab):
    """systemctl restart lxagentd, on both machines: no process of an instance is touched"""
    for node, name in NAMES.items():
        lab.lxmgr("launch", "busybox", name, "--target", node)
    before = everywhere(lab)
    for m in lab.machines:
        m.ok("systemctl", "restart", "lxagentd")
    works(lab, before)


def check_manager_restarts(lab):
    """systemctl restart lxmgrd: the agents find it again, and it finds the instances"""
    before = everywhere(lab)
    lab.machines[0].ok("systemctl", "restart", "lxmgrd")
    lab.machines[0].until("lxmgr", "version")
    works(lab, before)


def check_manager_killed(lab):
    """kill -9 of lxmgrd: started again, it knows all that it knew"""
    before = everywhere(lab)
    kill(lab.machines[0], "lxmgrd")
    lab.machines[0].until("lxmgr", "version")
    works(lab, before)


def check_agents_stopped(lab):
    """systemctl stop lxagentd leaves instances running, and so does kill -9"""
    before = everywhere(lab)
    first, second = lab.machines
    first.ok("systemctl", "stop", "lxagentd")
    assert everywhere(lab) == before
    first.ok("systemctl", "start", "lxagentd")
    kill(second, "lxagentd")
    works(lab, before)


def check_units_reload(lab):
    """systemctl daemon-reload and daemon-reexec take no control group and no controller away"""
    before = everywhere(lab)
    for m, name in zip(lab.machines, NAMES.values()):
        m.ok("systemctl", "daemon-reload")
        m.ok("systemctl", "daemon-reexec")
        assert {"cpu", "memory", "pids"} <= set(m.read(f"{CGROUPS}/{name}/payload/cgroup.controllers").split())
    works(lab, before)


def check_move_after_restart(lab):
    """What was launched before the restarts moves live after them"""
    for name in NAMES.values():
        lab.move(name)
        lab.home(name)
    lab.delete(*NAMES.values())
