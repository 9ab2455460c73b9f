#!/usr/bin/python3
"""Runs the project's tests and counts them.

    run.py [quick|default|full] [--build DIR] [--suite S] [--mode M] [--row GLOB] [--list] ...

A row is one test; rows come from the files tests/*/rows.toml (see README beside this file) and from
meson's own list of tests. A row runs in several modes, each of which is a way to run a program under
the library; a row in a mode is a case, and cases are what is counted. The last line of the output is
`N passed, N failed, N skipped`, and the exit status is 1 when a case failed.
"""

import argparse
import collections
import concurrent.futures
import fnmatch
import glob
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
LEVELS = ["quick", "default", "full"]
SKIP_STATUS = 77
OUTPUT_LINES = 60

# Every one of these must have rows: a suite that got lost on the way is a failure.
CATALOGUE = ["api", "startup", "fork", "threads", "limits", "sandbox", "hotplug", "programs",
             "tools", "corruption"]
SUITES = CATALOGUE + ["lifecycle", "races", "unit", "symbols", "docs", "locks", "fastpath", "model",
                      "bench", "install", "vm", "fuzz", "analysis", "aarch64",
                      "coverage"]

# The ways to run a program under the library. `none` is for testing the tests: no library at all.
MODES = {
    "rseq": {},
    "norseq": {"GLIBC_TUNABLES": "glibc.pthread.rseq=0"},
    "locked": {"SLABNODE_FASTPATH": "locked"},
    "one": {"SLABNODE_TOPOLOGY": "synthetic:node:1 core:2 pu:1"},
    "sim4": {"SLABNODE_TOPOLOGY": "synthetic:node:4 core:2 pu:1"},
    "sim4-locked": {"SLABNODE_TOPOLOGY": "synthetic:node:4 core:2 pu:1",
                    "SLABNODE_FASTPATH": "locked"},
    # For rows of wrap = "subject" that let nodes leave and return beside their subject.
    "storm": {"SLABNODE_TOPOLOGY": "synthetic:node:4 core:2 pu:1", "SLABNODE_CONTROL": "on"},
}
USUAL_MODES = {"quick": ["rseq"], "default": ["norseq", "sim4"],
               "full": ["locked", "one", "sim4-locked"]}
# Each row of the catalogue's suites that runs under the library has one of each, or says why not.
EVERY_WAY = [{"rseq"}, {"norseq", "locked"}, {"one"}, {"sim4", "sim4-locked"}]

Case = collections.namedtuple("Case", "suite name mode level row")
Result = collections.namedtuple("Result", "status seconds note output")


class Row:
    """One test: how it is started and what it must do."""

    def __init__(self, **keys):
        self.argv = keys["argv"]
        self.wrap = keys.get("wrap", "preload")
        self.preload = keys.get("preload") or ["{library}"]
        self.env = keys.get("env", {})
        self.timeout = keys.get("timeout", 150)
        self.serial = keys.get("serial", False)
        self.needs = keys.get("needs")
        self.cannot = keys.get("cannot")
        self.stdout = keys.get("stdout")
        self.stderr = keys.get("stderr")
        self.cwd = keys.get("cwd")
        self.reports = keys.get("reports", False)


class Problem(Exception):
    """The list of tests itself is wrong."""


def level_of(*levels):
    return LEVELS[max(LEVELS.index(x) for x in levels)]


# --- the list of cases ---------------------------------------------------------------------------

GROUP_KEYS = {"suite", "name", "run", "args", "level", "modes", "cannot", "rows", "wrap", "preload",
              "env", "timeout", "serial", "needs", "stdout", "stderr", "listed", "reports",
              "table", "again"}
ROW_KEYS = {"name", "argument", "level", "timeout", "serial", "needs", "modes", "cannot", "env",
            "stdout", "stderr"}


def mode_levels(modes, cannot, wrap):
    """mode -> level; those that cannot be are of the level at which they usually are."""
    if wrap == "plain":
        return {"-": "quick"}
    out = {}
    for wanted, only in ((modes or USUAL_MODES, None), (USUAL_MODES, cannot)):
        for level in LEVELS:
            for mode in wanted.get(level, []):
                if mode not in MODES:
                    raise Problem(f"unknown mode {mode}")
                if only is None or mode in only:
                    out.setdefault(mode, level)
    return out


def check_ways(suite, row, modes, wrap):
    """A test of the catalogue that forgets a way to run is no test of it."""
    if suite not in CATALOGUE or wrap == "plain":
        return
    for ways in EVERY_WAY:
        if not ways & set(modes):
            raise Problem(f"{row} runs in none of {sorted(ways)}, and does not say why")


def row_name(row):
    return row if isinstance(row, str) else row["name"]


def rows_of(group, where):
    """The rows of a group: its own, and those of a table, which has keys for others beside ours."""
    rows = list(group.get("rows", []))
    if "table" in group:
        with open(os.path.join(SOURCE, os.path.dirname(where), group["table"]), "rb") as f:
            rows += [{k: v for k, v in row.items() if k in ROW_KEYS - {"env"}}
                     for row in tomllib.load(f)["row"]]
    return rows


def and_again(group):
    """A group, and what it is again under other names: elsewhere, with rows more or fewer."""
    once = {k: v for k, v in group.items() if k != "again"}
    yield once
    for other in group.get("again", []):
        without = set(other.get("without", []))
        if without - {row_name(row) for row in once["rows"]}:
            raise Problem(f"{other['name']} is without rows that there are not: {sorted(without)}")
        rows = [row for row in once["rows"] if row_name(row) not in without]
        yield {**once, **{k: v for k, v in other.items() if k != "without"},
               "env": {**once.get("env", {}), **other.get("env", {})},
               "rows": rows + other.get("rows", [])}


def group_cases(group, where):
    unknown = set(group) - GROUP_KEYS
    if unknown or not {"suite", "run"} <= set(group) or not {"rows", "table"} & set(group):
        raise Problem(f"{where}: bad keys {sorted(unknown)} or suite, run, rows missing")
    base = group.get("name", group["suite"])
    for entry in rows_of(group, where):
        keys = {"name": entry} if isinstance(entry, str) else dict(entry)
        if set(keys) - ROW_KEYS:
            raise Problem(f"{where}: bad keys {sorted(set(keys) - ROW_KEYS)} in a row of {base}")
        merged = {k: v for k, v in group.items() if k in GROUP_KEYS - {"name", "rows", "table"}}
        merged.update(keys)
        cannot = merged.get("cannot", {})
        keep = {k: merged[k] for k in ("wrap", "preload", "env", "timeout", "serial", "needs",
                                       "stdout", "stderr", "reports") if k in merged}
        keep["argv"] = group["run"] + [keys.get("argument", keys["name"])] + group.get("args", [])
        modes = mode_levels(merged.get("modes"), cannot, keep.get("wrap"))
        check_ways(group["suite"], f"{base}/{keys['name']}", modes, keep.get("wrap"))
        for mode, level in modes.items():
            yield Case(group["suite"], f"{base}/{keys['name']}", mode,
                       level_of(level, merged.get("level", "default")),
                       Row(cannot=cannot.get(mode), **keep))


def check_list(group, where, paths):
    """The rows that a program offers are the rows that are listed: none is forgotten."""
    needs = group.get("needs")
    if not group.get("listed", True) or needs and not glob.glob(paths.expand(needs)):
        return None
    argv = [paths.expand(a) for a in group["run"]]
    if not os.access(argv[-1], os.R_OK):
        return f"{argv[-1]} is not built"
    have = set(subprocess.run(argv + ["--list"], check=True, capture_output=True, text=True,
                              timeout=60).stdout.split())
    want = {row_name(r) for one in and_again(group) for r in rows_of(one, where)}
    if have != want:
        return (f"{argv[-1]}: not in rows.toml: {sorted(have - want)}, "
                f"not in the program: {sorted(want - have)}")
    return None


def toml_cases(paths, problems):
    for path in sorted(glob.glob(os.path.join(SOURCE, "tests", "*", "rows.toml"))):
        where = os.path.relpath(path, SOURCE)
        try:
            with open(path, "rb") as f:
                groups = tomllib.load(f)["group"]
            for group in groups:
                for one in and_again(group):
                    yield from group_cases(one, where)
                complaint = check_list(group, where, paths)
                if complaint:
                    problems.append((group["suite"], complaint))
        except (Problem, KeyError, tomllib.TOMLDecodeError, OSError,
                subprocess.SubprocessError) as e:
            problems.append(("harness", f"{where}: {e}"))


def meson_cases(build, mode, only, problems):
    """Meson's tests of one build directory; in a sanitizer's build only those of suite unit."""
    try:
        text = subprocess.run(["meson", "introspect", "--tests", build], check=True,
                              capture_output=True, text=True).stdout
        tests = json.loads(text)
    except (OSError, ValueError, subprocess.CalledProcessError) as e:
        problems.append(("unit", f"cannot list the tests of {build}: {e}"))
        return
    for test in tests:
        names = [s.split(":")[-1] for s in test["suite"]]
        suites = [s for s in names if s in SUITES] or names[:1] or ["unit"]
        if only and suites[0] not in only:
            continue
        level = "full" if "full" in names else "default" if "slow" in names else "quick"
        scale = 1 if mode == "-" else 5
        # ThreadSanitizer of older compilers fails on kernels with much address randomisation.
        fixed = ["setarch", "-R"] if mode == "tsan" else []
        row = Row(argv=fixed + test["cmd"], wrap="plain", env=test["env"], cwd=test["workdir"],
                  timeout=(test["timeout"] or 30) * scale, serial=not test["is_parallel"])
        yield Case(suites[0], f"{suites[0]}/{test['name']}", mode,
                   level if mode == "-" else level_of(level, "default"), row)


def unit_targets(build):
    """The files that the tests of suite unit depend on, as ninja names them."""
    def introspect(what):
        return json.loads(subprocess.run(["meson", "introspect", what, build], check=True,
                                         capture_output=True, text=True).stdout)

    wanted = {dep for test in introspect("--tests") for dep in test["depends"]
              if any(s.split(":")[-1] == "unit" for s in test["suite"])}
    return [os.path.relpath(name, build) for target in introspect("--targets")
            if target["id"] in wanted for name in target["filename"]]


# --- running -------------------------------------------------------------------------------------

class Paths:
    """What stands in braces in row files."""

    def __init__(self, build):
        self.names = {
            "build": build,
            "source": SOURCE,
            "preload": os.path.join(build, "tests", "preload"),
            "library": os.path.join(build, "preload", "libslabnode.so"),
            "python": "/usr/bin/python3",
        }

    def expand(self, text):
        return re.sub(r"\{(\w+)\}", lambda m: self.names[m.group(1)], text)


def base_env(rundir):
    env = {k: v for k, v in os.environ.items()
           if not k.startswith(("SLABNODE", "LD_", "MALLOC_", "GLIBC_TUNABLES", "TEST_"))}
    env.update(PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
               LC_ALL="C.UTF-8", SLABNODE_RUNDIR=rundir)
    return env


def case_env(case, paths, rundir):
    env = base_env(rundir)
    row = case.row
    added = {}
    if case.mode in MODES:
        added = dict(MODES[case.mode], SLABNODE_TEST="1",
                     LD_PRELOAD=":".join(paths.expand(p) for p in row.preload))
    elif case.mode == "none":
        others = [p for p in row.preload if p != "{library}"]
        if others:
            added["LD_PRELOAD"] = ":".join(paths.expand(p) for p in others)
    if row.wrap == "subject":
        env["SUBJECT_ENV"] = json.dumps(added)
        env["SUBJECT_MODE"] = case.mode
    else:
        env.update(added)
    env["TEST_BUILD"] = paths.names["build"]
    env.update(row.env)
    return env


def stacks(pid):
    """Where a hanging process stands, when gdb is there to tell."""
    if not shutil.which("gdb"):
        return ""
    out = []
    try:
        session = subprocess.run(["ps", "-o", "pid=", "--sid", str(pid)], capture_output=True,
                                 text=True, timeout=10).stdout.split()
        for one in session[:4]:
            done = subprocess.run(["gdb", "-nx", "-batch", "-p", one, "-ex",
                                   "thread apply all backtrace 14"], capture_output=True, text=True,
                                  timeout=30, stdin=subprocess.DEVNULL)
            out.append(f"--- stacks of {one}\n{done.stdout[-3000:]}")
    except (OSError, subprocess.SubprocessError):
        pass
    return "\n".join(out)


def kill_session(pid):
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def verdict(row, status, out, err):
    """None when the row did what it must, else what it did instead."""
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    if status != 0:
        return f"exit status {status}"
    if "ERROR: ld.so" in err:
        return "the loader could not preload"
    if row.stdout and not re.search(row.stdout, out):
        return f"stdout lacks /{row.stdout}/"
    if row.stderr and not re.search(row.stderr, err):
        return f"stderr lacks /{row.stderr}/"
    if not row.stderr and row.wrap == "preload" and re.search(r"^slabnode:", err, re.M):
        return "the library spoke on stderr"
    return None


def run_case(case, paths, rundir):
    row = case.row
    if row.cannot:
        return Result("skip", 0, row.cannot, "")
    if row.needs and not glob.glob(paths.expand(row.needs)):
        return Result("skip", 0, f"{row.needs} is not installed", "")
    argv = [paths.expand(a) for a in row.argv]
    start = time.monotonic()
    with tempfile.TemporaryFile() as out_f, tempfile.TemporaryFile() as err_f:
        try:
            proc = subprocess.Popen(argv, env=case_env(case, paths, rundir), cwd=row.cwd,
                                    stdin=subprocess.DEVNULL, stdout=out_f, stderr=err_f,
                                    start_new_session=True)
        except OSError as e:
            return Result("fail", 0, str(e), "")
        note = None
        try:
            status = proc.wait(timeout=row.timeout)
        except subprocess.TimeoutExpired:
            note = f"timed out after {row.timeout} s\n{stacks(proc.pid)}"
        kill_session(proc.pid)
        status = proc.wait()
        out_f.seek(0)
        err_f.seek(0)
        out = out_f.read().decode(errors="replace")
        err = err_f.read().decode(errors="replace")
    seconds = time.monotonic() - start
    if note is None and status == SKIP_STATUS:
        reason = re.search(r"^skip: (.*)", out, re.M)
        return Result("skip", seconds, reason.group(1) if reason else "no reason given", "")
    note = note or verdict(row, status, out, err)
    return Result("fail" if note else "ok", seconds, note, out + err)


def reported(case, result):
    """The cases of a row that reports test by test, else the row itself.

    Whatever the row did wrong beside is a case as well: that it died before its last test."""
    if not case.row or not case.row.reports or result.status == "skip":
        return [(case, result)]
    out = []
    blocks = re.split(r"^(?=test )", result.output, flags=re.M)
    for block in blocks:
        m = re.match(r"test (\S+) (ok|fail|skip) (\S+) ?(.*)\n?((?:.*\n?)*)", block)
        if m:
            note = m[4] if m[2] != "ok" else None
            out.append((case._replace(name=f"{case.name}/{m[1]}"),
                        Result(m[2], float(m[3]), note or None, m[5])))
    if not out and result.status == "ok":
        result = result._replace(status="fail", note="it reported no test")
    if not out or (result.status == "fail" and not any(r.status == "fail" for _, r in out)):
        out.append((case, result))
    return out


class Tally:
    """Prints each case as it ends and keeps the count."""

    def __init__(self):
        self.count = collections.Counter()
        self.failed = []
        self.skips = collections.Counter()
        self.lock = threading.Lock()

    def add_row(self, case, result):
        for one, its_result in reported(case, result):
            self.add(one, its_result)

    def add(self, case, result):
        label = f"{case.name}" + (f" [{case.mode}]" if case.mode != "-" else "")
        with self.lock:
            self.count[result.status] += 1
            word = {"ok": "ok  ", "fail": "FAIL", "skip": "skip"}[result.status]
            text = f": {result.note}" if result.note else ""
            print(f"{word} {label} {result.seconds:.1f} s{text}", flush=True)
            if result.status == "fail":
                self.failed.append(f"{label}: {result.note.splitlines()[0]}")
                lines = result.output.splitlines()
                if len(lines) > OUTPUT_LINES:
                    print(f"     | ({len(lines) - OUTPUT_LINES} lines before)")
                for line in lines[-OUTPUT_LINES:]:
                    print(f"     | {line}")
            elif result.status == "skip":
                self.skips[result.note] += 1
            sys.stdout.flush()

    def summary(self):
        for note, n in self.skips.most_common():
            print(f"skipped {n}: {note}")
        for line in self.failed:
            print(f"failed: {line}")


def run_all(cases, paths, jobs, tally):
    rundir = tempfile.mkdtemp(prefix="slabnode-check-")
    try:
        side_by_side = [c for c in cases if not c.row.serial]
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            waiting = {pool.submit(run_case, c, paths, rundir): c for c in side_by_side}
            for done in concurrent.futures.as_completed(waiting):
                tally.add_row(waiting[done], done.result())
        for case in cases:
            if case.row.serial:
                tally.add_row(case, run_case(case, paths, rundir))
    finally:
        shutil.rmtree(rundir, ignore_errors=True)


def collect(args, paths, problems):
    cases = list(toml_cases(paths, problems))
    cases += meson_cases(args.build, "-", None, problems)
    for spec in args.sanitized:
        name, _, build = spec.partition("=")
        found = list(meson_cases(os.path.abspath(build), name, {"unit"}, problems))
        if not found:
            problems.append(("unit", f"the {name} build has no unit tests"))
        cases += found
    for suite in SUITES:
        if not any(c.suite == suite for c in cases):
            problems.append((suite, "the suite has no rows"))
    if args.none:
        seen = {}
        for c in cases:
            if c.mode in MODES:
                seen.setdefault(c.name, c._replace(mode="none"))
        cases = list(seen.values())
    return cases


def parse(argv):
    p = argparse.ArgumentParser(description="runs the project's tests")
    p.add_argument("level", nargs="?", choices=LEVELS, default="default")
    p.add_argument("--build", default=os.path.join(SOURCE, "build"), help="build directory")
    p.add_argument("--sanitized", action="append", default=[], metavar="NAME=DIR",
                   help="a build directory whose unit tests run too")
    p.add_argument("--broken", action="append", default=[], metavar="TEXT",
                   help="counts as a failed case: what the caller could not build")
    p.add_argument("--unit-targets", metavar="DIR",
                   help="print what the unit tests of a build directory need built, and end")
    p.add_argument("--suite", action="append", default=[])
    p.add_argument("--mode", action="append", default=[], metavar="MODE",
                   help=f"only these modes: {', '.join(MODES)}, - (no mode), a sanitizer's name")
    p.add_argument("--row", action="append", default=[], metavar="GLOB",
                   help="only rows whose name (suite/row) matches")
    p.add_argument("--none", action="store_true",
                   help="run each row once without the library, to test the tests")
    # Half of the time a row waits: for children, clocks, and grace periods.
    p.add_argument("--jobs", type=int, default=min(2 * (os.cpu_count() or 1), 8))
    p.add_argument("--list", action="store_true", help="name the cases of all levels and run nothing")
    args = p.parse_args(argv)
    args.build = os.path.abspath(args.build)
    return args


def selected(case, args):
    return ((not args.suite or case.suite in args.suite)
            and (not args.mode or case.mode in args.mode)
            and (not args.row or any(fnmatch.fnmatch(case.name, g) for g in args.row)))


def main():
    args = parse(sys.argv[1:])
    if args.unit_targets:
        print("\n".join(unit_targets(os.path.abspath(args.unit_targets))))
        return 0
    paths = Paths(args.build)
    problems = [("build", text) for text in args.broken]
    every = collect(args, paths, problems)
    named = [c for c in every if selected(c, args)]
    cases = [c for c in named if LEVELS.index(c.level) <= LEVELS.index(args.level)]
    if args.list:
        for c in named:
            print(f"{c.level:8}{c.name} [{c.mode}]")
        return 0
    # Shells start what is in the background with SIGINT ignored, which rows would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Rows that abort on purpose leave no core files.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    tally = Tally()
    for suite, text in problems:
        if not args.suite or suite in args.suite or suite == "build":
            tally.add(Case(suite, f"{suite}/list", "-", "quick", None),
                      Result("fail", 0, text, ""))
    run_all(cases, paths, max(1, args.jobs), tally)
    tally.summary()
    left = collections.Counter(c.level for c in named)
    left = {k: n for k, n in left.items() if LEVELS.index(k) > LEVELS.index(args.level)}
    print(f"left out by this selection: {len(every) - len(cases)} cases"
          + "".join(f", {n} of level {k}" for k, n in left.items())
          + (f", {len(every) - len(named)} not asked for" if len(every) > len(named) else ""))
    n = tally.count
    print(f"{n['ok']} passed, {n['fail']} failed, {n['skip']} skipped")
    return 1 if n["fail"] else 0


if __name__ == "__main__":
    sys.exit(main())
