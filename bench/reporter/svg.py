# SPDX-License-Identifier: MIT
"""Drawing: scales, markers and text as SVG, with colours that the page's style gives.

Contenders differ in shape as well as in colour; the colours (Okabe and Ito's, each darkened for a
light page and lightened for a dark one) stay apart for colour-blind readers.
"""
import html
import math

LIGHT = ("#c24e00", "#0067a5", "#00795a", "#a0467f", "#8f6a00", "#4f4f4f", "#2b8fc7", "#6b4a2b")
DARK = ("#ff8f4f", "#5fb2f2", "#35cba0", "#e79fca", "#e8b73c", "#c4c4c4", "#9fd8ff", "#cfa27a")
SERIES = len(LIGHT)
CHARACTER = 6.7     # width of one at 12 px, on the safe side


def palette(colours):
    return "".join(".s%d{fill:%s;stroke:%s}" % (i, colour, colour)
                   for i, colour in enumerate(colours))


STYLE = (
    "svg{font:12px system-ui,'DejaVu Sans',sans-serif}"
    "svg text{fill:currentColor;stroke:none}"
    ".small{font-size:11px}.bold{font-weight:600}"
    ".grid{stroke:currentColor;stroke-opacity:.16;fill:none}"
    ".one{stroke:currentColor;stroke-opacity:.6;fill:none}"
    ".limit{stroke:currentColor;stroke-opacity:.5;stroke-dasharray:4 3;fill:none}"
    ".band{fill:currentColor;fill-opacity:.05;stroke:none}"
    ".whisker{stroke-width:1.6;stroke-opacity:.75}.line{fill:none!important;stroke-width:1.6}"
    + palette(LIGHT))
STYLE_DARK = palette(DARK)

# Paths around the origin, about nine pixels across.
SHAPES = (
    "M-4.5 0A4.5 4.5 0 1 0 4.5 0A4.5 4.5 0 1 0 -4.5 0Z",
    "M-4 -4H4V4H-4Z",
    "M0 -5L5 4H-5Z",
    "M0 -5.4L5.4 0L0 5.4L-5.4 0Z",
    "M0 5L5 -4H-5Z",
    "M-1.5 -5H1.5V-1.5H5V1.5H1.5V5H-1.5V1.5H-5V-1.5H-1.5Z",
    "M-5 -2.5L0 -5L5 -2.5V2.5L0 5L-5 2.5Z",
    "M-5 -3L-3 -5L0 -2L3 -5L5 -3L2 0L5 3L3 5L0 2L-3 5L-5 3L-2 0Z",
)


class Drawing:
    """Elements in drawing order, and how high they became."""

    def __init__(self, width, title):
        self.width = width
        self.height = 0
        self.title = title
        self.parts = []

    def add(self, text):
        self.parts.append(text)

    def line(self, x1, y1, x2, y2, style):
        self.add('<path class="%s" d="M%.1f %.1fL%.1f %.1f"/>' % (style, x1, y1, x2, y2))

    def poly(self, points, style):
        self.add('<path class="%s" d="M%s"/>' % (
            style, "L".join("%.1f %.1f" % point for point in points)))

    def box(self, x, y, width, height, style):
        self.add('<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>' % (
            style, x, y, width, height))

    def text(self, x, y, text, anchor="start", style=""):
        self.add('<text x="%.1f" y="%.1f" text-anchor="%s"%s>%s</text>' % (
            x, y, anchor, ' class="%s"' % style if style else "", html.escape(text)))

    def turned(self, x, y, text):
        """Upwards, for the name of a vertical axis."""
        self.add('<text transform="translate(%.1f %.1f) rotate(-90)" text-anchor="middle">%s</text>'
                 % (x, y, html.escape(text)))

    def marker(self, x, y, series, tip, scale=1.0):
        self.add('<path class="s%d" transform="translate(%.1f %.1f) scale(%.2f)" d="%s">'
                 '<title>%s</title></path>' % (series % SERIES, x, y, scale,
                                               SHAPES[series % SERIES], html.escape(tip)))

    def legend(self, x, y, names, width, left_out=None):
        """Markers with names, in as many lines as it takes; returns the y below."""
        at = x
        for series, name in enumerate(names):
            if name == left_out:
                continue
            need = 22 + CHARACTER * len(name)
            if at + need > x + width and at > x:
                at, y = x, y + 18
            self.marker(at + 6, y - 4, series, name)
            self.text(at + 16, y, name)
            at += need
        return y + 18

    def inner(self):
        return ('<title>%s</title>' % html.escape(self.title)) + "\n".join(self.parts)

    def head(self):
        return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" '
                'height="%d" role="img">' % (self.width, self.height, self.width, self.height))

    def inline(self):
        """For a page that has the style."""
        return self.head() + self.inner() + "</svg>"

    def alone(self):
        """A file of its own, on the light page's white."""
        return "%s<style>%s</style><rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>%s</svg>\n" % (
            self.head(), STYLE, self.inner())


class Logarithmic:
    """A scale of ratios: ticks at round numbers, 1 before all others, none closer than they fit."""

    ROUND = (1, 2, 0.5, 10, 0.1, 5, 0.2, 1.5, 0.7, 3, 0.3, 100, 0.01, 1.2, 0.8, 1.1, 0.9, 1.3,
             0.6, 4, 0.4, 0.25, 7, 0.15, 0.05, 0.02, 20, 50, 1.05, 0.95, 1000, 0.001)

    def __init__(self, values, begin, end, gap=34):
        low, high = min([*values, 0.9]), max([*values, 1.1])
        margin = (high / low) ** 0.05
        self.low, self.high = low / margin, high * margin
        self.begin, self.end = begin, end
        self.ticks = []
        for tick in self.ROUND:
            if self.low <= tick <= self.high and all(
                    abs(self.at(tick) - self.at(other)) >= gap for other in self.ticks):
                self.ticks.append(tick)

    def at(self, value):
        part = math.log(value / self.low) / math.log(self.high / self.low)
        return self.begin + part * (self.end - self.begin)

    def held(self, value):
        """Where a whisker ends: at the edge when it goes beyond."""
        return self.at(min(max(value, self.low), self.high))


class Linear:
    """A scale from 0 with a few ticks at 1, 2, 2.5 or 5 times a power of ten."""

    def __init__(self, values, begin, end, most=4):
        top = max([*values, 1e-9]) * 1.06
        power = 10 ** math.floor(math.log10(top / most))
        step = next(power * digit for digit in (1, 2, 2.5, 5, 10) if power * digit * most >= top)
        self.ticks = [step * i for i in range(int(top / step) + 1)]
        self.top, self.begin, self.end = top, begin, end

    def at(self, value):
        return self.begin + value / self.top * (self.end - self.begin)
