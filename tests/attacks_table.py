#!/usr/bin/python3
"""Compares the table of attacks in docs/security.md with the tests there are.

Every test it names must exist, and every test of tests/system/test_attack_*.py that is a claim of
its own (those of bad input and of restarts are not) should be named: what is missing is listed.
Exits 1 when the table names a test that is not there.
"""

import ast
import glob
import os
import re
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def tests():
    for path in sorted(glob.glob(f"{TOP}/tests/system/test_attack_*.py")):
        with open(path, encoding="utf-8") as f:
            for node in ast.parse(f.read()).body:
                if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                    yield f"{os.path.basename(path)}::{node.name}"


def main():
    with open(f"{TOP}/docs/security.md", encoding="utf-8") as f:
        named = set(re.findall(r"`(test_\w+\.py::test_\w+)`", f.read()))
    there = set(tests())
    attacks = {n for n in named if n.startswith("test_attack_")}
    for name in sorted(attacks - there):
        print(f"docs/security.md names {name}, which is no test")
    for name in sorted(there - named):
        print(f"not in docs/security.md: {name}")
    print(f"{len(attacks & there)} attacks in the table have their test")
    return 1 if attacks - there else 0


if __name__ == "__main__":
    sys.exit(main())
