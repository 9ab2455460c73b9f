"""A strict reader of OpenMetrics 1.0 text: whatever the format forbids is an error.

It knows gauges and counters, which is all that hotplugctl writes and all that readers of the older
Prometheus text know, too; another type is an error here.
"""

import math
import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$|[+-]Inf$|NaN$")
RESERVED = ("_total", "_created", "_count", "_sum", "_bucket", "_gcount", "_gsum")


class FormatError(Exception):
    """The text is not OpenMetrics."""


class Family:
    def __init__(self, name):
        self.name = name
        self.meta = {}
        self.samples = {}  # frozenset of labels: value


def fail(number, line, why):
    raise FormatError(f"line {number}: {why}: {line!r}")


def read_labels(number, line, text):
    labels, at = {}, 0
    while at < len(text):
        match = re.compile(LABEL).match(text, at)
        if not match:
            fail(number, line, "bad label")
        name, value = match.groups()
        if name in labels or name.startswith("__"):
            fail(number, line, f"label {name} twice or reserved")
        labels[name] = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], value)
        at = match.end()
        if at < len(text):
            if text[at] != "," or at + 1 == len(text):
                fail(number, line, "labels are not separated by one comma")
            at += 1
    return labels


class Reader:
    def __init__(self):
        self.families = {}
        self.current = None

    def family(self, number, line, name):
        """The family of a line of metadata; the samples of one stand together."""
        if self.current is None or self.current.name != name:
            if name in self.families:
                fail(number, line, f"family {name} was left before")
            self.current = self.families[name] = Family(name)
        return self.current

    def metadata(self, number, line):
        match = re.fullmatch(rf"# (TYPE|UNIT|HELP) ({NAME}) (.*)", line)
        if not match:
            fail(number, line, "not TYPE, UNIT or HELP with one space between its words")
        kind, name, text = match.groups()
        family = self.family(number, line, name)
        if kind in family.meta:
            fail(number, line, f"second {kind}")
        if family.samples:
            fail(number, line, "metadata after samples")
        if kind != "TYPE" and "TYPE" not in family.meta:
            fail(number, line, "TYPE is not the first")
        if kind == "TYPE" and text not in ("gauge", "counter"):
            fail(number, line, "unexpected type")
        if kind == "TYPE" and name.endswith(RESERVED):
            fail(number, line, "reserved ending of a name")
        if kind == "UNIT" and text and not name.endswith("_" + text):
            fail(number, line, "the name does not end with the unit")
        if kind == "HELP" and re.search(r'\\(?![n\\"])', text):
            fail(number, line, "bad escape")
        family.meta[kind] = text

    def sample(self, number, line):
        match = re.fullmatch(rf'({NAME})(?:\{{((?:[^"]|"(?:[^"\\]|\\.)*")*)\}})? (\S+)', line)
        if not match:
            fail(number, line, "not a sample")
        name, labels, value = match.groups()
        family = self.current
        if family is None or "TYPE" not in family.meta:
            fail(number, line, "a sample without TYPE")
        counter = family.meta["TYPE"] == "counter"
        if name != family.name + ("_total" if counter else ""):
            fail(number, line, f"not of the family {family.name}")
        if not NUMBER.match(value):
            fail(number, line, "not a number")
        value = float(value.replace("Inf", "inf"))
        if counter and (math.isnan(value) or value < 0):
            fail(number, line, "not a counter's value")
        key = frozenset(read_labels(number, line, labels or "").items())
        if key in family.samples:
            fail(number, line, "the same series twice")
        family.samples[key] = value


def parse(text):
    """name -> Family, or FormatError."""
    if not text.endswith("# EOF\n"):
        raise FormatError("the last line is not '# EOF'")
    reader = Reader()
    for number, line in enumerate(text.split("\n")[:-2], 1):
        if line == "# EOF" or not line or line != line.strip() or "\r" in line:
            fail(number, line, "a line that must not be here")
        if line.startswith("#"):
            reader.metadata(number, line)
        else:
            reader.sample(number, line)
    return reader.families


def series(family, **labels):
    """The values of those samples that have these labels."""
    want = {(name, str(value)) for name, value in labels.items()}
    return [value for key, value in family.samples.items() if want <= key]
