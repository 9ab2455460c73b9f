#!/usr/bin/python3
"""The modes of the runner are what they claim: a running program is asked which fast path and which
topology it uses.

    modecheck.py status | --list        (started by the runner, with SUBJECT_ENV and TEST_BUILD)
"""

import json
import os
import subprocess
import sys
import time

EXPECTED = {
    "rseq": ("rseq", "auto", None),
    "norseq": ("locked", "auto", None),
    "locked": ("locked", "auto", None),
    "one": ("rseq", "synthetic", 1),
    "sim4": ("rseq", "synthetic", 4),
    "sim4-locked": ("locked", "synthetic", 4),
}


def fail(text):
    print(text)
    sys.exit(1)


def ask(tool, pid):
    """The status of the process, or what the tool said instead, until it answers."""
    env = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    end = time.monotonic() + 10
    while True:
        done = subprocess.run([tool, "-p", str(pid), "--json", "status"], capture_output=True,
                              text=True, env=env, timeout=30)
        if done.returncode == 0:
            return json.loads(done.stdout)
        if time.monotonic() > end:
            fail(f"hotplugctl: status {done.returncode}: {done.stdout}{done.stderr}")
        time.sleep(0.1)


def status():
    mode = os.environ.get("SUBJECT_MODE", "none")
    if mode not in EXPECTED:
        print("skip: there is no library in this mode")
        sys.exit(77)
    tool = os.path.join(os.environ["TEST_BUILD"], "tools", "hotplugctl")
    env = {**os.environ, **json.loads(os.environ["SUBJECT_ENV"]), "SLABNODE_CONTROL": "on"}
    subject = subprocess.Popen(["sleep", "60"], env=env)
    try:
        answer = ask(tool, subject.pid)
    finally:
        subject.kill()
        subject.wait()
    path, topology, nodes = EXPECTED[mode]
    if mode in ("rseq", "one", "sim4") and os.uname().machine != "x86_64":
        path = answer["fast_path"]
    seen = (answer["fast_path"], answer["topology"], len(answer["nodes"]))
    if seen[0] != path:
        fail(f"fast path {seen[0]} ({answer.get('fast_path_reason')}), expected {path}")
    if seen[1] != topology or (nodes is not None and seen[2] != nodes):
        fail(f"topology {seen[1]} with {seen[2]} nodes, expected {topology} with {nodes}")
    if not answer.get("fast_path_reason"):
        fail("status gives no reason for the fast path")


if __name__ == "__main__":
    if sys.argv[1:] == ["--list"]:
        print("status")
    elif sys.argv[1:] == ["status"]:
        status()
    else:
        sys.exit("usage: modecheck.py status | --list")
