"""Runs a real program twice, without the library and under it, and compares.

The runner hands the environment that makes a program run under the library in SUBJECT_ENV; a case
of this folder itself runs without it. In the mode `storm` nodes leave and return in every process that
runs under the library, and a case fails where they did so in none.
"""

import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

import table
from storm import Storm

SUBJECT_ENV = json.loads(os.environ.get("SUBJECT_ENV", "{}"))
MODE = os.environ.get("SUBJECT_MODE", "none")


def skip(reason):
    print(f"skip: {reason}")
    sys.exit(77)


def fail(message, *outputs):
    print(message)
    for text in outputs:
        if isinstance(text, bytes):
            text = text.decode(errors="replace")
        print("\n".join(text.splitlines()[-40:]))
    sys.exit(1)


def need(*programs):
    for p in programs:
        if subprocess.run(["sh", "-c", f"command -v {p}"], capture_output=True).returncode:
            skip(f"{p} is not installed")


def free_port():
    """One below those that the kernel gives to clients: no connection takes it before its server does."""
    while True:
        port = random.randrange(10000, 32000)
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port


def environment(under, extra=None):
    """An environment that is the same on every machine but for the library."""
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
           "HOME": os.environ.get("HOME", "/"), "LC_ALL": "C.UTF-8", "TZ": "UTC",
           "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
           "SLABNODE_RUNDIR": os.environ.get("SLABNODE_RUNDIR", "/tmp/slabnode-check")}
    env.update(extra or {})
    if under:
        env.update(SUBJECT_ENV)
    return env


def run(argv, under, cwd=None, stdin=b"", env=None, timeout=300, check=True):
    """The finished process; a status that is not 0 ends the case unless check is False."""
    try:
        done = subprocess.run(argv, input=stdin, cwd=cwd, env=environment(under, env),
                              capture_output=True, timeout=timeout)
    except subprocess.TimeoutExpired as e:
        fail(f"{argv} {'under the library' if under else 'alone'} did not end in {timeout} s",
             e.stdout or b"", e.stderr or b"")
    if re.search(rb"^slabnode:|ERROR: ld.so", done.stderr, re.M):
        fail(f"{argv}: noise on stderr", done.stderr)
    if check and done.returncode != 0:
        fail(f"{argv} {'under the library' if under else 'alone'}: status {done.returncode}",
             done.stdout, done.stderr)
    return done


def really_under():
    """A case must not pass because the library was not there."""
    maps = run(["cat", "/proc/self/maps"], True).stdout
    if SUBJECT_ENV and b"libslabnode.so" not in maps:
        fail("the library is not mapped in a program that should run under it")


def compare(what, alone, under):
    if alone != under:
        fail(f"{what} differs", "--- alone:", alone if isinstance(alone, (str, bytes)) else
             repr(alone), "--- under the library:",
             under if isinstance(under, (str, bytes)) else repr(under))


def both(argv, stdin=b"", env=None, timeout=300, stderr=True, status=0):
    """Runs argv alone and under the library, each in an empty folder, and compares."""
    out = []
    for under in (False, True):
        with tempfile.TemporaryDirectory() as cwd:
            done = run(argv, under, cwd=cwd, stdin=stdin, env=env, timeout=timeout, check=False)
            if done.returncode != status:
                fail(f"{argv} {'under the library' if under else 'alone'}: status "
                     f"{done.returncode}", done.stdout, done.stderr)
            out.append((done.stdout, done.stderr if stderr else b""))
    compare(f"stdout of {argv}", out[0][0], out[1][0])
    compare(f"stderr of {argv}", out[0][1], out[1][1])
    return out[1][0]


def record(row, counts, seconds):
    """For the table in docs/programs.md: what was run and how often its nodes left and returned."""
    if os.environ.get("PROGRAMS_RECORD"):
        path = os.path.join(os.environ["PROGRAMS_RECORD"], f"{row['name']}.{MODE}.json")
        with open(path, "w", encoding="utf-8") as f:
            json.dump({"versions": table.versions(row["packages"]), "seconds": seconds,
                       **(vars(counts) if counts else {})}, f)


def measure(row, case):
    """Runs the case, under a storm where the mode asks for one."""
    start = time.monotonic()
    if MODE != "storm":
        case()
        record(row, None, time.monotonic() - start)
        return
    hotplugctl = os.path.join(os.environ["TEST_BUILD"], "tools", "hotplugctl")
    with tempfile.TemporaryDirectory(prefix="slabnode-storm-") as rundir:
        os.environ["SLABNODE_RUNDIR"] = rundir
        with Storm(hotplugctl, rundir, seed=sum(row["name"].encode())) as storm:
            case()
    if storm.defects:
        fail(f"{len(storm.defects)} defects in the storm:\n" + "\n".join(storm.defects))
    seen = sorted(storm.counts)
    counts = storm.counts[row["program"]] if "program" in row else storm.total()
    if not counts.away or not counts.back:
        fail(f"no node left and returned in {row.get('program', 'any program')}; there was a storm in: "
             + " ".join(seen))
    print(f"{counts.processes} processes, {counts.away} times a node left, "
          f"{counts.back} times one returned")
    record(row, counts, time.monotonic() - start)


class Server:
    """A program that runs in the background under the library until the block ends."""

    def __init__(self, argv, cwd, ready, under=True, env=None, stop=signal.SIGTERM):
        self.argv, self.cwd, self.ready, self.stop = argv, cwd, ready, stop
        self.env = environment(under, env)
        self.log = os.path.join(cwd, "server.log")

    def __enter__(self):
        with open(self.log, "wb") as log:
            self.proc = subprocess.Popen(self.argv, cwd=self.cwd, env=self.env, stdout=log,
                                         stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while not self.ready():
            if self.proc.poll() is not None or time.monotonic() > end:
                self.proc.kill()
                fail(f"{self.argv} did not get ready (status {self.proc.poll()})", self.text())
            time.sleep(0.05)
        return self

    def text(self):
        with open(self.log, "rb") as f:
            return f.read()

    def maps(self):
        with open(f"/proc/{self.proc.pid}/maps", encoding="utf-8") as f:
            return f.read()

    def __exit__(self, kind, value, trace):
        if self.proc.poll() is None:
            self.proc.send_signal(self.stop)
        try:
            status = self.proc.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
            status = None
        if kind is None and status not in (0, -self.stop):
            fail(f"{self.argv} ended with {status}", self.text())
        if kind is None and re.search(rb"^slabnode:|ERROR: ld.so", self.text(), re.M):
            fail(f"{self.argv}: noise on stderr", self.text())
