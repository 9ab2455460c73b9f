# SPDX-License-Identifier: MIT
"""Whose memory threads get, under slabnode and its peers: slabnode-locality."""
import json
import os
import statistics
import sys

from hotplug import Table, topology
from runner import contenders, measure

WORKLOADS = {"prodcons": "node 0 allocates, node 1 frees and uses memory of its own",
             "migrate": "threads go from node to node"}
OPERATIONS = 4000000
QUICK_OPERATIONS = 400000


def variables(contender, fastpath):
    if not os.path.basename(contender.library or "").startswith("libslabnode"):
        return contender.variables
    return {"SLABNODE_FASTPATH": fastpath, **topology("synthetic:numa:2 pu:1"),
            **contender.variables}


def measure_part(given, part, results, keep):
    tools = measure.Tools(given.build, 300, [])
    program = os.path.join(given.build, "bench", "slabnode-locality")
    operations = QUICK_OPERATIONS if given.quick else OPERATIONS
    rivals = []
    for word in given.alloc.split(","):
        contender = contenders.from_word(word, given.build)
        if contender.missing():
            print("note: %s left out, %s is not there" % (contender.name, contender.library),
                  file=sys.stderr)
        else:
            rivals.append(contender)
    for workload in WORKLOADS:
        runs = results[part].setdefault(workload, {})
        for _ in range(given.repeat):
            for contender in rivals:
                cost, output, messages = tools.launch(
                    [program, workload, str(operations)], contender.library,
                    variables(contender, given.fastpath))
                if cost["status"]:
                    raise measure.Failure("%s under %s: %s" % (workload, contender.name,
                                                               measure.last_line(messages)))
                runs.setdefault(contender.name, []).append(json.loads(output))
        keep()
        print("%-12s %s" % (workload, "  ".join(
            "%s %.0f %%" % (name, 100 * statistics.median(map(local, told)))
            for name, told in runs.items())), file=sys.stderr)


def local(run):
    return run["local_bytes"] / run["bytes"]


def home(run):
    """Of the places that were freed remotely and used again, those that went home."""
    used = run["home"] + run["away"]
    return run["home"] / used if used else None


def percent(values):
    values = [value for value in values if value is not None]
    return "%.1f %%" % (100 * statistics.median(values)) if values else "–"


def tables(results):
    for workload, runs in results.get("locality", {}).items():
        observers = {run["observer"] for told in runs.values() for run in told}
        yield Table(
            "Locality: " + WORKLOADS[workload],
            "node of a page: by %s" % " and ".join(sorted(observers)),
            [workload, "bytes on the thread's node", "remote frees", "went home", "went away",
             "to the system", "home of those used again"],
            [[name, percent(map(local, told)),
              "%.0f" % statistics.median(run["remote_frees"] for run in told),
              *("%.0f" % statistics.median(run[key] for run in told)
                for key in ("home", "away", "system")),
              percent(map(home, told))] for name, told in runs.items()])
