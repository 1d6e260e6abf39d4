"""The tables of docs/performance.md, each between two marks: <!-- NAME --> and <!-- end NAME -->."""

import datetime
import os
import platform

DOC = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "docs", "performance.md")


def write(name, table, how):
    """Puts a table (lines of Markdown) in the place of the one that is there, with a note of how it was measured."""
    with open(DOC, encoding="utf-8") as f:
        whole = f.read()
    begin, end = f"<!-- {name} -->\n", f"<!-- end {name} -->"
    head, rest = whole.split(begin)
    kernel = platform.release().split("-")[0]
    note = f"Measured {datetime.date.today()}{how and ', ' + how}: {os.cpu_count()} cores, kernel {kernel}."
    with open(DOC, "w", encoding="utf-8") as f:
        f.write(f"{head}{begin}{table.rstrip()}\n\n{note}\n{end}{rest.split(end)[1]}")
