# SPDX-License-Identifier: MIT
"""The report: a list of blocks made of the results, written as an HTML page or as Markdown."""
import html
import re
import statistics

from runner import machine, tables
from reporter import plots, results as kept, svg

HELD = (("time", kept.TIME_LIMIT), ("memory", kept.MEMORY_LIMIT))
SIGNS = {"over": "▲", "perhaps": "△", None: ""}


class Heading:
    def __init__(self, text):
        self.text = text

    def html(self):
        return "<h2>%s</h2>" % html.escape(self.text)

    def markdown(self):
        return "## " + self.text


class Paragraph:
    def __init__(self, text):
        self.text = text

    def html(self):
        return "<p>%s</p>" % html.escape(self.text)

    def markdown(self):
        return self.text


class Cell:
    """Text that may stand out: bold for the best of a row, or a mark for a limit exceeded."""

    def __init__(self, text, bold=False, state=None):
        self.text = text
        self.bold = bold
        self.state = state

    def html(self, tag):
        inner = html.escape(self.text)
        style = ' class="%s"' % self.state if self.state else ""
        return "<%s%s>%s</%s>" % (tag, style, "<b>%s</b>" % inner if self.bold else inner, tag)

    def markdown(self):
        text = self.text.replace("|", "\\|")
        return "**%s**" % text if self.bold and text else text


class Table:
    """Cells or plain texts; the first column names the row, `last` rows sum up."""

    def __init__(self, head, rows, last=()):
        self.head = head
        self.rows = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row]
                     for row in rows]
        self.last = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row]
                     for row in last]

    @staticmethod
    def row(cells):
        return "<tr>%s%s</tr>" % (cells[0].html("th"), "".join(c.html("td") for c in cells[1:]))

    def html(self):
        head = "".join("<th>%s</th>" % html.escape(text) for text in self.head)
        foot = "<tfoot>%s</tfoot>" % "\n".join(map(self.row, self.last)) if self.last else ""
        return ('<div class="wide"><table><thead><tr>%s</tr></thead>\n<tbody>%s</tbody>%s</table>'
                "</div>" % (head, "\n".join(map(self.row, self.rows)), foot))

    def markdown(self):
        lines = [self.head, ["---"] + ["---:"] * (len(self.head) - 1)]
        lines += [[cell.markdown() for cell in row] for row in self.rows + self.last]
        return "\n".join("| %s |" % " | ".join(line) for line in lines)


class Plot:
    """In the page itself, with its title above; in Markdown only where it was written as a file."""

    def __init__(self, name, drawing):
        self.name = name
        self.drawing = drawing
        self.file = None

    def html(self):
        return '<figure class="wide"><figcaption>%s</figcaption>%s</figure>' % (
            html.escape(self.drawing.title), self.drawing.inline())

    def markdown(self):
        return "![%s](%s)" % (self.drawing.title, self.file) if self.file else None


def shown(ratio):
    if ratio is None:
        return "–"
    if ratio.low is None:
        return "%.2f" % ratio.value
    return "%.2f [%.2f, %.2f]" % (ratio.value, ratio.low, ratio.high)


class Page:
    """Blocks and a title, as HTML or Markdown."""

    def __init__(self, title, blocks):
        self.title = title
        self.blocks = list(blocks)

    def plots(self):
        return [block for block in self.blocks if isinstance(block, Plot)]

    def html(self):
        return PAGE % {"title": html.escape(self.title), "style": STYLE,
                       "body": "\n".join(block.html() for block in self.blocks)}

    def markdown(self):
        parts = [block.markdown() for block in self.blocks]
        return "# %s\n\n%s\n" % (self.title, "\n\n".join(part for part in parts if part))


def hotplug(kept, parts):
    """What bench/hotplug/run kept in one file; `parts` make tables of it."""
    yield Heading("Hotplug")
    yield Paragraph("%s, started %s, load %.2f at the start%s; %s%d turns. bench/README.md tells "
                    "what is measured." % (
                        machine.one_line(kept["machine"]), kept["machine"].get("started", "?"),
                        kept["machine"]["load_at_start"],
                        " and %.2f at the end" % kept["machine"]["load_at_end"]
                        if "load_at_end" in kept["machine"] else "",
                        "of the quick kind, " if kept.get("quick") else "", kept["repeat"]))
    for part in parts:
        for table in part.tables(kept):
            yield Heading(table.title)
            if table.note:
                yield Paragraph(table.note[0].upper() + table.note[1:] + ".")
            yield Table(table.head, table.rows)
    if kept.get("skipped"):
        yield Paragraph("Skipped:")
        yield Table(["test", "why"], [list(pair) for pair in kept["skipped"].items()])


class Report(Page):
    """What is told about results, for one subject and one reference, and `more` blocks."""

    def __init__(self, results, subject, reference, more=()):
        self.results = results
        self.subject = subject
        self.reference = reference
        self.order = [subject] + [name for name in results.names if name != subject]
        super().__init__("Allocators measured: " + self.name(), [*self.all(), *more,
                                                                 *self.circumstances()])

    def all(self):
        yield from self.introduction()
        yield from self.summary()
        yield from self.held()
        for figure in self.results.figures:
            yield from self.figure(figure)
        yield from self.pictures()
        for figure in self.results.figures:
            yield from self.absolute(figure)

    def plot(self, name, drawing):
        if drawing:
            yield Plot(name, drawing)

    def introduction(self):
        turns = sorted({test["turns"] for test in self.results.tests})
        yield Paragraph(
            "%d tests, %s interleaved turns each%s. Ratios are to %s; below 1 is better. Brackets "
            "are 95 %% confidence intervals of the ratios, by Student's t over the turns; bold is "
            "the best of a row." % (
                len(self.results.tests), " to ".join(map(str, sorted({turns[0], turns[-1]}))),
                ", of the quick kind" if self.results.options[0].get("quick") else "",
                self.reference))
        if turns[0] < 3:
            yield Paragraph("Fewer than three turns tell next to nothing about the scatter: the "
                            "intervals are wide or missing.")

    def summary(self):
        yield Heading("Summary")
        figures = [figure for figure in (*tables.MEANT, "steady") if self.results.whole(
            figure, self.reference)]
        best = {figure: [self.results.best(test, figure, self.reference)
                         for test in self.results.tests] for figure in ("time", "memory")}
        rows = []
        for name in self.order:
            rows.append([name, *(shown(self.results.mean(name, self.reference, figure))
                                 for figure in figures),
                         *("%d" % best[figure].count(name) for figure in best)])
        yield Paragraph("Geometric means over the tests that all contenders ended (%s), and in how "
                        "many tests each is the best." % ", ".join(
                            "%d for %s" % (len(self.results.whole(figure, self.reference)),
                                           self.figure_title(figure)) for figure in figures))
        yield Table(["", *map(self.figure_title, figures), "best time", "best memory"], rows)
        yield from self.plot("means", plots.overview(self.results, self.order, self.reference,
                                                     figures))

    def figure_title(self, figure):
        return self.results.figures[figure][0].split(",")[0]

    def held(self):
        """The subject against the better of the two that its limits are set by."""
        bars = [bar for bar in tables.BARS if bar in self.results.names and bar != self.subject]
        if not bars:
            return
        yield Heading("%s against the better of %s" % (self.subject, " and ".join(bars)))
        found = {figure: kept.verdicts(self.results, self.subject, figure, limit)
                 for figure, limit in HELD}
        for figure, limit in HELD:
            yield Paragraph(self.sentence(figure, limit, found[figure]))
        by_test = {figure: {verdict.test: verdict for verdict in found[figure]} for figure in found}
        rows = []
        for test in self.results.tests:
            row = [test["name"]]
            for figure, _ in HELD:
                verdict = by_test[figure].get(test["name"])
                row += [Cell(("%s %s" % (shown(verdict.ratio), SIGNS[verdict.state])).strip(),
                             verdict.state == "over", verdict.state), verdict.bar] if verdict else [
                                 "–", ""]
            rows.append(row)
        yield Table(["", "time", "better", "peak memory", "better"], rows)
        for figure, limit in HELD:
            title = "%s of %s in relation to the better of %s" % (
                self.figure_title(figure), self.subject, " and ".join(bars))
            yield from self.plot("held-" + figure, plots.held(title.capitalize(), self.subject,
                                                              found[figure], limit))

    @staticmethod
    def sentence(figure, limit, verdicts):
        def listed(state):
            return ", ".join("%s (%.2f)" % (verdict.test, verdict.ratio.value)
                             for verdict in verdicts if verdict.state == state) or "none"
        return ("%s above %.2f by more than the interval ▲: %s. Perhaps, the interval reaches "
                "below △: %s." % (figure.capitalize(), limit, listed("over"), listed("perhaps")))

    def figure(self, figure):
        """Ratios of all contenders, test by test, with the means and who is best how often."""
        tests = [test for test in self.results.tests if self.results.has(test, figure)]
        if not tests:
            return
        yield Heading(self.results.figures[figure][0].capitalize())
        others = [name for name in self.order if name != self.reference]
        form = self.results.figures[figure][2]
        rows, best = [], []
        for test in tests:
            first = self.results.best(test, figure, self.reference)
            best.append(first)
            base = self.results.known(test, self.reference, figure)
            rows.append([test["name"],
                         Cell(form % statistics.median(base) if base else "–",
                              first == self.reference),
                         *(Cell(shown(self.results.ratio(test, name, self.reference, figure)),
                                first == name) for name in others)])
        mean = ["geometric mean", "1",
                *(shown(self.results.mean(name, self.reference, figure)) for name in others)]
        count = ["best of a row", *("%d" % best.count(name) for name in (self.reference, *others))]
        yield Table(["", self.reference, *others], rows, [mean, count])
        yield from self.plot(figure, plots.by_test(self.results, self.order, self.reference,
                                                   figure))

    def pictures(self):
        scatter = plots.scatter(self.results, self.order, self.reference)
        if scatter:
            yield Heading("Time and memory together")
            yield from self.plot("scatter", scatter)
        threads = list(self.by_threads())
        if threads:
            yield Heading("By threads")
            yield Paragraph("Seconds for the same work, divided among so many threads.")
            yield from self.plot("threads", plots.curves("Wall time by number of threads",
                                                         self.order, threads, " s"))
        rest = list(self.at_rest())
        if rest:
            yield Heading("Memory after the load")
            yield Paragraph("MiB at the peak, at the load's end, and after pauses.")
            yield from self.plot("after", plots.curves("Resident memory after the load",
                                                       self.order, rest, " M"))

    def middle(self, test, name, figure):
        values = self.results.known(test, name, figure)
        return statistics.median(values) if values else None

    def by_threads(self):
        groups = {}
        for test in self.results.tests:
            match = re.fullmatch(r"(.*)-t(\d+)", test["name"])
            if match:
                groups.setdefault(match.group(1), []).append((match.group(2), test))
        for base, members in groups.items():
            if len(members) > 1:
                yield base, [count for count, _ in members], {
                    name: [self.middle(test, name, "time") for _, test in members]
                    for name in self.order}

    def at_rest(self):
        pauses = [figure for figure in self.results.figures if figure.startswith("after-")]
        for test in self.results.tests:
            if not any(self.results.has(test, figure) for figure in pauses):
                continue
            marks = ["peak", "end", *(figure[len("after-"):] + " s" for figure in pauses)]
            yield test["name"], marks, {
                name: [self.middle(test, name, "memory"), self.at_end(test, name),
                       *(self.middle(test, name, figure) for figure in pauses)]
                for name in self.order}

    def at_end(self, test, name):
        """Servers are seen from outside when their load ends, `idle` tells it itself."""
        own = [run["after_kib"]["0"] / 1024 for run in test["runs"].get(name, [])
               if run and "0" in run.get("after_kib", {})]
        return statistics.median(own) if own else self.middle(test, name, "steady")

    def absolute(self, figure):
        """Medians with their scatter: half of the range of the contender's own runs."""
        tests = [test for test in self.results.tests if self.results.has(test, figure)]
        if not tests or figure.startswith("after-"):
            return
        yield Heading("Medians and scatter: " + self.results.figures[figure][0])
        form = self.results.figures[figure][2]
        rows = []
        for test in tests:
            row = [test["name"]]
            for name in self.order:
                values = self.results.known(test, name, figure)
                wide = tables.spread(values) if values else None
                row.append((form % statistics.median(values) if values else "–") + (
                    "" if wide is None else " ± %.0f %%" % (100 * wide)))
            rows.append(row)
        yield Table(["", *self.order], rows)

    def circumstances(self):
        yield Heading("Circumstances")
        rows = []
        for path, where in zip(self.results.paths, self.results.machines):
            rows.append([where.get("started", ""), machine.one_line(where),
                         ("%.2f" % where["load_at_end"]) if "load_at_end" in where else "",
                         where.get("huge_pages") or "", where.get("governor") or ""])
        yield Table(["started", "machine", "load at end", "huge pages", "governor"], rows)
        yield Table(["contender", "library", "package", "settings"], [
            [name, entry.get("file") or "the C library", entry.get("package") or
             ("sha256 " + entry["sha256"] if entry.get("sha256") else ""),
             " ".join("%s=%s" % pair for pair in entry.get("variables", {}).items())]
            for name, entry in self.results.contenders.items()])
        failures = [[test["name"], name, text] for test in self.results.tests
                    for name, text in test["failures"].items()]
        if failures:
            yield Paragraph("Failed:")
            yield Table(["test", "contender", "how"], failures)
        if self.results.skipped:
            yield Paragraph("Skipped:")
            yield Table(["test", "why"], [list(pair) for pair in self.results.skipped.items()])

    # The pieces put together.

    def name(self):
        return "%s and %s" % (self.subject, ", ".join(self.order[1:])) if self.order[
            1:] else self.subject


STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:15px/1.45 system-ui,'DejaVu Sans',sans-serif;max-width:1020px;margin:0 auto;"
    "padding:1.5rem;background:#fff;color:#1b1b1b}"
    "h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}"
    ".wide{overflow-x:auto;margin:1rem 0}figcaption{font-size:13px;margin:.4rem 0}svg{max-width:100%;height:auto}"
    "table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}"
    "th,td{padding:.18rem .7rem;text-align:right;white-space:nowrap;border-bottom:1px solid #8884}"
    "th:first-child,td:first-child{text-align:left;padding-left:.2rem}tbody th{font-weight:400}"
    "thead th{border-bottom:2px solid #8888}tfoot th,tfoot td{border-top:1px solid #888}"
    ".over{background:#d5502833}.perhaps{background:#d5a02822}"
    + svg.STYLE +
    "@media (prefers-color-scheme:dark){body{background:#15171a;color:#e4e4e4}"
    + svg.STYLE_DARK + "}")

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width"/>
<title>%(title)s</title>
<style>%(style)s</style>
</head>
<body>
<h1>%(title)s</h1>
%(body)s
</body>
</html>
"""
