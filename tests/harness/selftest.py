#!/usr/bin/python3
"""The runner itself: a failing, hanging, noisy or forgotten row must count as a failure.

    selftest.py ROW | --list
"""

import os
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import run  # noqa: E402


def result(command, **keys):
    row = run.Row(argv=["sh", "-c", command], wrap=keys.pop("wrap", "plain"), **keys)
    case = run.Case("self", "self/row", "-", "quick", row)
    return run.run_case(case, run.Paths("/nonexistent"), "/tmp")


def expect(got, status, note=""):
    if got.status != status or note not in (got.note or ""):
        print(f"got {got}, expected {status} {note!r}")
        sys.exit(1)


def statuses():
    expect(result("exit 0"), "ok")
    expect(result("echo out; exit 1"), "fail", "exit status 1")
    expect(result("kill -ABRT $$"), "fail", "SIGABRT")
    expect(result("echo 'skip: for a reason'; exit 77"), "skip", "for a reason")
    expect(result("exec 2>&1; exec no-such-program"), "fail", "127")
    expect(result("true", needs="/no/such/file"), "skip", "/no/such/file")


def timeouts():
    got = result("sleep 100 & sleep 100", timeout=1)
    expect(got, "fail", "timed out")
    if got.seconds > 60:
        print("the timeout took too long")
        sys.exit(1)


def expectations():
    expect(result("echo yes", stdout="^yes$"), "ok")
    expect(result("echo no", stdout="^yes$"), "fail", "stdout lacks")
    expect(result("echo 'slabnode: noise' >&2", wrap="preload"), "fail", "spoke")
    expect(result("echo 'slabnode: meant' >&2", wrap="preload", stderr="meant"), "ok")
    expect(result("echo \"ERROR: ld.so: object\" >&2", wrap="preload"), "fail", "loader")


def levels():
    group = {"suite": "s", "run": ["x"], "level": "default",
             "rows": ["a", {"name": "b", "level": "quick"}]}
    seen = {(c.name, c.mode): c.level for c in run.group_cases(group, "here")}
    want = {("s/a", "rseq"): "default", ("s/b", "rseq"): "quick", ("s/b", "sim4"): "default",
            ("s/a", "locked"): "full"}
    for key, level in want.items():
        if seen[key] != level:
            print(f"{key} is at {seen[key]}, expected {level}")
            sys.exit(1)
    few = {**group, "suite": "api", "modes": {"quick": ["rseq", "norseq", "sim4"]}}
    for bad in ({**group, "typo": 1}, {"suite": "s"}, {**group, "modes": {"quick": ["nonsense"]}}, few):
        try:
            list(run.group_cases(bad, "here"))
        except run.Problem:
            continue
        print(f"{bad} was accepted")
        sys.exit(1)


def ways():
    """A mode in which a row cannot be is a skipped case with the reason."""
    group = {"suite": "api", "run": ["x"], "modes": {"quick": ["rseq", "norseq", "sim4"]},
             "cannot": {"one": "too few"}, "rows": ["a"]}
    cases = {c.mode: c for c in run.group_cases(group, "here")}
    if cases["one"].level != "full" or cases["rseq"].row.cannot:
        print(cases)
        sys.exit(1)
    expect(run.run_case(cases["one"], run.Paths("/nonexistent"), "/tmp"), "skip", "too few")


def tables():
    """Rows of a table count as the group's own, and what is for others in it does no harm."""
    with tempfile.TemporaryDirectory(dir=run.SOURCE, prefix="build-") as folder:
        with open(os.path.join(folder, "more.toml"), "w", encoding="utf-8") as f:
            f.write('[[row]]\nname = "b"\nlevel = "quick"\nenv = { A = "theirs" }\nscript = "x"\n')
        where = os.path.join(os.path.relpath(folder, run.SOURCE), "rows.toml")
        group = {"suite": "s", "run": ["x"], "rows": ["a"], "table": "more.toml", "level": "full",
                 "modes": {"quick": ["rseq"]}}
        seen = {c.name: (c.level, c.row.env) for c in run.group_cases(group, where)}
    if seen != {"s/a": ("full", {}), "s/b": ("quick", {})}:
        print(f"got {seen}")
        sys.exit(1)


def again():
    """A group that is there twice has its rows twice, but for those that differ."""
    group = {"suite": "s", "run": ["x"], "rows": ["a", {"name": "b"}], "level": "quick",
             "modes": {"quick": ["rseq"]}, "env": {"A": "1", "B": "1"},
             "again": [{"name": "t", "env": {"B": "2"}, "without": ["b"], "rows": ["c"]}]}
    seen = {c.name: c.row.env for one in run.and_again(group) for c in run.group_cases(one, "-")}
    first, second = {"A": "1", "B": "1"}, {"A": "1", "B": "2"}
    if seen != {"s/a": first, "s/b": first, "t/a": second, "t/c": second}:
        print(f"got {seen}")
        sys.exit(1)
    group["again"][0]["without"] = ["d"]
    try:
        list(run.and_again(group))
    except run.Problem:
        return
    print("left a row out that is not there")
    sys.exit(1)


def reports():
    """Each test that a row tells of is a case, and what went wrong beside them is one."""
    def told(command):
        row = run.Row(argv=["sh", "-c", command], wrap="plain", reports=True)
        case = run.Case("self", "self/row", "-", "quick", row)
        got = run.run_case(case, run.Paths("/nonexistent"), "/tmp")
        return [(c.name, r.status, r.note, r.output) for c, r in run.reported(case, got)]

    both = "echo 'test a ok 1 fine'; echo 'test b skip 0 no reason'; "
    two = [("self/row/a", "ok", None, ""), ("self/row/b", "skip", "no reason", "")]
    for command, want in (
            (both, two),
            (both + "echo 'test c fail 2 wrong'; echo more; exit 1",
             two + [("self/row/c", "fail", "wrong", "more\n")]),
            (both + "exit 1", two + [("self/row", "fail", "exit status 1")]),
            ("true", [("self/row", "fail", "it reported no test")]),
            ("echo 'skip: why'; exit 77", [("self/row", "skip", "why")])):
        got = told(command)
        if [g[:len(w)] for g, w in zip(got, want)] != want or len(got) != len(want):
            print(f"{command}: got {got}, expected {want}")
            sys.exit(1)


ROWS = {"statuses": statuses, "timeouts": timeouts, "expectations": expectations, "levels": levels,
        "ways": ways, "tables": tables, "again": again, "reports": reports}

if __name__ == "__main__":
    if sys.argv[1:] == ["--list"]:
        print("\n".join(ROWS))
    elif len(sys.argv) == 2 and sys.argv[1] in ROWS:
        ROWS[sys.argv[1]]()
    else:
        sys.exit("usage: selftest.py ROW | --list")
