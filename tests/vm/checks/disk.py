"""Sizes of root disks on ext4 with project quotas: the machines' own disk is mounted with prjquota."""

NAME, OTHER = "sized", "neighbour"
MIB = 1 << 20
INSTANCES = "/var/lib/lxmgr/agent/instances"
# The project of a directory, and what the kernel keeps of it: FS_IOC_FSGETXATTR, quotactl_fd(Q_GETQUOTA).
ACCOUNT = """
import ctypes, fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
project = struct.unpack("IIIII8x", fcntl.ioctl(fd, 0x801c581f, bytes(28)))[3]
account = ctypes.create_string_buffer(72)
done = ctypes.CDLL(None).syscall(443, fd, (0x800007 << 8) | 2, project, account)
limit, _, used, files_limit = struct.unpack_from("QQQQ", account)
print(project, done, used, limit * 1024, files_limit)
"""


def account(m, name=NAME, project=None):
    """(project, bytes used, limit, limit of files)"""
    found = [int(x) for x in m.ok("python3", "-c", ACCOUNT, f"{INSTANCES}/{name}/upper").split()]
    assert found[1] == 0, found
    return (found[0], *found[2:])


def fill(lab, name, megabytes):
    return lab.run("exec", name, "--", "dd", "if=/dev/urandom", "of=/root/filler", "bs=1M", f"count={megabytes}", "conv=fsync")


def full(lab, name):
    done = fill(lab, name, 100)
    assert done.code != 0 and "quota" in done.err.lower(), done
    lab.inside(name, "rm", "/root/filler")


def check_backends(lab):
    """Projects on ext4 and xfs and qgroups on btrfs count and bound, each on a disk of its own"""
    done = lab.machines[0].run(lab.file("test_worker_quota"), timeout=600)
    assert done.code == 0, done
    assert "SKIPPED" not in done.out + done.err, done


def check_held(lab):
    """A guest is held to its size, has files in proportion, and its neighbour writes on"""
    facts = lab.json("node", "show", "vm1")
    assert facts["features"]["disk-quota"] == "yes", facts
    lab.lxmgr("launch", "busybox", NAME, "--target", "vm1", "-d", "root,type=disk,path=/,size=32MiB")
    lab.lxmgr("launch", "busybox", OTHER, "--target", "vm1")
    full(lab, NAME)
    assert fill(lab, OTHER, 60).code == 0
    project, used, limit, files = account(lab.machines[0])
    assert project >= 65536 and limit == 32 * MIB and files >= 4096 and used < limit, (project, used, limit, files)
    other = account(lab.machines[0], OTHER)
    assert other[0] not in (0, project) and other[1] >= 60 * MIB and other[2] == 0, other
    said = lab.inside(NAME, "df", "-k", "/").split()
    assert "32768" in said, said


def check_escape(lab):
    """The guest's root can neither leave its project nor stop it from being inherited; mapped memory counts too"""
    script = ("touch /root/f; chattr -p 0 /root/f 2>/dev/null; mkdir -p /root/d; chattr -p 0 /root/d 2>/dev/null; "
              "chattr -P /root/d 2>/dev/null; touch /root/d/f; true")
    lab.inside(NAME, "sh", "-c", script)
    m = lab.machines[0]
    tool = lab.file("escape")
    m.ok("sh", "-c", f"cat > {tool}", input=ESCAPE)
    upper = f"{INSTANCES}/{NAME}/upper"
    base = int(m.ok("stat", "-c", "%u", upper))
    # As the guest's root is: in its user namespace, on its own files.
    pid = lab.instance(NAME)["pid"]
    done = m.run("nsenter", "-t", str(pid), "-U", "--setuid", "0", "--setgid", "0", "python3", tool, f"{upper}/root/f",
                 f"{upper}/root/d")
    assert done.out.split() == ["EINVAL"] * 3, (done, base)
    project = account(m)[0]
    for path in ("f", "d", "d/f"):
        got = m.ok("python3", "-c", ACCOUNT, f"{upper}/root/{path}").split()[0]
        assert int(got) == project, (path, got, project)


ESCAPE = """
import errno, fcntl, os, struct, sys
def attempt(path, change):
    fd = os.open(path, os.O_RDONLY)
    x = list(struct.unpack("IIIII8x", fcntl.ioctl(fd, 0x801c581f, bytes(28))))
    change(x)
    try:
        fcntl.ioctl(fd, 0x401c5820, struct.pack("IIIII8x", *x))
        print("changed")
    except OSError as e:
        print(errno.errorcode[e.errno])
def project(x): x[3] = 0
def inherit(x): x[0] &= ~0x200
attempt(sys.argv[1], project)
attempt(sys.argv[2], project)
attempt(sys.argv[2], inherit)
"""


def check_full_and_restarted(lab):
    """What has filled its disk starts again, and can be emptied"""
    assert fill(lab, NAME, 100).code != 0
    lab.lxmgr("restart", NAME, "--force")
    lab.inside(NAME, "rm", "/root/filler")
    assert fill(lab, NAME, 20).code == 0
    assert account(lab.machines[0])[2] == 32 * MIB


def check_change(lab):
    """A change acts at once; one below what is taken is refused with the numbers"""
    lab.lxmgr("config", "device", "set", NAME, "root", "size=80MiB")
    assert account(lab.machines[0])[2] == 80 * MIB
    assert fill(lab, NAME, 60).code == 0
    done = lab.run("config", "device", "set", NAME, "root", "size=32MiB")
    assert done.code != 0 and "has 60" in done.err and "a size of 32MiB is less" in done.err, done
    assert account(lab.machines[0])[2] == 80 * MIB
    listed = lab.instance(NAME)
    assert listed["disk_limit"] == 80 * MIB, listed


def check_moved(lab):
    """It goes along with a live move, and the old node keeps no account of it; the same over a restart of both"""
    lab.inside(NAME, "rm", "/root/filler")
    project = account(lab.machines[0])[0]
    lab.move(NAME)
    m = lab.machines[1]
    m.ok("systemctl", "restart", "lxagentd", timeout=300)
    lab.wait_online()
    assert account(m)[2] == 80 * MIB
    full(lab, NAME)
    left = lab.machines[0].ok("python3", "-c", KEPT, str(project)).split()
    assert left == ["0", "0"], left
    lab.lxmgr("restart", NAME, "--force")
    full(lab, NAME)


KEPT = """
import ctypes, os, struct, sys
account = ctypes.create_string_buffer(72)
fd = os.open("/var/lib/lxmgr", os.O_RDONLY)
ctypes.CDLL(None).syscall(443, fd, (0x800007 << 8) | 2, int(sys.argv[1]), account)
limit, _, used, files_limit = struct.unpack_from("QQQQ", account)
print(used, limit)
"""


def check_deleted(lab):
    """Nothing is kept of what is deleted"""
    m = lab.machines[1]
    project = account(m)[0]
    lab.delete(NAME, OTHER)
    assert m.ok("python3", "-c", KEPT, str(project)).split() == ["0", "0"]
