#!/usr/bin/python3
"""Static analysers over the library and its tools: analysis.py ROW | --list

A row is an analyser over one folder or more, `gcc-core`, `tidy-rest`, ...; it passes when nothing
is reported.  What is switched off stands here, in cppcheck.txt and in .clang-tidy, each with the
reason.

The files and their options are those of the build that is tested ({build}/compile_commands.json).
"""

import concurrent.futures
import json
import os
import re
import shlex
import shutil
import subprocess
import sys

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("TEST_BUILD", os.path.join(SOURCE, "build"))

PARTS = {"core": ["core"], "rest": ["preload", "hotplug-sim", "tools"]}

# What gcc's analyser takes for something else, by file.
GCC_EXCEPT = {
    # They define malloc(): the memory that it returns is their caller's.
    "preload/symbols.c": ["malloc-leak"],
    # A block has its run and a segment its range; a heap in which they are missing was ended before.
    "core/large.c": ["null-dereference"],
    "core/segment.c": ["null-dereference"],
    # A page of the window has its byte, which sim_ledger_reserve() has mapped.
    "hotplug-sim/ledger.c": ["null-dereference"],
    # Columns are chosen before they are used, and count says up to where.
    "tools/hotplugctl/table.c": ["null-dereference"],
    # A stream that is part of a structure is returned with it.
    "tools/hotplugctl/parallel.c": ["malloc-leak"],
}

# The same of clang-tidy's checks.
TIDY_EXCEPT = {
    # The name's last byte is zero from the beginning.
    "core/cache.c": ["bugprone-not-null-terminated-result"],
}

CPPCHECK = [
    "--enable=warning,performance,portability", "--inline-suppr", "--quiet", "--std=c11",
    "--error-exitcode=1", "--template={file}:{line}: {message} [{id}]",
    "-D__x86_64__", "-D__linux__",
    f"--library={SOURCE}/tests/analysis/cppcheck.cfg",
    f"--suppressions-list={SOURCE}/tests/analysis/cppcheck.txt",
]


def commands(part):
    """file: its compiler command, once each; of the library rather than of tests."""
    with open(os.path.join(BUILD, "compile_commands.json"), encoding="utf-8") as f:
        entries = json.load(f)
    found = {}
    for entry in entries:
        path = os.path.relpath(os.path.join(entry["directory"], entry["file"]), SOURCE)
        output = entry.get("output", "")
        if path.split("/")[0] in PARTS[part] and not output.startswith("tests/"):
            if path not in found or "libslabnode.so" in output:
                found[path] = entry["command"]
    return found


def run(argv):
    done = subprocess.run(argv, cwd=BUILD, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)
    return done.returncode, done.stdout


def gcc(command, path):
    argv = shlex.split(command)
    argv[0] = "gcc"
    argv = [a for a in argv if a not in ("-MD", "-Werror")]
    for option in ("-o", "-MF", "-MQ"):
        at = argv.index(option)
        del argv[at:at + 2]
    argv += ["-fanalyzer", "-fdiagnostics-color=never", "-o", "/dev/null"]
    argv += [f"-Wno-analyzer-{name}" for name in GCC_EXCEPT.get(path, [])]
    status, text = run(argv)
    return text if status != 0 or "warning:" in text else ""


def tidy(_command, path):
    less = "".join(f"-{check}," for check in TIDY_EXCEPT.get(path, []))
    name = shutil.which("clang-tidy-19") or "clang-tidy"
    # Options of gcc that clang does not know are no finding.
    status, text = run([name, "-p", BUILD, "--quiet", f"--checks={less}", "--extra-arg=-Wno-unknown-warning-option",
                        "--extra-arg=-Wno-ignored-optimization-argument",
                        os.path.join(SOURCE, path)])
    found = [line for line in text.splitlines()
             if not re.match(r"\d+ warnings? generated|Suppressed |Use -header-filter", line)]
    return "\n".join(found) if status != 0 or "warning:" in text else ""


def cppcheck(command, path):
    defines = [a for a in shlex.split(command) if a.startswith(("-D", "-I"))]
    status, text = run(["cppcheck", *CPPCHECK, *defines, os.path.join(SOURCE, path)])
    return text if status != 0 else ""


ANALYSERS = {
    "gcc": ("gcc", gcc),
    "tidy": ("clang-tidy", tidy),
    "cppcheck": ("cppcheck", cppcheck),
}


def main():
    rows = [f"{a}-{p}" for a in ANALYSERS for p in PARTS]
    if sys.argv[1:] == ["--list"]:
        print("\n".join(rows))
        return 0
    if len(sys.argv) != 2 or sys.argv[1] not in rows:
        sys.exit(__doc__)
    analyser, _, part = sys.argv[1].partition("-")
    program, look = ANALYSERS[analyser]
    if not shutil.which(program):
        print(f"skip: {program} is not installed")
        return 77
    files = commands(part)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(lambda path: look(files[path], path), sorted(files)))
    print("".join(text.rstrip() + "\n" for text in found if text), end="")
    print(f"{len(files)} files")
    return 1 if any(found) or not files else 0


if __name__ == "__main__":
    sys.exit(main())
