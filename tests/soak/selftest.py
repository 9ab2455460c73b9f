#!/usr/bin/python3
"""The soak itself: it sees what grows, what differs and what ends, and Ctrl-C leaves a report.

    selftest.py ROW | --list        (TEST_BUILD names the build directory)
"""

import argparse
import csv
import importlib.machinery
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
SOAK = os.path.join(HERE, "soak")


def fail(text):
    print(text)
    sys.exit(1)


def load():
    loader = importlib.machinery.SourceFileLoader("soak", SOAK)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("soak", loader))
    loader.exec_module(module)
    return module


def resident(soak, folder):
    args = argparse.Namespace(build="")
    return soak.Resident({"name": "one", "run": ["x"]}, args, folder, folder)


def growth():
    """A steady rise is growth; noise, a rise that ended and one during the warm-up are not."""
    soak = load()
    noise = [0, 3, 1, 2, 5, 4, 2, 1, 3, 0] * 20
    rise = list(range(200))
    wanted = {"steady": (noise, False), "rising": ([a + b for a, b in zip(rise, noise)], True),
              "warm-up": ([min(r, 40) for r in rise], False),
              "sawtooth": ([100 * (r % 10 * 20 < 40 + r // 2) for r in rise], False),
              "floor": ([r + 100 * (r % 10 < 5) for r in rise], True),
              "peak": ([100 - abs(r - 100) for r in rise], False),
              "little": ([r // 8 for r in rise], False)}
    with tempfile.TemporaryDirectory() as folder:
        for name, (seen, grows) in wanted.items():
            one = resident(soak, folder)
            one.samples["live"] = [1] * len(seen)
            one.samples["mappings"] = [200 + value for value in seen]
            if bool(one.growth()) != grows:
                fail(f"{name}: {one.growth()}")


def answers():
    """Each answer has to be the first one again; half a line is not an answer yet."""
    soak = load()
    with tempfile.TemporaryDirectory() as folder:
        one = resident(soak, folder)
        with open(one.answers, "w", encoding="utf-8") as f:
            for text, rounds, complaints in (("a\na\na", 2, 0), ("\na\n", 4, 0), ("b\n", 5, 1)):
                f.write(text)
                f.flush()
                if one.count_rounds() != rounds or len(one.complaints) != complaints:
                    fail(f"after {text!r}: {one.rounds} rounds, {one.complaints}")


def rows_of(path):
    try:
        with open(path, encoding="utf-8") as f:
            return list(csv.DictReader(f))
    except FileNotFoundError:
        return []


def interrupted():
    """A program that is killed is told of; then Ctrl-C ends the soak, with its report."""
    if subprocess.run(["sh", "-c", "command -v lua5.4"], capture_output=True).returncode:
        print("skip: lua5.4 is not installed")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        proc = subprocess.Popen([sys.executable, SOAK, "--build", os.environ["TEST_BUILD"], "--every",
                                 "0.5", "--output", folder, "lua", "perl"],
                                stdout=subprocess.DEVNULL)
        samples = os.path.join(folder, "samples.csv")
        end = time.monotonic() + 120
        while len(rows_of(samples)) < 20 and time.monotonic() < end:
            time.sleep(0.2)
        children = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(proc.pid)],
                                  capture_output=True, text=True).stdout.splitlines()
        started = [int(line.split()[0]) for line in children if " work." in line]
        if len(started) != 2:
            fail(f"these run: {children}")
        os.kill(started[0], signal.SIGKILL)
        time.sleep(2)
        proc.send_signal(signal.SIGINT)
        status = proc.wait(timeout=120)
        with open(os.path.join(folder, "report.md"), encoding="utf-8") as f:
            report = f.read()
        rows = rows_of(samples)
    if status != 1 or "ended with status -9" not in report:
        fail(f"status {status}: {report}")
    if not all(int(r["live"]) > 0 and int(r["mappings"]) > 20 for r in rows):
        fail(f"samples: {rows}")
    if os.path.exists(f"/proc/{started[1]}"):
        fail("a program still runs")


ROWS = {"growth": growth, "answers": answers, "interrupted": interrupted}

if __name__ == "__main__":
    if sys.argv[1:] == ["--list"]:
        print("\n".join(ROWS))
    elif len(sys.argv) == 2 and sys.argv[1] in ROWS:
        ROWS[sys.argv[1]]()
    else:
        sys.exit("usage: selftest.py ROW | --list")
