# SPDX-License-Identifier: MIT
"""What it costs to be ready for hotplug: bench/run with the library built with it and without.

The library without is built here, of the same sources with the same options, in a folder of its
own.  Between the two stands the library with SLABNODE_CONTROL=off: what it differs in from the one
without is the mechanism, what the complete one differs in from it is the control thread.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

from hotplug import Table
from reporter import results as kept
from runner import measure, tables as figures

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WITHOUT, QUIET, READY = "without", "no-thread", "ready"
SAME = ("buildtype", "optimization", "debug", "b_lto", "b_ndebug", "c_args", "locked_only",
        "debug_checks")
FIGURES = ("time", "cpu", "memory", "steady")


def quietly(command):
    """A command of which nothing is seen unless it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise measure.Failure("%s: %s" % (" ".join(command),
                                          measure.last_line(done.stdout + done.stderr)))
    return done.stdout


def word_of(option):
    value = option["value"]
    if isinstance(value, list):
        value = " ".join(value)
    return "-D%s=%s" % (option["name"], str(value).lower() if isinstance(value, bool) else value)


def build_without(given):
    """The folder of the build without hotplug, up to date."""
    folder = os.path.abspath(given.without or os.path.join(given.build, "without-hotplug"))
    if not os.path.exists(os.path.join(folder, "build.ninja")):
        print("building %s" % os.path.relpath(folder), file=sys.stderr)
        options = json.loads(quietly(["meson", "introspect", "--buildoptions", given.build]))
        quietly(["meson", "setup", folder, ROOT, "-Dhotplug=false", "-Dtests=false",
                 "-Dbench=false", *(word_of(o) for o in options if o["name"] in SAME)])
    quietly(["ninja", "-C", folder, "preload/libslabnode.so.1.0.0"])
    return folder


def words(given):
    setting = ":SLABNODE_FASTPATH=locked" if given.fastpath == "locked" else ""
    without = os.path.join(build_without(given), "preload", "libslabnode.so")
    ready = os.path.join(given.build, "preload", "libslabnode.so")
    return ",".join(("%s=%s%s" % (WITHOUT, without, setting),
                     "%s=%s:SLABNODE_CONTROL=off%s" % (QUIET, ready, setting),
                     "%s=%s%s" % (READY, ready, setting)))


def measure_part(given, part, results, keep):
    folder = tempfile.mkdtemp(prefix="slabnode-bench-")
    path = os.path.join(folder, "ready.json")
    command = [os.path.join(ROOT, "bench", "run"), "--build", given.build, "--alloc", words(given),
               "--reference", WITHOUT, "--repeat", str(given.repeat), "--threads", given.threads,
               "--after", "0", "--json", path]
    command += ["--quick"] if given.quick else []
    command += ["--only", given.tests] if given.tests else []
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise measure.Failure("bench/run: %s" % measure.last_line(done.stdout))
        with open(path, encoding="utf-8") as file:
            results[part] = json.load(file)
        keep()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def shown(ratio):
    if ratio is None:
        return "–"
    if ratio.low is None:
        return "%.3f" % ratio.value
    return "%.3f [%.3f, %.3f]" % (ratio.value, ratio.low, ratio.high)


def tables(results):
    if not results.get("ready"):
        return
    ran = kept.Results([("ready", results["ready"])])
    means = [[name, *(shown(ran.mean(name, WITHOUT, figure)) if ran.whole(figure, WITHOUT) else "–"
                      for figure in FIGURES)] for name in (READY, QUIET)]
    yield Table("What being ready for hotplug costs",
                "ratio to the library built without it, geometric mean of %d tests with 95 %% "
                "interval; no-thread: with it, SLABNODE_CONTROL=off" % len(ran.tests),
                ["", *(figures.FIGURES[figure][0].split(",")[0] for figure in FIGURES)], means)
    for name in (READY, QUIET):
        yield Table("Being ready, test by test: %s" % name, "ratio to the library without",
                    ["", *(figures.FIGURES[figure][0].split(",")[0] for figure in FIGURES)],
                    [[test["name"], *(shown(ran.ratio(test, name, WITHOUT, figure))
                                      for figure in FIGURES)] for test in ran.tests])
