# SPDX-License-Identifier: MIT
"""A server before, during and after an offline, and when the node is back.

The server runs on two nodes, simulated where the machine has one; the one that holds most of its memory leaves.  One client
asks at fixed times (latencies), another one whenever it is answered (throughput): slabnode-load.
An offline that fails has its time all the same: what the server's users saw then is told.
"""
import array
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from hotplug import Table, topology
from runner import contenders, measure, servers, suite

POLICIES = ("strict", "wait", "migrate")
PHASES = ("before", "offline", "away", "online", "back")
CONNECTIONS = 8
VALUE = 1000
WARM_S = 0.3
SHARE = 0.4         # of the throughput, which the latencies are taken at
MOST_RATE = 20000
QUANTILES = (("p50", 0.5, 2), ("p99", 0.99, 100), ("p99.9", 0.999, 1000))


def server_tests():
    yield suite.program("redis", "", [
        "redis-server", "--port", "0", "--unixsocket", "@FOLDER@/socket", "--save", "",
        "--appendonly", "no", "--daemonize", "no"], links_allocator=True)
    yield suite.program("memcached", "", ["memcached", "-u", "root", "-m", "1024", "-t", "4", "-s",
                                          "@FOLDER@/socket"])


class Control:
    """The control socket of a process."""

    def __init__(self, path):
        limit = time.monotonic() + servers.START_LIMIT
        while not os.path.exists(path):
            if time.monotonic() > limit:
                raise measure.Failure("the server has no control socket")
            time.sleep(0.01)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(120)
        self.socket.connect(path)
        self.lines = self.socket.makefile("r", encoding="utf-8")
        self.lines.readline()  # its greeting

    def ask(self, line):
        """The last answer to a command: what came before it is progress."""
        self.socket.sendall(line.encode() + b"\n")
        for text in self.lines:
            answer = json.loads(text)
            if "progress" not in answer:
                return answer
        raise measure.Failure("the server left %r unanswered" % line)

    def close(self):
        self.lines.close()
        self.socket.close()


@contextlib.contextmanager
def running(test, library, fastpath):
    """A server under slabnode on two nodes: the server and its control socket."""
    rundir = tempfile.mkdtemp(prefix="slabnode-bench-")
    server = servers.Server(test, library, {
        **topology("synthetic:numa:2 pu:1"), "SLABNODE_CONTROL": "on",
        "SLABNODE_RUNDIR": rundir, "SLABNODE_FASTPATH": fastpath})
    try:
        server.wait_until_up()
        control = Control(os.path.join(rundir, "%d.sock" % server.process.pid))
        try:
            yield server, control
        finally:
            control.close()
        server.end()
    finally:
        server.close()
        shutil.rmtree(rundir, ignore_errors=True)


def load(given, test, path, *words):
    return [os.path.join(given.build, "bench", "slabnode-load"), test.name, path,
            *(str(word) for word in words)]


def fill(given, test, server, keys):
    done = subprocess.run(load(given, test, server.socket, "fill", keys, VALUE),
                          env=measure.clean_environment({}), capture_output=True, text=True,
                          timeout=120)
    if done.returncode:
        raise measure.Failure("%s: %s" % (test.name, measure.last_line(done.stderr)))


def fullest(control):
    nodes = control.ask("status")["nodes"]
    return max(nodes, key=lambda node: node["live_bytes"])


def outcome(answer):
    """What a command's answer says of its node."""
    told = answer["results"][0] if answer.get("results") else answer
    error = told.get("error")
    return {"done": bool(answer.get("ok")),
            "message": "" if answer.get("ok") else "%s: %s" % (error, told.get("message", "")),
            "elapsed_ms": told.get("elapsed_ms"), "moved_bytes": told.get("migrated_bytes"),
            "stall_ms": told.get("max_stall_ms")}


def change(control, times, line):
    times.append(time.monotonic_ns())
    answer = control.ask(line)
    times.append(time.monotonic_ns())
    return outcome(answer)


def under_load(given, test, server, control, policy, words):
    """One offline and online under a client: times of the changes, their outcomes, the samples."""
    node = fullest(control)
    client = subprocess.Popen(load(given, test, server.socket, *words),
                              env=measure.clean_environment({}), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        time.sleep(WARM_S)
        times = [time.monotonic_ns()]
        time.sleep(given.window)
        off = change(control, times, "offline %d policy=%s timeout=%g" % (
            node["node"], policy, given.window))
        time.sleep(given.window)
        on = change(control, times, "online %d rebalance=1" % node["node"])
        time.sleep(given.window)
        times.append(time.monotonic_ns())
        client.send_signal(signal.SIGTERM)
        output, messages = client.communicate(timeout=60)
    finally:
        if client.poll() is None:
            client.kill()
            client.communicate()
    if client.returncode:
        raise measure.Failure("%s, %s: %s" % (test.name, policy,
                                              measure.last_line(messages.decode())))
    return {"times": times, "offline": off, "online": on, "live_bytes": node["live_bytes"]}, output


def seconds(times):
    return {phase: (end - begin) / 1e9 for phase, begin, end in zip(PHASES, times, times[1:])}


def latencies(times, output):
    """{phase: figures in us} of requests that were under way in a phase; one that waited through
    a change of state belongs to the change."""
    numbers = array.array("Q")
    numbers.frombytes(output)
    found = {phase: [] for phase in PHASES}
    warm, off, away, on, back, end = times
    for due, took in zip(numbers[::2], numbers[1::2]):
        done = due + took
        if due < away and done > off:
            found["offline"].append(took)
        elif due < back and done > on:
            found["online"].append(took)
        elif warm <= due < off:
            found["before"].append(took)
        elif away <= due < on:
            found["away"].append(took)
        elif back <= due < end:
            found["back"].append(took)
    return {phase: quantiles(sorted(values)) for phase, values in found.items()}


def quantiles(values):
    """Nearest ranks; one that so few values do not tell is None."""
    told = {"count": len(values), "max": values[-1] / 1e3 if values else None}
    for name, part, least in QUANTILES:
        rank = -int(-part * len(values) // 1)
        told[name] = values[rank - 1] / 1e3 if len(values) >= least else None
    return told


def throughputs(times, output):
    """{phase: answers a second}."""
    numbers = array.array("Q")
    numbers.frombytes(output)
    done = sorted(due + took for due, took in zip(numbers[::2], numbers[1::2]))
    rates, at = {}, 0
    for phase, begin, end in zip(PHASES, times, times[1:]):
        while at < len(done) and done[at] < begin:
            at += 1
        first = at
        while at < len(done) and done[at] < end:
            at += 1
        rates[phase] = (at - first) / ((end - begin) / 1e9)
    return rates


def one_run(given, test, library, policy):
    """Throughput first, then latencies at a part of it; each of a fresh server."""
    keys = 10000 if given.quick else 60000
    longest = 20 * given.window + 60  # the client is ended earlier
    with running(test, library, given.fastpath) as (server, control):
        fill(given, test, server, keys)
        closed, output = under_load(given, test, server, control, policy,
                                    ["closed", keys, VALUE, longest, CONNECTIONS])
        closed["throughput"] = throughputs(closed["times"], output)
    rate = min(MOST_RATE, max(100, int(SHARE * closed["throughput"]["before"])))
    with running(test, library, given.fastpath) as (server, control):
        fill(given, test, server, keys)
        paced, output = under_load(given, test, server, control, policy,
                                   ["open", keys, VALUE, longest, rate, CONNECTIONS])
        paced["latency_us"] = latencies(paced["times"], output)
    for told in (closed, paced):
        told["seconds"] = seconds(told.pop("times"))
    return {"rate": rate, "closed": closed, "open": paced}


def measure_part(given, part, results, keep):
    library = contenders.from_word("slabnode", given.build).library
    for test in server_tests():
        if given.servers and test.name not in given.servers.split(","):
            continue
        if test.skip:
            results["skipped"][test.name] = test.skip
            print("skipped: %s, %s" % (test.name, test.skip), file=sys.stderr)
            continue
        for policy in POLICIES:
            runs = results[part].setdefault(test.name, {}).setdefault(policy, [])
            for _ in range(max(1, given.repeat // 3)):
                runs.append(one_run(given, test, library, policy))
                keep()
            print("%-12s %-8s %s" % (test.name, policy, told_outcome(runs[-1]["open"]["offline"])),
                  file=sys.stderr)


# --- tables --------------------------------------------------------------------------------------

def told_outcome(told):
    if told["done"]:
        return "done, %.0f MiB moved" % ((told["moved_bytes"] or 0) / 2 ** 20)
    return told["message"]


def middle(values, form="%.0f"):
    values = [value for value in values if value is not None]
    return form % statistics.median(values) if values else "–"


def row(phase, policy, runs):
    told = [run["open"]["latency_us"][phase] for run in runs]
    return [policy, phase, middle([1000 * run["open"]["seconds"][phase] for run in runs], "%.1f"),
            middle([run["closed"]["throughput"][phase] for run in runs]),
            middle([one["count"] for one in told]),
            *(middle([one[name] for one in told]) for name, _, _ in QUANTILES),
            "%.0f" % max([one["max"] for one in told if one["max"] is not None], default=0)
            if any(one["max"] is not None for one in told) else "–"]


def tables(results):
    for server, policies in results.get("server", {}).items():
        rows = [row(phase, policy, runs) for policy, runs in policies.items() for phase in PHASES]
        rates = sorted({run["rate"] for runs in policies.values() for run in runs})
        yield Table("%s before, during and after an offline" % server,
                    "throughput of %d connections; latencies in us of %s requests a second, from "
                    "when a request was due" % (CONNECTIONS, "–".join(
                        map(str, dict.fromkeys((rates[0], rates[-1]))))),
                    ["policy", "phase", "ms", "answers/s", "requests", "p50", "p99", "p99.9",
                     "max"], rows)
        yield Table("%s: what became of the offlines" % server, "",
                    ["policy", "the node's live MiB", "ms", "stall ms", "outcome"],
                    [[policy, middle([run["open"]["live_bytes"] / 2 ** 20 for run in runs]),
                      middle([run["open"]["offline"]["elapsed_ms"] for run in runs], "%.1f"),
                      middle([run["open"]["offline"]["stall_ms"] for run in runs], "%.2f"),
                      told_outcome(runs[-1]["open"]["offline"])]
                     for policy, runs in policies.items()])
