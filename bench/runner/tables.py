# SPDX-License-Identifier: MIT
"""Medians, spreads, ratios and means, and their tables in plain text."""
import math
import statistics

MEANT = ("time", "cpu", "memory")  # what geometric means are told of


def mib(kib):
    return None if kib is None else kib / 1024


FIGURES = {
    "time": ("wall time", lambda run: run["wall_s"], "%.3f s"),
    "cpu": ("processor time, user and system", lambda run: run["user_s"] + run["sys_s"], "%.3f s"),
    "memory": ("peak memory", lambda run: run["peak_kib"] / 1024, "%.1f M"),
    # The following have not all tests.
    "steady": ("steady memory", lambda run: mib(run.get("steady_kib")), "%.1f M"),
}


def after_figure(seconds):
    return ("memory %s s after the load" % seconds,
            lambda run: mib(run.get("after_kib", {}).get(seconds)), "%.1f M")


def figures(tests):
    """FIGURES and the memory after each of the pauses that these tests made."""
    found = {seconds for test in tests for runs in test["runs"].values() for run in runs
             for seconds in run.get("after_kib", {})} - {"0"}
    return {**FIGURES, **{"after-" + seconds: after_figure(seconds)
                          for seconds in sorted(found, key=int)}}
# The two that slabnode's worst cases are held against.
BARS = ("jemalloc", "tcmalloc")


def spread(values):
    """Half of the range, relative to the median; None where a single run has none."""
    if len(values) < 2:
        return None
    middle = statistics.median(values)
    return (max(values) - min(values)) / 2 / middle if middle else 0.0


def medians(tests, figure):
    """{test: {contender: (median, spread)}} of those with a run."""
    value = figures(tests)[figure][1]
    table = {}
    for test in tests:
        values = {name: list(map(value, runs)) for name, runs in test["runs"].items() if runs}
        table[test["name"]] = {name: (statistics.median(told), spread(told))
                               for name, told in values.items() if None not in told}
    return table


def geometric(values):
    positive = [value for value in values if value > 0]
    if not positive:
        return None
    return math.exp(sum(map(math.log, positive)) / len(positive))


def complete(table, names):
    """The tests that every contender ended: means over others could not be compared."""
    return [test for test, row in table.items() if all(name in row for name in names)]


def means(tests, names, reference):
    """{figure: {contender: geometric mean of its ratios to the reference}}."""
    result = {}
    for figure in MEANT:
        table = medians(tests, figure)
        whole = [test for test in complete(table, names) if table[test][reference][0] > 0]
        result[figure] = {
            name: geometric(table[test][name][0] / table[test][reference][0] for test in whole)
            for name in names}
        result[figure]["tests"] = len(whole)
    return result


def worst(tests, name, figure):
    """The test where a contender is furthest behind the better of the bars: (ratio, test)."""
    found = (0.0, None)
    for test, row in medians(tests, figure).items():
        bars = [row[bar][0] for bar in BARS if bar in row and row[bar][0] > 0]
        if name in row and bars:
            found = max(found, (row[name][0] / min(bars), test))
    return found


def columns(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        yield "  ".join([row[0].ljust(widths[0])] +
                        [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]).rstrip()


def relation(ratio, width):
    return "%.2f" % ratio + ("      " if width is None else " ±%3.0f%%" % (100 * width))


def figure_table(tests, names, reference, figure):
    title, _, form = figures(tests)[figure]
    table = medians(tests, figure)
    rows = [["", reference] + names]
    for test, row in table.items():
        if not row and figure not in MEANT:
            continue
        base = row.get(reference)
        cells = [test, form % base[0] if base else "-"]
        for name in names:
            if name not in row:
                cells.append("-")
            elif not base or not base[0]:
                cells.append(form % row[name][0])
            else:
                cells.append(relation(row[name][0] / base[0], row[name][1]))
        rows.append(cells)
    if figure in MEANT:
        mean = means(tests, names, reference)[figure]
        rows.append(["geometric mean", ""] +
                    ["%.3f     " % mean[name] if mean[name] else "-" for name in names])
    yield "%s: median of %s, then each in relation to it, ± half of its own range" % (
        title, reference)
    yield from columns(rows)


def summary(tests, names, reference):
    """One row a contender: its three means and its worst cases."""
    mean = means(tests, names, reference)
    rows = [["", "time", "cpu", "memory"]]
    held = [bar for bar in BARS if bar in names]
    if held:
        rows[0] += ["worst time", "", "worst memory", ""]
    for name in names:
        row = [name] + ["%.3f" % mean[figure][name] if mean[figure][name] else "-"
                        for figure in MEANT]
        for figure in ("time", "memory") if held else ():
            ratio, test = worst(tests, name, figure)
            row += ["%.2f" % ratio if test else "-", test or "-"]
        rows.append(row)
    yield "geometric means in relation to %s over %d tests%s" % (
        reference, mean["time"]["tests"],
        "; worst cases against the better of " + " and ".join(held) if held else "")
    yield from columns(rows)


def everything(tests, names, reference):
    for figure in figures(tests):
        yield from figure_table(tests, names, reference, figure)
        yield ""
    yield from summary(tests, names, reference)
