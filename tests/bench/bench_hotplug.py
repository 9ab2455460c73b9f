#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The benchmarks of hotplug: each runs for about a second, and what it tells has to make sense.

    bench_hotplug.py ROW | --list

TEST_BUILD names the build directory.
"""
import array
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.abspath(os.environ.get("TEST_BUILD", os.path.join(SOURCE, "build")))
FOLDER = tempfile.mkdtemp(prefix="slabnode-test-bench-")

sys.path.insert(0, os.path.join(SOURCE, "bench"))

from hotplug import offlines, phases  # noqa: E402


def insist(truth, *what):
    if not truth:
        print(*what)
        sys.exit(1)


def run(*words):
    """What bench/hotplug/run kept, and the report made of it."""
    path = os.path.join(FOLDER, "hotplug-kept.json")
    ran = subprocess.run([os.path.join(SOURCE, "bench", "hotplug", "run"), "--build", BUILD,
                          "--quick", "--json", path, *words], capture_output=True, text=True,
                         timeout=280, check=False)
    insist(ran.returncode == 0, ran.stdout, ran.stderr)
    with open(path, encoding="utf-8") as file:
        kept = json.load(file)
    insist(kept["version"] == 1 and kept["kind"] == "hotplug" and kept["quick"], kept)
    report = subprocess.run([os.path.join(SOURCE, "bench", "report"), path, "--out", FOLDER],
                            capture_output=True, text=True, timeout=60, check=False)
    insist(report.returncode == 0, report.stderr)
    with open(os.path.join(FOLDER, "report.md"), encoding="utf-8") as file:
        text = file.read()
    for title in re.findall(r"^## (.*)$", text, re.M)[1:]:
        insist(title in ran.stdout, "the run does not show", title, ran.stdout)
    return kept, text


def axes():
    """Cached, live and large bytes: the offline gives back or moves what its axis says."""
    class Given:
        build, fastpath = BUILD, "auto"

    held = {}
    for axis, words in (("cached", (0, 48, 10, 2, 20, 0)), ("live", (48, 0, 10, 2, 20, 0)),
                        ("large", (0, 0, 10, 2, 20, 48)), ("none", (0, 0, 10, 2, 20, 0))):
        runs = offlines.launch(Given, 4, ["offline", *words])
        insist(len(runs) == 2, axis, runs)
        for one in runs:
            insist(one["offline_ms"] > 0 and one["bare_ms"] > 0, axis, one)
            insist(sum(one[p + "_ms"] for p in offlines.PHASES) <= one["offline_ms"] * 1.01, one)
        held[axis] = [min(one[key] for one in runs) for key in ("released_mib", "moved_mib")]
    none = held.pop("none")
    more = {axis: [a - b for a, b in zip(values, none)] for axis, values in held.items()}
    insist(more["cached"][0] > 40 and more["cached"][1] < 30, "cached", more)
    insist(more["live"][1] > 40 and more["live"][0] < 20, "live", more)
    insist(44 < more["large"][1] < 56 and more["large"][0] < 4, "large", more)
    tables = list(offlines.tables({"offlines": {
        "%s-64" % axis: [{**runs[0], "offline_ms": 8.0, "released_mib": 512, "moved_mib": 512}]
        for axis in held}}))
    insist([table.head[0] for table in tables] == ["cached", "live", "large", "phase"], tables)
    for table in tables[:3]:
        insist(table.rows[0][:3] == ["64 M", "512+512 M", "8.00"] and table.rows[0][4] == "8.00",
               table)


def answer_with_pause(listener, rest):
    """A server of the redis protocol that takes a rest in the middle."""
    connection, _ = listener.accept()
    begin, rested, text = time.monotonic(), False, b""
    with connection:
        while True:
            got = connection.recv(1 << 16)
            if not got:
                return
            text += got
            if not rested and time.monotonic() > begin + 0.4:
                rested = True
                time.sleep(rest)
            # A request ends with its last argument: GET has two, SET has three.
            while True:
                match = re.match(rb"\*(\d)\r\n", text)
                at = match.end() if match else 0
                for _ in range(int(match.group(1)) if match else 0):
                    length = re.compile(rb"\$(\d+)\r\n").match(text, at)
                    at = length.end() + int(length.group(1)) + 2 if length else len(text) + 1
                if not match or at > len(text):
                    break
                text = text[at:]
                connection.sendall(b"+OK\r\n" if match.group(1) == b"3" else b"$3\r\nyes\r\n")


def load():
    """A server that rests is late with every request that was due meanwhile, not with one."""
    path = os.path.join(FOLDER, "socket")
    counts = {}
    for mode, rate in (("open", ("1000",)), ("closed", ())):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        server = threading.Thread(target=answer_with_pause, args=(listener, 0.3))
        server.start()
        ran = subprocess.run([os.path.join(BUILD, "bench", "slabnode-load"), "redis", path, mode,
                              "100", "100", "1", *rate, "1"], capture_output=True, timeout=60,
                             check=False)
        server.join()
        listener.close()
        os.unlink(path)
        insist(ran.returncode == 0, ran.stderr)
        numbers = array.array("Q")
        numbers.frombytes(ran.stdout)
        dues, took = numbers[::2], sorted(numbers[1::2])
        insist(list(dues) == sorted(dues) and took[-1] > 0.28e9, mode, took[-1])
        counts[mode] = sum(nanoseconds > 0.1e9 for nanoseconds in took)
        if mode == "open":
            insist(len(dues) == 1000 and abs(dues[-1] - dues[0] - 0.999e9) < 1e6, len(dues))
    insist(counts["open"] >= 190, "requests that were late by 100 ms:", counts)
    insist(counts["closed"] < counts["open"] / 4, counts)
    told = phases.quantiles(list(range(1000, 1001000, 1000)))
    insist([told[key] for key in ("count", "p50", "p99", "p99.9", "max")] ==
           [1000, 500, 990, 999, 1000], told)
    insist(phases.quantiles([5000] * 99)["p99"] is None, "a quantile of too few")
    # Due at, took: one before, one that waits into the offline, one away, one back.
    told = phases.latencies([0, 100, 200, 300, 400, 500], array.array(
        "Q", [10, 50, 90, 20, 210, 10, 410, 20]).tobytes())
    insist([told[phase]["count"] for phase in phases.PHASES] == [1, 1, 1, 0, 1], told)


def server():
    """Redis under each policy: the phases are there, and the outcome is told."""
    kept, text = run("--only", "server", "--servers", "redis", "--window", "0.4", "--repeat", "1")
    if "redis" in kept["skipped"]:
        insist("redis" in text and "is not installed" in text, text)
        return
    for policy in phases.POLICIES:
        one, = kept["server"]["redis"][policy]
        insist(one["rate"] >= 100, one)
        for part in (one["closed"], one["open"]):
            insist(list(part["seconds"]) == list(phases.PHASES) and
                   min(part["seconds"].values()) > 0 and part["live_bytes"] > 1 << 20, part)
            insist(part["offline"]["done"] == (policy == "migrate"), policy, part["offline"])
            insist(part["online"]["done"], part)
        insist(one["closed"]["throughput"]["before"] > 100, one["closed"])
        for phase in ("before", "away", "back"):
            told = one["open"]["latency_us"][phase]
            insist(told["count"] > 0.2 * one["rate"] * 0.4, policy, phase, told)
            insist(0 < told["p50"] <= told["p99"] <= told["max"], policy, phase, told)
    insist(kept["server"]["redis"]["migrate"][0]["open"]["offline"]["moved_bytes"] > 1 << 20, kept)
    insist("EBUSY" in kept["server"]["redis"]["strict"][0]["open"]["offline"]["message"], kept)
    insist("EBUSY" in text and "redis before, during and after an offline" in text, text)


def locality():
    """Who knows nodes keeps memory on them, and who does not is seen not to."""
    kept, text = run("--only", "locality", "--alloc", "slabnode,glibc", "--repeat", "1")
    for workload, runs in kept["locality"].items():
        for name, (one,) in runs.items():
            insist(0 < one["local_bytes"] <= one["bytes"] and one["objects"] > 100000, name, one)
            insist(one["home"] + one["away"] + one["system"] <= one["remote_frees"], name, one)
            insist(one["home"] + one["away"] > one["remote_frees"] / 10, name, one)
        mine, other = runs["slabnode"][0], runs["glibc"][0]
        insist(mine["local_bytes"] > 0.97 * mine["bytes"], workload, mine)
        insist(mine["home"] > 0.97 * (mine["home"] + mine["away"]), workload, mine)
        insist(other["local_bytes"] < 0.99 * other["bytes"], workload, other)
    insist(kept["locality"]["migrate"]["glibc"][0]["away"] > 1000, kept)
    insist("Locality: threads go from node to node" in text, text)


ASK = """
import ctypes
slabnode = ctypes.CDLL(None)
text = ctypes.create_string_buffer(200)
print(slabnode.slabnode_offline(0, 2, ctypes.c_long(-1), text, ctypes.c_size_t(200)))
print(text.value.decode())
print(slabnode.slabnode_node_state(0))
import glob, threading
for i in range(4):
    thread = threading.Thread(target=lambda: [bytes(i % 9000) for i in range(20000)])
    thread.start()
    thread.join()
print(*{open(path).read().strip() for path in glob.glob("/proc/self/task/*/comm")})
"""


def text_size(path):
    """Of code and constants, whatever was kept for debuggers."""
    output = subprocess.run(["size", path], stdout=subprocess.PIPE, text=True, check=True).stdout
    return int(output.splitlines()[1].split()[0])


def ready():
    """The library without hotplug is one that allocates, refuses, and is less; it is compared."""
    kept, text = run("--only", "ready", "--tests", "pairs-t1", "--threads", "1", "--repeat", "2")
    names = [entry["name"] for entry in kept["ready"]["contenders"]]
    insist(names == ["without", "no-thread", "ready"], names)
    insist(len({entry["sha256"] for entry in kept["ready"]["contenders"]}) == 2, "one library?")
    test, = kept["ready"]["tests"]
    insist([len(test["runs"][name]) for name in names] == [2, 2, 2], test)
    table = re.search(r"^\| ready \| (\d\.\d+) \[.*$", text, re.M)
    insist(table and 0.2 < float(table.group(1)) < 5, text)
    library = os.path.join("preload", "libslabnode.so")
    without = os.path.join(BUILD, "without-hotplug", library)
    insist(text_size(without) < 0.8 * text_size(os.path.join(BUILD, library)), "nothing was left out")
    for preload in (without, os.path.join(BUILD, library)):
        ran = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True,
                             timeout=60, check=False, env={
                                 **os.environ, "LD_PRELOAD": preload, "SLABNODE_CONTROL": "on",
                                 "SLABNODE_RUNDIR": os.path.join(FOLDER, "rundir")})
        insist(ran.returncode == 0, ran.stderr)
        error, message, state, tasks = ran.stdout.splitlines()
        insist(int(error) < 0 and state == "2", preload, ran.stdout)
        insist((message == "this library was built without hotplug") == (preload == without) ==
               ("slabnode-ctl" not in tasks), preload, ran.stdout)


def arguments():
    """What cannot be measured is said."""
    for words in (["--only", "nothing"], ["--repeat", "-1"], ["--alloc", "hoard"],
                  ["--window", "-1"]):
        ran = subprocess.run([os.path.join(SOURCE, "bench", "hotplug", "run"), "--build", BUILD,
                              *words], capture_output=True, text=True, timeout=60, check=False)
        insist(ran.returncode == 2 and "error" in ran.stderr, words, ran)
    ran = subprocess.run([os.path.join(SOURCE, "bench", "hotplug", "run"), "--build", FOLDER],
                         capture_output=True, text=True, timeout=60, check=False)
    insist(ran.returncode == 2 and "build first" in ran.stderr, ran)


ROWS = {"offline-axes": axes, "load": load, "server": server, "locality": locality, "ready": ready,
        "hotplug-arguments": arguments}


def main():
    if sys.argv[1:] == ["--list"]:
        print("\n".join(ROWS))
        return
    if len(sys.argv) != 2 or sys.argv[1] not in ROWS:
        sys.exit("usage: bench_hotplug.py ROW | --list")
    try:
        ROWS[sys.argv[1]]()
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)


main()
