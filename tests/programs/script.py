#!/usr/bin/python3
"""A program of the table runs its script alone and under the library: the same must come out.

    script.py ROW | --list | --packages LEVEL...

scripts.toml says what the keys mean. Both runs find an empty folder of the same name, with the row's
files in it, and a home beside it; compared are what the script prints and every file that it leaves.
"""

import fnmatch
import hashlib
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import subject  # noqa: E402
import table  # noqa: E402
from subject import compare, fail, free_port, skip  # noqa: E402

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PRELUDE = """set -eu
# await COMMAND...: until it succeeds, a minute at most.
await() { n=0; until "$@" >/dev/null 2>&1; do n=$((n + 1)); [ $n -lt 600 ]; sleep 0.1; done; }
# repeat N COMMAND...: a storm needs some time.
repeat() { n=$1; shift; while [ "$n" -gt 0 ]; do "$@"; n=$((n - 1)); done; }
"""


def require(row):
    missing = [p for p, v in table.versions(row["packages"]).items() if not v]
    if missing:
        skip(f"not installed: {' '.join(missing)}")
    if row.get("user") and os.geteuid() != 0:
        skip("needs root, to become another user")


def hand_over(row, top):
    """Everything below the folder belongs to the user that the script runs as."""
    user = pwd.getpwnam(row["user"])
    for folder, folders, files in os.walk(top):
        for name in [".", *folders, *files]:
            os.chown(os.path.join(folder, name), user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def prepare(row, top):
    work = os.path.join(top, "work")
    os.mkdir(work)
    os.mkdir(os.path.join(top, "home"))
    os.mkdir(os.path.join(top, "tmp"))
    for name, text in row.get("files", {}).items():
        path = os.path.join(work, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
    return work


def digests(row, work):
    """Every file that was left, by its name, but those that the row says may differ."""
    out = {}
    for folder, _, files in os.walk(work):
        for name in files:
            path = os.path.join(folder, name)
            short = os.path.relpath(path, work)
            if not os.path.isfile(path) or any(fnmatch.fnmatch(short, g)
                                               for g in row.get("ignore", [])):
                continue
            with open(path, "rb") as f:
                out[short] = hashlib.sha256(f.read()).hexdigest()
    return out


def server_log(work):
    """What a server said that the script started: by custom its file is called log."""
    path = os.path.join(work, "log")
    if not os.path.exists(path):
        return b""
    with open(path, "rb") as f:
        return f.read()


def run_script(row, top, under):
    work = prepare(row, top)
    as_user = {}
    env = {"HOME": os.path.join(top, "home"), "TMPDIR": os.path.join(top, "tmp"),
           "PORT": str(free_port()), "PORT2": str(free_port()),
           "SOURCE": SOURCE, "PROGRAMS": os.path.join(SOURCE, "bench", "programs")}
    if row.get("user"):
        os.chmod(top, 0o755)
        as_user = hand_over(row, top)
        # A run directory belongs to the user whose processes use it; the storm watches that one.
        if subject.MODE == "storm":
            os.chown(os.environ["SLABNODE_RUNDIR"], as_user["user"], as_user["group"])
        else:
            env["SLABNODE_RUNDIR"] = os.path.join(top, "home", "run")
    env = {**subject.environment(under, env), **row.get("env", {})}
    try:
        done = subprocess.run(["sh", "-c", PRELUDE + row["script"]], cwd=work, env=env,
                              capture_output=True, stdin=subprocess.DEVNULL,
                              timeout=row.get("timeout", 300), **as_user)
    except subprocess.TimeoutExpired as e:
        fail(f"{'under the library' if under else 'alone'}: no end after {e.timeout} s",
             e.stdout or b"", e.stderr or b"")
    if done.returncode:
        fail(f"{'under the library' if under else 'alone'}: status {done.returncode}",
             done.stdout, done.stderr, server_log(work))
    if under and re.search(rb"^slabnode:|ERROR: ld.so", done.stdout + done.stderr, re.M):
        fail("noise of the library or the loader", done.stdout, done.stderr)
    return done.stdout, digests(row, work)


def run_row(row):
    require(row)
    results = []
    with tempfile.TemporaryDirectory() as parent:
        top = os.path.join(parent, "row")
        os.chmod(parent, 0o755)
        for under in (False, True):
            os.mkdir(top)
            results.append(run_script(row, top, under))
            shutil.rmtree(top)
    (out, files), (out_under, files_under) = results
    if len(out) < 8 or not re.search(row.get("says", "."), out.decode(errors="replace")):
        fail("the script says too little to be compared", out)
    compare("what the script prints", out, out_under)
    compare("the set of files", "\n".join(sorted(files)), "\n".join(sorted(files_under)))
    different = [name for name in files if files[name] != files_under[name]]
    if different:
        fail(f"these files differ: {' '.join(sorted(different))}")


def main():
    rows = {row["name"]: row for row in table.rows("scripts.toml")}
    if sys.argv[1:] == ["--list"]:
        print("\n".join(rows))
    elif sys.argv[1:2] == ["--packages"]:
        print("\n".join(table.packages(sys.argv[2:])))
    elif len(sys.argv) == 2 and sys.argv[1] in rows:
        subject.really_under()
        row = rows[sys.argv[1]]
        subject.measure(row, lambda: run_row(row))
    else:
        sys.exit("usage: script.py ROW | --list | --packages LEVEL...")


if __name__ == "__main__":
    main()
