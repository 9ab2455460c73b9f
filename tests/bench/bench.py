#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The benchmarks' runner and report: figures that are known, pages that are whole.

    bench.py ROW | --list

The report is made of results written here, so that every number in it can be worked out by hand.
TEST_BUILD names the build directory.
"""
import glob
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

sys.dont_write_bytecode = True

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.abspath(os.environ.get("TEST_BUILD", os.path.join(SOURCE, "build")))
FOLDER = tempfile.mkdtemp(prefix="slabnode-test-bench-")
SVG = "{http://www.w3.org/2000/svg}"

sys.path.insert(0, os.path.join(SOURCE, "bench"))

from runner import measure, suite  # noqa: E402

MACHINE = {"processor": "A & B <processor>", "cpus": 2, "virtual": True, "memory_mib": 1024,
           "kernel": "6.1", "libc": "glibc 2.36", "load_at_start": 0.5, "load_at_end": 1.25,
           "started": "2024-01-02T03:04:05+0000", "huge_pages": "always [madvise] never",
           "governor": None}


def insist(truth, *what):
    if not truth:
        print(*what)
        sys.exit(1)


def near(have, want, what):
    insist(len(have) == len(want) and all(abs(a - b) <= 0.0051 for a, b in zip(have, want)),
           what, "is", have, "not", want)


def runs(times, memory=None, **more):
    """One run a time; memory in MiB, 100 unless told."""
    memory = memory or [100] * len(times)
    return [{"status": 0, "wall_s": time, "user_s": time, "sys_s": 0.0, "peak_kib": mib * 1024,
             "minor_faults": 1, "switches": 1, **more} for time, mib in zip(times, memory)]


def results(tests, name="results.json", machine=None, libraries=None, quick=False, skipped=None):
    """Writes what bench/run would have kept; `tests` is {test: {contender: runs or a failure}}."""
    names = list(dict.fromkeys(who for row in tests.values() for who in row))
    kept = {
        "version": 1, "machine": {**MACHINE, **(machine or {})},
        "options": {"repeat": 3, "threads": [1], "quick": quick, "reference": "jemalloc"},
        "contenders": [{"name": who, "library": "/lib/%s.so" % who, "variables": {},
                        "file": who + ".so", "sha256": (libraries or {}).get(who, "0")}
                       for who in names],
        "skipped": skipped or {},
        "tests": [{"name": test, "kind": "workload", "help": "",
                   "runs": {who: told if isinstance(told, list) else []
                            for who, told in row.items()},
                   "failures": {who: told for who, told in row.items() if isinstance(told, str)}}
                  for test, row in tests.items()],
    }
    path = os.path.join(FOLDER, name)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(kept, file)
    return path


def command(*words):
    return subprocess.run([os.path.join(SOURCE, "bench", words[0]), *words[1:]], timeout=100,
                          capture_output=True, text=True, check=False)


def report(*words):
    """Makes a report and returns its Markdown."""
    ran = command("report", *words, "--out", FOLDER)
    insist(ran.returncode == 0 and not ran.stderr, "bench/report failed:", ran.stderr)
    with open(os.path.join(FOLDER, "report.md"), encoding="utf-8") as file:
        return file.read()


def table(text, heading):
    """{first cell: the others} of the first table under a heading."""
    part = re.search(r"^## %s\n(.*?)(?=^## |\Z)" % heading, text, re.M | re.S | re.I)
    insist(part, "there is no heading", heading, "in\n", text)
    lines = re.search(r"(^\|.*\n)+", part.group(1), re.M).group().splitlines()
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return {row[0]: row[1:] for row in rows}


def numbers(cell):
    return [float(word) for word in re.findall(r"\d+\.\d+", cell)]


def student_of_three(middle, deviation, count=3):
    """What the interval must be: 4.3027 is Student's quantile for two degrees of freedom."""
    reach = 4.3027 * deviation / math.sqrt(count)
    return [middle, middle * math.exp(-reach), middle * math.exp(reach)]


# --- the report ----------------------------------------------------------------------------------

def intervals():
    """A machine that slows down for all alike costs no certainty; other scatter does."""
    text = report(results({
        "even": {"jemalloc": runs([1, 10, 3]), "slabnode": runs([2, 20, 6])},
        "wide": {"jemalloc": runs([1, 1, 1]), "slabnode": runs([1, 2, 4])},
        "short": {"jemalloc": runs([1]), "slabnode": runs([0.5])}}))
    time = table(text, "Wall time")
    insist(time[""] == ["jemalloc", "slabnode"], "columns", time[""])
    near(numbers(time["even"][1]), [2, 2, 2], "even")
    # The logarithms are 0, ln 2 and 2 ln 2: their deviation is ln 2.
    near(numbers(time["wide"][1]), student_of_three(2, math.log(2)), "wide")
    near(numbers(time["short"][1]), [0.5], "short, which has no interval,")
    insist(time["even"][0] == "**3.000 s**" and time["short"][0] == "1.000 s",
           "medians of the reference, bold where it is the best", time)
    insist("± 150 %" in table(text, "Medians and scatter: wall time")["even"][1],
           "the scatter of 1, 10 and 3 is half of 9 by 3", text)


def means():
    """Of 2 (deviation ln 2) and 0.5 (none): 1, and half of the first one's interval."""
    text = report(results({
        "wide": {"jemalloc": runs([1, 1, 1]), "slabnode": runs([1, 2, 4], [50, 50, 50])},
        "firm": {"jemalloc": runs([1, 1, 1]), "slabnode": runs([0.5, 0.5, 0.5], [200, 200, 200])}}))
    want = [1.0, *student_of_three(1, math.log(2) / 2)[1:]]
    summary = table(text, "Summary")
    near(numbers(summary["slabnode"][0]), want, "mean time")
    near(numbers(summary["slabnode"][2]), [1, 1, 1], "mean memory")
    near(numbers(summary["jemalloc"][0]), [1, 1, 1], "mean time of the reference")
    insist(summary["slabnode"][-2:] == ["1", "1"] and summary["jemalloc"][-2:] == ["1", "1"],
           "best of a row", summary)
    near(numbers(table(text, "Wall time")["geometric mean"][1]), want, "mean below the table")


def verdicts():
    """Against the better of two, beyond the interval or not, at 1.15 and 1.3."""
    sure, loose = [1.2, 1.21, 1.2], [0.9, 1.3, 1.6]
    text = report(results({
        "over": {"jemalloc": runs([5, 5, 5]), "tcmalloc": runs([1, 1, 1]), "slabnode": runs(sure)},
        "perhaps": {"jemalloc": runs([1, 1, 1]), "tcmalloc": runs([2, 2, 2]),
                    "slabnode": runs(loose)},
        "once": {"jemalloc": runs([1]), "tcmalloc": runs([1]), "slabnode": runs([3])},
        "within": {"jemalloc": runs([1, 1, 1]), "tcmalloc": runs([1, 1, 1], [90, 90, 90]),
                   "slabnode": runs([1.1, 1.1, 1.1], [110, 110, 110])},
        "memory": {"jemalloc": runs([1, 1, 1]), "tcmalloc": runs([1, 1, 1], [70, 70, 70]),
                   "slabnode": runs([1, 1, 1], [98, 99, 100])}}))
    rows = table(text, "slabnode against the better of jemalloc and tcmalloc")
    insist(rows["over"][1] == "tcmalloc" and rows["over"][0].endswith("▲**"), rows["over"])
    insist(rows["perhaps"][1] == "jemalloc" and rows["perhaps"][0].endswith("△"), rows["perhaps"])
    insist(rows["once"][0] == "3.00 △", "one turn is no certainty", rows["once"])
    insist("△" not in rows["within"][0] + rows["within"][2] and "▲" not in rows["within"][0],
           rows["within"])
    near(numbers(rows["within"][2])[:1], [1.22], "memory against the better")
    insist(rows["memory"][2].endswith("▲**") and rows["memory"][3] == "tcmalloc", rows["memory"])
    insist("Time above 1.15 by more than the interval ▲: over (1.20)." in text and
           "Memory above 1.30 by more than the interval ▲: memory (1.41)." in text, text)


def drawn(tree):
    """Nothing of a plot may stand outside of it: text by its anchor, markers by their middle."""
    left, top, width, height = map(float, tree.get("viewBox").split())
    insist((left, top) == (0, 0), "viewBox", tree.get("viewBox"))
    markers = 0
    for element in tree.iter():
        place = re.match(r"translate\((\S+) (\S+)\)", element.get("transform", ""))
        x, y = place.groups() if place else (element.get("x"), element.get("y"))
        if x is None or "%" in x:
            continue
        insist(0 <= float(x) <= width and 0 <= float(y) <= height, "outside:", element.attrib)
        if element.tag == SVG + "text" and element.get("x"):
            length = 6.7 * len(element.text)
            ends = {"start": float(x) + length, "end": float(x) - length}.get(
                element.get("text-anchor"), float(x))
            insist(-1 <= ends <= width + 1, "cut off:", element.text)
        markers += element.tag == SVG + "path" and re.match("s[0-9]", element.get("class", "")) is not None
    insist(markers, "a plot without a point")
    return markers


def page():
    """The page is well-formed, refers to nothing outside, and its plots are whole."""
    rest = {"after_kib": {"1": 9000, "10": 5000}, "steady_kib": 90000}
    tests = {"%s-t%d" % (name, threads): {
        who: runs([speed, speed * 1.1, speed * 0.97], [90, 91, 95], **rest)
        for who, speed in (("glibc", 3.0), ("jemalloc", 1.0), ("slabnode", 0.013), ("a<b>&c", 70))}
        for name in ("pairs", "share-passive") for threads in (1, 8, 64)}
    path = results(tests, skipped={"z3": "z3 is not installed"})
    text = report(path, "--svg")
    with open(os.path.join(FOLDER, "report.html"), encoding="utf-8") as file:
        html = file.read()
    tree = ElementTree.fromstring(html.replace("<!DOCTYPE html>\n", ""))
    insist(not re.search(r"\b(src|href)=|@import|url\(|<script", html), "the page refers elsewhere")
    insist(set(re.findall(r"https?://[^\"]+", html)) == {"http://www.w3.org/2000/svg"}, "addresses")
    plots = tree.findall(".//" + SVG + "svg")
    names = {"means", "held-time", "held-memory", "time", "cpu", "memory", "steady", "after-1",
             "after-10", "scatter", "threads", "after"}
    insist(len(plots) == len(names), len(plots), "plots")
    for plot in plots:
        drawn(plot)
    files = {os.path.basename(file)[:-4] for file in glob.glob(os.path.join(FOLDER, "*.svg"))}
    insist(files == names, "files of plots", sorted(files))
    for name in files:
        insist("](%s.svg)" % name in text, name, "is not shown in report.md")
        drawn(ElementTree.parse(os.path.join(FOLDER, name + ".svg")).getroot())
    for seconds, mib in (("1", "8.8 M"), ("10", "4.9 M")):
        rows = table(text, "Memory %s s after the load" % seconds)
        insist(rows["pairs-t8"][0].strip("*") == mib, "after", seconds, "s:", rows)
    insist("a<b>&c" in text and "z3 is not installed" in text and "A & B <processor>" in text,
           "names, reasons and the machine in Markdown")
    words = " ".join(tree.itertext())
    insist("a<b>&c" in words and "z3 is not installed" in words and "A & B <processor>" in words,
           "names, reasons and the machine on the page")


def several():
    """Files of one machine are put together by turns; a changed library is another contender."""
    def one(name, factor, **more):
        return results({"pairs": {"jemalloc": runs([1, 1]), "slabnode": runs([factor, factor])}},
                       name, **more)

    first, same = one("first.json", 1), one("same.json", 4)
    time = table(report(first, same), "Wall time")
    # Logarithms 0, 0, ln 4, ln 4: deviation ln 4 / sqrt 3; 3.1824 is Student's for three.
    reach = 3.1824 * math.log(4) / math.sqrt(3) / 2
    near(numbers(time["pairs"][1]), [2, 2 * math.exp(-reach), 2 * math.exp(reach)], "together")
    changed = one("changed.json", 4, libraries={"slabnode": "1"})
    time = table(report(first, changed), "Wall time")
    insist(time[""] == ["jemalloc", "slabnode", "slabnode-2"], "contenders", time[""])
    near(numbers(time["pairs"][1]) + numbers(time["pairs"][2]), [1, 1, 1, 4, 4, 4], "apart")
    for name, more in (("machine.json", {"machine": {"cpus": 64}}), ("quick.json", {"quick": True})):
        ran = command("report", first, one(name, 1, **more), "--out", FOLDER)
        insist(ran.returncode == 2 and name in ran.stderr, name, "was taken:", ran.stderr)


def incomplete():
    """Who failed has no figures, and the test counts in no mean."""
    text = report(results({
        "good": {"jemalloc": runs([1, 1]), "slabnode": runs([2, 2]), "mimalloc": runs([1, 1])},
        "bad": {"jemalloc": runs([1, 1]), "slabnode": runs([9, 9]), "mimalloc": "it crashed"}}))
    time = table(text, "Wall time")
    insist(time[""] == ["jemalloc", "slabnode", "mimalloc"] and time["bad"][2] == "–", time)
    near(numbers(time["geometric mean"][1])[:1], [2], "mean")
    insist("it crashed" in text, "the failure is not told")


def arguments():
    """What cannot be reported is said, and nothing is written."""
    good = results({"pairs": {"jemalloc": runs([1]), "slabnode": runs([1])}})
    broken = os.path.join(FOLDER, "broken.json")
    with open(broken, "w", encoding="utf-8") as file:
        file.write("{\"version\": 1")
    for words in ([os.path.join(FOLDER, "none.json")], [broken], [good, "--subject", "hoard"],
                  [good, "--reference", "hoard"], ["--build", FOLDER]):
        ran = command("report", *words, "--out", os.path.join(FOLDER, "out"))
        insist(ran.returncode == 2 and ran.stderr.startswith("bench/report: "), words, ran)
        insist(not os.path.exists(os.path.join(FOLDER, "out")), words, "wrote something")
    text = report(good, "--subject", "jemalloc", "--reference", "slabnode")
    insist(table(text, "Wall time")[""] == ["slabnode", "jemalloc"], "subject and reference")


# --- the runner ----------------------------------------------------------------------------------

WORKLOADS = ("pairs", "batch", "live-small", "live-wide", "churn", "prodcons", "mixed-runs",
             "mixed-ages", "relay", "share-active", "share-passive", "large", "regrow", "frag",
             "idle")
PROGRAMS = ("swarm", "spawn-true", "python3", "perl", "lua5.4", "sqlite3", "gcc", "g++", "sort",
            "gs", "z3", "stress-ng", "redis", "memcached", "nginx")


def tests_listed(*words):
    ran = command("run", "--build", BUILD, "--list", *words)
    insist(ran.returncode == 0, "bench/run --list:", ran.stderr)
    tests, allocators = ran.stdout.split("allocators:\n")
    return [line.split()[0] for line in tests.splitlines()[1:]], allocators


def listed():
    """All workloads with their thread counts, all programs, the allocators; and how to choose."""
    tests, allocators = tests_listed()
    want = {"%s-t%d" % (name, count) for name in WORKLOADS for count in (1, 2, 8, 64)}
    want -= {"prodcons-t1", "share-active-t1", "share-passive-t1"}
    insist(set(tests) == want | set(PROGRAMS), "tests:", set(tests) ^ (want | set(PROGRAMS)))
    for name in ("glibc", "jemalloc", "tcmalloc", "mimalloc", "slabnode"):
        insist(re.search(r"^  %s " % name, allocators, re.M), name, "is not listed")
    tests, allocators = tests_listed("--only", "large,pairs-*,z3", "--threads", "3,5", "--alloc",
                                     "glibc,mine=/lib/none.so")
    insist(sorted(tests) == ["large-t3", "large-t5", "pairs-t3", "pairs-t5", "z3"], tests)
    insist("mine" in allocators and "(missing)" in allocators, allocators)
    for words in (["--threads", "x"], ["--repeat", "0"], ["--after", "-1"], ["--warm", "-1"],
                  ["--alloc", "hoard"], ["--alloc", "glibc,glibc"]):
        ran = command("run", "--build", BUILD, "--list", *words)
        insist(ran.returncode == 2 and "error" in ran.stderr, words, "were taken")


def skipped():
    """Programs that are not here are tests with a reason."""
    suite.SEARCH = FOLDER
    tests = suite.programs(FOLDER, True)
    insist([test.name for test in tests] == [*PROGRAMS[1:]], [test.name for test in tests])
    for test in tests:
        insist(test.skip and "is not installed" in test.skip, test.name, test.skip)
    insist(any("Debian's ghostscript" in test.skip for test in tests), "packages are named")
    suite.SEARCH = os.path.dirname(sys.executable) + ":/usr/bin:/bin"
    true = next(test for test in suite.programs(FOLDER, True) if test.name == "spawn-true")
    insist(not true.skip and true.command == [shutil.which("true", path=suite.SEARCH)], vars(true))


def launch():
    """Steady memory is what is held for long, not what is held for a moment."""
    tools = measure.Tools(BUILD, 60, [])

    def cost(program):
        found, _, messages = tools.launch([sys.executable, "-c", "import time\n" + program])
        insist(found["status"] == 0, messages)
        return found

    mib = 1024
    moment = cost("x = bytearray(64 << 20)\ndel x\ntime.sleep(0.5)")
    insist(moment["peak_kib"] > 64 * mib > 40 * mib > moment["steady_kib"] > mib, moment)
    long = cost("x = bytearray(64 << 20)\ntime.sleep(0.5)")
    insist(long["peak_kib"] >= long["steady_kib"] - mib // 4 and long["steady_kib"] > 64 * mib, long)
    insist(cost("pass")["wall_s"] < long["wall_s"] and long["wall_s"] > 0.5, long)


def run():
    """A short run from end to end, interleaved, kept, and made into a report."""
    path = os.path.join(FOLDER, "kept.json")
    library = os.path.join(BUILD, "preload", "libslabnode.so")
    ran = command("run", "--build", BUILD, "--quick", "--only", "pairs-t1,idle-t2", "--alloc",
                  "glibc,slabnode,locked=%s:SLABNODE_FASTPATH=locked" % library, "--repeat", "2",
                  "--after", "1,2", "--warm", "32", "--json", path)
    insist(ran.returncode == 0, ran.stdout, ran.stderr)
    insist("ratios relate to glibc" in ran.stderr and "[2/2]" in ran.stderr, ran.stderr)
    with open(path, encoding="utf-8") as file:
        kept = json.load(file)
    insist(kept["options"]["warm_mib"] == 32 and kept["machine"]["cpus"] >= 1, kept["options"])
    for test in kept["tests"]:
        for name in ("glibc", "slabnode", "locked"):
            insist(len(test["runs"][name]) == 2, test["name"], name, "runs")
            for one in test["runs"][name]:
                insist(one["wall_s"] > 0 and one["user_s"] > 0 and one["peak_kib"] > 1000, one)
    rest = kept["tests"][1]["runs"]["slabnode"][0]
    insist(list(rest["after_kib"]) == ["0", "1", "2"] and min(rest["after_kib"].values()) > 0, rest)
    # The pauses are not part of the time.
    insist(rest["wall_s"] < rest["reported"]["loop_s"] - 1.9, rest)
    text = report(path)
    insist(list(table(text, "Wall time"))[2:] == ["pairs-t1", "idle-t2", "geometric mean",
                                                  "best of a row"], text)
    insist(table(text, "Memory 2 s after the load")["idle-t2"], text)


ROWS = {"intervals": intervals, "means": means, "verdicts": verdicts, "page": page,
        "several": several, "incomplete": incomplete, "arguments": arguments, "list": listed,
        "skipped": skipped, "launch": launch, "run": run}


def main():
    if sys.argv[1:] == ["--list"]:
        print("\n".join(ROWS))
        return
    if len(sys.argv) != 2 or sys.argv[1] not in ROWS:
        sys.exit("usage: bench.py ROW | --list")
    try:
        ROWS[sys.argv[1]]()
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)


main()
