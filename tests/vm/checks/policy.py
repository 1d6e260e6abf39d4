"""An instance whose root loads AppArmor profiles of its own: they bind inside it and nowhere else, beside the node's, and move with it."""

from lab import Failed

NAME = "guarded"
NAMESPACE = f"lxc-lxmgr-{NAME}"
OTHER_NAMESPACE = "lxc-other"  # as another agent's instance would have one
OPTIONS = ("-c", "security.apparmor=enforce", "-c", "security.apparmor.namespace=true", "-c", "raw.apparmor=deny /root/secret r,")
SECURITYFS = "/sys/kernel/security"
KERNEL = f"{SECURITYFS}/apparmor"
# What its root loads: for programs in a directory of its own, and into a namespace inside its own.
OWN = "abi <abi/3.0>,\nprofile bounded /root/b/* { file, capability, signal, network, deny /etc/passwd r, }\n"
INNER = "abi <abi/3.0>,\nprofile :inner:unused /root/unused { file, }\n"
# What it tries; each must fail, however it is put.
ATTEMPTS = {
    "leaving both profiles": "echo -n 'changeprofile unconfined' >/proc/self/attr/current && cat /root/secret",
    "the node's profile by its name": f"echo -n 'changeprofile lxmgr-{NAME}' >/proc/self/attr/current",
    "the node's namespace": "echo -n 'changeprofile :root:unconfined' >/proc/self/attr/current",
    "the node's namespace, from above": "echo -n 'changeprofile ://unconfined' >/proc/self/attr/current",
    "removing the node's profile": f"echo -n lxmgr-{NAME} >{KERNEL}/.remove",
    "removing it from the node's namespace": f"echo -n :root:lxmgr-{NAME} >{KERNEL}/.remove",
    "the node's profiles, from its own namespace up": f"ls {KERNEL}/policy/../../profiles",
    "one of them, as it was loaded": f"cat {KERNEL}/policy/../../raw_data/0/raw_data",
    "other instances' namespaces": f"ls {KERNEL}/policy/..",
    "what another one has loaded": f"ls {KERNEL}/policy/../{OTHER_NAMESPACE}/profiles",
    "loading into the node's": f"cat /root/own >{KERNEL}/policy/../../.replace",
    "a directory for a namespace": f"mkdir {KERNEL}/policy/namespaces/mine",
    "removing its own namespace's directory": f"rmdir {KERNEL}/policy/namespaces/..",
    "other modules' files": f"cat {SECURITYFS}/lockdown {SECURITYFS}/lsm",
    "tomoyo's policy": f"ls {SECURITYFS}/tomoyo",
    "mounting it itself": "mount -t securityfs s /mnt",
    "what the node's profile denies": "cat /root/secret",
    "the same from a program under its own": "/root/b/cat /root/secret",
    "junk of 16 MiB": f"dd if=/dev/zero bs=16M count=1 2>/dev/null | dd of={KERNEL}/.replace bs=16M iflag=fullblock",
}
# Namespaces in namespaces, each in a user namespace further in: as deep as the kernel lets it go.
DEEP = f"""dd if=/root/inner of={KERNEL}/.replace bs=1M 2>/dev/null || {{ echo $1; exit; }}
echo -n 'changeprofile :inner:unconfined' >/proc/self/attr/current
unshare -U -r sh /root/deep $(($1 + 1)) 2>/dev/null || echo $1
"""


def node_profiles(machine):
    return machine.ok("cat", f"{KERNEL}/profiles").splitlines()


def namespaces(machine):
    return machine.ok("ls", f"{KERNEL}/policy/namespaces").split()


def bring(lab, name, text):
    """A compiled profile into the instance. Compiled on the machine: a busybox has no compiler."""
    m = lab.machines[0]
    m.ok("apparmor_parser", "-QK", "--ofile", f"/tmp/{name}", input=text)
    lab.lxmgr("file", "push", f"/tmp/{name}", f"{NAME}/root/{name}")


def load(lab, name):
    return lab.run("exec", NAME, "--", "dd", f"if=/root/{name}", f"of={KERNEL}/.replace", "bs=1M")


def label(lab, pid="self"):
    return lab.inside(NAME, "cat", f"/proc/{pid}/attr/current").strip()


def seen_by_node(lab):
    """Labels of all its processes, as its machine sees them."""
    m = lab.by_name[lab.instance(NAME)["node"]]
    pids = f"find /sys/fs/cgroup/lxmgr/{NAME}/payload -name cgroup.procs -exec cat {{}} +"
    return set(m.ok("sh", "-c", f"for pid in $({pids}); do cat /proc/$pid/attr/current; done").splitlines())


def bound_inside(lab):
    """The profile that it has loaded denies what it denies, to whom it is for."""
    assert lab.run("exec", NAME, "--", "/root/b/cat", "/etc/passwd").code != 0
    lab.inside(NAME, "cat", "/etc/passwd")
    lab.inside(NAME, "/root/b/cat", "/etc/hostname")
    assert lab.run("exec", NAME, "--", "cat", "/root/secret").code != 0
    assert "bounded (enforce)" in lab.inside(NAME, "cat", f"{KERNEL}/profiles").splitlines()


def launch_and_load(lab, target):
    m = lab.by_name[target]
    assert lab.json("node", "show", target)["features"]["apparmor-namespaces"] == "yes"
    lab.lxmgr("launch", "busybox", NAME, *OPTIONS, "--target", target)
    assert label(lab) == label(lab, "1") == "unconfined", label(lab, "1")
    assert seen_by_node(lab) == {f"lxmgr-{NAME}//&:{NAMESPACE}:unconfined (enforce)"}, seen_by_node(lab)
    # Nothing of the node's is to be seen, and what it loads is of nobody else.
    assert lab.inside(NAME, "cat", f"{KERNEL}/profiles") == ""
    bring(lab, "own", OWN)
    bring(lab, "inner", INNER)
    lab.inside(NAME, "sh", "-c", "echo s >/root/secret && mkdir -p /root/b && cp /bin/busybox /root/b/cat && cp /bin/busybox /root/b/sleep")
    assert load(lab, "own").code == 0
    bound_inside(lab)
    assert f":{NAMESPACE}:bounded (enforce)" in node_profiles(m) and "bounded (enforce)" not in node_profiles(m)
    lab.inside(NAME, "sh", "-c", "setsid /root/b/sleep 100000 </dev/null >/dev/null 2>&1 & sleep 1")
    assert f"lxmgr-{NAME}//&:{NAMESPACE}:bounded (enforce)" in seen_by_node(lab), seen_by_node(lab)


def check_loads_its_own(lab):
    """Its root loads a profile, which denies there; the node's namespace has it not, and exec is in the same label"""
    launch_and_load(lab, lab.names[0])


def check_attempts(lab):
    """What its root tries with that reaches neither the node's profiles nor others'"""
    m = lab.by_name[lab.instance(NAME)["node"]]
    m.ok("mkdir", f"{KERNEL}/policy/namespaces/{OTHER_NAMESPACE}")
    before = node_profiles(m)
    for what, command in ATTEMPTS.items():
        done = lab.run("exec", NAME, "--", "sh", "-c", command)
        assert done.code != 0, (what, done)
    assert node_profiles(m) == before
    m.ok("rmdir", f"{KERNEL}/policy/namespaces/{OTHER_NAMESPACE}")
    bound_inside(lab)


def check_moves_live(lab):
    """A live move brings its profiles and who is under them, there and back, and the first node forgets them"""
    for _ in range(2):
        before = lab.home(NAME)
        lab.move(NAME)
        assert f"lxmgr-{NAME}//&:{NAMESPACE}:bounded (enforce)" in seen_by_node(lab), seen_by_node(lab)
        assert lab.inside(NAME, "sh", "-c", "cat /proc/$(pidof sleep)/attr/current").strip() == "bounded (enforce)"
        bound_inside(lab)
        assert NAMESPACE not in namespaces(before) and f"lxmgr-{NAME} (enforce)" not in node_profiles(before)
        assert load(lab, "own").code == 0


def namespaces_inside(lab):
    """As deep as it goes, and gone with the instance without harm to the machine."""
    m = lab.home(NAME)
    lab.lxmgr("exec", NAME, "--", "sh", "-c", "cat >/root/deep", input=DEEP)
    depth = int(lab.inside(NAME, "sh", "/root/deep", "0").split()[0])
    assert 0 < depth <= 33, depth
    # CRIU would not go into them.
    walk = f"import os; os.listdir('{KERNEL}/policy/namespaces/{NAMESPACE}/namespaces/')"
    done = m.run("python3", "-c", walk, env={"LD_PRELOAD": "/usr/local/libexec/lxmgr/lx-criu-preload.so"})
    assert done.code != 0 and "not supported" in done.err, done
    # Nor into one that is another's, whatever a dump says.
    done = m.run("python3", "-c", f"import os; os.mkdir('{KERNEL}/policy/namespaces/{OTHER_NAMESPACE}')",
                 env={"LD_PRELOAD": "/usr/local/libexec/lxmgr/lx-criu-preload.so", "LXMGR_POLICY_NAMESPACE": NAMESPACE})
    assert done.code != 0 and "not permitted" in done.err, done
    lab.lxmgr("stop", "--force", NAME)
    assert NAMESPACE not in namespaces(m)
    assert m.run("sh", "-c", "dmesg | grep -E 'BUG|Oops|stack guard'").code != 0


def check_namespaces_inside(lab):
    """Namespaces in its own are as deep as its user namespaces, bar a live move with the reason, and do the node no harm"""
    assert load(lab, "inner").code == 0
    done = lab.run("move", NAME, "--target", lab.other(NAME), "--check")
    assert done.code != 0 and "namespaces inside" in done.out + done.err, done
    namespaces_inside(lab)


def check_starts_anew(lab):
    """A start is with an empty namespace, also after the agent was killed, and a move with a stop takes it to the other node"""
    lab.lxmgr("start", NAME)
    m = lab.home(NAME)
    assert lab.inside(NAME, "cat", f"{KERNEL}/profiles") == ""
    assert load(lab, "own").code == 0
    m.ok("systemctl", "kill", "--signal=KILL", "lxagentd")
    lab.wait_online()
    m.until("lxmgr", "exec", NAME, "--", "true") if m is lab.machines[0] else None
    bound_inside(lab)
    lab.lxmgr("move", NAME, "--target", lab.other(NAME), "--live=off")
    assert NAMESPACE not in namespaces(m) and NAMESPACE in namespaces(lab.home(NAME))
    assert load(lab, "own").code == 0
    bound_inside(lab)


def check_refused_together(lab):
    """Without a profile around it, and with a privileged instance, it is refused; what is left goes with the instance"""
    done = lab.run("config", "set", NAME, "security.apparmor=unconfined")
    assert done.code == 1 and "needs a profile" in done.err, done
    done = lab.run("launch", "busybox", "both", "-p", "default", "-p", "privileged", "-c", "security.apparmor.namespace=true")
    assert done.code == 1 and "do not go together" in done.err, done
    homes = [lab.home(NAME)]
    lab.delete(NAME)
    for m in homes:
        if NAMESPACE in namespaces(m):
            raise Failed(f"{m.name} has the namespace still")
