#!/usr/bin/python3
"""The documents say what the code says.

    docs.py ROW | --list

Each row reads one table of the sources (or asks the built tools) and compares it with the README and
the manual pages. TEST_BUILD names the build directory; DOCS_SOURCE another source tree (to test
these tests).
"""

import fnmatch
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.parse
import xml.etree.ElementTree

import replies

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.environ.get("DOCS_SOURCE", os.path.dirname(os.path.dirname(HERE)))
BUILD = os.environ.get("TEST_BUILD", os.path.join(SOURCE, "build"))
MAN = "docs/man"


def fail(*lines):
    print("\n".join(lines))
    sys.exit(1)


def skip(reason):
    print(f"skip: {reason}")
    sys.exit(77)


def read(path):
    with open(os.path.join(SOURCE, path), encoding="utf-8") as f:
        return f.read()


def compare(what, have, want, where):
    """Both are sets, or dictionaries whose values must agree too."""
    lines = [f"{where} lacks {what} {k}" for k in sorted(set(want) - set(have))]
    lines += [f"{where} has {what} {k}, which does not exist" for k in sorted(set(have) - set(want))]
    if isinstance(want, dict):
        lines += [f"{where}: {what} {k}: {have[k]!r}, the code says {want[k]!r}"
                  for k in sorted(set(want) & set(have)) if have[k] != want[k]]
    return lines


def check(*complaints):
    lines = [line for group in complaints for line in group]
    if lines:
        fail(*lines)


def readme_table(heading):
    """The rows of the first table whose heading line has these cells: lists of cells."""
    rows, inside = [], False
    for line in read("README.md").splitlines():
        cells = [c.strip().replace("\\|", "|") for c in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not inside:
            inside = cells[:len(heading)] == heading
        elif not cells:
            break
        elif not re.fullmatch(r":?-+:?", cells[0]):
            rows.append(cells)
    if not rows:
        fail(f"README.md has no table {heading}")
    return rows


# --- mdoc ----------------------------------------------------------------------------------------

def section(page, name):
    """The lines of a section of a manual page."""
    text = read(f"{MAN}/{page}")
    found = re.search(rf'^\.Sh "?{re.escape(name)}"?\n(.*?)(?=^\.Sh |\Z)', text, re.M | re.S)
    if not found:
        fail(f"{page} has no section {name}")
    return found.group(1).splitlines()


def words(line):
    """The arguments of an mdoc line, quoted ones whole."""
    return [a or b for a, b in re.findall(r'"([^"]*)"|(\S+)', line)]


# --- rows ----------------------------------------------------------------------------------------

def c_strings(text):
    """A run of C string literals, as one string each."""
    return ["".join(json.loads(s) for s in re.findall(r'"(?:[^"\\]|\\.)*"', run))
            for run in re.findall(r'(?:"(?:[^"\\]|\\.)*"\s*)+', text)]


def option_table():
    """name -> default, from preload/options.c."""
    text = read("preload/options.c")
    table = re.search(r"struct option table\[\] = \{\n(.*?)\n\};", text, re.S)
    if not table:
        fail("preload/options.c: the table was not found")
    out = {}
    for row in re.findall(r"\{(\"SLABNODE_.*?)\}", table.group(1), re.S):
        name, _, fallback = c_strings(row)[:3]
        out[name] = fallback or "none"
    if len(out) < 10:
        fail(f"preload/options.c: only {len(out)} options were understood")
    return out


def first_word(text):
    return re.split(r"[\s,;:]", text.strip(), maxsplit=1)[0].strip("`").rstrip(".")


def options():
    want = option_table()
    readme = {row[0].strip("`"): first_word(row[2])
              for row in readme_table(["variable", "meaning", "default"])}
    page, name = {}, None
    for line in section("libslabnode.7", "ENVIRONMENT"):
        item = re.match(r"\.It Ev (\S+)", line)
        default = re.search(r"\bDefault: (.*)", line)
        if item:
            name = item.group(1)
            page[name] = "(no line 'Default: ...')"
        elif default and name:
            page[name] = first_word(default.group(1))
    check(compare("option", readme, want, "README.md"),
          compare("option", page, want, "libslabnode(7)"))


def ask(pid, *request):
    tool = os.path.join(BUILD, "tools", "hotplugctl")
    return subprocess.run([tool, "-p", str(pid), "--json", *request], capture_output=True, text=True,
                          timeout=30)


def options_live():
    """What a process tells of itself is what the table in the source says."""
    library = os.path.join(BUILD, "preload", "libslabnode.so")
    if not os.path.exists(library):
        skip("the library is not built")
    with tempfile.TemporaryDirectory() as rundir:
        env = {k: v for k, v in os.environ.items() if not k.startswith("SLABNODE")}
        env.update(LD_PRELOAD=library, SLABNODE_CONTROL="on", SLABNODE_RUNDIR=rundir)
        subject = subprocess.Popen(["/usr/bin/sleep", "60"], env=env)
        try:
            end = time.monotonic() + 15
            done = ask(subject.pid, "options")
            while done.returncode != 0 and time.monotonic() < end:
                time.sleep(0.1)
                done = ask(subject.pid, "options")
        finally:
            subject.send_signal(signal.SIGKILL)
            subject.wait()
    if done.returncode != 0:
        fail("hotplugctl options: " + done.stdout + done.stderr)
    told = {row["name"]: row["default"] or "none" for row in json.loads(done.stdout)["options"]}
    check(compare("option", told, option_table(), "the running library"))


def bad_values():
    """A value that cannot be read is told of in one line, with the default that is used instead, and
    stops nothing, and no control character of it is said; so is a file that cannot be written, though
    the program has closed its stderr. A name that is no option's is told of to those who want messages."""
    library = os.path.join(BUILD, "preload", "libslabnode.so")
    if not os.path.exists(library):
        skip("the library is not built")
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SLABNODE")}

    def told(*program, **environment):
        done = subprocess.run(program or ["/bin/echo"], env={**kept, "LD_PRELOAD": library, **environment},
                              capture_output=True, text=True, timeout=30, check=False)
        if done.returncode != 0:
            lines.append(f"{done.args[0]} ended with {done.returncode} under {environment}")
        return done.stderr

    lines = []
    simulated = {"SLABNODE_TOPOLOGY": "synthetic:node:2 pu:1"}
    for name, default in option_table().items():
        text = told(**{**simulated, name: "no such value"})
        wanted = {"SLABNODE_NODE_CAPACITY": "the topology's own sizes",
                  "SLABNODE_RUNDIR": "the usual directory"}.get(name, re.escape(default))
        if not re.fullmatch(rf"slabnode: {name}: [^\n]*, using {wanted}\n", text):
            lines.append(f"{name}: a bad value gives {text!r}")
        text = told(**{**simulated, name: "no\nsuch\033[7m\u009bvalué"})
        if not re.fullmatch(rf"slabnode: {name}: [^\n\033]*no\?such\?\[7m\?\?valué[^\n\033]*, using {wanted}\n", text):
            lines.append(f"{name}: control characters give {text!r}")
    for text, what in ((told(SLABNODE_STATS="json:/nowhere/x"), "SLABNODE_STATS: /nowhere/x cannot be written: ENOENT"),
                       (told(SLABNODE_STATS="json:/dev/full"), "SLABNODE_STATS: /dev/full cannot be written: ENOSPC"),
                       (told(SLABNODE_STATS="json:/"), "SLABNODE_STATS: / cannot be written: EISDIR"),
                       (told(SLABNODE_TOPOLOGI="auto", SLABNODE_VERBOSE="1"), "SLABNODE_TOPOLOGI: no such")):
        if not text.startswith(f"slabnode: {what}") or text.count("\n") != 1:
            lines.append(f"instead of {what!r}: {text!r}")
    for capacity, what in (("0:1G,,1:1G", "'' is not NODE:SIZE or SIZE"), (" ", "' ' is not NODE:SIZE or SIZE"),
                           ("0:0,1:0", "'0:0,1:0' leaves no node with memory"),
                           ("7:1G", "'7:1G' names no node of the topology"), ("0:5K", "'0:5K' is not a multiple of 4K"),
                           ("9" * 99, f"'{'9' * 40}' is too large a size")):
        text = told(**simulated, SLABNODE_NODE_CAPACITY=capacity)
        if text != f"slabnode: SLABNODE_NODE_CAPACITY: {what}, using the topology's own sizes\n":
            lines.append(f"of the capacity {capacity!r}: {text!r}")
    # Paths of any length and any bytes: one line, with what is wrong at its end.
    for path, shown in (("/no\nwhere\033[7m/x", "/no?where?[7m/x"), ("/nowhere/" + "x" * 900, "/nowhere/" + "x" * 291)):
        for text, what in ((told(SLABNODE_STATS=f"json:{path}"), rf"SLABNODE_STATS: {re.escape(shown)} cannot be written: \w+"),
                           (told("/bin/sleep", "1", SLABNODE_RUNDIR=path, SLABNODE_VERBOSE="1", SLABNODE_CONTROL="on"),
                            rf"no control socket: {re.escape(shown)}: cannot be made: \w+")):
            if not re.fullmatch(rf"slabnode: {what}\n", text):
                lines.append(f"of the path {path!r}: {text!r}")
    if told(SLABNODE_TOPOLOGI="auto"):
        lines.append("a variable of somebody else's is complained about")
    check(lines)


def json_fields():
    """docs/json.md has each field of each answer."""
    if not os.path.exists(os.path.join(BUILD, "preload", "libslabnode.so")):
        skip("the library is not built")
    check(replies.compare(read("docs/json.md"), BUILD))


def command_table():
    """name -> the option words of its usage, from tools/hotplugctl/commands.c."""
    text = read("tools/hotplugctl/commands.c")
    synopsis = json.loads(re.search(r'#define TABLE_SYNOPSIS ("[^"]*")', text).group(1))
    text = re.search(r"struct command commands\[\] = \{\n(.*?)\n\};", text, re.S).group(1)
    text = text.replace("TABLE_SYNOPSIS", json.dumps(synopsis))
    out = {}
    for row in re.split(r"\n\s*\{(?=\")", "\n" + text)[1:]:
        name, usage = c_strings(row)[:2]
        out[name] = set(re.findall(r"--[a-z-]+", usage))
    if len(out) < 15:
        fail(f"commands.c: only {len(out)} commands were understood")
    return out


def commands():
    want = command_table()
    readme = {}
    for row in operator_rows():
        for shown in re.findall(r"`([^`]*)`", row[0]):
            readme[shown.split()[0]] = set(re.findall(r"--[a-z-]+", shown))
    page, name = {}, None
    for line in section("hotplugctl.1", "COMMANDS"):
        item = re.match(r"\.It Cm (\S+)", line)
        if item:
            name = item.group(1)
            page[name] = set()
        elif line == ".El":
            name = None
        if name and re.match(r"\.(It|Op|Xo)\b", line):
            page[name] |= {"-" + w for w in re.findall(r"Fl (-[a-z-]+)", line)}
    check(compare("command", readme, want, "README.md"),
          compare("command", page, want, "hotplugctl(1)"))


def operator_rows():
    """README has two tables with this heading; the operator's is the one in its own section."""
    text = read("README.md")
    part = re.search(r"^### The operator's commands\n(.*?)(?=^##+ )", text, re.M | re.S)
    if not part:
        fail("README.md has no section \"The operator's commands\"")
    rows = [[c.strip().replace("\\|", "|") for c in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in part.group(1).split("| exit code")[0].splitlines() if line.startswith("| `")]
    if not rows:
        fail("README.md has no table of commands")
    return rows


def exit_codes():
    header = read("tools/hotplugctl/hotplugctl.h") + read("tools/hotplugctl/result.h")
    want = {n for _, n in re.findall(r"\b(EXIT_[A-Z_]+)\s*=?\s+(\d+)", header)} | {"0"}
    if len(want) < 8:
        fail(f"only these exit codes were found in the headers: {sorted(want)}")
    readme = {row[0] for row in readme_table(["exit code", "meaning"])}
    page = {m.group(1) for m in (re.match(r"\.It (\d+)", x)
                                 for x in section("hotplugctl.1", "EXIT STATUS")) if m}
    check(compare("exit code", readme, want, "README.md"),
          compare("exit code", page, want, "hotplugctl(1)"))


def columns():
    """Every column that `status` prints by itself is explained."""
    text = read("tools/hotplugctl/show.c")
    table = re.search(r"struct column status_columns\[\] = \{\n(.*?)\n\};", text, re.S)
    if not table:
        fail("show.c: status_columns was not found")
    known = set(re.findall(r'\{"([A-Z%]+)"', table.group(1)))
    readme = {row[0] for row in readme_table(["column", "meaning"])}
    fields = " ".join(section("hotplugctl.1", "COMMANDS"))
    lines = [f"README.md explains {c}, which is no column of status" for c in sorted(readme - known)]
    for name in sorted(known - {"PID", "COMMAND", "LARGE", "HIT", "MISS", "FOREIGN"} - readme):
        lines.append(f"README.md does not explain the column {name}")
    for name in ("LIVE", "CACHED", "LOCAL%", "RESIDENT", "ELSEWHERE", "OTHER", "FALLBACK"):
        if not re.search(rf"\b{re.escape(name)}", fields):
            lines.append(f"hotplugctl(1) does not explain the column {name}")
    check(lines)


def plain(text):
    return re.sub(r"\s*([*(),])\s*", r"\1", re.sub(r"\s+", " ", text)).strip()


def functions():
    """The synopsis of slabnode.h(3) declares just what the header declares."""
    text = re.sub(r"/\*.*?\*/", "", read("include/slabnode.h"), flags=re.S)
    text = re.sub(r"^\s*#[^\n]*", "", text, flags=re.M)
    want = {}
    for kind, name, args in re.findall(
            r"([\w ]+?[\s*]+)(slabnode_\w+)\(((?:[^()]|\([^()]*\))*)\)\s*;", text):
        want[name] = plain(f"{kind.strip()} {name}({args})")
    have, kind = {}, ""
    for line in section("slabnode.h.3", "SYNOPSIS"):
        if line.startswith(".Ft "):
            kind = line[4:]
        elif line.startswith(".Fn "):
            name, *args = words(line[4:])
            have[name] = plain(f"{kind} {name}({','.join(args)})")
    described = set(re.findall(r"\bFn (slabnode_\w+)", "\n".join(
        x for x in section("slabnode.h.3", "DESCRIPTION") if x.startswith(".It "))))
    if len(want) < 15:
        fail(f"slabnode.h: only {len(want)} functions were understood")
    check(compare("function", have, want, "slabnode.h(3)"),
          compare("an item for", described, set(want), "slabnode.h(3)"))


def header():
    """Every function of slabnode.h says what it returns and where it may be called, and describes
    parameters that it has; slabnode.h(3) names every constant."""
    text = read("include/slabnode.h")
    lines, count = [], 0
    for comment, declared in re.findall(r"/\*\*\n(.*?)\*/\n(.*?);\n", text, re.S):
        name = re.search(r"(slabnode_\w+)\(", declared).group(1)
        if declared.startswith("typedef"):
            continue
        count += 1
        if not re.match(rf" \* {name}\(\) - ", comment):
            lines.append(f"slabnode.h: the comment before {name} is of something else")
        lines += [f"slabnode.h: {name} lacks {w}" for w in ("Context:", "Return:")
                  if f"\n * {w} " not in comment]
        for parameter in re.findall(r"^ \* @(\w+):", comment, re.M):
            if not re.search(rf"\b{parameter}\b", declared):
                lines.append(f"slabnode.h: {name} has no parameter {parameter}")
    declared = len(re.findall(r"^(?!typedef)[\w ]+[ *]slabnode_\w+\(", re.sub(
        r"/\*.*?\*/", "", text, flags=re.S), re.M))
    if count != declared:
        lines.append(f"slabnode.h: {count} of {declared} functions have a comment of their own")
    page = "\n".join(section("slabnode.h.3", "DESCRIPTION"))
    short = page.replace("SLABNODE_", "")
    for body in re.findall(r"^enum slabnode_\w+ \{(.*?)\};", text, re.M | re.S):
        body = re.sub(r"/\*.*?\*/", "", body, flags=re.S)
        lines += [f"slabnode.h(3) does not name SLABNODE_{c}" for c in re.findall(r"SLABNODE_(\w+)", body)
                  if not re.search(rf"\b{c}\b", short)]
    check(lines)


def wrapper():
    """slabnode-run: its table of options, its help and its page name the same ones; so do those of
    hotplugctl that are for all commands."""
    source = read("tools/slabnode-run.c")
    want = set(re.findall(r'^\t\{"([a-z-]+)", \w+_argument', source, re.M))
    if len(want) < 8:
        fail(f"slabnode-run.c: only {sorted(want)} were understood")
    usage = re.search(r"static _Noreturn void usage\(.*?\n\}", source, re.S).group(0)
    page = read(f"{MAN}/slabnode-run.1")
    told = {w for line in page.splitlines() if line.startswith(".It Fl") for w in
            re.findall(r"Fl -([a-z-]+)", line)}
    synopsis = set(re.findall(r"^\.Op Fl -([a-z-]+)", page, re.M)) | {"help", "version"}
    check(compare("option", set(re.findall(r"--([a-z-]+)", usage)), want, "slabnode-run --help"),
          compare("option", told, want, "slabnode-run(1)"),
          compare("option", synopsis, want, "the synopsis of slabnode-run(1)"))
    table = re.search(r"long_options\[\] = \{\n(.*?)\n\};", read("tools/hotplugctl/main.c"), re.S).group(1)
    every = dict(re.findall(r'\{"([a-z-]+)", \w+_argument, NULL, (?:\'(\w)\'|[^}]*)\}', table))
    own = {o[2:] for options_of in command_table().values() for o in options_of}
    page = read(f"{MAN}/hotplugctl.1")
    lines = [f"hotplugctl(1) does not describe --{name}" for name in every
             if name not in own and not re.search(rf"^\.It .*Fl -{name}\b", page, re.M)]
    lines += [f"hotplugctl(1) does not describe -{letter}" for letter in every.values()
              if letter and not re.search(rf"^\.It .*Fl {letter}\b", page, re.M)]
    lines += [f"hotplugctl takes --{name}, which no command has" for name in own - set(every)]
    check(lines)


def source_strings(*patterns):
    """All strings of C sources, adjacent ones joined, what is formatted replaced by an ellipsis."""
    for pattern in patterns:
        for path in glob.glob(os.path.join(SOURCE, pattern)):
            text = read(os.path.relpath(path, SOURCE))
            text = re.sub(r"/\*.*?\*/|'(\\[^'\n]+|[^'\\\n])'", "", text, flags=re.S)
            text = re.sub(r'"[ \t\n]+"', "", text)
            for string in re.findall(r'"((?:[^"\\\n]|\\.)*)"', text):
                yield re.sub(r"%[-.*#0-9]*(?:ll|l|z)?[a-z]", "…", string.replace('\\"', '"'))


def pattern(message):
    return ".*".join(re.escape(x) for x in message.split("…"))


def calls(text, names):
    """The arguments of each call of one of these functions, as they are written."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    token = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|.', re.S)
    for found in re.finditer(rf"\b(?:{names})\(", text):
        depth, at = 1, found.end()
        while depth:
            word = token.match(text, at).group()
            depth += (word == "(") - (word == ")")
            at += len(word)
        yield text[found.end():at - 1]


# Who says what: the files, and the functions whose strings are reasons, complaints or answers.
SPEAKERS = [
    ("core/*.c", "sn_result_fail|sn_fatal|fail_busy|sn_plan_obstacle"),
    ("preload/*.c", "sn_fatal|fatal|sn_plan_obstacle|sn_reply_error|sn_json_error|set_error|complain|refuse|refuse_by_system|"
                    "sn_warn_once"),
    ("preload/client.c", "turn_away|close_with"),
    ("hotplug-sim/*.c", r"(?<!static int )fail|complain"),
    ("tools/hotplugctl/*.c", "complain|fail_here|fail_session|make_failure|refuse_screen|leave"),
    ("tools/hotplugctl/kernel_blocks.c", "refuse"),
    ("tools/hotplugctl/kernel.c", "kernel_failure"),
    ("tools/hotplugctl/rundir.c", r"problem =\s+(?:copy|format)_text|why_no_socket =\s+copy_text"),
    ("tools/hotplugctl/target.c", r"(?:text|message) =\s+(?:copy|format)_text"),
    ("tools/slabnode-run.c", "give_up"),
]


def spoken():
    """Each message of the sources: its file, the longest part of it that is not formatted, all of it."""
    for files, names in SPEAKERS:
        for path in sorted(glob.glob(os.path.join(SOURCE, files))):
            path = os.path.relpath(path, SOURCE)
            if path == "core/lock.c":  # of debug builds
                continue
            for arguments in calls(read(path), names):
                # A hint stands behind what it is about.
                strings = [s for s in c_strings(arguments) if " " in s and s[0] not in " ;"]
                for string in strings[:1] if files == "tools/hotplugctl/kernel_blocks.c" else strings:
                    parts = [x.strip(" ':(),") for x in re.split(r"%[-.*#0-9]*(?:ll|l|z)?[a-z]", string)]
                    yield path, max(parts, key=len), string


def messages():
    """Each message in docs/troubleshooting.md is said somewhere, and each that the library, its control
    socket and the tools can say is there."""
    page = read("docs/troubleshooting.md")
    said = list(source_strings("core/*.c", "preload/*.c", "tools/*.c", "tools/hotplugctl/*.c",
                               "hotplug-sim/*.c"))
    lines, told = [], []
    for cell in re.findall(r"^\| (`.*?`) \| ", page, re.M):
        for message in re.findall(r"`([^`]+)`", cell):
            message = message.removeprefix("slabnode: ")
            told.append(message)
            if message.startswith("ERROR: ld.so"):
                continue
            parts = [x.strip(" ':;,") for x in message.split("…") if len(x.strip(" ':;,")) > 3]
            if not any(all(part in text for part in parts) for text in said):
                lines.append(f"troubleshooting.md: nobody says {message!r}")
    wanted = list(spoken())
    lines += [f"troubleshooting.md does not tell of {string!r} ({path})" for path, part, string in wanted
              if not any(part in message or re.fullmatch(pattern(message), string) for message in told)]
    if len(told) < 150 or len(wanted) < 150:
        fail(f"only {len(told)} messages and {len(wanted)} that are said were understood")
    check(lines)


# What is changed in a copy of the tree, and the row that has to notice.
DIFFERENCES = [
    ("programs", "docs/programs.md", "| lua |", "| luna |"),
    ("options", "preload/options.c", '{"SLABNODE_VERBOSE"', '{"SLABNODE_LOUD"'),
    ("options", "README.md", "| `SLABNODE_ALIEN` |", "| `SLABNODE_ALIENS` |"),
    ("commands", "tools/hotplugctl/commands.c", '{"drain"', '{"empty"'),
    ("commands", "docs/man/hotplugctl.1", "Op Fl -rebalance", "Op Fl -balance"),
    ("exit-codes", "tools/hotplugctl/hotplugctl.h", "EXIT_TIMED_OUT = 6", "EXIT_TIMED_OUT = 7"),
    ("json", "docs/json.md", "| `to_move_bytes` |", "| `to_go_bytes` |"),
    ("json", "docs/json.md", "`phase`, `elapsed_ms`, `waiting_for`", "`phase`, `elapsed_ms`"),
    ("functions", "include/slabnode.h", "int slabnode_cancel(int node)", "int slabnode_cancel(long node)"),
    ("header", "include/slabnode.h", " * Return: bytes given back; 0 when cache is NULL.\n", ""),
    ("header", "docs/man/slabnode.h.3", "SLABNODE_GONE", "SLABNODE_LOST"),
    ("messages", "core/offline.c", "no usable node among", "no node among"),
    ("wrapper", "tools/slabnode-run.c", '{"hardened",', '{"hard",'),
    ("wrapper", "docs/man/slabnode-run.1", ".It Fl -library", ".It Fl -lib"),
    ("wrapper", "docs/man/hotplugctl.1", ".It Fl -json", ".It Fl -jason"),
]


def noticed():
    """These tests notice when page and code differ."""
    with tempfile.TemporaryDirectory() as copy:
        for part in ("README.md", "core", "hotplug-sim", "include", "preload", "tools", "docs"):
            whole = os.path.join(SOURCE, part)
            if os.path.isdir(whole):
                shutil.copytree(whole, os.path.join(copy, part))
            else:
                shutil.copy(whole, copy)
        env = dict(os.environ, DOCS_SOURCE=copy)

        def status(row):
            return subprocess.run([sys.executable, __file__, row], env=env, capture_output=True,
                                  timeout=60, check=False).returncode

        lines = []
        for row, path, before, after in DIFFERENCES:
            path = os.path.join(copy, path)
            with open(path, encoding="utf-8") as f:
                text = f.read()
            if before not in text:
                lines.append(f"{path} has no {before!r} any more")
                continue
            with open(path, "w", encoding="utf-8") as f:
                f.write(text.replace(before, after, 1))
            if status(row) == 0:
                lines.append(f"{row} does not notice {before!r} becoming {after!r}")
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
            if status(row) != 0:
                lines.append(f"{row} fails on an unchanged copy")
        check(lines)


def faults():
    text = read("hotplug-sim/fault.c")
    steps = read("core/fault.c")
    errors = re.search(r"\} errors\[\] = \{\n(.*?)\n\};", text, re.S).group(1)
    page = "\n".join(section("libslabnode.7", "SIMULATED TOPOLOGIES"))
    told = page[page.index("Steps of memory"):]
    macros = "\n".join(x for x in told.splitlines() if x.startswith((".Cm", ".Er")))
    known = set(re.findall(r"[a-z][a-z-]+|E[A-Z]+", macros)) - {"Cm", "Er"}
    want = set(re.findall(r'\{"([a-z-]+)", [A-Z]', steps)) | set(re.findall(r'\{"(E[A-Z]+)"', errors))
    if len(want) < 60:
        fail(f"fault.c: only {len(want)} steps and errors were understood")
    check(compare("step or error", known, want, "libslabnode(7)"))


def pages():
    """The formatter has nothing to complain about, and each page is named as its file."""
    files = sorted(glob.glob(os.path.join(SOURCE, MAN, "*.[1-9]")))
    names = {os.path.basename(f) for f in files}
    lines = [f"{p} is missing" for p in ("hotplugctl.1", "slabnode-run.1", "libslabnode.7",
                                         "slabnode.h.3") if p not in names]
    for file in files:
        name, number = os.path.basename(file).rsplit(".", 1)
        title = re.search(r"^\.Dt (\S+) (\d)", read(os.path.relpath(file, SOURCE)), re.M)
        if not title or title.groups() != (name.upper(), number):
            lines.append(f"{name}.{number}: .Dt does not name it")
        # Both are accepted by the formatter, and shown as something else than was meant.
        for wrong, what in ((r"^\.It .*\bOp\b.*\bOp\b.*", "options within options"),
                            (r"^\..*\bXr \S+ \d , \w+ \d.*", "a reference that is plain text")):
            lines += [f"{name}.{number}: {what}: {line}"
                      for line in re.findall(wrong, read(os.path.relpath(file, SOURCE)), re.M)]
        for other, kind in re.findall(r"^\.Xr (\S+) (\d)\b", read(os.path.relpath(file, SOURCE)), re.M):
            if re.match(r"hotplugctl|slabnode|libslabnode", other) and f"{other}.{kind}" not in names:
                lines.append(f"{name}.{number} refers to {other}({kind}), which is not there")
        if shutil.which("groff"):
            done = subprocess.run(["groff", "-mandoc", "-Tutf8", "-ww", "-z", file],
                                  capture_output=True, text=True, timeout=60)
            lines += [f"{name}.{number}: {x}" for x in done.stderr.splitlines()
                      if "warning" in x or "error" in x]
    check(lines)


def anchors(text):
    """The anchors of a document's headings, by the usual rule."""
    out = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.M):
        heading = re.sub(r"[`*]|\[|\]\([^)]*\)", "", heading).strip().lower()
        out.add(re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading)))
    return out


def outside_code(text):
    """The text without what is shown as code."""
    text = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.M | re.S)
    text = "\n".join(x for x in text.splitlines() if not x.startswith(("    ", "\t")))
    return re.sub(r"`[^`\n]*`", "", text)


def links():
    documents = ["README.md", "bench/README.md"]
    documents += sorted(os.path.relpath(f, SOURCE) for f in
                        glob.glob(os.path.join(SOURCE, "docs", "**", "*.md"), recursive=True))
    lines, count = [], 0
    for document in documents:
        text = read(document)
        for target in re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", outside_code(text)):
            if re.match(r"[a-z]+:", target):
                continue
            count += 1
            path, _, anchor = urllib.parse.unquote(target).partition("#")
            path = os.path.normpath(os.path.join(os.path.dirname(document), path)) if path else document
            if path.startswith("..") or not os.path.exists(os.path.join(SOURCE, path)):
                lines.append(f"{document}: {target} is not there")
            elif anchor and path.endswith(".md") and anchor not in anchors(read(path)):
                lines.append(f"{document}: {target}: no such heading")
        # Files and folders that README names as code.
        for path in re.findall(r"`((?:core|preload|hotplug-sim|tools|include|bench|tests|docs)/[\w./-]*)`",
                               text):
            count += 1
            if not os.path.exists(os.path.join(SOURCE, path)):
                lines.append(f"{document}: `{path}` is not there")
    if count < 15:
        fail(f"only {count} links were found")
    check(lines)


def pictures():
    """Each picture is one, says what it shows to those who cannot see it, and stands in a document."""
    shown = set()
    for document in ["README.md", *glob.glob(os.path.join(SOURCE, "docs", "*.md"))]:
        path = os.path.relpath(os.path.join(SOURCE, document), SOURCE)
        for label, target in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", read(path)):
            if label:
                shown.add(os.path.normpath(os.path.join(os.path.dirname(path), target)))
    lines = []
    files = glob.glob(os.path.join(SOURCE, "docs/pictures/*.svg"))
    for file in files:
        name = os.path.relpath(file, SOURCE)
        try:
            root = xml.etree.ElementTree.parse(file).getroot()
        except xml.etree.ElementTree.ParseError as e:
            lines.append(f"{name}: {e}")
            continue
        have = {child.tag.rpartition("}")[2] for child in root if (child.text or "").strip()}
        if not {"title", "desc"} <= have:
            lines.append(f"{name} has no title and description")
        width, height = (float(root.get(k)) for k in ("width", "height"))
        for text in root.iter("{http://www.w3.org/2000/svg}text"):
            if not (0 <= float(text.get("x")) <= width and 0 <= float(text.get("y")) <= height):
                lines.append(f"{name}: {text.text!r} is outside")
        if name not in shown:
            lines.append(f"{name} stands in no document with a description")
    if not files:
        fail("there are no pictures")
    check(lines)


def figures():
    """The table of figures can be found by whoever fills it."""
    text = read("README.md")
    if text.count("<!-- figures: begin.") != 1 or text.count("<!-- figures: end. -->") != 1:
        fail("README.md: the figures are not delimited by one begin and one end")
    part = text[text.index("<!-- figures: begin."):text.index("<!-- figures: end. -->")]
    lines = [] if "bench/run" in part else ["the figures do not name the command that makes them"]
    check(lines)


# --- the catalogue -------------------------------------------------------------------------------

def catalogue():
    """Each of the seventy tests has rows, and each row that the page names exists."""
    listed = subprocess.run([sys.executable, os.path.join(SOURCE, "tests/harness/run.py"), "--list",
                             "--build", BUILD], capture_output=True, text=True, check=True).stdout
    rows = {line.split()[1] for line in listed.splitlines()}
    numbers, complaints = [], []
    for number, named in re.findall(r"^\| *(\d*) \| .*? \| (.*?) \| .*\|$", read("docs/catalogue.md"), re.M):
        numbers += [int(number)] if number else []
        complaints += [f"{number}: no row {name}" for name in re.findall("`(.*?)`", named)
                       if not fnmatch.filter(rows, name)]
        if "`" not in named:
            complaints.append(f"{number}: no rows")
    check(complaints, compare("test", set(numbers), set(range(1, 71)), "docs/catalogue.md"),
          [f"{n} stands there twice" for n in set(numbers) if numbers.count(n) > 1])


def programs():
    """The page of real programs has the rows that there are, with what they do."""
    want = {}
    for name in ("coded.toml", "scripts.toml"):
        with open(os.path.join(HERE, "..", "programs", name), "rb") as f:
            want.update({row["name"]: f"{row['packages'][0]}: {row['what']}"
                         for row in tomllib.load(f)["row"]})
    have = {}
    for name, package, what in re.findall(r"^\| ([\w-]+) \| (\S+)[^|]* \| (.+?) \| (?:yes|not run) \|",
                                          read("docs/programs.md"), re.M):
        have[name] = f"{package}: {what}"
    if len(want) < 40:
        fail(f"only {len(want)} programs")
    check(compare("program", have, want, "docs/programs.md (tests/programs/report writes it)"))


ROWS = {"options": options, "options-live": options_live, "bad-values": bad_values, "json": json_fields, "commands": commands,
        "exit-codes": exit_codes, "columns": columns, "functions": functions, "header": header,
        "wrapper": wrapper, "messages": messages, "noticed": noticed,
        "faults": faults, "pages": pages, "links": links, "pictures": pictures, "figures": figures,
        "catalogue": catalogue, "programs": programs}

if __name__ == "__main__":
    if sys.argv[1:] == ["--list"]:
        print("\n".join(ROWS))
    elif len(sys.argv) == 2 and sys.argv[1] in ROWS:
        ROWS[sys.argv[1]]()
    else:
        sys.exit("usage: docs.py ROW | --list")
