#!/usr/bin/python3
"""One real program under the library against itself without it: run.py CASE | --list."""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import compilers  # noqa: E402
import data  # noqa: E402
import languages  # noqa: E402
import servers  # noqa: E402
import subject  # noqa: E402
import system  # noqa: E402
import table  # noqa: E402

CASES = {}
for module in (languages, compilers, data, servers, system):
    CASES.update(module.CASES)


def main():
    if sys.argv[1:] == ["--list"]:
        print("\n".join(CASES))
        return
    if len(sys.argv) != 2 or sys.argv[1] not in CASES:
        sys.exit("usage: run.py CASE | --list")
    subject.really_under()
    rows = {row["name"]: row for row in table.rows("coded.toml")}
    case = CASES[sys.argv[1]]
    if sys.argv[1] in rows:
        subject.measure(rows[sys.argv[1]], case)
    else:
        case()  # About the process itself: the mode storm is a control thread from the start.


if __name__ == "__main__":
    main()
