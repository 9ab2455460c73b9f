#!/usr/bin/python3
"""How the sources look: style.py ROW | --list

format    what .clang-format says (its version 14, the one of Debian 12)
comments  no line of a block comment begins with a word at its star: the formatter tears those that
          it makes longer than a line
"""

import glob
import os
import re
import shutil
import subprocess
import sys

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDERS = ["bench", "core", "docs", "hotplug-sim", "include", "preload", "tests", "tools"]


def sources():
    return sorted(path for folder in FOLDERS for end in ("c", "h", "cc", "cpp")
                  for path in glob.glob(f"{SOURCE}/{folder}/**/*.{end}", recursive=True))


def check_format():
    program = shutil.which("clang-format-14")
    if not program:
        print("skip: clang-format-14 is not installed")
        return 77
    return subprocess.run([program, "--dry-run", "-Werror", *sources()], check=False).returncode


def check_comments():
    found = 0
    for path in sources():
        with open(path, encoding="utf-8") as f:
            text = f.read()
        for comment in re.finditer(r"/\*.*?\*/", text, re.S):
            for torn in re.finditer(r"\n[ \t]*\*[^\s*/].*", comment.group()):
                line = text.count("\n", 0, comment.start() + torn.start()) + 2
                print(f"{os.path.relpath(path, SOURCE)}:{line}: {torn.group().strip()}")
                found += 1
    return 1 if found else 0


ROWS = {"format": check_format, "comments": check_comments}

if sys.argv[1:] == ["--list"]:
    print("\n".join(ROWS))
elif len(sys.argv) == 2 and sys.argv[1] in ROWS:
    sys.exit(ROWS[sys.argv[1]]())
else:
    sys.exit(__doc__)
