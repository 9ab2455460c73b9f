# SPDX-License-Identifier: MIT
"""The plots: what is drawn of the results, each as one Drawing.

`order` is the contenders as they are drawn, the subject first: it has the first colour and stands
before the others.
"""
from reporter.svg import CHARACTER, Drawing, Linear, Logarithmic

WIDTH = 980
AXIS = 26       # room below a plot for the numbers of its axis


def number(value):
    return "%g" % float("%.3g" % value)


def spoken(name, ratio):
    if ratio.low is None:
        return "%s: %.3f" % (name, ratio.value)
    return "%s: %.3f (%.3f to %.3f)" % (name, ratio.value, ratio.low, ratio.high)


def point(drawing, scale, y, series, name, ratio, size=1.0):
    """An estimate with its interval, on a horizontal scale of ratios."""
    if ratio.low is not None:
        drawing.line(scale.held(ratio.low), y, scale.held(ratio.high), y, "whisker s%d" % series)
    drawing.marker(scale.at(ratio.value), y, series, spoken(name, ratio), size)


def ruled(drawing, scale, top, bottom, limit=None):
    """The grid of a horizontal scale, its numbers below."""
    for tick in scale.ticks:
        drawing.line(scale.at(tick), top, scale.at(tick), bottom, "one" if tick == 1 else "grid")
        drawing.text(scale.at(tick), bottom + 15, number(tick), "middle", "small")
    if limit:
        drawing.line(scale.at(limit), top, scale.at(limit), bottom, "limit")


def overview(results, order, reference, figures):
    """Geometric means: a panel a figure, a line a contender."""
    drawing = Drawing(WIDTH, "Geometric means of the ratios to " + reference)
    left = 16 + CHARACTER * max(map(len, order))
    panel = (WIDTH - left) / len(figures)
    bottom = 34 + 24 * len(order)
    means = {(figure, name): results.mean(name, reference, figure)
             for figure in figures for name in order}
    for column, figure in enumerate(figures):
        begin = left + column * panel
        scale = Logarithmic([mean.value for (told, _), mean in means.items()
                             if told == figure and mean], begin + 8, begin + panel - 76)
        drawing.text(begin + 8, 16, results.figures[figure][0].split(",")[0], style="bold")
        ruled(drawing, scale, 28, bottom)
        for row, name in enumerate(order):
            mean = means[figure, name]
            if mean:
                point(drawing, scale, 44 + 24 * row, row, name, mean, 1.15)
                drawing.text(begin + panel - 28, 48 + 24 * row, "%.3f" % mean.value, "end")
    for row, name in enumerate(order):
        drawing.text(left - 8, 48 + 24 * row, name, "end")
    drawing.height = bottom + AXIS
    return drawing


def by_test(results, order, reference, figure):
    """All tests of one figure as rows, each contender's ratio to the reference."""
    rows = [(test["name"], [(series, name, ratio) for series, name in enumerate(order)
                            if name != reference
                            for ratio in [results.ratio(test, name, reference, figure)] if ratio])
            for test in results.tests]
    title = "%s in relation to %s" % (results.figures[figure][0], reference)
    return strips(title, rows, order, left_out=reference)


def held(title, subject, verdicts, limit):
    """The subject alone, in relation to the better of the bars, the worst first."""
    return strips(title, [(verdict.test, [(0, "%s to %s" % (subject, verdict.bar), verdict.ratio)])
                          for verdict in verdicts], [subject], limit=limit)


def strips(title, rows, order, left_out=None, limit=None):
    """Rows of (name, points); the points of a row keep clear of each other."""
    drawing = Drawing(WIDTH, title)
    rows = [row for row in rows if row[1]]
    if not rows:
        return None
    left = 16 + CHARACTER * max(len(name) for name, _ in rows)
    lane = 7
    height = max(18, lane * max(len(points) for _, points in rows) + 6)
    scale = Logarithmic([*(ratio.value for _, points in rows for _, _, ratio in points),
                         *([limit] if limit else [])], left + 6, WIDTH - 16)
    top = drawing.legend(left, 16, order, WIDTH - left, left_out) + 4
    bottom = top + height * len(rows)
    for index, (name, _) in enumerate(rows):
        if index % 2 == 0:
            drawing.box(0, top + height * index, WIDTH, height, "band")
        drawing.text(left - 6, top + height * (index + 0.5) + 4, name, "end", "small")
    ruled(drawing, scale, top, bottom, limit)
    for index, (_, points) in enumerate(rows):
        middle = top + height * (index + 0.5)
        # The subject last, so that nothing covers it.
        for place, (series, name, ratio) in reversed(list(enumerate(points))):
            point(drawing, scale, middle + (place - (len(points) - 1) / 2) * lane, series, name,
                  ratio, 0.8)
    drawing.height = bottom + AXIS
    return drawing


def scatter(results, order, reference):
    """A dot a test and contender, time to the right, memory upwards; lower left is better."""
    drawing = Drawing(WIDTH, "Time and peak memory in relation to " + reference)
    dots = []
    for test in results.tests:
        for series, name in enumerate(order):
            time = results.ratio(test, name, reference, "time")
            memory = results.ratio(test, name, reference, "memory")
            if name != reference and time and memory:
                dots.append((series, name, test["name"], time.value, memory.value))
    if not dots:
        return None
    top = drawing.legend(60, 16, order, WIDTH - 60, reference)
    bottom = top + 480
    across = Logarithmic([dot[3] for dot in dots], 66, WIDTH - 16)
    upwards = Logarithmic([dot[4] for dot in dots], bottom, top + 6, 26)
    ruled(drawing, across, top, bottom)
    for tick in upwards.ticks:
        drawing.line(66, upwards.at(tick), WIDTH - 16, upwards.at(tick),
                     "one" if tick == 1 else "grid")
        drawing.text(60, upwards.at(tick) + 4, number(tick), "end", "small")
    for series, name, test, time, memory in sorted(dots, key=lambda dot: -dot[0]):
        drawing.marker(across.at(time), upwards.at(memory), series,
                       "%s, %s: time %.2f, memory %.2f" % (test, name, time, memory), 0.75)
    drawing.text((66 + WIDTH) / 2, bottom + 36, "time", "middle")
    drawing.turned(16, (top + bottom) / 2, "peak memory")
    drawing.height = bottom + 46
    return drawing


class Panels:
    """Small plots of equal size, four in a line."""

    COLUMNS = 4
    HEIGHT = 158

    def __init__(self, drawing, top):
        self.drawing = drawing
        self.top = top
        self.count = 0
        self.width = WIDTH / self.COLUMNS

    def panel(self, title, values, marks, unit):
        """Draws a frame; returns where the marks stand and the vertical scale."""
        row, column = divmod(self.count, self.COLUMNS)
        self.count += 1
        left = column * self.width + 46
        right = (column + 1) * self.width - 14
        top = self.top + row * self.HEIGHT + 22
        bottom = self.top + (row + 1) * self.HEIGHT - 30
        scale = Linear(values, bottom, top)
        self.drawing.text(left, top - 8, title, style="bold small")
        for index, tick in enumerate(scale.ticks):
            self.drawing.line(left, scale.at(tick), right, scale.at(tick), "grid")
            self.drawing.text(left - 5, scale.at(tick) + 4,
                              number(tick) + (unit if index == len(scale.ticks) - 1 else ""),
                              "end", "small")
        step = (right - left - 24) / max(1, len(marks) - 1)
        places = [left + 12 + i * step for i in range(len(marks))]
        for place, mark in zip(places, marks):
            self.drawing.text(place, bottom + 15, mark, "middle", "small")
        return places, scale

    def bottom(self):
        return self.top + -(-self.count // self.COLUMNS) * self.HEIGHT


def curves(title, order, panels, unit):
    """Lines over marks; a panel is its title, its marks and {contender: [value or None]}."""
    if not panels:
        return None
    drawing = Drawing(WIDTH, title)
    frame = Panels(drawing, drawing.legend(46, 16, order, WIDTH - 46))
    for name, marks, told in panels:
        places, scale = frame.panel(name, [value for values in told.values() for value in values
                                           if value is not None], marks, unit)
        for series, contender in reversed(list(enumerate(order))):
            dots = [(place, scale.at(value), mark, value) for place, mark, value
                    in zip(places, marks, told.get(contender, [])) if value is not None]
            if len(dots) > 1:
                drawing.poly([dot[:2] for dot in dots], "line s%d" % series)
            for x, y, mark, value in dots:
                drawing.marker(x, y, series, "%s, %s: %s%s" % (contender, mark, number(value),
                                                                unit), 0.75)
    drawing.height = frame.bottom()
    return drawing
