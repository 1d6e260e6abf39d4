#!/usr/bin/python3
"""Compares the table of attacks in docs/security.md with the tests there are.

Every test it names must exist: of tests/system, tests/unit or tests/vm. And every test of
tests/system/test_attack_*.py must be named, unless it is among those below, which are no attack:
of bad input, of restarts, of what goes on working. Exits 1 when one is missing on either side.
"""

import ast
import glob
import os
import re
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NO_ATTACK = {
    "test_attack_access.py": ["test_audit_filters", "test_audit_names_who_and_what", "test_audit_of_reads_is_empty", "test_bad_identities",
                              "test_token_taken_back", "test_token_twice", "test_unix_groups"],
    "test_attack_access_wire.py": ["test_no_tls"],
    "test_attack_flood.py": ["test_bad_rates_change_nothing", "test_rates_outlive_restarts"],
    "test_attack_given_up.py": ["test_a_card_that_is_taken_away_and_given_back", "test_a_restart_nobody_tells_the_manager_of",
                                "test_a_stop_ends_it", "test_what_does_not_run_gives_it_up_at_once"],
    "test_attack_privileged.py": ["test_it_is_the_machines_root_with_few_rights"],
    "test_attack_projects.py": ["test_it_can_be_switched_off", "test_its_own_are_reached_on_every_node", "test_one_project_alone_has_no_such_table"],
    "test_attack_sniffing.py": ["test_a_card_that_is_silent_for_long_is_still_found"],
    "test_attack_spoofing.py": ["test_an_instance_that_has_gone_leaves_nothing"],
}


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def functions(path):
    return [node.name for node in ast.parse(read(path)).body if isinstance(node, ast.FunctionDef)]


def system_tests():
    for path in sorted(glob.glob(f"{TOP}/tests/system/test_*.py")):
        yield from (f"{os.path.basename(path)}::{name}" for name in functions(path) if name.startswith("test_"))


def absent(cell):
    """What a row's last cell names and is not there."""
    tests = set(system_tests())
    files = []
    for name in re.findall(r"`([^`]+)`", cell):
        if name.endswith((".c", ".py")):
            files.append(name)
            if not os.path.exists(f"{TOP}/{name}"):
                yield name
        elif re.fullmatch(r"test_\w+\.c::\w+", name):
            file, case = name.split("::")
            if not re.search(rf"cmocka_unit_test\w*\(\s*{case}\b", read(f"{TOP}/tests/unit/{file}")):
                yield name
        elif name.startswith("check_"):
            if not any(name in functions(f"{TOP}/{file}") for file in files if os.path.exists(f"{TOP}/{file}")):
                yield name
        elif name not in tests:
            yield name


def rows():
    table = read(f"{TOP}/docs/security.md").split("| attack | what stops it | test |", 1)[1]
    for line in table.splitlines()[2:]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


def main():
    wrong = n = 0
    named = set()
    for row in rows():
        n += 1
        if len(row) != 3 or "`" not in row[2]:
            print(f"docs/security.md: no test in the row of: {row[0]}")
            wrong += 1
            continue
        for name in absent(row[2]):
            print(f"docs/security.md names {name}, which is not there")
            wrong += 1
        named.update(re.findall(r"`(test_\w+\.py::test_\w+)`", row[2]))
    for name in system_tests():
        file, case = name.split("::")
        if file.startswith("test_attack_") and name not in named and case not in NO_ATTACK.get(file, []):
            print(f"not in docs/security.md: {name}")
            wrong += 1
    print(f"{n} attacks in the table, each with its test" if not wrong else f"{wrong} things are wrong with the table of attacks")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
