#!/usr/bin/python3
"""Turns what `make -nB` would run into compile_commands.json, for clang-tidy and editors."""

import json
import os
import re
import sys

COMPILE = re.compile(r" -c -o \S+ (\S+\.c)$")

found = {}
for line in sys.stdin:
    line = line.strip()
    m = COMPILE.search(line)
    if m and not line.startswith("echo"):
        found[m[1]] = {"directory": os.getcwd(), "command": line, "file": m[1]}
if not found:
    sys.exit("compile_commands: make would compile nothing")
json.dump(list(found.values()), sys.stdout, indent=1)
