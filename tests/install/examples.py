#!/usr/bin/python3
"""The examples do what their README says: its commands, run where it says, print what it says.

    examples.py ROW | --list

A row is a section of docs/examples/README.md, by the folder whose file it links first; the commands
of its block `sh` are run in a copy of that folder with an installation of the build directory, and
have to print its block `text`, but for the numbers.
"""

import re
import shutil
import subprocess
import sys

from prefix import SOURCE, fail, installed

EXAMPLES = SOURCE / "docs/examples"


def sections():
    """folder -> (commands, output), of the sections that have both."""
    out = {}
    for text in re.split(r"^## ", (EXAMPLES / "README.md").read_text(), flags=re.M)[1:]:
        folder = re.search(r"\]\(([\w-]+)/", text)
        blocks = dict(re.findall(r"^```(sh|text)\n(.*?)^```$", text, re.M | re.S))
        if folder and set(blocks) == {"sh", "text"}:
            out[folder.group(1)] = (blocks["sh"], blocks["text"])
    return out


def like(text):
    """Numbers differ from run to run."""
    return re.sub(r"\d+(\.\d+)?", "N", text)


def example(name):
    commands, want = sections()[name]
    with installed() as p:
        place = p.root / name
        shutil.copytree(EXAMPLES / name, place)
        done = subprocess.run(["bash", "-eu", "-c", commands], cwd=place, text=True, timeout=50,
                              capture_output=True, check=False, stdin=subprocess.DEVNULL,
                              env={k: v for k, v in p.env().items() if k != "SLABNODE_TOPOLOGY"})
        if done.returncode != 0 or like(done.stdout) != like(want):
            fail(f"status {done.returncode}", done.stdout, done.stderr, f"--- wanted\n{want}")
        if "warning" in done.stderr:
            fail(done.stderr)


def covered():
    """Every folder has a section; those without commands have a row elsewhere, which uses them."""
    folders = {f.name for f in EXAMPLES.iterdir() if f.is_dir()}
    linked = set(re.findall(r"\]\(([\w-]+)/", (EXAMPLES / "README.md").read_text()))
    if folders != linked:
        fail(f"no section: {sorted(folders - linked)}; no folder: {sorted(linked - folders)}")
    for name in folders - set(sections()):
        if f"examples/{name}/" not in (SOURCE / "tests/install/install.py").read_text():
            fail(f"nothing runs {name}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--list"]:
        print("\n".join([*sections(), "covered"]))
    elif sys.argv[1:] == ["covered"]:
        covered()
    elif len(sys.argv) == 2 and sys.argv[1] in sections():
        example(sys.argv[1])
    else:
        sys.exit("usage: examples.py ROW | --list")
