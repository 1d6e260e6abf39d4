"""A Debian whose own apparmor.service loads its profiles: Debian's package as it is, in an instance with a policy namespace.

What a script or systemd decides before it loads anything (is this a container that has policy of its own?) is Debian's; so
nothing of the guest is changed here but a profile, a program and a unit that an administrator would add.
"""

import json

from checks import Skip
from checks.policy import KERNEL, namespaces, node_profiles
from lab import SLOW, Failed

NAME, OTHER = "armoured", "bystander"
NAMESPACE = f"lxc-lxmgr-{NAME}"
OPTIONS = ("-c", "security.apparmor=auto", "-c", "security.apparmor.namespace=true")
# What the administrator adds: programs in a directory are kept from a file, and one of them is a service.
PROFILE = "abi <abi/3.0>,\nprofile teller /usr/local/teller/* { file, capability, signal, network, deny /etc/secret r, }\n"
UNIT = "[Service]\nExecStart=/usr/local/teller/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
INSTALL = """set -e
mkdir -p /usr/local/teller
cp /bin/cat /bin/sleep /usr/local/teller
echo s >/etc/secret
cat >/etc/apparmor.d/teller
"""
# First in CRIU's PATH: ends it when what it has had compiled is in the place of the administrator's profile.
COMPILER = "/usr/local/sbin/apparmor_parser"
ENDED = "/tmp/criu-ended"
ENDING = f"""#!/bin/sh
seen() {{ cat {KERNEL}/policy/namespaces/{NAMESPACE}/profiles/teller.*/raw_data | cksum; }}
[ "$(cat /proc/$PPID/comm)" = criu ] || exec /sbin/apparmor_parser "$@"
before=$(seen)
/sbin/apparmor_parser "$@" || exit
{{ while [ "$(seen)" = "$before" ]; do sleep 0.1; done; seen >{ENDED}; kill -9 $PPID; }} >/dev/null 2>&1 &
"""
ENABLE = "cat >/etc/systemd/system/teller.service && systemctl enable teller"


def booted(lab):
    """Every unit well, Debian's own service among them, and what it has loaded as aa-status inside has it."""
    lab.machines[0].until("lxmgr", "exec", NAME, "--", "systemctl", "is-system-running", "--wait", seconds=SLOW)
    shown = set(lab.inside(NAME, "systemctl", "show", "apparmor", "-p", "ActiveState,ConditionResult,Result").split())
    assert shown == {"ActiveState=active", "ConditionResult=yes", "Result=success"}, shown
    return loaded(lab)


def loaded(lab):
    """{profile: mode} by aa-status inside; it must be what the kernel shows there, and what the node sees in its namespace."""
    profiles = json.loads(lab.inside(NAME, "aa-status", "--json"))["profiles"]
    assert lab.inside(NAME, "sh", "-c", f"wc -l <{KERNEL}/profiles").strip() == str(len(profiles)), profiles
    m = lab.by_name[lab.instance(NAME)["node"]]
    seen = [line for line in node_profiles(m) if line.startswith(f":{NAMESPACE}:")]
    assert len(seen) == len(profiles), (seen, profiles)
    return profiles


def of_the_node(machine):
    """The node's own profiles: of no namespace, and not those around instances."""
    return [line for line in node_profiles(machine) if not line.startswith((":", "lxmgr-"))]


def denied(lab):
    """Its program is kept from what the profile keeps from it, and others are not."""
    done = lab.run("exec", NAME, "--", "/usr/local/teller/cat", "/etc/secret")
    assert done.code != 0 and "Permission denied" in done.err, done
    assert lab.inside(NAME, "cat", "/etc/secret").strip() == "s"
    lab.inside(NAME, "/usr/local/teller/cat", "/etc/hostname")
    assert lab.inside(NAME, "sh", "-c", "cat /proc/$(systemctl show -P MainPID teller)/attr/current").strip() == "teller (enforce)"


def launch(lab, image, target):
    """An instance of a Debian with the package, on its first boot."""
    tarball = lab.file(image + ".tar.zst")
    if lab.machines[0].run("test", "-e", tarball).code != 0:
        raise Skip(f"there is no image {image}: it could not be built on this machine")
    m = lab.by_name[target]
    before = of_the_node(m)
    if lab.run("image", "show", image).code != 0:
        lab.lxmgr("image", "import", tarball, "--alias", image, "--target", target, timeout=2 * SLOW)
    lab.lxmgr("launch", image, NAME, *OPTIONS, "--target", target, timeout=2 * SLOW)
    profiles = booted(lab)
    assert "lsb_release" in profiles, profiles
    assert of_the_node(m) == before
    return profiles


def restart(lab, profiles):
    """An administrator's profile and service beside Debian's: a restart inside loads all of it before the service begins."""
    lab.lxmgr("exec", NAME, "--", "sh", "-c", INSTALL, input=PROFILE)
    lab.lxmgr("exec", NAME, "--", "sh", "-c", ENABLE, input=UNIT)
    lab.lxmgr("restart", NAME, timeout=2 * SLOW)
    assert booted(lab) == {**profiles, "teller": "enforce"}
    denied(lab)


def alone(lab):
    """Nobody else has them: neither the node, nor an instance with a namespace of its own."""
    m = lab.home(NAME)
    assert "teller (enforce)" not in node_profiles(m)
    lab.lxmgr("launch", "busybox", OTHER, *OPTIONS, "--target", m.name)
    assert lab.inside(OTHER, "cat", f"{KERNEL}/profiles") == ""
    lab.lxmgr("exec", OTHER, "--", "sh", "-c", "mkdir -p /usr/local/teller && cp /bin/busybox /usr/local/teller/cat && echo s >/etc/secret")
    assert lab.inside(OTHER, "/usr/local/teller/cat", "/etc/secret").strip() == "s"
    lab.delete(OTHER)


def check_boots(lab):
    """Debian's package loads its profiles at a guest's first boot, and the node's are as they were"""
    launch(lab, "debian-12-apparmor", lab.names[0])


def check_restart(lab):
    """So it does at the next one, with the administrator's before the services that they are for"""
    restart(lab, loaded(lab))


def check_alone(lab):
    """The node and other guests have none of it"""
    alone(lab)


def criu_ends(lab):
    """What CRIU has put in the place of a profile in use does not stay there when it is killed: the guest goes on as it was."""
    profiles, m = loaded(lab), lab.home(NAME)
    m.ok("sh", "-c", f"cat >{COMPILER} && chmod 755 {COMPILER}", input=ENDING)
    try:
        done = lab.run("move", NAME, "--target", lab.other(NAME), "--live=required")
    finally:
        m.ok("rm", COMPILER)
    assert done.code != 0 and "CRIU was killed" in done.err, done
    assert " times: " not in done.err, f"it was dumped again, for what does not pass: {done}"
    m.ok("rm", ENDED)
    assert lab.home(NAME) is m and loaded(lab) == profiles
    denied(lab)


def check_criu_ends(lab):
    """A move whose CRIU is killed leaves every profile as it was"""
    criu_ends(lab)


def check_moves_live(lab):
    """A live move carries all of them, there and back, and who is under them"""
    profiles = loaded(lab)
    for _ in range(2):
        before = lab.home(NAME)
        lab.move(NAME)
        assert loaded(lab) == profiles
        denied(lab)
        if NAMESPACE in namespaces(before):
            raise Failed(f"{before.name} has the namespace still")
    assert lab.inside(NAME, "systemctl", "is-system-running").strip() == "running"
    lab.inside(NAME, "systemctl", "reload", "apparmor")
    assert loaded(lab) == profiles
    lab.delete(NAME)
