"""What confines an instance holds for its init, for what is run in it, and after a move.

A program is put into real instances and tries (tests/system/instance/confined.c).
"""

import json
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "testbed"))
import moving  # noqa: E402
import testbed  # noqa: E402
from testbed import BUILD  # noqa: E402
from machine import wait_for  # noqa: E402

CONFINED = os.path.join(BUILD, "tests", "confined")
HERE = "/root/confined"

SMALLEST = ("chown,dac_override,dac_read_search,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,"
            "net_broadcast,net_admin,net_raw,sys_chroot,sys_admin,sys_boot,audit_write")
STRICT = ["security.syscalls.allow=@guest", "security.syscalls.deny_compat=true", "security.no_new_privileges=true",
          "security.sysfs.readonly=true", f"security.capabilities.keep={SMALLEST}"]

# Bits of capabilities(7).
SYS_MODULE, SYS_RAWIO, SYS_PTRACE, SYS_TIME, NET_RAW, MKNOD = 16, 17, 19, 25, 13, 27


def options(keys):
    return [x for key in keys for x in ("-c", key)]


def launch(cluster, name, *keys, more=()):
    cluster.ok("launch", "busybox", name, *options(keys), *more)
    cluster.ok("file", "push", CONFINED, f"{name}{HERE}", "--mode", "0755")


def tried(text):
    return dict(line.split(" ", 1) for line in text.splitlines())


def attempts(cluster, name, *calls):
    """What each of the calls answers in the instance."""
    done = cluster.exec(name, HERE, *calls)
    assert done.returncode == 0, done
    return tried(done.stdout)


def status(cluster, name, pid):
    """/proc/PID/status as it is seen inside."""
    text = cluster.exec(name, "cat", f"/proc/{pid}/status").stdout
    return {k: v.strip() for k, v in (line.split(":", 1) for line in text.splitlines() if ":" in line)}


def assert_strict(cluster, name):
    for pid in (1, "self"):
        seen = status(cluster, name, pid)
        assert (seen["NoNewPrivs"], seen["Seccomp"], seen["Seccomp_filters"]) == ("1", "2", "2"), pid
        bound = int(seen["CapBnd"], 16)
        assert bound >> 40 == 0 and not any(bound >> n & 1 for n in (SYS_MODULE, SYS_RAWIO, SYS_PTRACE, SYS_TIME, MKNOD))
        assert int(seen["CapEff"], 16) == bound


def test_default(cluster):
    """Nothing that reaches for the machine, nothing that bars a move."""
    launch(cluster, "c1")
    assert attempts(cluster, "c1", "io_uring_setup", "bpf", "kexec_load", "init_module", "open_by_handle_at",
                    "umount_forced", "umount", "clock_settime", "mknod_disk", "swapon", "fsopen") == {
        "io_uring_setup": "ENOSYS", "bpf": "EPERM", "kexec_load": "ENOSYS", "init_module": "ENOSYS",
        "open_by_handle_at": "ENOSYS", "umount_forced": "EACCES", "umount": "ENOENT", "clock_settime": "EPERM",
        "mknod_disk": "EPERM", "swapon": "EPERM", "fsopen": "ENOSYS"}
    for pid in (1, "self"):
        seen = status(cluster, "c1", pid)
        assert (seen["Seccomp"], seen["Seccomp_filters"], seen["NoNewPrivs"]) == ("2", "1", "0")
        assert not any(int(seen["CapBnd"], 16) >> n & 1 for n in (SYS_MODULE, SYS_RAWIO, SYS_TIME))
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper",
                 "/proc/sys/vm/panic_on_oom"):
        assert cluster.exec("c1", "sh", "-c", f"echo x > {path}").returncode != 0, path
    assert cluster.exec("c1", "cat", "/proc/kcore").returncode != 0


def test_what_is_denied_and_what_moves_always(cluster):
    """Without the default list only what the user denies, and what would bar a live move."""
    launch(cluster, "c1", "security.syscalls.deny_default=false", "security.syscalls.deny=ptrace,bpf",
           "security.capabilities.drop=net_raw")
    assert attempts(cluster, "c1", "io_uring_setup", "bpf", "ptrace", "umount_forced", "raw_socket", "add_key") == {
        "io_uring_setup": "ENOSYS", "bpf": "EPERM", "ptrace": "EPERM", "umount_forced": "ENOENT", "raw_socket": "EPERM",
        "add_key": "ok"}


def test_allow_list(cluster):
    launch(cluster, "c1", "security.syscalls.allow=@guest swapon", "security.syscalls.deny=pivot_root")
    assert attempts(cluster, "c1", "ptrace", "add_key", "keyring", "perf_event_open", "clock_settime", "io_uring_setup",
                    "bpf", "swapon", "umount", "umount_forced") == {
        "ptrace": "ENOSYS", "add_key": "ENOSYS", "keyring": "ENOSYS", "perf_event_open": "ENOSYS",
        "clock_settime": "ENOSYS", "io_uring_setup": "ENOSYS", "bpf": "ENOSYS", "swapon": "EPERM", "umount": "ENOENT",
        "umount_forced": "ENOSYS"}


def test_no_capabilities_at_all(cluster):
    launch(cluster, "c1", "security.capabilities.keep=none")
    assert int(status(cluster, "c1", 1)["CapBnd"], 16) == 0
    assert attempts(cluster, "c1", "raw_socket", "mount_proc") == {"raw_socket": "EPERM", "mount_proc": "EPERM"}


def test_strict_for_init_and_for_what_is_run(cluster):
    launch(cluster, "c1", *STRICT)
    assert_strict(cluster, "c1")
    assert "ro" in cluster.exec("c1", "grep", " /sys ", "/proc/mounts").stdout.split()[3].split(",")
    assert cluster.exec("c1", "mkdir", "/sys/fs/cgroup/own").returncode == 0


def test_keyring_is_its_own(cluster):
    launch(cluster, "c1")
    launch(cluster, "c2")
    rings = [cluster.exec(name, HERE, "keyring").stdout.split()[1] for name in ("c1", "c2")]
    assert rings[0] != rings[1]


@pytest.mark.parametrize("key,hint", [
    ("security.syscalls.deny=keyclt", "Did you mean keyctl?"),
    ("security.syscalls.allow=@guest,io_uring_setup", "do without"),
    ("security.capabilities.keep=net_rav", "Did you mean net_raw?"),
    ("security.no_new_privileges=perhaps", "true or false"),
])
def test_what_cannot_be_is_refused(cluster, key, hint):
    done = cluster.cli("launch", "busybox", "c1", "-c", key)
    assert done.returncode == 1 and hint in done.stderr
    assert not cluster.instances()


# ---------------------------------------------------------------- built-in profiles


def test_built_in_profiles_are_there_and_stay(cluster):
    there = {p["name"]: p["builtin"] for p in json.loads(cluster.ok("profile", "list", "--format", "json"))}
    assert there["default"] is False and there["hardened"] and there["nesting"]
    for change in (["set", "hardened", "security.no_new_privileges=false"], ["unset", "hardened", "security.syscalls.allow"],
                   ["delete", "hardened"], ["rename", "hardened", "soft"], ["delete", "default"]):
        done = cluster.cli("profile", *change)
        assert done.returncode == 1 and "cannot be" in done.stderr and "Hint:" in done.stderr, change
    assert "built in" in cluster.cli("profile", "create", "nesting").stderr
    cluster.ok("profile", "copy", "hardened", "mine")
    try:
        cluster.ok("profile", "set", "mine", "security.sysfs.readonly=false")
        assert json.loads(cluster.ok("profile", "show", "mine", "--format", "json"))["builtin"] is False
    finally:
        cluster.ok("profile", "delete", "mine")


def test_nesting_lets_containers_inside_have_their_own_view(cluster):
    """One with users of its own may mount proc only where the kernel sees that nothing of it was hidden."""
    launch(cluster, "c1")
    launch(cluster, "c2", more=("-p", "default", "-p", "nesting"))
    assert attempts(cluster, "c1", "mount_proc_nested") == {"mount_proc_nested": "EPERM"}
    # It has no AppArmor around it: what is started inside may have its own, and mount in the newer way.
    assert "security.apparmor: unconfined  (profile nesting)" in cluster.ok("info", "c2")
    assert attempts(cluster, "c2", "fsopen") == {"fsopen": "ok"}
    inner = ("mount_proc", "mount_proc_nested", "mount_sysfs", "mount_sysfs_nested", "mount_overlay", "userns", "keyring")
    for call in inner:
        assert attempts(cluster, "c2", call)[call] == "ok", call


def test_change_of_a_profile_names_those_it_touches(cluster):
    cluster.ok("profile", "create", "mine")
    try:
        launch(cluster, "c1", more=("-p", "default", "-p", "mine"))
        done = cluster.cli("profile", "set", "mine", "limits.processes=300")
        assert done.returncode == 0 and "c1 has it now." in done.stderr
        done = cluster.cli("profile", "set", "mine", "security.no_new_privileges=true")
        assert "c1 needs a restart" in done.stderr and status(cluster, "c1", 1)["NoNewPrivs"] == "0"
        cluster.ok("restart", "--force", "c1")
        assert status(cluster, "c1", 1)["NoNewPrivs"] == "1"
    finally:
        cluster.remove_instances()
        cluster.ok("profile", "delete", "mine")


def test_keys_are_told_with_their_range(cluster):
    keys = {k["name"]: k for k in json.loads(cluster.ok("config", "keys", "--format", "json"))
            if k["applies_to"] == "instance"}
    assert keys["limits.memory"]["range"] == "4MiB or more"
    assert keys["security.nesting"] == {"name": "security.nesting", "type": "bool", "default": "false",
                                        "range": "true, false", "scope": "restart", "applies_to": "instance",
                                        "help": keys["security.nesting"]["help"]}


# ---------------------------------------------------------------- security modules

HAS_APPARMOR = os.path.exists("/sys/module/apparmor")
without_apparmor = pytest.mark.skipif(HAS_APPARMOR, reason="this kernel has AppArmor: tests/vm looks at what it does")


@without_apparmor
def test_what_demands_apparmor_is_not_put_where_there_is_none(cluster):
    for options_ in (["-p", "default", "-p", "hardened"], ["-c", "security.apparmor=complain"],
                     ["-c", "security.apparmor=my-own", "--target", cluster.node]):
        done = cluster.cli("launch", "busybox", "c1", *options_)
        assert done.returncode == 1 and "has no AppArmor, which security.apparmor demands" in done.stderr
        assert "security.apparmor=auto" in done.stderr
    done = cluster.cli("launch", "busybox", "c1", "-c", "security.selinux.context=system_u:system_r:container_t:s0")
    assert "has no SELinux" in done.stderr and "Boot a node with SELinux" in done.stderr
    assert not cluster.instances()
    assert "no AppArmor or SELinux" in cluster.ok("node", "show", cluster.node)


@without_apparmor
def test_hardened_with_less_asked(cluster):
    launch(cluster, "c1", "security.apparmor=auto", more=("-p", "default", "-p", "hardened"))
    assert_strict(cluster, "c1")


@without_apparmor
def test_start_is_refused_where_confinement_is_missing(cluster):
    """Demanded later: what runs goes on, the next start does not happen with less than asked."""
    launch(cluster, "c1")
    for key, lack in (("security.apparmor=enforce", "has a kernel without it"),
                      ("security.selinux.context=u:r:t", "kernel has no SELinux")):
        assert "takes effect when c1 is restarted" in cluster.cli("config", "set", "c1", key).stderr
        cluster.ok("stop", "--force", "c1")
        done = cluster.cli("start", "c1")
        assert done.returncode == 1 and lack in done.stderr and "Hint:" in done.stderr
        assert cluster.status("c1") == "STOPPED"
        cluster.ok("config", "unset", "c1", key.split("=")[0])
        cluster.ok("start", "c1")


@pytest.mark.skipif(not os.path.exists("/usr/sbin/apparmor_parser"), reason="needs apparmor_parser")
def test_rules_are_compiled_before_they_are_stored(cluster):
    launch(cluster, "c1")
    for rules, why in (("deny /etc/shadow w,\ndeny /x w", "raw.apparmor does not compile: line"),
                       ("}\nprofile mine {", "opens or closes a profile"),
                       ("deny /x w,}\nprofile lxmgr-c2 flags=(complain){\nfile,", "opens or closes a profile"),
                       ("^hat flags=(complain){file,}", "opens or closes a profile"),
                       ('#include "/dev/zero"', "includes a file of the node's")):
        for command in (["config", "set", "c1", f"raw.apparmor={rules}"], ["profile", "set", "default", f"raw.apparmor={rules}"],
                        ["profile", "create", "mine", f"raw.apparmor={rules}"],
                        ["launch", "busybox", "c2", "-c", f"raw.apparmor={rules}"]):
            done = cluster.cli(*command)
            assert done.returncode == 1 and why in done.stderr, (command, done.stderr)
    assert "raw.apparmor" not in cluster.ok("config", "show", "c1") + cluster.ok("profile", "show", "default")
    assert [i.name for i in cluster.instances()] == ["c1"] and cluster.cli("profile", "show", "mine").returncode == 1
    cluster.ok("config", "set", "c1", "raw.apparmor=deny /etc/shadow w,")
    assert cluster.ok("config", "get", "c1", "raw.apparmor").strip() == "deny /etc/shadow w,"


# ---------------------------------------------------------------- a whole guest, and a move


@pytest.mark.limit(900)
def test_debian_boots_under_all_of_it(debian):
    debian.ok("launch", "debian/12", "c1", *options([*STRICT, "security.apparmor=auto"]))
    assert debian.booted("c1") == "running", debian.exec("c1", "systemctl", "--failed", "--no-pager").stdout
    assert_strict(debian, "c1")


@pytest.mark.limit(300)
def test_moves_with_it(able):
    """CRIU brings the filters, capabilities and no_new_privs; the keyring is a new one, of the guest's own."""
    with testbed.Cluster("confine", nodes=2) as cluster:
        try:
            for i in range(2):
                testbed.ensure_image(cluster, "busybox", node=i)
        except testbed.Unavailable as e:
            pytest.skip(str(e))
        strict = [k for k in STRICT if "allow" not in k]  # the list has no keyctl
        launch(cluster, "m1", *strict, "security.syscalls.deny=swapon", more=("--target", cluster.node_names[0]))
        calls = "keyring swapon io_uring_setup raw_socket mknod_disk"
        cluster.exec("m1", "sh", "-c", f"{HERE} when /root/go {calls} >/root/said 2>&1 </dev/null &")
        for target in (1, 0):
            op = moving.move(cluster, "m1", target)
            assert op.status == cluster.api.pb.OPERATION_STATUS_SUCCESS, f"{op.error} {op.hint}"
            assert op.move.mode == cluster.api.pb.MOVE_MODE_LIVE
            assert_strict(cluster, "m1")
        cluster.exec("m1", "touch", "/root/go")
        wait_for(lambda: "mknod_disk" in cluster.exec("m1", "cat", "/root/said").stdout, 20, why="it tried all")
        said = tried(cluster.exec("m1", "cat", "/root/said").stdout)
        ring = said.pop("session").split(" ", 1)[1]
        assert said == {"keyring": "ok", "swapon": "EPERM", "io_uring_setup": "ENOSYS", "raw_socket": "ok",
                        "mknod_disk": "EPERM"}
        kind, uid, gid, _, _ = ring.split(";")
        assert (kind, uid, gid) == ("keyring", "0", "0"), ring
        cluster.remove_instances()
