#!/usr/bin/python3
"""Everything that can be tested on this machine: what `make check` runs.

    tests/check.py              all stages
    tests/check.py unit lint    only these

Each stage builds what it needs, so it works from any state of the tree, and beside a cluster
that is up. A stage whose programs do not build fails once; its tests are skipped and say so.
The last line counts, and is what scripts read: "N passed, N failed, N skipped". The exit code
is 1 when anything failed.
"""

import concurrent.futures
import glob
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import check_pytest  # noqa: E402
from check_beside import Beside  # noqa: E402
from check_tally import Stage, Tally, count_cmocka, ended, run  # noqa: E402

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("BUILD", "build")
ASAN_BUILD = f"{BUILD}-asan"
MAKE = os.environ.get("MAKE", "make")
JOBS = os.cpu_count() or 1

BUILD_SECONDS = 1800
UNIT_SECONDS = 180  # a program
TIDY_SECONDS = 120  # a file
BESIDE_SECONDS = 1800  # the same, when it gets what others leave
FUZZ_SECONDS = 120  # a target, of which it fuzzes a few
SYSTEM_SECONDS = 2400  # all of them; each has a limit of its own (tests/system/conftest.py)
SYSTEM_PROCESSES = 2  # more wait for one another: they start programs all the time

SOURCES = ["lib", "proto", "rpc", "store", "profiles", "images", "migration", "agent", "lxmgr", "cli", "tests"]
SANITIZERS = "-fsanitize=address,undefined"
PROGRESS = re.compile(r"  [A-Z]+ +\S+$")  # "  CC    lib/err.c"
# Outputs of sanitizers that would not end a program by themselves.
SANITIZER_ENV = {"UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1", "ASAN_OPTIONS": "detect_stack_use_after_return=1"}

tally = Tally()
beside = Beside()


def sources(*endings):
    found = []
    for folder in SOURCES:
        for ending in endings:
            found += glob.glob(os.path.join(folder, "**", f"*{ending}"), recursive=True)
    return sorted(found)


def call_make(build, args, run=run):
    # This process runs under make as a rule; the make below is its own.
    env = {k: "" for k in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")}
    return run([MAKE, "-k", f"BUILD={build}", *args], BUILD_SECONDS, env)


def make(stage, name, *args, build=BUILD):
    """Builds, as one test: it must do so without a warning. False when it failed."""
    stage.say(name)
    code, output = call_make(build, args)
    if code == 0:
        tally.ok()
        return True
    said = "\n".join(line for line in output.splitlines() if not PROGRESS.match(line))
    tally.fail(name, said, f"make BUILD={build} {' '.join(args)}")
    return False


def in_parallel(work, items):
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        yield from pool.map(work, items)


def count(name, code, output, again):
    """How a command ended that is one test."""
    if code == 0:
        tally.ok()
    else:
        tally.fail(name, f"{output}\n{ended(code)}", again)


def house(stage):
    count("layers", *run([sys.executable, "tests/layers.py"], 60), "tests/layers.py")
    count("table of attacks", *run([sys.executable, "tests/attacks_table.py"], 60), "tests/attacks_table.py")
    check_pytest.whole(tally, "house", ["tests/layers_test.py"], 120)


def formatted(stage):
    files = sources(".c", ".h")
    count(f"format of {len(files)} files", *run(["clang-format", "--dry-run", "-Werror", *files], 120), "make fmt")


def build(stage):
    make(stage, "gcc builds everything without a warning", "all", "check-bins")


def run_units(stage, build, env):
    programs = sorted(
        os.path.join(build, "tests", os.path.basename(p)[:-2]) for p in glob.glob("tests/unit/test_*.c")
    )
    setting = "".join(f"{k}={v} " for k, v in env.items())

    def one(program):
        return program, *run([program], UNIT_SECONDS, env)

    for program, code, output in in_parallel(one, programs):
        failed = count_cmocka(tally, program, code, output, setting + program)
        stage.say(f"{os.path.basename(program)}{': FAILED' if failed else ''}")


def unit(stage):
    if make(stage, "gcc builds the unit tests without a warning", "unit-bins"):
        run_units(stage, BUILD, {})
    else:
        tally.skip("unit tests", "they do not build")


# Commands that are begun beside the system tests. When one of them fails, its stage runs it again and says so.
ASAN_MAKE = ["CC=clang", f"SAN={SANITIZERS}", "all", "unit-bins"]
FUZZ_MAKE = ["fuzz-bins"]


def asan(stage):
    beside.take("asan")
    if make(stage, "clang builds everything without a warning", *ASAN_MAKE, build=ASAN_BUILD):
        run_units(stage, ASAN_BUILD, SANITIZER_ENV)
    else:
        tally.skip("unit tests under sanitizers", "they do not build")


def clang_tidy(run=run, seconds=TIDY_SECONDS):
    """Of the tree: what it finds, a text a file. tests/lint_model.h tells it what it cannot see across files."""
    model = ["--extra-arg=-include", f"--extra-arg={TOP}/tests/lint_model.h"]
    # The analyzer's default is 225000, which takes four times as long: `make lint` has it.
    if not os.environ.get("LINT_DEEP"):
        for arg in ("-Xclang", "-analyzer-config", "-Xclang", "max-nodes=40000"):
            model.append(f"--extra-arg={arg}")

    def one(path):
        extra = [] if path == "lib/err.c" else model
        return path, *run(["clang-tidy", "--quiet", *extra, path], seconds)

    return [f"{output}\n{path}: {ended(code)}" for path, code, output in in_parallel(one, sources(".c")) if code]


def can_tidy(stage):
    if make(stage, "compile_commands.json", "compile_commands.json"):
        return True
    tally.skip("clang-tidy", "there is no compile_commands.json")
    return False


def tidy(stage):
    found = beside.take("tidy")
    if found is None:
        if not can_tidy(stage):
            return
        found = clang_tidy()
    if found:
        tally.fail(f"clang-tidy of {len(sources('.c'))} files", "\n".join(found), "make lint")
    else:
        tally.ok()


def fuzz(stage):
    targets = sorted(os.path.basename(p)[:-2] for p in glob.glob("tests/fuzz/fuzz_*.c"))
    beside.take("fuzz")
    if not make(stage, "clang builds the fuzz targets", *FUZZ_MAKE):
        tally.skip("fuzz targets", "they do not build")
        return

    def one(target):
        argv = [MAKE, f"BUILD={BUILD}", "check-fuzz", f"FUZZ_TARGETS={target}"]
        return target, " ".join(argv), *run(argv, FUZZ_SECONDS)

    for target, again, code, output in in_parallel(one, targets):
        stage.say(target)
        count(target, code, output, again)


def system(stage):
    if not make(stage, "gcc builds the programs without a warning", "all", "check-bins"):
        tally.skip("system tests", "the programs do not build")
        return
    begin_beside(stage)
    check_pytest.shared(stage, tally, "system", "tests/system", SYSTEM_SECONDS, SYSTEM_PROCESSES, beside)


def begin_beside(stage):
    """What of the stages to come needs processors and no peace. Two system tests at a time wait for half of their time."""
    if "tidy" in stage.later and can_tidy(stage):
        beside.begin("tidy", lambda run: clang_tidy(run, BESIDE_SECONDS))
    if "asan" in stage.later:
        beside.begin("asan", lambda run: call_make(ASAN_BUILD, ASAN_MAKE, run))
    if "fuzz" in stage.later:
        beside.begin("fuzz", lambda run: call_make(BUILD, FUZZ_MAKE, run))


# In order: what is quick comes first, and before the others what they are begun beside.
STAGES = {
    "layers": ("dependencies point one way, attacks that are listed are tested", house),
    "format": ("clang-format", formatted),
    "unit": ("unit tests", unit),
    "system": ("whole programs, real containers", system),
    "tidy": ("clang-tidy", tidy),
    "asan": ("unit tests with clang, address and undefined behaviour sanitizers", asan),
    "fuzz": ("a few seconds of fuzzing", fuzz),
}


def main():
    os.chdir(TOP)
    wanted = sys.argv[1:] or list(STAGES)
    unknown = [w for w in wanted if w not in STAGES]
    if unknown:
        print(f"check: there is no stage {unknown[0]}; there are {', '.join(STAGES)}", file=sys.stderr)
        return 2
    try:
        for number, name in enumerate(wanted, 1):
            title, work = STAGES[name]
            with Stage(tally, number, len(wanted), title, later=wanted[number:]) as stage:
                work(stage)
    finally:
        beside.end()
    tally.report()
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
