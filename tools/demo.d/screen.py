"""What the demo shows: headed steps, commands and their real output, one line on what happened,
and a line of counters that moves on a terminal and is printed once elsewhere."""

import os
import shutil
import sys
import textwrap
import time

TERMINAL = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
COLOURS = TERMINAL and not os.environ.get("NO_COLOR")
WIDTH = min(shutil.get_terminal_size((80, 24)).columns, 80)
_STYLES = {"bold": "1", "dim": "2", "red": "1;31", "green": "32", "yellow": "33", "cyan": "36"}
_STATES = {"going-offline": "yellow", "going-online": "yellow", "offline": "red"}


def styled(text, style):
    return "\033[%sm%s\033[0m" % (_STYLES[style], text) if COLOURS else text


def show(text=""):
    print(text, flush=True)


def heading(number, title):
    show()
    line = "%2d. %s " % (number, title)
    show(styled(line + "-" * max(WIDTH - len(line), 0), "bold"))


def say(text, style=None):
    for line in textwrap.wrap(text, WIDTH - 2):
        show("  " + (styled(line, style) if style else line))


def typed(text):
    show("  " + styled("$ ", "dim") + styled(text, "cyan"))


def _state_coloured(line):
    for state, style in _STATES.items():
        if " %s" % state in line:
            return line.replace(" " + state, " " + styled(state, style), 1)
    return line


def output(text, limit=0):
    """Output of a command, indented, with at most limit lines if one is given."""
    lines = text.rstrip().splitlines()
    hidden = len(lines) - limit if limit else 0
    if hidden > 1:
        lines = lines[:limit] + ["... and %d lines more" % hidden]
    for line in lines:
        for part in textwrap.wrap(line, WIDTH - 3, drop_whitespace=False) or [""]:
            show("   " + (_state_coloured(part) if part[:1] == " " else part))


def good(text):
    _marked("ok", "green", text)


def bad(text):
    _marked("FAILED", "red", text)


def _marked(mark, style, text):
    lines = textwrap.wrap(text, WIDTH - len(mark) - 4)
    for index, line in enumerate(lines):
        show("  %s  %s" % (" " * len(mark) if index else styled(mark, style), line))


def watch(line, alarming, seconds):
    """Lets time pass; line() is what the counters say, alarming() whether that is bad."""
    def counters():
        return "  " + styled(line(), "red" if alarming() else "dim")

    end = time.monotonic() + seconds
    while TERMINAL and time.monotonic() < end:
        print("\r\033[K" + counters(), end="", flush=True)
        time.sleep(0.1)
    time.sleep(max(0.0, end - time.monotonic()))
    show(("\r\033[K" if TERMINAL else "") + counters())
