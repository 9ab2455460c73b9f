# SPDX-License-Identifier: MIT
"""What an offline costs by what the node holds: slabnode-hotplug, run again and again."""
import json
import os
import statistics
import subprocess
import sys

from hotplug import Table
from runner import machine, measure

# part: {name: (live, cached, large, rest, stall)}, in MiB and ms
OFFLINES = {
    "cost": {"cost": (100, 1024, 0, 1024, 20)},
    "cached": {"cached-%d" % n: (0, n, 0, 100, 20) for n in (64, 256, 1024, 4096)},
    "live": {"live-%d" % n: (n, 0, 0, 100, 20) for n in (64, 256, 1024, 4096)},
    "large": {"large-%d" % n: (0, 0, n, 100, 20) for n in (64, 256, 1024, 4096)},
    "rest": {"rest-0.1": (100, 1024, 0, 100, 20), "rest-1": (100, 1024, 0, 1024, 20),
             "rest-10": (100, 1024, 0, 10240, 20)},
    "held": {"held-0.1": (10, 100, 0, 1024, 20), "held-0.3": (30, 300, 0, 1024, 20),
             "held-1": (100, 1024, 0, 1024, 20)},
    "stall": {"stall-1": (100, 1024, 0, 1024, 1), "stall-20": (100, 1024, 0, 1024, 20)},
}
AXES = {"cached": "cached bytes", "live": "live bytes in objects of all sizes",
        "large": "live bytes in large blocks"}
# name: (nodes, rest in MiB)
CYCLES = {"4-nodes": (4, 0), "64-nodes": (64, 0), "4-nodes-10": (4, 10240),
          "64-nodes-10": (64, 10240)}
PARTS = (*OFFLINES, "empty", "requests")
PHASES = ("close", "drain", "release", "migrate", "commit")
MARGIN = 2048


def launch(given, nodes, words):
    """One run of the program: its objects, one a repetition."""
    environment = measure.clean_environment({
        "SLABNODE_TOPOLOGY": "synthetic:numa:%d pu:2" % nodes, "SLABNODE_REAP_INTERVAL": "0",
        "SLABNODE_CONTROL": "off", "SLABNODE_FASTPATH": given.fastpath})
    program = os.path.join(given.build, "bench", "slabnode-hotplug")
    done = subprocess.run([program] + [str(word) for word in words], env=environment,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise measure.Failure("%s: %s" % (" ".join(map(str, words)),
                                          measure.last_line(done.stderr)))
    return [json.loads(line) for line in done.stdout.splitlines()]


def fits(given, *held):
    """Whether the machine has the memory: nobody is to be pushed into swap or worse."""
    if given.quick and max(held) > 1024:
        return False
    return machine.memory_kib("MemAvailable") // 1024 > sum(held) + MARGIN


def measure_part(given, part, results, keep):
    if part not in OFFLINES:
        return measure_cycles(given, part, results, keep)
    for name, (live, cached, large, rest, stall) in OFFLINES[part].items():
        if not fits(given, live, cached, large, rest):
            print("note: %s left out, too large%s" % (
                name, " for --quick" if given.quick else " for the memory that is free"),
                file=sys.stderr)
            continue
        runs = launch(given, 4, ["offline", live, cached, rest, given.repeat, stall, large])
        results["offlines"][name] = runs
        keep()
        print("%-12s %.1f ms" % (name, median(runs, lambda r: r["offline_ms"])), file=sys.stderr)


def measure_cycles(given, kind, results, keep):
    for name, (nodes, rest) in CYCLES.items():
        if fits(given, rest):
            count = 200 if given.quick else 1000
            results[kind][name] = launch(given, nodes, [kind, rest, count])
            keep()


# --- tables --------------------------------------------------------------------------------------

def median(runs, value):
    return statistics.median(map(value, runs))


def held_gib(run):
    return (run["released_mib"] + run["moved_mib"]) / 1024


def held(runs):
    return "%.0f+%.0f M" % (median(runs, lambda r: r["released_mib"]),
                            median(runs, lambda r: r["moved_mib"]))


def without_closing(run):
    """The same without what a simulation alone does: free memory is made inaccessible."""
    share = (run["offline_ms"] - run["commit_ms"]) / run["offline_ms"]
    return share * run["offline_cpu_ms"] / run["bare_cpu_ms"]


OFFLINE_HEAD = ["offline", "held", "ms", "bare ms", "ratio", "best", "cpu", "cpu real",
                "cpu ms/GiB", "stall", "gap", "bare gap", "quiet gap", "longest gap"]


def offline_row(name, runs):
    return [name,
            held(runs),
            "%.1f" % median(runs, lambda r: r["offline_ms"]),
            "%.1f" % median(runs, lambda r: r["bare_ms"]),
            "%.2f" % median(runs, lambda r: r["offline_ms"] / r["bare_ms"]),
            "%.2f" % (min(r["offline_ms"] for r in runs) / min(r["bare_ms"] for r in runs)),
            "%.2f" % median(runs, lambda r: r["offline_cpu_ms"] / r["bare_cpu_ms"]),
            "%.2f" % median(runs, without_closing),
            "%.0f" % median(runs, lambda r: r["offline_cpu_ms"] / held_gib(r)),
            "%.2f" % median(runs, lambda r: r["stall_ms"]),
            "%.2f" % median(runs, lambda r: r["gap_offline_ms"]),
            "%.2f" % median(runs, lambda r: r["gap_bare_ms"]),
            "%.2f" % median(runs, lambda r: r["gap_quiet_ms"]),
            "%.2f" % max(r["gap_offline_ms"] for r in runs)]


def axis_row(name, runs):
    return [name.rpartition("-")[2] + " M", held(runs),
            "%.2f" % median(runs, lambda r: r["offline_ms"]),
            "%.2f" % median(runs, lambda r: r["bare_ms"]),
            "%.2f" % median(runs, lambda r: r["offline_ms"] / held_gib(r)),
            "%.2f" % median(runs, lambda r: r["stall_ms"])]


def phase_row(name, runs):
    return [name] + ["%.2f" % median(runs, lambda r, p=p: r[p + "_ms"]) for p in PHASES]


def cycle_row(name, kind, runs):
    run = runs[0]
    return [name, kind, "%.0f" % run["offline_us"], "%.0f" % run["online_us"],
            "%.0f" % run["requests_per_s"]]


def tables(results):
    measured = results.get("offlines", {})
    for axis, what in AXES.items():
        rows = [axis_row(name, measured[name]) for name in OFFLINES[axis] if name in measured]
        if rows:
            yield Table("Offline by " + what,
                        "held: given back and moved, with some 40 MiB of the heartbeats' own; in a "
                        "simulation a move is one in the books", [axis, "held", "ms", "bare ms", "ms/GiB",
                                                           "stall ms"], rows)
    axes = [name for axis in AXES for name in OFFLINES[axis]]
    rows = {name: runs for name, runs in measured.items() if name not in axes}
    if rows:
        yield Table("An offline against the bare loop", "times in ms, gaps are those of the heartbeats",
                    OFFLINE_HEAD, [offline_row(*row) for row in rows.items()])
    if measured:
        yield Table("Where the time of an offline goes", "in ms", ["phase", *PHASES],
                    [phase_row(*row) for row in measured.items()])
    cycles = [cycle_row(name, kind, runs) for kind in ("empty", "requests")
              for name, runs in results.get(kind, {}).items()]
    if cycles:
        yield Table("A node that holds nothing", "alone, and with requests back to back",
                    ["cycles", "", "offline us", "online us", "requests/s"], cycles)
