# SPDX-License-Identifier: MIT
"""What bench/run kept, one or several files of it, as one set of results.

Runs of several files are put together turn after turn. That needs the same amount of work and the
same machine. A contender with the same name but another library is another contender.
"""
import json

from runner import tables
from reporter import statistic

TIME_LIMIT = 1.15
MEMORY_LIMIT = 1.30
MACHINE = ("processor", "cpus", "memory_mib", "kernel", "libc")
IDENTITY = ("library", "variables", "package", "sha256")


class Unfit(Exception):
    """Files that cannot be reported, or not together."""


def load(path):
    try:
        with open(path, encoding="utf-8") as file:
            kept = json.load(file)
    except (OSError, ValueError) as error:
        raise Unfit("%s: %s" % (path, error)) from None
    if not isinstance(kept, dict) or kept.get("version") != 1 or not (
            kept.get("tests") or kept.get("kind") == "hotplug"):
        raise Unfit("%s: not results that bench/run or bench/hotplug/run kept" % path)
    return kept


def insist_alike(path, first, other):
    for key in MACHINE:
        if first["machine"].get(key) != other["machine"].get(key):
            raise Unfit("%s: taken on another machine (%s); report it by itself" % (path, key))
    if first["options"].get("quick") != other["options"].get("quick"):
        raise Unfit("%s: with and without --quick are different tests" % path)


def identity(contender):
    return [contender.get(key) for key in IDENTITY]


class Results:
    """All runs: `tests` as in the JSON, `names` and `contenders` of all files.  A file is its path
    and what was kept in it."""

    def __init__(self, files):
        self.paths = [path for path, _ in files]
        self.machines, self.options = [], []
        self.contenders = {}    # by name, in order
        self.skipped = {}
        tests = {}
        for path, kept in files:
            if self.machines:
                insist_alike(path, {"machine": self.machines[0], "options": self.options[0]}, kept)
            self.machines.append(kept["machine"])
            self.options.append(kept["options"])
            self.skipped.update(kept.get("skipped", {}))
            names = {entry["name"]: self.enter(entry) for entry in kept["contenders"]}
            self.take(tests, kept["tests"], names)
        self.tests = list(tests.values())
        self.names = list(self.contenders)
        self.figures = tables.figures([
            {"runs": {name: list(filter(None, runs)) for name, runs in test["runs"].items()}}
            for test in self.tests])

    def enter(self, contender):
        """The name under which a contender appears: numbered where another has it already."""
        name, number = contender["name"], 1
        while name in self.contenders and identity(self.contenders[name]) != identity(contender):
            number += 1
            name = "%s-%d" % (contender["name"], number)
        self.contenders[name] = contender
        return name

    @staticmethod
    def take(tests, kept, names):
        """Turns of a file keep their places, so that what ran together is compared."""
        for test in kept:
            entry = tests.setdefault(test["name"], {
                "name": test["name"], "help": test.get("help", ""), "kind": test.get("kind"),
                "runs": {}, "failures": {}, "turns": 0})
            turns = max((len(runs) for runs in test["runs"].values()), default=0)
            for old, new in names.items():
                runs = test["runs"].get(old, [])
                own = entry["runs"].setdefault(new, [])
                own += [None] * (entry["turns"] - len(own)) + runs
            for old, text in test.get("failures", {}).items():
                entry["failures"][names.get(old, old)] = text
            entry["turns"] += turns

    def values(self, test, name, figure):
        """A contender's figures by turn, None where it did not run or does not tell."""
        told = self.figures[figure][1]
        return [told(run) if run else None for run in test["runs"].get(name, [])]

    def known(self, test, name, figure):
        return [value for value in self.values(test, name, figure) if value is not None]

    def ratio(self, test, name, reference, figure):
        return statistic.paired(self.values(test, name, figure),
                                self.values(test, reference, figure))

    def has(self, test, figure):
        return any(self.known(test, name, figure) for name in self.names)

    def told_always(self, test, name, figure):
        """Steady memory is not told by runs that are too short: some turns may have it."""
        return all(told is not None for told, run in zip(self.values(test, name, figure),
                                                         test["runs"].get(name, [])) if run)

    def whole(self, figure, reference):
        """The tests that every contender ended, with turns in common with the reference."""
        return [test for test in self.tests
                if all(self.ratio(test, name, reference, figure)
                       and self.told_always(test, name, figure) for name in self.names)]

    def mean(self, name, reference, figure):
        return statistic.together((self.values(test, name, figure),
                                   self.values(test, reference, figure))
                                  for test in self.whole(figure, reference))

    def best(self, test, figure, reference):
        """The contender of the lowest ratio."""
        ratios = [(ratio.value, name) for name in self.names
                  for ratio in [self.ratio(test, name, reference, figure)] if ratio]
        return min(ratios)[1] if ratios else None


class Verdict:
    """One test's subject against the better of the bars."""

    def __init__(self, test, bar, ratio, state):
        self.test = test
        self.bar = bar
        self.ratio = ratio
        self.state = state


def verdicts(results, subject, figure, limit):
    """The worst first. Which bar is the better is decided by their ratio, turn by turn as well."""
    bars = [bar for bar in tables.BARS if bar in results.names and bar != subject]
    found = []
    for test in results.tests:
        here = [bar for bar in bars if results.ratio(test, subject, bar, figure)]
        if not here:
            continue
        # The lower a bar's own figure is, the higher the subject's ratio to it.
        bar = max(here, key=lambda bar: results.ratio(test, subject, bar, figure).value)
        ratio = results.ratio(test, subject, bar, figure)
        found.append(Verdict(test["name"], bar, ratio, ratio.above(limit)))
    return sorted(found, key=lambda verdict: -verdict.ratio.value)
