#!/usr/bin/python3
"""lxmgr on real kernels: what `make check-vm` runs.

    tests/vm/check.py                  everything
    tests/vm/check.py moves daemons    only checks whose names begin so (cluster.* always run)
    tests/vm/check.py --shell          and then a Python prompt, in which `lab` is the cluster:
                                       lab.run("list"), lab.machines[1].run("dmesg"), again(lab, "moves")

Two virtual machines with Debian 12's kernel, without hardware help, joined into a cluster with the
installed programs under systemd; and when they are done, one with Debian 13's. Correctness is checked here; everything is 10 to 20 times slower
than on hardware. Exit status: 0 all passed, 1 something failed, 77 it cannot run here (no qemu, too
little memory or disk, no packages). The last line counts: "N passed, N failed, N skipped".
"""

import argparse
import code
import fcntl
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.dirname(HERE), os.path.join(TOP, "tests", "testbed")]
import checks  # noqa: E402
import image  # noqa: E402
import qemu  # noqa: E402
from check_tally import Tally  # noqa: E402
from lab import PAYLOAD, Lab  # noqa: E402

BUILD = os.path.join(TOP, os.environ.get("BUILD", "build"))
WHERE = os.path.join(BUILD, "vm")
RESULT = os.path.join(WHERE, "result.json")
LOGS = os.path.join(WHERE, "logs")
UNIT_TESTS = ["test_migration_soft_dirty", "test_worker_quota"]  # they skip on kernels of other make
DEBIANS = [("debian/12", ()), ("debian/12", ("apparmor",)), ("debian/13", ("apparmor",))]  # guests, and what is added to them
CANNOT = 77

PREFIX = "/usr/local"
CRIU = f"{PREFIX}/libexec/lxmgr/criu"
LIMIT_SECONDS = 20 * 60
NEEDED_MIB = 2 * qemu.MEMORY_MIB
NEEDED_DISK = 6 << 30


class Impossible(Exception):
    """This cannot run here; says why."""


# ---------------------------------------------------------------- can it run here


def available_mib():
    with open("/proc/meminfo", encoding="ascii") as f:
        return next(int(line.split()[1]) // 1024 for line in f if line.startswith("MemAvailable:"))


def look():
    if os.geteuid() != 0:
        raise Impossible("it needs root, to make the machines' image")
    if not shutil.which(qemu.QEMU):
        raise Impossible(f"{qemu.QEMU} is missing: scripts/install-deps vm")
    if available_mib() < NEEDED_MIB:
        raise Impossible(f"two machines need {NEEDED_MIB} MiB of memory, {available_mib()} are available")
    os.makedirs(WHERE, exist_ok=True)
    if shutil.disk_usage(WHERE).free < NEEDED_DISK:
        raise Impossible(f"{NEEDED_DISK >> 30} GiB of disk are needed below {WHERE}")


# ---------------------------------------------------------------- what goes in


def install(into):
    """`make install` of what is built, into a directory."""
    done = subprocess.run(["make", "-C", TOP, f"BUILD={BUILD}", f"PREFIX={PREFIX}", f"DESTDIR={into}", "install"],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"make install failed:\n{done.stdout}{done.stderr}")


def guest_images():
    """Tarballs of instances' images, as the system tests keep them; Debian's may be missing."""
    from testbed import Unavailable, cached_image

    found = {"busybox.tar.zst": cached_image("busybox")}
    for name, packages in DEBIANS:
        try:
            found["-".join([name.replace("/", "-"), *packages]) + ".tar.zst"] = cached_image(name, packages=packages)
        except Unavailable as e:
            print(f"   no Debian guest: {e}")
    return found


def programs_disk(work):
    tree = os.path.join(work, "install")
    install(tree)
    try:
        files = guest_images()
    except Exception as e:  # of several kinds: no container, no package
        raise Impossible(f"no image for instances: {e}") from e
    for name in ("passenger", "sharer", "confined", *UNIT_TESTS):
        files[name] = os.path.join(BUILD, "tests", name)
    if subprocess.run([os.path.join(TOP, "scripts", "install-criu")], check=False).returncode != 0 or not os.path.isdir(CRIU):
        raise Impossible(f"there is no CRIU in {CRIU}: scripts/install-criu says why")
    path = os.path.join(work, "programs.tar")
    image.programs_disk(path, {PREFIX.lstrip("/"): tree + PREFIX, CRIU.lstrip("/"): CRIU},
                        {f"{PAYLOAD.lstrip('/')}/{k}": v for k, v in files.items()})
    return path


def machine_image(suite):
    programs = [os.path.join(BUILD, d, p) for d in ("bin", "libexec") for p in os.listdir(os.path.join(BUILD, d))]
    programs += [os.path.join(BUILD, "tests", name) for name in UNIT_TESTS]
    try:
        return image.build(suite, programs, os.path.join(WHERE, "images"))
    except (image.Unavailable, subprocess.TimeoutExpired) as e:
        raise Impossible(f"the machines' image ({suite}) cannot be made: {e}") from e


# ---------------------------------------------------------------- running


class Report:
    """The result so far, in a file as well: what is not in there has not happened."""

    def __init__(self):
        self.tally, self.results = Tally(), []

    def say(self, name, outcome, seconds, why=""):
        print(f"   {outcome:7} {name}  ({seconds:.0f} s)", flush=True)
        self.results.append({"name": name, "outcome": outcome, "seconds": round(seconds), "why": why})
        with open(RESULT, "w", encoding="utf-8") as f:
            json.dump(self.results, f, indent=1)

    def run(self, name, fn, *args):
        """One test. True when it passed."""
        began = time.monotonic()
        again = f"make check-vm VM_CHECKS={name.split('.')[0]}"
        try:
            fn(*args)
        except checks.Skip as e:
            self.tally.skip(name, str(e))
            self.say(name, "skipped", time.monotonic() - began, str(e))
        except Exception as e:  # whatever it is, the check has not passed
            why = str(e) if isinstance(e, (qemu.Failed, qemu.Gone)) and str(e) else traceback.format_exc()
            self.tally.fail(name, why, again)
            self.say(name, "FAILED", time.monotonic() - began, why)
            return False
        else:
            self.tally.ok()
            self.say(name, "ok", time.monotonic() - began)
            return True


def clear(lab):
    """What a subject has left: it has failed. The next one finds the machines empty all the same, if they are there."""
    try:
        lab.delete()
    except (qemu.Failed, qemu.Gone) as e:
        print(f"   instances could not be removed: {e}")


def chosen(suite, wanted):
    return [(name, fn) for name, fn in checks.all_checks(suite) if not wanted or name.startswith(wanted)]


def run_checks(lab, report, todo):
    subject = None
    for name, fn in todo:
        if subject not in (None, name.split(".")[0]):
            clear(lab)
        subject = name.split(".")[0]
        if time.monotonic() - report.began > LIMIT_SECONDS:
            report.tally.fail(name, f"not begun: {LIMIT_SECONDS // 60} minutes are over", "make check-vm")
            continue
        report.run(name, fn, lab)


def again(lab, *wanted):
    """For the prompt: these checks once more, as their files are now."""
    report = Report()
    report.began = time.monotonic()
    for name in [n for n in sys.modules if n == "lab" or n.startswith("checks")]:
        importlib.reload(sys.modules[name])
    run_checks(lab, report, [found for suite in checks.SUBJECTS for found in chosen(suite, wanted)])
    report.tally.report()


def run_lab(lab, what, report, todo, options):
    before = len(report.tally.failures)
    if report.run(f"{what} boot", lab.boot) and report.run(f"{what} join", lab.join):
        run_checks(lab, report, todo)
    if options.shell:
        code.interact("lab is the cluster, again(lab, 'moves') runs checks; Ctrl-D ends it.",
                      local={"lab": lab, "again": again}, exitmsg="")
    if len(report.tally.failures) > before:
        lab.keep_logs()
        print(f"\nWhat the machines said is in {LOGS}.")


def run_all(disk, report, options):
    """The machines of one suite after those of the other: all at once are more than there is memory for."""
    wanted = tuple(options.checks)
    two, one = chosen("bookworm", wanted), chosen("trixie", wanted)
    report.began = time.monotonic()
    if two or not one:
        img = machine_image("bookworm")
        print("\n== two machines, Debian 12", flush=True)
        report.began = time.monotonic()
        with Lab(img, disk, LOGS) as lab:
            run_lab(lab, "machines", report, chosen("bookworm", wanted and ("cluster.", *wanted)), options)
    if one:
        img = machine_image("trixie")
        print("\n== one machine, Debian 13", flush=True)
        with Lab(img, disk, LOGS, ["vm3"]) as lab:
            run_lab(lab, "Debian 13", report, one, options)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checks", nargs="*")
    parser.add_argument("--shell", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # nothing stays behind
    try:
        look()
        with open(os.path.join(WHERE, "lock"), "w", encoding="ascii") as lock, \
                tempfile.TemporaryDirectory(prefix="lxmgr-vm-", dir="/var/tmp") as work:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one run at a time in a tree
            shutil.rmtree(LOGS, ignore_errors=True)
            os.makedirs(LOGS)
            report = Report()
            run_all(programs_disk(work), report, options)
    except Impossible as e:
        print(f"check-vm: cannot run here: {e}", file=sys.stderr)
        return CANNOT
    report.tally.report()
    return 1 if report.tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
