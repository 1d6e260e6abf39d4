"""A whole Debian, booted by its own systemd: the container this is all for."""

import re
import time

import pytest

import machine
from machine import wait_for

pytestmark = pytest.mark.limit(900)  # the image may have to be built first


def boot(cluster, name, *options):
    cluster.ok("launch", "debian/12", name, *options)
    assert cluster.booted(name) == "running", failed_units(cluster, name)


def failed_units(cluster, name):
    return cluster.exec(name, "sh", "-c", "systemctl --failed --no-pager; journalctl -b -p err --no-pager").stdout


@pytest.fixture(scope="module")
def deb(session_debian):
    """One that is up, for all tests that only look at it."""
    boot(session_debian, "deb")
    yield session_debian
    session_debian.cli("delete", "--force", "deb")


def inside(cluster, *command, **kw):
    done = cluster.exec("deb", *command, **kw)
    assert done.returncode == 0, done
    return done.stdout


def test_comes_up_without_a_failed_unit(deb):
    assert inside(deb, "systemctl", "--failed", "--no-legend", "--plain") == ""
    assert inside(deb, "cat", "/proc/1/comm") == "systemd\n"
    assert inside(deb, "systemd-detect-virt").strip() == "lxc"


def test_is_what_it_says(deb):
    assert 'VERSION_ID="12"' in inside(deb, "cat", "/etc/os-release")
    assert inside(deb, "hostname") == "deb\n"
    assert inside(deb, "hostname", "-f").startswith("deb")


def test_is_unprivileged(deb):
    """Root inside is nobody outside, and sees no more of the machine than it must."""
    assert inside(deb, "cat", "/proc/1/uid_map").split()[1] == str(deb.instance("deb").idmap_base)
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger"):
        assert deb.exec("deb", "sh", "-c", f"echo x > {path}").returncode != 0, path
    assert deb.exec("deb", "mknod", "/root/disk", "b", "254", "0").returncode != 0


def test_network_is_configured_and_names_resolve(deb):
    address = deb.list()["deb"]["ipv4"]
    assert f"{address}/" in inside(deb, "ip", "-4", "addr", "show", "eth0")
    assert machine.run("ping", "-c", "1", "-W", "2", address).returncode == 0
    deb.ok("launch", "busybox", "neighbour")
    try:
        there = deb.list()["neighbour"]["ipv4"]
        for name in ("neighbour.lxmgr", "neighbour"):
            assert inside(deb, "getent", "ahostsv4", name).startswith(f"{there} ")
    finally:
        deb.ok("delete", "--force", "neighbour")


def test_cgroups_are_its_own(deb):
    """A pure v2 view of its own part, whatever the host has."""
    assert inside(deb, "stat", "-f", "-c", "%T", "/sys/fs/cgroup").strip() == "cgroup2fs"
    assert "system.slice" in inside(deb, "ls", "/sys/fs/cgroup")


def test_services_can_be_run(deb):
    inside(deb, "systemd-run", "--unit=hello", "--property=DynamicUser=yes", "--property=PrivateTmp=yes",
           "--property=ProtectSystem=strict", "--wait", "true")
    inside(deb, "systemctl", "restart", "systemd-journald")
    assert "hello.service" in inside(deb, "journalctl", "-u", "hello", "--no-pager")


def test_users_and_setuid_programs_work(deb):
    inside(deb, "useradd", "-m", "alice")
    assert inside(deb, "su", "-", "alice", "-c", "id -un") == "alice\n"
    done = deb.cli("exec", "deb", "--user", "alice", "--", "sh", "-c", "id -un; pwd")
    assert done.stdout.split() == ["alice", "/home/alice"], done
    assert inside(deb, "passwd", "-S", "alice").startswith("alice ")


def test_console_shows_the_boot(deb):
    said = deb.ok("console", "deb", "--show-log")
    assert "systemd" in said or "login" in said, said


def test_shell_is_a_login_shell(deb):
    done = deb.cli("shell", "deb", input="echo $0-$HOME; exit 5\n")
    assert done.returncode == 5 and "-/root" in done.stdout, done


def test_apt_installs_through_nat(deb):
    env = ["--env", "DEBIAN_FRONTEND=noninteractive"]
    done = deb.cli("exec", "deb", *env, "--", "apt-get", "update", timeout=300)
    if done.returncode != 0 or re.search(r"^(W|Err).*(Failed|Could not)", done.stdout + done.stderr, re.M):
        pytest.skip(f"no package mirror can be reached from here: {(done.stderr or done.stdout).strip()[-200:]}")
    done = deb.cli("exec", "deb", *env, "--", "apt-get", "install", "-y", "tree", timeout=300)
    assert done.returncode == 0, done
    assert "tree v" in inside(deb, "tree", "--version")
    # A package with a service and a user of its own.
    done = deb.cli("exec", "deb", *env, "--", "apt-get", "install", "-y", "--no-install-recommends", "nginx-light",
                   timeout=300)
    assert done.returncode == 0, done
    assert inside(deb, "systemctl", "is-active", "nginx") == "active\n"


def test_agent_restart_changes_nothing(deb):
    pid = deb.instance("deb").pid
    boots = inside(deb, "cat", "/proc/sys/kernel/random/boot_id", "/proc/1/stat")
    deb.restart("agent", 9)
    assert deb.instance("deb").pid == pid
    assert inside(deb, "systemctl", "is-system-running").strip() == "running"
    assert boots.splitlines()[1].split()[21] == inside(deb, "cat", "/proc/1/stat").split()[21]


# ---------------------------------------------------------------- those that end


def test_clean_stop(debian):
    boot(debian, "d1")
    debian.exec("d1", "sh", "-c", "systemd-run --unit=marker --property=ExecStop='/bin/sh -c \"echo clean > /root/how\"' sleep 1000")
    debian.ok("stop", "d1", "--timeout", "60", timeout=90)
    assert debian.status("d1") == "STOPPED"
    debian.ok("start", "d1")
    assert debian.exec("d1", "cat", "/root/how").stdout == "clean\n"
    assert debian.booted("d1") == "running", failed_units(debian, "d1")


def test_stop_that_takes_too_long_is_an_error(debian):
    boot(debian, "d1")
    debian.exec("d1", "systemd-run", "--unit=stubborn", "--property=KillMode=process", "--property=TimeoutStopSec=90",
                "sh", "-c", "trap '' TERM; while :; do sleep 1; done")
    done = debian.cli("stop", "d1", "--timeout", "2")
    assert done.returncode == 1
    assert "d1" in done.stderr and "--force" in done.stderr, done.stderr
    debian.ok("stop", "--force", "d1")
    assert debian.status("d1") == "STOPPED"


def test_poweroff_from_inside(debian):
    boot(debian, "d1")
    debian.exec("d1", "systemctl", "poweroff")
    wait_for(lambda: debian.status("d1") == "STOPPED", 60, 0.1, "d1 has stopped")
    debian.wait_clean(but=["d1"])
    debian.ok("start", "d1")
    assert debian.booted("d1") == "running", failed_units(debian, "d1")


def test_reboot_from_inside(debian):
    boot(debian, "d1")
    before = debian.list()["d1"]
    debian.exec("d1", "systemctl", "reboot")

    def again():
        listed = debian.list()["d1"]
        return listed["status"] == "RUNNING" and listed["pid"] not in (0, before["pid"])

    wait_for(again, 60, 0.1, "d1 has rebooted")
    assert debian.booted("d1") == "running", failed_units(debian, "d1")
    assert debian.list()["d1"]["ipv4"] == before["ipv4"]


def test_restart_and_freeze(debian):
    boot(debian, "d1")
    debian.ok("restart", "d1", "--timeout", "60", timeout=90)
    assert debian.booted("d1") == "running", failed_units(debian, "d1")
    debian.ok("freeze", "d1")
    time.sleep(1)
    debian.ok("unfreeze", "d1")
    assert debian.exec("d1", "systemctl", "is-system-running").stdout == "running\n"


def test_two_share_an_image_and_nothing_else(debian):
    boot(debian, "d1")
    boot(debian, "d2")
    debian.exec("d1", "sh", "-c", "echo mine > /etc/issue")
    assert debian.exec("d2", "cat", "/etc/issue").stdout != "mine\n"
    assert debian.exec("d1", "cat", "/etc/machine-id").stdout != debian.exec("d2", "cat", "/etc/machine-id").stdout
    assert debian.exec("d1", "ping", "-c", "1", "-W", "2", "d2").returncode in (0, 127)
