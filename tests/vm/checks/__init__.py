"""What is checked on the machines. A check is one function, check_*(lab), in a file by subject.

It raises AssertionError (or lab.Failed) when something is wrong and Skip when it cannot run; its
first line of documentation is its name in the report. Instances it makes it names itself, and
removes; `check.py` removes what is left of them before the next subject. To add a file, add it to
SUBJECTS, below the Debian that its machines have: in this order they run, and in a file from top to
bottom.
"""

import importlib

SUBJECTS = {
    "bookworm": ["cluster", "limits", "disk", "mounts", "moves", "spared", "apparmor", "policy", "privileged", "denials", "daemons", "debian",
                 "policy_debian"],
    "trixie": ["debian13"],
}


class Skip(Exception):
    """This check cannot run here; says why."""


def all_checks(suite):
    """(name, function) of every check of a suite, in order."""
    found = []
    for subject in SUBJECTS[suite]:
        module = importlib.import_module(f"checks.{subject}")
        for name, fn in vars(module).items():
            if name.startswith("check_") and getattr(fn, "__module__", None) == module.__name__:
                found.append((f"{subject}.{name.removeprefix('check_')}", fn))
    return found
